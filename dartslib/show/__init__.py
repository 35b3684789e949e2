"""Figures, cells and explorers: each function returns what it draws and writes nothing.

    from dartslib import show
    show.toy_map(runs)

The names load on first use, so that the toy's figures never load torch, and nothing heavy loads
before it is drawn. No file here bears the name of a function: `show.picture` is the function.
"""

from importlib import import_module

# name -> the submodule it lives in
NAMES = {
    "Picture": "pictures",
    "picture": "pictures",
    "lines": "drawings",
    "points": "drawings",
    "rows": "drawings",
    "heatmap": "drawings",
    "toy_map": "toy",
    "XiExplorer": "toy_explorer",
    "MixtureExplorer": "mixing",
    "search_explorer": "moments",
    "curve_explorer": "switches",
    "HypergradientExplorer": "microscope",
    "cell": "cells",
    "genotype_cells": "cells",
    "search_cell": "cells",
    "describe_cell": "cells",
    "describe_search_cell": "cells",
    "nas_picture": "diagrams",
    "search_network": "diagrams",
    "final_network": "diagrams",
    "alpha_heatmap": "figures",
    "alpha_over_time": "figures",
    "operation_means": "figures",
    "confidence": "figures",
    "describe_heatmap": "figures",
    "describe_confidence": "figures",
    "margins": "decisions",
    "choices_over_time": "decisions",
    "describe_choices": "decisions",
    "search_curves": "curves",
    "training_curves": "curves",
    "accuracy_bars": "curves",
    "differences": "intervals",
    "cells_compared": "study",
    "accuracy_by_size": "study",
    "gap_stages": "study",
    "finals_compared": "study",
}

__all__ = list(NAMES)


def __getattr__(name: str) -> object:
    if name not in NAMES:
        raise AttributeError(f"module 'dartslib.show' has no attribute {name!r}")
    value = getattr(import_module(f"dartslib.show.{NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})

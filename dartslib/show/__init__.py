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
    "SearchExplorer": "moments",
    "CurveExplorer": "switches",
    "HypergradientExplorer": "microscope",
    "CellExplorer": "choosing",
    "ContestExplorer": "relatives",
    "family": "relatives",
    "cell": "cells",
    "genotype_cells": "cells",
    "search_cell": "cells",
    "nas_picture": "diagrams",
    "search_network": "diagrams",
    "final_network": "diagrams",
    "alpha_heatmap": "figures",
    "margins": "decisions",
    "choices_over_time": "decisions",
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

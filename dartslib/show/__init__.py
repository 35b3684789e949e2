"""Figures, cells and explorers: each function returns what it draws and writes nothing.

    from dartslib import show
    show.toy_map(runs)

The names load on first use, so that the toy's figures never load torch, and nothing heavy loads
before it is drawn. No file here bears the name of a function: `show.picture` is the function.
"""

from importlib import import_module

FILES = {
    "pictures": ("Picture", "picture"),
    "drawings": ("lines", "points", "rows", "heatmap"),
    "toy": ("toy_map",),
    "cells": ("cell", "genotype_cells", "search_cell"),
    "diagrams": ("nas_picture", "search_network", "final_network"),
    "decisions": ("alpha_heatmap", "margins", "choices_over_time"),
    "toy_explorer": ("XiExplorer",),
    "mixing": ("MixtureExplorer",),
    "moments": ("SearchExplorer",),
    "switches": ("CurveExplorer",),
    "microscope": ("HypergradientExplorer",),
    "choosing": ("CellExplorer",),
}
NAMES = {name: file for file, names in FILES.items() for name in names}

__all__ = list(NAMES)


def __getattr__(name: str) -> object:
    if name not in NAMES:
        raise AttributeError(f"module 'dartslib.show' has no attribute {name!r}")
    value = getattr(import_module(f"dartslib.show.{NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})

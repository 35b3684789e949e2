"""Section 6 of notebook 05: where L_val does not know alpha. The reader's own cells, on more seeds."""

from contextlib import redirect_stdout
from io import StringIO

import nbformat
import pytest
import torch
from tools.write_exercises import NOTEBOOKS

CELLS = (
    "setup", "clues-gradients", "labels-task", "labels-loss", "labels-read", "labels-searched",
    "labels-fit", "labels-reached", "labels-checked",
)  # fmt: skip


def section(seed, steps=600):
    """What the section's cells print, and their names, at another seed or for fewer steps."""
    sources = {cell.id: cell.source for cell in nbformat.read(NOTEBOOKS / "05_hypergradient.ipynb", 4).cells}
    names, said = {}, StringIO()
    with redirect_stdout(said):
        for cell in CELLS:
            source = sources[cell]
            if cell == "labels-task":
                assert source.count("SEED = 0\n") == 1
                source = source.replace("SEED = 0\n", f"SEED = {seed}\n")
            if cell == "labels-searched":
                assert source.count("STEPS = 600\n") == 1
                source = source.replace("STEPS = 600\n", f"STEPS = {steps}\n")
            exec(source, names)  # our own notebook
    return said.getvalue().splitlines(), names

"""Section 6 of notebook 05, where L_val does not know alpha: its own cells, with other seeds."""

from contextlib import redirect_stdout
from io import StringIO

import nbformat
import numpy as np
import pytest

from dartslib.runs.results import bar
from tools.write_exercises import NOTEBOOKS

CELLS = (
    "setup", "gradients", "labels-task", "labels-loss", "labels-read", "labels-searched",
    "labels-fit", "labels-guessed", "labels-seeds", "labels-figure", "labels-checked",
)  # fmt: skip


def section(seeds, steps=200):
    """What the section's cells print, and their names, at other seeds or for fewer steps."""
    cells = nbformat.read(NOTEBOOKS / "05_hypergradient.ipynb", 4).cells
    sources = {cell.id: cell.source for cell in cells}
    names, said = {}, StringIO()
    with redirect_stdout(said):
        for cell in CELLS:
            source = sources[cell]
            if cell == "labels-task":
                assert source.count("SEEDS = range(5)\n") == 1
                source = source.replace("SEEDS = range(5)\n", f"SEEDS = {seeds}\n")
            if cell == "labels-searched":
                assert source.count("STEPS = 200\n") == 1
                source = source.replace("STEPS = 200\n", f"STEPS = {steps}\n")
            exec(source, names)  # our own notebook
    return said.getvalue().splitlines(), names


def test_what_the_section_says_after_fewer_steps():
    said, names = section(seeds=(1, 2), steps=80)
    assert "first order has moved no alpha: True" in said
    reached = {name: np.array(values) for name, values in names["reached"].items()}
    first_order, finite, exact = names["METHODS"]
    assert (reached[exact] > reached[first_order] + 0.1).all()
    assert reached[finite] == pytest.approx(reached[exact], abs=0.01)
    alpha, wrong = names["searches"][exact][1], names["wrong"]
    assert alpha[wrong].mean() < 0 < alpha[~wrong].mean()


@pytest.mark.full
def test_what_the_section_says_of_ten_seeds():
    said, names = section(range(5))
    more, others = section(range(5, 10))
    assert len(said) == 10 and all(line.endswith(": True") for line in said)
    of_filters = "exact above the best filter counts: False"
    assert [line for line in more if not line.endswith(": True")] == [of_filters]
    exact, filters, known = (
        names["reached"][name] + others["reached"][name]
        for name in (list(names["METHODS"])[2], "best of nine filters", "right labels known")
    )
    assert np.mean(exact) - np.mean(filters) > bar(exact, filters)
    above = np.subtract(filters, exact)[5:] > 0
    assert above.sum() == 1
    assert np.ptp(exact) < 0.1 and np.ptp(known) < 0.03

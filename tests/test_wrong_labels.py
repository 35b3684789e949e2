"""Section 6 of notebook 05, where L_val does not know alpha: its own cells, with other seeds."""

from contextlib import redirect_stdout
from io import StringIO

import nbformat
import pytest

from tools.write_exercises import NOTEBOOKS

CELLS = (
    "setup", "gradients", "labels-task", "labels-loss", "labels-read", "labels-searched",
    "labels-fit", "labels-guessed", "labels-figure", "labels-checked",
)  # fmt: skip


def section(seed, steps=600):
    """What the section's cells print, and their names, at another seed or for fewer steps."""
    cells = nbformat.read(NOTEBOOKS / "05_hypergradient.ipynb", 4).cells
    sources = {cell.id: cell.source for cell in cells}
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


def test_what_the_section_says_after_fewer_steps():
    said, names = section(seed=1, steps=150)
    assert "first order has moved no alpha: True" in said
    reached = names["reached"]
    assert reached["exact"] > reached["first_order"] + 0.1
    assert reached["finite_difference"] == pytest.approx(reached["exact"], abs=0.01)
    alpha, wrong = names["searches"]["exact"][1], names["wrong"]
    assert alpha[wrong].mean() < 0 < alpha[~wrong].mean()


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_what_the_section_says(seed):
    said, names = section(seed)
    assert len(said) == 9 and all(line.endswith(": True") for line in said)
    assert 0.79 < names["reached"]["exact"] < 0.85
    assert 0.89 < names["reached"]["right labels known"] < 0.93

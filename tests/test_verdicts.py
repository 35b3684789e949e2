"""What the notebooks say of recorded runs, held against the records.

A verdict is a phrase that stands in a notebook, the numbers of two groups, and what must be true of
them, with its bar. That it could have come out otherwise is tested as well: with the two groups
exchanged, or, where the phrase says that they are alike, with one of them moved by three bars, it
must be false.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dartslib.runs.results import Results

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
Numbers = list[float]


def larger(one: Numbers, other: Numbers, bar: float) -> bool:
    """The mean of `one` is above that of `other` by more than the bar."""
    return np.mean(one) - np.mean(other) > bar


def alike(one: Numbers, other: Numbers, bar: float) -> bool:
    """The means differ by less than the bar."""
    return abs(np.mean(one) - np.mean(other)) < bar


@dataclass(frozen=True)
class Verdict:
    """A phrase of a notebook, and what it says of two groups of numbers."""

    notebook: str  # the beginning of its name
    phrase: str  # as it stands in a Markdown cell
    groups: Callable[[], tuple[Numbers, Numbers]]
    holds: Callable[[Numbers, Numbers, float], bool]  # `larger` or `alike`
    bar: Callable[[Numbers, Numbers], float]  # of these groups, in the unit of the numbers


@cache
def study() -> Results:
    return Results()


def of_a_mean(one: Numbers, other: Numbers) -> float:
    """Two standard errors of a difference of two means, by the noise of one training."""
    return 2 * study().noise.deviation * np.sqrt(1 / len(one) + 1 / len(other))


def compared(one: str, other: str) -> tuple[Numbers, Numbers]:
    """Accuracies on held-out images of two groups of compared cells."""
    rows = study().comparison()
    return list(rows[one].accuracies), list(rows[other].accuracies)


# A row per verdict, in the order of the notebooks. (Rows are added with the notebooks' text.)
VERDICTS: list[Verdict] = []


def markdown(notebook: str) -> str:
    """All Markdown of a notebook, spaces and line breaks as one space."""
    (path,) = FOLDER.glob(f"{notebook}*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return " ".join(text.split())


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda v: f"{v.notebook}: {v.phrase[:40]}")
def test_the_verdict_holds_and_could_have_failed(verdict):
    assert verdict.phrase in markdown(verdict.notebook)
    one, other = verdict.groups()
    bar = verdict.bar(one, other)
    assert verdict.holds(one, other, bar)
    if verdict.holds is alike:
        assert not alike([value + 3 * bar for value in one], other, bar)
    else:
        assert not verdict.holds(other, one, bar)

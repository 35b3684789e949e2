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
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from dartslib.runs import records
from dartslib.runs.results import Results
from dartslib.show.microscope import angle, sizes_and_angles

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


def by_their_spread(one: Numbers, other: Numbers) -> float:
    """Two standard errors of a difference of two means, each by the spread of its own group."""
    return 2 * np.sqrt(np.var(one, ddof=1) / len(one) + np.var(other, ddof=1) / len(other))


def step_times(way: str, times: float = 1.0) -> Numbers:
    """Recorded seconds per step of a way to search, as often as `times` says."""
    return [times * records.load("step_times").meta["seconds_per_iteration"][way]]


def at_three_moments(name: str) -> Numbers:
    """What looking ahead changes, at the learning rate with which a search begins."""
    arrows = records.load("hypergradient").history
    at = int(abs(arrows["xi"] - 0.025).argmin())
    return [float(sizes_and_angles(arrows, probe)[name][at]) for probe in range(3)]


def error_of_the_difference() -> Numbers:
    """Of the finite difference, in multiples of the term, at the same moments."""
    arrows = records.load("hypergradient").history
    at = int(abs(arrows["xi"] - 0.025).argmin())
    exact, found = arrows["implicit"][:, at], arrows["difference"][:, at]
    return list(np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1))


def planted(kind: str) -> Numbers:
    """Accuracies on unseen images of ten recorded searches on the planted problem."""
    return list(records.load("planted").history[f"{kind}_unseen_accuracy"])


def supernets(*ways: str) -> Numbers:
    """Accuracies on held-out images of the supernets of three recorded searches per way."""
    names = [f"study/search-cifar10-{way}-{seed}" for way in ways for seed in range(3)]
    return [records.load(name).meta["gap"]["supernet"] for name in names]


# A row per verdict, in the order of the notebooks. (Rows are added with the notebooks' text.)
VERDICTS: list[Verdict] = [
    # 02
    Verdict(
        "02",
        "a step with ξ > 0 takes more than twice as long as one with ξ = 0",
        lambda: (step_times("finite_difference"), step_times("first_order", 2)),
        larger,
        lambda *_: 0.0,
    ),
    Verdict(
        "02",
        "changes the gradient more than the implicit term does",
        lambda: (at_three_moments("direct_change"), at_three_moments("implicit")),
        larger,
        by_their_spread,
    ),
    Verdict(
        "02",
        "the finite difference is off by more than the term itself",
        lambda: ([min(error_of_the_difference())], [1.0]),
        larger,
        lambda *_: 0.0,
    ),
    Verdict(
        "02",
        "right about as often as a coin",
        lambda: (planted("control"), [0.5] * 10),
        alike,
        lambda *_: 0.02,
    ),
    Verdict(
        "02",
        "Here the two learn alike",
        lambda: (planted("finite_difference"), planted("first_order")),
        alike,
        by_their_spread,
    ),
    Verdict(
        "02",
        "One level has the better supernet",
        lambda: (supernets("one_level"), supernets("first_order", "finite_difference")),
        larger,
        by_their_spread,
    ),
    Verdict(
        "02",
        "the two others learn alike",
        lambda: (supernets("finite_difference"), supernets("first_order")),
        alike,
        by_their_spread,
    ),
]


# Notebook 05: the terms of the hypergradient at three moments of one search.

AT_XI, AT_PAPER = 4, 2  # places of xi = 0.025 and of the paper's step, 0.01, in the record


@cache
def terms() -> dict[str, np.ndarray]:
    return records.load("hypergradient").history


def over_moments(name: str) -> list[np.ndarray]:
    """What `sizes_and_angles` has of that name, an array per moment."""
    return [sizes_and_angles(terms(), k)[name] for k in range(3)]


def turned(name: str, at: int = AT_XI) -> Numbers:
    """How far the first-order gradient is turned at a xi, in degrees, per moment."""
    return [float(found[at]) for found in over_moments(f"angle_{name}")]


def second_order(bare: str = "") -> np.ndarray:
    """(3, entries): the whole gradient at the search's xi; "bare_" without momentum."""
    found = terms()
    direct, implicit = (found[f"{bare}{name}"] for name in ("direct", "implicit"))
    if not bare:
        direct, implicit = direct[:, AT_XI], implicit[:, AT_XI]
    return direct - 0.025 * implicit


def pairs(vectors: np.ndarray) -> Numbers:
    """Angles between all pairs, in degrees."""
    return [float(angle(a, b)) for a, b in combinations(vectors, 2)]


def within_moments() -> Numbers:
    """Angles between the first-order gradients of batches of one moment, averaged per moment."""
    first, others = terms()["first_order"], terms()["other_batches"]
    return [float(np.mean(pairs([first[k], *others[k]]))) for k in range(3)]


def bought(what: str) -> Numbers:
    """Angle to the mean of six other batches, averaged over the choices of six, per moment."""
    first, others, second = terms()["first_order"], terms()["other_batches"], second_order()
    found = np.zeros(3)
    for k in range(3):
        for spare in combinations(range(8), 2):
            truth = np.delete(others[k], spare, axis=0).mean(axis=0)
            two = [first[k] + others[k, batch] for batch in spare]
            given = {"one": first[k], "two": two, "second order": second[k]}[what]
            found[k] += np.mean(angle(given, truth)) / 28
    return list(found)


def slopes() -> Numbers:
    """Of the error over the step, both logarithmic, from 0.1 to 1e-5, in double precision."""
    radius, part = terms()["radius"], terms()["radius"] > 9e-6
    lines = np.log(terms()["error_float64"][:, part])
    return [float(np.polyfit(np.log(radius[part]), line, 1)[0]) for line in lines]


def fixed(bar: float) -> Callable[[Numbers, Numbers], float]:
    return lambda one, other: bar


VERDICTS += [
    Verdict("05", "The look-ahead does nearly all of the turning",
            lambda: (turned("whole"), turned("direct")), alike, fixed(5)),
    Verdict("05", "25 of 27 degrees",
            lambda: (turned("direct"), [25.0]), alike, fixed(0.5)),
    Verdict("05", "Another batch turns the gradient more than twice as far as second order does",
            lambda: ([float(f.mean()) for f in over_moments("angle_other")],
                     [2 * turn for turn in turned("whole")]), larger, fixed(5)),
    Verdict("05", "Only with the largest ξ, and at one of the three moments",
            lambda: (turned("whole", -1)[1:2], [float(over_moments("angle_other")[1].min())]),
            larger, fixed(5)),
    Verdict("05", "The implicit term has less in common from one moment to the next than",
            lambda: (pairs(terms()["implicit"][:, AT_XI]), within_moments()),
            larger, by_their_spread),
    Verdict("05", "Two batches with first order come nearer than one with second order",
            lambda: (bought("second order"), bought("two")), larger, fixed(5)),
    Verdict("05", "Second order is no nearer than the one batch it was computed on",
            lambda: (bought("second order"), bought("one")), larger, fixed(2)),
    Verdict("05", "At the paper's step the error is larger than the term itself",
            lambda: (list(terms()["error_float32"][:, AT_PAPER]), [1.0, 1.0, 1.0]),
            larger, by_their_spread),
    Verdict("05", "still off by more than half of the term",
            lambda: (list(terms()["error_float32"].min(axis=1)), [0.5]), larger, fixed(0.1)),
    Verdict("05", "The slope is the −1/2 of the argument above",
            lambda: (slopes(), [-0.5]), alike, fixed(0.1)),
    Verdict("05", "most of a step is momentum",
            lambda: (list(terms()["moved"][1:, 0]), list(terms()["moved"][1:, 1])),
            larger, by_their_spread),
    Verdict("05", "a step ahead without it misses nearly the whole step",
            lambda: (list(terms()["missed_bare"][1:]), [0.8]), larger, fixed(0.05)),
    Verdict("05", "as large a question as \"first or second order\"",
            lambda: (list(angle(second_order(), second_order("bare_"))[1:]),
                     turned("whole")[1:]), alike, fixed(10)),
    Verdict("05", "drowns in the noise of the batches",
            lambda: ([float(f.mean()) for f in over_moments("angle_other")], turned("implicit")),
            larger, fixed(30)),
]  # fmt: skip


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

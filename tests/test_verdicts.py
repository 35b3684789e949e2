"""What the notebooks say of recorded runs, held against the records.

A verdict is a phrase that stands in a notebook, the numbers of two groups, and what must be true of
them, with its bar. That it could have come out otherwise is tested as well: with the two groups
exchanged, or, where the phrase says that they are not told apart, with one of them moved by three
bars, it must be false.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from dartslib.genotypes import PUBLISHED, Choice, choices
from dartslib.runs import records
from dartslib.runs.results import REPORT_TABLES, Results, bar, cpu_hours, shared
from dartslib.searching import REPORT_ALPHA_TRAVEL
from dartslib.show.microscope import angle, sizes_and_angles
from dartslib.space import CELL_TYPES, SearchSpace

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


# What notebook 03 says of tables of alpha, and of the cells that searches found

SPACE = SearchSpace.report()
TWO = ("first_order", "finite_difference")
REPORT = (REPORT_TABLES["REPORT_FIRST"], REPORT_TABLES["REPORT_SECOND"])


def at(value: float) -> Callable[[Numbers, Numbers], float]:
    """A bar that is known beforehand."""
    return lambda one, other: value


def tables(gradient: str, moment: int = -1, what: str = "probabilities") -> dict[str, np.ndarray]:
    """Alpha's two tables in the search of seed 0."""
    history = study().searches(gradient)[0].history
    return {kind: history[f"{what}_{kind}"][moment] for kind in CELL_TYPES}


def ours() -> list[dict[str, np.ndarray]]:
    return [tables(gradient) for gradient in TWO]


def kept(found: dict[str, np.ndarray]) -> list[Choice]:
    return [choice for choice in choices(found, SPACE) if choice.kept]


def chosen(found: dict[str, np.ndarray]) -> set[tuple]:
    return {(c.cell_type, c.edge, c.operation) for c in kept(found)}


def largest(several: Iterable[dict[str, np.ndarray]]) -> Numbers:
    return [p for found in several for table in found.values() for p in table.max(axis=1)]


def leads(several: Iterable[dict[str, np.ndarray]]) -> Numbers:
    return [choice.operation_margin for found in several for choice in kept(found)]


def none_by_source() -> tuple[Numbers, Numbers]:
    """Of the report's normal cells: on the edges from c_{k-2}, and on all others."""
    found = ([], [])
    for table in REPORT:
        for (source, _), row in zip(SPACE.edges, table["normal"], strict=True):
            found[source > 0].append(row[SPACE.operations.index("none")])
    return found


def changed_by_another_way() -> Numbers:
    """Choices that differ at the end when alpha is ranked raw, and when none is left out first."""
    column, found = SPACE.operations.index("none"), []
    for gradient in TWO:
        right, logits = chosen(tables(gradient)), tables(gradient, what="logits")
        rest = {kind: p / (1 - p[:, [column]]) for kind, p in tables(gradient).items()}
        found += [len(right - chosen(logits)), len(right - chosen(rest))]
    return found


def turned_within(steps: float) -> Numbers:
    """The share of the 16 decisions of each search that could turn over within so many steps."""
    found = []
    for gradient in TWO:
        meta = study().searches(gradient)[0].meta
        rate = meta["config"]["alpha_lr"] or REPORT_ALPHA_TRAVEL / meta["steps"]
        ratios, weakest = [], {}
        for c in kept(tables(gradient)):
            ratios.append(c.probability / (c.probability - c.operation_margin))
            if not np.isnan(c.edge_margin):  # strongest first in each node: the last one stays
                ratio = c.probability / (c.probability - c.edge_margin)
                weakest[c.cell_type, c.node] = ratio
        ratios += weakest.values()
        found.append(float(np.mean(np.log(ratios) / (2 * rate) < steps)))
    return found


def late_changes() -> Numbers:
    """How often the cell of each search changed in the last tenth of its records."""
    found = []
    for gradient in TWO:
        count = len(study().searches(gradient)[0].history["step"])
        cells = [chosen(tables(gradient, t)) for t in range(count)]
        found.append(sum(cells[t] != cells[t - 1] for t in range(int(0.9 * count) + 1, count)))
    return found


def weight_kept() -> Numbers:
    return [
        sum(c.probability for c in kept(found) if c.cell_type == kind) / len(SPACE.edges)
        for found in ours()
        for kind in CELL_TYPES
    ]


def pools(gradient: str) -> Numbers:
    runs = study().searches(gradient)
    return [run.genotype.to_json().count("max_pool_3x3") for run in runs]


def pools_at_random() -> Numbers:
    return [run.genotype.to_json().count("max_pool_3x3") for run in study().compared("random")]


def in_all(gradient: str) -> int:
    """The choices that all searches of a method share."""
    cells = [
        {(kind, *edge, node) for kind in CELL_TYPES for node, edges in enumerate(cell.cell(kind))
         for edge in edges}
        for cell in (run.genotype for run in study().searches(gradient))
    ]  # fmt: skip
    return len(set.intersection(*cells))


def by_redrawing(gradient: str) -> float:
    """How many such choices to expect if each cell kept its operations and moved them at random."""
    runs, found = study().searches(gradient), 0.0
    for kind in CELL_TYPES:
        names = [[name for edges in run.genotype.cell(kind) for name, _ in edges] for run in runs]
        same = sum(np.prod([n.count(o) / len(n) for n in names]) for o in SPACE.operations)
        found += same * sum(k * (2 / k) ** len(runs) for k in (2, 3, 4))
    return float(found)


def in_common(same_method: bool, same_seed: bool, methods: tuple[str, ...] = TWO) -> Numbers:
    """The choices, of 12, that two searches share."""
    runs = [(method, run) for method in methods for run in study().searches(method)]
    return [
        12 * shared(one.genotype, other.genotype)
        for (a, one), (b, other) in combinations(runs, 2)
        if (a == b) is same_method and (one.meta["seed"] == other.meta["seed"]) is same_seed
    ]


def shared_by_two() -> tuple[Numbers, Numbers]:
    """Choices that our two searches of seed 0 share, and those that the report's two cells do."""
    report = shared(PUBLISHED["REPORT_FIRST"], PUBLISHED["REPORT_SECOND"])
    return [len(set.intersection(*map(chosen, ours())))], [12 * report]


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
        "Here the two are not told apart",
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
        "The two others are not told apart",
        lambda: (supernets("finite_difference"), supernets("first_order")),
        alike,
        by_their_spread,
    ),
]


# Notebook 03
VERDICTS += [
    Verdict(
        "03",
        "The report's tables are far more decided than ours.",
        lambda: (largest(REPORT), largest(ours())),
        larger,
        bar,
    ),
    Verdict(
        "03",
        "In the report's normal cells, `none` has nearly everything on the edges from $c_{k-2}$",
        none_by_source,
        larger,
        bar,
    ),
    Verdict(
        "03",
        "At the end of our two runs neither changes a choice",
        lambda: (changed_by_another_way(), [0]),
        alike,
        at(0.5),
    ),
    Verdict(
        "03",
        "The report's two cells have no choice in common, ours have four.",
        shared_by_two,
        larger,
        at(3.5),
    ),
    Verdict(
        "03",
        "By how often they choose max pooling, the two methods are not told apart.",
        lambda: (pools("finite_difference"), pools("first_order")),
        alike,
        bar,
    ),
    Verdict(
        "03",
        "The report's leads are several times as large as ours.",
        lambda: (leads(REPORT), [3 * lead for lead in leads(ours())]),
        larger,
        bar,
    ),
    Verdict(
        "03",
        "More than half of the decisions could turn over within 20 more steps",
        lambda: (turned_within(20), [0.5]),
        larger,
        at(0.0),
    ),
    Verdict(
        "03",
        "Neither search had come to rest:",
        lambda: ([min(late_changes())], [0]),
        larger,
        at(1.5),
    ),
    Verdict(
        "03",
        "About an eighth of the mixture is kept",
        lambda: (weight_kept(), [1 / 8]),
        alike,
        at(0.015),
    ),
    Verdict(
        "03",
        "We cannot tell whether ξ or the seed decides more of the cell.",
        lambda: (in_common(False, True), in_common(True, False)),
        alike,
        bar,
    ),
    Verdict(
        "03",
        "pairs of one method and pairs of two are not told apart either.",
        lambda: (in_common(True, False), in_common(False, False)),
        alike,
        bar,
    ),
    Verdict(
        "03",
        "One level makes most of its choices again",
        lambda: (in_common(True, False, ("one_level",)), in_common(True, False)),
        larger,
        bar,
    ),
    Verdict(
        "03",
        "five choices are in all three cells",
        lambda: ([in_all("one_level")], [5]),
        alike,
        at(0.5),
    ),
    Verdict(
        "03",
        "Redrawn cells hardly ever share as many.",
        lambda: ([in_all("one_level")], [2 * by_redrawing("one_level")]),
        larger,
        at(0.0),
    ),
    Verdict(
        "03",
        "no choice is in all three cells.",
        lambda: ([in_all("first_order")], [0]),
        alike,
        at(0.5),
    ),
    Verdict(
        "03",
        "one choice is in all three cells",
        lambda: ([in_all("finite_difference")], [1]),
        alike,
        at(0.5),
    ),
    Verdict(
        "03",
        "This is no more than redrawn cells share.",
        lambda: ([in_all(way) for way in TWO], [by_redrawing(way) for way in TWO]),
        alike,
        bar,
    ),
    Verdict(
        "03",
        "they choose max pooling more often than cells at random.",
        lambda: (sum(map(pools, TWO), []), pools_at_random()),
        larger,
        bar,
    ),
    Verdict(
        "03",
        "those of one level are worse than cells drawn at random",
        lambda: compared("random", "one_level"),
        larger,
        bar,
    ),
]


def learned_and_random() -> tuple[Numbers, Numbers]:
    """Accuracies of the cells learned on two levels, and of those drawn at random."""
    first, drawn = compared("first_order", "random")
    return first + compared("finite_difference", "random")[0], drawn


def inside_ours(*_: Numbers) -> float:
    """The bar of learned cells less random ones, in points."""
    return 100 * bar(*learned_and_random())


def two_cells(one: str, other: str) -> tuple[Numbers, Numbers]:
    """The first cells of two groups, each under three training seeds."""
    found = {runs[0].name.split("-")[2]: runs for runs in study().again()}
    return tuple(
        [run.meta["result"]["valid_accuracy"] for run in found[way]] for way in (one, other)
    )


def trained_again(seeds: int) -> tuple[Numbers, Numbers]:
    """The cells of the first searches with xi = 0 and xi > 0, under so many training seeds."""
    one, other = two_cells("first_order", "finite_difference")
    return one[:seeds], other[:seeds]


def price(way: str) -> float:
    """What a search costs, in trainings of a compared cell."""
    hours = [row.cpu_hours for row in study().comparison().values()]
    return cpu_hours(study().searches(way)) / float(np.mean(hours))


def final(kind: str, way: str) -> Numbers:
    """Test accuracy of a final network; kind is "final" or "transfer"."""
    return [study().finals()[way][kind].meta["result"]["test_accuracy"]]


def neighbors_in_size(kind: str, step: int) -> tuple[Numbers, Numbers]:
    """Two final networks trained alike, the one with fewer multiply-adds first."""
    sizes = {
        way: found[kind].meta["multiply_adds"]
        for way, found in study().finals().items()
        if way != "long"
    }
    smaller, larger = sorted(sizes, key=sizes.get)[step : step + 2]
    return final(kind, smaller), final(kind, larger)


def stage(name: str, *ways: str) -> Numbers:
    """Accuracies between supernet and derived cell; see `Results.gaps`."""
    return [value for way in ways for value in study().gaps()[way][name]]


VERDICTS += [  # notebook 04
    Verdict("04", phrase, groups, holds, bar)
    for phrase, groups, holds, bar in [
        (
            "Two more trainings of each cell, and the ranking flips.",
            lambda: trained_again(1)[::-1],  # with one seed xi > 0 is ahead
            larger,
            lambda *_: 0,
        ),
        (
            "Two more trainings of each cell, and the ranking flips.",
            lambda: trained_again(3),
            larger,
            lambda *_: 0,
        ),
        *[
            ("The three cells are not told apart.", partial(two_cells, *names), alike, bar)
            for names in combinations(("first_order", "finite_difference", "random"), 2)
        ],
        (
            "Is second order better than first? They are not told apart.",
            lambda: compared("finite_difference", "first_order"),
            alike,
            bar,
        ),
        (
            "One level finds worse cells than drawing at random does",
            lambda: compared("random", "one_level"),
            larger,
            bar,
        ),
        (
            "One level and first order are not told apart",
            lambda: compared("first_order", "one_level"),
            alike,
            bar,
        ),
        (
            "Cells learned on two levels and cells drawn at random are not told apart.",
            learned_and_random,
            alike,
            bar,
        ),
        (
            "the order may be luck from top to bottom",  # a spread less than twice the noise
            lambda: ([study().comparison()["random"].spread], [study().noise.deviation]),
            alike,
            lambda *_: study().noise.deviation,
        ),
        (
            "The best supernet gives cells worse than random ones.",
            lambda: (stage("supernet", "one_level"), stage("supernet", "first_order")),
            larger,
            bar,
        ),
        (
            "The best supernet gives cells worse than random ones.",
            lambda: compared("random", "one_level"),
            larger,
            bar,
        ),
        (
            "cut to its cell, the supernet guesses",
            lambda: (stage("one_hot", *study().gaps()), [0.1]),
            alike,
            lambda *_: 2 * np.sqrt(0.1 * 0.9 / 5000),  # two standard errors of 5,000 images
        ),
        *[
            (
                "accuracy runs exactly opposite to multiply-adds",
                partial(neighbors_in_size, kind, step),
                larger,
                lambda *_: 2 * study().noise.bar,  # "more than twice"
            )
            for kind in ("final", "transfer")
            for step in (0, 1)
        ],
        *[
            (
                "random cell gains more than seven points on CIFAR-10 and seventeen on CIFAR-100",
                lambda kind=kind: (final(kind, "long"), final(kind, "random")),
                larger,
                lambda *_, gain=gain: gain,
            )
            for kind, gain in (("final", 0.07), ("transfer", 0.17))
        ],
        (
            "the best of three random cells beat the report by eight points",
            lambda: (final("final", "long"), [0.7967]),
            larger,
            lambda *_: 0.08,
        ),
        ("nothing here shows that the search was worth it.", learned_and_random, alike, bar),
        (
            "The paper's own gap of 0.53 points lies inside our bar",
            lambda: ([3.29], [2.76]),
            alike,
            inside_ours,
        ),
        (
            "cost more than twice as much as nine random cells",
            lambda: ([3 * price("finite_difference") + 3], [2 * 9]),
            larger,
            lambda *_: 1,
        ),
    ]
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


def of_all_nine() -> Numbers:
    """Angles from moment to moment between the first-order gradients of all batches of each."""
    found = terms()
    return pairs(found["first_order"] + found["other_batches"].sum(axis=1))


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
    Verdict("05", "turns about as far as with all of second order: the two are not told apart",
            lambda: (turned("whole"), turned("direct")), alike, bar),
    Verdict("05", "Another batch turns the gradient more than twice as far as second order does",
            lambda: ([float(f.mean()) for f in over_moments("angle_other")],
                     [2 * turn for turn in turned("whole")]), larger, fixed(5)),
    Verdict("05", "Only with the largest ξ, and at one of the three moments",
            lambda: (turned("whole", -1)[1:2], [float(over_moments("angle_other")[1].mean())]),
            larger, fixed(1)),
    Verdict("05", "From one moment to the next neither of them keeps its direction",
            lambda: (pairs(terms()["implicit"][:, AT_XI]) + of_all_nine(), within_moments()),
            larger, fixed(10)),
    Verdict("05", "two batches with first order come nearer to this target",
            lambda: ([min(np.subtract(bought("second order"), bought("two")))], [0.0]),
            larger, fixed(2)),
    Verdict("05", "three moments are few, and the means are not told apart",
            lambda: (bought("second order"), bought("two")), alike, bar),
    Verdict("05", "At each of the three moments the error at the paper's step is larger",
            lambda: ([float(terms()["error_float32"][:, AT_PAPER].min())], [1.0]),
            larger, fixed(0.2)),
    Verdict("05", "still off by more than half of the term",
            lambda: (list(terms()["error_float32"].min(axis=1)), [0.5]), larger, fixed(0.1)),
    Verdict("05", "The slope is the −1/2 of the argument above",
            lambda: (slopes(), [-0.5]), alike, fixed(0.1)),
    Verdict("05", "most of a step is momentum",
            lambda: (list(terms()["moved"][1:, 0]), list(terms()["moved"][1:, 1])),
            larger, fixed(0.02)),
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

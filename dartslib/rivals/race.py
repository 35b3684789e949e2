"""The race: what each way to search has found after so many CPU-seconds of one core.

    python -m dartslib tabular --race      writes data/recorded/rivals/race.json

A way costs what it asks, at the prices of the quiet pass. Its cell at any time is the one of its
best whole training so far, and counts by trainings that it did not ask. What ends with a name and
not with a trained network pays for one training more. No way knows which cells are equal.

A step of a shared network costs what a step of the mean cell costs, and an image that is asked what
a forward pass of it does: in the currency of the table, however slow an implementation is. A score
costs as many training steps of its class as it took the time of, where it was made.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dartslib.rivals import ALL
from dartslib.rivals.account import FromTable, mean_price, seconds_per_image
from dartslib.rivals.asking import Found
from dartslib.rivals.counts import counting
from dartslib.runs.records import RECORDED
from dartslib.runs.results import bar
from dartslib.tabular.cells import SPACE, classes
from dartslib.tabular.table import Table

FOLDER = RECORDED / "rivals"
MARKS = (5, 20, 60, 120, 180)  # minutes; two hours of one core are an hour of two
MINUTES = np.unique(np.concatenate([np.geomspace(1, 180, 60), MARKS]))
REPEATS = 200
SEEDS = 10  # of supernets and of scores: repeats that differ by as much share one
SHARED = 100  # cells that random search with weight sharing compares
BY_BUDGET = ("reinforce",)  # whose rate follows from the budget: every moment is a race of its own
TEN_FIRST = (*ALL, "optuna_tpe")  # ways that begin with the ten cells of all
Way = Callable[[FromTable, float, int], Iterator[Found]]  # evaluate, budget, seed


def entrants(measured: Mapping[str, Any], table: Table) -> dict[str, Way]:
    """Every way to search, by name.

    `measured` are the records of `measuring`, kind -> rows; what is missing does not enter. The
    prices are the table's.

    Raises:
        ValueError: some scores or shared networks are missing, so that repeats would share them.
    """
    found: dict[str, Way] = {name: on_the_space(search) for name, search in ALL.items()}
    # Without the ten cells that all begin with.
    found["counting_at_once"] = on_the_space(partial(counting, at_once=True))
    for kind, count in {"score": len(classes()), "single_path": SEEDS, "enas": SEEDS}.items():
        if len(measured.get(kind, ())) not in (0, count):
            raise ValueError(f"{kind}.json has not {count} rows: finish them first.")
    if rows := measured.get("score"):
        from scipy.stats import rankdata  # a second

        ways, cells = rows[0]["scores"], [row["cell"] for row in rows]
        # way -> (first weights, classes): a search sees those of one
        scores = {way: np.array([row["scores"][way] for row in rows]).T for way in ways}
        inits = len(scores["ntk_condition"])
        spelled = len(table.cells) / len(rows)  # no way knows which cells are equal
        paid = {way: spelled * seconds for way, seconds in score_prices(rows, table).items()}
        both = ("ntk_condition", "linear_regions")  # TE-NAS: their ranks, summed; ties share one
        scores["te_nas"] = sum(rankdata(scores[way], axis=1) for way in both)
        paid["te_nas"] = sum(paid[way] for way in both)
        for way, values in scores.items():
            by_cell = [dict(zip(cells, one.tolist(), strict=True)) for one in values]
            found[way] = _ranked(by_cell, [paid[way]] * inits)
    step = mean_price(table, lambda price: float(price["step_seconds"]))
    image = mean_price(table, seconds_per_image)
    if shared := measured.get("single_path"):
        names = [table.name(cell) for cell in table.cells]
        of_one = [row["asked"] * image for row in shared]
        trained = [row["steps"] * step for row in shared]
        paid = [a + len(names) * b for a, b in zip(trained, of_one, strict=True)]
        found["single_path"] = _ranked([row["values"] for row in shared], paid)

        def best_drawn(seed: int) -> dict[str, Any]:
            """Li and Talwalkar: of cells drawn at random, the one that a shared network likes."""
            k, drawn = seed % len(shared), np.random.default_rng([seed, 2]).choice(names, SHARED)
            best = max(drawn, key=shared[k]["values"].__getitem__)
            return {"cell": best, "seconds": trained[k] + SHARED * of_one[k]}

        found["random_sharing"] = _named(best_drawn)
    if rows := measured.get("enas"):
        ends = [row | {"seconds": row["steps"] * step + row["asked"] * image} for row in rows]
        found["enas"] = _named(lambda seed: ends[seed % len(ends)])
    return found


def score_prices(rows: list[dict[str, Any]], table: Table) -> dict[str, float]:
    """CPU-seconds to ask each score of all classes once, with one beginning, at the table's prices.

    `rows` are the records of `measuring.score`.
    """
    found: dict[str, float] = {}
    for row in rows:
        step = float(table.prices[row["cell"]]["step_seconds"])
        for way, seconds in row["score_seconds"].items():
            steps = seconds / row["step_seconds"] / len(row["scores"][way])
            found[way] = found.get(way, 0.0) + steps * step
    return found


def on_the_space(search: Callable[..., Iterator[Found]]) -> Way:
    """A rival as an entrant."""
    return lambda evaluate, budget, seed: search(evaluate, SPACE, budget, seed)


def recorded() -> dict[str, Any]:
    """What was measured so far, kind -> rows, and the race under "race"; needs no torch."""
    files = sorted(FOLDER.glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def per_supernet(values: np.ndarray) -> np.ndarray:
    """(SEEDS, ...): means of values (repeats, ...), in their order, over those of one supernet.

    So a bar between two ways takes no supernet twice, and does the same to all ways.
    """
    return np.stack([np.asarray(values)[seed::SEEDS].mean(axis=0) for seed in range(SEEDS)])


def _alike(curves: Mapping[str, Any], way: str, mark: int) -> np.ndarray:
    """(repeats,): whether a way has the cell of counting; repeats share runs and answers."""
    one, other = (curves[name]["marks"][str(mark)] for name in (way, "counting"))
    return np.equal(one, other)


class Ahead(NamedTuple):
    """A way against the counting that it has to beat, in fractions."""

    mean: float  #: of the differences
    bar: float  #: half of Welch's 95 % interval
    p: float  #: of Welch's test, corrected by Holm over all ways at this mark
    told_apart: bool  #: whether p is below the level


def ahead(curves: Mapping[str, Any], mark: int, level: float = 0.05) -> dict[str, Ahead]:
    """Every way that has a cell at a mark (minutes), a value per supernet.

    A way that begins with the ten cells of all is held against `counting`, which does so too, any
    other against `counting_at_once`. While most repeats of such a way still have the cell that
    counting has, from the ten of all, it is not held against it.
    """
    from scipy.stats import ttest_ind  # a second

    from dartslib.rivals.standings import holm

    at = {
        way: per_supernet(curve["marks"][str(mark)])
        for way, curve in curves.items()
        if str(mark) in curve["marks"]
    }
    base = {way: at["counting" if way in TEN_FIRST else "counting_at_once"] for way in at}
    ways = [
        way
        for way in at
        if not way.startswith("counting")
        and not (way in TEN_FIRST and np.mean(_alike(curves, way, mark)) > 0.5)
    ]
    p = holm({way: float(ttest_ind(at[way], base[way], equal_var=False)[1]) for way in ways})
    return {
        way: Ahead(
            at[way].mean() - base[way].mean(), bar(at[way], base[way]), p[way], p[way] < level
        )
        for way in ways
    }


def _ranked(values: list[Mapping[str, float]], seconds: list[float]) -> Way:
    """Trains the cells in the order of a score that cost so many seconds; a seed has its own."""

    def way(evaluate: FromTable, budget: float, seed: int) -> Iterator[Found]:
        which, name = seed % len(values), evaluate.table.name
        paid = seconds[which]
        order = {"score": lambda cell: values[which][name(cell)], "at_once": True}
        for genotype, value, cost in counting(evaluate, SPACE, budget - paid, seed, **order):
            yield genotype, value, cost + paid

    return way


def _named(found: Callable[[int], Mapping[str, Any]]) -> Way:
    """A way that ends with a name: one training more. By seed its "cell", and its "seconds"."""

    def way(evaluate: FromTable, budget: float, seed: int) -> Iterator[Found]:
        row, table = found(seed), evaluate.table
        (cell,) = (c for c in table.classes if table.name(c) == row["cell"])
        value, cost = evaluate(cell)
        if row["seconds"] + cost <= budget:
            yield cell, value, row["seconds"] + cost

    return way


def followed(
    way: Way,
    table: Table,
    repeats: int = REPEATS,
    minutes: np.ndarray = MINUTES,
    *,
    by_budget: bool = False,
) -> np.ndarray:
    """(repeats, minutes): the truth of a way's cell at these times; nan before it has one.

    `by_budget`: each time with a budget of its own, for a way that divides it up beforehand.
    """
    if by_budget:
        each = [followed(way, table, repeats, minutes[k : k + 1]) for k in range(len(minutes))]
        return np.hstack(each)
    found = np.full((repeats, len(minutes)), np.nan)
    for repeat in range(repeats):
        evaluate, best, chosen = FromTable(table, repeat), -np.inf, None
        for genotype, value, cost in way(evaluate, 60.0 * minutes[-1], repeat):
            if value > best and evaluate.trained(genotype):  # a part of a training is no network
                best, chosen = value, genotype
            if chosen is not None:
                found[repeat, minutes * 60 >= cost] = evaluate.truth(chosen)
    return found


def run(table: Table, ways: Mapping[str, Way]) -> dict[str, Any]:
    """The whole race, as it is recorded: mean and deciles over time, all values at the marks.

    Raises:
        ValueError: a class was trained once: one training answers, another judges.
    """
    if min(len(table.query(cell).runs) for cell in table.classes) < 2:
        raise ValueError("A race needs two trainings of every class: run tabular --make first.")
    curves = {}
    for name, way in ways.items():
        truths = followed(way, table, REPEATS, by_budget=name in BY_BUDGET)
        started = ~np.isnan(truths).any(axis=0)  # times at which every repeat has a cell
        shown = truths[:, started]
        low, high = np.quantile(shown, (0.1, 0.9), axis=0)
        marks = {mark: int(np.argmin(abs(MINUTES - mark))) for mark in MARKS}
        curves[name] = {
            "minutes": MINUTES[started].round(3).tolist(),
            "mean": shown.mean(axis=0).round(5).tolist(),
            "low": low.round(5).tolist(),
            "high": high.round(5).tolist(),
            "trials": 0,  # of settings: the papers', or fixed before its first result
            "marks": {
                str(mark): truths[:, k].round(5).tolist() for mark, k in marks.items() if started[k]
            },
        }
    return {"repeats": REPEATS, "curves": curves}

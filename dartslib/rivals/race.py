"""The race: what each way to search has found after so many CPU-seconds of one core.

    python -m dartslib tabular --race      writes data/recorded/rivals/race.json

A way costs what it asks, at the prices of the quiet pass. Its cell at any time is the one of its
best answer so far, and counts by trainings that it did not ask. What ends with a name and not with
a trained network pays for one training more.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.rivals import ALL
from dartslib.rivals.account import FromTable
from dartslib.rivals.asking import Found
from dartslib.rivals.counts import counting
from dartslib.runs.records import RECORDED
from dartslib.tabular.cells import SPACE
from dartslib.tabular.table import Table

FOLDER = RECORDED / "rivals"
MARKS = (5, 20, 60, 180)  # minutes
MINUTES = np.unique(np.concatenate([np.geomspace(1, 180, 60), MARKS]))
REPEATS = 200
SEEDS = 10  # of supernets: repeats that differ by as much share one
Way = Callable[[FromTable, float, int], Iterator[Found]]  # evaluate, budget, seed


def entrants(measured: Mapping[str, Any]) -> dict[str, Way]:
    """Every way to search, by name.

    Args:
        measured: the records of `measuring`, kind -> rows; what is missing does not enter.
    """
    found: dict[str, Way] = {name: on_the_space(search) for name, search in ALL.items()}
    # Without the ten cells that all begin with.
    found["counting_at_once"] = on_the_space(partial(counting, at_once=True))
    rows = measured.get("score", [])
    for name in rows[0]["scores"] if rows else ():
        prices = sum(row["score_seconds"][name] for row in rows)
        found[name] = _ranked([{row["cell"]: row["scores"][name] for row in rows}], [prices])
    if rows:  # TE-NAS: the ranks of both its scores, summed
        both = ("ntk_condition", "linear_regions")
        ranks = [np.argsort(np.argsort([row["scores"][k] for row in rows])) for k in both]
        total = dict(zip((row["cell"] for row in rows), np.add(*ranks).tolist(), strict=True))
        prices = sum(row["score_seconds"][name] for row in rows for name in both)
        found["te_nas"] = _ranked([total], [prices])
    if rows := measured.get("single_path"):
        seconds = [row["train_seconds"] + len(row["values"]) * row["ask_seconds"] for row in rows]
        found["single_path"] = _ranked([row["values"] for row in rows], seconds)
        found["random_sharing"] = lambda evaluate, budget, seed: _random_sharing(
            evaluate, budget, seed, rows
        )
    if trained := measured.get("enas"):
        found["enas"] = lambda evaluate, budget, seed: _named(
            evaluate, budget, trained[seed % len(trained)]
        )
    return found


def on_the_space(search: Callable[..., Iterator[Found]]) -> Way:
    """A rival as an entrant."""
    return lambda evaluate, budget, seed: search(evaluate, SPACE, budget, seed)


def recorded() -> dict[str, Any]:
    """What was measured, kind -> rows, and the race under "race"; needs no torch.

    What is not made yet is not there.
    """
    files = sorted(FOLDER.glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def per_supernet(values: np.ndarray) -> np.ndarray:
    """(SEEDS, ...): means over the repeats that share a supernet.

    So a bar between two ways takes no supernet twice, and does the same to all ways.

    Args:
        values: (repeats, ...), in the order of repeats.
    """
    return np.stack([np.asarray(values)[seed::SEEDS].mean(axis=0) for seed in range(SEEDS)])


def _later(found: Iterator[Found], seconds: float) -> Iterator[Found]:
    for genotype, value, cost in found:
        yield genotype, value, cost + seconds


def _ranked(values: list[Mapping[str, float]], seconds: list[float]) -> Way:
    """Trains the cells in the order of a score that cost so many seconds; a seed has its own."""

    def way(evaluate: FromTable, budget: float, seed: int) -> Iterator[Found]:
        which = seed % len(values)
        name, paid = evaluate.table.name, seconds[which]
        order = {"score": lambda cell: values[which][name(cell)], "at_once": True}
        return _later(counting(evaluate, SPACE, budget - paid, seed, **order), paid)

    return way


def _random_sharing(
    evaluate: FromTable, budget: float, seed: int, rows: list[Mapping[str, Any]], count: int = 100
) -> Iterator[Found]:
    """Li and Talwalkar: of cells drawn at random, the one that a shared network finds best."""
    row = rows[seed % len(rows)]
    drawn = np.random.default_rng([seed, 2]).choice(sorted(row["values"]), count)
    cell = max(drawn, key=row["values"].__getitem__)
    paid = row["train_seconds"] + count * row["ask_seconds"]
    return _named(evaluate, budget, {"cell": cell, "seconds": paid})


def _named(evaluate: FromTable, budget: float, row: Mapping[str, Any]) -> Iterator[Found]:
    """A way that ends with a name: one training more."""
    table = evaluate.table
    (cell,) = (c for c in table.classes if table.name(c) == row["cell"])
    value, cost = evaluate(cell)
    if row["seconds"] + cost <= budget:
        yield cell, value, row["seconds"] + cost


def followed(
    way: Way, table: Table, repeats: int = REPEATS, minutes: np.ndarray = MINUTES
) -> np.ndarray:
    """(repeats, minutes): the truth of a way's cell at these times; nan before it has one."""
    found = np.full((repeats, len(minutes)), np.nan)
    for repeat in range(repeats):
        evaluate, best, truth = FromTable(table, repeat), -np.inf, np.nan
        chosen: Genotype | None = None
        for genotype, value, cost in way(evaluate, 60.0 * minutes[-1], repeat):
            if value > best:
                best, chosen = value, genotype
            truth = evaluate.truth(chosen)
            found[repeat, minutes * 60 >= cost] = truth
    return found


def run(table: Table, ways: Mapping[str, Way]) -> dict[str, Any]:
    """The whole race, as it is recorded: mean and deciles over time, all values at the marks."""
    curves = {}
    at = [int(np.argmin(abs(MINUTES - mark))) for mark in MARKS]
    for name, way in ways.items():
        truths = followed(way, table)
        started = ~np.isnan(truths).any(axis=0)  # times at which every repeat has a cell
        shown = truths[:, started]
        low, high = np.quantile(shown, (0.1, 0.9), axis=0)
        curves[name] = {
            "minutes": MINUTES[started].round(3).tolist(),
            "mean": shown.mean(axis=0).round(5).tolist(),
            "low": low.round(5).tolist(),
            "high": high.round(5).tolist(),
            "marks": {
                str(mark): truths[:, k].round(5).tolist()
                for mark, k in zip(MARKS, at, strict=True)
                if started[k]
            },
        }
    return {"repeats": REPEATS, "curves": curves}

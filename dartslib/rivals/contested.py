"""The recorded searches of the contest, to ask."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dartslib.rivals import contest
from dartslib.runs import records


class Searched(NamedTuple):
    """One search, record by record.

    Attributes:
        arm, group, seed: as in its job's name.
        at: the step of each record, (T,).
        cells: names of the cells that would be derived there; the last is what it found.
        probabilities: (T, edges, operations).
        operations: the columns' names.
        eigenvalues: (n, 2), step and eigenvalue, where a method computes them.
        curves: losses, accuracies and rates, name -> (T,), see `contest.CURVES`.
        logits: of the normal cell, (T, edges, operations).
        error: why it failed, or "".
    """

    arm: str
    group: str
    seed: int
    at: np.ndarray
    cells: tuple[str, ...]
    probabilities: np.ndarray
    operations: tuple[str, ...]
    eigenvalues: np.ndarray
    curves: dict[str, np.ndarray]
    logits: np.ndarray
    error: str

    def place(self, places: Mapping[str, float]) -> float:
        """That of the cell it found among all, by `standings.percentiles`; 0.5 if it failed."""
        return 0.5 if self.error else places[self.cells[-1]]


def searches() -> list[Searched]:
    """All that are recorded, arm by arm in the plan's order.

    Raises:
        FileNotFoundError: there is none.
    """
    found, there = [], records.names(contest.FOLDER)
    for arm in (arm for arm in contest.arms() if arm in there):
        record = records.load(arm, contest.FOLDER)
        for row in record.meta["searches"]:
            job = f"{row['group']}-{row['seed']}"
            rows = record.history[f"{job}-curves"].T  # (curves, T)
            curves = dict(zip(record.meta["curves"], rows, strict=True))
            found.append(
                Searched(
                    arm, row["group"], row["seed"], np.array(row["at"]), tuple(row["cells"]),
                    record.history[job].astype(float), tuple(row["operations"]),
                    np.reshape(row["eigenvalues"], (-1, 2)), curves,
                    record.history[f"{job}-logits"].astype(float), row["error"],
                )
            )  # fmt: skip
    if not found:
        raise FileNotFoundError("No search of the contest is recorded: run contest --make.")
    return found


def kept(name: str) -> Any:
    """What a file beside the records has: "prices", "latency" or "fresh"."""
    return json.loads((contest.FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def by_arm(
    found: list[Searched], group: str, value: Callable[[Searched], float]
) -> dict[str, list[float]]:
    """Arm -> a value per search of a group, in the order of their seeds."""
    mine = sorted((one for one in found if one.group == group), key=lambda one: one.seed)
    arms = dict.fromkeys(one.arm for one in found if one.group == group)
    return {arm: [value(one) for one in mine if one.arm == arm] for arm in arms}

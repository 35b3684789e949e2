"""The recorded searches of the contest, to ask."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dartslib.rivals import contest
from dartslib.runs import records
from dartslib.tabular.cells import classes, name


class Searched(NamedTuple):
    """One search, record by record; its losses and logits are in the record of its arm."""

    arm: str
    group: str
    seed: int
    at: np.ndarray  #: the step of each record, (T,)
    cells: tuple[str, ...]  #: that would be derived there, by name; the last is what it found
    probabilities: np.ndarray  #: (T, edges, operations)
    operations: tuple[str, ...]  #: the columns' names
    eigenvalues: np.ndarray  #: (n, 2), step and eigenvalue, where a method computes them
    error: str  #: why it failed, or ""

    def place(self, places: Mapping[str, float]) -> float:
        """That of the cell it found among all, by `standings.percentiles`; 0.5 if it failed."""
        return 0.5 if self.error else places[self.cells[-1]]


def searches() -> list[Searched]:
    """All that are recorded, arm by arm in the plan's order.

    Raises:
        FileNotFoundError: there is none.
    """
    found, there = [], records.names(contest.FOLDER)
    names = [name(cell.normal) for cell in classes()]
    for arm in (arm for arm in contest.arms() if arm in there):
        record, place = records.load(arm, contest.FOLDER), Counter()
        for row in record.meta["searches"]:
            group = row["group"]
            at, cells, probabilities = (
                record.history[f"{group}-{kind}"][place[group]]
                for kind in ("at", "cells", "probabilities")
            )
            place[group] += 1
            count = (at >= 0).sum()  # records that it has
            found.append(
                Searched(
                    arm, group, row["seed"], at[:count],
                    tuple(names[number] for number in cells[:count]),
                    probabilities[:count].astype(float), tuple(row["operations"]),
                    np.reshape(row["eigenvalues"], (-1, 2)), row["error"],
                )
            )  # fmt: skip
    if not found:
        raise FileNotFoundError("No search of the contest is recorded: run contest --make.")
    return found


def by_arm(
    found: Sequence[Searched], group: str, value: Callable[[Searched], float]
) -> dict[str, list[float]]:
    """Arm -> a value per search of a group, in the order of their seeds."""
    mine = sorted((one for one in found if one.group == group), key=lambda one: one.seed)
    arms = dict.fromkeys(one.arm for one in found if one.group == group)
    return {arm: [value(one) for one in mine if one.arm == arm] for arm in arms}

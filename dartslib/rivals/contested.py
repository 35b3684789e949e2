"""The recorded searches of the contest, to ask: alpha, cells, and what the table says of them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dartslib.rivals import contest
from dartslib.runs import records


class Searched(NamedTuple):
    """One search, record by record.

    Attributes:
        arm, group, seed: as in its job's name.
        steps: how many it made, without those of a selection afterwards.
        at: the step of each record, (T,).
        cells: names of the cells that would be derived there; the last is what it found.
        probabilities: (T, edges, operations).
        operations: the columns' names.
        eigenvalues: (n, 2), step and eigenvalue, where a method computes them.
    """

    arm: str
    group: str
    seed: int
    steps: int
    at: np.ndarray
    cells: tuple[str, ...]
    probabilities: np.ndarray
    operations: tuple[str, ...]
    eigenvalues: np.ndarray


def searches(folder: Path | None = None) -> list[Searched]:
    """All that are recorded, arm by arm in the plan's order.

    Args:
        folder: of the records; None for the contest's own.

    Raises:
        FileNotFoundError: there is none.
    """
    folder, found = folder or contest.FOLDER, []
    for arm in contest.arms():
        if arm not in records.names(folder):
            continue
        record = records.load(arm, folder)
        operations = contest.config_of(arm, 0.1, 0).space().operations
        for row in record.meta["searches"]:
            job = f"{row['group']}-{row['seed']}"
            found.append(
                Searched(
                    arm, row["group"], row["seed"], row["steps"], np.array(row["at"]),
                    tuple(row["cells"]), record.history[job].astype(float), operations,
                    record.history.get(f"eigenvalues-{job}", np.zeros((0, 2))),
                )
            )  # fmt: skip
    if not found:
        raise FileNotFoundError("No search of the contest is recorded: run `contest --make`.")
    return found


def prices() -> dict[str, dict[str, float]]:
    """Arm -> seconds "once" and "per_step", of a quiet core."""
    return json.loads(contest.PRICES.read_text(encoding="utf-8"))


def by_arm(
    found: list[Searched], group: str, value: Callable[[Searched], float]
) -> Mapping[str, list[float]]:
    """Arm -> a value per search of a group, by seed."""
    rows: dict[str, list[float]] = {}
    for one in sorted(found, key=lambda one: one.seed):
        if one.group == group:
            rows.setdefault(one.arm, []).append(value(one))
    return {arm: rows[arm] for arm in contest.arms() if arm in rows}

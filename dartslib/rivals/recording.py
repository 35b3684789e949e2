"""One list of everything that is measured on the small space, and the files that come of it.

The table's trainings first, then its controls, then what `measuring` has: `python -m dartslib
tabular --make`. A job's kind stands before its first hyphen.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dartslib.rivals import measuring, race
from dartslib.rivals.outside import optuna_tpe
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit
from dartslib.tabular import collecting, controls, load, making

LISTS = (making, controls, measuring)


def plan() -> list[str]:
    """The names of all jobs, in the order in which they are made."""
    return [job for one in LISTS for job in one.plan()]


def make(job: str, folder: Path) -> dict[str, Any]:
    """One job of any list."""
    (owner,) = (one for one in LISTS if job in one.plan())
    return making.kept(job, owner.make, folder)


def collect(rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the table's files, and a file per kind of other jobs into data/recorded/rivals."""
    trainings, kinds = [], {}
    for row in rows:
        kind = trainings if "epochs" in row else kinds.setdefault(row["recipe"], [])
        kind.append(row)
    collecting.collect(trainings)
    for kind, found in kinds.items():
        write_text(race.FOLDER / f"{kind}.json", json.dumps(found, indent=1) + "\n")


def record_race() -> None:
    """Runs the race on the table that is there, and writes race.json. Needs optuna."""
    ways = race.entrants(race.recorded()) | {"optuna_tpe": race.on_the_space(optuna_tpe)}
    found = race.run(load(), ways)
    write_text(race.FOLDER / "race.json", json.dumps({"commit": commit()} | found) + "\n")

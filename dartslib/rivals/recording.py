"""One list of everything that is measured on the small space, and the files that come of it.

The table's trainings first, then its controls, then what `measuring` has: `python -m dartslib
tabular --make`. A job's kind stands before its first hyphen.

table.csv has a row per training, table.json says how and where they were made, with the licence
and how to cite it. A row's column `made` points to an entry of table.json, `recipe` to how it was
trained: "short" or "long", or one of the controls.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dartslib.rivals import measuring, race
from dartslib.rivals.outside import optuna_tpe
from dartslib.runs.files import refuse_fewer, write_text, write_together
from dartslib.runs.machine import commit
from dartslib.tabular import controls, load, making, table

LISTS = (making, controls, measuring)
COLUMNS = ("recipe", "cell", "run", "seed", "valid", "test", "train", "epochs", "seconds", "made")
ABOUT_IT = {
    "what": "The 207 classes of the 243 cells of a small space of DARTS, trained.",
    "images": "CIFAR-10 at 16 pixels, means of 2 x 2: 20,000 to train on, 20,000 to judge on.",
    "licence": "MIT, as all of dartslib; CIFAR-10 itself is not in it.",
    "cite": "dartslib, the table of the small space; version and commit as in `made`.",
    "valid": "accuracy on all judging images after the last epoch, a fraction; so test and train",
    "epochs": "accuracy on the first 2,000 judging images after each epoch",
    "seconds": "of the processor, as other work on the machine let it; prices are in prices.csv",
}


def plan() -> list[str]:
    """The names of all jobs, in the order in which they are made."""
    return [job for one in LISTS for job in one.plan()]


def make(job: str, folder: Path) -> dict[str, Any]:
    """One job of any list."""
    (owner,) = (one for one in LISTS if job in one.plan())
    return making.kept(job, owner.make, folder)


def collect(rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the table's files, and a file per kind of other jobs into data/recorded/rivals.

    Raises:
        FileExistsError: more is recorded than these.
    """
    trainings, kinds = [], {}
    for row in rows:
        kind = trainings if "epochs" in row else kinds.setdefault(row["recipe"], [])
        kind.append(row)
    collect_table(trainings)
    for kind, found in kinds.items():
        path = race.FOLDER / f"{kind}.json"
        if path.exists():
            refuse_fewer(path, len(json.loads(path.read_text(encoding="utf-8"))), len(found))
        write_text(path, json.dumps(found, indent=1) + "\n")


def collect_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes table.csv and table.json, both whole or none, of rows as `making.make` gives them.

    Raises:
        FileExistsError: the table has rows that are not among these; it stays.
    """
    made, found = [], []
    for row in rows:
        where = {key: row[key] for key in ("commit", "data", "machine", "versions")}
        if where not in made:
            made.append(where)
        epochs = " ".join(f"{value:.4f}" for value in row["epochs"])
        rounded = {"seconds": f"{row['seconds']:.1f}", "epochs": epochs, "made": made.index(where)}
        found.append({**row, **rounded})
    before, now = (
        {(row["recipe"], row["cell"], str(row["run"])) for row in rows}
        for rows in (table.read_rows(table.ROWS), found)
    )
    refuse_fewer(table.ROWS, len(before), len(before & now))
    recipes = {name: recipe.model_dump(mode="json") for name, recipe in making.RECIPES.items()}
    recipes |= {"twin": recipes["short"], "pools": recipes["short"] | {"cells": controls.NORMED}}
    by_hand = {"lr": controls.RATES, "epochs": "as many as take the mean cell's seconds"}
    recipes["hand"] = controls.HAND.model_dump(mode="json") | by_hand
    trainings = Counter(row["recipe"] for row in found)
    more = {"trainings": dict(trainings), "recipes": recipes, "made": made}
    about = json.dumps(ABOUT_IT | more, indent=1) + "\n"
    text = table.as_csv(COLUMNS, found)
    files = {table.ROWS.name: text.encode(), table.ABOUT.name: about.encode()}
    write_together(table.HERE, files)


def record_race() -> None:
    """Runs the race on the table that is there, and writes race.json. Needs optuna.

    Raises:
        ValueError: a class has fewer trainings than it is to have.
    """
    if min(len(load().query(cell).runs) for cell in load().classes) < making.RUNS:
        raise ValueError(f"The race wants {making.RUNS} trainings of every class: finish them.")
    ways = race.entrants(race.recorded(), load()) | {"optuna_tpe": race.on_the_space(optuna_tpe)}
    found = race.run(load(), ways)
    write_text(race.FOLDER / "race.json", json.dumps({"commit": commit()} | found) + "\n")

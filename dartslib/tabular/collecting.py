"""Writes the table's files from the trainings that are finished.

table.csv has a row per training, table.json says how and where they were made, with the licence
and how to cite it. A row's column `made` points to an entry of table.json, `recipe` to how it was
trained: "short" or "long", or one of the controls.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dartslib.runs.files import write_together
from dartslib.tabular import making
from dartslib.tabular.table import ABOUT, HERE, ROWS, as_csv

COLUMNS = ("recipe", "cell", "run", "seed", "valid", "test", "train", "epochs", "seconds", "made")
ABOUT_IT = {
    "what": "The 207 classes of the 243 cells of a small space of DARTS, each trained three times.",
    "images": "CIFAR-10 at 16 pixels, means of 2 x 2: 20,000 to train on, 20,000 to judge on.",
    "licence": "MIT, as all of dartslib; CIFAR-10 itself is not in it.",
    "cite": "dartslib, the table of the small space; version and commit as in `made`.",
    "valid": "accuracy on all judging images after the last epoch, a fraction; so test and train",
    "epochs": "accuracy on the first 2,000 judging images after each epoch",
    "seconds": "of the processor, as other work on the machine let it; prices are in prices.csv",
}


def collect(rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes table.csv and table.json, both whole or none, of rows as `making.make` gives them."""
    made, found = [], []
    for row in rows:
        where = {key: row[key] for key in ("commit", "data", "machine", "versions")}
        if where not in made:
            made.append(where)
        epochs = " ".join(f"{value:.4f}" for value in row["epochs"])
        rounded = {"seconds": f"{row['seconds']:.1f}", "epochs": epochs, "made": made.index(where)}
        found.append({**row, **rounded})
    recipes = {name: recipe.model_dump(mode="json") for name, recipe in making.RECIPES.items()}
    about = json.dumps(ABOUT_IT | {"recipes": recipes, "made": made}, indent=1) + "\n"
    table = as_csv(COLUMNS, found)
    write_together(HERE, {ROWS.name: table.encode(), ABOUT.name: about.encode()})

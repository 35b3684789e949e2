"""The table: what every cell of the small space is worth, to ask in microseconds. Needs no torch.

    from dartslib import tabular
    table = tabular.load()
    table.query(genotype)              # the mean of its trainings
    table.draw(genotype, generator)    # one of them, as a search would meet it
    table.rank(genotype)               # 1 is the best of 207

CIFAR-10 at 16 pixels; 20,000 images to train on, 20,000 others to judge (`valid`), 10,000 test
images. `recipe` is "short" (8 epochs; three trainings per class, as far as they are
made) or "long" (24 epochs; one of 24 drawn classes). How it was made: `dartslib.tabular.making`.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.space import SearchSpace
from dartslib.tabular.cells import OPERATIONS, SPACE, cells, classes, name, ordered

Rows = list[dict[str, Any]]
HERE = Path(__file__).parent
ROWS, ABOUT = HERE / "table.csv", HERE / "table.json"
PRICES, PRICES_MADE = HERE / "prices.csv", HERE / "prices.json"
JUDGED, WATCHED = 20_000, 2_000  # judging images: at the end, and after every epoch


@dataclass(frozen=True)
class Answer:
    """What is known of a cell: one training of it, or the mean of several; accuracies in fractions.

    `seconds` is the price of one training, of one core, measured with nothing else running; nan
    where the quiet pass is not made yet.
    """

    valid: float  #: on 20,000 judging images, at the end
    test: float  #: on the test images
    train: float  #: on 2,000 training images
    epochs: tuple[float, ...]  #: on 2,000 judging images, after each epoch
    seconds: float
    runs: tuple[int, ...]  #: which trainings are in it


class Table:
    """All trainings of all classes.

    Args:
        rows: a mapping per training, as in table.csv.
        prices: a mapping per class, as in prices.csv; empty where the quiet pass is not made yet.
        about: how it was made, as in table.json.

    Attributes:
        space: the search space, with none.
        cells: all 243 genotypes.
        classes: the 207 that stand for all; equal cells share an answer.
    """

    space: SearchSpace = SPACE

    def __init__(self, rows: Rows, prices: Rows, about: Mapping[str, Any]) -> None:
        self.cells, self.classes, self.about = cells(), classes(), about
        self.prices = {row["cell"]: row for row in prices}
        # recipe -> name of the class -> run -> answer
        self._runs: dict[str, dict[str, dict[int, Answer]]] = {"short": {}}
        for row in rows:
            run, epochs = int(row["run"]), tuple(map(float, str(row["epochs"]).split()))
            price = float(self.prices.get(row["cell"], {}).get("train_seconds", np.nan))
            seconds = price * len(epochs) / about["recipes"]["short"]["epochs"]
            values = (float(row[key]) for key in ("valid", "test", "train"))
            runs = self._runs.setdefault(row["recipe"], {}).setdefault(row["cell"], {})
            runs[run] = Answer(*values, epochs, seconds, (run,))
        self._means = {
            recipe: {cell: _mean([*runs.values()]) for cell, runs in of.items()}
            for recipe, of in self._runs.items()
            if recipe != "hand"  # three rates, perhaps of other numbers of epochs
        }
        # Every cell of the space by itself, so that a question is one look-up.
        self._name = {cell.normal: name(cell.normal) for cell in self.cells}

    def query(self, genotype: Genotype, run: int | None = None, recipe: str = "short") -> Answer:
        """Training `run` of a cell, from 0, by a recipe ("short" or "long"), or the mean of all.

        The normal cell is looked up; the reduction cell plays no part.

        Raises:
            ValueError: no cell of this space, or there is no such training.
        """
        cell = self.name(genotype)
        runs = self._runs.get(recipe, {}).get(cell, {})
        if run is None and runs:
            return self._means[recipe][cell]
        if run not in runs:
            which = "no training" if run is None else f"no run {run}"
            raise ValueError(f"The table has {which} of {cell!r} by the {recipe} recipe.")
        return runs[run]

    def trainings(self, recipe: str) -> dict[str, list[Answer]]:
        """All trainings of one kind, by cell and run: "long", or one of `tabular.controls`."""
        found = self._runs.get(recipe, {})
        return {cell: [runs[run] for run in sorted(runs)] for cell, runs in found.items()}

    def draw(self, genotype: Genotype, generator: np.random.Generator) -> Answer:
        """One of its trainings, each as likely: what a search gets that trains the cell."""
        runs = sorted(self._runs["short"][self.name(genotype)])
        return self.query(genotype, int(generator.choice(runs)))

    def truth(self, genotype: Genotype, without: int | None = None) -> float:
        """Accuracy on the judging images, mean of all trainings but the one that was asked.

        Raises:
            ValueError: no cell of this space, or no other training.
        """
        runs = self._runs["short"][self.name(genotype)]
        left = [answer.valid for run, answer in runs.items() if run != without]
        if not left:
            raise ValueError(f"The table has no other training of {self.name(genotype)!r}.")
        return fmean(left)

    def rank(self, genotype: Genotype) -> int:
        """Rank by the truth among the 207 classes; 1 is the best, ties share the better rank."""
        mine = self.truth(genotype)
        return 1 + sum(answer.valid > mine for answer in self._means["short"].values())

    def name(self, genotype: Genotype) -> str:
        """The class's name in the table, such as "sep0 sep1 | skip0 max2".

        Raises:
            ValueError: the genotype is no cell of this space.
        """
        known = self._name.get(genotype.normal)
        if known is None:  # the edges of a node in another order, or a stranger
            known = self._name.get(ordered(genotype.normal))
        if known is None:
            raise ValueError(
                "This is no cell of the table: it has two nodes, each with two different inputs, "
                f"and on each edge one of {', '.join(OPERATIONS)}."
            )
        return known


def as_csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The text of a CSV file with some keys of these rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _mean(runs: list[Answer]) -> Answer:
    return Answer(
        *(fmean(getattr(run, key) for run in runs) for key in ("valid", "test", "train")),
        tuple(fmean(values) for values in zip(*(run.epochs for run in runs), strict=True)),
        runs[0].seconds,
        tuple(number for run in runs for number in run.runs),
    )


def read_rows(path: Path) -> Rows:
    """The rows of a CSV file as mappings of texts; none where there is no file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return list(csv.DictReader(text.splitlines()))


@cache
def load() -> Table:
    """The table that comes with dartslib; some milliseconds, once.

    Raises:
        FileNotFoundError: this copy of dartslib has none.
    """
    if not ROWS.exists():
        raise FileNotFoundError("This dartslib has no table: `python -m dartslib tabular --make`.")
    about = json.loads(ABOUT.read_text(encoding="utf-8"))
    return Table(read_rows(ROWS), read_rows(PRICES), about)

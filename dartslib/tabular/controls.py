"""Trainings beside the table that say what its numbers depend on.

- twin: six of the 36 cells that equal a class, trained as they are written. They must agree.
- pools: twelve classes with pools, these followed by BatchNorm as they are in a search.
- hand: no cell at all, a network of plain 3 x 3 convolutions, for as many seconds as the cells.
"""

from typing import Any

from torch import nn

from dartslib.data import DataSet
from dartslib.genotypes import Genotype
from dartslib.operations import OPERATIONS, max_pool_3x3, register
from dartslib.runs.dense import STAND_IN, DenseConfig
from dartslib.tabular.cells import cells, classes
from dartslib.tabular.making import IMAGES, RECIPE, RUNS, numbered, seed_of, train
from dartslib.tabular.table import PRICES, read_rows

RATES = (0.05, 0.15, 0.45)  # of the network made by hand; the cells have RECIPE's
TWINS, POOLS = 6, 12
NORMED = "max_pool_3x3_norm"
HAND = DenseConfig(**RECIPE.model_dump())


def plan() -> list[str]:
    """Names of the trainings, "twin-0"."""
    return numbered(twin=TWINS, pools=POOLS, hand=len(RATES))


def make(job: str, images: DataSet) -> dict[str, Any]:
    """One training of the plan: what `making.train` returns."""
    kind, number = job.split("-")
    if kind == "hand":
        config = HAND.changed(lr=RATES[int(number)], epochs=equal_epochs())
        return train(STAND_IN, int(number), config, images)
    cell = (twins if kind == "twin" else normed)()[int(number)]
    return train(cell, RUNS, RECIPE, images)  # a run, and so a seed, that the table has not


def twins() -> list[Genotype]:
    """Cells that equal a class of the table without being it, in an order of chance."""
    others = [cell for cell in cells() if cell not in classes()]
    return sorted(others, key=_chance)[:TWINS]


def normed() -> list[Genotype]:
    """Classes with a pool, in an order of chance, each pool with its BatchNorm."""
    if NORMED not in OPERATIONS:  # for these trainings alone

        @register(NORMED)
        def normed_pool(channels: int, stride: int, searching: bool) -> nn.Module:
            return max_pool_3x3(channels, stride, True)  # as the search builds it

    chosen = sorted((cell for cell in classes() if "max_pool" in str(cell.normal)), key=_chance)
    texts = (cell.to_json().replace("max_pool_3x3", NORMED) for cell in chosen[:POOLS])
    return [Genotype.from_json(text) for text in texts]


def _chance(cell: Genotype) -> int:
    return seed_of(cell, RUNS)


def equal_epochs() -> int:
    """Epochs of the network made by hand that take as many seconds as the mean cell's training.

    From the prices of the quiet pass.
    """
    rows = read_rows(PRICES)
    mine = next(row for row in rows if row["cell"] == "hand")
    price = sum(float(row["train_seconds"]) for row in rows if row is not mine) / (len(rows) - 1)
    steps = int(IMAGES * RECIPE.held_out) // RECIPE.batch_size
    return round(price / (float(mine["step_seconds"]) * steps))

"""A table of the small space whose truth is known, and small images that are noise."""

import numpy as np

from dartslib.data import DataSet
from dartslib.tabular.cells import classes, name
from dartslib.tabular.table import Table


def made_up_table(value, noise=0.0, runs=3, seed=0, price=lambda cell: 60.0, more=()):
    """The table where a class is worth value(cell), give or take noise, at price(cell) seconds.

    more: rows of other trainings.
    """
    generator = np.random.default_rng(seed)
    rows, prices = [], []
    for cell in classes():
        named = name(cell.normal)
        prices.append({"cell": named, "train_seconds": price(cell)})
        for run in range(runs):
            end = value(cell) + noise * generator.normal()
            epochs = " ".join(str(end * (k + 1) / 8) for k in range(8))
            rows.append(
                {"recipe": "short", "cell": named, "run": run, "valid": end, "test": end,
                 "train": end, "epochs": epochs}
            )  # fmt: skip
    return Table([*rows, *more], prices, {"recipes": {"short": {"epochs": 8}}})


def noise_images(training, test=24, classes=10):
    """A data set of 16 x 16 pixels that mean nothing."""
    generator = np.random.default_rng(0)
    shapes = [(count, 16, 16, 3) for count in (training, test)]
    x = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    y = [generator.integers(0, classes, len(images)) for images in x]
    return DataSet.from_arrays("noise", x[0], y[0], x[1], y[1], list("abcdefghij"[:classes]))

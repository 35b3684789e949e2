"""Trains the cells of the small space: the list of trainings, and one of them.

Images are those of CIFAR-10 at 16 pixels, means of 2 x 2. Of the 50,000 training images 20,000 are
used to train (a search takes its halves from them) and 20,000 to judge; test images are extra.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from dartslib.data import DataSet, Subset, load, split
from dartslib.genotypes import Genotype
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.running import begin_training
from dartslib.tabular.cells import SPACE, classes, name
from dartslib.tabular.table import JUDGED, ROWS, WATCHED, read_rows
from dartslib.training import TrainConfig

IMAGES = 2 * JUDGED  # training images in use: one half to train on, one to judge on

RECIPE = TrainConfig(
    dataset="cifar10", part="compare", held_out=0.5, crop=2, layers=3, reductions=(), channels=16,
    head="linear", epochs=8, batch_size=128, lr=0.15, schedule="one_cycle", label_smoothing=0.1,
)  # fmt: skip
RECIPES = {"short": RECIPE, "long": RECIPE.changed(epochs=24)}
RUNS = 3  # trainings of each class by the short recipe
LONG = 24  # classes that are drawn for one training by the long one


def plan() -> list[str]:
    """The trainings of the table by name, "short-17-0": recipe, number of the class, run.

    The table is valid at any moment: every class comes once before any twice, and the order of
    classes has nothing to do with what they are.
    """
    order = sorted(range(len(classes())), key=lambda number: seed_of(classes()[number], 0))
    short = [f"short-{number}-{run}" for run in range(RUNS) for number in order]
    return short + [f"long-{number}-{RUNS}" for number in order[:LONG]]  # seeds of their own


def numbered(**counts: int) -> list[str]:
    """Names of jobs, kind by kind: "enas-0", "enas-1", … of enas=2."""
    return [f"{kind}-{number}" for kind, count in counts.items() for number in range(count)]


def make(job: str, images: DataSet) -> dict[str, Any]:
    """One training of the plan: what `train` returns."""
    recipe, number, run = job.split("-")
    return train(classes()[int(number)], int(run), RECIPES[recipe], images)


def kept(job: str, make: Callable[[str, DataSet], dict[str, Any]], folder: Path) -> dict[str, Any]:
    """A job of any list on the small images, on one thread, and where it was made.

    What stands before the first hyphen of its name is the row's "recipe".
    """
    torch.set_num_threads(1)
    images = small_images(folder)
    made = {"commit": commit(), "data": images.digest(), "versions": versions()}
    kind = {"recipe": job.split("-")[0], "machine": machine("cpu")}
    return make(job, images) | made | kind


def remake(
    count: int, folder: str | Path = "data"
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Trains `count` drawn rows of the table again: (as it is there, as it comes out here) of each.

    Equal on the same kind of processor; elsewhere within the noise of a training.
    """
    if not count:
        return
    rows = [row for row in read_rows(ROWS) if row["recipe"] in RECIPES]
    numbers = {name(cell.normal): number for number, cell in enumerate(classes())}
    for place in np.random.default_rng(0).choice(len(rows), count, replace=False):
        old = rows[place]
        job = f"{old['recipe']}-{numbers[old['cell']]}-{old['run']}"
        yield old, kept(job, make, Path(folder))


def small_images(folder: str | Path = "data") -> DataSet:
    """CIFAR-10 at 16 pixels, means of 2 x 2, in the hash order of the large images."""
    large = load("cifar10", folder)

    def halved(images: torch.Tensor) -> torch.Tensor:
        means = F.avg_pool2d(images.float(), 2)  # (N, 3, 32, 32) -> (N, 3, 16, 16)
        return means.round().to(torch.uint8)

    x_train, y_train = halved(large.x_train[:IMAGES]), large.y_train[:IMAGES]
    small = {"x_train": x_train, "y_train": y_train, "x_test": halved(large.x_test)}
    return replace(large, name="cifar10 at 16 pixels", **small)


def seed_of(cell: Genotype, run: int) -> int:
    """A seed per training: one seed for all would shift whole kinds of cells together."""
    digest = hashlib.blake2b(f"{name_of(cell)}/{run}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def train(cell: Genotype, run: int, recipe: TrainConfig, images: DataSet) -> dict[str, Any]:
    """One training of one cell, and its results.

    Args:
        cell: of the space, or anything that the recipe makes a network of.
        run: which training of this cell, from 0.
        recipe: all settings but the seed.
        images: from `small_images`.

    Returns:
        Accuracies (fractions): "epochs" on the watched judging images after every epoch; "valid" on
        all judging images, "test", and "train" on `WATCHED` training images at the end. CPU
        seconds: "train_seconds" of the steps, "seconds" of all.
    """
    began = process_time()
    config = recipe.changed(seed=seed_of(cell, run))
    training, cut = begin_training(config, cell, images)[0], split(images, held_out=config.held_out)
    training.watched = images.evaluation_batches(cut.compare_valid.first(WATCHED))
    stepping = process_time()
    for _ in training:
        pass
    seconds = process_time() - stepping

    def accuracy(of: Subset) -> float:
        return training.evaluate(images.evaluation_batches(of))[1]

    return {
        "cell": name_of(cell),
        "run": run,
        "seed": config.seed,
        "epochs": [float(value) for value in training.history["valid_accuracy"]],
        "valid": accuracy(cut.compare_valid),
        "test": accuracy(cut.test),
        "train": accuracy(cut.compare_train.first(WATCHED)),
        "train_seconds": seconds,
        "seconds": process_time() - began,
    }


def name_of(cell: Genotype) -> str:
    """Its name in the table; "hand" for what is no cell of the space."""
    return name(cell.normal) if len(cell.normal) == SPACE.nodes else "hand"

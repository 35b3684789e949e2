"""Which recipe tells the cells of the small space apart? Measured on a dozen of them.

    python -m benchmarks.recipe            trains what is missing, two processes of one thread
    python -m benchmarks.recipe --show     what has been trained, as a table
    python -m benchmarks.recipe --record   writes benchmarks/recipe.json from it

Needs data/cifar10.npz or a network. A training that is done lies in runs/recipe/ and is not made
again.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.many import finished, make_all
from dartslib.tabular import making
from dartslib.tabular.cells import classes, name

HERE = Path(__file__).resolve().parent
FOLDER, RECORD = HERE.parent / "runs" / "recipe", HERE / "recipe.json"

# From none to four separable convolutions, wired side by side (node 2 reads the inputs) and in a
# row (node 2 reads node 1).
CELLS = (
    "skip0 skip1 | skip0 skip1",
    "max0 max1 | max0 max1",
    "sep0 skip1 | skip0 max1",
    "skip0 sep1 | max1 skip2",
    "max0 skip1 | skip1 sep2",
    "sep0 sep1 | skip0 skip1",
    "sep0 skip1 | skip0 sep2",
    "skip0 sep1 | max1 sep2",
    "sep0 sep1 | sep0 skip1",
    "sep0 sep1 | skip0 sep2",
    "sep0 sep1 | sep0 sep1",
    "sep0 sep1 | sep1 sep2",
)
# The others are there for their price and for how far their order is that of 24 epochs. Half of the
# cells, once, do for that: a training may cost two minutes, and these cost more.
HALF = CELLS[3::2] + CELLS[-2:-1]
# name -> what differs from RECIPE, how often each cell is trained, which cells
RECIPES = {
    "8 epochs": ({}, 2, CELLS),
    "4 cells": ({"layers": 4}, 1, HALF),
    "12 epochs, batch 256": ({"epochs": 12, "batch_size": 256, "lr": 0.3}, 1, HALF),
    "24 epochs": ({"epochs": 24}, 1, CELLS),
}


def plan() -> dict[str, tuple[str, str, int]]:
    """Name of each training -> recipe, cell and number; what decides most comes first."""
    found = [
        (recipe, cell, run)
        for recipe, (_, runs, cells) in RECIPES.items()
        for run in range(runs)
        for cell in cells
    ]
    return {
        "-".join(" ".join(map(str, key)).replace("|", "").replace(",", "").split()): key
        for key in found
    }


def make(job: str) -> dict:
    torch.set_num_threads(1)
    recipe, cell, run = plan()[job]
    changes, *_ = RECIPES[recipe]
    settings = making.RECIPE.changed(**changes)
    genotype = next(c for c in classes() if name(c.normal) == cell)
    row = making.train(genotype, run, settings, making.small_images())
    row |= {"recipe": recipe, "commit": commit(), "machine": machine("cpu"), "versions": versions()}
    return row


def rows(recipe: str) -> list[dict]:
    return list(finished(FOLDER, [job for job, key in plan().items() if key[0] == recipe]).values())


def table(recipe: str) -> dict[str, list[float]]:
    """Cell -> accuracies in % on the judging images, a training each."""
    found = {cell: [] for cell in CELLS}
    for row in rows(recipe):
        found[row["cell"]].append(100 * row["valid"])
    return found


def spread_and_noise(accuracies: dict[str, list[float]]) -> tuple[float, float]:
    """Standard deviations between cells that have a convolution, and between trainings of one."""
    means = [np.mean(v) for cell, v in accuracies.items() if v and "sep" in cell]
    squares = [np.var(v, ddof=1) for v in accuracies.values() if len(v) > 1]
    noise = float(np.sqrt(np.mean(squares))) if squares else float("nan")
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"), noise


def agreement(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """Share of pairs of cells that both orders agree on, from -1 to 1 (Kendall's tau)."""
    both = [cell for cell in CELLS if one[cell] and other[cell]]
    signs = [
        np.sign(np.mean(one[a]) - np.mean(one[b])) * np.sign(np.mean(other[a]) - np.mean(other[b]))
        for a, b in combinations(both, 2)
    ]
    return float(np.mean(signs)) if signs else float("nan")


def show() -> None:
    tables = {recipe: table(recipe) for recipe in RECIPES}
    print("accuracy in % on the judging images: mean of the trainings (number)")
    print(f"{'':28}" + "".join(f"{recipe:>22}" for recipe in RECIPES))
    for cell in CELLS:
        values = [tables[recipe][cell] for recipe in RECIPES]
        texts = [f"{np.mean(v):.2f} ({len(v)})" if v else "" for v in values]
        print(f"{cell:28}" + "".join(f"{text:>22}" for text in texts))
    for recipe in RECIPES:
        spread, noise = spread_and_noise(tables[recipe])
        seconds = [row["seconds"] for row in rows(recipe)] or [float("nan")]
        print(
            f"{recipe}: spread {spread:.2f}, noise {noise:.2f}, {np.mean(seconds):.0f} s a training"
            f" ({min(seconds):.0f} to {max(seconds):.0f}), order as after 24 epochs: tau "
            f"{agreement(tables[recipe], tables['24 epochs']):.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--record", action="store_true")
    chosen = parser.parse_args()
    if chosen.record:
        found = [row for recipe in RECIPES for row in rows(recipe)]
        text = json.dumps({"recipe": making.RECIPE.model_dump(), "trainings": found}, indent=1)
        write_text(RECORD, text + "\n")
    if not (chosen.show or chosen.record):
        for job in make_all(FOLDER, plan(), make):
            print(job, flush=True)
    show()


if __name__ == "__main__":
    main()

"""The quiet pass: what a cell costs, measured with nothing else running on the machine.

    python -m dartslib tabular --price      writes prices.csv and prices.json; some 25 minutes

The trainings of the table run two at a time, and their seconds say what else the machine did: one
cell took 74 seconds and 447. Here one process of one thread goes through all cells five times. Of
steps, in process time, the median of the rounds counts; of forward passes, in wall time, the
quickest round: whatever disturbs them makes them slower. prices.json says where and by which code.
"""

import ctypes
import gc
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch
from tqdm import tqdm

from dartslib.data import DataSet
from dartslib.genotypes import Genotype
from dartslib.methods.latency import typical
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.runs.dense import STAND_IN
from dartslib.runs.files import write_together
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.running import begin_training
from dartslib.tabular.cells import classes
from dartslib.tabular.controls import HAND
from dartslib.tabular.making import RECIPE, name_of, small_images
from dartslib.tabular.table import PRICES, PRICES_MADE, as_csv
from dartslib.training import TrainConfig

ROUNDS, STEPS = 5, 5
FORWARDS = {1: 30, 64: 5}  # images -> passes
DIGITS = {
    "step_seconds": ".4f", "train_seconds": ".1f", "forward_1_ms": ".3f", "forward_64_ms": ".2f",
    "peak_mib": ".0f",
}  # fmt: skip


def price(cell: Genotype, images: DataSet, recipe: TrainConfig) -> dict[str, Any]:
    """What one cell costs, by the columns of prices.csv; `recipe` makes a network of it.

    Weights and multiply-adds of its network; median seconds of a training step and of all steps of
    the recipe, process time of one thread; milliseconds of a forward pass of 1 and of 64 images,
    wall time; the largest memory that the steps added, in MiB (Linux).
    """
    training, _ = begin_training(recipe, cell, images)
    _give_back()
    before = peak_memory(anew=True)
    step = typical(training.advance, STEPS, process_time)
    peak = peak_memory() - before
    shape = images.in_channels, images.image_size, images.image_size
    network, times = training.network.eval(), {}
    with torch.inference_mode():
        for count, passes in FORWARDS.items():
            times[count] = 1000 * typical(partial(network, torch.randn(count, *shape)), passes)
    return {
        "cell": name_of(cell),
        "weights": count_weights(network),
        "multiply_adds": count_multiply_adds(network, *shape),
        "step_seconds": step,
        "train_seconds": step * training.steps,
        "forward_1_ms": times[1],
        "forward_64_ms": times[64],
        "peak_mib": peak,
    }


def price_all(folder: str | Path = "data") -> None:
    """Measures all cells and the network made by hand, and writes prices.csv."""
    torch.set_num_threads(1)
    images = small_images(folder)
    every = [(cell, RECIPE) for cell in classes()] + [(STAND_IN, HAND)]
    price(STAND_IN, images, HAND)  # the first network pays for what torch sets up once
    rounds = [
        [price(cell, images, recipe) for cell, recipe in tqdm(every, desc="prices", unit="cell")]
        for _ in range(ROUNDS)
    ]
    rows = [
        once
        | {
            key: f"{of_rounds(key)(row[key] for row in same):{form}}"
            for key, form in DIGITS.items()
        }
        for once, *same in zip(rounds[0], *rounds, strict=True)
    ]
    made = {"commit": commit(), "machine": machine("cpu"), "versions": versions()}
    about = json.dumps(made | {"rounds": ROUNDS, "steps": STEPS}, indent=1) + "\n"
    files = {PRICES.name: as_csv(rows[0], rows).encode(), PRICES_MADE.name: about.encode()}
    write_together(PRICES.parent, files)


def of_rounds(key: str) -> Callable[[Iterable[float]], float]:
    """What counts of the rounds of a column of prices.csv."""
    return min if key.startswith("forward") else median


def peak_memory(anew: bool = False) -> float:
    """Largest resident memory in MiB since it was last asked anew; 0 where it cannot be known."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    if anew:
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak begins at what is in use
    (line,) = (x for x in status.read_text("utf-8").splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def _give_back() -> None:
    """Returns what earlier networks left in the process: else the next one takes it for nothing."""
    gc.collect()
    with suppress(OSError, AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)

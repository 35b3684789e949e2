"""The quiet pass: what a cell costs, measured with nothing else running on the machine.

    python -m dartslib tabular --price      writes prices.csv; some 15 minutes

The trainings of the table run two at a time, and their seconds say what else the machine did: one
cell took 74 seconds and 447. Here every cell takes 20 steps in one process of one thread, in
process time.
"""

import ctypes
import gc
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import torch
from tqdm import tqdm

from dartslib.data import DataSet
from dartslib.genotypes import Genotype
from dartslib.methods.latency import typical
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.runs.dense import STAND_IN
from dartslib.runs.files import write_text
from dartslib.runs.running import begin_training
from dartslib.tabular.cells import classes
from dartslib.tabular.controls import HAND
from dartslib.tabular.making import RECIPE, name_of, small_images
from dartslib.tabular.table import PRICES, as_csv, read_rows
from dartslib.training import TrainConfig

STEPS = 20
FORWARDS = {1: 30, 64: 5}  # images -> passes


def price(cell: Genotype, images: DataSet, recipe: TrainConfig) -> dict[str, Any]:
    """What one cell costs, as a row of prices.csv; `recipe` makes a network of it.

    Weights and multiply-adds of its network; median seconds of a training step and of all steps of
    the recipe, process time of one thread; milliseconds of a forward pass of 1 and of 64 images,
    wall time; the largest memory that 20 steps added, in MiB (Linux).
    """
    training, _ = begin_training(recipe, cell, images)
    _give_back()
    before = _peak(anew=True)
    step = typical(training.advance, STEPS, process_time)
    peak = _peak() - before
    shape = images.in_channels, images.image_size, images.image_size
    network, times = training.network.eval(), {}
    with torch.inference_mode():
        for count, passes in FORWARDS.items():
            times[count] = 1000 * typical(partial(network, torch.randn(count, *shape)), passes)
    return {
        "cell": name_of(cell),
        "weights": count_weights(network),
        "multiply_adds": count_multiply_adds(network, *shape),
        "step_seconds": f"{step:.4f}",
        "train_seconds": f"{step * training.steps:.1f}",
        "forward_1_ms": f"{times[1]:.3f}",
        "forward_64_ms": f"{times[64]:.2f}",
        "peak_mib": f"{peak:.0f}",
    }


def price_all(folder: str | Path = "data") -> None:
    """Measures what prices.csv has not yet, in one process of one thread, and writes it."""
    torch.set_num_threads(1)
    images, rows = small_images(folder), read_rows(PRICES)
    known = {row["cell"] for row in rows}
    left = [(cell, RECIPE) for cell in classes()] + [(STAND_IN, HAND)]
    left = [(cell, recipe) for cell, recipe in left if name_of(cell) not in known]
    if left:  # the first network in a process pays for what torch sets up once
        cell, recipe = left[-1]
        price(cell, images, recipe)
    for cell, recipe in tqdm(left, desc="prices", unit="cell"):
        rows.append(price(cell, images, recipe))
    write_text(PRICES, as_csv(rows[0], rows))


def _peak(anew: bool = False) -> float:
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

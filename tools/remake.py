"""Make the beginning of a recorded run again, and compare it with the record.

    python tools/remake.py study/search-cifar10-first_order-0
    python tools/remake.py study/compare-cifar10-random-3 --epochs 2 --data data

Runs with as many threads as the record names. On the same processor with the same versions every
number of the history comes out equal; elsewhere sums are taken in another order, and the numbers
part slowly. Nothing is written.
"""

import argparse
import sys

import numpy as np
import torch

from dartslib.data import load
from dartslib.runs import records
from dartslib.runs.machine import machine, versions
from dartslib.runs.running import begin_search, begin_training
from dartslib.runs.trained import config_of
from dartslib.searching import Search, SearchConfig
from dartslib.training import Training

SKIPPED = {"seconds"}


def begin(record: records.Record, data: str) -> Search | Training:
    """The loop of a record at its first step.

    Raises:
        ValueError: the record is no search and no training.
    """
    if record.meta["kind"] not in ("search", "train"):
        raise ValueError(
            f"{record.name} is a measurement, which is made whole or not at all: run "
            f"{record.meta['command']}."
        )
    if record.meta["kind"] == "search":
        config = SearchConfig(**record.meta["config"])
        return begin_search(config, load(config.dataset, data))[0]
    config = config_of(record.meta)
    return begin_training(config, record.genotype, load(config.dataset, data))[0]


def compare(record: records.Record, loop: Search | Training, epochs: int) -> dict[str, float]:
    """Runs the loop for some epochs; the largest difference from the record, by name."""
    last = loop.steps * epochs // loop.config.epochs
    for _ in loop.each_step():
        if loop.step >= last:
            break
    found = {}
    for name, values in loop.history.items():
        if name not in SKIPPED and name in record.history:
            ours = np.asarray(values)
            theirs = record.history[name][: len(ours)]
            same = np.isclose(ours.astype(theirs.dtype), theirs, rtol=0, atol=0, equal_nan=True)
            difference = np.abs(ours - theirs)[~same]
            found[name] = float(difference.max()) if difference.size else 0.0
    return found


def made_alike(record: records.Record) -> bool:
    """Whether this machine and its versions are those that began the record."""
    there, here = record.meta["machines"][0], machine()
    parts = "processor", "instructions", "device"
    same = all(there.get(part) == here.get(part) for part in parts)
    return same and record.meta["versions"][0] == versions()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the record, in data/recorded")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--data", default="data", help="folder of the data sets")
    options = parser.parse_args()
    try:
        record = records.load(options.name)
        loop = begin(record, options.data)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    torch.set_num_threads(int(record.meta["machines"][0]["threads"]))
    differences = compare(record, loop, options.epochs)
    for name, difference in differences.items():
        print(f"{name:28}{difference:12.3g}" if difference else f"{name:28}{'equal':>12}")
    alike = made_alike(record)
    print(f"machine and versions {'as in' if alike else 'other than in'} the record")
    sys.exit(any(differences.values()) and alike)


if __name__ == "__main__":
    main()

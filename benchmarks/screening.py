"""Which settings of a better hour pay? All judged together, in twelve trainings.

    python -m benchmarks.screening             trains what is missing, two processes of one thread
    python -m benchmarks.screening --record    effects and bars, into benchmarks/screening.json

A screening design of Plackett and Burman (1946): in twelve runs each of seven settings is on in six
and off in six, and any two of them in three each. The effect of a setting is the mean of its six
less the mean of the others. Four columns of the design have no setting: what they seem to do is
noise, and gives the bar. Fixed before any result: below one point nothing is called useful.

Needs data/cifar10.npz or a network. Images are judged that no training sees; never the test images.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from time import process_time

import numpy as np
import torch
from scipy import stats

from dartslib.data import load
from dartslib.genotypes import PUBLISHED
from dartslib.runs.files import write_text
from dartslib.runs.hour import HourConfig
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.many import finished, make_all
from dartslib.runs.running import begin_training

HERE = Path(__file__).resolve().parent
FOLDER, RECORD = HERE.parent / "runs" / "screening", HERE / "screening.json"
CELL = "REPORT_SECOND"
BASE = HourConfig(
    part="compare", held_out=0.6, layers=8, channels=16, head="linear", epochs=7, lr=0.15,
    schedule="one_cycle", label_smoothing=0.1,
)  # fmt: skip
SETTINGS = {
    "alternating flip": {"flip": "alternate"},
    "Nesterov": {"nesterov": True},
    "rate of BatchNorm's biases": {"bias_rate": 16.0},
    "running mean of weights": {"average": 0.99, "norm_momentum": 0.4},
    "label smoothing 0.2": {"label_smoothing": 0.2},
    "crops from 24 pixels": {"first_size": 24},
    "Muon on pointwise weights": {"muon": 0.02},
}
FIRST_ROW = "++-+++---+-"  # of Plackett and Burman's design for 12 runs; the others are its shifts
LEAST = 0.01  # what is called useful


def design() -> np.ndarray:
    """(12 runs, 11 columns) of 1 and -1."""
    row = np.array([1 if sign == "+" else -1 for sign in FIRST_ROW])
    return np.stack([np.roll(row, k) for k in range(11)] + [-np.ones(11, dtype=int)])


def config_of(run: int) -> HourConfig:
    """The settings of a run of the design; its seed is its number."""
    changes = [
        change for change, sign in zip(SETTINGS.values(), design()[run], strict=False) if sign == 1
    ]
    return BASE.changed(seed=run, **{name: v for change in changes for name, v in change.items()})


def make(job: str) -> dict:
    """One run: accuracies on images that it did not see, plain and mirrored, and CPU seconds."""
    torch.set_num_threads(1)
    config, data = config_of(int(job)), load("cifar10")
    training, batches = begin_training(config, PUBLISHED[CELL], data)
    training.watched = None  # looked at once, at the end
    began = process_time()
    for _ in training:
        pass
    seconds = process_time() - began
    return {
        "config": config.model_dump(mode="json"), "seconds": seconds,
        "valid": training.evaluate(batches)[1], "mirrored": training.evaluate_mirrored(batches)[1],
        "train": float(np.mean(training.history["train_accuracy"][-10:])),
        "commit": commit(), "machine": machine("cpu"), "versions": versions(),
    }  # fmt: skip


def effects(values: list[float], level: float = 0.05) -> dict[str, float]:
    """Setting -> effect on the values of the twelve runs; "bar" is half of the interval.

    The columns without a setting have effects of noise alone; their mean square is the variance of
    an effect, with as many degrees of freedom as there are such columns.
    """
    all_of = design().T @ np.asarray(values) / 6  # (11,)
    free = all_of[len(SETTINGS) :]
    bar = stats.t.isf(level / 2, len(free)) * np.sqrt(np.mean(free**2))
    return dict(zip(SETTINGS, map(float, all_of), strict=False)) | {"bar": float(bar)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write benchmarks/screening.json")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    jobs = [str(run) for run in range(len(design()))]
    if not given.record:
        for job in make_all(FOLDER, jobs, make, workers=given.workers):
            print(job, flush=True)
    rows = finished(FOLDER, jobs)
    print(f"{len(rows)} of {len(jobs)} runs are finished")
    if len(rows) < len(jobs):
        return
    found = {
        key: effects([row[key] for row in rows.values()])
        for key in ("valid", "mirrored", "train", "seconds")
    }
    for name in SETTINGS:
        print(f"{name:30}{100 * found['valid'][name]:+6.2f} points")
    print(f"bar {100 * found['valid']['bar']:.2f}, mean {fmean(r['valid'] for r in rows.values())}")
    if given.record:
        write_text(RECORD, json.dumps({"effects": found, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

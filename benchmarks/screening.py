"""Which settings of a better hour pay? All judged together, in twenty-four trainings.

    python -m benchmarks.screening             trains what is missing, two processes of one thread
    python -m benchmarks.screening --record    effects and what is kept, into screening.json

A screening design of Plackett and Burman (1946) for twelve runs, and the same with all signs
turned: each of seven settings is on in twelve runs and off in twelve, and any two are both on in
six. The effect of a setting is the mean of its twelve less the mean of the others; what two
settings do together moves none of the seven. What single settings do not explain, pairs and noise,
gives the bar. Fixed before any result: a setting is kept if its effect on accuracy is above its
bar and one point or more. Crops make an epoch shorter, so with them there are eight epochs in the
time of six.

Then what is kept is trained with all of it, and without any, three times each: effects that were
chosen for being large are too large.

The network has the size of the comparison; the cell is one drawn at random that is in no table.
Images are judged that no training sees; never the test images. Needs data/cifar10.npz or a network.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import fmean
from time import process_time
from typing import Any

import numpy as np
import torch
from scipy import stats

from dartslib import SearchSpace
from dartslib.data import load, split
from dartslib.runs.drawing import draw
from dartslib.runs.files import write_text
from dartslib.runs.hour import HourConfig
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.many import Row, finished, make_all, refuse_others
from dartslib.runs.results import bar
from dartslib.runs.running import begin_training

HERE = Path(__file__).resolve().parent
FOLDER, RECORD = HERE.parent / "runs" / "screening", HERE / "screening.json"
CELL = 100  # number of the cell among those drawn at random; the study's are 0 to 8
JUDGED = 10_000
BASE = HourConfig(
    part="compare", held_out=0.6, layers=8, channels=8, head="linear", epochs=6, lr=0.15,
    schedule="one_cycle", label_smoothing=0.1,
)  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "alternating flip": {"flip": "alternate"},
    "Nesterov": {"nesterov": True},
    "rate of BatchNorm's biases": {"bias_rate": 16.0},
    "running mean of weights": {"average": 0.1, "norm_momentum": 0.4},
    "label smoothing 0.2": {"label_smoothing": 0.2},
    "crops from 24 pixels": {"first_size": 24, "epochs": 8},
    "Muon on pointwise weights": {"muon": 0.02},
}
FIRST_ROW = "++-+++---+-"  # of Plackett and Burman's design for 12 runs; the others are its shifts
LEAST = 0.01  # of accuracy: what is called useful
KINDS, TOGETHER = ("none", "kept"), 3  # trainings with nothing, and with all that is kept


def design() -> np.ndarray:
    """(24 runs, 7 settings) of 1 and -1."""
    row = np.array([1 if sign == "+" else -1 for sign in FIRST_ROW])
    rows = [np.roll(row, k) for k in range(11)] + [-np.ones(11, dtype=int)]
    half = np.stack(rows)[:, : len(SETTINGS)]  # (12, 7)
    return np.concatenate([half, -half])


def plan(kept: tuple[str, ...] | None = None) -> list[str]:
    """Names of the jobs: the runs of the design, and with what is kept those that come after."""
    after = [] if kept is None else [f"{kind}-{k}" for k in range(TOGETHER) for kind in KINDS]
    return [str(run) for run in range(len(design()))] + after


def config_of(job: str, kept: tuple[str, ...] = ()) -> HourConfig:
    """The settings of a job; its seed is its place in the plan."""
    if job.isdigit():
        on = [name for name, sign in zip(SETTINGS, design()[int(job)], strict=True) if sign == 1]
    else:
        on = kept if job.startswith("kept") else ()
    changes = {key: value for name in on for key, value in SETTINGS[name].items()}
    return BASE.changed(seed=plan(kept).index(job), **changes)


def make(job: str, kept: tuple[str, ...] = ()) -> Row:
    """One run: accuracies on images that it did not see, plain and mirrored, and CPU seconds.

    A loss that is not finite ends it at chance; "error" says so.
    """
    torch.set_num_threads(1)
    made = {"commit": commit(), "machine": machine("cpu"), "versions": versions()}
    config, data = config_of(job, kept), load("cifar10")
    training, _ = begin_training(config, draw(SearchSpace.report(), CELL), data)
    training.watched = None  # looked at once, at the end
    began, error = process_time(), ""
    found = dict.fromkeys(("valid", "mirrored", "train"), 1 / data.num_classes)
    judged = data.evaluation_batches(split(data, held_out=0.6).compare_valid.first(JUDGED))
    try:
        for _ in training:
            pass
        seconds = process_time() - began
        found = {
            "valid": training.evaluate(judged)[1],
            "mirrored": training.evaluate_mirrored(judged)[1],
            "train": float(np.mean(training.history["train_accuracy"][-10:])),
        }
    except FloatingPointError as not_finite:
        seconds, error = process_time() - began, str(not_finite)
    return found | made | {
        "cell": f"random-{CELL}", "config": config.model_dump(mode="json"), "seconds": seconds,
        "error": error, "data": data.digest(),
    }  # fmt: skip


def effects(values: list[float], level: float = 0.05) -> dict[str, float]:
    """Setting -> effect on the values of the design's runs; "bar" is half of the interval.

    The bar is Student's, of what single settings leave of the spread: noise, and pairs.
    """
    signs, found = design(), np.asarray(values)
    runs, settings = signs.shape
    each = signs.T @ found / (runs / 2)  # (settings,)
    rest = found - found.mean() - signs @ each / 2  # (runs,)
    free = runs - 1 - settings
    deviation = np.sqrt(4 / runs * np.sum(rest**2) / free)  # of an effect
    bar = stats.t.isf(level / 2, free) * deviation
    return dict(zip(SETTINGS, map(float, each), strict=True)) | {"bar": float(bar)}


def kept_of(found: dict[str, float]) -> tuple[str, ...]:
    """The settings that are kept, by their effects on accuracy."""
    return tuple(name for name in SETTINGS if found[name] >= max(LEAST, found["bar"]))


def together(rows: dict[str, Row]) -> dict[str, float]:
    """What is kept, all of it, brings, by `told`: differences of means; "bar" is of "valid"."""
    none, kept = ([row for job, row in rows.items() if job.startswith(kind)] for kind in KINDS)
    brings = {
        key: fmean(row[key] for row in kept) - fmean(row[key] for row in none) for key in told(rows)
    }
    return brings | {"bar": bar([row["valid"] for row in kept], [row["valid"] for row in none])}


def told(rows: dict[str, Row]) -> tuple[str, ...]:
    """What effects are computed of: seconds only where all are of one kind of machine."""
    kinds = {(row["machine"]["processor"], row["machine"]["instructions"]) for row in rows.values()}
    return ("valid", "mirrored", "train") + ("seconds",) * (len(kinds) == 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write benchmarks/screening.json")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    workers = 0 if given.record else given.workers
    for job in make_all(FOLDER, plan(), make, workers=workers):
        print(job, flush=True)
    rows = finished(FOLDER, plan())
    if len(rows) < len(plan()):
        parser.exit(message=f"{len(rows)} of {len(plan())} runs of the design are finished.\n")
    refuse_others(rows, config_of)
    for job, row in rows.items():
        if row["error"]:
            print(f"run {job} counts as chance: {row['error']}")
    found = {key: effects([row[key] for row in rows.values()]) for key in told(rows)}
    for name, effect in found["valid"].items():
        took = f"{found['seconds'][name]:+8.0f} s" if "seconds" in found else ""
        print(f"{name:30}{100 * effect:+6.2f} points{took}")
    kept = kept_of(found["valid"])
    print(f"kept: {', '.join(kept) or 'nothing'}")
    if kept:
        for job in make_all(FOLDER, plan(kept), partial(make, kept=kept), workers=workers):
            print(job, flush=True)
        rows = finished(FOLDER, plan(kept))
        if len(rows) < len(plan(kept)):
            parser.exit(message="The trainings with all that is kept are not finished.\n")
        refuse_others(rows, partial(config_of, kept=kept))
        found["together"] = together(rows)
        print(f"together {100 * found['together']['valid']:+.2f} points")
    if given.record:
        write_text(
            RECORD, json.dumps({"effects": found, "kept": kept, "runs": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

"""What held the report at 79.67 %? What its code does otherwise, as five factors.

    python -m benchmarks.autopsy              trains what is missing, two processes of one thread
    python -m benchmarks.autopsy --record     effects and bars, into benchmarks/autopsy.json
    python -m benchmarks.autopsy --predict    what they say of the run at full size, into the same
    python -m benchmarks.autopsy --full       that run, after its prediction, both cores

A half fraction 2^(5-1): sixteen runs in which each factor is the report's in eight, each pair of
factors likewise, the fifth being the product of the other four; so effects of pairs are clear of
those of single factors, but each is mixed with that of the other three together. Two of the runs,
all factors the report's and its rate alone, are made three times, each with its seed. Outside the
fraction stands the run in which nothing is the report's, three times, too: what the effects say of
it is compared with what it is. The spread of these nine is the noise. Fixed before any result; ten
pairs are looked at, so a pair's bar is that of one in ten.

"Ours" is how the networks of Table 3 are trained, all of it but crops that grow, which the report's
head cannot take. A small network (5 cells, 8 channels, 10 epochs) on 20,000 images; 10,000 others
judge, never the test images. Needs data/cifar10.npz or a network.

The run at full size has all five factors as the report has them, in the network of Table 3 (14
cells, 16 channels, all images), for 5 core-hours; how many epochs these are is measured when it is
predicted. The prediction comes from the test accuracy of the same cell in Table 3 and the five
effects. Accuracies near 1 move little, so effects are added up as changes of
log(accuracy / (1 - accuracy)). Its interval is the noise of trainings; that effects grow or shrink
with size and with epochs is not in it. A loss that is not finite ends a run at chance, and is told.
"""

import argparse
import json
import subprocess
from functools import partial
from itertools import combinations, product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.special import expit, logit
from torch import nn

from dartslib.data import DataSet, Subset, load, split
from dartslib.genotypes import PUBLISHED, Genotype
from dartslib.loops import seeded
from dartslib.networks import FinalNetwork
from dartslib.runs import records
from dartslib.runs.files import write_text
from dartslib.runs.hour import HourConfig, HourTraining
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.many import finished, make_all, make_each, refuse_others
from dartslib.runs.profiles import PROFILES
from dartslib.runs.running import fast_form, finish, sizes_of
from dartslib.supernet import adjust

HERE = Path(__file__).resolve().parent
FOLDER, RECORD = HERE.parent / "runs" / "autopsy", HERE / "autopsy.json"
CELL, TRAINED, JUDGED = "REPORT_SECOND", 20_000, 10_000
# The settings that make more of an hour, as the report has them: not at all.
OFF = {name: HourConfig.model_fields[name].default for name in HourConfig.__annotations__}
# factor -> settings of a run where it is the report's
FACTORS: dict[str, dict[str, Any]] = {
    "crop without padding": {"crop": 0},
    "no shuffling": {"shuffle": False},
    "MLP head": {"head": "mlp"},
    "its rate, no clipping, smoothing or tricks": {
        "lr": 0.025, "schedule": "cosine", "clip": 1e9, "label_smoothing": 0.0
    } | OFF,
    "no stem": {"has_stem": False},
}  # fmt: skip
OURS = "-----"
ENDS = "---+-", "+++++", OURS  # trained more than once
AGAIN = 2  # more trainings of each of these
HOURS = 5.0  # core-hours of the run at full size
SEED = 100  # of that run; the training that it is compared with, and the small ones, have others
REFERENCE = "final-cifar10-REPORT_SECOND"  # the record of Table 3


class AutopsyConfig(HourConfig):
    """The settings of a training, and two that only the report's code has otherwise."""

    shuffle: bool = True
    """A new order of the images in each epoch."""
    has_stem: bool = True
    """Whether a convolution and BatchNorm come before the first cell, as in the paper's code."""

    def network(self, genotype: Genotype, **sizes: int) -> FinalNetwork:
        """The network that is trained."""
        network = super().network(genotype, **sizes)
        with seeded(self.seed):
            return network if self.has_stem else without_stem(network)


_OURS = PROFILES["lesson"].final.model_dump() | {"part": "final", "first_size": 0}
BASE = AutopsyConfig(**_OURS | {"held_out": 0.6, "layers": 5, "channels": 8, "epochs": 10})


def without_stem(network: FinalNetwork) -> FinalNetwork:
    """The same network, whose first cells read the image, through a ReLU, as the report's do."""
    colors = network.stem[0].in_channels
    network.stem = nn.Identity()
    for cell, names in ((0, ("adjust_before", "adjust_last")), (1, ("adjust_before",))):
        for name in names:
            old = getattr(network.cells[cell], name)
            (convolution,) = (part for part in old.modules() if isinstance(part, nn.Conv2d))
            setattr(
                network.cells[cell], name, adjust(colors, convolution.out_channels, False, False)
            )
    return network


def full(epochs: int) -> AutopsyConfig:
    """The settings of the run at full size."""
    settings = {name: value for change in FACTORS.values() for name, value in change.items()}
    return AutopsyConfig(**_OURS | {"epochs": epochs, "seed": SEED}).changed(**settings)


def design() -> np.ndarray:
    """(16 runs, 5 factors) of 1, the report's, and -1, ours."""
    four = np.array(list(product((-1, 1), repeat=4)))
    return np.column_stack([four, four.prod(axis=1)])


def plan() -> list[str]:
    """Names of the runs: signs of the factors, and the number of the training."""
    every = [f"{row}_0" for row in map(signs_of, design()) if row not in ENDS]
    return every + [f"{end}_{k}" for end in ENDS for k in range(AGAIN + 1)]


def signs_of(row: np.ndarray) -> str:
    """A row of the design as it is named: "+" where a factor is the report's."""
    return "".join("+" if sign == 1 else "-" for sign in row)


def config_of(job: str) -> AutopsyConfig:
    """The settings of a run; its seed is its place in the plan."""
    changes = [
        change
        for change, sign in zip(FACTORS.values(), job.split("_")[0], strict=True)
        if sign == "+"
    ]
    settings = {name: value for change in changes for name, value in change.items()}
    return BASE.changed(seed=plan().index(job), **settings)


def begin(config: AutopsyConfig, data: DataSet, images: Subset) -> HourTraining:
    """A training before its first step, on these images of the data set."""
    options = config.model_dump(include={"seed", "flip", "crop", "shuffle"})
    batches = data.batches(images, config.batch_size, **options)
    return fast_form(HourTraining(config, PUBLISHED[CELL], batches, **sizes_of(data)))


def make(job: str) -> dict[str, Any]:
    """One run: accuracies on judging and on training images, and CPU seconds."""
    torch.set_num_threads(1)
    made = {"commit": commit(), "machine": machine("cpu"), "versions": versions()}
    config, data = config_of(job), load("cifar10")
    cut = split(data, held_out=config.held_out)
    trained, judged = cut.compare_train.first(TRAINED), cut.compare_valid.first(JUDGED)
    training, error = begin(config, data, trained), ""
    chance = 1 / data.num_classes
    found = {"valid": chance, "train": chance}
    began = process_time()
    try:
        for _ in training:
            pass
        for name, images in {"valid": judged, "train": trained.first(JUDGED)}.items():
            found[name] = training.evaluate(data.evaluation_batches(images))[1]
    except FloatingPointError as not_finite:
        error = str(not_finite)
    return found | made | {
        "error": error, "seconds": process_time() - began, "cell": CELL,
        "config": config.model_dump(mode="json"), "data": data.digest(),
    }  # fmt: skip


def effects(values: dict[str, float], level: float = 0.05) -> dict[str, float]:
    """Factor, or "factor x factor" -> what it does to a value; bars are halves of intervals.

    Args:
        values: job -> value, of the whole plan; trainings made again count as their mean.
        level: of the interval, by Student's t with the noise of what was made again.

    Returns:
        Besides the effects: "bar" of a factor, "bar of a pair", "bar of a run"; and "ours less its
        sum", what the run with nothing of the report's has more than these effects say of it, with
        "bar of ours".
    """
    rows, of = design(), {}
    for job, value in values.items():
        of.setdefault(job.split("_")[0], []).append(value)
    means = {name: float(np.mean(same)) for name, same in of.items()}
    apart = [value - means[name] for name, same in of.items() for value in same]
    free = AGAIN * len(ENDS)
    noise = np.sqrt(np.square(apart).sum() / free)  # of one run
    columns = dict(zip(FACTORS, rows.T, strict=True))
    for (one, a), (other, b) in combinations(list(columns.items()), 2):
        columns[f"{one} x {other}"] = a * b
    inside = np.array([means[signs_of(row)] for row in rows])
    found = {name: float(column @ inside / 8) for name, column in columns.items()}
    counts = np.array([len(of[signs_of(row)]) for row in rows])
    wide = np.sqrt(np.sum(1 / counts)) / 8  # an effect's deviation, in runs'
    # Of ours all factors are -1, and all pairs 1. Its sum weighs each run by `weights`.
    signs = {name: 1 if " x " in name else -1 for name in columns}
    weights = (1 + sum(signs[name] * column for name, column in columns.items())) / 16
    expected = inside.mean() + sum(signs[name] * found[name] for name in columns) / 2
    far = np.sqrt(np.sum(weights**2 / counts) + 1 / len(of[OURS]))
    of_one = float(stats.t.isf(level / 2, free) * noise)
    of_ten = float(stats.t.isf(level / 2 / 10, free) * noise)
    return found | {
        "bar": of_one * wide, "bar of a pair": of_ten * wide, "bar of a run": of_one,
        "ours less its sum": means[OURS] - float(expected), "bar of ours": of_one * far,
    }  # fmt: skip


def predicted(values: dict[str, float], reference: float) -> dict[str, float]:
    """The accuracy of the run at full size, and the ends of its interval of 95 %.

    That of the five effects is the prediction. "by the ends" stands beside it, with an interval of
    its own: what the small run with all five has less than the one with none, so that what three
    factors do together is in it, too.

    Args:
        values: job -> accuracy, of the whole plan.
        reference: that of the same cell in Table 3, where no factor is the report's. Its epochs
            are others, and its images may be crops at first: that counts as no difference.
    """
    odds = {job: float(logit(value)) for job, value in values.items()}
    found = effects(odds)
    middle = logit(reference) + sum(found[name] for name in FACTORS)
    # Uncertain are five effects, and the noise of two trainings.
    half = np.sqrt(len(FACTORS) * found["bar"] ** 2 + 2 * found["bar of a run"] ** 2)
    told = {"test": middle, "low": middle - half, "high": middle + half}
    all_five, none = (
        np.mean([value for job, value in odds.items() if job.startswith(end)])
        for end in ("+++++", OURS)
    )
    middle = logit(reference) + all_five - none
    half = np.sqrt(2 / (AGAIN + 1) + 2) * found["bar of a run"]
    told |= {
        "by the ends": middle, "by the ends, low": middle - half, "by the ends, high": middle + half
    }  # fmt: skip
    return {name: float(expit(value)) for name, value in told.items()} | {"reference": reference}


def epochs_in(hours: float) -> int:
    """How many epochs of the run at full size fit into these hours of a core."""
    data, steps = load("cifar10"), 10
    training = begin(full(1), data, split(data, held_out=0.0).final_train)
    training.advance()  # the first pays for what torch sets up once
    began = process_time()
    for _ in range(steps):
        training.advance()
    epoch = (process_time() - began) / steps * len(training.batches)
    return max(1, round(3600 * hours / epoch))


def make_full(epochs: int, folder: Path) -> dict[str, float]:
    """The run at full size, from its checkpoint on; its record is kept in data/recorded/autopsy.

    Returns:
        Accuracies on the test images and, measured alike, on training images; CPU seconds.
    """
    config, data, made_by = full(epochs), load("cifar10"), commit()
    cut = split(data, held_out=0.0)
    training = begin(config, data, cut.final_train)
    told = {"genotype_name": CELL, "command": "python -m benchmarks.autopsy --full"}
    judged = data.evaluation_batches(cut.test)
    try:
        record = finish(training, data, judged, folder, resume=True, **told)
    except FloatingPointError as not_finite:
        found = dict.fromkeys(("test", "train"), 1 / data.num_classes)
        return found | {"epochs": epochs, "error": str(not_finite), "commit": made_by}
    train = training.evaluate(data.evaluation_batches(cut.final_train.first(JUDGED)))[1]
    records.save(record, records.RECORDED / "autopsy")
    meta = record.meta
    found = {"test": meta["result"]["test_accuracy"], "train": train, "epochs": epochs, "error": ""}
    return found | {"cpu_seconds": meta["cpu_seconds"], "commit": meta["commits"][-1]}


def is_committed(file: Path) -> bool:
    """Whether a file is in git as it is here."""
    words = ["git", "-C", str(file.parent), "status", "--porcelain", "--", file.name]
    return not subprocess.run(words, capture_output=True, check=True).stdout


def predict(found: dict[str, Any]) -> dict[str, Any]:
    """The prediction of the run at full size, and what it was made from."""
    values = {job: row["valid"] for job, row in found["runs"].items()}
    reference = records.load(REFERENCE, records.RECORDED / "study").meta
    epochs = epochs_in(HOURS)
    made = {"commit": commit(), "machine": machine("cpu")}
    made["reference commits"] = reference["commits"]
    settings = {"epochs": epochs, "config": full(epochs).model_dump(mode="json")}
    return predicted(values, reference["result"]["test_accuracy"]) | made | settings


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write benchmarks/autopsy.json")
    parser.add_argument("--predict", action="store_true", help="of the run at full size")
    parser.add_argument("--full", action="store_true", help="make the run at full size")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    whole = FOLDER.with_name("autopsy-full")
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    begun = whole.exists() or "found" in before or (records.RECORDED / "autopsy").exists()
    if (given.record or given.predict) and begun:
        parser.error("The run at full size has begun: what it is compared with stays.")
    if given.predict:
        if not before:
            parser.error("The effects come first: give --record.")
        before["predicted"] = predict(before)
        write_text(RECORD, json.dumps(before, indent=1) + "\n")
        print(before["predicted"])
    elif given.full:
        if "found" in before and not whole.exists():
            parser.error("The run at full size is made: its record stays.")
        if "predicted" not in before or not (whole.exists() or is_committed(RECORD)):
            parser.error("The run is to be predicted first: give --predict, and commit that.")
        epochs = before["predicted"]["epochs"]
        if json.loads(full(epochs).model_dump_json()) != before["predicted"]["config"]:
            parser.error("The run was predicted with other settings: put them back.")
        job = partial(make_full, epochs)
        (before["found"],) = make_each(job, [whole], workers=1)
        write_text(RECORD, json.dumps(before, indent=1) + "\n")
        print(before["predicted"], before["found"], sep="\n")
    else:
        design_runs(given.record, given.workers)


def design_runs(record: bool, workers: int) -> None:
    """What is left of the small runs; their effects, if all are there."""
    for job in make_all(FOLDER, plan(), make, workers=0 if record else workers):
        print(job, flush=True)
    rows = finished(FOLDER, plan())
    print(f"{len(rows)} of {len(plan())} runs are finished")
    if len(rows) < len(plan()):
        return
    refuse_others(rows, config_of)
    found = {
        key: effects({job: row[key] for job, row in rows.items()}) for key in ("valid", "train")
    }
    for name in found["valid"]:
        print(f"{name:70}{100 * found['valid'][name]:+6.2f} points")
    if record:
        write_text(RECORD, json.dumps({"effects": found, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

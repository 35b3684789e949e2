"""What held the report at 79.67 %? What its code does otherwise, as five factors.

    python -m benchmarks.autopsy              trains what is missing, two processes of one thread
    python -m benchmarks.autopsy --record     effects and bars, into benchmarks/autopsy.json
    python -m benchmarks.autopsy --predict    what they say of the run at full size, into the same
    python -m benchmarks.autopsy --full       that run, after its prediction, both cores

A half fraction 2^(5-1): sixteen runs in which each factor is the report's in eight, each pair of
factors likewise, the fifth being the product of the other four; so effects of pairs are clear of
those of single factors, but each is mixed with that of the other three together. Two of the runs,
all factors the report's and the missing stem alone, are made three times, each with its seed:
their spread is the noise. Fixed before any result.

A small network (5 cells, 8 channels, 10 epochs) on 20,000 images; 10,000 others judge, never the
test images. Needs data/cifar10.npz or a network.

The run at full size has all five factors as the report has them, in the network of Table 3 (14
cells, 16 channels, all images), for about 5 core-hours. Its test accuracy is predicted first, from
that of the same cell in Table 3 and the five effects. Accuracies near 1 move little, so effects are
added up as changes of log(accuracy / (1 - accuracy)).
"""

import argparse
import json
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
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.many import finished, make_all
from dartslib.runs.running import fast_form, finish, sizes_of
from dartslib.supernet import adjust
from dartslib.training import TrainConfig, Training

HERE = Path(__file__).resolve().parent
FOLDER, RECORD = HERE.parent / "runs" / "autopsy", HERE / "autopsy.json"
CELL, TRAINED, JUDGED = "REPORT_SECOND", 20_000, 10_000
# factor -> settings of a run where it is the report's
FACTORS: dict[str, dict[str, Any]] = {
    "crop without padding": {"crop": 0},
    "no shuffling": {"shuffle": False},
    "MLP head": {"head": "mlp"},
    "its rate, no clipping or smoothing": {
        "lr": 0.025, "schedule": "cosine", "clip": 1e9, "label_smoothing": 0.0
    },
    "no stem": {"has_stem": False},
}  # fmt: skip
ENDS = "----+", "+++++"
AGAIN = 2  # more trainings of each of these
FULL_EPOCHS = 24
REFERENCE = "final-cifar10-REPORT_SECOND"  # the record of Table 3


class AutopsyConfig(TrainConfig):
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


BASE = AutopsyConfig(
    held_out=0.6, layers=5, channels=8, head="linear", epochs=10, lr=0.15, schedule="one_cycle",
    label_smoothing=0.1,
)  # fmt: skip


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


def full() -> AutopsyConfig:
    """The settings of the run at full size."""
    settings = {name: value for change in FACTORS.values() for name, value in change.items()}
    return BASE.changed(layers=14, channels=16, epochs=FULL_EPOCHS, held_out=0.0, **settings)


def design() -> np.ndarray:
    """(16 runs, 5 factors) of 1, the report's, and -1, ours."""
    four = np.array(list(product((-1, 1), repeat=4)))
    return np.column_stack([four, four.prod(axis=1)])


def plan() -> list[str]:
    """Names of the runs: signs of the factors, and the number of the training."""
    rows = ["".join("+" if sign == 1 else "-" for sign in row) for row in design()]
    every = [f"{row}_0" for row in rows if row not in ENDS]
    return every + [f"{end}_{k}" for end in ENDS for k in range(AGAIN + 1)]


def config_of(job: str) -> AutopsyConfig:
    """The settings of a run; its seed is its place in the plan."""
    changes = [
        change
        for change, sign in zip(FACTORS.values(), job.split("_")[0], strict=True)
        if sign == "+"
    ]
    settings = {name: value for change in changes for name, value in change.items()}
    return BASE.changed(seed=plan().index(job), **settings)


def begin(config: AutopsyConfig, data: DataSet, images: Subset) -> Training:
    """A training before its first step, on these images of the data set."""
    options = {"seed": config.seed, "crop": config.crop, "shuffle": config.shuffle}
    batches = data.batches(images, config.batch_size, **options)
    return fast_form(Training(config, PUBLISHED[CELL], batches, **sizes_of(data)))


def make(job: str) -> dict[str, Any]:
    """One run: accuracies on judging and on training images, and CPU seconds."""
    torch.set_num_threads(1)
    config, data = config_of(job), load("cifar10")
    cut = split(data, held_out=config.held_out)
    trained, judged = cut.compare_train.first(TRAINED), cut.compare_valid.first(JUDGED)
    training = begin(config, data, trained)
    began = process_time()
    for _ in training:
        pass
    return {
        "config": config.model_dump(mode="json"), "seconds": process_time() - began,
        "valid": training.evaluate(data.evaluation_batches(judged))[1],
        "train": training.evaluate(data.evaluation_batches(trained.first(JUDGED)))[1],
        "commit": commit(), "machine": machine("cpu"), "versions": versions(),
    }  # fmt: skip


def effects(values: dict[str, float], level: float = 0.05) -> dict[str, float]:
    """Factor, or "factor x factor" -> what it does to a value; bars are halves of intervals.

    Args:
        values: job -> value, of the whole plan; trainings made again count as their mean.
        level: of the interval, by Student's t with the noise of what was made again.
    """
    rows, means, apart, counts = design(), [], [], []
    for row in rows:
        name = "".join("+" if sign == 1 else "-" for sign in row)
        same = [value for job, value in values.items() if job.split("_")[0] == name]
        means.append(np.mean(same))
        counts.append(len(same))
        apart += list(np.asarray(same) - np.mean(same)) if len(same) > 1 else []
    free = 2 * AGAIN
    noise = np.sqrt(np.square(apart).sum() / free)
    columns = dict(zip(FACTORS, rows.T, strict=True))
    for (one, a), (other, b) in combinations(list(columns.items()), 2):
        columns[f"{one} x {other}"] = a * b
    found = {name: float(column @ means / 8) for name, column in columns.items()}
    of_one = float(stats.t.isf(level / 2, free) * noise)
    wide = float(np.sqrt(np.sum(1 / np.array(counts)))) / 8  # an effect's deviation, in runs'
    return found | {"bar": of_one * wide, "bar of a run": of_one}


def predicted(values: dict[str, float], reference: float) -> dict[str, float]:
    """The accuracy of the run at full size, and the ends of its interval of 95 %.

    Args:
        values: job -> accuracy, of the whole plan.
        reference: that of the same cell in Table 3, where no factor is the report's.
    """
    found = effects({job: float(logit(value)) for job, value in values.items()})
    middle = logit(reference) + sum(found[name] for name in FACTORS)
    # Uncertain are five effects, and the noise of two trainings.
    half = np.sqrt(len(FACTORS) * found["bar"] ** 2 + 2 * found["bar of a run"] ** 2)
    ends = {"test": middle, "low": middle - half, "high": middle + half}
    return {name: float(expit(value)) for name, value in ends.items()} | {"reference": reference}


def make_full(folder: Path) -> records.Record:
    """The run at full size; goes on from its checkpoint."""
    config, data = full(), load("cifar10")
    cut = split(data, held_out=0.0)
    training = begin(config, data, cut.final_train)
    told = {"genotype_name": CELL, "command": "python -m benchmarks.autopsy --full"}
    judged = data.evaluation_batches(cut.test)
    return finish(training, data, judged, folder, resume=True, **told)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write benchmarks/autopsy.json")
    parser.add_argument("--predict", action="store_true", help="of the run at full size")
    parser.add_argument("--full", action="store_true", help="make the run at full size")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.predict or given.full:
        found = json.loads(RECORD.read_text(encoding="utf-8"))
        if given.predict:
            values = {job: row["valid"] for job, row in found["runs"].items()}
            reference = records.load(REFERENCE, records.RECORDED / "study").meta["result"]
            found["predicted"] = predicted(values, reference["test_accuracy"])
            write_text(RECORD, json.dumps(found, indent=1) + "\n")
        elif "predicted" not in found:
            parser.error("The run is to be predicted first: give --predict, and commit that.")
        else:
            records.save(make_full(FOLDER.with_name("autopsy-full")), records.RECORDED / "autopsy")
        print(found["predicted"])
        return
    if not given.record:
        for job in make_all(FOLDER, plan(), make, workers=given.workers):
            print(job, flush=True)
    rows = finished(FOLDER, plan())
    print(f"{len(rows)} of {len(plan())} runs are finished")
    if len(rows) < len(plan()):
        return
    found = {
        key: effects({job: row[key] for job, row in rows.items()}) for key in ("valid", "train")
    }
    for name in found["valid"]:
        print(f"{name:60}{100 * found['valid'][name]:+6.2f} points")
    if given.record:
        write_text(RECORD, json.dumps({"effects": found, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

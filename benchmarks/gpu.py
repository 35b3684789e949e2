"""What a step costs on a GPU, at the sizes of the profiles.

    python -m benchmarks.gpu             measure and print; some minutes on a GPU
    python -m benchmarks.gpu --record    also write benchmarks/gpu.json; stopped, it goes on there
    python -m benchmarks.gpu --quick     the smallest profile, on any device, to see that it works

On a GPU the lesson's form runs; beside it stands a step as the paper's code makes it. They take
turns; the first steps are not counted, and of the others the median is kept. Images are noise, held
and augmented on the device as in a real run.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmarks import operators
from benchmarks.original import OriginalSearch
from benchmarks.speed import rounded
from dartslib.data import Batches, DataSet, Subset, split
from dartslib.genotypes import DARTS_V1, DARTS_V2, Genotype
from dartslib.loops import Loop
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.runs.running import find_device
from dartslib.searching import Search, SearchConfig
from dartslib.settings import Config
from dartslib.training import Training

DISCARDED, COUNTED = 3, 5
FORMS = ("plain", "ours")
PROFILES = ("darts", "report", "lesson")  # the paper's first, should time run out
RECORD = Path(__file__).resolve().parent / "gpu.json"
THREE_NODES = Genotype(DARTS_V2.normal[:3], DARTS_V1.reduction[:3])
CIFAR = 50_000  # training images


def cases(profiles: tuple[str, ...]) -> dict[str, Config]:
    """Names and settings of what is timed."""
    found: dict[str, Config] = {}
    for name in profiles:
        settings = profile(name)
        for method in ("first_order", "finite_difference"):
            found[f"{name} search {method}"] = settings.search.model_copy(
                update={"gradient": method}
            )
        found[f"{name} final"] = settings.final
    return found


def steps_of(config: Config) -> int:
    """Steps of the whole run on CIFAR-10 or CIFAR-100."""
    images = CIFAR
    if isinstance(config, SearchConfig):
        images = config.half or CIFAR // 2
    return config.epochs * (images // config.batch_size)


@cache
def noise(count: int, classes: int) -> DataSet:
    """Images of CIFAR's size."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count) % classes
    names = [str(k) for k in range(classes)]
    return DataSet.from_arrays("noise", images, labels, images[:1], labels[:1], names)


def loop(config: Config, form: str, device: str) -> Loop:
    """A search or a training in a form, on noise."""
    data = noise(40 * config.batch_size, 100 if config.dataset.endswith("100") else 10)
    config = config.model_copy(update={"epochs": 1})

    def batches(subset: Subset) -> Batches:
        cutout = getattr(config, "cutout", 0)
        return data.batches(subset, config.batch_size, cutout=cutout, device=device)

    if isinstance(config, SearchConfig):
        cut = split(data, None, 0.0)
        kind = OriginalSearch if form == "plain" else Search
        return kind(config, batches(cut.search_train), batches(cut.search_valid), device=device)
    cell = DARTS_V2 if config.auxiliary else THREE_NODES
    images = batches(split(data, held_out=0.0).final_train)
    return Training(config, cell, images, num_classes=data.num_classes, device=device)


def measure(config: Config, device: str) -> dict[str, float | int]:
    """A row: seconds of a step and, on a GPU, its kernels by form; GiB that ours holds at most."""
    gpu = device.startswith("cuda")
    wait: Callable[[], object] = torch.cuda.synchronize if gpu else (lambda: None)
    forms = FORMS if isinstance(config, SearchConfig) else FORMS[1:]
    row: dict[str, float | int] = {}
    if gpu:  # before another form holds memory, too
        torch.cuda.reset_peak_memory_stats()
    ours = loop(config, "ours", device)
    for _ in range(DISCARDED):  # with the optimizer's buffers, which the first step makes
        ours.advance()
    wait()
    if gpu:
        row["ours_gib"] = rounded(torch.cuda.max_memory_allocated() / 2**30)
    loops = {form: ours if form == "ours" else loop(config, form, device) for form in forms}
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for number in range(DISCARDED + COUNTED):
        for form, run in loops.items():
            wait()
            begin = time.perf_counter()
            run.advance()
            wait()
            if number >= DISCARDED:
                seconds[form].append(time.perf_counter() - begin)
    row |= {f"{form}_s": rounded(statistics.median(times)) for form, times in seconds.items()}
    if gpu:
        row |= {f"{form}_kernels": operators.kernels(run.advance) for form, run in loops.items()}
    return row | {"steps": steps_of(config)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write benchmarks/gpu.json")
    parser.add_argument("--quick", action="store_true", help="the profile smoke, on any device")
    options = parser.parse_args()
    device = find_device()
    if device == "cpu" and not options.quick:
        parser.error("there is no GPU here: --quick shows that it works.")
    if options.quick and options.record:
        parser.error("--record takes the profiles of the papers: leave out --quick.")
    about = {
        "kind": "measurement",
        "what": "seconds of a step on a GPU, by form",
        "machine": machine(device),
        "versions": versions(),
        "commit": commit(),
        "rounds": {"discarded": DISCARDED, "counted": COUNTED},
    }
    kept = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    rows = kept.pop("cases", {}) if options.record else {}
    if kept != about or about["commit"] == "unknown" or about["commit"].endswith("+changes"):
        rows = {}
    for name, config in cases(("smoke",) if options.quick else PROFILES).items():
        try:
            rows[name] = rows.get(name) or measure(config, device)
        except torch.OutOfMemoryError:
            print(f"{name:32} does not fit on this GPU", flush=True)
            continue
        print(f"{name:32}", rows[name], flush=True)
        if options.record:  # each as it is measured
            write_text(RECORD, json.dumps(about | {"cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

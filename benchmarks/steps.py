"""What a step of a search costs by each method, at the size of the lesson profile.

    python -m benchmarks.steps             measure and print; some three minutes on two cores
    python -m benchmarks.steps --record    also write data/recorded/step_times/meta.json
    python -m benchmarks.steps --quick     the smoke profile, few steps: to see that it works

Notebooks 02 and 05 show that record: seconds a step of `Search.advance`, one search a method, on
random images. The searches take turns, so that other work on the machine slows all of them down
alike; the first steps of each are not counted, and the median of the others is kept.
What the steps' gradients are made of is measured by `benchmarks.microscope`.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from dartslib.gradients import METHODS
from dartslib.runs import records
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.searching import Search, SearchConfig

ROOT = Path(__file__).resolve().parent.parent
RECORD = records.RECORDED / "step_times" / "meta.json"
DISCARDED, COUNTED = 2, 5  # steps a method: page faults slow the first ones down
QUICK_DISCARDED, QUICK_COUNTED = 1, 2


class RandomImages:
    """Batches of noise, a pure function of the step; a step costs the same on any images."""

    def __init__(self, batch_size: int, steps: int, seed: int) -> None:
        self.batch_size, self.steps, self.seed = batch_size, steps, seed

    def __len__(self) -> int:
        return self.steps

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (N, 3, 32, 32) and labels (N,)."""
        generator = torch.Generator().manual_seed(1000 * self.seed + step)
        images = torch.randn(self.batch_size, 3, 32, 32, generator=generator)
        return images, torch.randint(10, (self.batch_size,), generator=generator)


def step_seconds(config: SearchConfig, discarded: int, counted: int) -> dict[str, list[float]]:
    """{method: seconds of each counted step}."""
    searches, seconds = {}, {method: [] for method in METHODS}
    for method in METHODS:
        changed = config.model_copy(update={"gradient": method})
        halves = (RandomImages(config.batch_size, 1000, seed) for seed in (0, 1))
        searches[method] = Search(changed, *halves)
    for number in range(discarded + counted):
        for method, search in searches.items():
            begin = time.perf_counter()
            search.advance()
            if number >= discarded:
                seconds[method].append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--quick", action="store_true", help="the smoke profile, few steps")
    options = parser.parse_args()
    if options.quick and options.record:
        parser.error("--record takes the lesson profile: leave out --quick.")
    name = "smoke" if options.quick else "lesson"
    config = profile(name).search
    discarded, counted = (QUICK_DISCARDED, QUICK_COUNTED) if options.quick else (DISCARDED, COUNTED)
    begin = time.perf_counter()
    seconds = step_seconds(config, discarded, counted)
    medians = {method: statistics.median(times) for method, times in seconds.items()}
    for method, median in medians.items():
        times = medians["first_order"]
        print(f"{method:18} {median:7.3f} s a step, {median / times:5.2f} times first order")
    if options.record:
        meta = {
            "kind": "measurement",
            "what": "seconds a step of a search by each method",
            "dataset": "noise",  # a step costs the same on any images
            "profile": name,
            "config": config.model_dump(mode="json", exclude={"gradient"}),
            "steps_discarded": discarded,
            "steps_counted": counted,
            "statistic": "median",
            "seconds_per_iteration": {m: float(f"{t:.4g}") for m, t in medians.items()},
            "seconds": round(time.perf_counter() - begin, 1),
            "command": "python -m benchmarks.steps " + shlex.join(sys.argv[1:]),
            "commits": [commit()],
            "machines": [machine()],
            "versions": [versions()],
        }
        write_text(RECORD, json.dumps(meta, indent=2) + "\n")
        print(f"written: {RECORD.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

"""What a step of each method costs: seconds and peak memory beside a step of DARTS.

    python -m benchmarks.methods                     both sizes; some 50 quiet minutes, 6 GiB
    python -m benchmarks.methods --size table --methods darts gdas
    python -m benchmarks.methods --record            also write methods.json and the README's table

Every search runs in the plain form, an operation at a time, so that methods are compared and not
implementations; a line beside them has DARTS in the fast form. The searches take turns, step by
step, and go from their begin to their end, since some cost more at first (SGAS) or in every fifth
step (ProxylessNAS). One thread, process time. Memory is the most that building and stepping adds to
a process of its own. Gradients are the methods' own, first order for most.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.steps import RandomImages
from dartslib.methods.stages import AROUND, Around, Stages
from dartslib.rivals import contest
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.runs.running import fast_form
from dartslib.searching import Search, SearchConfig
from dartslib.tabular.pricing import peak_memory

PIXELS = {"paper": 32, "table": 16}
DISCARDED, COUNTED = 2, 10  # steps: the first ones ask for memory that later ones have already
FAST = "darts, fast form"
# Several searches, or what comes once a run: not a matter of steps.
WHOLE_RUNS = (
    "p_darts",
    "early_stopping",
    "perturbation",
    "watched",
    "jitter",
    "darts_without_none",
)


class Images(RandomImages):
    """Noise of any size."""

    pixels = 32

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (N, 3, pixels, pixels) and labels (N,)."""
        images, labels = super().at(step)
        return images[..., : self.pixels, : self.pixels], labels


def names() -> list[str]:
    """All that can be measured: the contest's methods and gradients, and DARTS in the fast form."""
    return [FAST, *(arm for arm in contest.arms() if not arm.startswith(WHOLE_RUNS))]


def config(size: str) -> SearchConfig:
    """DARTS at a size: "paper" is the profile darts, "table" the contest's."""
    if size == "paper":
        return profile("darts").search
    return SearchConfig(**contest.settings()["search"])


def begin(name: str, size: str, steps: int) -> Stages:
    """A method's search before its first step, which ends after so many."""
    arm = dict(contest.arms()["darts" if name == FAST else name])
    own = dict(arm.get("around", {}))
    around = AROUND.get(own.pop("name", None), Around)(**own)
    changed = {key: arm[key] for key in ("relaxation", "gradient") if key in arm}
    if name == "fbnet":  # any milliseconds: a step costs the same
        space = config(size).space()
        row = [0.1] * len(space.operations)
        changed["relaxation"] = arm["relaxation"] | {
            "milliseconds": {"normal": [row] * len(space.edges)}
        }

    def one(settings: SearchConfig) -> Search:
        halves = [Images(settings.batch_size, 1000, seed) for seed in (0, 1)]
        for half in halves:
            half.pixels = PIXELS[size]
        search = Search(settings, *halves, image_size=PIXELS[size])
        search.steps = steps
        return fast_form(search) if name == FAST else search

    return Stages(around, config(size).changed(**changed), one)


def step_seconds(size: str, chosen: list[str], counted: int = COUNTED) -> dict[str, float]:
    """Method -> mean seconds of a step."""
    steps = DISCARDED + counted
    runs = {name: begin(name, size, steps).each_step() for name in chosen}
    for run in runs.values():
        next(run)  # the record of step 0
    seconds = dict.fromkeys(chosen, 0.0)
    for number in range(steps):
        for name, run in runs.items():
            began = time.process_time()
            next(run)
            seconds[name] += (time.process_time() - began) * (number >= DISCARDED)
    return {name: total / counted for name, total in seconds.items()}


def peak(name: str, size: str) -> float:
    """MiB that building and the first steps of a search add to this process, at most."""
    before = peak_memory(anew=True)
    run = begin(name, size, DISCARDED + 1).each_step()
    for _ in range(DISCARDED + 1):
        next(run)
    return peak_memory() - before


def _ask_peak(name: str, size: str) -> float:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.methods", "--peak", name, "--size", size]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tables.ROOT)
    return float(done.stdout)


def measure(
    size: str, chosen: list[str], memory: Callable[[str, str], float] = _ask_peak
) -> dict[str, dict[str, float]]:
    """Method -> "seconds" of a step, "mib", and both as multiples of DARTS's in the plain form."""
    chosen = list(dict.fromkeys(["darts", *chosen]))
    seconds = step_seconds(size, chosen)
    mib = {name: memory(name, size) for name in chosen}
    return {
        name: {
            "seconds": float(f"{seconds[name]:.4g}"),
            "of_darts": round(seconds[name] / seconds["darts"], 3),
            "mib": round(mib[name]),
            "memory_of_darts": round(mib[name] / mib["darts"], 3),
        }
        for name in chosen
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=[*PIXELS], help="one size; both without it")
    parser.add_argument("--methods", nargs="+", metavar="NAME", default=names())
    parser.add_argument("--record", action="store_true", help=f"write {tables.METHODS.name}")
    parser.add_argument("--peak", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak, options.size))
        return
    if options.record and (options.size or options.methods != names()):
        parser.error("--record is of all methods at both sizes")
    sizes: dict[str, Any] = {}
    for size in [options.size] if options.size else PIXELS:
        sizes[size] = measure(size, options.methods)
        for name, row in sizes[size].items():
            print(f"{size}, {name:18} {row['seconds']:8.3f} s, {row['of_darts']:5.2f} of DARTS;")
            print(f"{row['mib']:45} MiB, {row['memory_of_darts']:5.2f}", flush=True)
    if options.record:
        made = {"commit": commit(), "machine": machine("cpu"), "versions": versions()}
        about = {"steps_discarded": DISCARDED, "steps_counted": COUNTED}
        write_text(tables.METHODS, json.dumps(made | about | {"sizes": sizes}, indent=1) + "\n")
        tables.write()


if __name__ == "__main__":
    main()

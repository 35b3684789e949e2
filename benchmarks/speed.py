"""How fast a step is: the paper's code's way, channels_last alone, and the fast form.

    python -m benchmarks.speed            measure and print; half an hour on two cores, 11 GiB
    python -m benchmarks.speed --quick    a few small steps: to see that it works, a minute or two
    python -m benchmarks.speed --record --isa native avx2
                                          also write benchmarks/results.json and the README's tables
    python -m benchmarks.speed --table    write the README's tables again from results.json

Every case is one piece of work in several forms (`benchmarks.forms`), on noise. The forms take
turns; the first rounds are not counted, since they pay for memory that later ones have already;
of the others the median is kept. Peak memory is that of a process of its own.

With `--isa avx2` the work is done in another process that is kept from wider vectors.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import forms, operators, tables, without
from dartslib.data import Batches, Part
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.searching import SearchConfig
from dartslib.training import Config, TrainConfig

ROOT = Path(__file__).resolve().parent.parent
INSTRUCTIONS = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"},
}
PAPER, REPORT, LESSON = (profile(name).search for name in ("darts", "report", "lesson"))
FINAL = TrainConfig(layers=14, channels=16, head="linear", batch_size=96)


@dataclass(frozen=True)
class Case:
    """One row of the table: settings, and what is timed at them."""

    config: Config
    make: Callable[[Any], forms.Forms]


def _method(config: SearchConfig, method: str) -> SearchConfig:
    return config.model_copy(update={"method": method})


CASES = {
    "first_order_step": Case(_method(PAPER, "first_order"), forms.search_steps),
    "second_order_step": Case(_method(PAPER, "finite_difference"), forms.search_steps),
    "forward_backward": Case(PAPER, forms.full_passes),
    "alpha_only": Case(PAPER, forms.alpha_passes),
    "report_first_order_step": Case(_method(REPORT, "first_order"), forms.search_steps),
    "final_network_step": Case(FINAL, forms.training_steps),
    "lesson_first_order": Case(_method(LESSON, "first_order"), forms.search_steps),
    "lesson_second_order": Case(_method(LESSON, "finite_difference"), forms.search_steps),
}
# One factor at a time, at a width that keeps it short. These depths grow each stage alike: 2, 4 and
# 6 cells before the first reduction.
GROWTH = SearchConfig.darts(channels=8, batch_size=16)
BATCHES, DEPTHS = (16, 32, 64), (8, 14, 20)


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds discarded and counted, images a batch (None: as configured)."""

    discarded: int = 3
    counted: int = 5
    batch_size: int | None = None

    def of(self, config: Config) -> Config:
        """The settings with this batch."""
        changes = {"batch_size": self.batch_size} if self.batch_size else {}
        return config.model_copy(update=changes)


FULL, QUICK = Effort(), Effort(discarded=1, counted=2, batch_size=4)


def rounded(value: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{value:.4g}")


def compare(work: forms.Forms, effort: Effort) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The median of each form, and the rounds that it leaves out."""
    seconds = forms.take_turns(work, effort.discarded + effort.counted)
    counted = {form: times[effort.discarded :] for form, times in seconds.items()}
    first = {form: times[: effort.discarded] for form, times in seconds.items()}
    return {form: statistics.median(times) for form, times in counted.items()}, first


def measure_case(case: Case, effort: Effort) -> tuple[dict[str, float], dict[str, list[float]]]:
    """One row of the table, and the seconds of the rounds that it leaves out."""
    medians, first = compare(case.make(effort.of(case.config)), effort)
    row = {f"{form}_s": rounded(value) for form, value in medians.items()}
    row["ratio"] = rounded(row["plain_s"] / row["ours_s"])
    return row, {form: [rounded(value) for value in times] for form, times in first.items()}


def peak(form: str, effort: Effort) -> float:
    """Largest resident memory of this process after three first-order steps, in GiB."""
    loop = forms.search(effort.of(CASES["first_order_step"].config), form)
    for _ in range(3):
        loop.advance()
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux a process begins with the peak of the one that started it.
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    import resource  # there is none on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def measure_memory(effort: Effort) -> dict[str, float]:
    """The row of memory, each form in a process of its own."""
    row = {f"{form}_gib": rounded(ask("--peak", form, effort=effort)) for form in forms.FORMS}
    return row | {"ratio": rounded(row["ours_gib"] / row["plain_gib"])}


def measure_cases(effort: Effort) -> tuple[dict[str, dict], dict[str, list[float]]]:
    """All rows, and the rounds that those of the first-order step leave out."""
    rows, first = {}, {}
    for name, case in CASES.items():
        rows[name], first[name] = measure_case(case, effort)
        say(name, rows[name])
    rows["memory"] = measure_memory(effort)
    say("memory", rows["memory"])
    return rows, first["first_order_step"]


def measure_loading(effort: Effort) -> float:
    """Images a second that `Batches` crops, flips and normalizes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10_000, 3, 32, 32), generator=generator, dtype=torch.uint8)
    part = Part(images, torch.zeros(len(images), dtype=torch.int64))
    batches = Batches(part, 64, mean=(0.5,) * 3, std=(0.25,) * 3)
    batches.at(0)  # the order of the epoch
    seconds = []
    for number in range(effort.counted):
        begin = time.perf_counter()
        for step in range(20):
            batches.at(20 * number + step)
        seconds.append(time.perf_counter() - begin)
    return 20 * 64 / statistics.median(seconds)


def measure_growth(effort: Effort) -> dict[str, dict[str, float]]:
    """Seconds of our step by images a batch and by cells."""
    found = {}
    for name, field, values in (("batch", "batch_size", BATCHES), ("cells", "layers", DEPTHS)):
        work = {}
        for value in values:
            if field == "batch_size" and effort.batch_size:  # the same steps, smaller
                config = GROWTH.model_copy(update={field: value * effort.batch_size // 16})
            else:
                config = effort.of(GROWTH).model_copy(update={field: value})
            work[str(value)] = forms.search(config, "ours").advance
        medians, _ = compare(work, effort)
        found[name] = {value: rounded(median) for value, median in medians.items()}
    return found


def measure_techniques(effort: Effort) -> dict[str, float]:
    """How many times as long a first-order step takes without a technique."""
    medians, _ = compare(without.steps(effort.of(CASES["first_order_step"].config)), effort)
    complete = medians.pop(without.COMPLETE)
    return {name: rounded(median / complete) for name, median in medians.items()}


def look_inside(effort: Effort) -> dict[str, dict]:
    """Operator calls and shares of the time in a first-order step, by form."""
    config = effort.of(CASES["first_order_step"].config)
    found = {form: operators.look(forms.search(config, form).advance) for form in forms.FORMS}
    if torch.cuda.is_available():
        for form in forms.FORMS:
            step = forms.search(config, form, device="cuda").advance
            found[form]["cuda_kernels"] = operators.kernels(step)
    return found


def about(effort: Effort) -> dict[str, Any]:
    """What was measured, with what, on what."""
    return {
        "kind": "measurement",
        "what": "seconds of a step in three forms; ratio: plain / ours, of memory ours / plain",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "rounds": {"discarded": effort.discarded, "counted": effort.counted},
    }


def measure(effort: Effort) -> dict[str, Any]:
    """All that results.json holds, for the instruction set that this process may use."""
    cases, first = measure_cases(effort)
    step = cases["final_network_step"]
    batch_size = effort.of(FINAL).batch_size
    found = {
        "cases": cases,
        "images_per_second": {
            "loading": round(measure_loading(effort)),
            "final_training_plain": rounded(batch_size / step["plain_s"]),
            "final_training_ours": rounded(batch_size / step["ours_s"]),
        },
        "first_rounds_s": first,
    }
    for name, part in (
        ("growth_s", measure_growth),
        ("without", measure_techniques),
        ("operators", look_inside),
    ):
        found[name] = part(effort)
        say(name, found[name])
    return found


def say(name: str, values: dict) -> None:
    """Prints one result at once: a full run takes long. On stderr: stdout is for the result."""
    print(f"{name}: {json.dumps(values)}", file=sys.stderr, flush=True)


def ask(*options: str, effort: Effort, isa: str = "native") -> Any:
    """What this program answers, as JSON, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed", *options]
    command += ["--quick"] * (effort == QUICK)
    environment = os.environ | INSTRUCTIONS[isa]
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def record(results: dict[str, Any]) -> None:
    """Writes the results, and the README's tables from them."""
    write_text(tables.RESULTS, json.dumps(results, indent=2) + "\n")
    tables.write()
    print("written: benchmarks/results.json and the tables of benchmarks/README.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"few steps of small batches: {QUICK}")
    parser.add_argument("--record", action="store_true", help="write results.json and the tables")
    parser.add_argument("--table", action="store_true", help="only write the tables again")
    parser.add_argument("--isa", nargs="+", choices=tuple(INSTRUCTIONS), default=["native"])
    # What a process of its own is asked for.
    parser.add_argument("--peak", choices=forms.FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--only-cases", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    if options.record and (options.quick or "native" not in options.isa):
        parser.error("--record takes a full run on the machine's own instructions.")
    if options.table:
        tables.write()
    elif options.peak:
        print(json.dumps(peak(options.peak, effort)))
    elif options.only_cases:
        print(json.dumps({"cases": measure_cases(effort)[0], "machine": machine()}))
    else:
        results = about(effort)
        if "native" in options.isa:
            results |= measure(effort)
        if "avx2" in options.isa:
            narrow = ask("--only-cases", effort=effort, isa="avx2")
            results |= {"avx2_cases": narrow["cases"], "avx2_machine": narrow["machine"]}
        print(tables.text(results))
        if options.record:
            record(results)


if __name__ == "__main__":
    main()

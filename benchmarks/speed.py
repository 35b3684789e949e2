"""How fast a step is: the paper's code's way, channels_last alone, and the fast form.

    python -m benchmarks.speed            measure and print; an hour and a half, two cores, 11 GiB
    python -m benchmarks.speed --quick    four cases, two rounds, 4 images a batch, to see
                                          that it works; under 3 minutes
    python -m benchmarks.speed --cases    the cases and memory alone, against results.json: before,
                                          now and the change; some 20 minutes
    python -m benchmarks.speed --record   also write benchmarks/results.json and the tables of both
                                          pages; where there is AVX512, with AVX2 as well: hours
    python -m benchmarks.speed --table    write the tables of the pages again from results.json

Every case is one piece of work in several forms (`benchmarks.forms`), on noise. The forms take
turns; the first rounds are not counted, since they pay for memory that later ones have already;
of the others the median is kept.

Each part of the work is done in a process of its own: what one has allocated does not burden the
next, and a process can be kept from vectors wider than AVX2. With `--record` each part is kept in
runs/speed as soon as it is measured, so that a run that is stopped goes on where it was, given the
same commit on the same machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import forms, operators, tables, without
from dartslib.data import Batches, Subset
from dartslib.fast import accelerate
from dartslib.relaxation import Architecture
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.searching import SearchConfig
from dartslib.settings import Config
from dartslib.space import SearchSpace
from dartslib.supernet import Supernet
from dartslib.training import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "runs" / "speed"
INSTRUCTIONS = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}
PAPER, REPORT, LESSON = (profile(name).search for name in ("darts", "report", "lesson"))
FINAL = TrainConfig(layers=14, channels=16, head="linear", batch_size=96)


@dataclass(frozen=True)
class Case:
    """One row of the table: settings, and what is timed at them."""

    config: Config
    make: Callable[[Any], forms.Forms]


def _with(config: SearchConfig, gradient: str) -> SearchConfig:
    return config.model_copy(update={"gradient": gradient})


CASES = {
    "first_order_step": Case(_with(PAPER, "first_order"), forms.search_steps),
    "second_order_step": Case(_with(PAPER, "finite_difference"), forms.search_steps),
    "forward_backward": Case(PAPER, forms.full_passes),
    "alpha_only": Case(PAPER, forms.alpha_passes),
    "report_first_order_step": Case(_with(REPORT, "first_order"), forms.search_steps),
    "final_network_step": Case(FINAL, forms.training_steps),
    "lesson_first_order": Case(_with(LESSON, "first_order"), forms.search_steps),
    "lesson_second_order": Case(_with(LESSON, "finite_difference"), forms.search_steps),
}
# Techniques are taken out of a step of the paper's search, and of the lesson's, which is narrower.
TAKEN_APART = {"the paper's search": "first_order_step", "the lesson's": "lesson_first_order"}
# One factor at a time, from the paper's search with a quarter of its batch. These depths grow each
# stage alike: 2, 4 and 6 cells before the first reduction.
GROWTH = PAPER.model_copy(update={"batch_size": 16})
BATCHES, DEPTHS = (16, 32, 64), (8, 14, 20)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        discarded, counted: rounds.
        batch_size: images a batch; None for as many as the case has.
        cases: which rows, besides memory.
    """

    discarded: int = 3
    counted: int = 5
    batch_size: int | None = None
    cases: tuple[str, ...] = tuple(CASES)

    def of(self, config: Config) -> Config:
        """The settings with this batch."""
        changes = {"batch_size": self.batch_size} if self.batch_size else {}
        return config.model_copy(update=changes)


FULL = Effort()
QUICK = Effort(
    discarded=1,
    counted=2,
    batch_size=4,
    cases=("first_order_step", "final_network_step", "lesson_first_order", "lesson_second_order"),
)


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
    """Largest resident memory of this process after the first first-order steps, in GiB.

    As many as are discarded elsewhere: three take all the memory that there will be.
    """
    loop = forms.search(effort.of(CASES["first_order_step"].config), form)
    for _ in range(effort.discarded):
        loop.advance()
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux a process begins with the peak of the one that started it.
        (line,) = (x for x in status.read_text("utf-8").splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    import resource  # there is none on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def measure_memory(effort: Effort) -> dict[str, float]:
    """The row of memory, each form in a process of its own."""
    row = {f"{form}_gib": rounded(ask("--peak", form, effort=effort)) for form in forms.FORMS}
    return row | {"ratio": rounded(row["ours_gib"] / row["plain_gib"])}


def measure_loading(effort: Effort) -> float:
    """Images a second that `Batches` crops, flips and normalizes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10_000, 3, 32, 32), generator=generator, dtype=torch.uint8)
    subset = Subset(images, torch.zeros(len(images), dtype=torch.int64))
    batches = Batches(subset, 64, mean=(0.5,) * 3, std=(0.25,) * 3)
    batches.at(0)  # the order of the epoch
    seconds = []
    for number in range(effort.counted):
        begin = time.perf_counter()
        for step in range(20):
            batches.at(20 * number + step)
        seconds.append(time.perf_counter() - begin)
    return 20 * 64 / statistics.median(seconds)


def measure_growth(effort: Effort) -> dict[str, dict[str, Any]]:
    """Seconds of our step by images a batch and by cells; "at": what the other one is then."""
    found = {"at": GROWTH.model_dump(include={"channels", "batch_size", "layers"})}
    for name, field, values in (("batch", "batch_size", BATCHES), ("cells", "layers", DEPTHS)):
        work = {}
        for value in values:
            config = GROWTH.model_copy(update={field: value})
            work[str(value)] = forms.search(config, "ours").advance
        medians, _ = compare(work, effort)
        found[name] = {value: rounded(median) for value, median in medians.items()}
    return found


def measure_techniques(effort: Effort) -> dict[str, dict[str, float]]:
    """How many times as long a first-order step takes without a technique, by search."""
    found = {}
    for name, case in TAKEN_APART.items():
        medians, _ = compare(without.steps(effort.of(CASES[case].config)), effort)
        complete = medians.pop(without.COMPLETE)
        found[name] = {name: rounded(median / complete) for name, median in medians.items()}
    return found


def measure_float32_errors(effort: Effort) -> dict[str, float]:
    """How far float32 outputs of a supernet are from those in float64, relatively.

    The paper's space, 3 cells, 16 channels, noise; the median over as many seeds as rounds count.
    """
    errors: dict[str, list[float]] = {form: [] for form in forms.FORMS}
    images, _ = forms.Noise(16, 16, 0).at(0)
    space = SearchSpace.darts()
    for seed in range(effort.counted):
        torch.manual_seed(seed)
        plain = Supernet(space, channels=16, layers=3, num_classes=10)
        weights = Architecture(space, init_std=1.0).mixture()
        with torch.no_grad():
            exact = deepcopy(plain).double()(images.double(), weights)
            for form, scores in errors.items():
                net = deepcopy(plain)
                if form != "plain":
                    net.to(memory_format=torch.channels_last)
                if form == "ours":
                    accelerate(net)
                off = (net(images, weights).double() - exact).norm() / exact.norm()
                scores.append(float(off))
    return {form: rounded(statistics.median(found)) for form, found in errors.items()}


def look_inside(effort: Effort) -> dict[str, dict]:
    """Operator calls and shares of the time in a first-order step, by form.

    Each form in a process of its own: two of them, and what a profiler notes, fill 16 GiB.
    """
    return {form: ask("--look", form, effort=effort) for form in (*forms.FORMS, forms.ON_A_GPU)}


def look(form: str, effort: Effort) -> dict:
    """The same of one form, in this process."""
    config = effort.of(CASES["first_order_step"].config)
    found = operators.look(forms.search(config, form).advance)
    if torch.cuda.is_available() and form in ("plain", forms.ON_A_GPU):
        step = forms.search(config, form, device="cuda").advance
        found["cuda_kernels"] = operators.kernels(step)
    return found


def parts(effort: Effort, isa: str, cases: bool = False) -> dict[str, Callable[[Effort], Any]]:
    """What is measured on an instruction set, by name; each in a process of its own.

    Of all that, the cases and memory alone, if `cases`.
    """
    found: dict[str, Callable[[Effort], Any]] = {
        name: partial(measure_case, CASES[name]) for name in effort.cases
    }
    found["memory"] = measure_memory
    if isa == "native" and not cases:
        found["loading"] = measure_loading
        if effort != QUICK:
            found |= {
                "growth": measure_growth,
                "techniques": measure_techniques,
                "operators": look_inside,
                "float32_errors": measure_float32_errors,
            }
    return found


def measure(
    effort: Effort, isa: str, kept: Path | None = None, cases: bool = False
) -> dict[str, Any]:
    """The parts of an instruction set: those that are kept, and the others anew.

    Args:
        effort: how much.
        isa: a name in `INSTRUCTIONS`.
        kept: a folder that receives each part as it is measured; None: nothing is kept.
        cases: the cases and memory alone.
    """
    found, here = {}, ask("--about", effort=effort, isa=isa)
    for name in parts(effort, isa, cases):
        file = kept / f"{isa}-{name}.json" if kept else None
        part = json.loads(file.read_text("utf-8")) if file and file.exists() else None
        if part is None or part["about"] != here or here["commit"].endswith("+changes"):
            part = {"about": here, "value": ask("--part", name, effort=effort, isa=isa)}
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_text(file, json.dumps(part) + "\n")
        found[name] = part["value"]
        say(f"{isa} {name}", found[name])
    return found | {"about": here}


def about(effort: Effort) -> dict[str, Any]:
    """With what, and on what."""
    return {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "rounds": {"discarded": effort.discarded, "counted": effort.counted},
    }


def together(effort: Effort, found: dict[str, Any]) -> dict[str, Any]:
    """What results.json holds: of the machine's own instructions, and the cases of AVX2."""
    rows = {isa: _cases(effort, parts) for isa, parts in found.items()}
    native, batch_size = found["native"], effort.of(FINAL).batch_size
    step = rows["native"]["final_network_step"]
    results = {
        "kind": "measurement",
        "what": "seconds of a step in three forms; ratio: plain / ours, of memory ours / plain",
        **native["about"],
        "cases": rows["native"],
        "images_per_second": {
            "loading": round(native["loading"]),
            "final_training_plain": rounded(batch_size / step["plain_s"]),
            "final_training_ours": rounded(batch_size / step["ours_s"]),
        },
        "first_rounds_s": native["first_order_step"][1],
    }
    more = "growth", "techniques", "operators", "float32_errors"
    results |= {name: native[name] for name in more if name in native}
    if "avx2" in found:
        results |= {
            "avx2_cases": rows["avx2"],
            "avx2_machine": found["avx2"]["about"]["machine"],
        }
    return results


def _cases(effort: Effort, found: dict[str, Any]) -> dict[str, dict]:
    return {name: found[name][0] for name in effort.cases} | {"memory": found["memory"]}


def before_and_now(
    rows: dict[str, dict], results: dict[str, Any] | None, key: str = "cases"
) -> str:
    """The cases beside those of results.json, one a line; seconds, GiB for memory."""
    lines = []
    for name, now in rows.items():
        unit = "gib" if name == "memory" else "s"
        before = (results or {}).get(key, {}).get(name)
        words = []
        for form in (*forms.FORMS, "ratio"):
            field = form if form == "ratio" else f"{form}_{unit}"
            if before is None:
                words.append(f"{form} {now[field]:.3g}")
            else:
                change = now[field] / before[field] - 1
                words.append(f"{form} {before[field]:.3g} / {now[field]:.3g} ({change:+.0%})")
        lines.append(f"{name}: {', '.join(words)}")
    head = "before (results.json) / now" if results and key in results else "now"
    return "\n".join(
        [f"{head}; s, of memory GiB; ratio: plain / ours, of memory ours / plain", *lines]
    )


def say(name: str, value: Any) -> None:
    """Prints one result at once: a full run takes long. On stderr: stdout is for the result."""
    print(f"{name}: {json.dumps(value)}", file=sys.stderr, flush=True)


def ask(*options: str, effort: Effort, isa: str = "native") -> Any:
    """What this program answers, as JSON, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed", *options]
    command += ["--quick"] * (effort == QUICK)
    environment = os.environ | INSTRUCTIONS[isa]
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def record(results: dict[str, Any]) -> None:
    """Writes the results, and the tables of the pages from them."""
    write_text(tables.RESULTS, json.dumps(results, indent=2) + "\n")
    tables.write()
    print("written: benchmarks/results.json and the tables of benchmarks/README.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="some cases, few small steps")
    parser.add_argument(
        "--cases", action="store_true", help="the cases and memory alone, beside results.json"
    )
    parser.add_argument("--record", action="store_true", help="write results.json and the tables")
    parser.add_argument("--table", action="store_true", help="only write the tables again")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where --record keeps its parts")
    parser.add_argument("--isa", nargs="+", choices=tuple(INSTRUCTIONS), help="of these alone")
    # What a process of its own is asked for.
    parser.add_argument("--peak", choices=forms.FORMS, help=argparse.SUPPRESS)
    looked = (*forms.FORMS, forms.ON_A_GPU)
    parser.add_argument("--look", choices=looked, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=parts(FULL, "native"), help=argparse.SUPPRESS)
    parser.add_argument("--about", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    isa = options.isa or ["native"]
    if options.record and not options.isa and machine()["instructions"] == "AVX512":
        isa = [*INSTRUCTIONS]
    if options.record and (options.quick or options.cases or "native" not in isa):
        parser.error("--record takes a full run on the machine's own instructions.")
    if "native" not in isa:
        parser.error("--isa takes native, and avx2 only besides.")
    if options.table:
        tables.write()
    elif options.about:
        print(json.dumps(about(effort)))
    elif options.peak:
        print(json.dumps(peak(options.peak, effort)))
    elif options.look:
        print(json.dumps(look(options.look, effort)))
    elif options.part:
        print(json.dumps(parts(effort, "native")[options.part](effort)))
    elif options.cases:
        for name in isa:
            rows = _cases(effort, measure(effort, name, cases=True))
            key = "cases" if name == "native" else f"{name}_cases"
            before = None if effort == QUICK else tables.load()  # of whole batches
            print(f"{name}, {before_and_now(rows, before, key)}")
    else:
        kept = options.kept if options.record else None
        results = together(effort, {name: measure(effort, name, kept) for name in isa})
        print(tables.text(results))
        if options.record:
            record(results)


if __name__ == "__main__":
    main()

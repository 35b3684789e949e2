"""Two searches at once, a core each, against one search on both cores.

    python -m benchmarks.side_by_side             measure and print; some five minutes
    python -m benchmarks.side_by_side --record    also write benchmarks/side_by_side.json
    python -m benchmarks.side_by_side --quick     the smoke profile, few steps

The study has a list of runs, and two cores: is it done earlier two by two, each run with one
thread, or one by one, each with two? The two ways take turns, in processes of their own, so that
other work on the machine slows both down alike. Steps of a first-order search on random images.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.steps import RandomImages
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.runs.running import fast_form
from dartslib.searching import Search

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benchmarks" / "side_by_side.json"
ROUNDS, DISCARDED, COUNTED = 3, 3, 12
QUICK_ROUNDS, QUICK_DISCARDED, QUICK_COUNTED = 1, 1, 2
READY_S = 30  # until two searches begin: by then both have made the steps that do not count


def steps_a_second(name: str, threads: int, start: float, discarded: int, counted: int) -> float:
    """Steps a second of one search, from a common start on; called in a process of its own."""
    torch.set_num_threads(threads)
    config = profile(name).search
    halves = (RandomImages(config.batch_size, 1000, seed) for seed in (0, 1))
    search = fast_form(Search(config, *halves))
    for _ in range(discarded):
        search.advance()
    time.sleep(max(0.0, start - time.time()))  # so that no search is alone at first
    begin = time.perf_counter()
    for _ in range(counted):
        search.advance()
    return counted / (time.perf_counter() - begin)


def measure(name: str, rounds: int, discarded: int, counted: int) -> dict[str, list[float]]:
    """Steps a second in all, of each round: {"side_by_side": [...], "one_by_one": [...]}."""
    found: dict[str, list[float]] = {"side_by_side": [], "one_by_one": []}
    with ProcessPoolExecutor(
        2, mp_context=get_context("spawn"), max_tasks_per_child=1
    ) as processes:
        for _ in range(rounds):
            for way, searches in (("side_by_side", 2), ("one_by_one", 1)):
                wait = READY_S if searches == 2 and counted == COUNTED else 0
                threads, start = 2 // searches, time.time() + wait
                asked = [
                    processes.submit(steps_a_second, name, threads, start, discarded, counted)
                    for _ in range(searches)
                ]
                found[way].append(sum(answer.result() for answer in asked))
    return found


def sentence(record: dict[str, Any]) -> str:
    """What the page of benchmarks says of it."""
    side, one = map(statistics.median, record["steps_a_second"].values())
    where = record["machine"]
    return (
        f"Two runs side by side, a thread each, made {side / one:.2f} times as many steps a second "
        f"as one run with two threads ({where['processor']}, {where['instructions']}; steps of the "
        f"{record['profile']} profile's first-order search, `benchmarks/side_by_side.py`)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--quick", action="store_true", help="the smoke profile, few steps")
    options = parser.parse_args()
    if options.quick and options.record:
        parser.error("--record takes the lesson profile: leave out --quick.")
    sizes = (ROUNDS, DISCARDED, COUNTED)
    if options.quick:
        sizes = (QUICK_ROUNDS, QUICK_DISCARDED, QUICK_COUNTED)
    name = "smoke" if options.quick else "lesson"
    found = measure(name, *sizes)
    record = {
        "kind": "measurement",
        "what": "steps a second of two searches with a thread each, and of one with two",
        "profile": name,
        "rounds": dict(zip(("rounds", "discarded", "counted"), sizes, strict=True)),
        "steps_a_second": {
            way: [float(f"{v:.4g}") for v in values] for way, values in found.items()
        },
        "command": "python -m benchmarks.side_by_side --record",
        "commit": commit(),
        "machine": {key: value for key, value in machine().items() if key != "threads"},
        "versions": versions(),
    }
    print(json.dumps(record["steps_a_second"], indent=2), sentence(record), sep="\n")
    if options.record:
        write_text(RECORD, json.dumps(record, indent=2) + "\n")
        print(f"written: {RECORD.relative_to(ROOT)}; python -m benchmarks.speed --table shows it")


if __name__ == "__main__":
    main()

"""What a step of a search costs by each method, and what the implicit term weighs in the gradient.

    python -m benchmarks.steps             measure and print; some ten minutes on two cores
    python -m benchmarks.steps --record    also write data/recorded/step_times/meta.json
    python -m benchmarks.steps --quick     the smoke profile, few steps: to see that it works

Notebook 02 shows that record. Two things are measured, at the size of the lesson profile.

Cost: seconds a step of `Search.advance`, one search a method, on random images. The searches take
turns, so that other work on the machine slows all of them down alike; the first steps of each are
not counted, and the median of the others is kept.

Weight: a first-order search on real images is stopped at a few steps, and there all terms of the
gradient are computed, with the step ahead that the optimizer would make: momentum, weight decay,
xi = the learning rate.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dartslib.data import load, parts
from dartslib.gradients import METHODS, BatchLoss, hypergradient
from dartslib.runs import records
from dartslib.runs.files import write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.searching import Search, SearchConfig

ROOT = Path(__file__).resolve().parent.parent
RECORD = records.RECORDED / "step_times" / "meta.json"
DISCARDED, COUNTED = 2, 5  # steps a method: page faults slow the first ones down
PROBES = (0, 5, 20)  # steps of the search at which the gradient is taken apart
QUICK_DISCARDED, QUICK_COUNTED, QUICK_PROBES = 1, 2, (0, 1, 5, 10)


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
        changed = config.model_copy(update={"method": method})
        halves = (RandomImages(config.batch_size, 1000, seed) for seed in (0, 1))
        searches[method] = Search(changed, *halves)
    for number in range(discarded + counted):
        for method, search in searches.items():
            begin = time.perf_counter()
            search.advance()
            if number >= discarded:
                seconds[method].append(time.perf_counter() - begin)
    return seconds


def norm(tensors: list[Tensor]) -> float:
    """The Euclidean norm of a list of tensors, taken together."""
    return sum(float(t.double().square().sum()) for t in tensors) ** 0.5


def cosine(a: list[Tensor], b: list[Tensor]) -> float:
    """The cosine of the angle between two lists of tensors."""
    product = sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))
    return product / (norm(a) * norm(b))


def less(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    """The difference of two lists of tensors."""
    return [x - y for x, y in zip(a, b, strict=True)]


def taken_apart(search: Search) -> dict[str, float]:
    """What the gradient for alpha at the search's present step is made of."""
    config = search.config
    losses = [
        BatchLoss(search.supernet, search.architecture, *search._batch(source))
        for source in (search.train, search.valid)
    ]
    options: dict[str, Any] = {
        "xi": search.w_optimizer.param_groups[0]["lr"],
        "momentum": config.momentum,
        "buffers": [search.w_optimizer.state[p].get("momentum_buffer") for p in search.w],
        "weight_decay": config.w_weight_decay,
        "radius": config.radius,
    }
    alpha = search.architecture.alpha
    first, differences, exact = (
        hypergradient(*losses, search.w, alpha, method=method, **options)
        for method in ("first_order", "finite_difference", "exact")
    )
    xi, direct = options["xi"], norm(exact.direct)
    return {
        "step": search.step,
        "xi": xi,
        "implicit_share": xi * norm(exact.implicit) / direct,
        "implicit_share_finite_difference": xi * norm(differences.implicit) / direct,
        "finite_difference_error": norm(less(differences.implicit, exact.implicit))
        / norm(exact.implicit),
        "finite_difference_cosine": cosine(differences.implicit, exact.implicit),
        "direct_change": norm(less(exact.direct, first.direct)) / norm(first.direct),
        "cosine_with_first_order": cosine(first.gradient, exact.gradient),
    }


def gradient_terms(config: SearchConfig, data: Path, probes: tuple[int, ...]) -> dict[str, list]:
    """{quantity: its value at each probe}, along a first-order search."""
    config = config.model_copy(update={"method": "first_order"})
    dataset = load(config.dataset, data)
    part = parts(dataset, config.half, config.held_out)
    search = Search(
        config,
        *(
            dataset.batches(half, config.batch_size, seed=config.seed)
            for half in (part.search_train, part.search_valid)
        ),
    )
    search.supernet.train()
    table: dict[str, list] = {}
    for step in range(max(probes) + 1):
        if step:
            search.advance()
        if step in probes:
            for name, value in taken_apart(search).items():
                digits = value if isinstance(value, int) else float(f"{value:.4g}")
                table.setdefault(name, []).append(digits)
            print({name: values[-1] for name, values in table.items()}, flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--quick", action="store_true", help="the smoke profile, few steps")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="where data sets lie")
    options = parser.parse_args()
    name = "smoke" if options.quick else "lesson"
    config = profile(name).search
    discarded, counted, probes = (
        (QUICK_DISCARDED, QUICK_COUNTED, QUICK_PROBES)
        if options.quick
        else (DISCARDED, COUNTED, PROBES)
    )
    begin = time.perf_counter()
    seconds = step_seconds(config, discarded, counted)
    medians = {method: statistics.median(times) for method, times in seconds.items()}
    for method, median in medians.items():
        times = medians["first_order"]
        print(f"{method:18} {median:7.3f} s a step, {median / times:5.2f} times first order")
    terms = gradient_terms(config, options.data, probes)
    if options.record:
        meta = {
            "kind": "measurement",
            "what": "seconds a step of a search by each method, and the terms of alpha's gradient",
            "dataset": config.dataset,  # of the terms; the times are taken on random images
            "profile": name,
            "config": config.model_dump(mode="json", exclude={"method"}),
            "steps_discarded": discarded,
            "steps_counted": counted,
            "statistic": "median",
            "seconds_per_iteration": {m: float(f"{t:.4g}") for m, t in medians.items()},
            "gradient": terms,
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

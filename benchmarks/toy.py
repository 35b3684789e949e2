"""Seconds per iteration of the toy problem: in closed form, and by autograd.

    python -m benchmarks.toy             measure and print, some ten seconds
    python -m benchmarks.toy --record    also write data/recorded/toy_autograd/meta.json
    python -m benchmarks.toy --quick     a tenth of the rounds

Notebook 01 shows that record. An iteration is one step of alpha and one of w; by autograd, alpha
goes through `dartslib.gradients.hypergradient`. Many short rounds are timed, the ways to compute
taking turns, and the best round of each counts: other work on the machine only slows a round down.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from dartslib import toy
from dartslib.gradients import hypergradient

XIS = (0.0, 0.3, 0.5, 0.7)
LR = 1e-2
# A round takes a few milliseconds: short enough to run undisturbed beside other work.
ITERATIONS, ROUNDS = 4, 500
ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "data" / "recorded" / "toy_autograd" / "meta.json"


def train_loss(w: list[Tensor], alpha: list[Tensor]) -> Tensor:
    """L_train of lists of tensors, as dartslib.gradients wants it."""
    return toy.train_loss(w[0], alpha[0])


def valid_loss(w: list[Tensor], alpha: list[Tensor]) -> Tensor:
    """L_val of lists of tensors."""
    return toy.valid_loss(w[0], alpha[0])


def autograd_step(w: Tensor, alpha: Tensor, xi: float, method: str, lr: float = LR) -> list[Tensor]:
    """One iteration by autograd, (w, alpha) in and out: alpha first, then w at the new alpha."""
    gradient = hypergradient(train_loss, valid_loss, [w], [alpha], method=method, xi=xi).gradient[0]
    alpha = alpha - lr * gradient
    leaf = w.detach().requires_grad_()
    (slope,) = torch.autograd.grad(toy.train_loss(leaf, alpha), leaf)
    return [w - lr * slope, alpha]


def rounds() -> dict[tuple[str, float], Callable[[], int]]:
    """Each (way, xi) and a function that iterates in that way and says how often."""

    def closed_form(xi: float) -> Callable[[], int]:
        return lambda: toy.descend(xi, lr=LR).steps  # a whole run

    def autograd(xi: float, method: str) -> Callable[[], int]:
        def run() -> int:
            alpha, w = (torch.tensor(number, dtype=torch.float64) for number in toy.START)
            for _ in range(ITERATIONS):
                w, alpha = autograd_step(w, alpha, xi, method)
            return ITERATIONS

        return run

    ways = {("closed_form", xi): closed_form(xi) for xi in XIS}
    ways["first_order", 0.0] = autograd(0.0, "first_order")
    for method in ("finite_difference", "exact"):
        ways |= {(method, xi): autograd(xi, method) for xi in XIS if xi > 0}
    return ways


def measure(count: int = ROUNDS) -> dict[str, dict[str, float]]:
    """{way: {xi: seconds per iteration}}, the best of so many rounds."""
    ways = rounds()
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(count):
        for key, run in ways.items():
            run()  # the caches still hold what the way before it used
            begin = time.perf_counter()
            iterations = run()
            best[key] = min(best[key], (time.perf_counter() - begin) / iterations)
    table: dict[str, dict[str, float]] = {}
    for (way, xi), seconds in best.items():
        table.setdefault(way, {})[f"{xi:g}"] = float(f"{seconds:.3g}")
    return table


def meta(seconds: dict[str, dict[str, float]]) -> dict:
    """The record: what was measured, with what, on what; no names or paths of the machine."""
    return {
        "kind": "measurement",
        "what": "seconds per iteration (one step of alpha, one of w) of the toy problem",
        "config": {
            "lr": LR,
            "iterations": ITERATIONS,
            "rounds": ROUNDS,
            "statistic": "best round",
            "dtype": "float64",
        },
        "seconds_per_iteration": seconds,
        "commits": _commits(),
        "machines": [{"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}],
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "torch")},
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _commits() -> list[str]:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return [found.stdout.strip()] if found.returncode == 0 else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    options = parser.parse_args()
    if options.quick and options.record:
        parser.error("--record takes all rounds: leave out --quick.")
    torch.set_num_threads(1)  # two numbers: there is nothing to share out
    seconds = measure(ROUNDS // 10 if options.quick else ROUNDS)
    for way, by_xi in seconds.items():
        print(
            f"{way:18}"
            + "  ".join(f"xi {xi}: {1e6 * value:8.2f} µs" for xi, value in by_xi.items())
        )
    if options.record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(
            json.dumps(meta(seconds), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(f"written: {RECORD.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

"""The hypergradient of a real search, taken apart at a few of its steps.

    python -m benchmarks.microscope             measure and print; a quarter of an hour, two cores
    python -m benchmarks.microscope --record    also write data/recorded/hypergradient
    python -m benchmarks.microscope --quick     the smoke profile, few steps: to see that it works

Notebooks 02 and 05 show that record. A first-order search on real images is stopped at `PROBES`.
There the terms of the gradient for alpha are computed as vectors, all entries of both cells' alpha
in one row, for every xi of a grid: the step ahead is the one that the optimizer would make, with
momentum and weight decay. Besides, at the xi of the search: the same first-order gradient on other
batches; the finite difference over the length of its step, in both precisions; the step ahead
without momentum and without weight decay; and where the optimizer really went next.

The arrays of the record, for P probes, X values of xi, A entries of alpha, R lengths, B batches:

    step (P,), xi (X,), radius (R,)
    first_order (P, A)                      d L_val(w, alpha) / d alpha
    other_batches (P, B, A)                 the same on other batches of alpha's half
    direct, implicit, difference (P, X, A)  at w'; the implicit term exactly and by difference
    bare_direct, bare_implicit (P, A)       w' by the gradient alone: no momentum, no weight decay
    error_float32, error_float64 (P, R)     of the difference, in multiples of the exact term
    moved (P, 3)                            lengths of momentum's, gradient's and decay's part of
                                            w - w'
    missed, missed_bare (P,)                how far w' is from the next w, in multiples of that step
"""

import argparse
import copy
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dartslib.data import load, split
from dartslib.fast import accelerate
from dartslib.gradients import BatchLoss, _finite_difference_term, hypergradient, leaves
from dartslib.runs import records
from dartslib.runs.machine import commit, machine, versions
from dartslib.runs.profiles import profile
from dartslib.searching import Search, SearchConfig

ROOT = Path(__file__).resolve().parent.parent
NAME = "hypergradient"
PROBES, QUICK_PROBES = (0, 20, 150), (0, 5)
XIS = (0, 0.005, 0.01, 0.02, 0.025, 0.03, 0.04, 0.06, 0.08, 0.1)  # 0.025 is the search's
QUICK_XIS = (0, 0.025, 0.05, 0.1)
RADII = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
OTHERS = 8  # other batches


def flat(tensors: Sequence[Tensor]) -> np.ndarray:
    """All entries in one row, float64."""
    return np.concatenate([t.detach().double().numpy().ravel() for t in tensors])


def size(tensors: Sequence[Tensor]) -> float:
    """The Euclidean length of a list of tensors, taken together."""
    return float(np.linalg.norm(flat(tensors)))


class Probe:
    """A search stopped at a step: its losses, and the optimizer's state.

    Args:
        search: where it stands; it is not changed.
        double: in double precision, on a copy of the network.
    """

    def __init__(self, search: Search, double: bool = False) -> None:
        kind = torch.float64 if double else torch.float32
        supernet = copy.deepcopy(search.supernet).double() if double else search.supernet
        self.architecture = search.architecture
        self.network, self.kind = supernet, kind
        self.w = [p.to(kind) for p in search.w]
        self.alpha = [a.to(kind) for a in search.architecture.alpha]
        self.losses = [self.loss(search, source) for source in (search.train, search.valid)]
        buffers = [search.w_optimizer.state[p].get("momentum_buffer") for p in search.w]
        self.optimizer: dict[str, Any] = {
            "momentum": search.config.momentum,
            "buffers": [None if b is None else b.to(kind) for b in buffers],
            "weight_decay": search.config.w_weight_decay,
        }
        self.xi = search.w_optimizer.param_groups[0]["lr"]
        self.radius = search.config.radius

    def loss(self, search: Search, batches: Any, step: int | None = None) -> BatchLoss:
        """The loss of the search's present batch, or of another one."""
        images, labels = batches.at(search.step if step is None else step)
        return BatchLoss(self.network, self.architecture, images.to(self.kind), labels)

    def terms(self, method: str, xi: float | None = None, **options: Any) -> Any:
        """The hypergradient here; xi is the search's if None."""
        xi = self.xi if xi is None else xi
        options = self.optimizer | options
        return hypergradient(*self.losses, self.w, self.alpha, method=method, xi=xi, **options)

    def ahead(self, **options: Any) -> list[list[Tensor]]:
        """What momentum, gradient and weight decay each take from w in the step ahead."""
        w = leaves(self.w)
        gradient = torch.autograd.grad(self.losses[0](w, self.alpha), w)
        options = self.optimizer | options
        buffers = [torch.zeros_like(p) if b is None else b
                   for p, b in zip(self.w, options["buffers"], strict=True)]  # fmt: skip
        return [
            [self.xi * options["momentum"] * b for b in buffers],
            [self.xi * g for g in gradient],
            [self.xi * options["weight_decay"] * p.detach() for p in self.w],
        ]


@dataclass(frozen=True)
class Terms:
    """The hypergradient's terms at one xi, each all entries of alpha in a row."""

    direct: np.ndarray
    implicit: np.ndarray  # exactly
    difference: np.ndarray  # the same by finite difference, with the search's radius
    errors: list[float]  # of the difference with each of some radii, in multiples of the exact one


def all_terms(probe: Probe, xis: Sequence[float], radii: Sequence[float] = ()) -> list[Terms]:
    """The terms for every xi, as `hypergradient` has them by "exact" and "finite_difference".

    The gradient of L_train at w is the same for all xi: its graph is made once and kept.
    """
    train_loss, valid_loss = probe.losses
    w, alpha = leaves(probe.w), leaves(probe.alpha)
    gradient = torch.autograd.grad(train_loss(w, alpha), w, create_graph=True)
    momentum, _, decay = probe.ahead()
    one = [(m + d) / probe.xi for m, d in zip(momentum, decay, strict=True)]  # at xi = 1
    found = []
    for xi in xis:
        ahead = leaves(p - xi * (g + o) for p, g, o in zip(w, gradient, one, strict=True))
        at = leaves(probe.alpha)
        both = torch.autograd.grad(valid_loss(ahead, at), [*at, *ahead])
        v = both[len(at) :]
        product = sum((g * d).sum() for g, d in zip(gradient, v, strict=True))
        implicit = flat(torch.autograd.grad(product, alpha, retain_graph=True))

        def difference(radius: float, v: Sequence[Tensor] = v) -> np.ndarray:
            return flat(_finite_difference_term(train_loss, probe.w, probe.alpha, v, radius))

        errors = [
            float(np.linalg.norm(difference(r) - implicit) / np.linalg.norm(implicit))
            for r in radii
        ]
        direct = flat(both[: len(at)])
        found.append(Terms(direct, implicit, difference(probe.radius), errors))
    return found


def taken_apart(search: Search, plain: Search, xis: Sequence[float]) -> dict[str, Any]:
    """All that is measured at the search's present step; it then makes its step.

    Args:
        search: in the fast form, which cannot be differentiated twice.
        plain: the same search in the plain form, wherever it stands.
        xis: of the step ahead.
    """
    plain.load_state_dict(search.state_dict())
    probe = Probe(plain)
    row: dict[str, Any] = {"step": search.step}
    row["first_order"] = flat(probe.terms("first_order").gradient)
    valid = probe.losses[1]
    row["other_batches"] = []
    for other in range(OTHERS):
        probe.losses[1] = probe.loss(plain, plain.valid, plain.step + 1 + other)
        row["other_batches"].append(flat(probe.terms("first_order").gradient))
    probe.losses[1] = valid
    found = all_terms(probe, xis)
    for name in ("direct", "implicit", "difference"):
        row[name] = [getattr(terms, name) for terms in found]
    row["error_float32"], row["error_float64"] = (
        all_terms(closely, (closely.xi,), RADII)[0].errors
        for closely in (probe, Probe(plain, double=True))
    )
    bare = probe.terms("exact", momentum=0.0, weight_decay=0.0)
    row["bare_direct"], row["bare_implicit"] = flat(bare.direct), flat(bare.implicit)
    pieces = probe.ahead()
    row["moved"] = [size(piece) for piece in pieces]
    before = flat(search.w)
    search.advance()
    went = before - flat(search.w)
    meant, alone = sum(flat(piece) for piece in pieces), flat(pieces[1])
    row["missed"] = np.linalg.norm(went - meant) / np.linalg.norm(went)
    row["missed_bare"] = np.linalg.norm(went - alone) / np.linalg.norm(went)
    return row


def measure(
    config: SearchConfig, data: Path, probes: Sequence[int], xis: Sequence[float]
) -> dict[str, np.ndarray]:
    """The arrays of the record."""
    dataset = load(config.dataset, data)
    cut = split(dataset, config.half, config.held_out)
    halves = [
        dataset.batches(half, config.batch_size, seed=config.seed)
        for half in (cut.search_train, cut.search_valid)
    ]
    search, plain = Search(config, *halves), Search(config, *halves)
    accelerate(search.supernet)
    for loop in (search, plain):
        loop.supernet.train()
    rows = []
    while len(rows) < len(probes):
        if search.step in probes:
            rows.append(taken_apart(search, plain, xis))
            share = np.linalg.norm(rows[-1]["implicit"], axis=1) * xis
            share /= np.linalg.norm(rows[-1]["direct"], axis=1)
            error = rows[-1]["error_float32"][RADII.index(0.01)]
            print(
                f"step {rows[-1]['step']}: xi * implicit up to {share.max():.3f} of direct", end=""
            )
            print(f", error of the difference {error:.2f}", flush=True)
        else:
            search.advance()
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {"xi": np.asarray(xis), "radius": np.array(RADII)} | table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write data/recorded/{NAME}")
    parser.add_argument("--quick", action="store_true", help="the smoke profile, few steps")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="where data sets lie")
    options = parser.parse_args()
    if options.quick and options.record:
        parser.error("--record takes the lesson profile: leave out --quick.")
    config = profile("smoke" if options.quick else "lesson").search
    config = config.model_copy(update={"gradient": "first_order"})
    begin = time.perf_counter()
    probes, xis = (QUICK_PROBES, QUICK_XIS) if options.quick else (PROBES, XIS)
    arrays = measure(config, options.data, probes, xis)
    if options.record:
        meta = {
            "kind": "measurement",
            "what": "the terms of the hypergradient along a first-order search",
            "dataset": config.dataset,
            "profile": "smoke" if options.quick else "lesson",
            "config": config.model_dump(mode="json"),
            "seconds": round(time.perf_counter() - begin, 1),
            "command": "python -m benchmarks.microscope " + shlex.join(sys.argv[1:]),
            "commits": [commit()],
            "machines": [machine()],
            "versions": [versions()],
        }
        records.save(records.Record(NAME, meta, arrays, None), records.RECORDED / NAME)
        print(f"written: data/recorded/{NAME}")


if __name__ == "__main__":
    main()

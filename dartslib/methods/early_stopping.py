"""Early stopping: a search ends when L_val becomes too sharp in alpha.

Zela et al., "Understanding and robustifying differentiable architecture search" (ICLR 2020),
section 4.3: lambda is the largest eigenvalue of H = d2 L_val(w, alpha) / d alpha2, smoothed. Where
lambda(before) / lambda(now) < 0.75, the search ends and **the alpha of before is returned**.

What differs from the paper and its code (automl/RobustDARTS), on purpose:

1. As in the code lambda is computed 25 times a run, averaged over five, and compared with that of
   four values before (8 of 50 epochs; the paper: 5), which has to be 0.2 of the run or later.
2. The code's bound is a factor of 1.3. It does not guard against ratios of negative numbers: here
   both have to be above 0.
3. H is by differences of alpha's gradient, so that it can be had in the fast form, too: 3.5 times
   as fast as by double backward. H is symmetric, hence `eigvalsh`. It lacks alpha's weight decay,
   which would add 1e-3 to each eigenvalue. Its batch is the next one of alpha's half.
"""

from math import nan
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dartslib.gradients import BatchLoss, hypergradient
from dartslib.methods.stages import Around, Stages
from dartslib.searching import Search
from dartslib.settings import Fraction


class EarlyStopping(Around, name="early_stopping"):
    """Ends a search, and returns the alpha from before the curvature rose (Zela et al. 2020)."""

    ratio: float = Field(0.75, ge=0)
    """The search ends where lambda before / lambda now is smaller; 0 for never."""
    every: float = Field(0.04, gt=0, lt=1)
    """Fraction of the run between two eigenvalues (at the next record)."""
    window: int = Field(5, ge=1)
    """How many eigenvalues are averaged."""
    back: int = Field(4, ge=1)
    """How many eigenvalues lie between before and now."""
    earliest: Fraction = 0.2
    """Fraction of the run from which on "before" may be."""

    def due(self, known: int, progress: float) -> bool:
        """Whether it is time for another eigenvalue, after so many."""
        return progress + 1e-9 >= known * self.every  # 7 * 0.04 * 5000 is more than 1400

    def after_step(self, loop: Stages, record: dict[str, Any] | None) -> None:
        """Adds `eigenvalue` to the record, nan where it was not computed."""
        (search,) = loop.searches
        if record is None:
            return
        values, steps = search.history["eigenvalue"], search.history["step"]
        due = self.due(np.isfinite(values).sum(), search.step / search.steps)
        record["eigenvalue"] = float(torch.linalg.eigvalsh(hessian(search))[-1]) if due else nan
        values.append(record["eigenvalue"])
        known = np.flatnonzero(np.isfinite(values))  # the records that have one
        before = len(known) - 1 - self.back
        if not due or before < 0 or steps[known[before]] < self.earliest * search.steps:
            return
        lambdas = np.array(values)[known]
        then = lambdas[max(0, before + 1 - self.window) : before + 1].mean()
        today = lambdas[-self.window :].mean()
        if 0 < then < self.ratio * today:
            for name, logits in search.architecture.logits.items():
                earlier = search.history[f"logits_{name}"][known[before]]
                logits.data.copy_(torch.as_tensor(earlier))
            search.step = search.steps
            search._record()  # the last one, of what is returned
            values.append(nan)


def hessian(search: Search, radius: float = 0.1) -> Tensor:
    """d2 L_val / d alpha2 on one batch, (logits, logits) with all tables in a row.

    Logits move by `radius` to both sides: small enough for 1 % of an eigenvalue, large enough for
    float32. Two passes per logit that L_val feels.
    """
    batch, alpha = search._batch(search.valid), search.architecture.alpha
    loss = BatchLoss(search.supernet, search.architecture, *batch, moment=search.moment)
    flat = torch.cat([a.detach().flatten() for a in alpha])  # (logits,)

    def slope(flat: Tensor) -> Tensor:
        parts = flat.split([a.numel() for a in alpha])
        given = [part.view_as(a) for part, a in zip(parts, alpha, strict=True)]
        found = hypergradient(loss, loss, search.w, given, method="first_order")
        return torch.cat([g.flatten() for g in found.direct])

    result = flat.new_zeros(len(flat), len(flat))
    for k in slope(flat).nonzero().flatten().tolist():
        step = torch.zeros_like(flat)
        step[k] = radius
        result[k] = (slope(flat + step) - slope(flat - step)) / (2 * radius)
    return (result + result.T) / 2

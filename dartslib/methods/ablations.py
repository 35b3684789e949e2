"""The second order taken apart: does its step ahead matter, or its implicit term?

Liu et al. (2019), equation 7, is d L_val(w', alpha) / d alpha - xi * term. Instead of it::

    look_ahead:  d L_val(w', alpha) / d alpha       w' = w - xi (…) as there
    placebo:     d L_val(w, alpha) / d alpha - xi r     first order, and noise

r is drawn in each step, per table of alpha as long as the term there. As in the term, the numbers
of a row sum to 0: a softmax does not feel their sum. Both are ours, from no paper. `look_ahead`
costs a pass for w and one for alpha, `placebo` as much as the first and the second order.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.linalg import vector_norm

from dartslib.gradients import Hypergradient, Loss, hypergradient, leaves
from dartslib.methods.stages import Around
from dartslib.searching import Search, SearchConfig


class LookAhead(Around, name="look_ahead"):
    """The second order without its implicit term."""

    def configs(self, config: SearchConfig) -> list[SearchConfig]:
        """Those of a search by finite differences, whose xi it uses."""
        return [config.changed(gradient="finite_difference")]

    def prepare(self, searches: list[Search]) -> None:
        """Puts its gradient in the place of the search's."""
        searches[0].hypergradient = look_ahead


class Placebo(LookAhead, name="placebo"):
    """The first order plus noise as long as the implicit term."""

    term: Literal["finite_difference", "exact"] = "finite_difference"
    """By what the length of the term is found; `exact` runs in the plain form."""

    def configs(self, config: SearchConfig) -> list[SearchConfig]:
        """Those of a search with that term, whose xi it uses."""
        return [config.changed(gradient=self.term)]

    def prepare(self, searches: list[Search]) -> None:
        """Puts its gradient in the place of the search's."""
        searches[0].hypergradient = partial(placebo, searches[0])


def look_ahead(
    train_loss: Loss, valid_loss: Loss, w: Sequence[Tensor], alpha: Sequence[Tensor], **options: Any
) -> Hypergradient:
    """d L_val(w', alpha) / d alpha with w' held fixed; arguments as in `hypergradient`."""
    free = leaves(w)
    loss = train_loss(free, [a.detach() for a in alpha])
    gradient = torch.autograd.grad(loss, free, materialize_grads=True)
    xi, momentum, decay = (options[name] for name in ("xi", "momentum", "weight_decay"))
    ahead = [
        p.detach() - xi * (g + decay * p.detach() + (0.0 if b is None else momentum * b))
        for p, g, b in zip(w, gradient, options["buffers"], strict=True)
    ]
    return hypergradient(train_loss, valid_loss, ahead, alpha, method="first_order")


def placebo(
    search: Search, train_loss: Loss, valid_loss: Loss, *tensors: Sequence[Tensor], **options: Any
) -> Hypergradient:
    """First order minus xi * noise; the noise is `implicit` of the result."""
    first = hypergradient(train_loss, valid_loss, *tensors, method="first_order")
    true = hypergradient(train_loss, valid_loss, *tensors, **options)
    noise, generator = [], search.moment.generator
    for term in true.implicit:
        r = torch.randn(term.shape, generator=generator).to(term)  # (edges, operations)
        r = r - r.mean(dim=-1, keepdim=True)
        noise.append(r * vector_norm(term) / vector_norm(r).clamp_min(1e-30))  # 0 of one operation
    gradient = [d - options["xi"] * r for d, r in zip(first.direct, noise, strict=True)]
    return Hypergradient(gradient, first.direct, noise, first.loss)

"""SmoothDARTS: w is trained on a mixture that was moved, so that the loss is flat around alpha.

Chen and Hsieh, "Stabilizing differentiable architecture search via perturbation-based
regularization" (ICML 2020)::

    RS:   w descends L_train(w, p + delta),  delta uniform in the ball |delta| <= reach
    ADV:  w descends max over delta in that ball of L_train(w, p + delta)

alpha's step sees p = softmax(alpha) itself. The ball is that of single numbers, and what leaves the
simplex is brought back: below 0 to 0, then each row to its sum.

What differs from the paper and its code, on purpose:

1. The reach grows per step, and its last value is reached; in the code it grows per epoch.
2. The attack sees the batch statistics that w's step will use; in the code, running statistics.
3. Reach 0 is DARTS to the bit; the code stops there on a name that it has not defined.
4. Operations with the number 0, such as closed ones, stay at 0.

Its settings: reach 0.03 to 0.3, 7 ascents, first order, all else as in DARTS. To widen the reach is
its author's advice where skip_connect wins all the same (SmoothDARTS #7).
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dartslib.relaxation import Moment, Relaxation, Tables


class SDARTS(Relaxation, name="sdarts"):
    """Perturbs the mixture of w's step (Chen and Hsieh 2020)."""

    attack: Literal["random", "adversarial"] = "random"
    """RS or ADV."""
    reach_from: float = Field(0.03, ge=0, le=1)
    """Largest change of a number in the first step."""
    reach_to: float = Field(0.3, ge=0, le=1)
    """The same in the last step; it grows linearly."""
    ascents: int = Field(7, ge=1)
    """Steps of ADV, each by 2 reach / ascents along the sign of the gradient."""

    def mixture_for_w(
        self, mixture: Tables, loss: Callable[[Tables], Tensor], moment: Moment
    ) -> Tables:
        """The mixture moved; gradients go through as if it had not been."""
        reach = moment.between(self.reach_from, self.reach_to)
        clean = {kind: p.detach() for kind, p in mixture.items()}
        moved = {kind: p + reach * noise(p, moment) for kind, p in clean.items()}
        adversarial = self.attack == "adversarial"
        for _ in range(self.ascents if adversarial else 0):
            free = {kind: p.requires_grad_() for kind, p in moved.items()}
            slopes = torch.autograd.grad(loss(free), [*free.values()], materialize_grads=True)
            for (kind, p), slope in zip(free.items(), slopes, strict=True):
                ahead = p.detach() + 2 * reach / self.ascents * slope.sign()
                moved[kind] = ahead.clamp(clean[kind] - reach, clean[kind] + reach)
        moved = {kind: as_mixture(p.detach(), clean[kind]) for kind, p in moved.items()}
        with torch.no_grad():
            if adversarial and not loss(moved) > loss(clean):
                moved = clean
        return {kind: p + (moved[kind] - p).detach() for kind, p in mixture.items()}


def noise(like: Tensor, moment: Moment) -> Tensor:
    """Uniform numbers from -1 to 1, drawn on the CPU."""
    drawn = 2 * torch.rand(like.shape, generator=moment.generator) - 1
    return drawn.to(like.device, like.dtype, non_blocking=True)


def as_mixture(moved: Tensor, clean: Tensor) -> Tensor:
    """The nearest to `moved` (edges, operations) with no number below 0 and with clean's sums.

    A row of which nothing is left keeps its largest number alone.
    """
    moved = moved.clamp(0, 1) * (clean > 0)
    largest = clean * (clean == clean.amax(dim=1, keepdim=True))
    moved = torch.where(moved.any(dim=1, keepdim=True), moved, largest)
    sums, tiny = moved.sum(dim=1, keepdim=True), torch.finfo(moved.dtype).tiny
    return moved * (clean.sum(dim=1, keepdim=True) / sums.clamp_min(tiny))  # by 1 at reach 0

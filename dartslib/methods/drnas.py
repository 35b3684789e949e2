"""DrNAS: the mixture of an edge is drawn from a Dirichlet distribution, which alpha shapes.

Chen et al., "DrNAS: Dirichlet neural architecture search" (ICLR 2021)::

    theta ~ Dirichlet(c) per edge,   c = elu(alpha) + 1        (1 at alpha = 0: uniform)

The gradient goes through the draw. Weight decay pulls c to 1, and so does the other penalty,
kl * sum over edges of KL(Dirichlet(c) || Dirichlet(1)).

What differs from the paper and its code, on purpose:

1. One stage with all operations and channels; the paper's space is searched in two, with K = 6
   and then 4 of partial channels, and with the four best operations in the second.
2. c is at least `LEAST`: below, most draws are 0 in float32 and their gradients are useless.

Cells are derived from softmax(alpha), as in the code. That is c / sum c while no logit is above 0.
Its settings: alpha by Adam at 6e-4 (3e-4 on NAS-Bench-201), weight decay 1e-3, or 0 with kl = 1e-3;
no operation `none`; w from 0.1 to 0.
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F

from dartslib.relaxation import Moment, Relaxation, Tables
from dartslib.space import CELL_TYPES, SearchSpace

LEAST = 0.02


class DrNAS(Relaxation, name="drnas"):
    """Dirichlet draws (Chen et al. 2021)."""

    kl: float = Field(0.0, ge=0)
    """Factor of the distance to the uniform distribution in alpha's loss."""

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """A draw per edge; all cells of a type share it."""
        found = {}
        for kind in CELL_TYPES:
            c = concentration(alpha[kind])
            # Gamma numbers, divided by their sum: torch's Dirichlet takes no generator.
            drawn = torch._standard_gamma(c.cpu(), generator=moment.generator).to(c.device)
            drawn = drawn.masked_fill(alpha[kind].isinf(), 0.0)  # closed operations
            found[kind] = drawn / drawn.sum(dim=-1, keepdim=True)
        return found

    def alpha_loss(self, loss: Tensor, alpha: Tables, space: SearchSpace, moment: Moment) -> Tensor:
        """L_val, and the distance to the uniform distribution."""
        for kind in CELL_TYPES if self.kl else ():
            c = concentration(alpha[kind])
            uniform = Dirichlet(torch.ones_like(c))
            loss = loss + self.kl * kl_divergence(Dirichlet(c), uniform).sum()
        return loss


def concentration(logits: Tensor) -> Tensor:
    """c = elu(alpha) + 1: exp(alpha) below 0, alpha + 1 above."""
    return (F.elu(logits) + 1).clamp_min(LEAST)

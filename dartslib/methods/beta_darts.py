"""beta-DARTS: alpha's loss pushes down what is large among the logits, more and more.

Ye et al., "beta-DARTS: beta-decay regularization for differentiable architecture search" (CVPR
2022)::

    alpha descends  L_val + scale * progress * mean over edges of log sum_k exp(alpha_k)

The penalty's gradient is softmax(alpha) / edges. Unlike a softmax it changes when all logits of
a row are shifted, so it also bounds their size.

What differs from the paper and its code, on purpose:

1. The factor grows per step, not per epoch.
2. The mean is over the edges of both cell types; NAS-Bench-201 has one type.

Its settings on NAS-Bench-201: scale 50, 100 epochs, first order.
"""

import torch
from pydantic import Field
from torch import Tensor

from dartslib.relaxation import Moment, Relaxation, Tables
from dartslib.space import CELL_TYPES, SearchSpace


class BetaDARTS(Relaxation, name="beta_darts"):
    """A penalty on the logits (Ye et al. 2022)."""

    scale: float = Field(50.0, ge=0)
    """Factor of the penalty at the end; it grows linearly from 0."""

    def alpha_loss(self, loss: Tensor, alpha: Tables, space: SearchSpace, moment: Moment) -> Tensor:
        """L_val and the penalty."""
        rows = torch.cat([alpha[kind] for kind in CELL_TYPES])  # (2 edges, operations)
        return loss + self.scale * moment.progress * rows.logsumexp(dim=1).mean()

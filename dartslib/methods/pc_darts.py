"""PC-DARTS: operations see a quarter of the channels, and the edges of a node compete, too.

Xu et al., "PC-DARTS: partial channel connections for memory-efficient architecture search" (ICLR
2020)::

    edge(x) = beta_e * shuffle([sum_k p_k o_k(x_1), x_2]),   x_1 the first C / K channels of x
    beta = softmax over the edges that enter a node;         p = softmax over the operations

What differs from the paper and its code, on purpose:

1. The channels are the first C / K, as in the code; the paper draws them at random. The shuffle
   that follows brings other channels to the front.
2. Alpha and beta rest for the first 0.3 of the steps (in the paper 15 of 50 epochs).
3. The bypassed channels are multiplied by beta, too: as in the code, not as in the paper's figure.
4. At an odd size the pool of the bypass rounds up, as all operations here do.

Its settings in the code: K = 4, alpha and beta by one Adam at 6e-4, weight decay 1e-3, both started
with noise of 1e-3; batches of 256; w from 0.1 to 0; 50 epochs. On ImageNet K = 2.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from dartslib.methods.i_darts import softmax_per_node
from dartslib.relaxation import START, MixedOperation, Moment, Relaxation, Tables
from dartslib.settings import Fraction
from dartslib.space import CELL_TYPES, SearchSpace


class PartialChannels(MixedOperation):
    """A mixed operation on the first C / K channels; the others pass by.

    Args:
        names, channels, stride: as in `MixedOperation`.
        k: K of the paper; it must divide the channels.
    """

    def __init__(self, names: tuple[str, ...], channels: int, stride: int, k: int) -> None:
        if channels % k:
            raise ValueError(
                f"pc_darts searches one channel of {k}, and an edge has {channels}: choose "
                f"channels that {k} divides, or another k."
            )
        super().__init__(names, channels // k, stride)
        self.k = k
        # With stride 2 a pool halves the maps that pass by; odd sizes round up.
        self.bypass = nn.Identity() if stride == 1 else nn.MaxPool2d(2, 2, ceil_mode=True)

    def forward(self, x: Tensor, mixture: Tensor, moment: Moment = START) -> Tensor:
        """As `MixedOperation.forward`; a row of the mixture sums to the edge's beta."""
        width = x.shape[1] // self.k
        searched = super().forward(x[:, :width], mixture, moment)  # (N, C / K, H', W')
        if self.k == 1:
            return searched
        others = mixture.sum() * self.bypass(x[:, width:])  # (N, C - C / K, H', W')
        both = torch.cat([searched, others], dim=1)  # (N, C, H', W')
        return F.channel_shuffle(both, self.k)


class WarmUp(Relaxation):
    """A relaxation whose alpha rests at first."""

    warm_up: Fraction = 0.3
    """Fraction of the search in which only w moves."""

    def moves_alpha(self, moment: Moment) -> bool:
        """Not during the warm-up."""
        return moment.progress >= self.warm_up


class PCDARTS(WarmUp, name="pc_darts"):
    """Partial channels and a softmax over the edges of a node (Xu et al. 2020, equations 2, 3)."""

    k: int = Field(4, ge=1)
    """One of k channels is searched."""

    def edge(self, names: tuple[str, ...], channels: int, stride: int) -> PartialChannels:
        """A mixed operation on the first channels."""
        return PartialChannels(names, channels, stride, self.k)

    def parameters(self, space: SearchSpace) -> dict[str, tuple[int, ...]]:
        """Alpha, and beta, one logit per edge."""
        beta = {f"beta_{cell_type}": (len(space.edges),) for cell_type in CELL_TYPES}
        return super().parameters(space) | beta

    def probabilities(self, alpha: Tables, space: SearchSpace) -> Tables:
        """p * beta: the operations of an edge sum to its beta, the edges of a node to 1."""
        found = super().probabilities(alpha, space)
        for cell_type, p in found.items():
            beta = softmax_per_node(alpha[f"beta_{cell_type}"], space)  # (edges,)
            found[cell_type] = p * beta[:, None]
        return found

"""DARTS-: a second skip connection helps every edge to train, and fades out.

Chu et al., "DARTS-: robustly stepping out of performance collapse without indicators" (ICLR 2021)::

    o(x) = beta * skip(x) + sum_k p_k o_k(x),     beta from 1 to 0

skip is the identity, at stride 2 a factorized reduction of its own. What makes training easier goes
through it, so that the candidate skip_connect has to win by what it computes. It is on every edge,
also where skip_connect is no candidate, and in no derived cell.

What differs from the paper and its code, on purpose:

1. beta falls per step, not per epoch. As there, it is not quite 0 in the last one.
2. It falls along a line; its code also offers a cosine.

Its settings: first order, all else as in DARTS.
"""

from pydantic import Field
from torch import Tensor

from dartslib.operations import build
from dartslib.relaxation import START, MixedOperation, Moment, Relaxation


class WithSkip(MixedOperation):
    """A mixed operation, and beta times a skip connection that alpha does not know."""

    def __init__(self, names: tuple[str, ...], channels: int, stride: int, beta: float) -> None:
        super().__init__(names, channels, stride)
        self.skip, self.first = build("skip_connect", channels, stride), beta

    def beta(self, moment: Moment) -> float:
        """What multiplies the skip connection: 0 after the search."""
        return self.first * (1 - moment.progress)

    def forward(self, x: Tensor, mixture: Tensor, moment: Moment = START) -> Tensor:
        """As `MixedOperation.forward`."""
        return super().forward(x, mixture, moment) + self.beta(moment) * self.skip(x)


class DARTSMinus(Relaxation, name="darts_minus"):
    """An auxiliary skip connection (Chu et al. 2021)."""

    beta: float = Field(1.0, ge=0)
    """Its factor in the first step; 0 is DARTS."""

    def edge(self, names: tuple[str, ...], channels: int, stride: int) -> WithSkip:
        """A mixed operation with the auxiliary skip connection."""
        return WithSkip(names, channels, stride, self.beta)

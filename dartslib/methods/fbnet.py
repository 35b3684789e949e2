"""FBNet: a soft sample mixes the operations, and what alpha descends knows their latency.

Wu et al., "FBNet: hardware-aware efficient ConvNet design via differentiable neural architecture
search" (CVPR 2019)::

    mixture = softmax((log softmax(alpha) + g) / tau), g Gumbel;     L = L_val * 0.2 * log(LAT)^0.6

What differs from the paper, on purpose:

1. LAT is the expected latency of the probabilities, not that of the sample, in microseconds.
2. tau falls per step, from 5 by exp(-0.045) per epoch of 90; alpha rests for the first ninth of the
   run (there 10 epochs). The space is DARTS's, and so is the derivation.

Public code computes log(LAT^0.6) = 0.6 log(LAT) (AnnaAraslanova/FBNet says so in its README): here
the logarithm is raised to the power. Its settings: w by SGD at 0.1 on 80 % of the images, alpha by
Adam at 0.01, weight decay 5e-4.
"""

from math import exp

from pydantic import Field
from torch import Tensor

from dartslib.methods.gdas import gumbel_softmax
from dartslib.methods.latency import Priced
from dartslib.methods.pc_darts import WarmUp
from dartslib.relaxation import Moment, Tables
from dartslib.settings import Fraction
from dartslib.space import CELL_TYPES, SearchSpace


class FBNet(WarmUp, Priced, name="fbnet"):
    """A soft Gumbel sample, and latency as a factor of the loss (Wu et al. 2019, 3.2 and 3.3)."""

    scale: float = Field(0.2, gt=0)
    """Factor of the loss (alpha in the paper)."""
    power: float = Field(0.6, ge=0)
    """Power of log LAT (beta in the paper): how much latency weighs against the loss."""
    tau_from: float = Field(5.0, gt=0)
    """Temperature of the first step."""
    tau_to: float = Field(5 * exp(-0.045 * 90), gt=0)
    """Temperature at the end; its logarithm falls linearly."""
    warm_up: Fraction = 10 / 90
    """Fraction of the search in which only w moves."""

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """The sample."""
        tau = self.tau_from * (self.tau_to / self.tau_from) ** moment.progress
        return {kind: gumbel_softmax(alpha[kind], tau, moment) for kind in CELL_TYPES}

    def alpha_loss(self, loss: Tensor, alpha: Tables, space: SearchSpace, moment: Moment) -> Tensor:
        """L_val times the factor."""
        log = (1000 * self.latency(alpha, space)).log()
        return loss * self.scale * log**self.power

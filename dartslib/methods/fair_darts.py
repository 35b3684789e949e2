"""FairDARTS: operations do not compete; each has a sigmoid, which a penalty drives to 0 or 1.

Chu et al., "Fair DARTS: eliminating unfair advantages in differentiable architecture search" (ECCV
2020)::

    o(x) = sum_k sigmoid(alpha_k) o_k(x)
    alpha descends  L_val - w01 * mean over all numbers of (sigmoid(alpha) - 1/2)²

What differs from the paper and its code, on purpose:

1. Cells are derived by DARTS's rule. The paper then drops what is below 0.85 (`least`), and a node
   may lose all its inputs; here it keeps its best one.
2. Numbers of weights are those of the network alone; the paper's include the auxiliary head.

Its settings: no operation `none`; alpha by Adam at 3e-3, betas 0.9 and 0.999, from 0 on; w from
0.005 to 0.001; batches of 128; first order.
"""

import torch
from pydantic import Field
from torch import Tensor

from dartslib.genotypes import Genotype
from dartslib.relaxation import Moment, Relaxation, Tables
from dartslib.settings import Fraction
from dartslib.space import CELL_TYPES, SearchSpace


class FairDARTS(Relaxation, name="fair_darts"):
    """A sigmoid per operation and the zero-one loss (Chu et al. 2020)."""

    w01: float = Field(10.0, ge=0)
    """Factor of the zero-one loss."""
    least: Fraction = 0.0
    """What a kept operation must have, unless it is the only one of its node; 0.85 in the paper."""

    def probabilities(self, alpha: Tables, space: SearchSpace) -> Tables:
        """Each between 0 and 1, whatever the others are."""
        return {kind: alpha[kind].sigmoid() for kind in CELL_TYPES}

    def alpha_loss(self, loss: Tensor, alpha: Tables, space: SearchSpace, moment: Moment) -> Tensor:
        """L_val and the zero-one loss, from -w01 / 4 to 0."""
        numbers = torch.cat([p.flatten() for p in self.probabilities(alpha, space).values()])
        return loss - self.w01 * (numbers - 0.5).square().mean()

    def derive(
        self, probabilities: Tables, space: SearchSpace, edges_per_node: int = 2
    ) -> Genotype:
        """By DARTS's rule, from what is not below `least`."""
        real, strong = [name != "none" for name in space.operations], {}
        for kind in CELL_TYPES:
            p = torch.as_tensor(probabilities[kind])  # (edges, operations)
            nodes = [p[space.edges_into(2 + node)] for node in range(space.nodes)]
            best = torch.cat([rows[:, real].max().expand(len(rows), 1) for rows in nodes])
            strong[kind] = p.where(p >= best.clamp_max(self.least), 0.0)
        return super().derive(strong, space, edges_per_node)

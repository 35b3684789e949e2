"""I-DARTS: all operations of all edges that enter a node share one softmax.

Jiang et al., "Improved differentiable architecture search for language modeling and named entity
recognition" (EMNLP 2019)::

    p(e, k) = exp alpha(e, k) / sum over all edges e' into the node, all k', of exp alpha(e', k')

So edges can be compared, and a node is a mean of its inputs, where in DARTS it is a sum.

What differs from the paper, on purpose (no public code is known):

1. The paper searches recurrent cells. Convolutional ones, as here, are a design of our own.
2. The cell is derived by DARTS's rule. `derivation="pairs"` keeps a node's best pairs of operation
   and input, as the paper does: perhaps two from one input, and none from another.

Not to be confused with iDARTS (Zhang et al., ICML 2021), which is about the implicit gradient.
"""

import torch
from torch import Tensor

from dartslib.methods.gdas import BestPairs
from dartslib.relaxation import Tables
from dartslib.space import CELL_TYPES, SearchSpace


class IDARTS(BestPairs, name="i_darts"):
    """One softmax per node (Jiang et al. 2019)."""

    def probabilities(self, alpha: Tables, space: SearchSpace) -> Tables:
        """The rows of a node sum to 1 together; an edge that was closed since keeps its share."""
        return {kind: softmax_per_node(alpha[kind], space) for kind in CELL_TYPES}


def softmax_per_node(logits: Tensor, space: SearchSpace) -> Tensor:
    """One softmax over all logits (edges, …) of the edges that enter a node."""
    nodes = [logits[space.edges_into(2 + node)] for node in range(space.nodes)]
    return torch.cat([rows.flatten().softmax(dim=0).view_as(rows) for rows in nodes])

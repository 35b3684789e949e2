"""SNAS: all operations run, times a softmax with Gumbel noise that grows sharper.

Xie et al., "SNAS: stochastic neural architecture search" (ICLR 2019)::

    o(x) = sum_k p_k o_k(x),    p = softmax((log softmax(alpha) + g) / tau),  g Gumbel

It searches on one level: set `gradient="one_level"`, and alpha and w learn from the same loss.

What differs from the paper and its code, on purpose:

1. tau falls per step, not per epoch; its first and last value are the paper's.
2. No loss for resources.
3. The cell is derived by DARTS's rule. `derivation="every_edge"` is the paper's own: each edge
   keeps its most probable operation, or nothing where that is `none`. A node that would lose all
   its inputs keeps its best one.
4. Nothing is chosen by the test images, which in the code are called validation.

Its settings: one_level, 150 epochs, alpha started with noise of 0.01.
"""

from typing import Literal

import torch
from pydantic import Field

from dartslib.genotypes import Genotype
from dartslib.methods.gdas import SoftDraws
from dartslib.relaxation import Tables
from dartslib.space import CELL_TYPES, SearchSpace


class SNAS(SoftDraws, name="snas"):
    """Soft Gumbel draws (Xie et al. 2019)."""

    tau_from: float = Field(1.0, gt=0)
    """Temperature of the first step."""
    tau_to: float = Field(0.03, gt=0)
    """Temperature of the last step; it falls linearly."""
    derivation: Literal["darts", "every_edge"] = "darts"
    """How the cell is derived: by DARTS's rule, or as the paper's, an operation per edge."""

    def derive(
        self, probabilities: Tables, space: SearchSpace, edges_per_node: int = 2
    ) -> Genotype:
        """By DARTS's rule, or by the paper's."""
        if self.derivation == "darts":
            return super().derive(probabilities, space, edges_per_node)
        every, cells = super().derive(probabilities, space, space.nodes + 1), []
        for kind in CELL_TYPES:
            likely = torch.as_tensor(probabilities[kind]).argmax(dim=1).tolist()  # (edges,)
            names = {edge: space.operations[k] for edge, k in zip(space.edges, likely, strict=True)}
            nodes = enumerate(every.cell(kind), start=2)
            cells.append([
                [pair for pair in pairs if names[pair[1], target] != "none"] or pairs[:1]
                for target, pairs in nodes
            ])  # fmt: skip
        return Genotype(*cells)

"""GDAS: one operation per edge runs, drawn with Gumbel noise; the gradient is the softmax's.

Dong and Yang, "Searching for a robust neural architecture in four GPU hours" (CVPR 2019)::

    h = (log softmax(alpha) + g) / tau,  g Gumbel     p = softmax(h)     k = argmax h
    forward: o_k(x)       backward: d/d alpha_j = <dL/dy, o_k(x)> p_k (1[k = j] - p_j) / tau

What differs from the paper and its code, on purpose:

1. tau falls per step, not per epoch; its first and last value are the paper's.
2. One step moves alpha, then w, each with its own draw; the code moves w first.
3. Operations that were not drawn contribute to no gradient. The code's cell for NAS-Bench-201 adds
   their numbers to the output, as if they had returned ones (asked in AutoDL-Projects #36).
4. The cell is derived by DARTS's rule. `derivation="pairs"` is the paper's own: per node the two
   best pairs of operation and input, perhaps with one input for both.

Its settings in the paper: alpha by Adam at 3e-4, betas 0.5 and 0.999, weight decay 1e-3; 250 epochs
of batches of 256; w from 0.025 to 0.001, weight decay 5e-4.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dartslib.genotypes import Genotype, as_array
from dartslib.relaxation import START, MixedOperation, Moment, Relaxation, Tables
from dartslib.space import CELL_TYPES, SearchSpace


class OneOperation(MixedOperation):
    """Runs only operations whose number in the mixture is not 0: usually one, with the number 1."""

    def forward(self, x: Tensor, mixture: Tensor, moment: Moment = START) -> Tensor:
        """As `MixedOperation.forward`; the gradient of alpha goes through the number."""
        drawn = mixture.detach().nonzero().flatten().tolist()
        terms = [mixture[k] * self.operations[k](x) for k in drawn]  # (N, C, H', W') each
        return sum(terms) if terms else torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class BestPairs(Relaxation):
    """A relaxation whose cells may also be derived as the best pairs of input and operation."""

    derivation: Literal["darts", "pairs"] = "darts"
    """How the cell is derived: by DARTS's rule, or as the paper's best pairs per node."""

    def derive(
        self, probabilities: Tables, space: SearchSpace, edges_per_node: int = 2
    ) -> Genotype:
        """By DARTS's rule, or by the paper's."""
        if self.derivation == "darts":
            return super().derive(probabilities, space, edges_per_node)
        return Genotype(*(best_pairs(probabilities[k], space, edges_per_node) for k in CELL_TYPES))


class SoftDraws(Relaxation):
    """A relaxation by soft Gumbel draws, which grow sharper."""

    tau_from: float = Field(10.0, gt=0)
    """Temperature of the first step."""
    tau_to: float = Field(0.1, gt=0)
    """Temperature of the last step; it falls linearly."""

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """A draw per edge; all cells of a type share it."""
        tau = moment.between(self.tau_from, self.tau_to)
        return {kind: gumbel_softmax(alpha[kind], tau, moment) for kind in CELL_TYPES}


class GDAS(BestPairs, SoftDraws, name="gdas"):
    """Gumbel draws, hard forward, soft backward (Dong and Yang 2019, equations 3 to 6)."""

    edge = staticmethod(OneOperation)

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """1 for the drawn operation of each edge, else 0, with the gradient of the softmax."""
        return {kind: hard(p) for kind, p in super().mixture(alpha, space, moment).items()}


def gumbel_softmax(logits: Tensor, tau: float, moment: Moment) -> Tensor:
    """softmax((log softmax(logits) + g) / tau) per row, with Gumbel noise g."""
    # -log of an exponential number is Gumbel; drawn on the CPU, the same on every device.
    noise = -torch.empty(logits.shape).exponential_(generator=moment.generator).log()
    noise = noise.to(logits.device, logits.dtype, non_blocking=True)  # (edges, operations)
    return ((logits.log_softmax(dim=-1) + noise) / tau).softmax(dim=-1)


def hard(soft: Tensor) -> Tensor:
    """1 at the largest number of each row, exactly 0 elsewhere, with the gradient of `soft`."""
    one = torch.zeros_like(soft).scatter(-1, soft.argmax(dim=-1, keepdim=True), 1.0)
    return one - soft.detach() + soft


def best_pairs(table: Tensor, space: SearchSpace, count: int) -> list[list[tuple[str, int]]]:
    """Per node the `count` best pairs (operation, input) of a table (edges, operations)."""
    nodes, table = [], as_array(table)
    real = [k for k, name in enumerate(space.operations) if name != "none"]
    for target in range(2, 2 + space.nodes):
        places = [(edge, k) for edge in space.edges_into(target) for k in real]
        places.sort(key=lambda place: -table[place])
        nodes.append([(space.operations[k], space.edges[edge][0]) for edge, k in places[:count]])
    return nodes

"""SGAS: edges are decided one after the other during the search, the clearest first.

Li et al., "SGAS: sequential greedy architecture search" (CVPR 2020). Per edge, with q the
probabilities without none, divided by their sum::

    importance = 1 - p(none)    certainty = 1 - entropy(q) / log(number of q)
    stability = mean over the last four q' of sum_k min(q_k, q'_k)

Each is scaled to 0 … 1 over all edges of a cell type, decided ones included. The undecided edge
with the largest importance * certainty (criterion 1), * stability (criterion 2), keeps its most
probable operation alone. A node with two decided edges loses the others. w can thus adapt to the
cell before the search ends, and what was decided runs no other operation.

What differs from the paper and its code, on purpose:

1. Decisions are spread over a fraction of the run, as many as the cell has edges in the end; the
   paper's eight come after epochs 9, 14, …, 44 of 50. Stability looks back by 50ths of the run.
2. The batch does not grow with the decisions (in the code from 64 to 128).
3. A space without none has no importance. Before the first note there is no stability.

Its settings: first order, all else as in DARTS.
"""

from math import log
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from dartslib.relaxation import Relaxation
from dartslib.space import SearchSpace

if TYPE_CHECKING:
    from dartslib.searching import Search

EPOCHS, LOOK_BACK = 50, 4


class SGAS(Relaxation, name="sgas"):
    """Greedy decisions (Li et al. 2020)."""

    criterion: Literal[1, 2] = 1
    """1, or 2 for stability as well."""
    first: float = Field(0.18, ge=0, le=1)
    """Fraction of the search after which the first edge is decided."""
    last: float = Field(0.88, ge=0, le=1)
    """The same of the last edge. With both at 1 all are decided after a search of DARTS."""

    def after_step(self, search: "Search") -> None:
        """Decides what is due, and notes q for criterion 2."""
        architecture, step, space = search.architecture, search.step, search.architecture.space
        due = self.decisions(step, search.steps, space)
        if step > 1:
            due -= self.decisions(step - 1, search.steps, space)
        noted = self.criterion == 2 and step % max(1, search.steps // EPOCHS) == 0
        tables = self.probabilities(architecture.logits, space) if due or noted else {}
        for kind, p in tables.items():
            name = f"sgas_{kind}"
            q, score = judged(p.detach(), space, search.notes.get(name))
            for _ in range(due):
                decide(architecture.open[kind], q, score, space)
            if noted:
                before = search.notes.get(name, q[None][:0])  # (up to 4, edges, operations)
                search.notes[name] = torch.cat([before, q[None]])[-LOOK_BACK:]
        if due:
            search.prune()

    def decisions(self, step: int, steps: int, space: SearchSpace) -> int:
        """How many edges per cell type are decided after a step; two per node in the end."""
        last = 2 * space.nodes - 1
        times = [self.first + (self.last - self.first) * n / last for n in range(last + 1)]
        return sum(time <= step / steps + 1e-9 for time in times)


def judged(p: Tensor, space: SearchSpace, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """q (edges, operations), 0 for none, and the score of each edge, from 0 to 1.

    Args:
        p: the softmax of the logits (edges, operations), of decided edges, too.
        space: what the columns are.
        before: earlier q (times, edges, operations), for stability; None for criterion 1.
    """
    real = torch.tensor([name != "none" for name in space.operations], device=p.device)
    q = p * real
    importance = q.sum(dim=1)  # (edges,)
    q = q / importance[:, None]
    certainty = 1 + torch.xlogy(q, q).sum(dim=1) / log(max(2, int(real.sum())))
    factors = [certainty] if real.all() else [importance, certainty]
    if before is not None:
        factors.append(torch.minimum(q, before).sum(dim=2).mean(dim=0))
    return q, torch.stack([scaled(factor) for factor in factors]).prod(dim=0)


def scaled(factor: Tensor) -> Tensor:
    """(edges,) from 0 to 1; all 0 where all are equal."""
    above, width = factor - factor.min(), factor.max() - factor.min()
    return torch.where(width > 0, above / width, 0.0)


def decide(is_open: Tensor, q: Tensor, score: Tensor, space: SearchSpace) -> None:
    """Closes, in place, all but one operation of one edge, and what its node no longer reads."""
    undecided = is_open.sum(dim=1) > 1
    if not undecided.any():
        return
    edge = int(score.masked_fill(~undecided, -1.0).argmax())
    best = int((q[edge] * is_open[edge]).argmax())
    is_open[edge] = False
    is_open[edge, best] = True
    of_node = torch.tensor([target == space.edges[edge][1] for _, target in space.edges])
    decided = is_open.sum(dim=1) == 1
    if (decided.cpu() & of_node).sum() == 2:
        is_open[of_node.to(is_open.device) & ~decided] = False

"""SGAS: edges are decided one after the other during the search, the clearest first.

Li et al., "SGAS: sequential greedy architecture search" (CVPR 2020). Per edge, with q the
probabilities without none, divided by their sum::

    importance = 1 - p(none)    certainty = 1 - entropy(q) / log(number of q)
    stability = mean over the last four q' of sum_k min(q_k, q'_k)

Each is scaled to 0 … 1 over all edges of a cell type, decided ones included. The undecided edge
with the largest importance * certainty (criterion 1), * stability (criterion 2), keeps its most
probable operation alone. A node with two decided edges loses the others.

What differs from the paper and its code, on purpose:

1. Decisions are spread over a fraction of the run, as many as the cell has edges in the end; the
   paper's eight come after epochs 9, 14, …, 44 of 50. Stability looks back by 50ths of the run.
2. The batch does not grow with the decisions (in the code from 64 to 128).
3. A space without none has no importance. Before the first note there is no stability.

Its settings: first order, all else as in DARTS.
"""

from math import log
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dartslib.relaxation import Relaxation
from dartslib.searching import Search
from dartslib.space import SearchSpace


class SGAS(Relaxation, name="sgas"):
    """Greedy decisions (Li et al. 2020)."""

    criterion: Literal[1, 2] = 1
    """1, or 2 for stability as well."""
    first: float = Field(0.18, gt=0, le=1)
    """Fraction of the search after which the first edge is decided."""
    last: float = Field(0.88, gt=0, le=1)
    """The same of the last edge. With both at 1 all are decided after a search of DARTS."""

    def after_step(self, search: Search) -> None:
        """Decides what is due, and notes q for criterion 2."""
        architecture, step, space = search.architecture, search.step, search.architecture.space
        done, before = (self.decisions(n / search.steps, space) for n in (step, step - 1))
        noted = self.criterion == 2 and step % max(1, search.steps // 50) == 0
        if done == before and not noted:
            return
        for kind, p in self.probabilities(architecture.logits, space).items():
            name = f"sgas_{kind}"  # the last four q: (up to 4, edges, operations)
            q, score = judged(p.detach(), space, search.notes.get(name))
            for _ in range(done - before):
                decide(architecture.open[kind], q, score, space)
            if noted:
                earlier = search.notes.get(name, q[None][:0])
                search.notes[name] = torch.cat([earlier, q[None]])[-4:]
        search.prune()

    def decisions(self, progress: float, space: SearchSpace) -> int:
        """How many edges per cell type are decided by then; two per node in the end."""
        most, width = 2 * space.nodes, self.last - self.first
        times = [self.first + width * n / (most - 1) for n in range(most)]
        return sum(time <= progress + 1e-9 for time in times)


def judged(p: Tensor, space: SearchSpace, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """q (edges, operations), 0 for none, and the score of each edge, from 0 to 1.

    Args:
        p: the softmax of the logits (edges, operations), of decided edges, too.
        space: what the columns are.
        before: earlier q (times, edges, operations), for stability; None for criterion 1.
    """
    real = torch.tensor([name != "none" for name in space.operations], device=p.device)
    importance = (p * real).sum(dim=1)  # (edges,)
    q = p * real / importance[:, None]
    certainty = 1 + torch.xlogy(q, q).sum(dim=1) / log(max(2, int(real.sum())))
    factors = [certainty] if real.all() else [importance, certainty]
    if before is not None:
        factors.append(torch.minimum(q, before).sum(dim=2).mean(dim=0))
    factors = torch.stack(factors)  # (two or three, edges)
    above = factors - factors.amin(dim=1, keepdim=True)
    width = above.amax(dim=1, keepdim=True)
    return q, torch.where(width > 0, above / width, 0.0).prod(dim=0)


def decide(is_open: Tensor, q: Tensor, score: Tensor, space: SearchSpace) -> None:
    """Closes, in place, all but one operation of one edge, and what its node no longer reads."""
    undecided = is_open.sum(dim=1) > 1
    if not undecided.any():
        return
    edge = int(score.masked_fill(~undecided, -1.0).argmax())
    best = int((q[edge] * is_open[edge]).argmax())
    is_open[edge] = False
    is_open[edge, best] = True
    rows = space.edges_into(space.edges[edge][1])  # of its node
    decided = is_open[rows].sum(dim=1, keepdim=True) == 1
    if decided.sum() == 2:
        is_open[rows] &= decided

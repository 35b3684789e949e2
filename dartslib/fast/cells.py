"""A whole cell as one function with a gradient of its own.

A cell of mixed operations is some hundred small operations whose results are all kept, weighted,
added and thrown away. As one function with its gradient written by hand it can

- do once a state what the edges that leave it share: the ReLU, the pools and their statistics;
- add each operation to its node with BatchNorm and weight in one pass, so that no normalized
  tensor is ever stored; the gradient for the weight, alpha's, then falls out of BatchNorm's;
- add up gradients in place, and let go of each tensor as soon as it has been used;
- leave out what nobody asks for: gradients of w in alpha's pass, of alpha in that of w.

The same function runs the cells of a final network, where every edge has the weight 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dartslib.fast.branches import Branch, Run, State, branch
from dartslib.fast.normalizing import add_scaled, scaled
from dartslib.networks import DerivedCell
from dartslib.relaxation import MixedOperation
from dartslib.supernet import Cell


@dataclass(frozen=True)
class Term:
    """One of the summands of a node: an operation of the edge from a source.

    Attributes:
        target, source: states, counted as in `SearchSpace`.
        branch: the operation.
        position: where its weight stands in the cell's table, read row by row.
    """

    target: int
    source: int
    branch: Branch
    position: int


class FastCell:
    """The forward of one cell, as one function while it trains; otherwise the cell's own.

    It is set as an attribute of the cell, `cell.forward`, so that weights, names and everything
    else stay with the cell; `del cell.forward` brings the plain form back.
    """

    def __init__(self, cell: Cell | DerivedCell) -> None:
        self.cell = cell
        self.terms = list(_supernet_terms(cell) if isinstance(cell, Cell) else _terms(cell))
        self.states = 1 + max((term.target for term in self.terms), default=1)
        self.homes = [
            [
                (m, n)
                for m in term.branch.module.modules()
                for n, p in m._parameters.items()
                if p is not None
            ]
            for term in self.terms
        ]

    @property
    def can_run(self) -> bool:
        """Whether every edge is a plain mixed operation and every node has something to add up."""
        edges = self.cell.edges if isinstance(self.cell, Cell) else ()
        plain = all(type(edge) is MixedOperation for edge in edges)
        nodes = (
            len(self.cell.nodes) if isinstance(self.cell, DerivedCell) else self.cell.space.nodes
        )
        return plain and len({term.target for term in self.terms}) == nodes

    def __call__(self, before: Tensor, last: Tensor, *options: object) -> Tensor:
        """As `Cell.forward`, or as `DerivedCell.forward`."""
        cell, searching = self.cell, isinstance(self.cell, Cell)
        if not cell.training or (options and not searching and options[0] > 0):  # drop path
            return type(cell).forward(cell, before, last, *options)
        inputs = [
            adjust(x).contiguous(memory_format=torch.channels_last)
            for adjust, x in ((cell.adjust_before, before), (cell.adjust_last, last))
        ]
        if searching:
            table = options[0][cell.cell_type].flatten()
            weights = table[[term.position for term in self.terms]]
        else:
            weights = before.new_ones(len(self.terms))
        return _Sum.apply(self, weights, *inputs, *self.parameters())

    def parameters(self) -> list[Tensor]:
        """Those of all terms, now: unrolled weights while a functional call lasts."""
        return [m._parameters[n] for homes in self.homes for m, n in homes]


def _supernet_terms(cell: Cell):
    for edge, (source, target) in enumerate(cell.space.edges):
        operations = cell.edges[edge].operations
        for k, operation in enumerate(operations):
            found = branch(operation)
            if found is not None:
                yield Term(target, source, found, edge * len(operations) + k)


def _terms(cell: DerivedCell):
    for node, (operations, sources) in enumerate(zip(cell.nodes, cell.sources, strict=True)):
        for operation, source in zip(operations, sources, strict=True):
            found = branch(operation)
            if found is not None:
                yield Term(2 + node, source, found, 0)


class _Sum(torch.autograd.Function):
    """x_j = sum over i < j of weight * operation(x_i), for all nodes; then their concatenation."""

    @staticmethod
    def forward(ctx, plan: FastCell, weights: Tensor, *tensors: Tensor) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(weights, *tensors)
        wanted = ctx.needs_input_grad
        states = [State(x, needed) for x, needed in zip(tensors[:2], wanted[2:4], strict=True)]
        pending, runs = list(_split(plan, tensors[2:])), []
        for target in range(2, plan.states):
            here = []
            while len(runs) + len(here) < len(plan.terms):
                term, parameters = pending[len(runs) + len(here)]
                if term.target != target:
                    break
                here.append(term.branch.forward(states[term.source], parameters))
            x = _weighted_sum(here, weights[len(runs) : len(runs) + len(here)])
            states.append(State(x, any(wanted)))
            runs += here
        ctx.states, ctx.runs = states, runs
        output = torch.cat([state.x.permute(0, 2, 3, 1) for state in states[2:]], dim=3)
        return output.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *tensors = ctx.saved_tensors
        plan, states, runs, wanted = ctx.plan, ctx.states, ctx.runs, ctx.needs_input_grad
        if runs is None:
            raise RuntimeError("The fast form goes back once: call backward without retain_graph.")
        ctx.states = ctx.runs = None
        by_weights: list[Tensor] = []
        by_parameters: list[Tensor | None] = []
        pending = list(_split(plan, tensors[2:]))
        flags = list(wanted[4:])
        for target in reversed(range(2, len(states))):
            state = states[target]
            c = state.x.shape[1]
            own = gradient[:, (target - 2) * c : (target - 1) * c]
            state.receive(own.clone(memory_format=torch.channels_last))
            total = state.finish()
            states[target] = None
            while pending and pending[-1][0].target == target:
                term, parameters = pending.pop()
                run = runs.pop()
                want = any(flags[len(flags) - len(parameters) :]) if parameters else False
                if parameters:
                    del flags[-len(parameters) :]
                by_weight, by = term.branch.backward(
                    run,
                    states[term.source],
                    total,
                    weights[len(pending)],
                    parameters,
                    (wanted[1], want),
                )
                by_weights.append(by_weight)
                by_parameters = [*by, *by_parameters]
        by_inputs = [state.finish() if state.wanted else None for state in states[:2]]
        by_weights = torch.stack(by_weights[::-1]) if wanted[1] else None
        return None, by_weights, *by_inputs, *by_parameters


def _split(plan: FastCell, parameters):
    """Each term with its own parameters."""
    start = 0
    for term, homes in zip(plan.terms, plan.homes, strict=True):
        count = len(homes)
        yield term, parameters[start : start + count]
        start += count


def _weighted_sum(runs: list[Run], weights: Tensor) -> Tensor:
    factors, offsets = zip(
        *(run.affine(w) for run, w in zip(runs, weights, strict=True)), strict=True
    )
    offset = sum((o for o in offsets if o is not None), torch.zeros_like(factors[0]))
    total = scaled(runs[0].x, factors[0], offset)
    for run, factor in zip(runs[1:], factors[1:], strict=True):
        add_scaled(total, run.x, factor)
    return total

"""A whole cell as one function with a handwritten gradient.

Plain autograd runs a cell as a hundred small operations and stores all their results. One function
with a handwritten gradient can

- compute what all edges from a state share only once: the ReLU, the pools and their BatchNorm;
- add each operation to its node with BatchNorm and weight in one call, so that no normalized map is
  stored; the gradient for the weight (alpha's) is then a by-product of BatchNorm's;
- add up gradients in place, and free each tensor after its last use;
- skip what is not needed: gradients of w in alpha's pass, of alpha in w's.

The same function runs the cells of a final network, where every edge has the weight 1.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import Tensor, nn

from dartslib.fast.branches import (
    ACTIVATIONS,
    ActivatedInput,
    Branch,
    Run,
    State,
    Weight,
    branch,
    in_rounds,
)
from dartslib.fast.normalizing import add_scaled, fit, fits, gradients, is_whole, normalize, scaled
from dartslib.fast.once import ONCE, goes_back_once, refuse_forward_mode, transformed
from dartslib.methods.darts_minus import WithSkip
from dartslib.networks import DerivedCell
from dartslib.relaxation import START, MixedOperation
from dartslib.supernet import Cell

RUNS_PLAIN = (
    "Some cells run plain, which is slower: their paths are dropped, a node has no open "
    "operation, they are in half precision, or a module in them has a hook, is frozen or is not "
    "the one that was accelerated."
)
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


@dataclass(frozen=True)
class Term:
    """One summand of a node: an operation on the edge from a source.

    Attributes:
        target, source: states. 0 and 1 are the cell's inputs, 2 and 3 the same adjusted to the
            cell's channels (states 0 and 1 of `SearchSpace`), the nodes follow from 4 on.
        branch: the operation.
        position: index of its weight in the cell's flattened table.
        homes: module and name of each of its parameters.
    """

    target: int
    source: int
    branch: Branch
    position: int
    homes: tuple[tuple[nn.Module, str], ...]

    @classmethod
    def of(cls, target: int, source: int, module: nn.Module, position: int) -> "Term | None":
        """The term of an operation; None for no connection."""
        found = branch(module)
        homes = {  # keyed by parameter, since two modules may share one
            parameter: (owner, name)
            for owner in module.modules()
            for name, parameter in owner._parameters.items()
            if parameter is not None
        }
        if found is None:
            return None
        return cls(target, source, found, position, tuple(homes.values()))


class Structure:
    """The modules of a cell and the names of their parameters, to notice when they change.

    Checked in each pass, hence flat lists: walking through the modules would take as long as the
    rest of a small network.
    """

    def __init__(self, cell: nn.Module) -> None:
        modules = [*cell.modules()]
        self.children = [module._modules for module in modules if module._modules]
        self.parameters = [module._parameters for module in modules if module._parameters]
        inside = modules[1:]  # hooks of the cell itself are called in any case
        self.hooks = [getattr(module, name) for module in inside for name in HOOKS]
        self.known = self._now()

    def _now(self) -> tuple[list[nn.Module], list[str]]:
        children = [child for named in self.children for child in named.values()]
        return children, [*chain.from_iterable(self.parameters)]

    @property
    def unchanged(self) -> bool:
        """Whether no module or parameter was replaced, and no hook was added."""
        return not any(self.hooks) and self._now() == self.known


class FastCell:
    """The forward of one cell, fast while it trains, otherwise the cell's own.

    It is set as the attribute `cell.forward`; weights and names stay in the cell, and
    `del cell.forward` brings the plain form back.
    """

    def __init__(self, cell: Cell | DerivedCell) -> None:
        self.cell, self.searching = cell, isinstance(cell, Cell)
        self.terms = []
        if self._is_known:
            terms = [
                Term.of(2, 0, cell.adjust_before, 0),
                Term.of(3, 1, cell.adjust_last, 0),
                *(_mixed_terms(cell) if self.searching else _derived_terms(cell)),
            ]
            self.terms = [term for term in terms if term is not None]
        self.norms = [module for module in cell.modules() if isinstance(module, nn.BatchNorm2d)]
        self.structure = Structure(cell)
        self.opened, self.open_terms = None, self.terms

    @property
    def _is_known(self) -> bool:
        mixed = self.cell.edges if self.searching else ()
        known = type(self.cell) in (Cell, DerivedCell)
        return known and {*map(type, mixed)} <= {MixedOperation, WithSkip}

    @property
    def can_run(self) -> bool:
        """False if an edge is not a plain mixed operation or a node has no connection at all."""
        nodes = self.cell.space.nodes if self.searching else len(self.cell.nodes)
        return self._is_known and {term.target for term in self.terms} == set(range(2, 4 + nodes))

    def __call__(self, before: Tensor, last: Tensor, *options: object, **named: object) -> Tensor:
        """As `Cell.forward`, or as `DerivedCell.forward`."""
        cell = self.cell
        # Cases for the plain form without a warning. (It refuses a table of another space.)
        rare = transformed() or bool(named)
        rare = rare or (self.searching and options[0][cell.cell_type].shape != self._shape)
        dropping = not self.searching and bool(options) and options[0] > 0
        terms = self._open_terms()
        if rare or dropping or not (terms and self._suits(last) and self._is_as_it_was):
            if cell.training and not rare and len(last) > 1:
                warnings.warn(RUNS_PLAIN, stacklevel=2)  # Python shows it once
            return type(cell).forward(cell, before, last, *options, **named)
        # The first two terms adjust the inputs. Each begins with an activation, done here already
        # so that the two cells that read an input share it: (N, H, W, C) each.
        inputs = [
            _activated(x, getattr(term.branch, "kind", None)).permute(0, 2, 3, 1).contiguous()
            for x, term in zip((before, last), terms, strict=False)
        ]
        # One weight per term: 1, or that of the mixture.
        weights = before.new_ones(len(terms))
        if self.searching:
            numbers = options[0][cell.cell_type].flatten()
            if WithSkip in map(type, cell.edges):  # one number more per edge, as in `_mixed_terms`
                moment = options[1] if len(options) > 1 else START
                more = [e.beta(moment) if type(e) is WithSkip else 0.0 for e in cell.edges]
                numbers = torch.cat([numbers, numbers.new_tensor(more)])
            chosen = numbers[[term.position for term in terms[2:]]]
            weights = torch.cat([weights[:2], chosen.to(weights.dtype)])
        # Looked up on every call, because functional_call swaps in the unrolled weights.
        parameters = [module._parameters[name] for term in terms for module, name in term.homes]
        return _Nodes.apply(terms, weights, *inputs, *parameters).permute(0, 3, 1, 2)

    def _open_terms(self) -> list[Term]:
        """The terms whose operations are open now; none if a node would have no term left."""
        if self.searching:
            opened = [is_open for edge in self.cell.edges for is_open in edge.open]
            opened += [True] * len(self.cell.edges)  # skip connections that alpha does not know
            if opened != self.opened:  # `Search.prune` has been called
                inputs, mixed = self.terms[:2], self.terms[2:]
                terms = inputs + [term for term in mixed if opened[term.position]]
                whole = {term.target for term in terms} == {term.target for term in self.terms}
                self.opened, self.open_terms = opened, terms if whole else []
        return self.open_terms

    def _suits(self, x: Tensor) -> bool:
        """Whether x has full precision and is large enough for the variances in the cell."""
        # They need two values per channel, and a cell that reduces may turn two rows into one.
        return is_whole(x) and (len(x) > 1 or max(x.shape[2:]) > 2)

    @property
    def _is_as_it_was(self) -> bool:
        """Whether the modules are those of `__init__`, and their BatchNorms alike and training."""
        norms = self.norms
        # In evaluation mode no norm is training; a reader may also freeze a single one.
        alike = len({(norm.eps, norm.momentum) for norm in norms}) <= 1
        alike = alike and all(norm.training and fits(norm) for norm in norms)
        return alike and self.structure.unchanged

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.cell.space.edges), len(self.cell.space.operations)


def _activated(x: Tensor, kind: type[nn.Module] | None) -> Tensor:
    """The activation of a cell's input, cached on x for the two cells that read it; or x itself."""
    if kind is None:
        return x
    if x.is_inference() or (x.is_leaf and x.requires_grad):
        # No cache: inference tensors have no version counter, and a leaf may be used again after
        # the graph of the cached value was freed.
        return ACTIVATIONS[kind].value(x)
    # The key: a cached value is stale if x changed in place or if it was computed without a graph.
    now = kind, x._version, x.requires_grad, torch.is_grad_enabled()
    key, value = x.__dict__.get("activated", (None, None))
    if key != now:
        value = ACTIVATIONS[kind].value(x)
        x.activated = now, value
    return value


def _mixed_terms(cell: Cell) -> Iterator[Term | None]:
    for edge, (source, target) in enumerate(cell.space.edges):
        operations = cell.edges[edge].operations
        for k, operation in enumerate(operations):
            yield Term.of(2 + target, 2 + source, operation, edge * len(operations) + k)
        if type(cell.edges[edge]) is WithSkip:
            beside = len(cell.edges) * len(operations) + edge
            yield Term.of(2 + target, 2 + source, cell.edges[edge].skip, beside)


def _derived_terms(cell: DerivedCell) -> Iterator[Term | None]:
    for node, (operations, edges) in enumerate(zip(cell.nodes, cell.edges, strict=True)):
        for operation, (_, source) in zip(operations, edges, strict=True):
            yield Term.of(4 + node, 2 + source, operation, 0)


class _Nodes(torch.autograd.Function):
    """x_j = sum over i < j of weight * operation(x_i) for all nodes j, concatenated.

    Tensors: the weights (terms,), the two inputs (N, H, W, C), all parameters, term by term.
    """

    @staticmethod
    def forward(ctx, terms: list[Term], weights: Tensor, *tensors: Tensor) -> Tensor:
        ctx.terms, wanted = terms, ctx.needs_input_grad  # wanted: terms, weights, inputs, params
        ctx.save_for_backward(weights, *tensors)
        # States 0 and 1, the inputs.
        states: list[State] = []
        for x, term, needed in zip(tensors[:2], terms, wanted[2:4], strict=False):
            kind = ActivatedInput if hasattr(term.branch, "kind") else State
            states.append(kind(x, needed))
        # Then state by state: run its terms, normalize their maps together, add them up.
        parameters, runs = _by_term(terms, tensors[2:]), []
        for begin, end in _nodes(terms):
            branches = [
                term.branch.forward(states[term.source], own)
                for term, own in zip(terms[begin:end], parameters[begin:end], strict=True)
            ]
            found = in_rounds(branches, normalize)
            x = _weighted_sum(found, weights[begin:end])  # (N, H', W', C)
            runs.append(found)
            # A node needs a gradient, for alpha or w. An adjusted input (2 or 3) needs one only if
            # its parameters or the input itself do.
            own = len(states) > 3 or any(wanted[4:])
            states.append(State(x, own or states[len(states) - 2].wanted))
        for state in states:
            state.tell()  # BatchNorms of shared pools move once all edges are known
        ctx.states, ctx.runs = states, runs
        return torch.cat([state.x for state in states[4:]], dim=3)  # (N, H', W', nodes * C)

    jvp = staticmethod(refuse_forward_mode)

    @staticmethod
    @goes_back_once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *tensors = ctx.saved_tensors
        terms, states, runs, wanted = ctx.terms, ctx.states, ctx.runs, ctx.needs_input_grad
        if runs is None:
            raise RuntimeError(ONCE)
        ctx.states = ctx.runs = None  # popped below, so that maps are freed as they are used
        parameters = _by_term(terms, tensors[2:])
        asked = [any(flags) for flags in _by_term(terms, wanted[4:])]  # per term: is w wanted
        by_weight, by_parameters = [], []
        nodes = gradient.chunk(len(states) - 4, dim=3)  # (N, H', W', C) each
        # State by state, the last first: by then all edges that leave it have been handled.
        for begin, end in reversed(list(_nodes(terms))):
            state, of_node = states.pop(), runs.pop()
            # Its gradient: from the cell's output if it is a node, and from later nodes.
            if len(states) >= 4:
                state.receive(nodes[len(states) - 4].clone(memory_format=torch.contiguous_format))
            total = state.finish()  # (N, H', W', C)
            if total is None:  # nothing depends on this state
                found = [(None, [None] * len(own)) for own in parameters[begin:end]]
            else:
                # Back along all its terms; each adds to the gradient of its source.
                own = weights[begin:end, None]
                fitted = fit(own.expand(-1, total.shape[3]), total)
                branches = [
                    terms[k].branch.backward(
                        of_node.pop(),
                        states[terms[k].source],
                        total,
                        Weight(weights[k], fitted[k - begin]),
                        parameters[k],
                        (wanted[1] and k > 1, asked[k]),
                    )
                    for k in reversed(range(begin, end))
                ]
                found = in_rounds(branches, gradients)[::-1]
            by_weight = [by for by, _ in found] + by_weight
            by_parameters = [by for _, own in found for by in own] + by_parameters
        # States 0 and 1 are left. Autograd wants a gradient, or None, per argument of forward.
        by_inputs = [state.finish() if state.wanted else None for state in states]
        zero = weights.new_zeros(())
        by_weights = [zero if by is None else by for by in by_weight]
        by_weights = torch.stack(by_weights) if wanted[1] else None
        return None, by_weights, *by_inputs, *by_parameters


def _by_term(terms: list[Term], flat: Sequence) -> list[Sequence]:
    """A flat list, with one entry per parameter, as one list per term."""
    found, begin = [], 0
    for term in terms:
        found.append(flat[begin : begin + len(term.homes)])
        begin += len(term.homes)
    return found


def _nodes(terms: list[Term]) -> Iterator[tuple[int, int]]:
    """Begin and end of the terms of each state, from state 2 on."""
    begin = 0
    for _, group in groupby(terms, key=lambda term: term.target):
        end = begin + len(list(group))
        yield begin, end
        begin = end


def _weighted_sum(runs: list[Run], weights: Tensor) -> Tensor:
    """The sum of weight * value, weights (runs,): each map times one factor, plus one offset."""
    (one,) = fit(weights.new_ones(1, runs[0].x.shape[3]), runs[0].x)
    zero, found = torch.zeros_like(one), [run.normalized for run in runs]
    offsets = torch.stack([n.offset if n else zero for n in found])
    factors = torch.stack([n.factor if n else one for n in found]) * weights[:, None]
    total = None
    for run, factor in zip(runs, factors.unbind(), strict=True):
        if total is None:
            total = scaled(run.x, factor, weights @ offsets)
        else:
            add_scaled(total, run.x, factor)
    return total

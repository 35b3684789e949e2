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
from collections.abc import Sequence
from itertools import chain, islice

import torch
from torch import Tensor, nn

from dartslib.fast.branches import Convolutions, Run, branch
from dartslib.fast.normalizing import fit, fits, gradients, is_whole, normalize, rows, scaled
from dartslib.fast.once import ONCE, goes_back_once, refuse_forward_mode, transformed
from dartslib.fast.states import State, relu
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


class Term:
    """One summand of a node: an operation on the edge from a source.

    Attributes:
        source: a state. 0 and 1 are the cell's inputs, 2 and 3 the same adjusted to the cell's
            channels (states 0 and 1 of `SearchSpace`), the nodes follow from 4 on.
        module: the operation.
        position: index of its weight in the cell's flattened table; None: its weight is 1.
        branch, kind: what runs it, and the class of its runs; None for no connection.
        homes: module and name of each of its parameters.
    """

    def __init__(self, source: int, module: nn.Module, position: int | None = None) -> None:
        self.source, self.module, self.position = source, module, position
        self.branch = branch(module)
        self.kind = getattr(self.branch, "func", self.branch)
        homes = {  # keyed by parameter, since two modules may share one
            parameter: (owner, name)
            for owner in module.modules()
            for name, parameter in owner._parameters.items()
            if parameter is not None
        }
        self.homes = [*homes.values()]


def _nodes_of(cell: Cell | DerivedCell) -> list[list[Term]]:
    """The terms of each state, from state 2 on."""
    nodes = [[Term(0, cell.adjust_before)], [Term(1, cell.adjust_last)]]
    if isinstance(cell, DerivedCell):
        for operations, edges in zip(cell.nodes, cell.edges, strict=True):
            pairs = zip(edges, operations, strict=True)
            nodes.append([Term(2 + source, operation) for (_, source), operation in pairs])
    else:
        size = len(cell.space.operations)
        for target in range(2, 2 + cell.space.nodes):
            nodes.append([])
            for edge in cell.space.edges_into(target):
                mixed, source = cell.edges[edge], 2 + cell.space.edges[edge][0]
                for k, operation in enumerate(mixed.operations):
                    nodes[-1].append(Term(source, operation, edge * size + k))
                if type(mixed) is WithSkip:  # its weights follow after the table
                    nodes[-1].append(Term(source, mixed.skip, len(cell.edges) * size + edge))
    return [[term for term in node if term.branch] for node in nodes]


class FastCell:
    """The forward of one cell, fast while it trains, otherwise the cell's own.

    It is set as the attribute `cell.forward`; weights and names stay in the cell, and
    `del cell.forward` brings the plain form back.
    """

    def __init__(self, cell: Cell | DerivedCell) -> None:
        self.cell, self.searching = cell, isinstance(cell, Cell)
        edges = {*map(type, cell.edges)} if self.searching else set()
        known = type(cell) in (Cell, DerivedCell) and edges <= {MixedOperation, WithSkip}
        self.nodes = _nodes_of(cell) if known else []
        # Not if an edge is not a plain mixed operation or a node has no connection at all.
        self.can_run = known and all(self.nodes)
        self.opened, self.open_nodes = None, self.nodes
        # What is compared in each pass, to notice changes: flat lists, since walking through the
        # modules would take as long as the rest of a small network.
        modules = [*cell.modules()]
        self.norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
        self.children = [module._modules for module in modules if module._modules]
        self.parameters = [module._parameters for module in modules if module._parameters]
        # (Hooks of the cell itself are called in any case.)
        self.hooks = [getattr(module, name) for module in modules[1:] for name in HOOKS]
        self.known = self._structure()

    def __call__(self, before: Tensor, last: Tensor, *options: object, **named: object) -> Tensor:
        """As `Cell.forward`, or as `DerivedCell.forward`."""
        cell = self.cell
        # Cases for the plain form without a warning. (It refuses a table of another space.)
        rare = transformed() or bool(named)
        if self.searching and not rare:
            shape = len(cell.space.edges), len(cell.space.operations)
            rare = options[0][cell.cell_type].shape != shape
        dropping = not self.searching and bool(options) and options[0] > 0
        nodes = self._open_nodes()
        if rare or dropping or not (nodes and self._suits(last)):
            if cell.training and not rare and len(last) > 1:
                warnings.warn(RUNS_PLAIN, stacklevel=2)  # Python shows it once
            return type(cell).forward(cell, before, last, *options, **named)
        terms = [*chain(*nodes)]
        # The first two terms adjust the inputs. Each begins with a ReLU, done here already so that
        # the two cells that read an input share it: (N, H, W, C) each.
        inputs = [
            (_relu(x) if term.kind is Convolutions else x).permute(0, 2, 3, 1).contiguous()
            for x, term in zip((before, last), terms, strict=False)
        ]
        # One weight per term: 1, or that of the mixture.
        weights = before.new_ones(len(terms))
        if self.searching:
            moment = options[1] if len(options) > 1 else START
            more = [e.beta(moment) if type(e) is WithSkip else 0.0 for e in cell.edges]
            numbers = options[0][cell.cell_type].flatten()
            numbers = torch.cat([numbers, numbers.new_tensor(more)])  # one more per edge
            chosen = numbers[[term.position for term in terms[2:]]]
            weights = torch.cat([weights[:2], chosen.to(weights.dtype)])
        # Looked up on every call, because functional_call swaps in the unrolled weights.
        parameters = [module._parameters[name] for term in terms for module, name in term.homes]
        return _Nodes.apply(nodes, weights, *inputs, *parameters).permute(0, 3, 1, 2)

    def _open_nodes(self) -> list[list[Term]]:
        """The terms whose operations are open now; nothing if a node would have no term left."""
        if self.searching:
            opened = [is_open for edge in self.cell.edges for is_open in edge.open]
            opened += [True] * len(self.cell.edges)  # skip connections that alpha does not know
            if opened != self.opened:  # `Search.prune` has been called
                nodes = [
                    [term for term in node if term.position is None or opened[term.position]]
                    for node in self.nodes
                ]
                self.opened, self.open_nodes = opened, nodes if all(nodes) else []
        return self.open_nodes

    def _suits(self, x: Tensor) -> bool:
        """Whether x and the modules as they are now can be run."""
        # In evaluation mode no norm is training; a reader may also freeze a single one.
        alike = len({(norm.eps, norm.momentum) for norm in self.norms}) <= 1
        alike = alike and all(norm.training and fits(norm) for norm in self.norms)
        same = not any(self.hooks) and self._structure() == self.known
        # A variance takes two values per channel; a cell that reduces may turn two rows into one.
        return alike and same and is_whole(x) and (len(x) > 1 or max(x.shape[2:]) > 2)

    def _structure(self) -> tuple[list[nn.Module], list[str]]:
        children = [child for named in self.children for child in named.values()]
        return children, [*chain.from_iterable(self.parameters)]


def _relu(x: Tensor) -> Tensor:
    """The ReLU of a cell's input, cached on x for the two cells that read it."""
    if x.is_inference() or (x.is_leaf and x.requires_grad):
        # No cache: inference tensors have no version counter, and a leaf may be used again after
        # the graph of the cached value was freed.
        return relu(x)
    # The key: a cached value is stale if x changed in place or if it was computed without a graph.
    now = x._version, x.requires_grad, torch.is_grad_enabled()
    key, value = x.__dict__.get("activated", (None, None))
    if key != now:
        value = relu(x)
        x.activated = now, value
    return value


class _Nodes(torch.autograd.Function):
    """x_j = sum over i < j of weight * operation(x_i) for all nodes j, concatenated.

    Tensors: the weights (terms,), the two inputs (N, H, W, C), all parameters, term by term.
    """

    @staticmethod
    def forward(ctx, nodes: list[list[Term]], weights: Tensor, *tensors: Tensor) -> Tensor:
        ctx.nodes, wanted = nodes, ctx.needs_input_grad  # wanted: nodes, weights, inputs, params
        ctx.save_for_backward(weights, *tensors)
        states = [
            State(x, needed, activated=term.kind is Convolutions)
            for x, needed, (term,) in zip(tensors[:2], wanted[2:4], nodes[:2], strict=True)
        ]
        ctx.states, ctx.runs = states, []
        # Then state by state: run its terms, normalize their maps together, add them up.
        of_nodes = weights.split([*map(len, nodes)]), _by_term(nodes, tensors[2:])
        for node, of_node, parameters in zip(nodes, *of_nodes, strict=True):
            # (From last to first: gradients then add up as they did for the records, to the bit.)
            runs = [
                term.branch(states[term.source], own)
                for term, own in reversed([*zip(node, parameters, strict=True)])
            ][::-1]
            while going := [run for run in runs if len(run.normalized) < len(run.halves)]:
                asked = [run.forward() for run in going]
                for run, normalized in zip(going, normalize(asked), strict=True):
                    run.normalized.append(normalized)
            # A node needs a gradient, for alpha or w. An adjusted input (2 or 3) needs one only if
            # its parameters or the input itself do.
            needed = len(states) > 3 or any(wanted[4:]) or states[len(states) - 2].wanted
            states.append(State(_weighted_sum(runs, of_node), needed))  # (N, H', W', C)
            ctx.runs.append(runs)
        return torch.cat([state.x for state in states[4:]], dim=3)  # (N, H', W', nodes * C)

    jvp = staticmethod(refuse_forward_mode)

    @staticmethod
    @goes_back_once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *_ = ctx.saved_tensors
        nodes, states, runs, wanted = ctx.nodes, ctx.states, ctx.runs, ctx.needs_input_grad
        if runs is None:
            raise RuntimeError(ONCE)
        ctx.states = ctx.runs = None  # popped below, so that maps are freed as they are used
        by_weights, by_parameters = [], []
        outputs = gradient.chunk(len(nodes) - 2, dim=3)  # (N, H', W', C) each
        of_nodes = zip(weights.split([*map(len, nodes)]), _by_term(nodes, wanted[4:]), strict=True)
        # State by state, the last first: by then all edges that leave it have been handled.
        for of_node, flags in reversed([*of_nodes]):
            state, terms = states.pop(), runs.pop()
            is_node = len(states) >= 4
            # Its gradient: from the cell's output if it is a node, and from later nodes.
            if is_node:
                output = outputs[len(states) - 4]
                state.receive(output.clone(memory_format=torch.contiguous_format))
            total = state.finish()  # (N, H', W', C)
            found = [(weights.new_zeros(()), [None] * len(own)) for own in flags]
            if total is not None:  # else nothing depends on this state
                needed = [(wanted[1] and is_node, any(own)) for own in flags]
                found = _back(terms, total, of_node, needed)
            by_weights[:0] = [by for by, _ in found]
            by_parameters[:0] = [by for _, own in found for by in own]
        # States 0 and 1 are left. Autograd wants a gradient, or None, per argument of forward.
        by_inputs = [state.finish() if state.wanted else None for state in states]
        by_weights = torch.stack(by_weights) if wanted[1] else None
        return None, by_weights, *by_inputs, *by_parameters


def _back(
    runs: list[Run], gradient: Tensor, weights: Tensor, wanted: list[tuple[bool, bool]]
) -> list[tuple[Tensor, Sequence[Tensor | None]]]:
    """Back from a node's gradient through all its runs, as `Run.back`; empties the list of runs."""
    found, left = [None] * len(runs), []
    for k, (run, weight, needed) in enumerate(zip(runs, weights, wanted, strict=True)):
        if run.halves:
            left.append((k, run, gradient, weight))
        else:
            found[k] = run.back(gradient, weight, needed)
    runs.clear()
    one, by_weight = weights.new_ones(()), {}
    while left:  # BatchNorm of all together, then each back to its BatchNorm before, if any
        answers = gradients([(run.normalized[-1], by_x, weight) for _, run, by_x, weight in left])
        going = []
        while left:
            (k, run, by_x, _), (parts, number, by_affine) = left.pop(), answers.pop()
            by_weight.setdefault(k, number)  # the last half has the weight, the first one has 1
            by_x = run.back_half(parts, by_affine, by_x, wanted[k][1])
            if by_x is None:
                found[k] = by_weight[k], run.found
            else:
                going.append((k, run, by_x, one))
        left = going
    return found


def _by_term(nodes: list[list[Term]], flat: Sequence) -> list[list[list]]:
    """A flat list, with one entry per parameter, as one list per term, in one list per node."""
    left = iter(flat)
    return [[[*islice(left, len(term.homes))] for term in node] for node in nodes]


def _weighted_sum(runs: list[Run], weights: Tensor) -> Tensor:
    """The sum of weight * value, weights (runs,): each map times one factor, plus one offset."""
    (one,) = fit(weights.new_ones(1, runs[0].x.shape[3]), runs[0].x)
    zero, found = torch.zeros_like(one), [run.normalized[-1:] for run in runs]
    offsets = torch.stack([n[0].offset if n else zero for n in found])  # (runs, W * C)
    factors = torch.stack([n[0].factor if n else one for n in found]) * weights[:, None]
    total = scaled(runs[0].x, factors[0], weights @ offsets)
    for run, factor in zip(runs[1:], factors[1:], strict=True):
        rows(total).addcmul_(rows(run.x), factor)
    return total

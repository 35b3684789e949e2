"""One operation of one edge, forward and backward by hand.

A branch knows its module but holds no tensor of a pass. It is given its parameters at each call, so
that it also runs with unrolled weights. Its last BatchNorm is left to the node, which normalizes,
weights and adds in one call (see `Run`).

Forward and backward are generators. At a BatchNorm a branch yields what it needs and waits;
`in_rounds` advances all branches of a node until each waits or has ended, then normalizes for all
of them together.

Maps are (N, H, W, C) and contiguous, as everywhere in this package.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from dartslib.fast import depthwise
from dartslib.fast.normalizing import (
    Asked,
    Gradients,
    Normalized,
    add_scaled,
    dot,
    fit,
    fits,
    gradients,
    scaled,
    statistics,
    update,
)
from dartslib.operations import FactorizedReduce, Zero, separable

aten = torch.ops.aten
AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"


class Activation(NamedTuple):
    """A function whose gradient follows from its value.

    Attributes:
        value, value_: the function, and its version in place.
        gradient: (gradient of the value, value) -> gradient for the input; may overwrite the first.
    """

    value: Callable[[Tensor], Tensor]
    value_: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


ACTIVATIONS = {
    nn.ReLU: Activation(
        torch.relu,
        torch.relu_,
        lambda gradient, value: aten.threshold_backward.grad_input(
            gradient, value, 0, grad_input=gradient
        ),
    ),
    # For tests: float32 gradients can be judged on smooth networks only.
    nn.Tanh: Activation(torch.tanh, torch.tanh_, aten.tanh_backward),
}


class Run(NamedTuple):
    """The result of one branch in one forward pass.

    Attributes:
        x: (N, H, W, C), its value; the input of its last BatchNorm if it has one.
        normalized: that BatchNorm, or None.
        kept: what the branch needs in the backward pass.
    """

    x: Tensor
    normalized: Normalized | None = None
    kept: Any = None


class Weight(NamedTuple):
    """The weight of a branch in its node: a number, and what `fit` makes of it."""

    number: Tensor
    fitted: Tensor


# Generator[what a branch yields at a BatchNorm, what it gets back, what it returns]
Forward = Generator[Asked, Normalized, Run]
# Gradients: for the weight, a number, and for the parameters; None for what is not wanted.
Found = tuple[Tensor | None, Sequence[Tensor | None]]
Backward = Generator[tuple[Normalized, Tensor, Tensor], Gradients, Found]


def in_rounds(branches: Sequence[Generator], answer: Callable[[list], list]) -> list:
    """Runs generators to their ends and returns their values.

    In each round every generator yields one question, and `answer` gets the list of them.
    """
    # Generators to advance, each with its answer; None starts one.
    values, replies = [None] * len(branches), dict.fromkeys(range(len(branches)))
    while replies:
        asking, questions = [], []
        while replies:
            k, reply = replies.popitem()
            try:
                questions.append(branches[k].send(reply))
                asking.append(k)
            except StopIteration as end:
                values[k] = end.value
            del reply  # frees its maps
        if asking:
            replies = dict(zip(asking, answer(questions), strict=True))
    return values


class Shared:
    """Something that several edges read from one state: computed once, its gradients add up."""

    gradient: Tensor | None = None

    def receive(self, gradient: Tensor) -> None:
        """Adds a tensor, which may be kept and changed in place."""
        self.gradient = gradient if self.gradient is None else self.gradient.add_(gradient)

    def receive_scaled(self, gradient: Tensor, weight: Weight) -> None:
        """Adds weight * gradient."""
        self.gradient = add_scaled(self.gradient, gradient, weight.fitted)


class State(Shared):
    """A state of a cell in one pass: its value x, and whether its gradient is wanted."""

    def __init__(self, x: Tensor, wanted: bool) -> None:
        self.x, self.wanted = x, wanted
        self.shared: dict[Any, Activated | Pooled | Grids] = {}

    def share(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is stored under the key, made on first use."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def activated(self, activation: type[nn.Module]) -> "Activated | ActivatedInput":
        """The activation of x, with which all convolutions begin."""
        return self.share(activation, lambda: Activated(activation, self.x))

    def tell(self) -> None:
        """Updates the BatchNorms of shared pools; called once per forward pass."""
        for shared in self.shared.values():
            if isinstance(shared, Pooled):
                shared.tell()

    def finish(self) -> Tensor | None:
        """The gradient of x; call it when all edges that leave this state have been handled."""
        while self.shared:  # the last made first, since it may be computed from an earlier one
            _, shared = self.shared.popitem()
            if shared.gradient is not None:
                shared.back(self)
        return self.gradient


class ActivatedInput(State):
    """An input of a cell that is already activated, since cells use it only so."""

    def activated(self, activation):  # noqa: D102
        return self


class Activated(Shared):
    """The activation of x."""

    def __init__(self, activation: type[nn.Module], x: Tensor) -> None:
        self.activation = ACTIVATIONS[activation]
        self.x = self.activation.value(x)

    def back(self, state: State) -> None:
        """Adds to the gradient of the state."""
        state.receive(self.activation.gradient(self.gradient, self.x))


class Pooled(Shared):
    """A pool of x, normalized if a BatchNorm follows (in the search).

    Each edge has its own BatchNorm, but all see the same map, so one result serves all `norms`.
    """

    def __init__(self, pool: nn.MaxPool2d | nn.AvgPool2d, eps: float | None, x: Tensor) -> None:
        self.largest, self.normalized = isinstance(pool, nn.MaxPool2d), None
        self.norms: list[nn.BatchNorm2d] = []
        self.window = [[size] * 2 for size in (pool.kernel_size, pool.stride, pool.padding)]
        image = x.permute(0, 3, 1, 2)
        if self.largest:
            value, self.indices = F.max_pool2d(image, *self.window, return_indices=True)
        else:
            value = F.avg_pool2d(image, *self.window, count_include_pad=False)
        self.x = value.permute(0, 2, 3, 1).contiguous()  # (N, H', W', C)
        if eps is not None:
            columns, self.mean, self.variance = statistics([self.x])  # (1, W' * C), (1, C), (1, C)
            scale = (self.variance + eps).rsqrt_()
            factor, offset = fit(torch.cat([scale, -self.mean * scale]), self.x)
            self.x = scaled(self.x, factor, offset)
            # For `gradients`: the map kept is normalized already, so its mean is 0 and `inverse` 1;
            # the division by the deviation becomes a scale.
            columns, zero = torch.zeros_like(columns[0]), torch.zeros_like(scale[0])
            one, affine = torch.ones_like(zero), (scale[0], zero)
            self.normalized = Normalized(self.x, columns, zero, one, affine, factor, offset)

    def tell(self) -> None:
        """Moves the running statistics of all `norms`."""
        if self.norms:
            every = len(self.norms), -1
            update(self.norms, self.mean.expand(every), self.variance.expand(every), self.x)

    def back(self, state: State) -> None:
        """Adds to the gradient of the state: back through BatchNorm, then through the pool."""
        gradient = self.gradient
        if self.normalized is not None:
            (by,) = gradients([(self.normalized, gradient, gradient.new_ones(()))])
            gradient = by.of(self.x, gradient)
        gradient, image = gradient.permute(0, 3, 1, 2), state.x.permute(0, 3, 1, 2)
        if self.largest:
            by_x = aten.max_pool2d_with_indices_backward(
                gradient, image, *self.window, [1, 1], False, self.indices
            )
        else:
            by_x = aten.avg_pool2d_backward(gradient, image, *self.window, False, False, None)
        state.receive(by_x.permute(0, 2, 3, 1).contiguous())


class Grids(Shared):
    """The two grids of a factorized reduction: every second pixel of relu(x) from (0, 0), (1, 1).

    `x` and `gradient` hold both, concatenated: (2 N, ceil(H / 2), ceil(W / 2), C).
    """

    def __init__(self, activated: "Activated | ActivatedInput") -> None:
        self.activated, full = activated, activated.x
        even, odd = full[:, ::2, ::2], full[:, 1::2, 1::2]
        # With an odd size the second grid is shorter: fill it with zeros.
        missing = [after - before for before, after in zip(odd.shape, even.shape, strict=True)]
        self.x = torch.cat([even, F.pad(odd, (0, 0, 0, missing[2], 0, missing[1]))])

    def back(self, state: State) -> None:
        """Adds to the gradient of relu(x)."""
        full = torch.zeros_like(self.activated.x)
        even, odd = self.gradient.chunk(2)
        full[:, ::2, ::2] = even
        inside = full[:, 1::2, 1::2]
        inside.copy_(odd[:, : inside.shape[1], : inside.shape[2]])
        self.activated.receive(full)


class Branch:
    """What a cell needs of one operation.

    `parameters` are those of the operation's module, in its order. `wanted` says which gradients
    are needed: (for the weight, for the parameters).
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def forward(self, state: State, parameters: Sequence[Tensor]) -> Forward:
        """The operation on a state."""
        raise NotImplementedError

    def backward(
        self,
        run: Run,
        state: State,
        gradient: Tensor,
        weight: Weight,
        parameters: Sequence[Tensor],
        wanted: tuple[bool, bool],
    ) -> Backward:
        """Backward of weight * operation(state), from the node's gradient (do not change it).

        Adds the gradient for the state to the state.
        """
        raise NotImplementedError


class Skip(Branch):
    """The identity."""

    def forward(self, state, parameters):  # noqa: D102
        yield from ()  # a generator, though there is no BatchNorm to wait for
        return Run(state.x)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        yield from ()
        if state.wanted:
            state.receive_scaled(gradient, weight)
        return dot(gradient, run.x) if wanted[0] else None, ()


class Pool(Branch):
    """A pool, in the search with BatchNorm; all edges from a state share it, see `Pooled`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.pool, self.norm = module if isinstance(module, nn.Sequential) else (module, None)
        self.key = repr(module)  # pools with equal window and epsilon are shared

    def forward(self, state, parameters):  # noqa: D102
        yield from ()
        eps = self.norm.eps if self.norm else None
        pooled = state.share(self.key, lambda: Pooled(self.pool, eps, state.x))
        if self.norm:
            pooled.norms.append(self.norm)
        return Run(pooled.x, kept=pooled)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        yield from ()
        if state.wanted:
            run.kept.receive_scaled(gradient, weight)
        return dot(gradient, run.x) if wanted[0] else None, ()


class Pointwise(Branch):
    """Activation, pointwise, BatchNorm: what adjusts the inputs of a cell."""

    def __init__(self, module: nn.Sequential) -> None:
        super().__init__(module)
        self.kind = type(module[0])

    def forward(self, state, parameters):  # noqa: D102
        x = state.activated(self.kind).x
        value = pointwise(x, parameters[0])
        normalized = yield Asked(value, self.module[2], parameters[1:])
        return Run(value, normalized, x)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        by = yield run.normalized, gradient, weight.number
        if not (state.wanted or wanted[1]):
            return by.weight, [None] * len(parameters)
        gradient = by.of(run.x, gradient)
        by_matrix = pointwise_weight_gradient(gradient, run.kept) if wanted[1] else None
        if state.wanted:
            back = pointwise(gradient, parameters[0].transpose(0, 1))
            state.activated(self.kind).receive(back)
        return by.weight, [by_matrix, *by.affine]


class Half:
    """Depthwise, pointwise, BatchNorm: once or twice in a separable convolution."""

    def __init__(self, module: nn.Sequential) -> None:
        _, depth, _, self.norm = module
        self.options = depth.stride[0], depth.dilation[0]

    def forward(self, x: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """From the activated x: the map between the convolutions, and the input of BatchNorm."""
        between = depthwise.convolve(x, parameters[0], *self.options)
        return between, pointwise(between, parameters[1])

    def backward(
        self,
        x: Tensor,
        between: Tensor | None,
        gradient: Tensor,
        parameters: Sequence[Tensor],
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """From the gradient of BatchNorm's input: for x, and for both convolutions' parameters."""
        kernel, matrix = parameters[:2]  # (C, 1, k, k), (C, C, 1, 1)
        by_x = by_kernel = by_matrix = None
        if wanted[1]:
            by_matrix = pointwise_weight_gradient(gradient, between)
        gradient = pointwise(gradient, matrix.transpose(0, 1))
        if wanted[1]:
            by_kernel = depthwise.weight_gradient(gradient, x, kernel, *self.options)
        if wanted[0]:
            by_x = depthwise.input_gradient(gradient, x, kernel, *self.options)
        return by_x, [by_kernel, by_matrix]


class Separable(Branch):
    """Activation, depthwise, pointwise, BatchNorm: once, or twice."""

    def __init__(self, module: nn.Sequential) -> None:
        super().__init__(module)
        halves = list(module) if isinstance(module[0], nn.Sequential) else [module]
        self.kind = type(halves[0][0])
        self.halves = [Half(half) for half in halves]

    def _by_half(self, parameters: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        each = len(parameters) // len(self.halves)
        return [parameters[i : i + each] for i in range(0, len(parameters), each)]

    def forward(self, state, parameters):  # noqa: D102
        x, done = state.activated(self.kind).x, []
        keep = any(p.requires_grad for p in parameters)
        for half, own in zip(self.halves, self._by_half(parameters), strict=True):
            if done:
                x = ACTIVATIONS[self.kind].value_(done[-1][0].value)
            between, value = half.forward(x, own)
            kept = x, between if keep else None
            del between  # while the others are waited for
            done.append(((yield Asked(value, half.norm, own[2:])), *kept))
        return Run(value, done[-1][0], done)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        done, number, by_weight, found = run.kept, weight.number, None, []
        steps = list(zip(self.halves, self._by_half(parameters), strict=True))
        while steps:
            (half, own), (normalized, x, between) = steps.pop(), done.pop()
            by = yield normalized, gradient, number
            if by_weight is None:  # the last half has the weight, the first one has 1
                by_weight, number = by.weight, torch.ones_like(number)
            if not (steps or state.wanted or wanted[1]):  # only alpha's gradient is needed
                return by_weight, [None] * len(parameters)
            # Back through BatchNorm, then both convolutions, then the activation before them.
            gradient = by.of(normalized.x, gradient)
            which = bool(steps) or state.wanted, wanted[1]
            gradient, by_own = half.backward(x, between, gradient, own, which)
            found = [*by_own, *by.affine, *found]
            if steps:
                gradient = ACTIVATIONS[self.kind].gradient(gradient, x)
            elif state.wanted:
                state.activated(self.kind).receive(gradient)
            del normalized, x, between
        return by_weight, found


class Reduce(Branch):
    """A factorized reduction: two pointwise convolutions, each on its own grid."""

    kind = nn.ReLU

    def forward(self, state, parameters):  # noqa: D102
        grids = state.share(Grids, lambda: Grids(state.activated(nn.ReLU)))
        halves = map(pointwise, grids.x.chunk(2), parameters[:2])
        value = torch.cat(list(halves), dim=3)
        normalized = yield Asked(value, self.module.bn, parameters[2:])
        return Run(value, normalized, grids)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        by = yield run.normalized, gradient, weight.number
        if not (state.wanted or wanted[1]):
            return by.weight, [None] * len(parameters)
        gradient = by.of(run.x, gradient)
        matrices, grids, found = parameters[:2], run.kept, [None, None]
        halves = gradient.split([len(matrix) for matrix in matrices], dim=3)
        halves = [half.contiguous() for half in halves]
        if wanted[1]:
            found = list(map(pointwise_weight_gradient, halves, grids.x.chunk(2)))
        if state.wanted:
            turned = [matrix.transpose(0, 1) for matrix in matrices]
            grids.receive(torch.cat(list(map(pointwise, halves, turned))))
        return by.weight, [*found, *by.affine]


class Opaque(Branch):
    """Any other operation, with torch's autograd inside."""

    def forward(self, state, parameters):  # noqa: D102
        yield from ()
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            leaves = [p.detach().requires_grad_() for p in parameters]
            names = [name for name, _ in self.module.named_parameters()]
            replaced = dict(zip(names, leaves, strict=True))
            value = functional_call(self.module, replaced, (x.permute(0, 3, 1, 2),))
            value = value.permute(0, 2, 3, 1).contiguous()
        return Run(value.detach(), kept=(value, x, leaves))

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        yield from ()
        value, x, leaves = run.kept
        by_weight = dot(gradient, run.x) if wanted[0] else None
        inputs = [x] * state.wanted + leaves * wanted[1]
        found = [None] * (state.wanted + len(leaves))
        if inputs and value.requires_grad:
            found = torch.autograd.grad(
                value, inputs, gradient * weight.number, materialize_grads=True
            )
            if state.wanted:  # a copy, since autograd may return one tensor twice
                state.receive(found[0].clone(memory_format=torch.contiguous_format))
        return by_weight, found[-len(leaves) :] if wanted[1] else [None] * len(leaves)


def pointwise(x: Tensor, matrix: Tensor) -> Tensor:
    """A 1 x 1 convolution by (C_out, C_in, 1, 1): torch's own, or a matrix product."""
    if _by_convolution(x):
        return F.conv2d(x.permute(0, 3, 1, 2), matrix).permute(0, 2, 3, 1).contiguous()
    pixels = torch.mm(x.view(-1, x.shape[3]), matrix.flatten(1).t())
    return pixels.view(*x.shape[:3], -1)


def pointwise_weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient for the matrix of `pointwise`, (C_out, C_in, 1, 1).

    By matrices it is one product per image, then their sum: with few channels and many pixels torch
    does not use several cores for a single product.
    """
    if _by_convolution(x):
        shape = gradient.shape[3], x.shape[3], 1, 1
        return conv2d_weight(x.permute(0, 3, 1, 2), shape, gradient.permute(0, 3, 1, 2))
    products = torch.bmm(gradient.flatten(1, 2).transpose(1, 2), x.flatten(1, 2))
    return products.sum(0)[:, :, None, None]


def _by_convolution(x: Tensor) -> bool:
    """Whether torch's convolution is faster than its matrix product: AVX512 (oneDNN), float32."""
    return AVX512 and x.dtype == torch.float32


def branch(module: nn.Module) -> Branch | None:
    """The branch of an operation's module; None for no connection.

    Modules not built exactly as in `dartslib.operations` get an `Opaque` one.
    """
    if isinstance(module, Zero):
        return None
    if type(module) is nn.Identity:
        return Skip(module)
    if _is_pool(module):
        return Pool(module)
    if _is_separable(module) or _are_halves(module):
        return Separable(module)
    if _is_pointwise(module):
        return Pointwise(module)
    if _is_reduction(module):
        return Reduce(module)
    return Opaque(module)


def _is_sequence(module: nn.Module, length: int) -> bool:
    return type(module) is nn.Sequential and len(module) == length


def _is_norm(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and fits(module)


def _is_pool(module: nn.Module) -> bool:
    if _is_sequence(module, 2) and _is_norm(module[1]) and not module[1].affine:
        module = module[0]
    if type(module) not in (nn.MaxPool2d, nn.AvgPool2d) or module.ceil_mode:
        return False
    window = module.kernel_size, module.stride, module.padding
    if not all(isinstance(size, int) for size in window):
        return False
    if isinstance(module, nn.MaxPool2d):
        return module.dilation == 1 and not module.return_indices
    return not module.count_include_pad and module.divisor_override is None


def _are_halves(module: nn.Module) -> bool:
    """Whether these are two separable convolutions with one activation and one kind of norm."""
    if not _is_sequence(module, 2) or not all(map(_is_separable, module)):
        return False
    alike = len({(type(half[0]), half[3].affine) for half in module}) == 1
    return alike and module[1][1].stride == (1, 1)  # all maps of a node have one size


def _is_reduction(module: nn.Module) -> bool:
    if type(module) is not FactorizedReduce or type(module.relu) is not nn.ReLU:
        return False
    return _is_single(module.even) and _is_single(module.odd) and _is_norm(module.bn)


def _is_pointwise(module: nn.Module) -> bool:
    if not _is_sequence(module, 3):
        return False
    activation, point, norm = module
    return type(activation) in ACTIVATIONS and _is_single(point) and _is_norm(norm)


def _is_single(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d:
        return False
    channels = module.in_channels, module.out_channels
    return repr(module) == repr(nn.Conv2d(*channels, 1, bias=False, device="meta"))


def _is_separable(module: nn.Module) -> bool:
    if not _is_sequence(module, 4):
        return False
    activation, depth, point, norm = module
    if type(activation) not in ACTIVATIONS or not _is_norm(norm):
        return False
    if type(depth) is not nn.Conv2d or type(point) is not nn.Conv2d:
        return False
    k, stride, dilation = depth.kernel_size[0], depth.stride[0], depth.dilation[0]
    with torch.device("meta"):  # without drawing weights
        as_built = separable(depth.in_channels, k, stride, dilation, searching=True)
    known = k in (3, 5) and stride in (1, 2) and dilation in (1, 2)
    return known and repr(module[1:3]) == repr(as_built[1:3])

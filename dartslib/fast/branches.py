"""One operation of one edge, forward and backward by hand.

A branch knows its module and holds no tensor of a pass: it is given its parameters at each call, so
that it runs on unrolled weights as well. Its value is left unfinished, see `Run`: the node
normalizes, weighs and adds in one go.

Maps are (N, H, W, C) here, contiguous, as everywhere in this package.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dartslib.fast import depthwise
from dartslib.fast.normalizing import add_scaled, dot, gradients, scaled, statistics, update
from dartslib.operations import FactorizedReduce, Zero

aten = torch.ops.aten


class Activation(NamedTuple):
    """A function whose gradient follows from its value.

    Attributes:
        value, value_: the function, and in place.
        gradient: (gradient of the value, value) -> gradient for the input, in place in the first.
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
    # For smooth networks, on which float32 gradients can be judged.
    nn.Tanh: Activation(torch.tanh, torch.tanh_, aten.tanh_backward),
}


@dataclass
class Run:
    """What a branch gave in one pass: x, or scale * (x - mean) * inverse + shift.

    Attributes:
        x: (N, H, W, C), not normalized yet.
        mean, inverse: of x a channel, and 1 / standard deviation; None where there is no BatchNorm.
        scale, shift: of that BatchNorm; None where it has none.
        kept: what the branch needs on the way back.
    """

    x: Tensor
    mean: Tensor | None = None
    inverse: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    kept: Any = None

    @classmethod
    def of(cls, x: Tensor, norm: nn.BatchNorm2d, affine: Sequence[Tensor], kept: Any) -> "Run":
        """x with its statistics, which the BatchNorm is told of, too."""
        mean, variance = statistics(x)
        update(norm, mean, variance, x)
        scale, shift = affine or (None, None)
        return cls(x, mean, (variance + norm.eps).rsqrt(), scale, shift, kept)

    def affine(self, weight: Tensor) -> tuple[Tensor, Tensor | float]:
        """weight * value as x * factor + offset, (C,) each; the offset is 0 without BatchNorm."""
        factor = self._factor(weight)
        if self.mean is None:
            return factor, 0.0
        factor = factor * self.inverse
        offset = -self.mean * factor
        return factor, offset if self.shift is None else offset + weight * self.shift

    def _factor(self, weight: Tensor) -> Tensor:
        return weight.expand(self.x.shape[3]) if self.scale is None else weight * self.scale

    def backward(
        self, gradient: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, Tensor | None, list[Tensor | None]]:
        """The gradients of weight * value: for x, for the weight, for scale and shift, if any.

        Only with BatchNorm. `wanted` says for each of the three whether it is asked for.
        """
        by_x, by_scale, by_shift = gradients(
            gradient,
            self.x,
            self._factor(weight),
            self.mean,
            self.inverse,
            wanted[0],
        )
        if self.scale is None:
            return by_x, by_scale.sum() if wanted[1] else None, []
        by_weight = (by_scale * self.scale + by_shift * self.shift).sum()
        return by_x, by_weight, [weight * by_scale, weight * by_shift]


class Shared:
    """Something that several edges take from one state, computed once; its gradients add up."""

    gradient: Tensor | None = None

    def receive(self, gradient: Tensor) -> None:
        """Adds a tensor that nobody else holds."""
        self.gradient = gradient if self.gradient is None else self.gradient.add_(gradient)

    def receive_scaled(self, gradient: Tensor, weight: Tensor) -> None:
        """Adds weight * gradient, weight a number."""
        self.gradient = add_scaled(self.gradient, gradient, weight.expand(gradient.shape[3]))


class State(Shared):
    """A state of a cell in one pass: its value x, and whether its gradient is wanted."""

    def __init__(self, x: Tensor, wanted: bool) -> None:
        self.x, self.wanted = x, wanted
        self.shared: dict[Any, Activated | Pooled | Grids] = {}

    def share(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is kept under the key, made if it is asked for the first time."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def activated(self, activation: type[nn.Module]) -> "Activated":
        """The activation of x, with which all convolutions begin."""
        return self.share(activation, lambda: Activated(activation, self.x))

    def finish(self) -> Tensor | None:
        """The gradient, once all edges that leave this state have been gone back along."""
        while self.shared:  # the last made first: it may be made from an earlier one
            _, shared = self.shared.popitem()
            if shared.gradient is not None:
                shared.back(self)
        return self.gradient


class Activated(Shared):
    """The activation of x."""

    def __init__(self, activation: type[nn.Module], x: Tensor) -> None:
        self.activation = ACTIVATIONS[activation]
        self.x = self.activation.value(x)

    def back(self, state: State) -> None:
        """Hands the gradient on."""
        state.receive(self.activation.gradient(self.gradient, self.x))


class Pooled(Shared):
    """A pool of x, normalized if a BatchNorm follows, as in the search."""

    def __init__(self, pool: nn.MaxPool2d | nn.AvgPool2d, eps: float | None, x: Tensor) -> None:
        self.largest, self.inverse = isinstance(pool, nn.MaxPool2d), None
        self.window = [[size] * 2 for size in (pool.kernel_size, pool.stride, pool.padding)]
        image = x.permute(0, 3, 1, 2)
        if self.largest:
            value, self.indices = F.max_pool2d(image, *self.window, return_indices=True)
        else:
            value = F.avg_pool2d(image, *self.window, count_include_pad=False)
        self.x = value.permute(0, 2, 3, 1).contiguous()
        if eps is not None:
            self.mean, self.variance = statistics(self.x)
            self.inverse = (self.variance + eps).rsqrt()
            self.x = scaled(self.x, self.inverse, -self.mean * self.inverse)

    def back(self, state: State) -> None:
        """Hands the gradient on."""
        gradient = self.gradient
        if self.inverse is not None:
            # What was kept has mean 0 and deviation 1 already.
            zero, one = torch.zeros_like(self.inverse), torch.ones_like(self.inverse)
            gradient = gradients(gradient, self.x, self.inverse, zero, one)[0]
        gradient, image = gradient.permute(0, 3, 1, 2), state.x.permute(0, 3, 1, 2)
        if self.largest:
            by_x = aten.max_pool2d_with_indices_backward(
                gradient, image, *self.window, [1, 1], False, self.indices
            )
        else:
            by_x = aten.avg_pool2d_backward(gradient, image, *self.window, False, False, None)
        state.receive(by_x.permute(0, 2, 3, 1).contiguous())


class Grids(Shared):
    """What a factorized reduction reads: every second pixel of relu(x), from (0, 0) and (1, 1) on.

    `x` and `gradient` hold the two one after the other: (2 N, ceil(H / 2), ceil(W / 2), C).
    """

    def __init__(self, activated: Activated) -> None:
        self.activated, full = activated, activated.x
        even, odd = full[:, ::2, ::2], full[:, 1::2, 1::2]
        # Where the size is odd, the second grid ends in zeros.
        missing = [after - before for before, after in zip(odd.shape, even.shape, strict=True)]
        self.x = torch.cat([even, F.pad(odd, (0, 0, 0, missing[2], 0, missing[1]))])

    def back(self, state: State) -> None:
        """Hands the gradient on, to relu(x)."""
        full = torch.zeros_like(self.activated.x)
        even, odd = self.gradient.chunk(2)
        full[:, ::2, ::2] = even
        inside = full[:, 1::2, 1::2]
        inside.copy_(odd[:, : inside.shape[1], : inside.shape[2]])
        self.activated.receive(full)


class Branch:
    """What a cell needs of one operation.

    `parameters` are those of the operation's module, in its order. `wanted` says whether the
    gradient for the weight, and those for the parameters, are asked for.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def forward(self, state: State, parameters: Sequence[Tensor]) -> Run:
        """The operation on a state."""
        raise NotImplementedError

    def backward(
        self,
        run: Run,
        state: State,
        gradient: Tensor,
        weight: Tensor,
        parameters: Sequence[Tensor],
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, Sequence[Tensor | None]]:
        """Back along weight * operation(state), from the gradient of the node (not to be changed).

        The state is given its share. Returns the gradient for the weight, a number, and those for
        the parameters; None for what is not wanted.
        """
        raise NotImplementedError


class Skip(Branch):
    """The identity."""

    def forward(self, state, parameters):  # noqa: D102
        return Run(state.x)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        if state.wanted:
            state.receive_scaled(gradient, weight)
        return dot(gradient, run.x) if wanted[0] else None, ()


class Pool(Branch):
    """A pool, in the search with its BatchNorm; all edges of a state share it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.pool, self.norm = module if isinstance(module, nn.Sequential) else (module, None)
        self.key = repr(module)  # window and epsilon

    def forward(self, state, parameters):  # noqa: D102
        eps = self.norm.eps if self.norm else None
        pooled = state.share(self.key, lambda: Pooled(self.pool, eps, state.x))
        if self.norm:
            update(self.norm, pooled.mean, pooled.variance, pooled.x)
        return Run(pooled.x, kept=pooled)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
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
        return Run.of(pointwise(x, parameters[0]), self.module[2], parameters[1:], x)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        which = (state.wanted or wanted[1], *wanted)
        gradient, by_weight, affine = run.backward(gradient, weight, which)
        if gradient is None:
            return by_weight, [None] * len(parameters)
        by_matrix = pointwise_weight_gradient(gradient, run.kept) if wanted[1] else None
        if state.wanted:
            back = pointwise(gradient, parameters[0].transpose(0, 1))
            state.activated(self.kind).receive(back)
        return by_weight, [by_matrix, *affine]


class Half:
    """Depthwise, pointwise, BatchNorm: what a separable convolution does once or twice."""

    def __init__(self, module: nn.Sequential) -> None:
        _, depth, _, self.norm = module
        self.options = depth.stride[0], depth.dilation[0]

    def forward(self, x: Tensor, parameters: Sequence[Tensor], keep: bool) -> Run:
        """From the activated x; `keep` what the gradients for the parameters need."""
        kernel, matrix, *affine = parameters
        between = depthwise.convolve(x, kernel, *self.options)
        kept = x, between if keep else None
        return Run.of(pointwise(between, matrix), self.norm, affine, kept)

    def backward(
        self, run: Run, gradient: Tensor, parameters: Sequence[Tensor], wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """From the gradient before BatchNorm: for x, and for both convolutions' parameters."""
        (x, between), (kernel, matrix) = run.kept, parameters[:2]
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
        x, runs = state.activated(self.kind).x, []
        keep, one = any(p.requires_grad for p in parameters), x.new_ones(())
        for half, own in zip(self.halves, self._by_half(parameters), strict=True):
            if runs:
                x = ACTIVATIONS[self.kind].value_(scaled(runs[-1].x, *runs[-1].affine(one)))
            runs.append(half.forward(x, own, keep))
        return replace(runs[-1], kept=runs)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        by_weight, found = None, []
        steps = list(zip(self.halves, run.kept, self._by_half(parameters), strict=True))
        while steps:
            half, here, own = steps.pop()
            back = bool(steps) or state.wanted
            last = not found and by_weight is None
            gradient, by, affine = here.backward(
                gradient,
                weight if last else torch.ones_like(weight),
                (back or wanted[1], wanted[0] and last, wanted[1]),
            )
            by_weight = by if last else by_weight
            if gradient is None:  # nothing but the gradient for the weight is asked for
                return by_weight, [None] * len(parameters)
            gradient, by_own = half.backward(here, gradient, own, (back, wanted[1]))
            found = [*by_own, *affine, *found]
            if steps:
                gradient = ACTIVATIONS[self.kind].gradient(gradient, here.kept[0])
            elif back:
                state.activated(self.kind).receive(gradient)
        return by_weight, found


class Reduce(Branch):
    """A factorized reduction: two pointwise convolutions, each on a grid of its own."""

    def forward(self, state, parameters):  # noqa: D102
        grids = state.share(Grids, lambda: Grids(state.activated(nn.ReLU)))
        halves = map(pointwise, grids.x.chunk(2), parameters[:2])
        return Run.of(torch.cat(list(halves), dim=3), self.module.bn, parameters[2:], grids)

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        which = (state.wanted or wanted[1], *wanted)
        gradient, by_weight, affine = run.backward(gradient, weight, which)
        if gradient is None:
            return by_weight, [None] * len(parameters)
        matrices, grids, found = parameters[:2], run.kept, [None, None]
        halves = gradient.split([len(matrix) for matrix in matrices], dim=3)
        halves = [half.contiguous() for half in halves]
        if wanted[1]:
            found = list(map(pointwise_weight_gradient, halves, grids.x.chunk(2)))
        if state.wanted:
            turned = [matrix.transpose(0, 1) for matrix in matrices]
            grids.receive(torch.cat(list(map(pointwise, halves, turned))))
        return by_weight, found + affine


class Opaque(Branch):
    """Any other operation: autograd goes through it."""

    def forward(self, state, parameters):  # noqa: D102
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            leaves = [p.detach().requires_grad_() for p in parameters]
            names = [name for name, _ in self.module.named_parameters()]
            replaced = dict(zip(names, leaves, strict=True))
            value = functional_call(self.module, replaced, (x.permute(0, 3, 1, 2),))
            value = value.permute(0, 2, 3, 1).contiguous()
        return Run(value.detach(), kept=(value, x, leaves))

    def backward(self, run, state, gradient, weight, parameters, wanted):  # noqa: D102
        value, x, leaves = run.kept
        by_weight = dot(gradient, run.x) if wanted[0] else None
        inputs = [x] * state.wanted + leaves * wanted[1]
        found = [None] * (state.wanted + len(leaves))
        if inputs and value.requires_grad:
            found = torch.autograd.grad(value, inputs, gradient * weight, materialize_grads=True)
            if state.wanted:  # a copy, since autograd may hand out one tensor twice
                state.receive(found[0].clone(memory_format=torch.contiguous_format))
        return by_weight, found[-len(leaves) :] if wanted[1] else [None] * len(leaves)


def pointwise(x: Tensor, matrix: Tensor) -> Tensor:
    """A 1 x 1 convolution by (C_out, C_in, 1, 1): a product of matrices."""
    pixels = torch.mm(x.view(-1, x.shape[3]), matrix.flatten(1).t())
    return pixels.view(*x.shape[:3], -1)


def pointwise_weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient for the matrix of `pointwise`, (C_out, C_in, 1, 1).

    One product an image, then their sum: few channels and many pixels are a shape that torch does
    not share among the cores within one product.
    """
    products = torch.bmm(gradient.flatten(1, 2).transpose(1, 2), x.flatten(1, 2))
    return products.sum(0)[:, :, None, None]


def branch(module: nn.Module) -> Branch | None:
    """The branch of an operation's module; None for no connection.

    Whatever is not built exactly as in `dartslib.operations` gets an `Opaque` one.
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
    if type(module) is FactorizedReduce and _is_norm(module.bn):
        return Reduce(module)
    return Opaque(module)


def _is_sequence(module: nn.Module, length: int) -> bool:
    return type(module) is nn.Sequential and len(module) == length


def _is_norm(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.track_running_stats and bool(module.momentum)


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
    """Whether these are two separable convolutions with the same activation and kind of norm."""
    if not _is_sequence(module, 2) or not all(map(_is_separable, module)):
        return False
    return len({(type(half[0]), half[3].affine) for half in module}) == 1


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
    if type(depth) is not nn.Conv2d or not _is_single(point):
        return False
    k, stride, dilation = depth.kernel_size[0], depth.stride[0], depth.dilation[0]
    as_built = nn.Conv2d(
        depth.in_channels,
        depth.in_channels,
        k,
        stride,
        dilation * (k // 2),
        dilation,
        groups=depth.in_channels,
        bias=False,
        device="meta",
    )
    known = k in (3, 5) and stride in (1, 2) and dilation in (1, 2)
    return known and repr(depth) == repr(as_built)

"""One operation of one edge, forward and backward by hand.

A branch knows its modules and holds no tensor of a pass: it is given its parameters at each call,
so that it runs on unrolled weights as well. Its value is left unfinished, see `Run`: the node
multiplies and adds in one pass what is normalized here in theory only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dartslib.fast import depthwise
from dartslib.fast.normalizing import (
    add_scaled,
    dot,
    gradients,
    scaled,
    statistics,
    update,
)
from dartslib.operations import FactorizedReduce, Zero

aten = torch.ops.aten

# Activation -> its value, and the gradient for its input from that of its value and its input.
ACTIVATIONS: dict[type[nn.Module], tuple[Callable, Callable]] = {
    nn.ReLU: (
        torch.relu,
        lambda gradient, x: aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient),
    ),
    nn.SiLU: (F.silu, aten.silu_backward),
}


@dataclass
class Run:
    """What a branch gave in one pass: x, or scale * (x - mean) * inverse + shift.

    Attributes:
        x: (N, C, H, W), not normalized yet.
        mean, inverse: of x a channel, and 1 / standard deviation; None where there is no BatchNorm.
        scale, shift: of that BatchNorm; None where it has none.
        kept: whatever the branch needs on the way back.
    """

    x: Tensor
    mean: Tensor | None = None
    inverse: Tensor | None = None
    scale: Tensor | None = None
    shift: Tensor | None = None
    kept: Any = None

    def affine(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """weight * value as x * factor + offset, (C,) each; no offset without BatchNorm."""
        factor = self._factor(weight)
        if self.mean is None:
            return factor, None
        factor = factor * self.inverse
        offset = -self.mean * factor
        return factor, offset if self.shift is None else offset + weight * self.shift

    def _factor(self, weight: Tensor) -> Tensor:
        return weight.expand(self.x.shape[1]) if self.scale is None else weight * self.scale

    def backward(
        self, gradient: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, Tensor | None, list[Tensor | None]]:
        """The gradients of weight * value: for x, for the weight, for scale and shift, if any.

        `wanted` says for each of the three whether it is asked for. Only with BatchNorm.
        """
        by_x, by_scale, by_shift = gradients(
            gradient,
            self.x,
            self._factor(weight),
            self.mean,
            self.inverse,
            (wanted[0], wanted[1] or (wanted[2] and self.scale is not None)),
        )
        if self.scale is None:
            return by_x, by_scale.sum() if wanted[1] else None, []
        if by_scale is None:
            return by_x, None, [None, None]
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
        self.gradient = add_scaled(self.gradient, gradient, weight.expand(gradient.shape[1]))


class State(Shared):
    """A state of a cell in one pass: its value x, and whether its gradient is wanted."""

    def __init__(self, x: Tensor, wanted: bool) -> None:
        self.x, self.wanted = x, wanted
        self.shared: dict[Any, Activated | Pooled] = {}

    def share(self, key: Any, make: Callable[[Tensor], Any]) -> Any:
        """What is kept under the key, made from x if it is asked for the first time."""
        if key not in self.shared:
            self.shared[key] = make(self.x)
        return self.shared[key]

    def finish(self) -> Tensor | None:
        """The gradient, once all edges that leave this state have been gone back along."""
        while self.shared:
            _, shared = self.shared.popitem()
            gradient = None if shared.gradient is None else shared.back(self.x)
            if gradient is not None:
                self.receive(gradient)
        return self.gradient


class Activated(Shared):
    """The activation of x, with which all convolutions begin."""

    def __init__(self, activation: type[nn.Module], x: Tensor) -> None:
        forward, self.backward = ACTIVATIONS[activation]
        self.x = forward(x)

    def back(self, x: Tensor) -> Tensor:
        """The gradient for x."""
        return self.backward(self.gradient, x)


class Pooled(Shared):
    """A pool of x, with the BatchNorm that follows it in the search."""

    def __init__(self, pool: nn.MaxPool2d | nn.AvgPool2d, eps: float | None, x: Tensor) -> None:
        self.largest = isinstance(pool, nn.MaxPool2d)
        self.window = [[size] * 2 for size in (pool.kernel_size, pool.stride, pool.padding)]
        if self.largest:
            value, self.indices = F.max_pool2d(x, *self.window, return_indices=True)
        else:
            value = F.avg_pool2d(x, *self.window, count_include_pad=False)
        self.x, self.inverse = value.contiguous(memory_format=torch.channels_last), None
        if eps is not None:
            self.mean, self.variance = statistics(self.x)
            self.inverse = (self.variance + eps).rsqrt()
            self.x = scaled(self.x, self.inverse, -self.mean * self.inverse)

    def back(self, x: Tensor) -> Tensor:
        """The gradient for x."""
        gradient, inverse = self.gradient, self.inverse
        if inverse is not None:
            # What is kept is normalized already: mean 0, deviation 1.
            zero, one = torch.zeros_like(inverse), torch.ones_like(inverse)
            gradient = gradients(gradient, self.x, inverse, zero, one, (True, False))[0]
        if self.largest:
            return aten.max_pool2d_with_indices_backward(
                gradient, x, *self.window, [1, 1], False, self.indices
            )
        return aten.avg_pool2d_backward(gradient, x, *self.window, False, False, None)


class Grids(Shared):
    """What a factorized reduction reads: every second pixel of relu(x), from (0, 0) and (1, 1) on.

    `x` and `gradient` hold the two one after the other: (2 N, C, ceil(H / 2), ceil(W / 2)).
    """

    def __init__(self, activated: Activated) -> None:
        self.activated, full = activated, activated.x
        even, odd = full[:, :, ::2, ::2], full[:, :, 1::2, 1::2]
        # Where the size is odd, the second grid ends in zeros.
        odd = F.pad(odd, (0, even.shape[3] - odd.shape[3], 0, even.shape[2] - odd.shape[2]))
        self.x = torch.cat([even, odd]).contiguous(memory_format=torch.channels_last)

    def back(self, x: Tensor) -> None:
        """Hands the gradient on to relu(x)."""
        full = torch.zeros_like(self.activated.x)
        even, odd = self.gradient.chunk(2)
        full[:, :, ::2, ::2] = even
        height, width = full.shape[2] // 2, full.shape[3] // 2
        full[:, :, 1::2, 1::2] = odd[:, :, :height, :width]
        self.activated.receive(full)


class Branch:
    """What a cell needs of one operation.

    `parameters` are those of the operation's module, in its order; `wanted` says whether the
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

    def forward(self, state, parameters):
        return Run(state.x)

    def backward(self, run, state, gradient, weight, parameters, wanted):
        if state.wanted:
            state.receive_scaled(gradient, weight)
        return dot(gradient, run.x) if wanted[0] else None, ()


class Pool(Branch):
    """A pool, in the search with its BatchNorm; the edges of a state share the pool itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.pool, self.norm = module if isinstance(module, nn.Sequential) else (module, None)
        self.key = type(self.pool), self.pool.stride

    def forward(self, state, parameters):
        eps = self.norm.eps if self.norm else None
        pooled = state.share(self.key, lambda x: Pooled(self.pool, eps, x))
        if self.norm:
            update(self.norm, pooled.mean, pooled.variance, pooled.x)
        return Run(pooled.x, kept=pooled)

    def backward(self, run, state, gradient, weight, parameters, wanted):
        if state.wanted:
            run.kept.receive_scaled(gradient, weight)
        return dot(gradient, run.x) if wanted[0] else None, ()


class Half:
    """Depthwise, pointwise, BatchNorm: what a separable convolution does once or twice."""

    def __init__(self, module: nn.Sequential) -> None:
        _, depth, _, self.norm = module
        self.options = depth.stride[0], depth.dilation[0]

    def forward(self, x: Tensor, parameters: Sequence[Tensor]) -> Run:
        """From the activated x."""
        kernel, matrix, *affine = parameters
        between = depthwise.convolve(x, kernel, *self.options)
        z = pointwise(between, matrix)
        mean, variance = statistics(z)
        update(self.norm, mean, variance, z)
        run = Run(z, mean, (variance + self.norm.eps).rsqrt(), *affine)
        run.kept = x, between
        return run

    def backward(
        self, gradient: Tensor, kept, parameters: Sequence[Tensor], wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """From the gradient before BatchNorm: for x, and for both convolutions' parameters."""
        (x, between), (kernel, matrix) = kept, parameters[:2]
        by_x = by_kernel = by_matrix = None
        if wanted[1]:
            by_matrix = pointwise_weight_gradient(gradient, between)
        gradient = pointwise(gradient, matrix.transpose(0, 1))
        if wanted[1]:
            by_kernel = depthwise.weight_gradient(gradient, x, kernel, *self.options)
        if wanted[0]:
            by_x = depthwise.input_gradient(gradient, kernel, x, *self.options)
        return by_x, [by_kernel, by_matrix]


class Separable(Branch):
    """Activation, depthwise, pointwise, BatchNorm: once, or twice."""

    def __init__(self, module: nn.Sequential) -> None:
        super().__init__(module)
        halves = list(module) if isinstance(module[0], nn.Sequential) else [module]
        self.activation = type(halves[0][0])
        self.activate, self.activate_backward = ACTIVATIONS[self.activation]
        self.halves = [Half(half) for half in halves]

    def _by_half(self, parameters: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        each = len(parameters) // len(self.halves)
        return [parameters[i : i + each] for i in range(0, len(parameters), each)]

    def forward(self, state, parameters):
        x = state.share(self.activation, lambda x: Activated(self.activation, x)).x
        runs: list[Run] = []
        for half, own in zip(self.halves, self._by_half(parameters), strict=True):
            if runs:
                x = scaled(runs[-1].x, *runs[-1].affine(runs[-1].x.new_ones(())), torch.relu_)
            runs.append(half.forward(x, own))
        return replace(runs[-1], kept=runs)

    @staticmethod
    def _normalized(run: Run) -> Tensor:
        return scaled(run.x, *run.affine(run.x.new_ones(())))

    def backward(self, run, state, gradient, weight, parameters, wanted):
        shared, runs = state.shared[self.activation], run.kept
        by_weight, by_parameters = None, []
        for k in reversed(range(len(runs))):
            back = k > 0 or state.wanted
            gradient, by, by_affine = runs[k].backward(
                gradient,
                weight if k == len(runs) - 1 else torch.ones_like(weight),
                (back or wanted[1], wanted[0] and k == len(runs) - 1, wanted[1]),
            )
            by_weight = by if k == len(runs) - 1 else by_weight
            if gradient is None:  # nothing but the weight is asked for
                return by_weight, [None] * len(parameters)
            own = self._by_half(parameters)[k]
            gradient, by_own = self.halves[k].backward(
                gradient, runs[k].kept, own, (back, wanted[1])
            )
            by_parameters = [*by_own, *by_affine, *by_parameters]
            if k:
                gradient = self.activate_backward(gradient, runs[k].kept[0])
            elif back:
                shared.receive(gradient)
        return by_weight, by_parameters


class Reduce(Branch):
    """A factorized reduction: two pointwise convolutions, each on a grid of its own."""

    def forward(self, state, parameters):
        grids = state.share(
            Grids, lambda x: Grids(state.share(nn.ReLU, lambda x: Activated(nn.ReLU, x)))
        )
        halves = [
            pointwise(grid, matrix)
            for grid, matrix in zip(grids.x.chunk(2), parameters[:2], strict=True)
        ]
        z = torch.cat(halves, dim=1).contiguous(memory_format=torch.channels_last)
        norm = self.module.bn
        mean, variance = statistics(z)
        update(norm, mean, variance, z)
        return Run(z, mean, (variance + norm.eps).rsqrt(), *parameters[2:], kept=grids)

    def backward(self, run, state, gradient, weight, parameters, wanted):
        which = (state.wanted or wanted[1], *wanted)
        gradient, by_weight, by_affine = run.backward(gradient, weight, which)
        if gradient is None:
            return by_weight, [None] * len(parameters)
        matrices, grids = parameters[:2], run.kept
        halves = [
            half.contiguous(memory_format=torch.channels_last)
            for half in gradient.split([len(matrix) for matrix in matrices], dim=1)
        ]
        found: list[Tensor | None] = [None, None]
        if wanted[1]:
            found = list(map(pointwise_weight_gradient, halves, grids.x.chunk(2)))
        if state.wanted:
            transposed = [matrix.transpose(0, 1) for matrix in matrices]
            grids.receive(torch.cat(list(map(pointwise, halves, transposed))))
        return by_weight, found + by_affine


class Opaque(Branch):
    """Any other operation: autograd goes through it."""

    def forward(self, state, parameters):
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            leaves = [p.detach().requires_grad_() for p in parameters]
            names = [name for name, _ in self.module.named_parameters()]
            value = functional_call(self.module, dict(zip(names, leaves, strict=True)), (x,))
            value = value.contiguous(memory_format=torch.channels_last)
        return Run(value.detach(), kept=(value, x, leaves))

    def backward(self, run, state, gradient, weight, parameters, wanted):
        value, x, leaves = run.kept
        by_weight = dot(gradient, run.x) if wanted[0] else None
        inputs = [x] * state.wanted + leaves * wanted[1]
        if not inputs or not value.requires_grad:
            return by_weight, [None] * len(leaves)
        found = torch.autograd.grad(value, inputs, gradient * weight, materialize_grads=True)
        if state.wanted:
            # Autograd may hold this one, too, so that it must not be added to.
            state.receive(found[0].clone(memory_format=torch.channels_last))
            found = found[1:]
        return by_weight, found if wanted[1] else [None] * len(leaves)


def pointwise(x: Tensor, matrix: Tensor) -> Tensor:
    """A 1 x 1 convolution, which on a channels_last tensor is one product of matrices."""
    n, c, h, w = x.shape
    pixels = torch.mm(x.permute(0, 2, 3, 1).view(-1, c), matrix[:, :, 0, 0].t())
    return pixels.view(n, h, w, -1).permute(0, 3, 1, 2)


def pointwise_weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient for the matrix of `pointwise`, (C_out, C_in, 1, 1).

    One product an image, then their sum: few channels and many pixels are a shape that a single
    product does not share among the cores.
    """
    gradient, x = (t.permute(0, 2, 3, 1).flatten(1, 2) for t in (gradient, x))
    return torch.bmm(gradient.transpose(1, 2), x).sum(0)[:, :, None, None]


def branch(module: nn.Module) -> Branch | None:
    """The branch of an operation's module; None for no connection.

    Whoever replaces an operation by another of another form gets an `Opaque` one.
    """
    if isinstance(module, Zero):
        return None
    if type(module) is nn.Identity:
        return Skip(module)
    if _is_pool(module):
        return Pool(module)
    if _is_separable(module) or (_is_sequence(module, 2) and all(map(_is_separable, module))):
        return Separable(module)
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
    if type(module) is nn.MaxPool2d:
        return module.dilation == 1 and not module.ceil_mode
    return type(module) is nn.AvgPool2d and not (module.ceil_mode or module.count_include_pad)


def _is_separable(module: nn.Module) -> bool:
    if not _is_sequence(module, 4):
        return False
    activation, depth, point, norm = module
    if type(activation) not in ACTIVATIONS or not _is_norm(norm):
        return False
    if type(depth) is not nn.Conv2d or type(point) is not nn.Conv2d:
        return False
    channels, k = depth.in_channels, depth.kernel_size[0]
    return (
        depth.groups == channels == depth.out_channels
        and depth.kernel_size in ((3, 3), (5, 5))
        and depth.stride in ((1, 1), (2, 2))
        and depth.dilation in ((1, 1), (2, 2))
        and depth.padding == (depth.dilation[0] * (k // 2),) * 2
        and point.kernel_size == point.stride == (1, 1)
        and point.padding == (0, 0)
        and depth.bias is None is point.bias
    )

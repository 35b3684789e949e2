"""The operations of a cell's edges, forward and backward by hand.

A branch makes a run of an operation in one pass: `branch(state, parameters) -> Run`. It knows its
module but holds no tensor. It is given its parameters, so that it also runs with unrolled weights.

A run of convolutions stops at each BatchNorm, so that the node can normalize the maps of all its
runs together. The last one is left to it: it normalizes, weights and adds in one call.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import product
from warnings import catch_warnings

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from dartslib import operations
from dartslib.fast import depthwise
from dartslib.fast.normalizing import Asked, Normalized, by_map, update
from dartslib.fast.states import Grids, Map, Pooled, State, relu_, relu_gradient
from dartslib.space import REPORT_OPERATIONS
from dartslib.supernet import adjust

AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"


class Run:
    """An operation in one pass; as it stands, a skip connection.

    Attributes:
        source: the map that it reads.
        x: (N, H, W, C), its value; the input of its last BatchNorm if it has one.
        halves: convolutions that end in a BatchNorm, each with its parameters.
        normalized: of the halves that have run.
    """

    halves: Sequence[tuple["Half", Sequence[Tensor]]] = ()
    normalized: Sequence[Normalized] = ()

    def __init__(self, source: Map, parameters: Sequence[Tensor] = ()) -> None:
        self.source, self.x = source, source.x

    def back(
        self, gradient: Tensor, weight: Tensor, wanted: tuple[bool, bool]
    ) -> tuple[Tensor, Sequence[Tensor | None]]:
        """Backward of weight * x, if there are no halves; adds to the gradient of the source.

        Returns the gradients for the weight, a number, and for the parameters, in their order.

        Args:
            gradient: the node's, (N, H, W, C); it stays as it is.
            weight: a number.
            wanted: whether the gradients for the weight and for the parameters are.
        """
        if self.source.wanted:
            self.source.receive_scaled(gradient, weight)
        return self._by_weight(gradient, wanted), ()

    def _by_weight(self, gradient: Tensor, wanted: tuple[bool, bool]) -> Tensor:
        if not wanted[0]:
            return gradient.new_zeros(())
        return torch.dot(gradient.view(-1), self.x.view(-1))


class Pool(Run):
    """A pool, in the search with BatchNorm; all edges from a state share it, see `Pooled`."""

    def __init__(self, module: nn.Module, state: State, parameters: Sequence[Tensor]) -> None:
        pool, norm = module if isinstance(module, nn.Sequential) else (module, None)
        make = partial(Pooled, pool, norm.eps if norm else None)
        pooled = state.share(repr(module), make)  # by kind, stride and epsilon
        super().__init__(pooled)
        if norm:  # each edge has its own
            update([norm], pooled.mean, pooled.variance, pooled.x)


class Convolutions(Run):
    """One half or two, each a ReLU, convolutions and BatchNorm."""

    def __init__(self, halves: list["Half"], state: State, parameters: Sequence[Tensor]) -> None:
        super().__init__(state.share("grids", Grids) if halves[0].reduces else state.relu)
        each = len(parameters) // len(halves)
        self.halves = [(half, parameters[k * each :][:each]) for k, half in enumerate(halves)]
        self.keeps = any(p.requires_grad for p in parameters)
        self.normalized, self.kept, self.found = [], [], []

    def forward(self) -> Asked:
        """Runs the next half, up to its BatchNorm."""
        half, own = self.halves[len(self.kept)]
        x = relu_(self.normalized[-1].value) if self.kept else self.source.x
        between, self.x = half.forward(x, own)
        self.kept.append((x, between if self.keeps else None))
        return Asked(self.x, half.norm, own[half.convolutions :])

    def back_half(
        self, parts: tuple, by_affine: Sequence[Tensor], gradient: Tensor, wanted: bool
    ) -> Tensor | None:
        """Back through the last BatchNorm that is left, and its half.

        Args:
            parts, by_affine: of that BatchNorm, from `gradients`.
            gradient: of its value, (N, H, W, C); it stays as it is.
            wanted: whether the gradients for the parameters are; they go to `found`.

        Returns:
            The gradient for the value of the half before, if there is one.
        """
        (half, own), (x, between) = self.halves.pop(), self.kept.pop()
        if not (self.source.wanted or wanted):  # only alpha's gradient is needed
            self.found = [None] * len(own) * (1 + len(self.halves))
            return None
        # Back through BatchNorm, then the convolutions, then the ReLU before them.
        gradient = by_map(self.normalized.pop().x, gradient, parts)
        which = bool(self.halves) or self.source.wanted, wanted
        gradient, by_own = half.backward(x, between, gradient, own, which)
        self.found = [*by_own, *by_affine, *self.found]
        if self.halves:
            return relu_gradient(gradient, x)
        if self.source.wanted:
            self.source.receive(gradient)
        return None


class Half:
    """Depthwise and pointwise convolution, BatchNorm: once or twice in a separable convolution.

    Without the depthwise one it adjusts an input of a cell. A factorized reduction has two
    pointwise ones, each with its own grid.
    """

    def __init__(self, module: nn.Sequential | operations.FactorizedReduce) -> None:
        self.reduces = isinstance(module, operations.FactorizedReduce)
        *convolutions, self.norm = [*module.children()][1:]
        self.convolutions, first = len(convolutions), convolutions[0]
        self.depthwise = first.kernel_size != (1, 1)
        self.options = first.stride[0], first.dilation[0]

    def forward(self, x: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """From the activated x: the map between the convolutions, and the input of BatchNorm."""
        between, matrices = x, parameters[self.depthwise : self.convolutions]
        if self.depthwise:
            between = depthwise.convolve(x, parameters[0], *self.options)
        grids = between.chunk(len(matrices))
        return between, _joined(map(pointwise, grids, matrices), dim=3)

    def backward(
        self,
        x: Tensor,
        between: Tensor | None,
        gradient: Tensor,
        parameters: Sequence[Tensor],
        wanted: tuple[bool, bool],
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """From the gradient of BatchNorm's input: for x, and for the convolutions' parameters."""
        found: list[Tensor | None] = [None] * self.convolutions
        matrices = parameters[self.depthwise : self.convolutions]  # (C_out, C, 1, 1) each
        parts = gradient.split([len(matrix) for matrix in matrices], dim=3)
        parts = [part.contiguous() for part in parts]
        if wanted[1]:
            grids = between.chunk(len(matrices))
            found[self.depthwise :] = map(pointwise_weight_gradient, parts, grids)
        turned = [matrix.transpose(0, 1) for matrix in matrices]
        gradient = _joined(map(pointwise, parts, turned), dim=0)
        if not self.depthwise:
            return gradient, found
        given = gradient, x, parameters[0], *self.options
        if wanted[1]:
            found[0] = depthwise.weight_gradient(*given)
        return depthwise.input_gradient(*given) if wanted[0] else None, found


def _joined(parts: Iterable[Tensor], dim: int) -> Tensor:
    """Concatenated; a single one is not copied."""
    first, *others = parts
    return torch.cat([first, *others], dim) if others else first


class Opaque(Run):
    """Any other operation, with torch's autograd inside."""

    def __init__(self, module: nn.Module, state: State, parameters: Sequence[Tensor]) -> None:
        super().__init__(state)
        with torch.enable_grad():
            self.input = state.x.detach().requires_grad_()
            self.leaves = [p.detach().requires_grad_() for p in parameters]
            replaced = dict(zip(dict(module.named_parameters()), self.leaves, strict=True))
            value = functional_call(module, replaced, (self.input.permute(0, 3, 1, 2),))
            self.value = value.permute(0, 2, 3, 1).contiguous()
        self.x = self.value.detach()

    def back(self, gradient, weight, wanted):  # noqa: D102
        state, leaves = self.source, self.leaves
        by_weight = self._by_weight(gradient, wanted)
        inputs = [self.input] * state.wanted + leaves * wanted[1]
        found = [None] * (state.wanted + len(leaves))
        if inputs and self.value.requires_grad:
            found = torch.autograd.grad(
                self.value, inputs, gradient * weight, materialize_grads=True
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


def branch(module: nn.Module) -> Callable[[State, Sequence[Tensor]], Run] | None:
    """The branch of an operation's module; None for no connection.

    Modules not built exactly as in `dartslib.operations` get an `Opaque` one.
    """
    if isinstance(module, operations.Zero):
        return None
    parts = [*module.modules()]
    c_in = next((part.in_channels for part in parts if isinstance(part, nn.Conv2d)), 1)
    c_out = next((part.num_features for part in parts if isinstance(part, nn.BatchNorm2d)), 1)
    if _settings(module) not in _built(c_in, c_out):
        return partial(Opaque, module)
    if isinstance(module, nn.Identity):
        return Run
    if any(isinstance(part, nn.MaxPool2d | nn.AvgPool2d) for part in parts):
        return partial(Pool, module)
    pair = isinstance(parts[1], nn.Sequential)
    return partial(Convolutions, [Half(half) for half in (module if pair else [module])])


@cache
def _built(c_in: int, c_out: int) -> list[tuple]:
    """What the operations of a cell and the adjusters of its inputs consist of."""
    with torch.device("meta"), catch_warnings(action="ignore"):  # of weights without a number
        made = [adjust(c_in, c_out, *options) for options in product((True, False), repeat=2)]
        for name, stride, searching in product(REPORT_OPERATIONS, (1, 2), (True, False)):
            made.append(getattr(operations, name)(c_out, stride, searching))
    return [*map(_settings, made)]


def _settings(module: nn.Module) -> tuple:
    """All that a module consists of, but for the values of its tensors.

    Two BatchNorms may have another epsilon and momentum.
    """
    own = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in ("training", "eps", "momentum")
    }
    shapes = {name: p if p is None else p.shape for name, p in module._parameters.items()}
    return type(module), own, shapes, {k: _settings(m) for k, m in module._modules.items()}

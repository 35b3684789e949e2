"""The states of a cell, and what several edges read from one: computed once, gradients add up."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dartslib.fast.normalizing import Normalized, by_map, fit, gradients, scaled, statistics

aten = torch.ops.aten
relu, relu_ = torch.relu, torch.relu_


def relu_gradient(gradient: Tensor, value: Tensor) -> Tensor:
    """The gradient for the input of a ReLU, from that of its value; overwrites the first."""
    return aten.threshold_backward.grad_input(gradient, value, 0, grad_input=gradient)


class Map:
    """A map in one pass: its value x, whether its gradient is wanted, and that gradient so far.

    Those that a state shares have a method `back(state)`, which adds to the gradient of the state.
    """

    gradient: Tensor | None = None

    def __init__(self, x: Tensor, wanted: bool) -> None:
        self.x, self.wanted = x, wanted

    def receive(self, gradient: Tensor) -> None:
        """Adds a tensor, which may be kept and changed in place."""
        self.gradient = gradient if self.gradient is None else self.gradient.add_(gradient)

    def receive_scaled(self, gradient: Tensor, weight: Tensor) -> None:
        """Adds weight * gradient, the weight a number."""
        if self.gradient is None:
            self.gradient = gradient * weight
        else:
            self.gradient.addcmul_(gradient, weight)


class State(Map):
    """A state of a cell; of an input its ReLU (`activated`), since a cell uses it only so."""

    def __init__(self, x: Tensor, wanted: bool, activated: bool = False) -> None:
        super().__init__(x, wanted)
        self.activated, self.shared = activated, {}

    def share(self, key: Any, make: "Callable[[State], Map]") -> Any:
        """What is stored under the key, made of this state on first use."""
        if key not in self.shared:
            self.shared[key] = make(self)
        return self.shared[key]

    @property
    def relu(self) -> Map:
        """The ReLU of x, with which all convolutions begin."""
        return self if self.activated else self.share("relu", Relu)

    def finish(self) -> Tensor | None:
        """The gradient of x; call it when all edges that leave this state have been handled."""
        while self.shared:  # the last made first, since it may be computed from an earlier one
            _, shared = self.shared.popitem()
            if shared.gradient is not None:
                shared.back(self)
        return self.gradient


class Relu(Map):
    """The ReLU of a state."""

    def __init__(self, state: State) -> None:
        super().__init__(relu(state.x), state.wanted)

    def back(self, state: State) -> None:  # noqa: D102
        state.receive(relu_gradient(self.gradient, self.x))


class Pooled(Map):
    """A pool of a state, normalized if a BatchNorm follows (in the search).

    Each edge has its own BatchNorm, but all see the same map, so one result serves them all.

    Attributes:
        mean, variance: before the BatchNorm, if there is one, (1, C).
    """

    def __init__(self, pool: nn.MaxPool2d | nn.AvgPool2d, eps: float | None, state: State) -> None:
        self.largest, self.normalized = isinstance(pool, nn.MaxPool2d), None
        self.window = [[size] * 2 for size in (pool.kernel_size, pool.stride, pool.padding)]
        image = state.x.permute(0, 3, 1, 2)
        if self.largest:
            value, self.indices = F.max_pool2d(image, *self.window, return_indices=True)
        else:
            value = F.avg_pool2d(image, *self.window, count_include_pad=False)
        x = value.permute(0, 2, 3, 1).contiguous()  # (N, H', W', C)
        if eps is not None:
            columns, self.mean, self.variance = statistics([x])  # (1, W' * C), (1, C), (1, C)
            scale = (self.variance + eps).rsqrt_()
            factor, offset = fit(torch.cat([scale, -self.mean * scale]), x)
            x = scaled(x, factor, offset)
            # For `gradients`: the map kept is normalized already, so its mean is 0 and `inverse` 1;
            # the division by the deviation becomes a scale.
            zero, one = torch.zeros_like(scale[0]), torch.ones_like(scale[0])
            columns, affine = columns[0].zero_(), (scale[0], zero)
            self.normalized = Normalized(x, columns, zero, one, affine, factor, offset)
        super().__init__(x, state.wanted)

    def back(self, state: State) -> None:
        """Back through BatchNorm, then through the pool."""
        gradient = self.gradient
        if self.normalized is not None:
            ((parts, *_),) = gradients([(self.normalized, gradient, gradient.new_ones(()))])
            gradient = by_map(self.x, gradient, parts)
        given = gradient.permute(0, 3, 1, 2), state.x.permute(0, 3, 1, 2), *self.window
        if self.largest:
            by_x = aten.max_pool2d_with_indices_backward(*given, [1, 1], False, self.indices)
        else:
            by_x = aten.avg_pool2d_backward(*given, False, False, None)
        state.receive(by_x.permute(0, 2, 3, 1).contiguous())


class Grids(Map):
    """The two grids of a factorized reduction: every second pixel of the ReLU from (0, 0), (1, 1).

    Concatenated, (2 N, ceil(H / 2), ceil(W / 2), C). With an odd size the second one has zeros at
    its end.
    """

    def __init__(self, state: State) -> None:
        x = state.relu.x
        self.shape, self.odd = x.shape, (x.shape[1] % 2, x.shape[2] % 2)
        even = x[:, ::2, ::2]
        if any(self.odd):
            x = F.pad(x, (0, 0, 0, self.odd[1], 0, self.odd[0]))
        super().__init__(torch.cat([even, x[:, 1::2, 1::2]]), state.wanted)

    def back(self, state: State) -> None:
        """Adds to the gradient of the ReLU."""
        n, h, w, c = self.shape
        full = self.x.new_zeros(n, h + self.odd[0], w + self.odd[1], c)
        full[:, ::2, ::2], full[:, 1::2, 1::2] = self.gradient.chunk(2)
        state.relu.receive(full[:, :h, :w].contiguous())

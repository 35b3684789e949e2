"""The operations that compete on an edge, and the registry where you add your own.

Section 4.2 of the report, section 3.1.1 of Liu et al. (2019); strides, paddings and BatchNorm as
in the paper's code. Every operation maps (N, C, H, W) to (N, C, ceil(H / stride),
ceil(W / stride)), odd sizes included. No convolution has a bias, since a BatchNorm follows.

In the search (`searching=True`) BatchNorm has no learned scale, which could undo what alpha says,
and each pool is followed by a BatchNorm, so that its output has the scale of a convolution's. In
the final network BatchNorm has its scale and pools have no BatchNorm.
"""

from collections.abc import Callable
from copy import deepcopy
from reprlib import repr  # of a long value, no more than a sentence can hold

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Builder = Callable[[int, int, bool], nn.Module]
OPERATIONS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Adds an operation: a function of (channels, stride, searching) that returns a module.

    Example::

        @register("conv_1x1")
        def conv_1x1(channels, stride, searching):
            return conv_bn(channels, channels, 1, stride, searching=searching)

    The module must return a map of the size that the head of this file gives, and must not change
    its input, which other operations read; `build` checks both. A taken name is a ValueError.
    """

    def add(builder: Builder) -> Builder:
        if name in OPERATIONS:
            raise ValueError(f"There is an operation {name!r} already: choose another name.")
        OPERATIONS[name] = builder
        return builder

    return add


def build(name: str, channels: int, stride: int = 1, searching: bool = True) -> nn.Module:
    """The module of one operation.

    Args:
        name: a registered name.
        channels: C of input and output.
        stride: 1, or 2 next to the inputs of a reduction cell.
        searching: BatchNorm as in the search, or as in the final network.

    Raises:
        ValueError: an unknown name, or an operation of your own that breaks the rules of
            `register`.
    """
    check_name(name)
    module = (builder := OPERATIONS[name])(channels, stride, searching)
    if getattr(builder, "__module__", "").split(".")[0] != __package__:
        _check(name, module, channels, stride)
    return module


def check_name(name: str) -> None:
    """Raises ValueError unless an operation has that name."""
    if name not in OPERATIONS:
        raise ValueError(
            f"There is no operation {repr(name)}: choose one of {', '.join(OPERATIONS)}."
        )


def _check(name: str, module: nn.Module, channels: int, stride: int) -> None:
    """Raises ValueError unless a module keeps the rules, tried on two tiny maps.

    Without this check a map of the wrong size would be broadcast on its edge, and later operations
    would read a changed input. A copy is run, and torch's generators are restored.
    """
    here = f"The operation {name!r}, built for stride {stride},"
    like = next(module.parameters(), torch.zeros(()))
    for size, form in ((8, torch.channels_last), (7, torch.contiguous_format)):
        shape, right = ((2, channels, side, side) for side in (size, -(-size // stride)))
        with torch.inference_mode(False), torch.random.fork_rng([like.device] * like.is_cuda):
            x = torch.ones(shape, dtype=like.dtype, device=like.device)
            x = x.contiguous(memory_format=form)
            try:
                found = tuple(deepcopy(module)(x).shape)
            except Exception as error:
                raise ValueError(f"{here} cannot run on {shape}: {repr(str(error))}.") from error
        if x._version or found != right:
            must = "leave its input as it is" if x._version else f"return {right}, not {found}"
            raise ValueError(f"{here} must {must}, where it is given a map of {shape}.")
    for part in module.modules():
        pointwise = isinstance(part, nn.Conv2d) and (*part.kernel_size, part.groups) == (1, 1, 1)
        if pointwise and max(part.stride) > 1 and part.in_channels < 8:  # see FactorizedReduce
            raise ValueError(
                f"{here} has a 1 x 1 convolution with a stride and few channels: its gradient may "
                "be wrong; use dartslib.operations.conv_bn, or an AvgPool2d(1, stride) before it."
            )


def conv_bn(
    c_in: int, c_out: int, kernel: int, stride: int, *, searching: bool, **convolution: int
) -> nn.Sequential:
    """ReLU, convolution, BatchNorm; with kernel 1 it also adjusts a cell's inputs.

    With kernel 1 the stride comes before the convolution, as a pool of single pixels: the same
    numbers, without the bug in oneDNN that `FactorizedReduce` describes.
    """
    pick = []
    if kernel == 1 and stride > 1:
        pick, stride = [nn.AvgPool2d(1, stride)], 1
    return nn.Sequential(
        nn.ReLU(),
        *pick,
        nn.Conv2d(c_in, c_out, kernel, stride, bias=False, **convolution),
        nn.BatchNorm2d(c_out, affine=not searching),
    )


def separable(
    channels: int, kernel: int, stride: int, dilation: int, *, searching: bool
) -> nn.Sequential:
    """ReLU, depthwise k x k, pointwise 1 x 1, BatchNorm."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=not searching),
    )


class FactorizedReduce(nn.Module):
    """Halves height and width, and reads two of every four pixels instead of one.

    After a ReLU two 1 x 1 convolutions each read a grid of every second pixel, the second grid
    shifted by one pixel down and right, and each gives half of the channels.

    The grids are slices. A stride of 2 in the convolution means the same, but with fewer than 8
    input channels in channels_last oneDNN's weight gradient writes outside its memory on AVX2,
    and the process may die (torch 2.14.1; oneDNN's issue 6035).
    """

    def __init__(self, c_in: int, c_out: int, searching: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, bias=False)
        self.odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=not searching)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ceil(H / 2), ceil(W / 2))."""
        x = self.relu(x)
        # One more row and column of zeros, so that odd sizes give ceil(H / 2), too.
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2]  # (N, c_in, ceil(H / 2), ceil(W / 2))
        return self.bn(torch.cat([self.even(x[:, :, ::2, ::2]), self.odd(shifted)], dim=1))


class Zero(nn.Module):
    """No connection: zeros of the output's shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> zeros (N, C, ceil(H / stride), ceil(W / stride))."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


@register("none")
def none(channels: int, stride: int, searching: bool) -> nn.Module:
    """No connection; the report's zero."""
    return Zero(stride)


@register("skip_connect")
def skip_connect(channels: int, stride: int, searching: bool) -> nn.Module:
    """The identity, or a factorized reduction where the stride is 2."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, searching)


def _pool(pool: nn.Module, channels: int, searching: bool) -> nn.Module:
    return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False)) if searching else pool


@register("max_pool_3x3")
def max_pool_3x3(channels: int, stride: int, searching: bool) -> nn.Module:
    """The largest of 3 x 3 values."""
    return _pool(nn.MaxPool2d(3, stride, padding=1), channels, searching)


@register("avg_pool_3x3")
def avg_pool_3x3(channels: int, stride: int, searching: bool) -> nn.Module:
    """The mean of 3 x 3 values; at the border, of those inside the image."""
    pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    return _pool(pool, channels, searching)


def _sep_conv(channels: int, kernel: int, stride: int, searching: bool) -> nn.Sequential:
    """A separable convolution applied twice; only the first one strides."""
    return nn.Sequential(
        separable(channels, kernel, stride, 1, searching=searching),
        separable(channels, kernel, 1, 1, searching=searching),
    )


@register("sep_conv_3x3")
def sep_conv_3x3(channels: int, stride: int, searching: bool) -> nn.Module:
    """Separable 3 x 3 convolution, twice; sees 5 x 5 pixels at stride 1."""
    return _sep_conv(channels, 3, stride, searching)


@register("sep_conv_5x5")
def sep_conv_5x5(channels: int, stride: int, searching: bool) -> nn.Module:
    """Separable 5 x 5 convolution, twice; sees 9 x 9 pixels at stride 1."""
    return _sep_conv(channels, 5, stride, searching)


@register("dil_conv_3x3")
def dil_conv_3x3(channels: int, stride: int, searching: bool) -> nn.Module:
    """Separable 3 x 3 convolution of dilation 2, once; spans 5 x 5 pixels."""
    return separable(channels, 3, stride, 2, searching=searching)


@register("dil_conv_5x5")
def dil_conv_5x5(channels: int, stride: int, searching: bool) -> nn.Module:
    """Separable 5 x 5 convolution of dilation 2, once; spans 9 x 9 pixels."""
    return separable(channels, 5, stride, 2, searching=searching)

"""Depthwise convolutions whose gradients run as fast as the convolution itself.

On a CPU torch hands a depthwise convolution to oneDNN. Forward it is fast at any kernel; backward
it has fast code for some shapes only, and what is slow there was a third of a search step. Both
gradients can be said in terms of what is fast:

Input. At stride 1 the gradient is a convolution too: of the output's gradient, with the kernel
turned by 180 degrees.

Weights. The fast code takes kernels of at most three columns, of any height. So three columns of
the kernel are taken at a time, those at -q, 0 and q. In a channels_last tensor q neighboring
columns are q neighboring groups of channels, a view that costs nothing, and there a step of q
columns is a step of one. A 5 x 5 kernel is then a call with q = 1 and one with q = 2; dilation 2
only makes q twice as large, and leaves every second row unused.

Stride 2 is stride 1 with zeros between the values of the output's gradient; where the dilation is
2 as well, only every second pixel of the input takes part, and both can be halved.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def convolve(x: Tensor, kernel: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Depthwise convolution that keeps the size at stride 1.

    Args:
        x: (N, C, H, W), channels_last.
        kernel: (C, 1, k, k), k odd.
        stride, dilation: 1 or 2.

    Returns:
        (N, C, ceil(H / stride), ceil(W / stride)).
    """
    padding = dilation * (kernel.shape[-1] // 2)
    return F.conv2d(x, kernel, None, stride, padding, dilation, groups=len(kernel))


def input_gradient(
    gradient: Tensor, kernel: Tensor, x: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """The gradient for x from that of `convolve`'s output."""
    if stride == 1:
        return convolve(gradient, kernel.flip(2, 3), dilation=dilation)
    if dilation == 1:
        return _torch_gradient(gradient, x, kernel, stride, [True, False, False])
    return spread(input_gradient(gradient, kernel, x[:, :, ::2, ::2]), x.shape)


def weight_gradient(
    gradient: Tensor, x: Tensor, kernel: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """The gradient for the kernel from x and the gradient of `convolve`'s output."""
    k = kernel.shape[-1]
    if k == 3 and dilation == 1:
        return _torch_gradient(gradient, x, kernel, stride, [False, True, False])
    if stride == 2 and dilation == 2:
        halved = x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
        return weight_gradient(gradient, halved, kernel)
    if stride == 2:
        gradient = spread(gradient, x.shape)
    found = torch.empty_like(kernel)
    middle, reach = k // 2, dilation * (k // 2)
    for ring in range(1, middle + 1):
        columns = three_columns(gradient, x, reach, ring * dilation)[:, :, ::dilation]
        found[..., middle - ring : middle + ring + 1 : ring] = columns
    return found


def _torch_gradient(
    gradient: Tensor, x: Tensor, kernel: Tensor, stride: int, which: list[bool]
) -> Tensor:
    """Torch's own gradient of an undilated depthwise convolution: of x, or of the kernel."""
    padding = [size // 2 for size in kernel.shape[2:]]
    found = torch.ops.aten.convolution_backward(
        gradient, x, kernel, None, [stride] * 2, padding, [1, 1], False, [0, 0], len(kernel), which
    )
    return found[which.index(True)]


def three_columns(gradient: Tensor, x: Tensor, reach: int, q: int) -> Tensor:
    """The kernel's gradient in the rows -reach to reach and in the columns -q, 0, q."""
    x, gradient = (neighbors_as_channels(t, q, 2 * reach + 1) for t in (x, gradient))
    kernel = x.new_empty(x.shape[1], 1, 2 * reach + 1, 3)
    found = _torch_gradient(gradient, x, kernel, 1, [False, True, False])
    return found.view(q, -1, 1, 2 * reach + 1, 3).sum(0)


def neighbors_as_channels(x: Tensor, q: int, rows: int) -> Tensor:
    """(N, C, H, W) -> (N, q * C, H, W / q): q neighboring columns side by side, as channels.

    Zero columns are added where q does not divide W, and zero rows up to `rows`: images lower than
    the kernel fall out of the fast code.
    """
    n, c, h, w = x.shape
    if w % q or h < rows:
        x = F.pad(x, (0, -w % q, 0, max(0, rows - h)))
        x = x.contiguous(memory_format=torch.channels_last)
    return x.permute(0, 2, 3, 1).reshape(n, x.shape[2], -1, q * c).permute(0, 3, 1, 2)


def spread(gradient: Tensor, size: torch.Size) -> Tensor:
    """Values on every second pixel of zeros of shape `size`, channels_last."""
    full = gradient.new_zeros((size[0], size[2], size[3], size[1])).permute(0, 3, 1, 2)
    full[:, :, ::2, ::2] = gradient
    return full

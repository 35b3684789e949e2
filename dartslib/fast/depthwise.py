"""Depthwise convolutions whose gradients run as fast as the convolution itself.

On a CPU torch hands a depthwise convolution to oneDNN. Its forward is fast for any kernel, but its
backward has fast code for some shapes only; the others took a third of a search step. Here both
gradients are computed from calls that are fast.

Input. At stride 1 the gradient is a convolution too: of the output's gradient, with the kernel
rotated by 180 degrees.

Weights. The fast code takes kernels of any height but at most three columns. So three columns of
the kernel are computed at a time, those at -q, 0 and q. Since channels are innermost in memory, q
neighboring columns can be viewed, at no cost, as q groups of channels of one wider pixel; a step
of q columns is then a step of one wide pixel. A 5 x 5 kernel takes one call with q = 1 and one with
q = 2; dilation 2 doubles q and leaves every second row unused.

Stride 2 is stride 1 with zeros between the values of the output's gradient. With dilation 2 as
well, only every second pixel of the input takes part, so it is stride 1 on the halved map.

Maps are (N, H, W, C) and contiguous, as everywhere in this package.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight


def convolve(x: Tensor, kernel: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Depthwise convolution that keeps the size at stride 1.

    Args:
        x: (N, H, W, C).
        kernel: (C, 1, k, k), k odd.
        stride, dilation: 1 or 2.

    Returns:
        (N, ceil(H / stride), ceil(W / stride), C).
    """
    padding = dilation * (kernel.shape[-1] // 2)
    value = F.conv2d(
        x.permute(0, 3, 1, 2), kernel, None, stride, padding, dilation, groups=len(kernel)
    )  # (N, C, H', W'), channels_last like its input, so that `contiguous` copies nothing
    return value.permute(0, 2, 3, 1).contiguous()


def input_gradient(
    gradient: Tensor, x: Tensor, kernel: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """The gradient for x, (N, H, W, C), from that of `convolve`'s value, (N, H', W', C)."""
    if stride == 1:
        return convolve(gradient, kernel.flip(2, 3), dilation=dilation)
    if dilation == 1:
        found = torch.ops.aten.convolution_backward(
            *(gradient.permute(0, 3, 1, 2), x.permute(0, 3, 1, 2), kernel, None),
            *([stride] * 2, [kernel.shape[-1] // 2] * 2, [1, 1], False, [0, 0], len(kernel)),
            [True, False, False],  # for x alone
        )[0]
        return found.permute(0, 2, 3, 1).contiguous()
    # Stride and dilation 2: the pixels in between were never read, so their gradient is 0.
    return spread(input_gradient(gradient, x[:, ::2, ::2], kernel), x)


def weight_gradient(
    gradient: Tensor, x: Tensor, kernel: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """The gradient for the kernel, (C, 1, k, k), from x and that of `convolve`'s value."""
    k = kernel.shape[-1]
    if k == 3 and dilation == 1:
        return _torch_gradient(gradient, x, kernel.shape, stride)
    if stride == 2 and dilation == 2:
        return weight_gradient(gradient, x[:, ::2, ::2].contiguous(), kernel)
    if stride == 2:
        gradient = spread(gradient, x)
    found = torch.empty_like(kernel)
    middle, reach = k // 2, dilation * (k // 2)  # in the kernel; in pixels of the image
    lacking = 2 * reach + 1 - x.shape[1]  # images lower than the kernel have no fast code: pad them
    if lacking > 0:
        gradient, x = (F.pad(t, (0, 0, 0, 0, 0, lacking)) for t in (gradient, x))
    # Columns -1, 0, 1 of the kernel, then -2, 0, 2 (the middle one twice, with the same result).
    for ring in range(1, middle + 1):
        columns = _three_columns(gradient, x, reach, ring * dilation)[:, :, ::dilation]
        found[..., middle - ring : middle + ring + 1 : ring] = columns  # (C, 1, k, 3)
    return found


def spread(values: Tensor, like: Tensor) -> Tensor:
    """The values on pixels 0, 2, 4, … of a map of zeros shaped like `like`."""
    full = torch.zeros_like(like, memory_format=torch.contiguous_format)
    full[:, ::2, ::2] = values
    return full


def _torch_gradient(gradient: Tensor, x: Tensor, shape: tuple[int, ...], stride: int = 1) -> Tensor:
    """Torch's own gradient for a kernel of this shape, without dilation."""
    padding = [size // 2 for size in shape[2:]]
    x, gradient = x.permute(0, 3, 1, 2), gradient.permute(0, 3, 1, 2)
    return conv2d_weight(x, shape, gradient, stride, padding, groups=shape[0])


def _three_columns(gradient: Tensor, x: Tensor, reach: int, q: int) -> Tensor:
    """The kernel's gradient in rows -reach to reach and columns -q, 0, q: (C, 1, rows, 3)."""
    rows = 2 * reach + 1
    gradient, x = (_neighbors_as_channels(t, q) for t in (gradient, x))  # (N, H, W / q, q * C)
    found = _torch_gradient(gradient, x, (x.shape[3], 1, rows, 3))
    return found.view(q, -1, 1, rows, 3).sum(0)  # each of the q groups saw its own columns


def _neighbors_as_channels(x: Tensor, q: int) -> Tensor:
    """(N, H, W, C) -> (N, H, ceil(W / q), q * C): q neighboring columns as channels of one."""
    n, h, w, c = x.shape
    if w % q:
        x = F.pad(x, (0, 0, 0, -w % q))
    return x.view(n, h, -1, q * c)

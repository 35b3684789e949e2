"""Depthwise convolutions whose gradients run as fast as the convolution itself.

On a CPU torch hands a depthwise convolution to oneDNN. Forward that is fast for any kernel;
backward there is fast code for some shapes only, and the others took a third of a search step. Both
gradients can be said in terms of what is fast.

Input. At stride 1 the gradient is a convolution too: of the output's gradient, with the kernel
turned by 180 degrees.

Weights. The fast code takes kernels of at most three columns, of any height. So three columns of
the kernel are taken at a time, those at -q, 0 and q. Where channels lie innermost, q neighboring
columns are also q groups of channels of one wider pixel, a view that costs nothing, and among these
a step of q columns is a step of one. A 5 x 5 kernel is then one call with q = 1 and one with q = 2;
dilation 2 makes q twice as large and leaves every second row unused.

Stride 2 is stride 1 with zeros between the values of the output's gradient. Where the dilation is 2
as well, only every second pixel of the input takes part, and both can be halved.

Maps are (N, H, W, C) here, contiguous, as everywhere in this package.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


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
    )
    return value.permute(0, 2, 3, 1).contiguous()


def input_gradient(
    gradient: Tensor, x: Tensor, kernel: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """The gradient for x from that of `convolve`'s value."""
    if stride == 1:
        return convolve(gradient, kernel.flip(2, 3), dilation=dilation)
    if dilation == 1:
        return _torch_gradient(gradient, x, kernel, stride, 0).permute(0, 2, 3, 1).contiguous()
    return spread(input_gradient(gradient, x[:, ::2, ::2], kernel), x)


def weight_gradient(
    gradient: Tensor, x: Tensor, kernel: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """The gradient for the kernel from x and the gradient of `convolve`'s value."""
    k = kernel.shape[-1]
    if k == 3 and dilation == 1:
        return _torch_gradient(gradient, x, kernel, stride, 1)
    if stride == 2 and dilation == 2:
        return weight_gradient(gradient, x[:, ::2, ::2].contiguous(), kernel)
    if stride == 2:
        gradient = spread(gradient, x)
    found = torch.empty_like(kernel)
    middle, reach = k // 2, dilation * (k // 2)
    lacking = 2 * reach + 1 - x.shape[1]  # images lower than the kernel fall out of the fast code
    if lacking > 0:
        gradient, x = (F.pad(t, (0, 0, 0, 0, 0, lacking)) for t in (gradient, x))
    for ring in range(1, middle + 1):
        columns = _three_columns(gradient, x, reach, ring * dilation)[:, :, ::dilation]
        found[..., middle - ring : middle + ring + 1 : ring] = columns
    return found


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Values on every second pixel, from the first on, of zeros of the shape of `like`."""
    full = torch.zeros_like(like, memory_format=torch.contiguous_format)
    full[:, ::2, ::2] = values
    return full


def _torch_gradient(gradient: Tensor, x: Tensor, kernel: Tensor, stride: int, which: int) -> Tensor:
    """Torch's own gradient of an undilated depthwise convolution: for x (0) or the kernel (1)."""
    return torch.ops.aten.convolution_backward(
        gradient.permute(0, 3, 1, 2),
        x.permute(0, 3, 1, 2),
        kernel,
        None,
        [stride, stride],
        [size // 2 for size in kernel.shape[2:]],
        [1, 1],
        False,
        [0, 0],
        len(kernel),
        [which == 0, which == 1, False],
    )[which]


def _three_columns(gradient: Tensor, x: Tensor, reach: int, q: int) -> Tensor:
    """The kernel's gradient in the rows -reach to reach and the columns -q, 0, q."""
    rows = 2 * reach + 1
    gradient, x = (_neighbors_as_channels(t, q) for t in (gradient, x))
    found = _torch_gradient(gradient, x, x.new_empty(x.shape[3], 1, rows, 3), 1, 1)
    return found.view(q, -1, 1, rows, 3).sum(0)


def _neighbors_as_channels(x: Tensor, q: int) -> Tensor:
    """(N, H, W, C) -> (N, H, W / q, q * C): q neighboring columns side by side, as channels.

    Zero columns are added where q does not divide W.
    """
    n, h, w, c = x.shape
    if w % q:
        x = F.pad(x, (0, 0, 0, -w % q))
    return x.view(n, h, -1, q * c)

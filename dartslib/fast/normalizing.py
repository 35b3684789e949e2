"""BatchNorm in train mode, taken apart: statistics, one scaled sum, and the gradients of both.

Torch's own BatchNorm, where channels lie innermost, adds up the pixels one after the other into one
number a channel. In float32 that loses digits, and with few channels and two threads it is slow.
Here a row of an image, W * C numbers that lie side by side, counts as W * C channels: their sums
are taken apart from each other, in long vectors, and then combined.

Maps are (N, H, W, C) here, contiguous, as everywhere in this package.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDE = 16  # from as many channels on, torch's loops over the channels of a pixel are long enough


def rows(x: Tensor) -> Tensor:
    """(N, H, W, C) as (N * H, W * C), a view."""
    return x.view(-1, x.shape[2] * x.shape[3])


def aligned(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """x and some numbers a channel, (C,) each, in shapes that torch combines fast."""
    if x.shape[3] >= WIDE:
        return x, *values
    return rows(x), *(across(value, x) for value in values)


def across(values: Tensor, x: Tensor) -> Tensor:
    """Numbers a channel, (C,), for a row of `rows(x)`, (W * C,)."""
    # One channel comes out as a view of one number, and torch's kernels read what lies behind it.
    return values.expand(x.shape[2], -1).reshape(-1).contiguous()


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance a channel, (C,) each."""
    means, variances = torch.batch_norm_update_stats(rows(x), None, None, 0.0)
    # The law of total variance: the variance of the columns' means, the mean of their variances.
    variance, mean = torch.var_mean(means.view(x.shape[2:]), 0, correction=0)
    return mean, variance.add_(variances.view(x.shape[2:]).mean(0))


def update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, x: Tensor) -> None:
    """Moves the running statistics of a BatchNorm as its own forward on x would."""
    count = x.numel() // x.shape[3]
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)


def scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift, scale and shift a channel."""
    flat, scale, shift = aligned(x, scale, shift)
    return torch.addcmul(shift, flat, scale).view_as(x)


def add_scaled(total: Tensor | None, x: Tensor, scale: Tensor) -> Tensor:
    """total + x * scale, scale a channel; in place if there is a total."""
    flat, scale = aligned(x, scale)
    if total is None:
        return (flat * scale).view_as(x)
    aligned(total)[0].addcmul_(flat, scale)
    return total


def dot(x: Tensor, y: Tensor) -> Tensor:
    """The sum of x * y over everything."""
    return torch.dot(x.view(-1), y.view(-1))


def gradients(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor | None,
    mean: Tensor,
    inverse: Tensor,
    back: bool = True,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of scale * (x - mean) * inverse + shift, from the gradient of its value.

    Args:
        gradient: of the value.
        x: what was normalized.
        scale: (C,), or None for 1.
        mean, inverse: of x a channel, and 1 / its standard deviation.
        back: whether that for x is wanted; the other two are needed for it.

    Returns:
        For x, for scale, for shift.
    """
    _, by_scale, by_shift = torch.ops.aten.native_batch_norm_backward(
        rows(gradient),
        rows(x),
        None,
        None,
        None,
        across(mean, x),
        across(inverse, x),
        True,
        0.0,
        [False, True, True],
    )
    by_scale, by_shift = (t.view(x.shape[2:]).sum(0) for t in (by_scale, by_shift))
    if not back:
        return None, by_scale, by_shift
    # factor * (gradient - its mean - normalized x * the mean of their product), sorted by x.
    factor = inverse if scale is None else scale * inverse
    part = factor * (-x.shape[3] / x.numel())
    slope = by_scale * inverse * part
    level = by_shift * part - slope * mean
    flat, slope, level, factor = aligned(x, slope, level, factor)
    by_x = torch.addcmul(level, flat, slope).addcmul_(aligned(gradient)[0], factor)
    return by_x.view_as(x), by_scale, by_shift


class _Normalized(torch.autograd.Function):
    """A BatchNorm of its own, (N, C, H, W) -> (N, C, H, W)."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor | None, shift: Tensor | None, norm) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()
        mean, variance = statistics(x)
        update(norm, mean, variance, x)
        inverse = (variance + norm.eps).rsqrt()
        ctx.save_for_backward(x, scale, mean, inverse)
        factor = inverse if scale is None else scale * inverse
        offset = -mean * factor if shift is None else shift - mean * factor
        return scaled(x, factor, offset).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, inverse = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1).contiguous()
        back, *affected = ctx.needs_input_grad[:3]
        by_x, *affine = gradients(gradient, x, scale, mean, inverse, back)
        by_x = None if by_x is None else by_x.permute(0, 3, 1, 2)
        return by_x, *(affine if any(affected) else (None, None)), None


class FastNorm:
    """The forward of one BatchNorm2d while it trains; otherwise torch's own."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, normalized."""
        if not self.norm.training:
            return type(self.norm).forward(self.norm, x)
        return _Normalized.apply(x, self.norm.weight, self.norm.bias, self.norm)

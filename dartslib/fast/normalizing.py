"""BatchNorm in train mode by hand: statistics, a scaled sum, and the gradients of both.

With channels innermost, torch's BatchNorm adds up all pixels into one number per channel. In
float32 that loses digits, and with few channels and two threads it is slow. Here a row of an image
counts as W * C channels: torch sums over the N * H rows, in long vectors, and the W results per
channel are then combined.

Maps are (N, H, W, C) and contiguous, as everywhere in this package. Per-channel numbers are (C,);
to multiply a map they are laid out by `fit`.

The equations, with means over the M = N * H * W pixels of a channel, and a = the weight of the
branch in its node (alpha's share)::

    n = (x - mean) * inverse,  inverse = (variance + eps) ** -1/2      the normalized x
    value = scale * n + shift                                          the node adds a * value

With G the gradient of a * value, and by_scale = sum(G n), by_shift = sum(G) over the pixels::

    for a:       sum over channels of (scale * by_scale + shift * by_shift)
    for scale:   a * by_scale
    for shift:   a * by_shift
    for x:       a * scale * inverse * (G - by_shift / M - n * by_scale / M)

The two subtracted terms of the last line come from the mean and the variance, which depend on x.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dartslib.fast.once import goes_back_once, refuse_forward_mode, transformed


def rows(x: Tensor) -> Tensor:
    """(N, H, W, C) as (N * H, W * C), a view."""
    return x.view(-1, x.shape[2] * x.shape[3])


def fit(values: Tensor, x: Tensor) -> Tensor:
    """From per-channel numbers, (C,), what multiplies the rows of a map: (W * C,)."""
    return values.repeat(x.shape[2])


def scaled(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """x * factor + offset, (C,) each."""
    found = torch.empty_like(x)  # not a view, which a ReLU could not change in place
    torch.addcmul(fit(offset, x), rows(x), fit(factor, x), out=rows(found))
    return found


class Normalized(NamedTuple):
    """A map x and its statistics; x * factor + offset = scale * (x - mean) * inverse + shift.

    Attributes:
        x: (N, H, W, C), not normalized.
        columns: the mean of each column, (W * C,).
        mean, inverse: mean and 1 / standard deviation per channel, (C,) each.
        affine: scale and shift of the BatchNorm, (C,) each, or nothing.
        factor, offset: (C,) each.
    """

    x: Tensor
    columns: Tensor
    mean: Tensor
    inverse: Tensor
    affine: Sequence[Tensor]
    factor: Tensor
    offset: Tensor

    @property
    def value(self) -> Tensor:
        """The normalized map."""
        return scaled(self.x, self.factor, self.offset)


def statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of each column, (W * C,); mean and biased variance per channel, (C,)."""
    columns, variances = torch.batch_norm_update_stats(rows(x), None, None, 0.0)
    shape = x.shape[2:]
    # Law of total variance: the variance of the column means plus the mean column variance.
    variance, mean = torch.var_mean(columns.view(shape), 0, correction=0)  # (C,) each
    return columns, mean, variance.add_(variances.view(shape).mean(0))


def update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, x: Tensor) -> None:
    """Moves the running statistics as the norm's own forward would; the variance is biased."""
    count = x.numel() // x.shape[3]
    unbiased = variance * (count / max(count - 1, 1))
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(unbiased, norm.momentum)
    norm.num_batches_tracked.add_(1)


def normalize(x: Tensor, norm: nn.BatchNorm2d, affine: Sequence[Tensor] = ()) -> Normalized:
    """Normalizes a map and updates its BatchNorm; `affine`: that one's scale and shift, if any."""
    columns, mean, variance = statistics(x)
    update(norm, mean, variance, x)
    factor = inverse = (variance + norm.eps).rsqrt_()
    # scale * (x - mean) * inverse + shift = x * factor + offset
    if affine:
        scale, shift = affine
        factor = scale * inverse
        offset = torch.addcmul(shift, mean, factor, value=-1)
    else:
        offset = -mean * factor
    return Normalized(x, columns, mean, inverse, affine, factor, offset)


def gradients(
    normalized: Normalized, gradient: Tensor, weight: Tensor, wanted: bool = True
) -> tuple[Tensor | None, Tensor, Sequence[Tensor]]:
    """Backward through a normalized map, by the equations at the head of this file.

    Args:
        normalized: the map.
        gradient: G, (N, H, W, C); it stays as it is.
        weight: a, a number.
        wanted: whether the gradient for x is.

    Returns:
        The gradients for x, (N, H, W, C); for a, a number; for scale and shift, if there are any.
    """
    x, columns, mean, inverse, affine, *_ = normalized
    # 1. Per column: sum(G (x - column's mean)) and sum(G), by torch's own code.
    _, by_scale, by_shift = torch.ops.aten.native_batch_norm_backward(
        *(rows(gradient), rows(x), None, None, None, columns, torch.ones_like(columns), True, 0.0),
        [False, True, True],
    )
    by_scale, by_shift, columns = (t.view(x.shape[2:]) for t in (by_scale, by_shift, columns))
    # 2. From columns to channels: sum(G n) = inverse * sum(G (x - mean)), with the mean of the map.
    by_scale = torch.addcmul(by_scale, by_shift, columns - mean).sum(0).mul_(inverse)  # (C,)
    by_shift = by_shift.sum(0)  # (C,)
    # 3. For the weight, per channel still; for scale and shift.
    by_weight, factor, by_affine = by_scale, weight * inverse, ()
    if affine:
        scale, shift = affine
        by_weight = torch.addcmul(by_shift * shift, by_scale, scale)
        factor = factor * scale
        by_affine = weight * by_scale, weight * by_shift
    if not wanted:
        return None, by_weight.sum(), by_affine
    # 4. For x, with n = (x - mean) * inverse multiplied out and collected by powers of x:
    #    G * factor + x * slope + level, where part = -factor / M.
    part = factor * (-x.shape[3] / x.numel())
    slope = by_scale * inverse * part
    level = torch.addcmul(by_shift * part, slope, mean, value=-1)
    by_x = scaled(x, slope, level)
    rows(by_x).addcmul_(rows(gradient), fit(factor, x))
    return by_x, by_weight.sum(), by_affine


class _Normalized(torch.autograd.Function):
    """One BatchNorm outside of cells, (N, H, W, C) -> the same; its scale and shift, if any."""

    @staticmethod
    def forward(ctx, norm: nn.BatchNorm2d, x: Tensor, *affine: Tensor) -> Tensor:
        normalized = normalize(x, norm, affine)
        ctx.normalized = normalized._replace(affine=())
        ctx.save_for_backward(*affine)
        return normalized.value

    jvp = staticmethod(refuse_forward_mode)

    @staticmethod
    @goes_back_once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normalized = ctx.normalized._replace(affine=ctx.saved_tensors)
        one, wanted = gradient.new_ones(()), ctx.needs_input_grad[1]
        by_x, _, by_affine = gradients(normalized, gradient.contiguous(), one, wanted)
        return None, by_x, *by_affine


def fits(norm: nn.BatchNorm2d) -> bool:
    """Whether `normalize` supports a BatchNorm as it is now.

    It must have running statistics that move by a momentum, and scale and shift both or neither.
    """
    moves = bool(norm.momentum) and norm.track_running_stats and norm.running_mean is not None
    return moves and (norm.weight is None) == (norm.bias is None)


def is_whole(x: Tensor) -> bool:
    """Whether x has full precision; torch sums up half precision in float32, this file does not."""
    return x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


def fast_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The forward of one BatchNorm2d while it trains; otherwise torch's own: (N, C, H, W)."""
    one_value = x.numel() == x.shape[1]  # per channel: torch raises a clear error
    fitting = fits(norm) and is_whole(x) and not transformed()
    if not norm.training or one_value or not fitting:
        return type(norm).forward(norm, x)
    affine = () if norm.weight is None else (norm.weight, norm.bias)
    x = x.permute(0, 2, 3, 1).contiguous()
    return _Normalized.apply(norm, x, *affine).permute(0, 3, 1, 2)

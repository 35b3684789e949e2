"""BatchNorm in train mode by hand: statistics, a scaled sum, and the gradients of both.

With channels innermost, torch's BatchNorm adds up all pixels into one number per channel. In
float32 that loses digits, and with few channels and two threads it is slow. Here a row of an image
counts as W * C channels: torch sums over the N * H rows, in long vectors, and the W results per
channel are then combined.

The rest is arithmetic on a few numbers per channel, a dozen calls whose cost is the call itself.
So the maps that meet in a node are normalized together, with one row per map.

Maps are (N, H, W, C) and contiguous, as everywhere in this package. Per-channel numbers are (C,),
of several maps (maps, C); to multiply a map they are laid out by `fit`.

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

WIDE = 16  # with this many channels torch's loops over the channels of a pixel are long enough


def rows(x: Tensor) -> Tensor:
    """(N, H, W, C) as (N * H, W * C), a view."""
    return x.view(-1, x.shape[2] * x.shape[3])


def flat(x: Tensor) -> Tensor:
    """A view of a map, in a shape that broadcasts fast with what `fit` returns."""
    return x if x.shape[3] >= WIDE else rows(x)


def fit(values: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """From per-channel numbers, (maps, C), one tensor per map: (C,), or (W * C,) if C < WIDE."""
    if x.shape[3] < WIDE:
        values = values[:, None].expand(-1, x.shape[2], -1).flatten(1)  # (maps, W * C)
        # With one channel this is a view of a single number, beyond which torch's kernels read.
        values = values.contiguous()
    return values.unbind()


def scaled(x: Tensor, factor: Tensor, offset: Tensor, into: Tensor | None = None) -> Tensor:
    """x * factor + offset, both from `fit`; written into a map, if one is given."""
    out = None if into is None else flat(into)
    return torch.addcmul(offset, flat(x), factor, out=out).view_as(x)


def add_scaled(total: Tensor | None, x: Tensor, factor: Tensor) -> Tensor:
    """total + x * factor, the factor from `fit`; in place if there is a total."""
    if total is None:
        return (flat(x) * factor).view_as(x)
    flat(total).addcmul_(flat(x), factor)
    return total


def dot(x: Tensor, y: Tensor) -> Tensor:
    """The sum of x * y over everything."""
    return torch.dot(x.view(-1), y.view(-1))


class Asked(NamedTuple):
    """A map to be normalized, its BatchNorm, and that one's scale and shift, if any."""

    x: Tensor
    norm: nn.BatchNorm2d
    affine: Sequence[Tensor] = ()


class Normalized(NamedTuple):
    """A map x and its statistics; x * factor + offset = scale * (x - mean) * inverse + shift.

    Attributes:
        x: (N, H, W, C), not normalized.
        columns: the mean of each column, (W * C,).
        mean, inverse: mean and 1 / standard deviation per channel, (C,) each.
        affine: scale and shift of the BatchNorm, (C,) each, or nothing.
        factor, offset: from `fit`.
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


def statistics(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of each column, (maps, W * C); mean and biased variance per channel, (maps, C)."""
    found = [torch.batch_norm_update_stats(rows(x), None, None, 0.0) for x in maps]
    columns, variances = map(torch.stack, zip(*found, strict=True))
    shape = len(maps), *maps[0].shape[2:]
    # Law of total variance: the variance of the column means plus the mean column variance.
    variance, mean = torch.var_mean(columns.view(shape), 1, correction=0)  # (maps, C) each
    return columns, mean, variance.add_(variances.view(shape).mean(1))


def update(norms: Sequence[nn.BatchNorm2d], mean: Tensor, variance: Tensor, x: Tensor) -> None:
    """Moves the running statistics of BatchNorms with one momentum, as their own forward would.

    Mean and biased variance are (maps, C), of maps shaped like x.
    """
    count = x.numel() // x.shape[3]
    unbiased = variance * (count / max(count - 1, 1))
    # One call for all tensors, as in torch's optimizers.
    running = [norm.running_mean for norm in norms] + [norm.running_var for norm in norms]
    torch._foreach_lerp_(running, [*mean.unbind(), *unbiased.unbind()], norms[0].momentum)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)


def normalize(asked: Sequence[Asked]) -> list[Normalized]:
    """Normalizes maps of one shape and updates their BatchNorms, which have one epsilon."""
    maps, norms, affine = zip(*asked, strict=True)
    columns, mean, variance = statistics(maps)
    update(norms, mean, variance, maps[0])
    inverse = (variance + norms[0].eps).rsqrt_()  # (maps, C)
    scale, shift = _affine(affine, mean)
    # scale * (x - mean) * inverse + shift = x * factor + offset
    factor = inverse if scale is None else scale * inverse
    offset = -mean * factor if shift is None else torch.addcmul(shift, mean, factor, value=-1)
    of_each = (columns.unbind(), mean.unbind(), inverse.unbind(), affine)
    of_each += fit(factor, maps[0]), fit(offset, maps[0])
    return [Normalized(*parts) for parts in zip(maps, *of_each, strict=True)]


def _affine(
    affine: Sequence[Sequence[Tensor]], like: Tensor
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Scales and shifts, (maps, C), with 1 and 0 for a BatchNorm without; None if none has any."""
    if not any(affine):
        return None, None
    plain = torch.ones_like(like[0]), torch.zeros_like(like[0])
    scale, shift = map(torch.stack, zip(*(own or plain for own in affine), strict=True))
    return scale, shift


class Gradients(NamedTuple):
    """The gradients of a * value, see the head of this file.

    Attributes:
        factor, slope, level: the gradient for x is G * factor + x * slope + level; from `fit`.
        weight: the gradient for a, a number.
        affine: those for scale and shift, (C,) each, if there are any.
    """

    factor: Tensor
    slope: Tensor
    level: Tensor
    weight: Tensor
    affine: Sequence[Tensor]

    def of(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient for x, (N, H, W, C)."""
        by_x = torch.addcmul(self.level, flat(x), self.slope)
        return by_x.addcmul_(flat(gradient), self.factor).view_as(x)


def gradients(asked: Sequence[tuple[Normalized, Tensor, Tensor]]) -> list[Gradients]:
    """Backward through normalized maps of one shape, by the equations at the head of this file.

    Args:
        asked: per map: the map, G (N, H, W, C), and a, a number.
    """
    maps, given, weights = zip(*asked, strict=True)
    x, ones = maps[0].x, torch.ones_like(maps[0].columns)
    # 1. Per column of each map: sum(G (x - column's mean)) and sum(G), by torch's own code.
    sums = [
        torch.ops.aten.native_batch_norm_backward(
            rows(gradient), rows(n.x), None, None, None, n.columns, ones, True, 0.0, _SUMS
        )
        for n, gradient in zip(maps, given, strict=True)
    ]
    shape = len(maps), *x.shape[2:]  # (maps, W, C)
    columns = torch.stack([n.columns for n in maps]).view(shape)
    by_scale, by_shift = (torch.stack([s[k] for s in sums]).view(shape) for k in (1, 2))
    mean, inverse = (torch.stack([getattr(n, name) for n in maps]) for name in ("mean", "inverse"))
    # 2. From columns to channels: sum(G n) = inverse * sum(G (x - mean)), with the mean of the map.
    by_scale = torch.addcmul(by_scale, by_shift, columns - mean[:, None]).sum(1).mul_(inverse)
    by_shift = by_shift.sum(1)  # both (maps, C) now
    # 3. For the weight, per channel still.
    affine = [n.affine for n in maps]
    scale, shift = _affine(affine, mean)
    weight = torch.stack(weights)[:, None]  # (maps, 1)
    by_weight = by_scale if scale is None else torch.addcmul(by_shift * shift, by_scale, scale)
    # 4. For x, with n = (x - mean) * inverse multiplied out and collected by powers of x:
    #    G * factor + x * slope + level, where part = -factor / M.
    factor = weight * inverse if scale is None else weight * inverse * scale
    part = factor * (-x.shape[3] / x.numel())
    slope = by_scale * inverse * part
    level = torch.addcmul(by_shift * part, slope, mean, value=-1)
    # 5. For scale and shift.
    by_affine = [()] * len(maps)
    if any(affine):
        pairs = zip((weight * by_scale).unbind(), (weight * by_shift).unbind(), strict=True)
        by_affine = [pair if own else () for pair, own in zip(pairs, affine, strict=True)]
    of_each = (fit(part, x) for part in (factor, slope, level))
    return list(map(Gradients, *of_each, by_weight.sum(1).unbind(), by_affine))


_SUMS = [False, True, True]  # which gradients torch computes: not for x, but for scale and shift


class _Normalized(torch.autograd.Function):
    """One BatchNorm outside of cells, (N, C, H, W) -> (N, C, H, W)."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor | None, shift: Tensor | None, norm) -> Tensor:
        # Returning a view would forbid changes in place, such as those of a ReLU that follows.
        value = torch.empty_like(x, memory_format=torch.channels_last)
        x = x.permute(0, 2, 3, 1).contiguous()
        affine = () if scale is None else (scale, shift)
        (normalized,) = normalize([Asked(x, norm, affine)])
        ctx.normalized = normalized._replace(affine=())
        ctx.save_for_backward(*affine)
        scaled(x, normalized.factor, normalized.offset, value.permute(0, 2, 3, 1))
        return value

    jvp = staticmethod(refuse_forward_mode)

    @staticmethod
    @goes_back_once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradient.permute(0, 2, 3, 1).contiguous()
        normalized = ctx.normalized._replace(affine=ctx.saved_tensors)
        (by,) = gradients([(normalized, gradient, gradient.new_ones(()))])
        by_x = by.of(normalized.x, gradient).permute(0, 3, 1, 2)
        return by_x if ctx.needs_input_grad[0] else None, *(by.affine or (None, None)), None


def fits(norm: nn.BatchNorm2d) -> bool:
    """Whether `normalize` supports a BatchNorm as it is now.

    It must have running statistics that move by a momentum, and scale and shift both or neither.
    """
    moves = bool(norm.momentum) and norm.track_running_stats and norm.running_mean is not None
    return moves and (norm.weight is None) == (norm.bias is None)


def is_whole(x: Tensor) -> bool:
    """Whether x has full precision; torch sums up half precision in float32, this file does not."""
    return x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


class FastNorm:
    """The forward of one BatchNorm2d while it trains; otherwise torch's own."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, normalized."""
        norm = self.norm
        one_value = x.numel() == x.shape[1]  # per channel: torch raises a clear error
        fitting = fits(norm) and is_whole(x) and not transformed()
        if not norm.training or one_value or not fitting:
            return type(norm).forward(norm, x)
        return _Normalized.apply(x, norm.weight, norm.bias, norm)

"""BatchNorm in train mode, taken apart: statistics, one scaled sum, and the gradients of both.

Torch's own BatchNorm, where channels lie innermost, adds up the pixels one after the other into one
number a channel. In float32 that loses digits, and with few channels and two threads it is slow.
Here a row of an image, W * C numbers that lie side by side, counts as W * C channels: their sums
are taken apart from each other, in long vectors, and then combined.

What is left is arithmetic on a few numbers a channel, a dozen calls whose price is the call. So the
maps that meet in a node are normalized together: that arithmetic is done once, on a row a map.

Maps are (N, H, W, C) here, contiguous, as everywhere in this package. Numbers a channel are (C,),
and of several maps (maps, C), except where a map is multiplied by them: there they are laid out as
`fit` says.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dartslib.fast.once import goes_back_once, refuse_forward_mode, transformed

WIDE = 16  # from as many channels on, torch's loops over the channels of a pixel are long enough


def rows(x: Tensor) -> Tensor:
    """(N, H, W, C) as (N * H, W * C), a view."""
    return x.view(-1, x.shape[2] * x.shape[3])


def flat(x: Tensor) -> Tensor:
    """A map in the shape that torch combines fast with numbers that `fit` gives, a view."""
    return x if x.shape[3] >= WIDE else rows(x)


def fit(values: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """Numbers a channel, (maps, C), one tensor a map: (C,), or (W * C,) where there are few."""
    if x.shape[3] < WIDE:
        values = values[:, None].expand(-1, x.shape[2], -1).flatten(1)
        # One channel comes out as a view of one number, and torch's kernels read what is behind it.
        values = values.contiguous()
    return values.unbind()


def scaled(x: Tensor, factor: Tensor, offset: Tensor, into: Tensor | None = None) -> Tensor:
    """x * factor + offset, both as `fit` gives them; written into a map, if one is given."""
    out = None if into is None else flat(into)
    return torch.addcmul(offset, flat(x), factor, out=out).view_as(x)


def add_scaled(total: Tensor | None, x: Tensor, factor: Tensor) -> Tensor:
    """total + x * factor, the factor as `fit` gives it; in place if there is a total."""
    if total is None:
        return (flat(x) * factor).view_as(x)
    flat(total).addcmul_(flat(x), factor)
    return total


def dot(x: Tensor, y: Tensor) -> Tensor:
    """The sum of x * y over everything."""
    return torch.dot(x.view(-1), y.view(-1))


class Asked(NamedTuple):
    """A map that is to be normalized, the BatchNorm, and the scale and shift it has, if any."""

    x: Tensor
    norm: nn.BatchNorm2d
    affine: Sequence[Tensor] = ()


class Normalized(NamedTuple):
    """A map x, and what makes it x * factor + offset = scale * (x - mean) * inverse + shift.

    Attributes:
        x: (N, H, W, C), as it came.
        columns: the mean of each column, (W * C,).
        mean, inverse: a channel, and 1 / standard deviation.
        affine: scale and shift of the BatchNorm, or nothing.
        factor, offset: as `fit` gives them.
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
    """The mean of each column, (maps, W * C); mean and biased variance a channel, (maps, C)."""
    found = [torch.batch_norm_update_stats(rows(x), None, None, 0.0) for x in maps]
    columns, variances = map(torch.stack, zip(*found, strict=True))
    shape = len(maps), *maps[0].shape[2:]
    # The law of total variance: the variance of the columns' means, the mean of their variances.
    variance, mean = torch.var_mean(columns.view(shape), 1, correction=0)
    return columns, mean, variance.add_(variances.view(shape).mean(1))


def update(norms: Sequence[nn.BatchNorm2d], mean: Tensor, variance: Tensor, x: Tensor) -> None:
    """Moves the running statistics of BatchNorms as their own forward on maps like x would.

    They have one momentum. Mean and variance are (maps, C).
    """
    count = x.numel() // x.shape[3]
    unbiased = variance * (count / max(count - 1, 1))
    # As torch's optimizers do it: one call for all.
    running = [norm.running_mean for norm in norms] + [norm.running_var for norm in norms]
    torch._foreach_lerp_(running, [*mean.unbind(), *unbiased.unbind()], norms[0].momentum)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)


def normalize(asked: Sequence[Asked]) -> list[Normalized]:
    """Normalizes maps of one shape, and tells their BatchNorms, which have one epsilon."""
    maps, norms, affine = zip(*asked, strict=True)
    columns, mean, variance = statistics(maps)
    update(norms, mean, variance, maps[0])
    inverse = (variance + norms[0].eps).rsqrt_()
    scale, shift = _affine(affine, mean)
    factor = inverse if scale is None else scale * inverse
    offset = -mean * factor if shift is None else torch.addcmul(shift, mean, factor, value=-1)
    of_each = (columns.unbind(), mean.unbind(), inverse.unbind(), affine)
    of_each += fit(factor, maps[0]), fit(offset, maps[0])
    return [Normalized(*parts) for parts in zip(maps, *of_each, strict=True)]


def _affine(
    affine: Sequence[Sequence[Tensor]], like: Tensor
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Scales and shifts, (maps, C); 1 and 0 for a BatchNorm without, None if all are."""
    if not any(affine):
        return None, None
    plain = torch.ones_like(like[0]), torch.zeros_like(like[0])
    scale, shift = map(torch.stack, zip(*(own or plain for own in affine), strict=True))
    return scale, shift


class Gradients(NamedTuple):
    """What goes back through weight * normalized, from the gradient of that.

    Attributes:
        factor, slope, level: the gradient for x is gradient * factor + x * slope + level.
        weight: the gradient for the weight, a number.
        affine: those for scale and shift, if there are any.
    """

    factor: Tensor
    slope: Tensor
    level: Tensor
    weight: Tensor
    affine: Sequence[Tensor]

    def of(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient for x."""
        by_x = torch.addcmul(self.level, flat(x), self.slope)
        return by_x.addcmul_(flat(gradient), self.factor).view_as(x)


def gradients(asked: Sequence[tuple[Normalized, Tensor, Tensor]]) -> list[Gradients]:
    """Back through normalized maps of one shape, each times a weight.

    Args:
        asked: the normalized map, the gradient of weight * its value, the weight, a number.
    """
    maps, given, weights = zip(*asked, strict=True)
    x, ones = maps[0].x, torch.ones_like(maps[0].columns)
    sums = [
        torch.ops.aten.native_batch_norm_backward(
            rows(gradient), rows(n.x), None, None, None, n.columns, ones, True, 0.0, _SUMS
        )
        for n, gradient in zip(maps, given, strict=True)
    ]
    shape = len(maps), *x.shape[2:]
    columns = torch.stack([n.columns for n in maps]).view(shape)
    by_scale, by_shift = (torch.stack([s[k] for s in sums]).view(shape) for k in (1, 2))
    mean, inverse = (torch.stack([getattr(n, name) for n in maps]) for name in ("mean", "inverse"))
    # The sums are about the mean of each column: now about that of the map.
    by_scale = torch.addcmul(by_scale, by_shift, columns - mean[:, None]).sum(1).mul_(inverse)
    by_shift = by_shift.sum(1)
    affine = [n.affine for n in maps]
    scale, shift = _affine(affine, mean)
    weight = torch.stack(weights)[:, None]
    by_weight = by_scale if scale is None else torch.addcmul(by_shift * shift, by_scale, scale)
    # factor * (gradient - its mean - normalized x * the mean of their product), sorted by x.
    factor = weight * inverse if scale is None else weight * inverse * scale
    part = factor * (-x.shape[3] / x.numel())
    slope = by_scale * inverse * part
    level = torch.addcmul(by_shift * part, slope, mean, value=-1)
    by_affine = [()] * len(maps)
    if any(affine):
        pairs = zip((weight * by_scale).unbind(), (weight * by_shift).unbind(), strict=True)
        by_affine = [pair if own else () for pair, own in zip(pairs, affine, strict=True)]
    of_each = (fit(part, x) for part in (factor, slope, level))
    return list(map(Gradients, *of_each, by_weight.sum(1).unbind(), by_affine))


_SUMS = [False, True, True]  # of torch's gradients of a BatchNorm: for x, for scale, for shift


class _Normalized(torch.autograd.Function):
    """A BatchNorm of its own, (N, C, H, W) -> (N, C, H, W)."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor | None, shift: Tensor | None, norm) -> Tensor:
        # Not a view of a map, which nothing behind it, such as a ReLU, could change in place.
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
    """Whether a BatchNorm is as `normalize` takes it; looked at anew, since a reader may change it.

    It has running statistics that move by its momentum, and scale and shift both or neither.
    """
    moves = bool(norm.momentum) and norm.track_running_stats and norm.running_mean is not None
    return moves and (norm.weight is None) == (norm.bias is None)


def is_whole(x: Tensor) -> bool:
    """Whether x is no shorter than float32: torch sums up shorter numbers in float32, we do not."""
    return x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


class FastNorm:
    """The forward of one BatchNorm2d while it trains; otherwise torch's own."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, normalized."""
        norm = self.norm
        one_value = x.numel() == x.shape[1]  # a channel: torch refuses that, in a sentence
        fitting = fits(norm) and is_whole(x) and not transformed()
        if not norm.training or one_value or not fitting:
            return type(norm).forward(norm, x)
        return _Normalized.apply(x, norm.weight, norm.bias, norm)

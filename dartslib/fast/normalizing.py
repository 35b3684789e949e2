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

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dartslib.fast.once import goes_back_once, refuse_forward_mode, transformed


def rows(x: Tensor) -> Tensor:
    """(N, H, W, C) as (N * H, W * C), a view."""
    return x.view(-1, x.shape[2] * x.shape[3])


def fit(values: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """From per-channel numbers, (maps, C), what multiplies the rows of each map: (W * C,)."""
    return values.repeat(1, x.shape[2]).unbind()


def scaled(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """x * factor + offset, both from `fit`."""
    found = torch.empty_like(x)  # not a view, which a ReLU could not change in place
    torch.addcmul(offset, rows(x), factor, out=rows(found))
    return found


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


class Asked(NamedTuple):
    """A map to be normalized, its BatchNorm, and that one's scale and shift, if any."""

    x: Tensor
    norm: nn.BatchNorm2d
    affine: Sequence[Tensor] = ()


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
    factor = inverse = (variance + norms[0].eps).rsqrt_()  # (maps, C)
    # scale * (x - mean) * inverse + shift = x * factor + offset
    if any(affine):
        scale, shift = _affine(affine, mean)
        factor = scale * inverse
        offset = torch.addcmul(shift, mean, factor, value=-1)
    else:
        offset = -mean * factor
    of_each = columns.unbind(), mean.unbind(), inverse.unbind(), affine
    of_each += fit(factor, maps[0]), fit(offset, maps[0])
    return [Normalized(*parts) for parts in zip(maps, *of_each, strict=True)]


def _affine(affine: Sequence[Sequence[Tensor]], like: Tensor) -> Iterator[Tensor]:
    """Scales and shifts, (maps, C) each, with 1 and 0 for a BatchNorm without."""
    plain = torch.ones_like(like[0]), torch.zeros_like(like[0])
    return map(torch.stack, zip(*(own or plain for own in affine), strict=True))


def gradients(
    asked: Sequence[tuple[Normalized, Tensor, Tensor]],
) -> list[tuple[tuple[Tensor, Tensor, Tensor], Tensor, Sequence[Tensor]]]:
    """Backward through normalized maps of one shape, by the equations at the head of this file.

    Args:
        asked: per map: the map, G (N, H, W, C), and a, a number.

    Returns:
        Per map what `by_map` needs, the gradient for a, and those for scale and shift, if any.
    """
    maps, given, weights = zip(*asked, strict=True)
    x, ones = maps[0].x, torch.ones_like(maps[0].columns)
    # 1. Per column of each map: sum(G (x - column's mean)) and sum(G), by torch's own code.
    sums = [
        torch.ops.aten.native_batch_norm_backward(
            *(rows(gradient), rows(n.x), None, None, None, n.columns, ones, True, 0.0),
            [False, True, True],  # not for x, but for scale and shift
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
    # 3. For the weight, per channel still; for scale and shift.
    weight, affine = torch.stack(weights)[:, None], [n.affine for n in maps]  # (maps, 1)
    by_weight, factor, by_affine = by_scale, weight * inverse, affine
    if any(affine):
        scale, shift = _affine(affine, mean)
        by_weight = torch.addcmul(by_shift * shift, by_scale, scale)
        factor = factor * scale
        pairs = zip((weight * by_scale).unbind(), (weight * by_shift).unbind(), strict=True)
        by_affine = [pair if own else () for pair, own in zip(pairs, affine, strict=True)]
    # 4. For x, with n = (x - mean) * inverse multiplied out and collected by powers of x:
    #    G * factor + x * slope + level, where part = -factor / M.
    part = factor * (-x.shape[3] / x.numel())
    slope = by_scale * inverse * part
    level = torch.addcmul(by_shift * part, slope, mean, value=-1)
    parts = zip(*(fit(values, x) for values in (factor, slope, level)), strict=True)
    return list(zip(parts, by_weight.sum(1).unbind(), by_affine, strict=True))


def by_map(x: Tensor, gradient: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The gradient for a normalized map, (N, H, W, C), from G and what `gradients` found."""
    factor, slope, level = parts
    found = scaled(x, slope, level)
    rows(found).addcmul_(rows(gradient), factor)
    return found


class _Normalized(torch.autograd.Function):
    """One BatchNorm outside of cells, (N, H, W, C) -> the same; its scale and shift, if any."""

    @staticmethod
    def forward(ctx, norm: nn.BatchNorm2d, x: Tensor, *affine: Tensor) -> Tensor:
        (normalized,) = normalize([Asked(x, norm, affine)])
        ctx.normalized = normalized._replace(affine=())
        ctx.save_for_backward(*affine)
        return normalized.value

    jvp = staticmethod(refuse_forward_mode)

    @staticmethod
    @goes_back_once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normalized = ctx.normalized._replace(affine=ctx.saved_tensors)
        gradient = gradient.contiguous()
        ((parts, _, by_affine),) = gradients([(normalized, gradient, gradient.new_ones(()))])
        by_x = by_map(normalized.x, gradient, parts) if ctx.needs_input_grad[1] else None
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

"""Checks of notebook 02: cell search."""

from collections.abc import Callable
from math import isclose

from dartslib.course.checks import exercise


@exercise
def operation(build: Callable) -> str | None:
    """ReLU, 1 x 1 convolution, BatchNorm: shapes, weights, and where the ReLU is."""
    import torch

    modules = {(s, f): build(6, s, f) for s in (1, 2) for f in (True, False)}
    x = 3 * torch.randn(2, 6, 7, 7, generator=torch.Generator().manual_seed(0))
    for (stride, _), module in modules.items():
        side = -(-7 // stride)
        shape = tuple(module(x).shape)
        if shape != (2, 6, side, side):
            return (
                f"with stride {stride} it makes {shape} of (2, 6, 7, 7), not (2, 6, {side}, {side})"
            )
    counts = {f: sum(p.numel() for p in modules[1, f].parameters()) for f in (True, False)}
    if counts[True] != 36:
        return f"in a search it has {counts[True]} weights with 6 channels; a 6 x 6 matrix has 36"
    if counts[False] != 48:
        return f"in a final network it has {counts[False]} weights, not 36 + 2 x 6"
    module = modules[1, True]
    if not torch.equal(module(x), module(x.relu())):
        return "negative inputs change its value: a convolution of this space begins with the ReLU"
    value = module(x)
    if value.min() >= 0:
        return "its value is never negative: nothing comes after the BatchNorm"
    spread = value.var((0, 2, 3), correction=0)
    if value.mean((0, 2, 3)).abs().max() > 1e-2 or (spread - 1).abs().max() > 1e-2:
        return (
            "in a search its channels are not normalized: BatchNorm without scale and shift still "
            "subtracts the mean and divides by the standard deviation"
        )
    return None


@exercise
def softmax_slope(slope: Callable) -> str | None:
    """Against autograd, at a temperature."""
    import torch

    tau = 0.5

    generator = torch.Generator().manual_seed(0)
    alpha, s = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    alpha.requires_grad_()
    p = (alpha / tau).softmax(0)
    (expected,) = torch.autograd.grad(p @ s, alpha)
    p = p.detach()
    found = torch.as_tensor(slope(p, s, tau))
    if found.shape != expected.shape:
        return f"it has the shape {tuple(found.shape)}, not (8,)"
    if torch.allclose(found, s):
        return "that is dL/dp: the softmax lies between p and α"
    if torch.allclose(found, p * s) or torch.allclose(found, p * s / tau):
        return "α_k moves every other probability, too: they sum to 1"
    if torch.allclose(found, expected * tau):
        return "that is the slope without a temperature: the inner derivative of α/τ is missing"
    return None if torch.allclose(found, expected) else "autograd finds another slope"


@exercise
def judge_planted(difference: float, bar: float, judgement: str) -> str | None:
    """Against the recorded searches: the mean of ten gains, two standard errors, and no more."""
    from dartslib.runs import records

    ten = records.load("planted").history
    gain = 100 * (ten["finite_difference_unseen_accuracy"] - ten["first_order_unseen_accuracy"])
    mean, spread = float(gain.mean()), float(gain.std(ddof=1))
    error = spread / len(gain) ** 0.5
    if not isclose(difference, mean, rel_tol=0.02):
        return "the difference is the mean of the ten gains, ξ > 0 minus ξ = 0, in points"
    if isclose(bar, 2 * spread, rel_tol=0.06):
        return "that is the spread of single seeds: a mean of ten varies less, by √10"
    if not isclose(bar, 2 * error, rel_tol=0.06):
        return "the bar is twice the standard deviation of the gains, divided by √10"
    if judgement != "not shown":
        return f"the difference is shorter than its bar: ten seeds do not show {judgement!r}"
    return None

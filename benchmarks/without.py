"""What each technique brings: a step with it taken out, against a step with it.

In its place stands what one would write without it, from torch's own operators; the numbers that
come out stay the same.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.forms import Forms, search
from dartslib.fast import branches, normalizing, states
from dartslib.gradients import Hypergradient, Loss, leaves
from dartslib.operations import FactorizedReduce
from dartslib.searching import SearchConfig

aten = torch.ops.aten


def all_gradients(
    train_loss: Loss, valid_loss: Loss, w: Sequence[Tensor], alpha: Sequence[Tensor], **options: Any
) -> Hypergradient:
    """As `gradients.hypergradient` in first order, with gradients of w, which are dropped."""
    free_w, free_alpha = leaves(w), leaves(alpha)
    loss = valid_loss(free_w, free_alpha)
    both = torch.autograd.grad(loss, [*free_alpha, *free_w], materialize_grads=True)
    direct = list(both[: len(alpha)])
    return Hypergradient(direct, direct, [], loss.detach())


def _convolution_gradient(gradient, x, kernel, stride, dilation, which):
    k = kernel.shape[-1]
    return aten.convolution_backward(
        gradient.permute(0, 3, 1, 2),
        x.permute(0, 3, 1, 2),
        kernel,
        None,
        [stride] * 2,
        [dilation * (k // 2)] * 2,
        [dilation] * 2,
        False,
        [0, 0],
        len(kernel),
        [which == 0, which == 1, False],
    )[which]


def input_gradient(gradient, x, kernel, stride=1, dilation=1) -> Tensor:
    """As `depthwise.input_gradient`, by torch's own gradient."""
    found = _convolution_gradient(gradient, x, kernel, stride, dilation, 0)
    return found.permute(0, 2, 3, 1).contiguous()


def weight_gradient(gradient, x, kernel, stride=1, dilation=1) -> Tensor:
    """As `depthwise.weight_gradient`, by torch's own gradient."""
    return _convolution_gradient(gradient, x, kernel, stride, dilation, 1)


def pointwise(x: Tensor, matrix: Tensor) -> Tensor:
    """As `branches.pointwise`, in one product over all images."""
    return torch.matmul(x, matrix.flatten(1).t())


def pointwise_weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """As `branches.pointwise_weight_gradient`, in one product over all images."""
    return torch.mm(gradient.flatten(0, 2).t(), x.flatten(0, 2))[:, :, None, None]


def share(state: states.State, key: object, make: Callable[[states.State], Any]) -> Any:
    """As `State.share`, but made for each that asks."""
    state.shared[object()] = made = make(state)
    return made


def statistics(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """As `normalizing.statistics`, by torch's own statistics of channels."""
    found = [torch.batch_norm_update_stats(x.permute(0, 3, 1, 2), None, None, 0.0) for x in maps]
    mean, variance = map(torch.stack, zip(*found, strict=True))
    return mean.repeat(1, maps[0].shape[2]), mean, variance


def gradients(asked: Sequence[tuple[normalizing.Normalized, Tensor, Tensor]]) -> list[tuple]:
    """As `normalizing.gradients`, by torch's own gradient of BatchNorm, that for x included."""
    found = []
    for of_map, gradient, weight in asked:
        scale, shift = of_map.affine or (torch.ones_like(of_map.mean), 0.0)
        by_x, by_scale, by_shift = aten.native_batch_norm_backward(
            gradient.permute(0, 3, 1, 2),
            of_map.x.permute(0, 3, 1, 2),
            weight * scale,
            None,
            None,
            of_map.mean,
            of_map.inverse,
            True,
            0.0,
            [True, True, True],
        )
        affine = (weight * by_scale, weight * by_shift) if of_map.affine else ()
        by_weight = (by_scale * scale + by_shift * shift).sum()
        found.append((by_x.permute(0, 2, 3, 1).contiguous(), by_weight, affine))
    return found


def by_map(x: Tensor, gradient: Tensor, found: Tensor) -> Tensor:
    """As `normalizing.by_map`, after those `gradients`."""
    return found


def one_by_one(together: Callable[[list], list]) -> Callable[[list], list]:
    """`normalizing.normalize` or `normalizing.gradients`, asked for one map at a time."""
    return lambda asked: [found for one in asked for found in together([one])]


def opaque_reductions(module: nn.Module) -> Callable[..., branches.Run] | None:
    """As `branches.branch`, but autograd goes through factorized reductions."""
    if isinstance(module, FactorizedReduce):
        return partial(branches.Opaque, module)
    return branches.branch(module)


# Technique: {what it stands for in dartslib: what is put there}. In the order of the table in
# benchmarks/README.md that explains them.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "alpha's pass asks for alpha's gradient": {
        "searching.Search.hypergradient": staticmethod(all_gradients)
    },
    "pointwise convolutions in the faster way": {
        "fast.branches.pointwise": pointwise,
        "fast.branches.pointwise_weight_gradient": pointwise_weight_gradient,
    },
    "depthwise gradients by fast kernels": {
        "fast.depthwise.input_gradient": input_gradient,
        "fast.depthwise.weight_gradient": weight_gradient,
    },
    # Without it autograd goes through the cells as they stand, and only BatchNorm is another.
    "a cell as one function": {"fast.cells._nodes_of": lambda cell: [[]]},
    "ReLU and pools once a state": {"fast.states.State.share": share},
    "the BatchNorms of a node together": {
        "fast.cells.normalize": one_by_one(normalizing.normalize),
        "fast.cells.gradients": one_by_one(normalizing.gradients),
    },
    "factorized reductions on shared grids": {"fast.cells.branch": opaque_reductions},
    "BatchNorm's statistics by rows": {
        "fast.states.statistics": statistics,
        "fast.normalizing.statistics": statistics,
    },
    "BatchNorm's gradient by rows": {
        f"fast.{file}.{name}": other
        for name, other, files in (
            ("gradients", gradients, ("cells", "states", "normalizing")),
            ("by_map", by_map, ("branches", "states", "normalizing")),
        )
        for file in files
    },
    "all of dartslib/fast (fast=False)": {"runs.running.accelerate": lambda network: network},
}
COMPLETE = "complete"


def taken_out(technique: str) -> ExitStack:
    """A context in which the fast form is built and runs without a technique."""
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", message="Some cells are not of a kind")
    for place, other in TECHNIQUES.get(technique, {}).items():
        stack.enter_context(patch(f"dartslib.{place}", other))
    return stack


def steps(config: SearchConfig) -> Forms:
    """A step of the search: by the complete fast form, then without each technique."""

    def form(technique: str) -> Callable[[], object]:
        with taken_out(technique):
            loop = search(config, "ours")

        def run() -> None:
            with taken_out(technique):
                loop.advance()

        return run

    return {name: form(name) for name in (COMPLETE, *TECHNIQUES)}

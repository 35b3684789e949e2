"""An error for handwritten gradients that somebody tries to differentiate again."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

ONCE = (
    "The fast form supports one backward pass with one gradient: set fast=False for a second pass, "
    "for second derivatives, for batches of gradients and for forward mode."
)


def transformed() -> bool:
    """Whether a transform of `torch.func` is active (a batch of gradients counts as one)."""
    return torch._C._are_functorch_transforms_active()


def goes_back_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the backward of a `torch.autograd.Function` refuse `create_graph=True`.

    Torch's `once_differentiable` marks the gradient by a node that raises, but disconnects that
    node from what the gradient depends on: a second derivative along another path never reaches it
    and would be wrong without an error.
    """

    @wraps(backward)
    def once(ctx: Any, *gradients: Any) -> Any:
        # In a backward pass gradients are enabled exactly if `create_graph=True`.
        if torch.is_grad_enabled() or transformed():
            raise RuntimeError(ONCE)
        return backward(ctx, *gradients)

    return once


def refuse_forward_mode(ctx: Any, *tangents: Any) -> None:
    """The jvp of such a function."""
    raise RuntimeError(ONCE)

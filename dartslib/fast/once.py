"""Gradients that are written by hand, and cannot be differentiated again: they say so."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

ONCE = (
    "The fast form goes back once, along one gradient: set fast=False to go back again, for second "
    "derivatives, for batches of gradients and for forward mode."
)


def transformed() -> bool:
    """Whether a transform of `torch.func` is at work, or a batch of gradients is on its way."""
    return torch._C._are_functorch_transforms_active()


def goes_back_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """The backward of a `torch.autograd.Function` that refuses `create_graph=True`.

    In place of torch's `once_differentiable`, which puts a node that raises behind the gradient,
    but cuts that node off from what the gradient depends on: a second derivative that goes another
    way never meets it, and is wrong without a word.
    """

    @wraps(backward)
    def once(ctx: Any, *gradients: Any) -> Any:
        # Within a backward pass gradients are enabled exactly where `create_graph=True`.
        if torch.is_grad_enabled() or transformed():
            raise RuntimeError(ONCE)
        return backward(ctx, *gradients)

    return once


def refuse_forward_mode(ctx: Any, *tangents: Any) -> None:
    """The jvp of such a function."""
    raise RuntimeError(ONCE)

"""A child that keeps its parent's weights where it is like its parent.

Cai et al., Efficient Architecture Search by Network Transformation, AAAI 2018. Differences: cells
change by one choice instead of growing, so that the child is no longer the parent's function; what
is new begins anew, and all is trained on.
"""

import torch

from dartslib.networks import FinalNetwork


@torch.no_grad()
def inherit(child: FinalNetwork, parent: FinalNetwork) -> float:
    """Copies stem, head, adjustments, and every operation that both have on the same edge.

    Args:
        child: receives the weights.
        parent: of the same sizes.

    Returns:
        The share of the child's weights that it has from its parent.

    Raises:
        ValueError: the networks have different sizes.
    """
    theirs, mine = _named(parent), _named(child)
    copied = 0
    for name, tensor in mine.items():
        if name in theirs:
            if theirs[name].shape != tensor.shape:
                raise ValueError("A child inherits from a network of its own sizes.")
            tensor.copy_(theirs[name])
            copied += tensor.numel() if tensor.requires_grad else 0
    return copied / sum(parameter.numel() for parameter in child.parameters())


def _named(network: FinalNetwork) -> dict[str, torch.Tensor]:
    """Parameters and buffers; an operation's by node, source and kind instead of its place."""
    found = {}
    parts = {name: part for name, part in network.named_children() if name != "cells"}
    for name, part in parts.items():
        found |= {f"{name}.{key}": value for key, value in _tensors(part).items()}
    for k, cell in enumerate(network.cells):
        for name in ("adjust_before", "adjust_last"):
            found |= {f"{k}.{name}.{x}": v for x, v in _tensors(getattr(cell, name)).items()}
        for node, (operations, edges) in enumerate(zip(cell.nodes, cell.edges, strict=True)):
            for operation, (kind, source) in zip(operations, edges, strict=True):
                key = f"{k}.{node}.{source}.{kind}"
                found |= {f"{key}.{x}": v for x, v in _tensors(operation).items()}
    return found


def _tensors(part: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(part.named_parameters()) | dict(part.named_buffers())

"""A child that keeps its parent's weights where it is like its parent.

Cai et al., Efficient Architecture Search by Network Transformation, AAAI 2018. Differences: cells
change by one choice instead of growing, so that the child is no longer the parent's function; what
is new begins anew, and all is trained on; the rate's cycle begins anew, too.
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
    theirs, copied = _named(parent), 0
    for name, tensor in _named(child).items():
        if name in theirs:
            if theirs[name].shape != tensor.shape:
                raise ValueError("A child inherits from a network of its own sizes.")
            tensor.copy_(theirs[name])
            copied += tensor.numel() if tensor.requires_grad else 0
    return copied / sum(parameter.numel() for parameter in child.parameters())


def _named(network: FinalNetwork) -> dict[str, torch.Tensor]:
    """Parameters and buffers; an operation's by node, source and kind instead of its place."""
    found = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        parts = name.split(".")  # such as cells.0.nodes.1.0.2.weight
        if parts[0] == "cells" and parts[2] == "nodes":
            cell, node, place = (int(parts[k]) for k in (1, 3, 4))
            parts[4] = str(network.cells[cell].edges[node][place])
        found[".".join(parts)] = tensor
    return found

"""How far the cell that is derived is from the network that was searched.

A search trains a mixture and hands on a choice. What is lost between the two is measured on images
that neither half has seen, at the end of a search, while its weights are still there.
"""

import torch
from torch import Tensor, nn

from dartslib.loops import BatchSource
from dartslib.relaxation import Tables
from dartslib.searching import Search
from dartslib.training import evaluate

STEPS = 50  # batches for statistics anew: more than a BatchNorm's own memory of some ten


class _Mixed(nn.Module):
    """A supernet with a fixed mixture."""

    def __init__(self, supernet: nn.Module, mixture: Tables) -> None:
        super().__init__()
        self.supernet, self.mixture = supernet, mixture

    def forward(self, images: Tensor) -> Tensor:
        return self.supernet(images, self.mixture)


def one_hot(search: Search) -> Tables:
    """A mixture: 1 for the operations that would be derived now, on edges that are kept; else 0.

    Returns:
        Cell type -> (edges, operations), on the device of alpha.
    """
    space, genotype = search.architecture.space, search.architecture.derive()
    found = {
        cell_type: torch.zeros_like(table)
        for cell_type, table in search.architecture.probabilities().items()
    }
    for cell_type, table in found.items():
        for target, edges in enumerate(genotype.cell(cell_type), start=2):
            for operation, source in edges:
                edge = space.edges.index((source, target))
                table[edge, space.operations.index(operation)] = 1.0
    return found


@torch.no_grad()
def measure(search: Search, unseen: BatchSource) -> dict[str, float]:
    """Accuracies, as fractions, of what a search has trained; its state is as before afterwards.

    Args:
        search: at its end.
        unseen: batches to evaluate on; in neither half.

    Returns:
        "supernet": with all operations, mixed as in the search. "one_hot": the same weights w,
        with `one_hot` for the mixture. "one_hot_new_statistics": the same, after
        BatchNorm's means and variances have been taken anew over `STEPS` batches of w's half.
    """
    supernet, chosen = search.supernet, one_hot(search)
    was_training = supernet.training
    mixed = search.architecture.mixture(moment=search.moment)
    found = {
        name: evaluate(_Mixed(supernet, mixture), unseen, search.memory_format)[1]
        for name, mixture in (("supernet", mixed), ("one_hot", chosen))
    }
    buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    _new_statistics(_Mixed(supernet, chosen), search.train, search.memory_format)
    network = _Mixed(supernet, chosen)
    found["one_hot_new_statistics"] = evaluate(network, unseen, search.memory_format)[1]
    for name, buffer in supernet.named_buffers():
        buffer.copy_(buffers[name])
    supernet.train(was_training)
    return found


def _new_statistics(
    network: nn.Module, batches: BatchSource, memory_format: torch.memory_format
) -> None:
    """The mean over batches of what BatchNorm sees, in place of its running statistics."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    for step in range(min(STEPS, len(batches))):
        for norm in norms:
            norm.momentum = 1 / (step + 1)  # the first batch replaces what was there
        network(batches.at(step)[0].contiguous(memory_format=memory_format))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

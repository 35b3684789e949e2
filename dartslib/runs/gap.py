"""The discretization gap: what is lost between the searched network and the derived cell.

It is measured at the end of a search, with its weights, on images that neither half has seen.
"""

import torch
from torch import Tensor, nn

from dartslib.loops import BatchSource
from dartslib.relaxation import Tables
from dartslib.searching import Search
from dartslib.training import evaluate

STEPS = 50  # batches for new BatchNorm statistics; running means span about ten


class _Mixed(nn.Module):
    """A supernet with a fixed mixture."""

    def __init__(self, supernet: nn.Module, mixture: Tables) -> None:
        super().__init__()
        self.supernet, self.mixture = supernet, mixture

    def forward(self, images: Tensor) -> Tensor:
        return self.supernet(images, self.mixture)


def one_hot(search: Search) -> Tables:
    """The mixture of the cell that would be derived now: 1 for its operations, else 0.

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
    """Accuracies (fractions) of what a search has trained; the state of the search is restored.

    Args:
        search: at its end.
        unseen: batches to evaluate on, in neither half.

    Returns:
        "supernet": with all operations, mixed as in the search. "one_hot": the same weights w with
        `one_hot` as the mixture. "one_hot_new_statistics": the same, with BatchNorm's means and
        variances measured again over `STEPS` batches of w's half.
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
    """Replaces BatchNorm's running statistics by means over batches."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    for step in range(min(STEPS, len(batches))):
        for norm in norms:
            norm.momentum = 1 / (step + 1)  # a plain mean; the first batch replaces the old value
        network(batches.at(step)[0].contiguous(memory_format=memory_format))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

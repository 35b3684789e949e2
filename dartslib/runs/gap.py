"""The discretization gap: what is lost between the searched network and the derived cell.

It is measured at the end of a search, with its weights, on images that neither half has seen.
"""

import torch
from torch import Tensor, nn

from dartslib.genotypes import Genotype
from dartslib.loops import BatchSource
from dartslib.relaxation import Architecture, Tables
from dartslib.searching import Search
from dartslib.space import CELL_TYPES
from dartslib.training import evaluate

STEPS = 50  # batches for new BatchNorm statistics; running means span about ten


class _Mixed(nn.Module):
    """The supernet of a search, as it is now, with a fixed mixture."""

    def __init__(self, search: Search, mixture: Tables) -> None:
        super().__init__()
        self.supernet, self.given = search.supernet, (mixture, search.moment)

    def forward(self, images: Tensor) -> Tensor:
        return self.supernet(images, *self.given)


def one_hot(search: Search) -> Tables:
    """The `path` of the cell that would be derived now."""
    return path(search.architecture.derive(), search.architecture)


def path(genotype: Genotype, architecture: Architecture) -> Tables:
    """A mixture that leaves only one cell of the supernet: 1 for its operations, else 0.

    Returns:
        Cell type -> (edges, operations), of the architecture's space, on its device.
    """
    space = architecture.space
    found = {k: torch.zeros_like(architecture.logits[k].detach()) for k in CELL_TYPES}
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
    mixed, chosen = search.architecture.mixture(moment=search.moment), one_hot(search)
    return {
        "supernet": accuracy(search, mixed, unseen, anew=False),
        "one_hot": accuracy(search, chosen, unseen, anew=False),
        "one_hot_new_statistics": accuracy(search, chosen, unseen),
    }


@torch.no_grad()
def accuracy(search: Search, mixture: Tables, unseen: BatchSource, *, anew: bool = True) -> float:
    """Accuracy (a fraction) of the supernet with a mixture; the state of the search is restored.

    Args:
        search: whose weights are used.
        mixture: what multiplies the operations, such as the `path` of one cell.
        unseen: batches to evaluate on.
        anew: measure BatchNorm's statistics again for this mixture, over batches of w's half.
    """
    supernet = search.supernet
    for cell in supernet.cells:  # what is multiplied by 0 need not run
        runs = (mixture[cell.cell_type] != 0).tolist()
        for edge, row in zip(cell.edges, runs, strict=True):
            edge.open = tuple(row)
    was_training, network = supernet.training, _Mixed(search, mixture)
    buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    if anew:
        _new_statistics(network, search)
    found = evaluate(network, unseen, search.memory_format)[1]
    for name, buffer in supernet.named_buffers():
        buffer.copy_(buffers[name])
    supernet.train(was_training)
    search.prune()
    return found


def _new_statistics(network: nn.Module, search: Search) -> None:
    """Replaces BatchNorm's running statistics by means over batches of w's half."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    for step in range(min(STEPS, len(search.train))):
        for norm in norms:  # torch's update_bn takes their momentum away: the fast form needs one
            norm.momentum = 1 / (step + 1)  # a plain mean; the first batch replaces the old value
        network(search.train.at(step)[0].contiguous(memory_format=search.memory_format))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

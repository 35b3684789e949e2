"""Selection by perturbation: an operation is worth what is lost without it, not its alpha.

Wang et al., "Rethinking architecture selection in differentiable NAS" (DARTS-PT, ICLR 2021). After
a search the edges are decided one by one, in random order: each operation is left out in turn, and
the one without which validation accuracy is lowest is kept; then the supernet is tuned. Nodes
follow: their edges are left out in turn until the two that are missed most remain.

What differs from the paper and its code (ruocwang/darts-pt), on purpose:

1. Where accuracies are equal, which is common with few images, the loss decides.
2. `none` is never kept, as in DARTS's derivation.
3. BatchNorm takes the statistics of each batch, as in the code, but remembers none of them.
4. One step follows the last decision; in the code an epoch.

Its settings: 10 of 50 epochs of tuning per decision (5 of 100 on NAS-Bench-201), w's rate from a
tenth down along a cosine, new optimizers, alpha still moving.
"""

from typing import Any

import torch
from pydantic import Field

from dartslib.gradients import BatchLoss
from dartslib.methods.stages import Around, Stages
from dartslib.searching import Search, SearchConfig
from dartslib.settings import Fraction


class Perturbation(Around, name="perturbation"):
    """A search, then another that decides its cells (Wang et al. 2021, algorithm 1)."""

    tuning: Fraction = 0.2
    """Steps of tuning between two decisions, as a fraction of the search's."""
    batches: int | None = Field(None, ge=1)
    """Batches of alpha's half per accuracy; None for all."""

    def configs(self, config: SearchConfig) -> list[SearchConfig]:
        """The search, and the tuning."""
        lr = config.w_lr / 10
        return [config, config.changed(w_lr=lr, w_lr_min=min(lr, config.w_lr_min))]

    def prepare(self, searches: list[Search]) -> None:
        """The tuning is as long as its decisions need."""
        search, tuning = searches
        tuning.steps = (len(_places(search)) - 1) * self._every(search) + 1

    def begin(self, loop: Stages) -> None:
        """Weights and alpha are the search's; the first decision comes before any tuning."""
        search, tuning = loop.searches
        tuning.supernet.load_state_dict(search.supernet.state_dict())
        tuning.architecture.load_state_dict(search.architecture.state_dict())
        self._decide(tuning, _places(tuning)[0])

    def after_step(self, loop: Stages, record: dict[str, Any] | None) -> None:
        """Decides from time to time."""
        search, tuning = loop.searches
        number, rest = divmod(tuning.step, self._every(search))
        if number and not rest and number < len(places := _places(tuning)):
            self._decide(tuning, places[number])

    def _every(self, search: Search) -> int:
        return max(1, round(self.tuning * search.steps))

    def _decide(self, search: Search, edges: list[int]) -> None:
        """Decides an edge, or a node with several, in each cell type that the network has."""
        names = search.architecture.space.operations
        for kind in sorted({cell.cell_type for cell in search.supernet.cells}):
            is_open, left = search.architecture.open[kind], list(edges)
            if len(left) == 1:
                (edge,) = left
                kept = [k for k, name in enumerate(names) if is_open[edge, k] and name != "none"]
                worth = {k: self._without(search, kind, edge, k) for k in kept}
                is_open[edge] = False
                is_open[edge, max(worth, key=worth.get)] = True
            while len(left) > 2:
                worth = {edge: self._without(search, kind, edge, slice(None)) for edge in left}
                left.remove(least := min(worth, key=worth.get))
                is_open[least] = False
                search.prune()
            search.prune()

    @torch.no_grad()
    def _without(self, search: Search, kind: str, *cut: int | slice) -> tuple[float, float]:
        """Minus the accuracy, and the loss, without the operations of one place; more is worse."""
        mixture = search.architecture.mixture(moment=search.moment)
        mixture[kind] = mixture[kind].clone()  # (edges, operations)
        mixture[kind][cut] = 0.0
        found = []
        for step in range(min(self.batches or len(search.valid), len(search.valid))):
            images, labels = search.valid.at(step)
            images = images.contiguous(memory_format=search.memory_format)
            of_batch = BatchLoss(search.supernet, search.architecture, images, labels)
            loss = of_batch.at(search.w, mixture)
            found.append(torch.stack([-of_batch.accuracy, loss]))
        return tuple(torch.stack(found).mean(dim=0).tolist())


def _places(search: Search) -> list[list[int]]:
    """What is decided, in order: edges alone, then all that enter a node with more than two."""
    space = search.architecture.space
    generator = torch.Generator().manual_seed(search.config.seed)
    edges = [[edge] for edge in range(len(space.edges))]
    nodes = [space.edges_into(2 + node) for node in range(1, space.nodes)]
    orders = (torch.randperm(len(group), generator=generator) for group in (edges, nodes))
    return [group[k] for group, order in zip((edges, nodes), orders, strict=True) for k in order]

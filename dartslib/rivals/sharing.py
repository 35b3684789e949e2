"""One supernet for all cells: train a path at a time, then ask it what each cell is worth.

    settings = config.changed(relaxation="single_path")
    search = dartslib.search(settings, …);  for _ in search: pass
    values = shared_accuracies(search, genotypes, unseen)

Bender et al., Understanding and Simplifying One-Shot Architecture Search, ICML 2018; Guo et al.,
Single Path One-Shot Neural Architecture Search with Uniform Sampling (SPOS), ECCV 2020; Li and
Talwalkar, Random Search and Reproducibility for Neural Architecture Search, UAI 2019: with cells
drawn at random for `genotypes`, and the best of them kept, this is theirs. Differences: (1) each
step of w draws a cell uniformly from what can be derived, the same in all cells of a type;
(2) no path dropout (Bender's), since other operations do not run at all; (3) BatchNorm's statistics
are taken anew for each cell, as SPOS does: those of the supernet are of a mixture and wrong for any
one path.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from dartslib.genotypes import Genotype
from dartslib.loops import BatchSource
from dartslib.methods.gdas import OneOperation
from dartslib.relaxation import Moment, Relaxation, Tables
from dartslib.runs.gap import accuracy, path
from dartslib.searching import Search
from dartslib.space import CELL_TYPES, SearchSpace


class SinglePath(Relaxation, name="single_path"):
    """w learns on a cell that is drawn in each step; alpha rests."""

    def edge(self, names: tuple[str, ...], channels: int, stride: int) -> OneOperation:
        """What is not drawn does not run."""
        return OneOperation(names, channels, stride)

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """1 for the operations of a cell drawn uniformly, 0 for the others."""
        return {k: draw_path(alpha[k], space, moment.generator) for k in CELL_TYPES}

    def moves_alpha(self, moment: Moment) -> bool:
        """Never."""
        return False


def draw_path(table: Tensor, space: SearchSpace, generator: torch.Generator | None) -> Tensor:
    """A drawn cell as a mixture: two edges per node, an operation other than none on each.

    Args:
        table: (edges, operations); gives device and type.
        space: what its rows and columns are.
        generator: draws the cell; torch's global one if None.
    """
    drawn = torch.zeros_like(table)
    real = torch.tensor([k for k, name in enumerate(space.operations) if name != "none"])
    for target in range(2, 2 + space.nodes):
        edges = torch.tensor(list(space.edges_into(target)))
        kept = edges[torch.randperm(len(edges), generator=generator)[:2]]
        names = real[torch.randint(len(real), (2,), generator=generator)]
        drawn[kept, names] = 1.0
    return drawn


def shared_accuracies(
    search: Search, genotypes: Iterable[Genotype], unseen: BatchSource
) -> list[float]:
    """What the shared weights say of each cell, as a fraction.

    Args:
        search: trained with the relaxation single_path, or any other.
        genotypes: of its space.
        unseen: batches that judge, in neither half of the search.
    """
    return [accuracy(search, path(g, search.architecture), unseen) for g in genotypes]

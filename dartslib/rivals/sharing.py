"""One supernet for all cells: train a path at a time, then ask it what each cell is worth.

    search = Search(config.changed(relaxation="single_path"), …);  for _ in search: pass
    value = gap.accuracy(search, gap.path(genotype, search.architecture), unseen)

Bender et al., Understanding and Simplifying One-Shot Architecture Search, ICML 2018; Guo et al.,
Single Path One-Shot Neural Architecture Search with Uniform Sampling (SPOS), ECCV 2020; Li and
Talwalkar, Random Search and Reproducibility for Neural Architecture Search, UAI 2019: the best of
cells drawn at random. Differences: (1) each step of w draws a cell uniformly from what can be
derived, one for all cells of a type; (2) no path dropout (Bender's), since other operations do not
run at all; (3) BatchNorm's statistics are taken anew for each cell, as SPOS does: those of the
supernet are of a mixture and wrong for any one path; (4) a cell is asked with the statistics of
50 batches, on 2,000 images, and single path asks all cells, random sharing 100 drawn ones (Li and
Talwalkar: 1,000).
"""

from itertools import combinations
from math import comb
from typing import NamedTuple

import torch
from torch import Tensor

from dartslib.methods.gdas import OneOperation
from dartslib.relaxation import Moment, Relaxation, Tables
from dartslib.space import CELL_TYPES, SearchSpace


class SinglePath(Relaxation, name="single_path"):
    """w learns on a cell that is drawn in each step, by the probabilities in alpha; alpha rests.

    Alpha begins at zero, so that every cell is as likely. It has a table of pairs of inputs per
    cell type beside the operations' table; a controller may move both (see `controller.enas`).
    """

    edge = staticmethod(OneOperation)  # what is not drawn does not run

    def parameters(self, space: SearchSpace) -> dict[str, tuple[int, ...]]:
        """DARTS's tables, and per cell type (nodes, pairs of inputs of the last node)."""
        pairs = space.nodes, comb(space.nodes + 1, 2)
        return super().parameters(space) | {f"inputs_{kind}": pairs for kind in CELL_TYPES}

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """1 for the operations of a drawn cell, 0 for the others."""
        return draw_cell(alpha, space, moment.generator).path

    def moves_alpha(self, moment: Moment) -> bool:
        """Never."""
        return False


class Drawn(NamedTuple):
    """A drawn cell; both scalars can be differentiated in alpha."""

    path: Tables  #: its mixture
    log_probability: Tensor
    entropy: Tensor  #: of what it was drawn by


def draw_cell(alpha: Tables, space: SearchSpace, generator: torch.Generator | None) -> Drawn:
    """Draws a cell: per node a pair of inputs, on each an operation other than none.

    Args:
        alpha: the tables of `SinglePath.parameters`.
        space: what their rows and columns are.
        generator: draws the cell; torch's global one if None.
    """
    real = [k for k, name in enumerate(space.operations) if name != "none"]
    paths = {kind: torch.zeros_like(alpha[kind].detach()) for kind in CELL_TYPES}
    chosen, entropies = [], []  # logarithms of probabilities, and entropies, choice by choice

    def draw(logits: Tensor) -> int:
        logs = logits.log_softmax(dim=0)
        drawn = int(torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator))
        chosen.append(logs[drawn])
        entropies.append(-(logs.exp() * logs).sum())
        return drawn

    for kind, path in paths.items():
        for node in range(space.nodes):
            pairs = list(combinations(space.edges_into(2 + node), 2))
            for edge in pairs[draw(alpha[f"inputs_{kind}"][node, : len(pairs)])]:
                path[edge, real[draw(alpha[kind][edge, real])]] = 1.0
    return Drawn(paths, torch.stack(chosen).sum(), torch.stack(entropies).sum())

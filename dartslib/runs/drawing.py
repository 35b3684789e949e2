"""Cells drawn at random, which every search has to beat."""

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.space import CELL_TYPES, SearchSpace


def draw(space: SearchSpace, seed: int) -> Genotype:
    """A genotype drawn uniformly from those that `derive` can return.

    Each node draws two distinct predecessors, and for each an operation other than none.
    """
    generator = np.random.default_rng(seed)
    real = [name for name in space.operations if name != "none"]

    def node(target: int) -> list[tuple[str, int]]:
        sources = generator.choice(target, size=2, replace=False)
        picks = generator.integers(len(real), size=2)
        return [(real[k], int(source)) for k, source in zip(picks, sources, strict=True)]

    targets = range(2, 2 + space.nodes)
    return Genotype(*([node(target) for target in targets] for _ in CELL_TYPES))

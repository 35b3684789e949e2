"""A cell as a short row of numbers, so that a search can draw it, change it and count on it."""

from itertools import combinations, product

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.space import SearchSpace

Code = tuple[int, ...]


class Coding:
    """Cells of a space as rows of whole numbers: per node its two inputs, an operation on each.

    Args:
        space: what the cells are made of; none is no operation of a derived cell. The reduction
            cell repeats the normal one.

    Attributes:
        sizes: how many values each number of a row may have. The first node has no choice of
            inputs: that size is 1.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.operations = tuple(name for name in space.operations if name != "none")
        self._pairs = [list(combinations(range(2 + node), 2)) for node in range(space.nodes)]
        kinds = len(self.operations)
        self.sizes = tuple(size for pairs in self._pairs for size in (len(pairs), kinds, kinds))

    def genotype(self, code: Code) -> Genotype:
        """The cell that a row stands for."""
        nodes = []
        for pairs, (pair, *kinds) in zip(self._pairs, np.reshape(code, (-1, 3)), strict=True):
            edges = zip(kinds, pairs[pair], strict=True)
            nodes.append(tuple((self.operations[k], source) for k, source in edges))
        return Genotype(tuple(nodes), tuple(nodes))

    def draw(self, generator: np.random.Generator) -> Code:
        """A cell, each as likely."""
        return tuple(int(generator.integers(size)) for size in self.sizes)

    def neighbors(self, code: Code) -> list[Code]:
        """All cells that differ in one number."""
        return [
            (*code[:place], value, *code[place + 1 :])
            for place, size in enumerate(self.sizes)
            for value in range(size)
            if value != code[place]
        ]

    def all(self) -> list[Code]:
        """Every cell of the space; a small space only."""
        return [*product(*map(range, self.sizes))]

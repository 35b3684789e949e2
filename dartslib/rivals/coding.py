"""A cell as a short row of numbers, so that a search can draw it, change it and count on it."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from dartslib.genotypes import Genotype, Nodes
from dartslib.space import CELL_TYPES, SearchSpace

Code = tuple[int, ...]


class Coding:
    """Cells of a space as rows of whole numbers: per node its two inputs, an operation on each.

    Args:
        space: what the cells are made of; none is no operation of a derived cell.
        both: code the reduction cell as well; otherwise it repeats the normal one.

    Attributes:
        sizes: how many values each number of a row may have. The first node has no choice of
            inputs: that size is 1.
    """

    def __init__(self, space: SearchSpace, both: bool = False) -> None:
        self.operations = tuple(name for name in space.operations if name != "none")
        self._pairs = [list(combinations(range(2 + node), 2)) for node in range(space.nodes)]
        kinds = len(self.operations)
        cell = [size for pairs in self._pairs for size in (len(pairs), kinds, kinds)]
        self.sizes: Code = tuple(cell * (len(CELL_TYPES) if both else 1))

    def genotype(self, code: Code) -> Genotype:
        """The cell that a row stands for."""
        cells = [
            self._nodes(code[start : start + 3 * len(self._pairs)])
            for start in range(0, len(code), 3 * len(self._pairs))
        ]
        return Genotype(cells[0], cells[-1])

    def _nodes(self, code: Code) -> Nodes:
        return tuple(
            tuple(
                (self.operations[k], source)
                for k, source in zip(code[3 * n + 1 : 3 * n + 3], pairs[code[3 * n]], strict=True)
            )
            for n, pairs in enumerate(self._pairs)
        )

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
        return [tuple(map(int, code)) for code in np.ndindex(*self.sizes)]

    def choices(self, codes: Sequence[Code]) -> np.ndarray:
        """(cells, all values): 1 where a number of the row has a value, 0 elsewhere."""
        rows = np.asarray(codes)  # (cells, numbers)
        return np.concatenate(
            [np.eye(size)[rows[:, place]] for place, size in enumerate(self.sizes) if size > 1],
            axis=1,
        )

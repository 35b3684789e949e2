"""Answers from the table, each at its price: what a search meets that trains the cells itself."""

from dataclasses import dataclass
from statistics import fmean

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.tabular.table import Table


@dataclass
class _Asked:
    """What was asked about one cell."""

    runs: list[int]  # in the order in which they are given; the last one judges
    begun: int = 0  # how many trainings
    epochs: int = 0  # how far the last of them is


class FromTable:
    """An `evaluate` for any rival: one training of the table per question, paid in CPU-seconds.

    The trainings of a cell come in an order of chance, and the last of them is never given: it is
    kept to judge by. Whoever asks a cell again gets its next training and pays again; when only the
    last is left, the first one again. A question with `epochs` pays for so many. A later one for
    more epochs goes on with the same training and pays what is left of it.

    Args:
        table: with two trainings of every class or more.
        seed: of the order of trainings.
    """

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self._generator = table, np.random.default_rng([seed, 1])
        self._asked: dict[str, _Asked] = {}  # by the name of a class

    def __call__(self, genotype: Genotype, epochs: int | None = None) -> tuple[float, float]:
        """Accuracy on judging images (a fraction), and what this answer costs in seconds."""
        name, mean = self.table.name(genotype), self.table.query(genotype)
        if name not in self._asked:
            self._asked[name] = _Asked(self._generator.permutation(mean.runs).tolist())
        asked, total = self._asked[name], len(mean.epochs)
        done, wanted = asked.epochs, total if epochs is None else epochs
        if not 0 < done < wanted:  # nothing to go on with: another training begins
            done, asked.begun = 0, asked.begun + 1
        asked.epochs = wanted
        run = asked.runs[(asked.begun - 1) % (len(asked.runs) - 1)]
        answer = self.table.query(genotype, run)
        value = answer.valid if epochs is None else answer.epochs[epochs - 1]
        return value, answer.seconds * (wanted - done) / total

    def truth(self, genotype: Genotype) -> float:
        """Accuracy of the cell, mean of the trainings that were not asked."""
        runs = self.table.query(genotype).runs
        asked = self._asked.get(self.table.name(genotype), _Asked(list(runs)))
        left = asked.runs[min(asked.begun, len(runs) - 1) :]
        return fmean(self.table.query(genotype, run).valid for run in left)

"""Answers from the table, each at its price: what a search meets that trains the cells itself."""

from statistics import fmean

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.tabular.table import Answer, Table


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
        self._order: dict[str, list[int]] = {}  # name of a class -> its runs, in order of answers
        self._asked: dict[str, int] = {}  # how many trainings of it were begun
        self._epochs: dict[str, int] = {}  # how far the last of them is

    def __call__(self, genotype: Genotype, epochs: int | None = None) -> tuple[float, float]:
        """Accuracy on judging images (a fraction), and what this answer costs in seconds."""
        name, runs = self.table.name(genotype), self.table.query(genotype).runs
        order = self._order.setdefault(name, [int(k) for k in self._generator.permutation(runs)])
        done, count = self._epochs.get(name, 0), self._asked.get(name, 0)
        total = len(self._answer(genotype, order, 0).epochs)
        wanted = total if epochs is None else epochs
        if not 0 < done < wanted:  # nothing to go on with: another training begins
            done, count = 0, count + 1
        self._epochs[name], self._asked[name] = wanted, count
        answer = self._answer(genotype, order, count - 1)
        value = answer.valid if epochs is None else answer.epochs[epochs - 1]
        return value, answer.seconds * (wanted - done) / total

    def truth(self, genotype: Genotype) -> float:
        """Accuracy of the cell, mean of the trainings that were not asked."""
        name, runs = self.table.name(genotype), self.table.query(genotype).runs
        order = self._order.get(name, list(runs))
        left = order[min(self._asked.get(name, 0), len(order) - 1) :]
        return fmean(self.table.query(genotype, run).valid for run in left)

    def _answer(self, genotype: Genotype, order: list[int], number: int) -> Answer:
        given = order[:-1]  # the last one judges
        return self.table.query(genotype, given[number % len(given)])

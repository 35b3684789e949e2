"""Answers from the table, each at its price: what a search meets that trains the cells itself."""

from collections import Counter
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.tabular.table import JUDGED, WATCHED, Table


def seconds_per_image(price: Mapping[str, Any]) -> float:
    """Of a forward pass, from a row of prices.csv."""
    return float(price["forward_64_ms"]) / 64 / 1000


def mean_price(table: Table, price: Callable[[Mapping[str, Any]], float]) -> float:
    """The mean over all 243 cells of a price."""
    return fmean(price(table.prices[table.name(cell)]) for cell in table.cells)


class FromTable:
    """An `evaluate` for any rival: one training of the table per question, paid in CPU-seconds.

    The trainings of a cell come in an order of chance, and the last of them is never given: it is
    kept to judge by. Whoever asks a cell again gets its next training and pays again; when only the
    last is left, the first one again. A question with `epochs` pays for so many. A later one for
    more epochs goes on with the same training and pays what is left of it. The images that judge
    are paid for, too: all of them at the end, some before.

    Args:
        table: with two trainings of every class or more.
        seed: of the order of trainings.
    """

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self._generator = table, np.random.default_rng([seed, 1])
        # By the name of a class: its runs in the order in which they are given, how many of them
        # were begun, and how far the last of these is.
        self._runs: dict[str, list[int]] = {}
        self._begun, self._epochs = Counter(), Counter()

    def __call__(self, genotype: Genotype, epochs: int | None = None) -> tuple[float, float]:
        """Accuracy on judging images (a fraction), and what this answer costs in seconds."""
        name, mean = self.table.name(genotype), self.table.query(genotype)
        if name not in self._runs:
            self._runs[name] = self._generator.permutation(mean.runs).tolist()
        done, total = self._epochs[name], len(mean.epochs)
        wanted = total if epochs is None else epochs
        if not 0 < done < wanted:  # nothing to go on with: another training begins
            done, self._begun[name] = 0, self._begun[name] + 1
        self._epochs[name] = wanted
        given = self._runs[name][:-1]  # the last one judges
        answer = self.table.query(genotype, given[(self._begun[name] - 1) % len(given)])
        value = answer.valid if epochs is None else answer.epochs[epochs - 1]
        judged = JUDGED if epochs is None else WATCHED
        looked = judged * seconds_per_image(self.table.prices[name])
        return value, answer.seconds * (wanted - done) / total + looked

    def trained(self, genotype: Genotype) -> bool:
        """Whether the training that was asked last has come to its end."""
        total = len(self.table.query(genotype).epochs)
        return self._epochs[self.table.name(genotype)] == total

    def truth(self, genotype: Genotype) -> float:
        """Accuracy of the cell, mean of the trainings that were not asked."""
        name = self.table.name(genotype)
        order = self._runs.get(name, self.table.query(genotype).runs)
        left = order[min(self._begun[name], len(order) - 1) :]
        return fmean(self.table.query(genotype, run).valid for run in left)

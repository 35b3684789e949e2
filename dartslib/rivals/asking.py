"""What all rivals share: they ask what a cell is worth, pay for the answer, and stop in time.

A rival is a generator function of (ask, coding, generator) under the decorator `rival`:

    @rival
    def random_search(ask, coding, generator):
        while True:
            yield from ask(coding.draw(generator))

which makes of it `random_search(evaluate, space, budget, seed)`: an iterator of (genotype, value,
cost so far). `value = yield from ask(code)` gives the rival the answer.
"""

from collections.abc import Callable, Generator, Iterator
from functools import wraps
from typing import Any

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.rivals.coding import Code, Coding
from dartslib.space import SearchSpace

FIRST = 10  # cells that every rival draws and asks first: for one seed the same ones
Found = tuple[Genotype, float, float]  # genotype, value, cost of all answers so far
# evaluate(genotype, epochs=None) -> value (more is better), cost of this answer
Evaluate = Callable[..., tuple[float, float]]


class _Spent(Exception):
    """The last answer went beyond the budget: it does not count any more."""


class Ask:
    """Asks for a cell's value and keeps account. `value = yield from ask(code)`.

    Attributes:
        spent: cost of all answers so far, in the unit of the budget.
        budget: where the search ends.
    """

    def __init__(self, evaluate: Evaluate, coding: Coding, budget: float) -> None:
        self.evaluate, self.coding, self.budget, self.spent = evaluate, coding, budget, 0.0

    def __call__(self, code: Code, epochs: int | None = None) -> Generator[Found, None, float]:
        """The cell's value after all epochs, or after so many."""
        genotype = self.coding.genotype(code)
        value, cost = self.evaluate(genotype, epochs)
        self.spent += cost
        if self.spent > self.budget:
            raise _Spent
        yield genotype, value, self.spent
        return value


def rival(search: Callable[..., Iterator[Found]]) -> Callable[..., Iterator[Found]]:
    """Decorator: gives a rival its coding, its account and its generator, and ends it in time."""

    @wraps(search)
    def run(
        evaluate: Evaluate,
        space: SearchSpace,
        budget: float,
        seed: int,
        *,
        both: bool = False,
        **options: Any,
    ) -> Iterator[Found]:
        coding = Coding(space, both)
        ask = Ask(evaluate, coding, budget)
        try:
            yield from search(ask, coding, np.random.default_rng(seed), **options)
        except _Spent:
            return

    return run


def first(ask: Ask, coding: Coding, generator: np.random.Generator) -> Any:
    """Draws and asks the first cells: (code, value) of each."""
    codes = [coding.draw(generator) for _ in range(FIRST)]
    known = []
    for code in codes:
        known.append((code, (yield from ask(code))))
    return known

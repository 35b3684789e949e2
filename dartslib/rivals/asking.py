"""What all rivals share: they ask what a cell is worth, pay for the answer, and stop in time.

A rival is a generator function of an `Ask` under the decorator `rival`:

    @rival
    def random_search(ask):
        while True:
            yield from ask(ask.draw())

which makes of it `random_search(evaluate, space, budget, seed)`: an iterator of (genotype, value,
cost so far). `value = yield from ask(code)` gives the rival the answer.
"""

from collections.abc import Callable, Generator, Iterator
from functools import wraps
from inspect import Signature, signature
from math import prod
from typing import Any

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.rivals.coding import Code, Coding
from dartslib.space import SearchSpace

FIRST = 10  # cells that every rival draws and asks first: for one seed the same ones
POOL = 1000  # cells among which a rival that scores cells chooses
Found = tuple[Genotype, float, float]  # genotype, value, cost of all answers so far
# evaluate(genotype, epochs=None) -> value (more is better), cost of this answer
Evaluate = Callable[..., tuple[float, float]]


class _Spent(Exception):
    """The last answer went beyond the budget: it does not count any more."""


class Ask:
    """Asks for a cell's value and keeps account. `value = yield from ask(code)`.

    Attributes:
        coding, generator: what a cell is written in, and what all random numbers come from.
        spent: cost of all answers so far, in the unit of the budget.
        budget: where the search ends.
    """

    def __init__(self, evaluate: Evaluate, space: SearchSpace, budget: float, seed: int) -> None:
        self.evaluate, self.budget, self.spent = evaluate, budget, 0.0
        self.coding, self.generator = Coding(space), np.random.default_rng(seed)

    def __call__(self, code: Code, epochs: int | None = None) -> Generator[Found, None, float]:
        """The cell's value after all epochs, or after so many."""
        genotype = self.coding.genotype(code)
        value, cost = self.evaluate(genotype, epochs)
        self.spent += cost
        if self.spent > self.budget:
            raise _Spent
        yield genotype, value, self.spent
        return value

    def draw(self) -> Code:
        """A cell, each as likely."""
        return self.coding.draw(self.generator)

    def first(self) -> Generator[Found, None, list[tuple[Code, float]]]:
        """Draws and asks the first cells: (code, value) of each."""
        codes = [self.draw() for _ in range(FIRST)]
        known = []
        for code in codes:
            known.append((code, (yield from self(code))))
        return known

    def pool(self) -> set[Code]:
        """Cells to choose among: all of a small space, some thousand of a large one."""
        if prod(self.coding.sizes) <= POOL:
            return set(self.coding.all())
        return {self.draw() for _ in range(POOL)}


def rival(search: Callable[..., Iterator[Found]]) -> Callable[..., Iterator[Found]]:
    """Decorator: gives a rival its account, and ends it in time."""

    @wraps(search)
    def run(
        evaluate: Evaluate, space: SearchSpace, budget: float, seed: int, **options: Any
    ) -> Iterator[Found]:
        try:
            yield from search(Ask(evaluate, space, budget, seed), **options)
        except _Spent:
            return

    # As it is called, for help() and the pages: `wraps` would show `ask`.
    given = signature(run, follow_wrapped=False).parameters.values()
    own = signature(search).parameters.values()
    run.__signature__ = Signature(
        [one for one in given if one.kind is not one.VAR_KEYWORD]
        + [one for one in own if one.kind is one.KEYWORD_ONLY]
    )
    return run

"""Aging evolution: change one thing in a good cell, and let the oldest cell die.

Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019, algorithm 1.
Differences: (1) population 10 and sample 3 for small budgets (theirs 100 and 25); (2) one mutation
changes one number of the row, inputs or operation, each neighbor as likely (theirs picks the kind
of mutation first, and sometimes changes nothing).
"""

from collections import deque
from collections.abc import Iterator

import numpy as np

from dartslib.rivals.asking import Ask, Found, first, rival
from dartslib.rivals.coding import Coding


@rival
def aging_evolution(
    ask: Ask, coding: Coding, generator: np.random.Generator, *, sample: int = 3
) -> Iterator[Found]:
    """The best of a few cells drawn from the population gets a child; the oldest cell goes.

    Args:
        ask, coding, generator: as `rival` gives them.
        sample: how many are drawn, without the same twice; 1 would be a random walk.
    """
    population = deque((yield from first(ask, coding, generator)))  # oldest first
    while True:
        places = generator.choice(len(population), size=sample, replace=False)
        parent, _ = max((population[k] for k in places), key=lambda one: one[1])
        children = coding.neighbors(parent)
        child = children[generator.integers(len(children))]
        value = yield from ask(child)
        population.append((child, value))
        population.popleft()

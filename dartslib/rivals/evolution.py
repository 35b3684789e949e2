"""Ways from cell to cell by single changes: aging evolution, and local search.

Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019, algorithm 1.
Differences: (1) population 10 and sample 3 for small budgets (theirs 100 and 25); (2) one mutation
changes one number of the row, inputs or operation, each neighbor as likely (theirs picks the kind
of mutation first, and sometimes changes nothing).

White, Nolen, Savani, Exploring the Loss Landscape in Neural Architecture Search, UAI 2021.
Difference: it moves to the first better neighbor, in random order, not to the best of all.
"""

from collections import deque
from collections.abc import Iterator
from math import prod

from dartslib.rivals.asking import Ask, Found, rival

SAMPLE = 3  # members of the population that are compared; 1 would be a random walk


@rival
def aging_evolution(ask: Ask) -> Iterator[Found]:
    """The best of a few cells drawn from the population gets a child; the oldest cell goes."""
    population, generator = deque((yield from ask.first())), ask.generator  # oldest first
    while True:
        places = generator.choice(len(population), size=SAMPLE, replace=False)
        parent, _ = max((population[k] for k in places), key=lambda one: one[1])
        children = ask.coding.neighbors(parent)
        child = children[generator.integers(len(children))]
        value = yield from ask(child)
        population.append((child, value))
        population.popleft()


@rival
def local_search(ask: Ask) -> Iterator[Found]:
    """Goes from the best of the first cells to a better neighbor until there is none.

    Then it begins elsewhere. Each cell is asked once and its value kept.
    """
    known = dict((yield from ask.first()))
    here = max(known, key=known.__getitem__)
    while len(known) < prod(ask.coding.sizes):
        around, better = ask.coding.neighbors(here), None
        for k in ask.generator.permutation(len(around)):
            if around[k] not in known:
                known[around[k]] = yield from ask(around[k])
            if known[around[k]] > known[here]:
                better = around[k]
                break
        if better is None:
            better = ask.draw()
            if better not in known:
                known[better] = yield from ask(better)
        here = better

"""Local search: go to a better neighbor until there is none, then begin elsewhere.

White, Nolen, Savani, Exploring the Loss Landscape in Neural Architecture Search, UAI 2021.
Difference: it moves to the first better neighbor, in random order, not to the best of all.
"""

from collections.abc import Iterator

import numpy as np

from dartslib.rivals.asking import Ask, Found, first, rival
from dartslib.rivals.coding import Coding


@rival
def local_search(ask: Ask, coding: Coding, generator: np.random.Generator) -> Iterator[Found]:
    """From the best of the first cells; each cell is asked once and its value kept."""
    known = dict((yield from first(ask, coding, generator)))
    here = max(known, key=known.__getitem__)
    while len(known) < np.prod(coding.sizes):
        around, better = coding.neighbors(here), None
        for k in generator.permutation(len(around)):
            if around[k] not in known:
                known[around[k]] = yield from ask(around[k])
            if known[around[k]] > known[here]:
                better = around[k]
                break
        if better is None:  # none is better: begin elsewhere
            better = coding.draw(generator)
            if better not in known:
                known[better] = yield from ask(better)
        here = better

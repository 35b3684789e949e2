"""Random search: draw a cell, train it, keep the best. What every other way has to beat."""

from collections.abc import Iterator

import numpy as np

from dartslib.rivals.asking import Ask, Found, rival
from dartslib.rivals.coding import Coding


@rival
def random_search(ask: Ask, coding: Coding, generator: np.random.Generator) -> Iterator[Found]:
    """Each cell drawn uniformly and independently; one that comes up twice is trained twice."""
    while True:
        yield from ask(coding.draw(generator))

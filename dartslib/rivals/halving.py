"""Successive halving: train many cells a little, the better half for longer, and so on.

Jamieson, Talwalkar, Non-stochastic Best Arm Identification, AISTATS 2016; the report's "partial
training" (section 3). Differences: (1) rungs are whole epochs of one training that goes on, under
one schedule, so that an early value is of a high learning rate; (2) rounds are repeated with new
cells until the budget ends.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dartslib.rivals.asking import Ask, Found, rival
from dartslib.rivals.coding import Coding


@rival
def successive_halving(
    ask: Ask,
    coding: Coding,
    generator: np.random.Generator,
    *,
    start: int = 10,
    rungs: Sequence[int | None] = (2, 4, None),
) -> Iterator[Found]:
    """Rounds of `start` cells; at each rung the better half goes on to the next.

    Args:
        ask, coding, generator: as `rival` gives them.
        start: cells per round.
        rungs: epochs after which they are compared; None for a whole training.
    """
    while True:
        alive = [coding.draw(generator) for _ in range(start)]
        for epochs in rungs:
            values = []
            for code in alive:
                values.append((yield from ask(code, epochs)))
            best = np.argsort(values)[::-1][: max(1, len(alive) // 2)]
            alive = [alive[k] for k in best]

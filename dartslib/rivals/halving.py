"""Successive halving: train many cells a little, the better half for longer, and so on.

Jamieson, Talwalkar, Non-stochastic Best Arm Identification, AISTATS 2016; the report's "partial
training" (section 3). Differences: (1) rungs are whole epochs of one training that goes on, under
one schedule, so that an early value is of a high learning rate; (2) rounds are repeated with new
cells until the budget ends; (3) a cell that is drawn twice is trained twice,
and where both go on, one of the two may begin anew.
"""

from collections.abc import Iterator

import numpy as np

from dartslib.rivals.asking import FIRST, Ask, Found, rival

RUNGS = 2, 4, None  # epochs after which cells are compared; None for a whole training


@rival
def successive_halving(ask: Ask) -> Iterator[Found]:
    """Rounds of ten cells; at each rung the better half goes on to the next."""
    while True:
        alive = [ask.draw() for _ in range(FIRST)]
        for epochs in RUNGS:
            values = []
            for code in alive:
                values.append((yield from ask(code, epochs)))
            best = np.argsort(values)[::-1][: max(1, len(alive) // 2)]
            alive = [alive[k] for k in best]

"""A predictor: learn from the trained cells what a choice is worth, train the most promising next.

Wen et al., Neural Predictor for Neural Architecture Search, ECCV 2020. Differences: (1) a ridge
regression on choices and pairs of choices instead of a graph network; (2) it learns again after
every answer, instead of once.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from dartslib.rivals.asking import Ask, Found, rival
from dartslib.rivals.coding import Code, Coding

PENALTY = 1.0  # of the ridge


def features(coding: Coding, codes: Sequence[Code]) -> np.ndarray:
    """(cells, features): each choice and each pair of choices, made to have mean 0."""
    rows, sizes = np.asarray(codes), coding.sizes  # (cells, numbers)
    one = np.hstack([np.eye(size)[rows[:, k]] for k, size in enumerate(sizes) if size > 1])
    pairs = [one[:, a] * one[:, b] for a, b in combinations(range(one.shape[1]), 2)]
    both = np.column_stack([one, np.stack(pairs, axis=1) / 2])
    return both - both.mean(axis=0)


@rival
def predictor(ask: Ask) -> Iterator[Found]:
    """Asks the first cells, then always the one of those not yet asked that promises most."""
    known = dict((yield from ask.first()))
    pool = sorted(ask.pool() | set(known))
    table = features(ask.coding, pool)
    place = {code: k for k, code in enumerate(pool)}
    while len(known) < len(pool):
        asked = [place[code] for code in known]
        rows, values = table[asked], np.array(list(known.values()))  # (asked, features), (asked,)
        # The ridge in its short form: as many unknowns as answers.
        kernel = rows @ rows.T + PENALTY * np.eye(len(rows))
        promise = table @ (rows.T @ np.linalg.solve(kernel, values - values.mean()))
        promise[asked] = -np.inf
        best = pool[int(np.argmax(promise + 1e-9 * ask.generator.random(len(pool))))]
        known[best] = yield from ask(best)

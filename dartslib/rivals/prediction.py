"""A predictor: learn from the trained cells what a choice is worth, train the most promising next.

Wen et al., Neural Predictor for Neural Architecture Search, ECCV 2020. Differences: (1) a ridge
regression on choices and pairs of choices instead of a graph network; (2) it learns again after
every answer, instead of once.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from dartslib.rivals.asking import Ask, Found, first, rival
from dartslib.rivals.coding import Code, Coding


def features(coding: Coding, codes: Sequence[Code]) -> np.ndarray:
    """(cells, features): each choice and each pair of choices, made to have mean 0 and length 1."""
    one = coding.choices(codes)
    pairs = [one[:, a] * one[:, b] for a, b in combinations(range(one.shape[1]), 2)]
    both = np.concatenate([one, np.stack(pairs, axis=1) / 2], axis=1)
    return both - both.mean(axis=0)


@rival
def predictor(
    ask: Ask,
    coding: Coding,
    generator: np.random.Generator,
    *,
    penalty: float = 1.0,
    drawn: int = 1000,
) -> Iterator[Found]:
    """Asks the first cells, then always the one of those not yet asked that promises most.

    Args:
        ask, coding, generator: as `rival` gives them.
        penalty: of the ridge.
        drawn: among so many cells it chooses; all where the space has no more.
    """
    known = dict((yield from first(ask, coding, generator)))
    pool = sorted({coding.draw(generator) for _ in range(drawn)} | set(known))
    table = features(coding, pool)
    place = {code: k for k, code in enumerate(pool)}
    while len(known) < len(pool):
        rows = table[[place[code] for code in known]]  # (asked, features)
        values = np.array(list(known.values()))
        # The ridge in its short form: as many unknowns as answers.
        weights = np.linalg.solve(
            rows @ rows.T + penalty * np.eye(len(rows)), values - values.mean()
        )
        promise = table @ (rows.T @ weights)
        promise[[place[code] for code in known]] = -np.inf
        best = pool[int(np.argmax(promise + 1e-9 * generator.random(len(pool))))]
        known[best] = yield from ask(best)

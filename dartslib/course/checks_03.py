"""Checks of notebook 03: alphas and cells."""

from collections.abc import Callable
from math import exp, isclose
from typing import Any

import numpy as np

from dartslib.course.checks import called, exercise


@exercise
def derive_by_hand(node: Any) -> str | None:
    """Against `dartslib.derive`, on the table of the exercise."""
    found = [(str(name), int(source)) for name, source in node]
    expected = _derived()
    if any(name == "none" for name, _ in found):
        return "none is never chosen, however probable"
    if sorted(found) == sorted([("skip_connect", 2), ("max_pool_3x3", 0)]):
        return "none was left out before the edges are compared; it takes its share first"
    if sorted(found) == sorted(expected) and found != expected:
        return "the strongest edge comes first"
    return None if found == expected else "these are not the two strongest edges"


def _derived() -> list[tuple[str, int]]:
    from dartslib.genotypes import derive
    from dartslib.space import SearchSpace

    table = [[0.40, 0.30, 0.20, 0.10], [0.05, 0.24, 0.28, 0.43], [0.45, 0.05, 0.35, 0.15]]
    space = SearchSpace(2, ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"))
    both = np.array([[0.25] * 4] * 2 + table)  # the table is that of the second node
    return list(derive({"normal": both, "reduction": both}, space).normal[1])


@exercise
def flips(count: Callable) -> str | None:
    """Against a plain loop, on made-up histories."""
    rng = np.random.default_rng(0)
    histories = [rng.dirichlet(np.ones(8), size=(9, 4)) for _ in range(3)]

    def by_hand(history: np.ndarray, operations: int) -> int:
        best = [[max(range(operations), key=edge.__getitem__) for edge in now] for now in history]
        return sum(a != b for one, other in zip(best, best[1:], strict=False)
                   for a, b in zip(one, other, strict=True))  # fmt: skip

    found = [called(count, history) for history in histories]
    if found == [by_hand(history, 7) for history in histories]:
        return None
    if found == [by_hand(history, 8) for history in histories]:
        return "none was among the best: leave its column, the last, out"
    if found == [by_hand(history[[0, -1]], 7) for history in histories]:
        return "it compares the first moment with the last; a choice may go and come back"
    return f"it finds {found[0]} changes in a history that has {by_hand(histories[0], 7)}"


@exercise
def edge_weights(weigh: Callable) -> str | None:
    """Against the two softmaxes, a number at a time."""
    rng = np.random.default_rng(0)
    logits, beta = rng.normal(size=(3, 8)), rng.normal(size=3)

    def softmax(values: Any) -> list[float]:
        powers = [exp(value) for value in values]
        return [power / sum(powers) for power in powers]

    rows = [softmax(row) for row in logits]
    expected = [[b * p for p in row] for b, row in zip(softmax(beta), rows, strict=True)]
    found = np.asarray(called(weigh, logits.copy(), beta.copy()), dtype=float)
    if found.shape != logits.shape:
        return f"from {logits.shape} and {beta.shape} it makes {found.shape}"
    if np.allclose(found, expected):
        return None
    if np.allclose(found, rows):
        return "each edge sums to 1, whatever its β: edges do not compete"
    if np.allclose(found, beta[:, None] * np.asarray(rows)):
        return "that is β itself, which may be negative: a softmax over the edges comes first"
    if isclose(found.sum(), 1.0):
        return (
            "it sums to 1, but as one softmax over everything: there a large α anywhere on an edge "
            "makes the edge strong, and here only β does"
        )
    return f"a node's weights sum to 1, and yours to {found.sum():.3f}"

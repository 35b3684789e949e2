"""Checks of notebook 03: alphas and cells."""

from collections.abc import Callable
from math import isclose
from typing import Any

import numpy as np

from dartslib.course.checks import exercise
from dartslib.genotypes import derive
from dartslib.runs.results import Results, bar
from dartslib.space import SearchSpace


@exercise
def derive_by_hand(node: Any) -> str | None:
    """Against `dartslib.derive`, on the table of the exercise."""
    found = [(str(name), int(source)) for name, source in node]
    table = [[0.40, 0.30, 0.20, 0.10], [0.05, 0.24, 0.28, 0.43], [0.45, 0.05, 0.35, 0.15]]
    space = SearchSpace(2, ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"))
    both = np.array([[0.25] * 4] * 2 + table)  # the table is that of the second node
    expected = list(derive({"normal": both, "reduction": both}, space).normal[1])
    if any(name == "none" for name, _ in found):
        return "none is never chosen, however probable"
    if sorted(found) == sorted([("skip_connect", 2), ("max_pool_3x3", 0)]):
        return "none was left out before the edges are compared; it takes its share first"
    if sorted(found) == sorted(expected) and found != expected:
        return "the strongest edge comes first"
    return None if found == expected else "these are not the two strongest edges"


@exercise
def flips(count: Callable) -> str | None:
    """Against a plain loop, on made-up histories."""
    rng = np.random.default_rng(0)
    histories = [rng.dirichlet(np.ones(8), size=(9, 4)) for _ in range(3)]

    def by_hand(history: np.ndarray, operations: int) -> int:
        best = [[max(range(operations), key=edge.__getitem__) for edge in now] for now in history]
        return sum(a != b for one, other in zip(best, best[1:], strict=False)
                   for a, b in zip(one, other, strict=True))  # fmt: skip

    found = [count(history) for history in histories]
    if found == [by_hand(history, 7) for history in histories]:
        return None
    if found == [by_hand(history, 8) for history in histories]:
        return "none was among the best: leave its column, the last, out"
    if found == [by_hand(history[[0, -1]], 7) for history in histories]:
        return "it compares the first moment with the last; a choice may go and come back"
    return f"it finds {found[0]} changes in a history that has {by_hand(histories[0], 7)}"


@exercise
def pooling(difference: Any, its_bar: Any, says: str) -> str | None:
    """Max pooling in the cells of one level and of xi = 0, by `dartslib.runs.results.bar`."""
    words = ("more", "fewer", "not told apart")
    if says not in words:
        return f"the verdict is one of: {', '.join(words)}"
    one, first = (
        [run.genotype.to_json().count("max_pool_3x3") for run in Results().searches(way)]
        for way in ("one_level", "first_order")
    )
    expected = np.mean(one) - np.mean(first)
    if isclose(difference, -expected, abs_tol=0.01):
        return "the sign is wrong: one level comes first"
    if not isclose(difference, expected, abs_tol=0.01):
        return f"the two means are not {difference:.2f} apart"
    errors = [np.std(values, ddof=1) / len(values) ** 0.5 for values in (one, first)]
    if isclose(its_bar, 2 * np.hypot(*errors), abs_tol=0.01):
        return "two standard errors are too short a bar: three values do not show a spread so well"
    if not isclose(its_bar, bar(one, first), abs_tol=0.01):
        return "the bar is `bar(one, first)` of the two lists of three counts"
    if says != "not told apart":
        return "the difference is smaller than its bar, and so it does not count"
    return None

"""Checks of notebook 03: alphas and cells."""

from collections.abc import Callable
from itertools import combinations
from math import isclose
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
def edges_in_common(difference: Any, bar: Any, says: str) -> str | None:
    """The kept edges that two seeds of one method share, against what chance gives."""
    from dartslib.runs.results import Results

    words = ("more than chance", "less than chance", "not told apart")
    if says not in words:
        return f"the verdict is one of: {', '.join(words)}"
    edges, all_of_it = [], []
    for gradient in ("first_order", "finite_difference"):
        for a, b in combinations(Results().searches(gradient), 2):
            one, other = _choices(a.genotype), _choices(b.genotype)
            all_of_it.append(len(one & other))
            edges.append(len({c[:3] for c in one} & {c[:3] for c in other}))
    chance = 2 * (4 / 2 + 4 / 3 + 4 / 4)  # per node two of k edges and two of k share 4 / k
    expected, spread = np.mean(edges) - chance, np.std(edges, ddof=1)
    if isclose(difference, -expected, abs_tol=0.01):
        return "the sign is wrong: the searches come first, chance is taken off"
    if isclose(difference, np.mean(all_of_it) - chance, abs_tol=0.01):
        return "these are edges with the same operation: count edges, whatever runs on them"
    if not isclose(difference, expected, abs_tol=0.01):
        return f"the mean of the {len(edges)} pairs is not {difference + chance:.2f}"
    if isclose(bar, 2 * spread, abs_tol=0.01):
        return "that is the bar of a single pair; a mean of six moves less, by a root of 6"
    if not isclose(bar, 2 * spread / len(edges) ** 0.5, abs_tol=0.02):
        return "two standard errors are twice the standard deviation (with n - 1) over a root of n"
    if says != "not told apart":
        return "the difference is shorter than its bar: it may be luck, to either side"
    return None


def _choices(genotype: Any) -> set[tuple[str, int, int, str]]:
    """(cell type, node, source, operation) of every kept edge."""
    return {
        (kind, node, source, name)
        for kind in ("normal", "reduction")
        for node, edges in enumerate(genotype.cell(kind))
        for name, source in edges
    }

"""Checks of notebook 04: final training."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations, count
from math import ceil, inf, isclose, sqrt

import numpy as np

from dartslib.course.checks import exercise
from dartslib.runs.results import bar


@exercise
def seeds_needed(needed: Callable) -> str | None:
    """The smallest m with 2 sqrt((sigma_1^2 + sigma_2^2) / m) <= d, by trying."""

    def by_trying(variance: float, d: float) -> int:
        return next(m for m in count(1) if 4 * variance / m <= d**2 * (1 + 1e-12))

    # Rounding tips no whole number here: (1, 1, 2) comes out exactly by any formula.
    places = [(0.4, 0.3, 0.52), (0.3, 0.6, 0.5), (0.5, 0.1, 0.25), (1.0, 1.5, 2.0), (1.0, 1.0, 2.0)]
    found = [needed(*place) for place in places]
    if found == [by_trying(s**2 + t**2, d) for s, t, d in places]:
        return None
    if found == [by_trying(2 * s**2, d) for s, t, d in places]:
        return "the second cell has a luck of its own, and here you count that of the first twice"
    if found == [by_trying((s + t) ** 2, d) for s, t, d in places]:
        return "the variances add, not the standard deviations"
    if [int(m) for m in found] == [int(4 * (s**2 + t**2) / d**2) for s, t, d in places]:
        return "a number of trainings is rounded up: rounded down, the bar is too large"
    s, t, d = places[0]
    return f"with {s}, {t} and d = {d} it takes {by_trying(s**2 + t**2, d)}, not {found[0]}"


@exercise
def judge(answer: Callable) -> str | None:
    """Difference, bar and what they allow, on groups of several sizes."""
    drawn = [78.4, 80.2, 79.3, 79.7, 76.9, 78.6, 79.3, 80.3, 78.2]
    places = [
        ([79.3, 79.6, 79.6], [78.8, 79.2, 80.6]),  # as in the study
        ([77.4, 78.0, 77.9], drawn),
        ([74.64], [71.42]),
        ([79.3, 79.6], [71.42]),
        ([80.6, 81.0], [79.0, 79.5, 78.5, 79.2]),
    ]
    for one, other in places:
        difference, reach, said = answer(list(one), list(other))
        d, sizes = float(np.mean(one) - np.mean(other)), f"{len(one)} against {len(other)}"
        if not isclose(difference, d, abs_tol=1e-9):
            if isclose(difference, max(one) - max(other)):
                return "the best of each is luck in part: compare the means"
            return f"the mean of one minus that of the other is {d:+.2f}, not {difference:+.2f}"
        if min(len(one), len(other)) == 1:
            if reach != inf or said != "not told apart":
                return "a single value shows no spread, however far apart two of them are"
            continue
        right, root = bar(one, other), sqrt(sum(np.var(v, ddof=1) / len(v) for v in (one, other)))
        if isclose(reach, 2 * root):
            return f"of {sizes} values t is larger than 2: the bar is {right:.2f}"
        if not isclose(reach, right):
            return f"the bar of {sizes}, by the spread of both groups, is {right:.2f}"
        if abs(d) <= right and said != "not told apart":
            return f'{d:+.2f} is within its bar of {right:.2f}: "{said}" is too much'
        if abs(d) > right and said != ("better" if d > 0 else "worse"):
            return f"{d:+.2f} is larger than its bar of {right:.2f}, and that counts"
    return None


@exercise
def draw_a_cell(draw: Callable) -> str | None:
    """600 draws: what may be drawn, and how often."""
    from dartslib.space import SearchSpace

    names = set(SearchSpace.report().operations) - {"none"}
    rng, inputs, operations, alike = np.random.default_rng(0), Counter(), Counter(), Counter()
    for _ in range(600):
        cell = draw(rng)
        if len(cell) != 3 or any(len(node) != 2 for node in cell):
            return "a cell has three nodes, each with two edges"
        for j, node in enumerate(cell):
            states = [state for _, state in node]
            if not all(0 <= state <= j + 1 for state in states):
                return f"node {j} reads state {max(states)}; it sees 0 to {j + 1}"
            if len(set(states)) < 2:
                return "a node reads the same state twice: derivation keeps two different edges"
            unknown = {name for name, _ in node} - names
            if unknown:
                return f"{unknown.pop()} cannot be derived"
            operations.update(name for name, _ in node)
            inputs[(j, *sorted(states))] += 1
            alike["a node"] += node[0][0] == node[1][0]
            before = cell[j - 1] if j else ()  # each with each: the order in a node says nothing
            alike["a cell"] += sum(one == other for one, _ in before for other, _ in node)

    def off(times: int, n: int, p: float) -> bool:
        return abs(times - n * p) > ceil(6 * sqrt(n * p * (1 - p)))  # six standard deviations

    for j in (2, 1):
        pairs = [*combinations(range(j + 2), 2)]
        if any(off(inputs[(j, *pair)], 600, 1 / len(pairs)) for pair in pairs):
            return f"the pairs of inputs of node {j} do not come up equally often"
    if any(off(operations[name], 3600, 1 / 7) for name in names):
        return "the operations do not come up equally often"
    for where, n in (("a node", 1800), ("a cell", 4800)):
        if off(alike[where], n, 1 / 7):
            return (
                f"the operations of {where} are not drawn apart from each other: two of them would "
                f"agree one time in seven, and here they do {alike[where]} times in {n}"
            )
    return None

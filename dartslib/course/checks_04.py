"""Checks of notebook 04: final training."""

from collections import Counter
from collections.abc import Callable
from math import ceil, isclose, sqrt

import numpy as np

from dartslib.course.checks import called, exercise


@exercise
def seeds_needed(needed: Callable) -> str | None:
    """The smallest m with 2 sqrt((sigma_1^2 + sigma_2^2) / m) <= d, by trying."""

    def by_trying(variance: float, d: float) -> int:
        m = 1
        while 4 * variance / m > d**2 * (1 + 1e-12):
            m += 1
        return m

    # Rounding tips no whole number here: (1, 1, 2) comes out exactly by any formula.
    places = [(0.4, 0.3, 0.52), (0.3, 0.6, 0.5), (0.5, 0.1, 0.25), (1.0, 1.5, 2.0), (1.0, 1.0, 2.0)]
    found = [called(needed, *place) for place in places]
    if found == [by_trying(s**2 + t**2, d) for s, t, d in places]:
        return None
    if found == [by_trying(2 * s**2, d) for s, t, d in places]:
        return "the second cell has a luck of its own, and here you count that of the first twice"
    if found == [by_trying((s + t) ** 2, d) for s, t, d in places]:
        return "the variances add, not the standard deviations"
    if [int(m) for m in found] == [int(4 * (s**2 + t**2) / d**2) for s, t, d in places]:
        return "a number of trainings is rounded up: rounded down, the bar is too long"
    s, t, d = places[0]
    return f"with {s}, {t} and d = {d} it takes {by_trying(s**2 + t**2, d)}, not {found[0]}"


@exercise
def judge(answer: Callable) -> str | None:
    """Difference, bar and what they allow, on groups of several sizes."""
    places = [
        ([79.3, 79.6, 79.6], [78.8, 79.2, 80.6], 0.73),  # as in the study
        ([77.4, 78.0, 77.9], [78.8, 79.2, 80.6], 0.73),
        ([74.64], [71.42], 0.73),
        ([80.0, 81.0], [79.0, 79.5, 78.5, 80.0], 0.4),
    ]
    for one, other, sigma in places:
        difference, bar, said = called(answer, list(one), list(other), sigma)
        d, root = np.mean(one) - np.mean(other), sqrt(1 / len(one) + 1 / len(other))
        if not isclose(difference, d, abs_tol=1e-9):
            if isclose(difference, max(one) - max(other)):
                return "the best of each is luck in part: compare the means"
            return f"the mean of one minus that of the other is {d:+.2f}, not {difference:+.2f}"
        if isclose(bar, sigma * root):
            return "that is one standard error of the difference, and the bar is two"
        if len(one) == 3 and isclose(bar, 2 * sigma * sqrt(2)):
            return "that is the bar of two single trainings, and a mean of three scatters less"
        if not isclose(bar, 2 * sigma * root):
            return f"the bar of {len(one)} against {len(other)} is {2 * sigma * root:.2f}"
        if abs(d) < bar and said != "alike":
            return f"{d:+.2f} is shorter than its bar of {bar:.2f}: that one is {said} is too much"
        if abs(d) >= bar and said != ("better" if d > 0 else "worse"):
            return f"{d:+.2f} is longer than its bar of {bar:.2f}, and that counts"
    return None


@exercise
def draw_a_cell(draw: Callable) -> str | None:
    """600 draws: what may be drawn, and how often."""
    from dartslib.space import SearchSpace

    names = set(SearchSpace.report().operations) - {"none"}
    rng, inputs, operations, alike = np.random.default_rng(0), Counter(), Counter(), 0
    for _ in range(600):
        cell = called(draw, rng)
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
        inputs[tuple(sorted(state for _, state in cell[2]))] += 1
        alike += cell[2][0][0] == cell[2][1][0]
    # Six standard deviations: 600 draws of 6 pairs, 3,600 of 7 operations.
    pairs = ceil(6 * (600 * (1 / 6) * (5 / 6)) ** 0.5)
    if len(inputs) < 6 or any(abs(n - 100) > pairs for n in inputs.values()):
        return "the pairs of inputs of the last node do not come up equally often"
    picks = ceil(6 * (3600 * (1 / 7) * (6 / 7)) ** 0.5)
    if len(operations) < 7 or any(abs(n - 3600 / 7) > picks for n in operations.values()):
        return "the operations do not come up equally often"
    if abs(alike - 600 / 7) > ceil(6 * (600 * (1 / 7) * (6 / 7)) ** 0.5):
        return (
            "the two operations of a node are not drawn apart from each other: in one node of "
            f"seven they would agree, and here they do in {alike} of 600"
        )
    return None

"""Checks of notebook 04: final training."""

from collections import Counter
from collections.abc import Callable
from math import ceil

import numpy as np

from dartslib.course.checks import called, exercise


@exercise
def same_size(channels_for: Callable) -> str | None:
    """Against the networks themselves, one channel more and one less."""
    import torch

    from dartslib.genotypes import DARTS_V1, DARTS_V2, Genotype
    from dartslib.networks import FinalNetwork
    from dartslib.runs.cost import count_weights

    def size(genotype: Genotype, channels: int) -> int:
        with torch.device("meta"):
            return count_weights(
                FinalNetwork(genotype, channels=channels, layers=14, num_classes=10)
            )

    places = [(DARTS_V1, 478_394), (DARTS_V2, 100_000), (DARTS_V2, 2_000_000)]
    found = [called(channels_for, *place) for place in places]
    if found == [round(16 * weights / size(genotype, 16)) for genotype, weights in places]:
        return "weights do not grow in proportion to the channels: there is a square in them"
    for channels, (genotype, weights) in zip(found, places, strict=True):
        if channels not in range(1, 65):
            return f"channels are a whole number from 1 to 64, and this is {channels!r}"
        sizes = {c: size(genotype, c) for c in (channels - 1, channels, channels + 1) if c}
        best = min(sizes, key=lambda c: abs(sizes[c] - weights))
        if best != channels:
            return (
                f"for {weights:,} weights you say {channels} channels, which are "
                f"{sizes[channels]:,} weights; with {best} there are {sizes[best]:,}, which is "
                "closer"
            )
    return None


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

"""What the contest says: places among all cells, differences to DARTS, and their intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from dartslib.tabular.table import Table


def percentiles(table: Table) -> dict[str, float]:
    """Name of each class -> the share of all 243 cells that are worse, and half of those as good.

    A class counts as often as there are cells that are equal to it; chance is 0.5.
    """
    names = [table.name(cell) for cell in table.cells]
    worth = {table.name(cell): table.truth(cell) for cell in table.classes}
    values = np.array([worth[n] for n in names])
    return {n: float((values < worth[n]).mean() + 0.5 * (values == worth[n]).mean()) for n in worth}


def worth_random(percentile: float) -> float:
    """How many cells drawn at random have a best one of this mean percentile: p / (1 - p)."""
    return percentile / (1 - percentile) if percentile < 1 else np.inf


def interval(
    values: Sequence[float], level: float = 0.05, resamples: int = 9999
) -> tuple[float, float]:
    """Of a mean: scipy's BCa interval; the value itself, twice, where all are equal."""
    values = np.asarray(values, float)
    if np.ptp(values) < 1e-12:  # there is no spread to resample
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=1 - level, method="BCa", n_resamples=resamples,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return tuple(map(float, found.confidence_interval))


def chance(one: Sequence[float], other: Sequence[float], resamples: int = 9999) -> float:
    """How often two groups of equal values would be as far apart: scipy's permutation test."""
    return float(
        stats.permutation_test(
            (one, other), lambda one, other, axis: one.mean(axis) - other.mean(axis),
            permutation_type="independent", vectorized=True, n_resamples=resamples,
            rng=np.random.default_rng(0),
        ).pvalue
    )  # fmt: skip


class Difference(NamedTuple):
    """Of a method to what it is held against, DARTS for most, in percentiles, seed by seed."""

    mean: float
    low: float  #: of scipy's BCa interval
    high: float
    p: float  #: of scipy's permutation test, corrected by Holm
    told_apart: bool  #: whether p is below the level


def differences(
    found: Mapping[str, Sequence[float]],
    reference: str = "darts",
    *,
    against: Mapping[str, str] | None = None,
    level: float = 0.05,
    resamples: int = 9999,
) -> dict[str, Difference]:
    """Every method against one of them.

    Args:
        found: method -> percentiles of its cells, one per seed, the same seeds for all.
        reference: what the others are compared with.
        against: method -> another reference for it.
        level: of the intervals and of all tests together.
        resamples: of the bootstrap and of the permutations.
    """
    rows, p_values = {}, {}
    for method, values in found.items():
        if method == reference:
            continue
        base = np.asarray(found[(against or {}).get(method, reference)], float)
        apart = np.asarray(values, float) - base  # (seeds,)
        rows[method] = (apart.mean(), *interval(apart, level, resamples))
        p_values[method] = chance(values, base, resamples)
    corrected = holm(p_values)
    return {
        method: Difference(*map(float, row), corrected[method], corrected[method] < level)
        for method, row in rows.items()
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction (1979): the smallest p times their number, the next times one less, …"""
    found, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        found[name] = float(largest)
    return found

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


class Difference(NamedTuple):
    """Of a method to DARTS, in percentiles, seed by seed."""

    mean: float
    low: float  #: of scipy's BCa interval
    high: float
    p: float  #: of scipy's permutation test, corrected by Holm
    told_apart: bool  #: whether p is below the level


def differences(
    found: Mapping[str, Sequence[float]],
    reference: str = "darts",
    *,
    level: float = 0.05,
    resamples: int = 9999,
) -> dict[str, Difference]:
    """Every method against one of them.

    Args:
        found: method -> percentiles of its cells, one per seed, the same seeds for all.
        reference: what the others are compared with.
        level: of the intervals and of all tests together.
        resamples: of the bootstrap and of the permutations.
    """
    base, rows, p_values = np.asarray(found[reference], float), {}, {}
    for method, values in found.items():
        if method == reference:
            continue
        apart = np.asarray(values, float) - base  # (seeds,)
        options = {"n_resamples": resamples, "rng": np.random.default_rng(0)}
        low = high = apart[0]
        if np.ptp(apart) > 0:  # else there is no spread to resample
            low, high = stats.bootstrap(
                (apart,), np.mean, confidence_level=1 - level, method="BCa", **options
            ).confidence_interval
        rows[method] = (apart.mean(), low, high)
        p_values[method] = stats.permutation_test(
            (values, base), lambda one, other, axis: one.mean(axis) - other.mean(axis),
            permutation_type="independent", vectorized=True, **options,
        ).pvalue  # fmt: skip
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

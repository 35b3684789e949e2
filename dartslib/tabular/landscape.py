"""What the table says of its space: how far cells differ, how far trainings of one cell do.

All numbers are fractions of judging images unless said; trainings are those of the short recipe.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from dartslib.genotypes import Genotype
from dartslib.tabular.cells import OPERATIONS
from dartslib.tabular.table import Table

CONVOLUTION = "sep_conv_3x3"


def values(table: Table, key: str = "valid") -> np.ndarray:
    """(classes, runs): an accuracy of every training, in the order of `table.classes`.

    Of a table that is still being made: of as many runs as every class has.
    """
    trainings = table.trainings("short")
    of_class = [trainings[table.name(cell)] for cell in table.classes]
    runs = min(map(len, of_class))
    return np.array([[getattr(answer, key) for answer in answers[:runs]] for answers in of_class])


def costs(table: Table, key: str) -> np.ndarray:
    """(classes,): a column of prices.csv, such as "multiply_adds" or "forward_1_ms"."""
    return np.array([float(table.prices[table.name(cell)][key]) for cell in table.classes])


def trained_otherwise(table: Table, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(cells, runs) accuracies of some classes, and (cells,) of the same ones trained otherwise.

    `kind` is "long", or "twin" or "pools" of `tabular.controls`.
    """
    other = table.trainings(kind)
    places = [k for k, cell in enumerate(table.classes) if table.name(cell) in other]
    found = [other[table.name(table.classes[k])][0].valid for k in places]
    return values(table)[places], np.array(found)


def convolutions(cells: Sequence[Genotype]) -> np.ndarray:
    """(cells,): how many separable convolutions each has, 0 to 4."""
    return np.array([str(cell.normal).count(CONVOLUTION) for cell in cells])


class Spread(NamedTuple):
    """How far trainings of one cell and means of cells differ, as standard deviations."""

    noise: float  #: of one training, from the trainings of each class
    cells: float  #: of true values: what is left of the means' variance without noise


def spread(runs: np.ndarray) -> Spread:
    """Noise and spread of accuracies (classes, runs)."""
    noise = runs.var(axis=1, ddof=1).mean()
    means = runs.mean(axis=1).var(ddof=1)
    return Spread(float(noise**0.5), float(max(0.0, means - noise / runs.shape[1]) ** 0.5))


def agreement(runs: np.ndarray) -> float:
    """Spearman's rank correlation between two trainings, mean over all pairs of runs."""
    pairs = combinations(range(runs.shape[1]), 2)
    return float(np.mean([stats.spearmanr(runs[:, a], runs[:, b])[0] for a, b in pairs]))


def _others(runs: np.ndarray) -> np.ndarray:
    """(classes, runs): of each training, the mean of the others of its class."""
    columns = [np.delete(runs, run, axis=1).mean(axis=1) for run in range(runs.shape[1])]
    return np.stack(columns, axis=1)


def held_back(runs: np.ndarray, share: float) -> list[np.ndarray]:
    """Of each run, by the other runs: which classes are the best share of all, (classes,) bools.

    Chosen by the others, so that the run itself is no luckier there than elsewhere.
    """
    return [others >= np.quantile(others, 1 - share) for others in _others(runs).T]


def agreement_of_the_best(runs: np.ndarray, share: float = 0.1) -> float:
    """Spearman's correlation of each run with the mean of the others, among their best share."""
    rows = zip(runs.T, _others(runs).T, held_back(runs, share), strict=True)
    return float(np.mean([stats.spearmanr(run[k], others[k])[0] for run, others, k in rows]))


class Correlation(NamedTuple):
    """A rank correlation with the ends of its 95 % interval."""

    tau: float
    low: float
    high: float


def kendall(scores: np.ndarray, worth: np.ndarray) -> float:
    """Kendall's tau-a of two values of cells, (cells,) each.

    Of all pairs of cells the share that both rank alike, less the share that they rank the other
    way. A tie is neither, so a score that ties many cells has to pay for it (tau-b forgives that).
    A score may be infinite.
    """
    scores, worth = stats.rankdata(scores), stats.rankdata(worth)
    both = np.sign(np.subtract.outer(scores, scores)) * np.sign(np.subtract.outer(worth, worth))
    return float(both.sum() / (len(worth) * (len(worth) - 1)))


def correlation(
    scores: np.ndarray,
    worth: np.ndarray,
    less: np.ndarray | None = None,
    resamples: int = 400,
) -> Correlation:
    """Kendall's tau-a of a score; its interval by a bootstrap of cells, with a seed of its own.

    With `less`, the scores of another way for the same cells: by how much tau is larger than its.
    """

    def tau(scores: np.ndarray, worth: np.ndarray, *less: np.ndarray) -> float:
        return kendall(scores, worth) - sum(kendall(other, worth) for other in less)

    data = (scores, worth) if less is None else (scores, worth, less)
    found = stats.bootstrap(
        data, tau, paired=True, vectorized=False, n_resamples=resamples, method="percentile",
        random_state=0,
    )  # fmt: skip
    return Correlation(tau(*data), *map(float, found.confidence_interval))


def degraded(worth: np.ndarray, seen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The worth of cells with noise: as often right as what was seen, (cells,) each.

    What a way would say that agrees with the worth as well as `seen` does (rank correlation) and
    prefers no kind of cell. The noise is on the worth and not on ranks, so that a gap between
    kinds of cells is as hard to cross as it is wide.
    """
    agreement, noise = stats.spearmanr(worth, seen)[0], generator.normal(size=len(worth))
    low, high = 0.0, 100.0  # in deviations of the worth
    for _ in range(40):  # the more noise, the less agreement
        middle = (low + high) / 2
        if stats.spearmanr(worth, worth + middle * worth.std() * noise)[0] > agreement:
            low = middle
        else:
            high = middle
    return worth + high * worth.std() * noise


class Best(NamedTuple):
    """The class with the best mean, and those that cannot be told from it."""

    place: int  #: of the best, in `table.classes`
    value: float  #: its accuracy by runs that did not choose it, mean over runs
    bar: float  #: half of that mean's 95 % interval, by the noise of a training
    ties: np.ndarray  #: places of all classes that tie with it; the best itself is one


def best(runs: np.ndarray, level: float = 0.05) -> Best:
    """Best class and its ties, by Bonferroni's bound for many comparisons with the best.

    Student's t, one-sided, with the noise of all classes together, at level / (classes - 1).
    """
    count, repeats = runs.shape
    means, noise, freedom = runs.mean(axis=1), spread(runs).noise, count * (repeats - 1)
    bound = stats.t.isf(level / (count - 1), freedom) * noise * (2 / repeats) ** 0.5
    bar = stats.t.isf(0.025, freedom) * noise / repeats**0.5
    unseen = runs[_others(runs).argmax(axis=0), range(repeats)]
    ties = np.flatnonzero(means >= means.max() - bound)
    return Best(int(means.argmax()), float(unseen.mean()), float(bar), ties)


def choices(cells: Sequence[Genotype]) -> np.ndarray:
    """(cells, features): what a cell is made of, in columns of 0 and 1.

    Node 2's inputs (pairs), then the operation on each of the four edges. Of a class that can be
    written in two ways it is the written one's.
    """
    pairs, rows = list(combinations(range(3), 2)), []
    for cell in cells:
        inputs = tuple(source for _, source in cell.normal[1])
        names = [name for node in cell.normal for name, _ in node]
        row = [inputs == pair for pair in pairs]
        rows.append(row + [name == one for name in names for one in OPERATIONS])
    return np.array(rows, float)


class Fit(NamedTuple):
    """Shares of the variance of the cells' true values that a fit explains."""

    count: float  #: by the number of convolutions alone, each number with a value of its own
    main: float  #: by all choices, each by itself
    pairs: float  #: with all pairs of choices


def fit(cells: Sequence[Genotype], runs: np.ndarray) -> Fit:
    """How much of a cell's value is a sum of its choices, or of pairs of them (least squares).

    Each share is adjusted for the number of terms, and of the variance that is not noise. `runs`
    are the accuracies of these classes of the table, (cells, runs).
    """
    count, main = np.eye(5)[convolutions(cells)], choices(cells)
    pairs = np.column_stack([main, *(a * b for a, b in combinations(main.T, 2))])
    means, (noise, spread_of_cells) = runs.mean(axis=1), spread(runs)

    def share(columns: np.ndarray) -> float:
        full = np.column_stack([np.ones(len(means)), columns])
        weights, _, rank, _ = np.linalg.lstsq(full, means, rcond=None)
        left = ((means - full @ weights) ** 2).sum() / (len(means) - rank)
        true_left = left - noise**2 / runs.shape[1]  # noise of a mean is no misfit
        return float(1 - max(0.0, true_left) / spread_of_cells**2)

    return Fit(share(count), share(main), share(pairs))


def front(costs: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Places of cells that no other beats in both: cheaper and better; by rising cost."""
    order = np.lexsort((-worth, costs))
    before = np.maximum.accumulate([-np.inf, *worth[order][:-1]])  # the best of all cheaper ones
    return order[worth[order] > before]

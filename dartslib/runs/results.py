"""What a study found: its records as tables. Reads files only, with numpy, without torch or data.

Every number is taken from the records of `dartslib.runs.study`, or computed from them as said here.
A spread is a standard deviation with n - 1; with one run there is none, and it is nan.
"""

import tomllib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement, product
from math import nan, sqrt
from pathlib import Path

import numpy as np

from dartslib.genotypes import PUBLISHED, Genotype
from dartslib.runs import records
from dartslib.runs.records import Record
from dartslib.space import CELL_TYPES, SearchSpace

STUDY = records.RECORDED / "study"
GROUPS = ("one_level", "first_order", "finite_difference", "random")


def spread(values: Sequence[float]) -> float:
    """Standard deviation with n - 1; nan for one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else nan


def bar(one: Sequence[float], other: Sequence[float]) -> float:
    """How large a difference of two means must be to count, in the unit of the values.

    Half of the 95 % interval of the difference, by Welch's t: it takes the spread that each group
    shows, and is the longer the fewer its values are. So the values are what was drawn: for two
    methods a cell per search, for two cells a training per seed.

    Args:
        one, other: the groups, at least two values each.

    Raises:
        ValueError: a group of fewer than two values has no spread.
    """
    from scipy.stats import ttest_ind  # a second to load

    if min(len(one), len(other)) < 2:
        raise ValueError("A bar needs at least two values on each side: one has no spread.")
    with warnings.catch_warnings():  # values that are all equal have no spread, which is no error
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        low, high = ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    return float(high - low) / 2


def used_gpu(run: Record) -> bool:
    """Whether a GPU took part in a run, for a part of its steps at least."""
    return any("gpu" in machine for machine in run.meta["machines"])


def cpu_hours(runs: Sequence[Record]) -> float:
    """Of one run, the mean over those that had no GPU; nan if there are none."""
    seconds = [run.meta["cpu_seconds"] for run in runs if not used_gpu(run)]
    return float(np.mean(seconds)) / 3600 if seconds else nan


class Summary:
    """Some runs in one row: mean, spread and what they cost.

    Args:
        runs: a training each.
        accuracy: its name in their `result`.

    Attributes:
        accuracies: of each run, as fractions, in the order of seeds.
        mean, spread, n: of the accuracies.
        weights, multiply_adds: means over the runs.
        cpu_hours: as the function of that name.
    """

    def __init__(self, runs: Sequence[Record], accuracy: str) -> None:
        self.accuracies = tuple(run.meta["result"][accuracy] for run in runs)
        self.mean, self.n = float(np.mean(self.accuracies)), len(self.accuracies)
        self.spread = spread(self.accuracies)
        self.weights, self.multiply_adds = (
            float(np.mean([run.meta[name] for run in runs]))
            for name in ("weights", "multiply_adds")
        )
        self.cpu_hours = cpu_hours(runs)


@dataclass(frozen=True)
class Noise:
    """How much the accuracy of one cell moves with the seed of its training.

    Attributes:
        deviation: the pooled standard deviation over the cells that were trained again.
        freedom: its degrees of freedom: trainings less cells.
    """

    deviation: float
    freedom: int

    @property
    def bar(self) -> float:
        """Of two single trainings, which show no spread: 95 % by Student's t, as a fraction."""
        from scipy.stats import t

        return float(t.ppf(0.975, self.freedom)) * sqrt(2) * self.deviation


class Results:
    """The records of a study, by what they are.

    Args:
        folder: that the study kept its records in.
    """

    def __init__(self, folder: Path = STUDY) -> None:
        self.folder = folder

    @cached_property
    def _all(self) -> dict[tuple[str, ...], Record]:
        """Parts of the name, without the data set -> record."""
        found: dict[tuple[str, ...], Record] = {}
        for name in records.names(self.folder):
            kind, record = name.split("-")[0], records.load(self.folder / name)
            start = f"{kind}-{record.meta.get('dataset')}-"  # whose name may have hyphens, too
            if not name.startswith(start):
                continue  # no run of a study
            key = kind, *name.removeprefix(start).split("-")
            if key in found:
                raise ValueError(
                    f"{self.folder} holds two data sets, see {found[key].name} and {name}: keep "
                    "each study in a folder of its own."
                )
            found[key] = record
        return found

    def __iter__(self) -> Iterator[Record]:
        """All records."""
        return iter(self._all.values())

    def searches(self, gradient: str) -> list[Record]:
        """The searches with a gradient, by seed."""
        return self._by_number("search", gradient)

    def compared(self, *group: str) -> list[Record]:
        """The comparison trainings of a group's cells, all with one seed; by number.

        Of a published cell, its trainings by seed; with "twice" beside its name, the longer ones.
        """
        return self._by_number("compare", *group)

    def _by_number(self, *place: str) -> list[Record]:
        found = [key for key in self._all if key[:-1] == place]
        return [self._all[key] for key in sorted(found, key=lambda key: int(key[-1]))]

    def again(self) -> list[list[Record]]:
        """The cells that were trained several times, a list each."""
        cells: dict[tuple[str, ...], list[Record]] = {}
        for key, record in self._all.items():
            first = key[: key.index("again")] if "again" in key else ()
            if first in self._all:  # while a study runs, the others may be there before it
                cells.setdefault(first, [self._all[first]]).append(record)
        return list(cells.values())

    @cached_property
    def noise(self) -> Noise:
        """Pooled over the cells that were trained several times."""
        cells = [[run.meta["result"]["valid_accuracy"] for run in runs] for runs in self.again()]
        freedom = sum(len(values) - 1 for values in cells)
        squares = sum(float(np.var(values)) * len(values) for values in cells)
        return Noise(sqrt(squares / freedom) if freedom else nan, freedom)

    def comparison(self) -> dict[str, Summary]:
        """Group of cells -> its row in Table 2, of those that have a record."""
        runs = {group: self.compared(group) for group in GROUPS}
        return {group: Summary(found, "valid_accuracy") for group, found in runs.items() if found}

    def finals(self) -> dict[str, dict[str, Record]]:
        """Group, published cell, "hand_0" or "long" -> "final" and "transfer" -> the record."""
        found: dict[str, dict[str, Record]] = {}
        for key, record in self._all.items():
            if key[0] in ("final", "transfer"):
                found.setdefault(key[1], {})[key[0]] = record
        others = found.keys() - {*GROUPS, "long"}  # published cells, and those made by hand
        order = [*GROUPS, *sorted(others), "long"]
        return {group: found[group] for group in order if group in found}

    def gaps(self) -> dict[str, dict[str, list[float]]]:
        """Gradient -> stage -> accuracy on held-out images, of each seed that has them all.

        The stages: the supernet; its weights with one-hot choices; the same with BatchNorm's
        statistics taken anew; the derived cell trained from scratch.
        """
        found = {}
        for gradient in GROUPS:
            of_cell = {run.meta["cell"]: run.meta["result"] for run in self.compared(gradient)}
            rows = [
                search.meta["gap"] | {"scratch": of_cell[search.name]["valid_accuracy"]}
                for search in self.searches(gradient)
                if search.name in of_cell and "gap" in search.meta
            ]
            if rows:
                found[gradient] = {name: [row[name] for row in rows] for name in rows[0]}
        return found

    def agreement(self) -> dict[tuple[str, str], float]:
        """Two groups -> the fraction of kept edges that a cell of each share, mean over all pairs.

        Of one group twice: of two different cells; left out where it has only one.
        """
        cells = {group: [run.genotype for run in self.compared(group)] for group in GROUPS}
        found = {}
        for one, other in combinations_with_replacement(GROUPS, 2):
            pairs = product(cells[one], cells[other])
            pairs = combinations(cells[one], 2) if one == other else pairs
            alike = [shared(a, b) for a, b in pairs]
            if alike:
                found[one, other] = float(np.mean(alike))
        return found


def shared(a: Genotype, b: Genotype) -> float:
    """The fraction of edges, source and operation both, that two cells of one space share."""
    pairs = zip((*a.normal, *a.reduction), (*b.normal, *b.reduction), strict=True)
    same, total = zip(*((len({*one} & {*other}), len(one)) for one, other in pairs), strict=True)
    return sum(same) / sum(total)


def _report_tables() -> dict[str, dict[str, np.ndarray]]:
    """The tables in report_tables.toml, with the rows and columns of `SearchSpace.report()`."""
    printed = tomllib.loads(Path(__file__).with_name("report_tables.toml").read_text("utf-8"))
    # The report sorts its edges by where they begin, a space by where they end.
    order = [printed["edges"].index(list(edge)) for edge in SearchSpace.report().edges]
    return {
        name: {kind: np.array(printed[name][kind]).T[order] for kind in CELL_TYPES}
        for name in printed
        if name in PUBLISHED
    }


REPORT_TABLES = _report_tables()  # name of the cell -> cell type -> (edges, operations)

"""The contest's hypotheses, each decided as contest.toml says. Written before the first search."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import stats

from dartslib.rivals import contest, contested, standings
from dartslib.rivals.contested import Searched
from dartslib.tabular import landscape
from dartslib.tabular.table import Table


class Decision(NamedTuple):
    """What the searches say of a hypothesis."""

    holds: bool | None  #: None where they cannot decide it
    says: str  #: the numbers that it is decided by


def decide(found: Sequence[Searched], table: Table) -> dict[str, Decision]:
    """Number of each hypothesis in contest.toml -> what the recorded searches say of it.

    Raises:
        ValueError: an arm lacks a seed that another one has.
    """
    seen = _Seen(found, table)
    return {number: rule(seen) for number, rule in RULES.items()}


class _Seen:
    """The searches beside the table.

    Attributes:
        places: of the cells found after the budget, by arm.
        apart: every arm's difference to DARTS.
        level, resamples: of tests and intervals.
    """

    def __init__(self, found: Sequence[Searched], table: Table) -> None:
        self.found, self.table, self._all = found, table, standings.percentiles(table)
        plan = contest.settings()["statistics"]
        self.level, self.resamples = plan["level"], plan["resamples"]
        self.places = self.by_arm("budget")
        options = {key: plan[key] for key in ("level", "resamples", "against")}
        self.apart = standings.differences(self.places, **options)

    def by_arm(self, group: str) -> dict[str, list[float]]:
        """Arm -> the place of each cell that its searches found, in the order of their seeds."""
        seeds = contested.by_arm(self.found, group, lambda one: one.seed)
        if len(set(map(tuple, seeds.values()))) > 1:  # else the pairs would be of different seeds
            raise ValueError(f"Searches of {group!r} are missing: contest --make goes on.")
        return contested.by_arm(self.found, group, lambda one: one.place(self._all))

    def cells(self, arm: str, group: str) -> dict[int, str]:
        """Seed -> the class that a search ended with; those that failed are left out."""
        mine = (one for one in self.found if (one.arm, one.group) == (arm, group))
        return {one.seed: one.cells[-1] for one in mine if not one.error}

    def changed(self, arm: str, other: str) -> float:
        """The share of seeds with which two arms end in different classes after DARTS's steps."""
        groups = {"darts": "budget"}
        one, two = (self.cells(a, groups.get(a, "equal_steps")) for a in (arm, other))
        apart = [one[seed] != two[seed] for seed in one.keys() & two.keys()]
        return float(np.mean(apart)) if apart else np.nan

    def moved(self, arm: str, other: str) -> dict[int, float]:
        """Seed -> how far apart two arms end: mean total variation of an edge's probabilities."""
        groups, ends = {"darts": "budget"}, []
        for one in (arm, other):
            group = groups.get(one, "equal_steps")
            mine = (s for s in self.found if (s.arm, s.group) == (one, group) and not s.error)
            ends.append({s.seed: s.probabilities[-1] for s in mine})  # (edges, operations) each
        one, two = ends
        return {
            seed: float(abs(one[seed] - two[seed]).sum(axis=1).mean()) / 2
            for seed in sorted(one.keys() & two.keys())
        }

    def priced(self) -> list[tuple[float, int]]:
        """(power, place of the class) of FBNet's searches that did not fail, by rising power."""
        powers = contest.settings()["latency"]["powers"]
        names = [*map(self.table.name, self.table.classes)]
        return sorted(
            (powers[int(one.group.removeprefix("latency"))], names.index(one.cells[-1]))
            for one in self.found
            if one.group.startswith("latency") and not one.error
        )


def _above_chance(seen: _Seen) -> Decision:
    values = seen.places["darts"]
    low, high = standings.interval(values, seen.level, seen.resamples)
    return Decision(low > 0.5, f"mean place {np.mean(values):.2f}, {low:.2f} to {high:.2f}")


def _told_apart(seen: _Seen, above: bool) -> Decision:
    """Whether any method is told apart from DARTS above it; or none below it."""
    methods = {arm: one for arm, one in seen.apart.items() if arm != "darts_without_none"}
    names = [arm for arm, one in methods.items() if one.told_apart and (one.mean > 0) == above]
    says = f"told apart {'above' if above else 'below'}: {', '.join(names) or 'none'}"
    return Decision(bool(names) == above, says)


def _exact_alike(seen: _Seen) -> Decision:
    exact = seen.by_arm("equal_steps")["exact"]
    p = standings.chance(exact, seen.places["darts"], seen.resamples)
    ahead = np.mean(exact) - np.mean(seen.places["darts"])
    return Decision(p >= seen.level, f"places differ by {ahead:+.2f}, p {p:.2f}")


def _placebo_alike(seen: _Seen) -> Decision:
    pairs = ("exact", "look_ahead"), ("placebo", "darts"), ("jitter", "darts")
    shares = [seen.changed(*pair) for pair in pairs]
    says = "cells changed by the term {:.0%}, the placebo {:.0%}, chance {:.0%}".format(*shares)
    term, placebo, jitter = (seen.moved(*pair) for pair in pairs)
    seeds = term.keys() & placebo.keys()
    if not seeds or not jitter:
        return Decision(None, says)
    far = [float(np.mean([*of.values()])) for of in (term, placebo, jitter)]
    says += "; alpha moved by {:.3f}, {:.3f} and {:.3f}".format(*far)
    apart = [term[seed] - placebo[seed] for seed in sorted(seeds)]
    low, high = standings.interval(apart, seen.level, seen.resamples)
    says += f", term less placebo {low:+.3f} to {high:+.3f}"
    return Decision(None if max(far[:2]) <= far[2] else low <= 0 <= high, says)


def _not_worth_it(seen: _Seen) -> Decision:
    n = contest.budget_seconds() / landscape.costs(seen.table, "train_seconds").mean()
    mean = np.mean(seen.places["darts"])
    says = f"mean place {mean:.2f}; the best of {n:.1f} random cells {n / (n + 1):.2f}"
    return Decision(bool(mean <= n / (n + 1)), says)


def _more_skips(seen: _Seen) -> Decision:
    pair = seen.cells("watched", "collapse"), seen.cells("darts", "budget")
    seeds = pair[0].keys() & pair[1].keys()
    if not seeds:
        return Decision(None, "no pair of searches that both ended")
    long, short = (np.mean([cells[seed].count("skip") for seed in seeds]) for cells in pair)
    says = f"{long:.1f} skips of 4 after the long searches, {short:.1f} before"
    return Decision(bool(long > short), says)


def _never_slower(seen: _Seen) -> Decision:
    cost, of_power = landscape.costs(seen.table, "forward_1_ms"), {}
    for power, k in seen.priced():
        of_power.setdefault(power, []).append(cost[k])
    means = [float(np.mean(values)) for values in of_power.values()]
    says = "ms by power: " + ", ".join(f"{mean:.2f}" for mean in means)
    slower = [after > 1.1 * before for before, after in pairwise(means)]
    return Decision(not any(slower), says)


def _better_than_as_quick(seen: _Seen) -> Decision:
    cost = landscape.costs(seen.table, "forward_1_ms")
    worth = np.array([seen.table.truth(cell) for cell in seen.table.classes])
    as_quick = abs(cost - cost[:, None]) <= 0.1 * cost[:, None]  # (classes, classes), also itself
    better = {}  # a class that has others as quick: whether it is better than their mean
    for k, row in enumerate(as_quick):
        others = np.flatnonzero(row & (np.arange(len(row)) != k))
        if len(others):
            better[k] = bool(worth[k] > worth[others].mean())
    ends = sorted({k for power, k in seen.priced() if power and k in better})  # each counts once
    if not ends:
        return Decision(None, "no search has others as quick")
    found = sum(better[k] for k in ends)
    alike = ([better[j] for j in np.flatnonzero(as_quick[k]) if j in better] for k in ends)
    by_chance = np.mean([np.mean(one) for one in alike])
    p = stats.binomtest(found, len(ends), float(by_chance), alternative="greater").pvalue
    says = f"{found} of {len(ends)} classes are better than the mean of those as quick"
    return Decision(bool(p < seen.level), f"{says}, by chance {by_chance:.0%}, p {p:.2f}")


RULES: dict[str, Callable[[_Seen], Decision]] = {
    "1": _above_chance, "2": partial(_told_apart, above=False),
    "3": partial(_told_apart, above=True), "4": _exact_alike, "5": _placebo_alike,
    "6": _not_worth_it, "7": _more_skips, "8": _never_slower, "9": _better_than_as_quick,
}  # fmt: skip

"""Checks of notebook 05: the hypergradient."""

from collections.abc import Callable
from math import isclose, sqrt
from statistics import mean, stdev

import numpy as np

from dartslib.course.checks import exercise
from dartslib.runs import results


@exercise
def copied_bug(difference: Callable, factor: float) -> str | None:
    """Against the derivative of a quadratic, for which a central difference is exact."""
    v, R = 4.0, 0.01 / 4.0
    p, n = ((1.0 + way * R * v) ** 2 for way in (1, -1))
    expected, found = 2.0 * v, difference(p, n, R)
    if isclose(found, 2 * expected):
        return "the places are 2 R v apart, so it is twice too large"
    if isclose(found, (p - n) / 2.0 * R):
        return "that is the line itself: it divides by 2 and multiplies by R"
    if not isclose(found, expected):
        return "on a quadratic the central difference is exact, and this one is not"
    if isclose(factor, R):
        return (
            "it has R twice too often: once that it multiplies by, once that it does not divide by"
        )
    if not isclose(factor, R**2):
        return f"the factor is not {factor:g}: divide one formula by the other"
    return None


@exercise
def better_than_nothing(judged: Callable, at_paper: str, at_longest: str) -> str | None:
    """By the course's bar, on lists that are worse, better, and neither, though all above 1."""
    for errors, said in (
        ((2.4, 2.0, 2.2), "worse"),
        ((0.6, 0.5, 0.4), "better"),
        ((2.4, 2.0, 1.3), "not told apart"),
    ):
        off, far = mean(errors) - 1, results.bar(errors, [1.0] * len(errors))
        difference, bar, verdict = judged(np.array(errors))
        if not isclose(difference, off, abs_tol=1e-9):
            return f"of the errors {errors} the difference is {off:.2f}, not {difference:.2f}"
        if isclose(bar, 2 * stdev(errors) / sqrt(len(errors))):
            return "two standard errors are too short for so few values: results.bar knows"
        if not isclose(bar, far, rel_tol=1e-6):
            return f"of the errors {errors} the bar is {far:.2f}, not {bar:.2f}"
        if verdict != said and said == "not told apart":
            return "a difference within its bar says neither better nor worse"
        if verdict != said:
            return f'an error of {mean(errors):.2f} against 1 is "{said}"'
    for given, where in ((at_paper, "the paper's step"), (at_longest, "the longest step")):
        if given != "not told apart":
            return f"your own function says something else of {where}"
    return None


@exercise
def two_radii(combined: Callable) -> str | None:
    """Against differences whose error is known."""

    def difference(R: float) -> float:
        return 5.0 + 3.0 * R**2 - 2.0 * R**4

    R = 0.5
    found, left = float(combined(difference, R)), 2.0 * R**4 / 4
    if isclose(found, 5.0 + left):
        return None
    if isclose(found, (difference(R) + difference(R / 2)) / 2):
        return "the mean of both still has five eighths of the error"
    if isclose(found, 2 * difference(R / 2) - difference(R)):
        return "that takes away an error of R; this one goes with its square"
    if isclose(found, 4 * difference(R / 2) - difference(R)):
        return "the R² is gone, but this is three times the value"
    return "the R² has not cancelled"

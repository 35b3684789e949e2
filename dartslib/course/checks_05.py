"""Checks of notebook 05: the hypergradient."""

from collections.abc import Callable
from math import asin, atan, degrees, isclose

from dartslib.course.checks import called, exercise


@exercise
def copied_bug(difference: Callable, factor: float) -> str | None:
    """Against the derivative of a quadratic, for which a central difference is exact."""
    v, R = 4.0, 0.01 / 4.0
    p, n = ((1.0 + way * R * v) ** 2 for way in (1, -1))
    expected, found = 2.0 * v, called(difference, p, n, R)
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
def most_turn(at_most: float, at_right_angle: float) -> str | None:
    """An arrow of length 1 and one of length 1/2, at the worst and at a right angle."""
    if isclose(at_right_angle, degrees(asin(0.5)), abs_tol=0.05):
        return "at a right angle the tangent counts, opposite side over adjacent side"
    if not isclose(at_right_angle, degrees(atan(0.5)), abs_tol=0.05):
        return "at a right angle its tangent is 1/2"
    if isclose(at_most, at_right_angle, abs_tol=0.05):
        return "the most is not at a right angle but a little against the direct term"
    if isclose(at_most, 45.0, abs_tol=0.05):
        return "45 would be as if both were equally long and at a right angle"
    if not isclose(at_most, degrees(asin(0.5)), abs_tol=0.05):
        return "the line that only just touches the circle stands at a right angle to its radius"
    return None


@exercise
def two_radii(combined: Callable) -> str | None:
    """Against differences whose error is known."""

    def difference(R: float) -> float:
        return 5.0 + 3.0 * R**2 - 2.0 * R**4

    R = 0.5
    found, left = float(called(combined, difference, R)), 2.0 * R**4 / 4
    if isclose(found, 5.0 + left):
        return None
    if isclose(found, (difference(R) + difference(R / 2)) / 2):
        return "the mean of both still has five eighths of the error"
    if isclose(found, 2 * difference(R / 2) - difference(R)):
        return "that takes away an error of R; this one goes with its square"
    if isclose(found, 4 * difference(R / 2) - difference(R)):
        return "the R² is gone, but this is three times the value"
    return "the R² has not cancelled"

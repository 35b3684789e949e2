"""Checks of notebook 01: needs math and the toy alone, so that a page can run it."""

from collections.abc import Callable
from math import isclose

from dartslib import toy
from dartslib.course.checks import called, exercise


@exercise
def predict(sets_out: str, rests_at: float) -> str | None:
    """The first step and the fixed point at xi = 0.6."""
    if sets_out not in ("grows", "shrinks"):
        return 'the first answer is "grows" or "shrinks"'
    if sets_out != ("shrinks" if toy.alpha_gradient(-2.0, 2.0, 0.6) > 0 else "grows"):
        return "w' is 2.8 there, so the slope is positive, and α goes against the slope"
    if isclose(rests_at, 1.0):
        return "1 is where ξ = 1/2 comes to rest; here ξ is 0.6"
    if not isclose(rests_at, toy.fixed_point(0.6), abs_tol=5e-3):
        return f"at α = w = {rests_at} the slope is not zero; section 5 has the fixed point"
    return None


@exercise
def two_steps(slope: Callable) -> str | None:
    """Against a difference quotient, at many places."""

    def ahead(w: float, alpha: float, xi: float) -> float:
        for _ in range(2):
            w = w - 2 * xi * (w - alpha)
        return alpha * w - 2 * alpha + 1

    places = [(w, a, xi) for w in (-2.0, 0.5) for a in (-1.0, 2.0) for xi in (0.0, 0.2, 0.5, 0.7)]
    h = 1e-4
    expected = [(ahead(w, a + h, xi) - ahead(w, a - h, xi)) / (2 * h) for w, a, xi in places]
    found = [called(slope, *place) for place in places]
    if _near(found, expected):
        return None
    if _near(found, [toy.alpha_gradient(w, a, 2 * xi) for w, a, xi in places]):
        return "one step of twice the length is not two steps: the second begins elsewhere"
    left = [(1 - 2 * xi) ** 2 for _, _, xi in places]
    one = [a + s * (w - a) - 2 + 2 * xi * a for s, (w, a, xi) in zip(left, places, strict=True)]
    if _near(found, one):
        return "the implicit term is still that of one step: dw''/dα is 1 - (1 - 2ξ)²"
    return "it is not the slope of L_val(w'', α): compare it with a difference quotient"


@exercise
def forgotten_term(rests_at: float) -> str | None:
    """Without the implicit term the fixed point is 2, whatever xi."""
    if isclose(rests_at, 1.0):
        return "1 is where it rests with the implicit term"
    return None if isclose(rests_at, 2.0) else "the slope that is left, w' - 2, is not zero there"


def _near(found: list[float], expected: list[float]) -> bool:
    return all(abs(a - b) < 1e-7 for a, b in zip(found, expected, strict=True))

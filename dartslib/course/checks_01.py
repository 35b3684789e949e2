"""Checks of notebook 01. They need math and the toy alone, so that a page without Python's library,
numpy and typing can run them: no other import, no zip(strict=True).
"""

from math import isclose

from dartslib import toy


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


def two_steps(slope: callable) -> str | None:
    """Against a difference quotient, at many places."""

    def ahead(w: float, alpha: float, xi: float) -> float:
        for _ in range(2):
            w = w - 2 * xi * (w - alpha)
        return toy.valid_loss(w, alpha)

    def by_difference(w: float, alpha: float, xi: float, h: float = 1e-4) -> float:
        return (ahead(w, alpha + h, xi) - ahead(w, alpha - h, xi)) / (2 * h)

    def of_one_step(w: float, alpha: float, xi: float) -> float:
        return alpha + (1 - 2 * xi) ** 2 * (w - alpha) - 2 + 2 * xi * alpha

    def like(other: callable) -> bool:
        return all(abs(slope(*place) - other(*place)) < 1e-7 for place in places)

    places = [(w, a, xi) for w in (-2.0, 0.5) for a in (-1.0, 2.0) for xi in (0.0, 0.2, 0.5, 0.7)]
    if like(by_difference):
        return None
    if like(lambda w, alpha, xi: toy.alpha_gradient(w, alpha, 2 * xi)):
        return "one step of twice the length is not two steps: the second begins elsewhere"
    if like(of_one_step):
        return "the implicit term is still that of one step: dw''/dα is 1 - (1 - 2ξ)²"
    return "it is not the slope of L_val(w'', α): compare it with a difference quotient"


def forgotten_term(rests_at: float) -> str | None:
    """Without the implicit term the fixed point is 2, whatever xi."""
    if isclose(rests_at, 1.0):
        return "1 is where it rests with the implicit term"
    return None if isclose(rests_at, 2.0) else "the slope that is left, w' - 2, is not zero there"


def nearer(difference: float, bar: float, one_may_say: str) -> str | None:
    """The ends of the runs of xi = 0.5 and 0.503, by a loop of the toy's step."""

    def end(xi: float) -> float:
        alpha, w, moved = 2.0, -2.0, 1.0
        while moved >= 1e-4:
            before = alpha, w
            alpha -= 0.01 * toy.alpha_gradient(w, alpha, xi)
            w -= 0.01 * 2 * (w - alpha)
            moved = max(abs(alpha - before[0]), abs(w - before[1]))
        return alpha

    xis = (0.5, 0.503)
    errors = [abs(end(xi) - 1) for xi in xis]
    bars = [abs(end(xi) - toy.fixed_point(xi)) for xi in xis]
    if not isclose(abs(difference), abs(errors[0] - errors[1]), abs_tol=5e-5):
        return "the difference is that of the two errors |α - 1| at the ends"
    if isclose(bar, min(bars), abs_tol=5e-5):
        return "the bar is the larger of the two distances: either run may be off by it"
    if not isclose(bar, max(bars), abs_tol=5e-5):
        return "the bar is how far α stopped from the fixed point of its own ξ, `toy.fixed_point`"
    if one_may_say not in ("0.5 is better", "0.503 is better", "nothing"):
        return 'the last answer is "0.5 is better", "0.503 is better" or "nothing"'
    if one_may_say == "0.503 is better":
        return "the difference is no longer than the bar: the stop alone may have made it"
    if one_may_say == "0.5 is better":
        return "the formula says so, but these two ends do not: the other one is nearer to 1"
    return None


CHECKS = (predict, two_steps, forgotten_term, nearer)

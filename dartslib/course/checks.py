"""A check for each exercise: it calls what the reader wrote, and says why an answer is not right.

A check returns None for a right answer and the reason for another one, such that "not quite,
because" can stand before it. It compares with an independent calculation wherever there is one, and
knows the answers that readers give most often.
"""

from collections import Counter
from collections.abc import Callable
from math import asin, atan, ceil, degrees, exp, isclose
from typing import Any

import numpy as np

from dartslib import toy

CHECKS: dict[str, Callable[..., str | None]] = {}


def check(name: str, *answers: Any) -> None:
    """Prints how the answers to an exercise stand: not yet, not quite and why, or right.

    Args:
        name: of the exercise.
        answers: what its cell has; `...`, or a function that returns None, is no answer yet.

    Raises:
        ValueError: there is no such exercise.
    """
    print(verdict(name, *answers))


def verdict(name: str, *answers: Any) -> str:
    """What `check` prints."""
    if name not in CHECKS:
        raise ValueError(f"There is no exercise {name!r}: choose one of {', '.join(CHECKS)}.")
    try:
        if any(answer is ... or answer is None for answer in answers):
            raise _NotYet
        reason = CHECKS[name](*answers)
    except _NotYet:
        return "not yet: write your answer where the dots are"
    except Exception as error:  # whatever a reader's function may do
        reason = f"your code stops with {type(error).__name__}: {error}"
    return "right" if reason is None else f"not quite, because {reason}"


class _NotYet(Exception):
    """An answer is missing."""


def _exercise(check: Callable[..., str | None]) -> Callable[..., str | None]:
    CHECKS[check.__name__] = check
    return check


def _call(function: Callable, *arguments: Any) -> Any:
    """What a reader's function returns; nothing means that it is not written yet."""
    found = function(*arguments)
    if found is None:
        raise _NotYet
    return found


def _near(a: Any, b: Any) -> bool:
    return bool(np.allclose(np.asarray(a, dtype=float), np.asarray(b, dtype=float), atol=1e-8))


# 01


@_exercise
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


@_exercise
def two_steps(slope: Callable) -> str | None:
    """Against a difference quotient, at many places."""

    def ahead(w: float, alpha: float, xi: float) -> float:
        for _ in range(2):
            w = w - 2 * xi * (w - alpha)
        return alpha * w - 2 * alpha + 1

    places = [(w, a, xi) for w in (-2.0, 0.5) for a in (-1.0, 2.0) for xi in (0.0, 0.2, 0.5, 0.7)]
    h = 1e-4
    expected = [(ahead(w, a + h, xi) - ahead(w, a - h, xi)) / (2 * h) for w, a, xi in places]
    found = [_call(slope, *place) for place in places]
    if _near(found, expected):
        return None
    if _near(found, [toy.alpha_gradient(w, a, 2 * xi) for w, a, xi in places]):
        return "one step of twice the length is not two steps: the second begins elsewhere"
    left = [(1 - 2 * xi) ** 2 for _, _, xi in places]
    one = [a + s * (w - a) - 2 + 2 * xi * a for s, (w, a, xi) in zip(left, places, strict=True)]
    if _near(found, one):
        return "the implicit term is still that of one step: dw''/dα is 1 - (1 - 2ξ)²"
    return "it is not the slope of L_val(w'', α): compare it with a difference quotient"


@_exercise
def forgotten_term(rests_at: float) -> str | None:
    """Without the implicit term the fixed point is 2, whatever xi."""
    if isclose(rests_at, 1.0):
        return "1 is where it rests with the implicit term"
    return None if isclose(rests_at, 2.0) else "the slope that is left, w' - 2, is not zero there"


# 02


@_exercise
def operation(build: Callable) -> str | None:
    """ReLU, 1 x 1 convolution, BatchNorm: shapes, weights, and where the ReLU is."""
    import torch

    modules = {(s, f): _call(build, 6, s, f) for s in (1, 2) for f in (True, False)}
    x = 3 * torch.randn(2, 6, 7, 7, generator=torch.Generator().manual_seed(0))
    for (stride, _), module in modules.items():
        side = -(-7 // stride)
        shape = tuple(module(x).shape)
        if shape != (2, 6, side, side):
            return (
                f"with stride {stride} it makes {shape} of (2, 6, 7, 7), not (2, 6, {side}, {side})"
            )
    counts = {f: sum(p.numel() for p in modules[1, f].parameters()) for f in (True, False)}
    if counts[True] != 36:
        return f"in a search it has {counts[True]} weights with 6 channels; a 6 x 6 matrix has 36"
    if counts[False] != 48:
        return f"in a final network it has {counts[False]} weights, not 36 + 2 x 6"
    module = modules[1, True]
    if not torch.equal(module(x), module(x.relu())):
        return "negative inputs change its value: a convolution of this space begins with the ReLU"
    value = module(x)
    if value.min() >= 0:
        return "its value is never negative: nothing comes after the BatchNorm"
    spread = value.var((0, 2, 3), correction=0)
    if value.mean((0, 2, 3)).abs().max() > 1e-2 or (spread - 1).abs().max() > 1e-2:
        return (
            "in a search its channels are not normalized: BatchNorm without scale and shift still "
            "subtracts the mean and divides by the standard deviation"
        )
    return None


@_exercise
def softmax_slope(slope: Callable) -> str | None:
    """Against autograd, at a temperature."""
    import torch

    tau = 0.5

    generator = torch.Generator().manual_seed(0)
    alpha, s = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    alpha.requires_grad_()
    p = (alpha / tau).softmax(0)
    (expected,) = torch.autograd.grad(p @ s, alpha)
    p = p.detach()
    found = torch.as_tensor(_call(slope, p, s, tau))
    if found.shape != expected.shape:
        return f"it has the shape {tuple(found.shape)}, not (8,)"
    if torch.allclose(found, s):
        return "that is dL/dp: the softmax lies between p and α"
    if torch.allclose(found, p * s) or torch.allclose(found, p * s / tau):
        return "α_k moves every other probability, too: they sum to 1"
    if torch.allclose(found, expected * tau):
        return "that is the slope without a temperature: the inner derivative of α/τ is missing"
    return None if torch.allclose(found, expected) else "autograd finds another slope"


# 03


@_exercise
def derive_by_hand(node: Any) -> str | None:
    """Against `dartslib.derive`, on the table of the exercise."""
    found = [(str(name), int(source)) for name, source in node]
    expected = _derived()
    if any(name == "none" for name, _ in found):
        return "none is never chosen, however probable"
    if sorted(found) == sorted([("skip_connect", 2), ("max_pool_3x3", 0)]):
        return "none was left out before the edges are compared; it takes its share first"
    if sorted(found) == sorted(expected) and found != expected:
        return "the strongest edge comes first"
    return None if found == expected else "these are not the two strongest edges"


def _derived() -> list[tuple[str, int]]:
    from dartslib.genotypes import derive
    from dartslib.space import SearchSpace

    table = [[0.40, 0.30, 0.20, 0.10], [0.05, 0.24, 0.28, 0.43], [0.45, 0.05, 0.35, 0.15]]
    space = SearchSpace(2, ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"))
    both = np.array([[0.25] * 4] * 2 + table)  # the table is that of the second node
    return list(derive({"normal": both, "reduction": both}, space).normal[1])


@_exercise
def flips(count: Callable) -> str | None:
    """Against a plain loop, on made-up histories."""
    rng = np.random.default_rng(0)
    histories = [rng.dirichlet(np.ones(8), size=(9, 4)) for _ in range(3)]

    def by_hand(history: np.ndarray, operations: int) -> int:
        best = [[max(range(operations), key=edge.__getitem__) for edge in now] for now in history]
        return sum(a != b for one, other in zip(best, best[1:], strict=False)
                   for a, b in zip(one, other, strict=True))  # fmt: skip

    found = [_call(count, history) for history in histories]
    if found == [by_hand(history, 7) for history in histories]:
        return None
    if found == [by_hand(history, 8) for history in histories]:
        return "none was among the best: leave its column, the last, out"
    if found == [by_hand(history[[0, -1]], 7) for history in histories]:
        return "it compares the first moment with the last; a choice may go and come back"
    return f"it finds {found[0]} changes in a history that has {by_hand(histories[0], 7)}"


@_exercise
def edge_weights(weigh: Callable) -> str | None:
    """Against the two softmaxes, a number at a time."""
    rng = np.random.default_rng(0)
    logits, beta = rng.normal(size=(3, 8)), rng.normal(size=3)

    def softmax(values: Any) -> list[float]:
        powers = [exp(value) for value in values]
        return [power / sum(powers) for power in powers]

    rows = [softmax(row) for row in logits]
    expected = [[b * p for p in row] for b, row in zip(softmax(beta), rows, strict=True)]
    found = np.asarray(_call(weigh, logits.copy(), beta.copy()), dtype=float)
    if found.shape != logits.shape:
        return f"from {logits.shape} and {beta.shape} it makes {found.shape}"
    if _near(found, expected):
        return None
    if _near(found, rows):
        return "each edge sums to 1, whatever its β: edges do not compete"
    if _near(found, beta[:, None] * np.asarray(rows)):
        return "that is β itself, which may be negative: a softmax over the edges comes first"
    if isclose(found.sum(), 1.0):
        return (
            "it sums to 1, but as one softmax over everything: there a large α anywhere on an edge "
            "makes the edge strong, and here only β does"
        )
    return f"a node's weights sum to 1, and yours to {found.sum():.3f}"


# 04


@_exercise
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
    found = [_call(channels_for, *place) for place in places]
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


@_exercise
def seeds_needed(needed: Callable) -> str | None:
    """The smallest m with 2 sqrt((sigma_1^2 + sigma_2^2) / m) <= d, by trying."""

    def by_trying(variance: float, d: float) -> int:
        m = 1
        while 4 * variance / m > d**2 * (1 + 1e-12):
            m += 1
        return m

    # Rounding tips no whole number here: (1, 1, 2) comes out exactly by any formula.
    places = [(0.4, 0.3, 0.52), (0.3, 0.6, 0.5), (0.5, 0.1, 0.25), (1.0, 1.5, 2.0), (1.0, 1.0, 2.0)]
    found = [_call(needed, *place) for place in places]
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


@_exercise
def draw_a_cell(draw: Callable) -> str | None:
    """600 draws: what may be drawn, and how often."""
    from dartslib.space import SearchSpace

    names = set(SearchSpace.report().operations) - {"none"}
    rng, inputs, operations, alike = np.random.default_rng(0), Counter(), Counter(), 0
    for _ in range(600):
        cell = _call(draw, rng)
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


# 05


@_exercise
def copied_bug(difference: Callable, factor: float) -> str | None:
    """Against the derivative of a quadratic, for which a central difference is exact."""
    v, R = 4.0, 0.01 / 4.0
    p, n = ((1.0 + way * R * v) ** 2 for way in (1, -1))
    expected, found = 2.0 * v, _call(difference, p, n, R)
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


@_exercise
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


@_exercise
def two_radii(combined: Callable) -> str | None:
    """Against differences whose error is known."""

    def difference(R: float) -> float:
        return 5.0 + 3.0 * R**2 - 2.0 * R**4

    R = 0.5
    found, left = float(_call(combined, difference, R)), 2.0 * R**4 / 4
    if isclose(found, 5.0 + left):
        return None
    if isclose(found, (difference(R) + difference(R / 2)) / 2):
        return "the mean of both still has five eighths of the error"
    if isclose(found, 2 * difference(R / 2) - difference(R)):
        return "that takes away an error of R; this one goes with its square"
    if isclose(found, 4 * difference(R / 2) - difference(R)):
        return "the R² is gone, but this is three times the value"
    return "the R² has not cancelled"

"""The toy bilevel problem, in closed form: two numbers, two losses, one step ahead.

The problem::

    minimize over alpha   L_val(w*, alpha) = alpha w* - 2 alpha + 1     report, equation (2)
    where w* minimizes    L_train(w, alpha) = c/2 (w - alpha)^2         report, equation (1): c = 2

The inner problem gives w* = alpha, so the outer one is to minimize (alpha - 1)^2, and the answer is
alpha = w = 1. DARTS does not solve the inner problem. It takes one gradient step of length xi from
the current w::

    w' = w - xi dL_train/dw = w - xi c (w - alpha)
    dL_val(w', alpha)/dalpha = (w' - 2) + xi c alpha

The loop uses plain Python floats, which for two numbers are several times faster than numpy's.
Sources: section 4.1 of the report; Liu et al. (2019), Figure 2.
"""

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Numbers = float | np.ndarray  # or a tensor: the losses only add and multiply
CURVATURE = 2.0  # c, the second derivative of L_train in w; the report's value
START = (2.0, -2.0)  # (alpha, w), as the report writes it
OPTIMUM = (1.0, 1.0)  # (alpha, w), the solution for every curvature
DIVERGED = 1e6  # a run that is this many times as far out as it began has diverged


def train_loss(w: Numbers, alpha: Numbers, curvature: float = CURVATURE) -> Numbers:
    """L_train = c/2 (w - alpha)^2, equation (1) of the report, of floats, arrays or tensors."""
    return 0.5 * curvature * (w - alpha) ** 2


def valid_loss(w: Numbers, alpha: Numbers) -> Numbers:
    """L_val = alpha w - 2 alpha + 1, equation (2) of the report, of floats, arrays or tensors."""
    return alpha * w - 2.0 * alpha + 1.0


def alpha_gradient(w: Numbers, alpha: Numbers, xi: float, curvature: float = CURVATURE) -> Numbers:
    """Gradient for alpha of L_val(w', alpha), where w' = w - xi dL_train/dw moves with alpha.

    It is the sum of the direct term w' - 2, as if w' were fixed, and of the implicit term
    xi c alpha, the effect of alpha through w'. xi = 0 gives the first-order gradient w - 2.
    """
    reach = xi * curvature
    unrolled = w - reach * (w - alpha)  # w'
    return (unrolled - 2.0) + reach * alpha  # direct + implicit


def fixed_point(xi: float, curvature: float = CURVATURE) -> float:
    """Where the steps come to rest: alpha = w = 2 / (1 + c xi), which is 1 only for xi = 1/c.

    Raises ValueError where xi is negative, the curvature is not positive, or one is not finite.
    """
    xi, curvature = _check("xi curvature", xi, curvature)
    return 2.0 / (1.0 + curvature * xi)


def eigenvalues(xi: float, curvature: float = CURVATURE) -> tuple[complex, complex]:
    """The two rates of the flow d(alpha, w)/dt = -gradients at the fixed point, faster one first.

    With m = c (1 + 2 xi) / 2 they are -m -+ sqrt(m^2 - c (1 + c xi)); for c = 2 this is
    -(2 xi + 1) -+ sqrt((2 xi + 1)(2 xi - 1)). An imaginary part means a spiral.
    Raises ValueError as `fixed_point` does.
    """
    xi, curvature = _check("xi curvature", xi, curvature)
    middle = -0.5 * curvature * (1.0 + 2.0 * xi)
    root = cmath.sqrt(middle * middle - curvature * (1.0 + curvature * xi))
    return middle - root, middle + root


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One run: every (alpha, w) it visited, and how it ended."""

    alpha: np.ndarray  # (steps + 1,), the start first
    w: np.ndarray  # (steps + 1,)
    reason: str  # why it stopped: "settled", "limit" or "diverged"
    xi: float
    curvature: float

    @property
    def steps(self) -> int:
        """Number of steps; each moves alpha, then w."""
        return len(self.alpha) - 1

    @property
    def end(self) -> tuple[float, float]:
        """The last alpha and w; near the fixed point, not at it (see `distance`)."""
        return float(self.alpha[-1]), float(self.w[-1])

    @property
    def distance(self) -> float:
        """How far the end is from the fixed point of this xi; perhaps infinite after divergence."""
        rest = fixed_point(self.xi, self.curvature)
        distance = math.dist(self.end, (rest, rest))
        return math.inf if math.isnan(distance) else distance

    def __repr__(self) -> str:
        alpha, w = self.end
        return (
            f"Trajectory(xi={self.xi:g}: {self.reason} after {self.steps} steps at "
            f"alpha={alpha:.5g}, w={w:.5g}, {self.distance:.2g} from the fixed point "
            f"{fixed_point(self.xi, self.curvature):.5g})"
        )


def descend(
    xi: float,
    *,
    curvature: float = CURVATURE,
    start: tuple[float, float] = START,
    lr: float = 1e-2,
    tol: float = 1e-4,
    max_steps: int = 10_000,
) -> Trajectory:
    """Approximate bilevel descent on the toy problem; the defaults are the report's.

    Each step moves alpha by `alpha_gradient`, then w by dL_train/dw at the new alpha.

    Args:
        xi: length of the step ahead; 0 treats w as fixed.
        curvature: c, the second derivative of L_train in w.
        start: (alpha, w).
        lr: learning rate of alpha and of w.
        tol: the run has "settled" once both numbers moved by less than this in one step. This
            looks at the step, not at the error: a small `lr` settles far from the fixed point.
        max_steps: a run that has not settled by then ends with reason "limit".

    Returns:
        The `Trajectory`. Divergence is a reason to stop ("diverged"), not an error.

    Raises:
        ValueError: a negative xi, a learning rate, tolerance or curvature that is not positive,
            anything that is not finite, or a start that is not a pair.
    """
    xi, curvature, lr, tol = _check("xi curvature lr tol", xi, curvature, lr, tol)
    if np.shape(start) != (2,) or not np.isfinite(start).all():
        raise ValueError(f"start must be a pair of finite numbers (alpha, w), not {start!r:.40}.")
    run = steps(*map(float, start), xi=xi, curvature=curvature, lr=lr, tol=tol, max_steps=max_steps)
    alphas, ws, reasons = zip(*run, strict=True)
    return Trajectory(np.array(alphas), np.array(ws), reasons[-1], xi, curvature)


def steps(
    alpha: float, w: float, *, xi: float, curvature: float, lr: float, tol: float, max_steps: int
) -> Iterator[tuple[float, float, str]]:
    """The places of a run, as it goes: what `descend` gathers, in plain Python, unchecked.

    The page of notebook 01 runs this in the browser, where there is no numpy.

    Args:
        alpha, w: the start.
        xi, curvature, lr, tol, max_steps: as `descend` has them.

    Yields (alpha, w, reason), the start first. The reason is "limit" until the run ends by itself.
    """
    far = DIVERGED * max(1.0, abs(alpha), abs(w))
    yield alpha, w, "limit"
    for _ in range(max_steps):
        alpha_moved = -lr * alpha_gradient(w, alpha, xi, curvature)
        alpha += alpha_moved
        w_moved = -lr * curvature * (w - alpha)
        w += w_moved
        settled = -tol < alpha_moved < tol and -tol < w_moved < tol
        away = not (-far < alpha < far and -far < w < far)  # also true for nan
        yield alpha, w, "settled" if settled else "diverged" if away else "limit"
        if settled or away:
            return


def _check(names: str, *numbers: float) -> list[float]:
    """The numbers as plain floats: numpy's own are slower, and warn where they overflow."""
    values = [float(number) for number in numbers]
    for name, value in zip(names.split(), values, strict=True):
        if not 0 <= value < math.inf or (value == 0 and name != "xi"):
            least = "0 or more" if name == "xi" else "greater than 0"
            raise ValueError(f"{name} must be finite and {least}, not {value}.")
    return values

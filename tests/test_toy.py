"""The toy problem against the report, against its own mathematics, and against the general code."""

import cmath
import math
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_verdicts import markdown

from dartslib import toy

XIS = (0.0, 0.3, 0.5, 0.7)


@pytest.mark.parametrize(("xi", "steps"), [(0, 659), (0.3, 411), (0.5, 296), (0.7, 335)])  # Table 1
def test_iterations_of_table_1(xi, steps):
    run = toy.descend(xi)
    assert (run.steps, run.reason) == (steps, "settled")
    assert run.alpha.shape == run.w.shape == (steps + 1,)
    assert (run.alpha[0], run.w[0]) == (2.0, -2.0)


def test_float32_takes_the_same_number_of_steps():
    # So the counts do not hang on the last bit.
    for xi in XIS:
        alpha, w, xi32, lr = map(np.float32, (2, -2, xi, 1e-2))
        moved, steps = 1, 0
        while moved >= 1e-4 and steps < 1000:
            before = alpha, w
            alpha = alpha - lr * ((w - 2 * xi32 * (w - alpha) - 2) + 2 * xi32 * alpha)
            w = w - lr * 2 * (w - alpha)
            moved, steps = max(abs(alpha - before[0]), abs(w - before[1])), steps + 1
        assert steps == toy.descend(xi).steps


def test_losses_are_the_reports():
    w, alpha = 0.3, -1.7
    assert toy.train_loss(w, alpha) == pytest.approx(w**2 - 2 * alpha * w + alpha**2)  # (1)
    assert toy.valid_loss(w, alpha) == pytest.approx(alpha * w - 2 * alpha + 1)  # (2)
    assert toy.valid_loss(alpha, alpha) == pytest.approx((alpha - 1) ** 2)  # on the feasible line


@pytest.mark.parametrize(("xi", "gradient"), [(0, -4), (0.3, -0.4), (0.5, 2), (0.7, 4.4)])
def test_first_alpha_gradients(xi, gradient):
    assert toy.alpha_gradient(-2.0, 2.0, xi) == pytest.approx(gradient)


@given(
    w=st.floats(-5, 5),
    alpha=st.floats(-5, 5),
    xi=st.floats(0, 3),
    curvature=st.floats(0.1, 10),
)
def test_alpha_gradient_is_the_slope_one_step_ahead(w, alpha, xi, curvature):
    def ahead(alpha):
        return toy.valid_loss(w - xi * curvature * (w - alpha), alpha)

    h = 1e-4  # the function is quadratic: the central difference is exact but for rounding
    slope = (ahead(alpha + h) - ahead(alpha - h)) / (2 * h)
    assert toy.alpha_gradient(w, alpha, xi, curvature) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("xi", "rest"), [(0, 2), (0.3, 1.25), (0.5, 1), (0.7, 5 / 6)])
def test_fixed_point(xi, rest):
    assert toy.fixed_point(xi) == pytest.approx(rest)
    assert toy.alpha_gradient(rest, rest, xi) == pytest.approx(0)  # alpha stays, and w = alpha
    run = toy.descend(xi, tol=1e-12, max_steps=100_000)  # the stop rule out of the way
    assert run.distance < 1e-8


@pytest.mark.parametrize("curvature", [0.5, 1, 2, 5])
def test_best_xi_is_one_over_the_curvature(curvature):
    assert toy.fixed_point(1 / curvature, curvature) == pytest.approx(1)
    run = toy.descend(1 / curvature, curvature=curvature, tol=1e-10, max_steps=100_000)
    assert run.end == pytest.approx(toy.OPTIMUM, abs=1e-6)
    # A Newton step: with xi = 1/c the unrolled w is alpha, wherever w is.
    w, alpha = 3.3, 0.4
    assert w - 1 / curvature * curvature * (w - alpha) == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("xi", "end", "loss", "solved"),
    [
        (0.0, (2.0016, 1.9967), 0.9934, 1.0),
        (0.3, (1.2486, 1.2535), 0.0679, 0.0625),
        (0.5, (1.0025, 1.0074), 0.0049, 0.0),
        (0.7, (0.8314, 0.8265), 0.0244, 0.0278),
    ],
)
def test_runs_end_near_not_at_the_fixed_point(xi, end, loss, solved):
    run = toy.descend(xi)
    assert run.end == pytest.approx(end, abs=5e-5)
    assert toy.valid_loss(*reversed(run.end)) == pytest.approx(loss, abs=5e-5)
    assert (toy.fixed_point(xi) - 1) ** 2 == pytest.approx(solved, abs=5e-5)
    rest = toy.fixed_point(xi)
    assert run.distance == pytest.approx(math.dist(end, (rest, rest)), abs=1e-4)
    assert 1e-3 < run.distance < 1e-2


def test_eigenvalues_beyond_the_largest_number_are_infinite():
    assert all(cmath.isinf(value) for value in toy.eigenvalues(0, 1e200))


@pytest.mark.parametrize("curvature", [0.7, 2.0, 3.5])
@pytest.mark.parametrize("xi", [*XIS, 1.5])
def test_eigenvalues_are_those_of_the_flow(xi, curvature):
    def flow(point):
        alpha, w = point
        return np.array([-toy.alpha_gradient(w, alpha, xi, curvature), -curvature * (w - alpha)])

    # The flow is linear but for a constant: its matrix is what it does to the two unit vectors.
    matrix = np.column_stack([flow(unit) - flow(np.zeros(2)) for unit in np.eye(2)])
    ours = toy.eigenvalues(xi, curvature)
    assert sum(ours) == pytest.approx(np.trace(matrix))
    assert np.prod(ours) == pytest.approx(np.linalg.det(matrix))
    if curvature == 2:
        root = np.emath.sqrt((2 * xi + 1) * (2 * xi - 1))
        assert ours == pytest.approx((-(2 * xi + 1) - root, -(2 * xi + 1) + root))
        spirals = any(value.imag for value in ours)
        assert spirals == (xi < 0.5)  # critically damped at 1/2, a node above


def test_large_steps_diverge_and_say_so():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert toy.descend(49).reason == "settled"
        run = toy.descend(51)
        assert run.reason == "diverged"
        assert run.steps < 10_000
        assert np.isfinite(run.alpha).all()
        assert run.distance > 1e6
        for xi in (1e200, np.float64(1e300)):  # numpy's own numbers would warn
            run = toy.descend(xi, curvature=np.float64(1e200))
            assert (run.reason, run.distance) == ("diverged", math.inf)
        run = toy.descend(1e200, curvature=1e200, start=(1, 1))  # infinity times 0
        assert (run.reason, run.distance) == ("diverged", math.inf)


def test_tiny_steps_settle_far_from_the_fixed_point():
    run = toy.descend(0, lr=1e-5)
    assert (run.reason, run.steps) == ("settled", 1)
    assert run.distance > 3.9
    run = toy.descend(0.5, lr=1e-3)
    assert run.reason == "settled"
    assert run.end[0] == pytest.approx(1.05, abs=5e-3)
    assert run.distance == pytest.approx(0.05, abs=5e-3)


def test_a_run_can_stop_at_the_limit():
    run = toy.descend(0, max_steps=10)
    assert (run.reason, run.steps) == ("limit", 10)
    np.testing.assert_array_equal(run.alpha, toy.descend(0).alpha[:11])


def test_a_start_at_rest_settles_at_once():
    run = toy.descend(0.5, start=(1, 1))
    assert (run.reason, run.steps, run.distance) == ("settled", 1, 0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"xi": -0.1}, "xi must be finite and 0 or more, not -0.1."),
        ({"xi": math.nan}, "xi must be finite and 0 or more, not nan."),
        ({"xi": math.inf}, "xi must be finite and 0 or more, not inf."),
        ({"lr": 0}, "lr must be finite and greater than 0, not 0.0."),
        ({"lr": math.nan}, "lr must be finite and greater than 0, not nan."),
        ({"tol": -1e-4}, "tol must be finite and greater than 0, not -0.0001."),
        ({"curvature": 0.0}, "curvature must be finite and greater than 0, not 0.0."),
        ({"start": 2.0}, "start must be a pair of finite numbers (alpha, w), not 2.0."),
        ({"start": (1, 2, 3)}, "start must be a pair of finite numbers (alpha, w), not (1, 2, 3)."),
        ({"start": (1, math.inf)}, "start must be a pair of finite numbers (alpha, w), not (1, i"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    with pytest.raises(ValueError) as error:
        toy.descend(**{"xi": 0.5} | arguments)
    assert words in str(error.value)
    assert str(error.value).endswith(".")


def test_what_is_no_number_is_left_to_python():
    with pytest.raises(ValueError, match="could not convert string to float: 'much'"):
        toy.descend("much")
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        toy.descend(0.5, max_steps=2.5)


def test_the_other_functions_check_too():
    for function in (toy.fixed_point, toy.eigenvalues):
        with pytest.raises(ValueError, match="xi must be finite and 0 or more"):
            function(-1)
        with pytest.raises(ValueError, match="curvature must be finite and greater than 0"):
            function(1, 0)


def test_repr_says_how_it_ended():
    assert repr(toy.descend(0.5)) == (
        "Trajectory(xi=0.5: settled after 296 steps at alpha=1.0025, w=1.0074, "
        "0.0078 from the fixed point 1)"
    )


def test_a_step_takes_about_a_microsecond():
    def round_():
        begin = time.perf_counter()
        return toy.descend(0).steps / (time.perf_counter() - begin)

    # 0.3 to 0.4 microseconds where it was measured; the bound leaves room for a slow, busy machine.
    assert 1 / max(round_() for _ in range(20)) < 3e-6


@pytest.mark.parametrize("xi", XIS)
@pytest.mark.parametrize("method", ["finite_difference", "exact"])
def test_the_general_hypergradient_takes_the_same_steps(xi, method):
    torch = pytest.importorskip("torch")
    from dartslib.gradients import hypergradient

    def train_loss(w, alpha):
        return toy.train_loss(w[0], alpha[0])

    def valid_loss(w, alpha):
        return toy.valid_loss(w[0], alpha[0])

    ours = toy.descend(xi, max_steps=50)
    alpha, w = (torch.tensor(number, dtype=torch.float64) for number in toy.START)
    for step in range(1, 51):
        found = hypergradient(train_loss, valid_loss, [w], [alpha], method=method, xi=xi)
        closed = toy.alpha_gradient(w.item(), alpha.item(), xi)
        assert found.gradient[0].item() == pytest.approx(closed, abs=1e-12)
        alpha = alpha - 1e-2 * found.gradient[0]
        leaf = w.clone().requires_grad_()
        w = w - 1e-2 * torch.autograd.grad(toy.train_loss(leaf, alpha), leaf)[0]
        assert alpha.item() == pytest.approx(ours.alpha[step], abs=1e-12)
        assert w.item() == pytest.approx(ours.w[step], abs=1e-12)


def test_at_xi_0_the_general_code_of_first_order_agrees():
    torch = pytest.importorskip("torch")
    from dartslib.gradients import hypergradient

    def valid_loss(w, alpha):
        return toy.valid_loss(w[0], alpha[0])

    alpha, w = (torch.tensor(number, dtype=torch.float64) for number in toy.START)
    found = hypergradient(None, valid_loss, [w], [alpha], method="first_order")
    assert found.gradient[0].item() == toy.alpha_gradient(-2.0, 2.0, 0.0)


def test_at_alpha_0_there_is_nothing_to_follow():
    # v = d L_val / d w' = alpha = 0: the finite difference has no direction, its term is 0.
    torch = pytest.importorskip("torch")
    from dartslib.gradients import hypergradient

    found = hypergradient(
        lambda w, alpha: toy.train_loss(w[0], alpha[0]),
        lambda w, alpha: toy.valid_loss(w[0], alpha[0]),
        [torch.tensor(1.0, dtype=torch.float64)],
        [torch.tensor(0.0, dtype=torch.float64)],
        xi=0.5,
    )
    assert found.implicit[0].item() == 0
    assert found.gradient[0].item() == pytest.approx(toy.alpha_gradient(1.0, 0.0, 0.5))


def test_the_toy_and_its_figures_load_no_torch():
    # What notebook 01 imports, and what it calls.
    code = """
import sys
import dartslib, dartslib.toy, dartslib.show
from dartslib import show, toy
runs = [toy.descend(xi) for xi in (0, 0.5)]
show.toy_map(runs)
show.toy_map(runs, first=60)
show.lines({"w": {"w": (range(len(runs[0].w)), runs[0].w)}}, x="steps", y="w")
show.XiExplorer()
heavy = {"torch", "torchvision", "pandas", "seaborn", "matplotlib.pyplot"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


# What notebook 01 says of its runs


def _settles(xi, **settings):
    return toy.descend(xi, **settings).reason == "settled"


def _rest_of_two_steps(xi):
    """Where a run that looks two steps ahead comes to rest; nan where it leaves."""
    alpha, w, left = 2.0, -2.0, (1 - 2 * xi) ** 2
    for _ in range(20_000):
        alpha -= 0.01 * (alpha + left * (w - alpha) - 2 + (1 - left) * alpha)
        w -= 0.02 * (w - alpha)
    return alpha if abs(alpha) < 1e3 else math.nan


def _losses(xi):
    run = toy.descend(xi)
    return toy.valid_loss(run.w, run.alpha)


SAID = {
    "comes to rest, content, near $L_{val} = 1$": lambda: abs(_losses(0)[-1] - 1) < 0.01,
    "It ends there from anywhere": lambda: all(
        toy.descend(0, start=(alpha, w)).distance < 0.02 for alpha in (-3, 0, 3) for w in (-3, 3)
    ),
    "rises the most, to 3.4": lambda: (
        round(_losses(0).max(), 1) == 3.4 and max(_losses(xi).max() for xi in XIS[1:]) < 3.4
    ),
    "All four *rise* from $-7$": lambda: all(
        _losses(xi)[0] == -7 and (np.diff(_losses(xi)[:50]) > 0).all() for xi in XIS
    ),
    "jumps from one side to the other": lambda: all(
        (np.diff(np.sign(np.diff(toy.descend(xi).alpha[:41]))) != 0).all() for xi in (49, 51)
    ),
    "0.36: steps this short": lambda: round(toy.descend(0.5, lr=1e-4).distance, 2) == 0.36,
    "Those from 0.40 to 0.80": lambda: all(
        _settles(k / 20, lr=0.8) == (8 <= k <= 16) for k in range(31)
    ),
    "from about 0.81 on it rests farther off than with one step": lambda: all(
        (abs(_rest_of_two_steps(xi) - 1) > abs(toy.fixed_point(xi) - 1)) == (xi > 0.81)
        for xi in (0.3, 0.6, 0.8, 0.82, 1.0)
    ),
    "otherwise always beyond 1": lambda: all(_rest_of_two_steps(xi) > 1 for xi in (0, 0.3, 0.7, 1)),
    "from about 1.21 on": lambda: (
        _rest_of_two_steps(1.15) > 1 and math.isnan(_rest_of_two_steps(1.25))
    ),
}


@pytest.mark.parametrize("phrase", SAID)
def test_what_notebook_01_says_is_so(phrase):
    text = markdown("01").replace("# ", "")  # a solution's comments run over lines
    assert phrase in text
    assert SAID[phrase]()

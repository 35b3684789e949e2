"""What the page of notebook 01 asks Python: a run of the toy problem, or how an answer stands.

It runs in the page's MicroPython, and in CPython where the page is built and tested.
"""

import json
import math

from dartslib import course, toy
from dartslib.show.toy_explorer import describe_run

POINTS = 200  # of a path, at most
XIS = [k / 20 for k in range(31)]  # 0 to 1.5
FINE_XIS = [k / 50 for k in range(76)]  # of the curves of eigenvalues


def reply(request: str) -> str:
    """The answer to a request, both in JSON: a check if the request has code, a run otherwise."""
    request = json.loads(request)
    return json.dumps(check(**request) if "code" in request else run(**request))


def run(*, xi, curvature, start, lr, tol, max_steps, shown=100) -> dict:
    """A run of `toy.steps`, and what the page draws of it.

    Args:
        xi, curvature, start, lr, tol, max_steps: as `toy.descend` has them.
        shown: how much of the run is shown, in percent of its steps.

    Returns rows (step, alpha, w, L_train, L_val) of the part that is shown; the number of steps;
    the fixed point; the two eigenvalues, [real, imaginary], here and for every xi; a sentence.
    """
    settings = {"xi": xi, "curvature": curvature, "lr": lr, "tol": tol, "max_steps": max_steps}
    places = list(toy.steps(start[0], start[1], **settings))
    alpha, w = [place[0] for place in places], [place[1] for place in places]
    done = toy.Trajectory(alpha, w, places[-1][2], xi, curvature)
    now = round(done.steps * shown / 100)
    rows = []
    for k in sorted({round(now * part / POINTS) for part in range(POINTS + 1)}):
        losses = toy.train_loss(w[k], alpha[k], curvature), toy.valid_loss(w[k], alpha[k])
        row = [k] + _rounded([alpha[k], w[k], losses[0], losses[1]])
        if all(math.isfinite(number) for number in row):
            rows.append(row)
    return {
        "rows": rows,
        "steps": done.steps,
        "rest": toy.fixed_point(xi, curvature),
        "rates": _pairs(xi, curvature),
        "curves": [_pairs(other, curvature) for other in FINE_XIS],
        "words": f"{describe_run(done, lr, now)} {_rates(xi, curvature)}",
    }


def check(*, code: str) -> None:
    """Runs a reader's code, which prints how it stands, as in the notebook."""
    try:
        exec(code, {"course": course, "toy": toy})
    except BaseException as error:  # whatever a reader may write
        print(f"not quite, because your code stops with {type(error).__name__}: {error}")


def _rounded(numbers):
    return [round(number, 5) for number in numbers]


def _pairs(xi, curvature):
    return [_rounded([rate.real, rate.imag]) for rate in toy.eigenvalues(xi, curvature)]


def _rates(xi, curvature):
    fast, slow = toy.eigenvalues(xi, curvature)
    if slow.imag:
        return f"Eigenvalues {slow.real:.3g} ± {slow.imag:.3g}i: a spiral."
    return f"Eigenvalues {fast.real:.3g} and {slow.real:.3g}: no spiral."

"""A check for each exercise: it calls what the reader wrote, and says why an answer is not right.

The checks stand in a file per notebook, checks_01.py and so on. Those of 01 need nothing of this
file, since the notebook's page runs them, too.

A check returns None for a right answer and the reason for another one, such that "not quite,
because" can stand before it. It compares with an independent calculation wherever there is one, and
knows the answers that readers give most often.
"""

from collections.abc import Callable
from typing import Any

from dartslib.course import checks_01

CHECKS: dict[str, Callable[..., str | None]] = {check.__name__: check for check in checks_01.CHECKS}


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
        other = next(iter(CHECKS))
        raise ValueError(f"There is no exercise {name!r}: choose another, such as {other}.")
    try:
        reason = CHECKS[name](*map(_asked, answers))
    except _NotYet:
        return "not yet: write your answer where the dots are"
    except Exception as error:  # whatever a reader's function may do
        reason = f"your code stops with {type(error).__name__}: {error}"
    return "right" if reason is None else f"not quite, because {reason}"


class _NotYet(Exception):
    """An answer is missing."""


def exercise(check: Callable[..., str | None]) -> Callable[..., str | None]:
    """Decorator: the function checks the exercise of its name."""
    CHECKS[check.__name__] = check
    return check


def _there(answer: Any) -> Any:
    if answer is ... or answer is None:
        raise _NotYet
    return answer


def _asked(answer: Any) -> Any:
    """The answer; a function in such a form that it has to return something."""
    _there(answer)
    return (lambda *given: _there(answer(*given))) if callable(answer) else answer


def beside(guess: Any, result: float, unit: str = "", form: str = "{:.3g}") -> None:
    """Prints a reader's guess beside the result.

    Args:
        guess: a number in the result's unit; `...` where none was entered.
        result: what came out.
        unit: of both, such as "%" or "times".
        form: how the numbers are written.

    Raises:
        TypeError: the guess is no number.
    """
    unit = f" {unit}" if unit and unit != "%" else unit
    said = f"the result: {form.format(result)}{unit}; your guess: "
    if guess is ...:
        print(f"{said}none yet")
    elif isinstance(guess, (int, float)):
        away = form.format(abs(guess - result))
        print(f"{said}{form.format(guess)}{unit}, off by {away}{unit}")
    else:
        raise TypeError(f"A guess is a number, not {guess!r}.")

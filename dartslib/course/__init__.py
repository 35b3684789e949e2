"""The exercises of the notebooks: `course.check(name, …)` says in one line how an answer stands.

    not yet: write your answer where the dots are
    not quite, because …
    right

`course.beside(guess, result)` sets a guess beside the result. Texts, hints and solutions stand in
exercises.toml, the checks of notebook 01 in checks_01.py, and so on.
"""

from dartslib.course import checks_02, checks_03, checks_04, checks_05  # noqa: F401
from dartslib.course.checks import beside, check

__all__ = ["beside", "check"]

"""Genotypes as the paper's code prints them: Genotype(normal=[('sep_conv_3x3', 0), …], …).

The text is taken apart, never run.
"""

import ast
from typing import Any

from dartslib.genotypes import Genotype

MOST = 5_000  # letters of a genotype
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


def read_usual(text: str) -> Genotype | None:
    """The genotype of such a text; None if it is none.

    Raises:
        ValueError: it cannot be a genotype of this package, and why.
    """
    found = {piece for piece in map(_call, text.split("Genotype(")[1:]) if piece}
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"There are {len(found)} genotypes in this text: give a file with one.")
    call = ast.parse(found.pop(), mode="eval").body
    given = dict(zip(FIELDS, call.args, strict=False))
    given |= {word.arg: word.value for word in call.keywords}
    cells = []
    for cell in ("normal", "reduce"):
        pairs, kept = (_value(given.get(name), name) for name in (cell, f"{cell}_concat"))
        if not isinstance(pairs, list | tuple) or len(pairs) % 2:
            raise ValueError(
                f"The Genotype's {cell} is to be a list of pairs (operation, state), two per node."
            )
        all_of_them = range(2, 2 + len(pairs) // 2)
        if kept not in (all_of_them, [*all_of_them], (*all_of_them,)):
            raise ValueError(
                f"The Genotype's {cell}_concat is {kept!r:.60}: cells here give out all of their "
                f"{len(pairs) // 2} nodes, so only cells that do so can be read."
            )
        cells.append([pairs[k : k + 2] for k in range(0, len(pairs), 2)])
    return Genotype(*cells)


def _call(text: str) -> str:
    """The whole call whose arguments a text begins with, such as a line of a log; "" if none."""
    for end, letter in enumerate(text[:MOST]):
        if letter == ")":
            try:
                call = f"Genotype({text[: end + 1]}"
                ast.parse(call, mode="eval")
                return call
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue  # the end of a pair, or of a range
    return ""


def _value(node: ast.expr | None, name: str) -> Any:
    """A literal, or a range of literal numbers."""
    try:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "range":
            return range(*map(ast.literal_eval, node.args))
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        raise ValueError(
            f"The Genotype's {name} is missing or is no plain list: give normal=[…], "
            "normal_concat=range(2, 6), reduce=[…], reduce_concat=range(2, 6)."
        ) from None

"""One color and marker an operation, one color and shape a state: the same in every figure.

Pairs are a dark and a light color (3x3 and 5x5, max and average pool), so that they are told apart
without hue; marker and dashes say it too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb

from dartslib.show.style import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILION

WIDTH = 9.6  # inches of every figure: what a notebook's column holds
SOLID, DASHED, DOTTED = "-", (0, (5, 1.6)), (0, (1.2, 1.6))


@dataclass(frozen=True)
class Look:
    """How an operation is drawn: color, marker and dashes of its line."""

    color: str
    marker: str
    dashes: object = SOLID


PINK = "#E39FC9"  # Okabe and Ito's purple is to some eyes the grey of their green
OPERATIONS = {
    "sep_conv_3x3": Look(BLUE, "o"),
    "sep_conv_5x5": Look(SKY, "s", DASHED),
    "dil_conv_3x3": Look(VERMILION, "^"),
    "dil_conv_5x5": Look(ORANGE, "v", DASHED),
    "max_pool_3x3": Look(GREEN, "D"),
    "avg_pool_3x3": Look(PINK, "P", DASHED),
    "skip_connect": Look(BLACK, "X"),
    "none": Look(GREY, "", DOTTED),
}
# For operations a reader adds: dark colors that none of the above has.
OTHERS = (Look("#882255", "*"), Look("#999933", "h"), Look("#332288", "<"), Look("#661100", ">"))


def look(operation: str, operations: Sequence[str] = ()) -> Look:
    """The look of an operation; one that is not built in takes the next free look.

    Args:
        operation: its name.
        operations: all names of the space, so that two added operations do not look alike.
    """
    if operation in OPERATIONS:
        return OPERATIONS[operation]
    added = [name for name in operations if name not in OPERATIONS]
    place = added.index(operation) if operation in added else sum(operation.encode())
    return OTHERS[place % len(OTHERS)]


@dataclass(frozen=True)
class Wire:
    """An edge of a drawn cell: from state to state, with its label and pen."""

    source: int
    target: int
    text: str = ""
    note: str = ""  # goes on after the text, on a line of its own where there is little room
    color: str = BLACK
    width: float = 2.0  # points
    kept: bool = True  # one that is cut lies below the others


@dataclass(frozen=True)
class StateLook:
    """How a state of a cell is drawn: edge color, fill, its shape's name in Graphviz, borders."""

    color: str
    fill: str
    shape: str
    borders: int = 1


# Red, green and blue as in the report's Figure 3, in hues every eye tells apart; shapes say it too.
INPUT = StateLook(VERMILION, "#FBE3D3", "box")
NODE = StateLook(GREEN, "#D3EEE4", "circle")
OUTPUT = StateLook(BLUE, "#D2E5F2", "box", 2)


def ink(fill: Sequence[float] | str) -> str:
    """Black or white, whichever stands out more on a color (contrast after WCAG 2.1)."""
    c = np.asarray(to_rgb(fill))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return "white" if linear @ (0.2126, 0.7152, 0.0722) < 0.179 else BLACK


def state_look(state: int, nodes: int) -> StateLook:
    """The look of a state: 0 and 1 are inputs, then the nodes, then the output."""
    if state < 2:
        return INPUT
    return NODE if state < 2 + nodes else OUTPUT


def state_name(state: int) -> str:
    """A state in words: c_{k-2}, c_{k-1}, then 1, 2, … for the intermediate nodes."""
    return ("c_{k-2}", "c_{k-1}")[state] if state < 2 else str(state - 1)


def state_math(state: int) -> str:
    """The same for matplotlib, with the index set low."""
    return f"${state_name(state)}$" if state < 2 else str(state - 1)

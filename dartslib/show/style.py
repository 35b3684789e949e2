"""How figures look: one place for colors, letters, and the marks of operations, states and runs.

All readers can tell the colors apart, and a marker or a dash says the same besides. Nothing global
changes: `styled` puts the settings around one drawing function, no more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from dartslib.space import SearchSpace

WIDTH = 9.6  # inches of every figure: what a notebook's column holds

# Okabe and Ito, "Color Universal Design" (2008): told apart with any common color vision.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
BAND = "#e8e8e8"  # behind what is drawn
GREY = "#767676"  # the lightest grey that text may have on white (contrast 4.5 : 1)
KEPT = VERMILION  # outlines what derivation keeps
SHADES = colormaps["Blues"].resampled(50)  # few, so that a PNG with a palette has them all

RC = {
    "font.size": 13,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "axes.titlesize": 14,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.2,
    "lines.markersize": 8,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}  # fmt: skip

# Decorator: a function draws with these settings; the caller's own are back afterwards.
styled = matplotlib.rc_context(RC)

SOLID, DASHED, DOTTED = "-", (0, (5, 1.6)), (0, (1.2, 1.6))


@dataclass(frozen=True)
class Look:
    """How an operation or a run is drawn: color, marker and dashes of its line."""

    color: str
    marker: str
    dashes: object = SOLID

    @property
    def pen(self) -> dict[str, str]:
        """Color and marker, with a white rim."""
        return {"color": self.color, "marker": self.marker, "mec": "white"}


# In this order, a marker besides each color; yellow is too light for lines.
LINES = tuple(map(Look, (VERMILION, ORANGE, GREEN, BLUE, PURPLE, SKY, BLACK), "os^DvPX"))
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
# For operations a reader adds, and labels after the seventh: dark colors that none above has.
OTHERS = (Look("#882255", "*"), Look("#999933", "h"), Look("#332288", "<"), Look("#661100", ">"))


def look(operation: str, operations: Sequence[str] = ()) -> Look:
    """The look of an operation; one that is not built in takes the next free look.

    Args:
        operation: its name.
        operations: all names of the space, so that two added operations do not look alike.
    """
    if operation in OPERATIONS:
        return OPERATIONS[operation]
    added = [name for name in (*operations, operation) if name not in OPERATIONS]
    return OTHERS[added.index(operation) % len(OTHERS)]


def color_key(operations: Sequence[str]) -> list[Rectangle]:
    """Handles of a legend: the color of each operation but none."""
    return [
        Rectangle((0, 0), 1, 1, fc=look(name, operations).color, label=name)
        for name in operations
        if name != "none"
    ]


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
    """The same for matplotlib, with the index set low; its minus without room to both sides."""
    return f"${state_name(state)}$".replace("-", "{-}") if state < 2 else str(state - 1)


def state_words(state: int) -> str:
    """The same in a sentence: c_{k-2}, c_{k-1}, node 1, node 2, …."""
    return state_name(state) if state < 2 else f"node {state - 1}"


def edges_words(edges: Sequence[tuple[str, int]]) -> str:
    """What a node reads, (operation, state) each: sep_conv_3x3 of c_{k-2} and none of node 1."""
    terms = [f"{operation} of {state_words(state)}" for operation, state in edges]
    return " and ".join(filter(None, [", ".join(terms[:-1]), terms[-1]]))


def edge_names(space: SearchSpace, gap: str = " ") -> list[str]:
    """The edges of a space for matplotlib: from, `gap`, and an arrow to the node."""
    return [f"{state_math(source)}{gap}→ {target - 1}" for source, target in space.edges]


# Ways to search, by their name in records and in words: the same look in every figure.
WAYS = {
    "one_level": "one level",
    "first_order": "ξ = 0",
    "finite_difference": "ξ > 0",
    "exact": "exact",
    "random": "at random",
}
KNOWN = {name: pen for both, pen in zip(WAYS.items(), LINES, strict=False) for name in both}
# The other xi that notebook 01 compares.
KNOWN |= {"ξ = 0.3": LINES[0], "ξ = 0.5": LINES[2], "ξ = 0.7": LINES[3]} | OPERATIONS


def looks(labels: Collection[str]) -> dict[str, Look]:
    """Label -> its look: operations and ways to search their own, others the free ones in order.

    Before a comma a label may name its way: "ξ = 0, seed 1" looks as "ξ = 0" does.
    """
    found = {label: KNOWN.get(label.split(",")[0].split("\n")[0].strip()) for label in labels}
    taken = {pen.color for pen in found.values() if pen}
    free = cycle([pen for pen in (*LINES, *OTHERS) if pen.color not in taken])
    return {label: pen or next(free) for label, pen in found.items()}

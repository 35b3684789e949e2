"""How the figures look: colors that all readers can tell apart, letters for a lecture hall.

Nothing global changes: `styled` puts the settings around one drawing function, no more.
"""

from collections.abc import Callable
from itertools import cycle
from typing import TypeVar

import matplotlib

# Okabe and Ito, "Color Universal Design" (2008): told apart with any common color vision.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
BAND = "#e8e8e8"  # behind what is drawn
GREY = "#767676"  # the lightest grey that text may have on white (contrast 4.5 : 1)
# In this order; yellow is too light for lines.
COLORS = (VERMILION, ORANGE, GREEN, BLUE, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # a marker besides each color

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
    "svg.hashsalt": "dartslib",
}  # fmt: skip

Draw = TypeVar("Draw", bound=Callable)


def styled(draw: Draw) -> Draw:
    """Decorator: `draw` runs with the settings above, the caller's own are back afterwards."""
    return matplotlib.rc_context(RC)(draw)


def looks() -> cycle:
    """Endless (color, marker) pairs, in one fixed order."""
    return cycle(zip(COLORS, MARKERS, strict=True))

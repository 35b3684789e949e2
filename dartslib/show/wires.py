"""A cell drawn with matplotlib alone: states on a diagonal, an edge as a bow above it.

The explorers move its parts; machines without the program dot draw whole cells with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from dartslib.show.style import BLACK, GREY, WIDTH, Look, state_look, state_math, styled

APART = 0.13  # neighboring edges at a state
RADIUS = 0.27  # of a state


@dataclass(frozen=True)
class Wire:
    """An edge of a drawn cell: from state to state, with its operation and pen."""

    source: int
    target: int
    operation: str = ""
    pen: Look = Look(BLACK, "")
    width: float = 2.0  # points


def draw_cell(
    axes: Axes, nodes: int, edges: Sequence[tuple[int, int]]
) -> tuple[list[Line2D], list[Artist]]:
    """Draws a cell to be moved: all of it is `animated`.

    Args:
        axes: empty; theirs is all the room.
        nodes: how many intermediate nodes it has.
        edges: (source state, target state) of each.

    Returns:
        The edges' lines, one per edge, to be colored; and the states, which lie on them.
    """
    axes.axis("off")
    axes.set(xlim=(-0.75, nodes + 1.05), ylim=(0.45 - nodes, 1.3), aspect="equal")
    place = {0: (-0.35, 0.8), 1: (-0.35, -0.35)}
    place |= {state: (state - 1.0, 2.0 - state) for state in range(2, nodes + 2)}
    wires, states = [], []
    for edge, (source, target) in enumerate(edges):
        # Side by side where they arrive and where they leave, so that none hides another.
        arriving = sorted((s, k) for k, (s, t) in enumerate(edges) if t == target)
        leaving = sorted((t, k) for k, (s, t) in enumerate(edges) if s == source)
        right = APART * ((len(arriving) - 1) / 2 - arriving.index((source, edge)))
        up = APART * (nodes / 2 - 1 - leaving.index((target, edge)))
        (x, y), (x_end, y_end) = place[source], place[target]
        bow = _bow((x, y + up), (x_end + right, y_end))
        wires += axes.plot(*bow, animated=True, solid_capstyle="butt")
    for state, (x, y) in place.items():
        style = state_look(state, nodes)
        disc = Circle((x, y), RADIUS, fc=style.fill, ec=style.color, lw=2, animated=True, zorder=3)
        name = {"ha": "center", "va": "center", "size": 12, "animated": True, "zorder": 4}
        states += [axes.add_patch(disc), axes.text(x, y, state_math(state), **name)]
    return wires, states


def _bow(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """A quadratic curve that leaves `start` to the right and reaches `end` from above, (2, 24)."""
    t = np.linspace(0, 1, 24)
    points = zip(start, (end[0], start[1]), end, strict=True)
    return np.array([(1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c for a, b, c in points])


@styled
def plain_cell(title: str, nodes: int, wires: Sequence[Wire]) -> Figure:
    """The drawing of a whole cell, as wide as a notebook's column: a legend names the operations.

    Args:
        title: stands above the cell.
        nodes: how many intermediate nodes it has.
        wires: its edges; states are numbered as in `SearchSpace`.
    """
    figure = Figure(figsize=(WIDTH, nodes + 1.9))
    axes = figure.add_subplot(title=title)
    lines, states = draw_cell(axes, nodes, [(wire.source, wire.target) for wire in wires])
    named = {}
    for line, wire in zip(lines, wires, strict=True):
        line.set(color=wire.pen.color, ls=wire.pen.dashes, lw=wire.width + 1)
        named[wire.operation] = Line2D([], [], color=wire.pen.color, ls=wire.pen.dashes, lw=3)
    output = nodes + 1.5, (1 - nodes) / 2
    axes.set_xlim(right=output[0] + 0.4)
    for state in range(1, nodes + 1):  # the concatenation
        ends = (state, output[0]), (1 - state, output[1])
        axes.plot(*ends, "--", color=GREY, lw=1.6, zorder=1)
    look, name = state_look(nodes + 2, nodes), {"ha": "center", "va": "center", "size": 13}
    axes.text(*output, "$c_k$", bbox={"fc": look.fill, "ec": look.color, "lw": 2}, **name)
    for artist in (*lines, *states):
        artist.set_animated(False)
    if any(named):
        figure.legend(named.values(), named, loc="outside lower center", ncols=4)
    return figure

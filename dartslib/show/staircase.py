"""A cell drawn with matplotlib alone, for machines without the program dot.

Every state has a row and a column of its own, so that the states walk down a staircase. A wire
leaves its source downwards and reaches its target from the left: no wire can run through a label,
whatever the cell.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from dartslib.show.style import (
    BLACK,
    GREY,
    WIDTH,
    StateLook,
    state_look,
    state_math,
    styled,
)

# Inches, all of them.
HEAD = 0.42  # the title
LETTER = 0.105  # the width of one in a label of 12 points
RADIUS, ARROW = 0.23, 0.27  # of a node; from a label to its node
SPREAD = 0.085  # between two wires that leave one state
PEN = {"arrowstyle": "-|>,head_length=0.5,head_width=0.24", "mutation_scale": 12}


@dataclass(frozen=True)
class Wire:
    """An edge of a drawn cell: from state to state, with its label and pen."""

    source: int
    target: int
    text: str = ""
    color: str = BLACK
    width: float = 2.0  # points


@styled
def draw_staircase(title: str, nodes: int, wires: Sequence[Wire]) -> Figure:
    """The drawing of a cell, as wide as a notebook's column.

    Args:
        title: stands above the cell.
        nodes: how many intermediate nodes it has.
        wires: its edges; states are numbered as in `SearchSpace`.
    """
    leaving = defaultdict(list)  # farthest target first: so none cross where they leave
    for wire in sorted(wires, key=lambda w: -w.target):
        leaving[wire.source].append(wire)
    column = 0.65 + LETTER * max((len(wire.text) for wire in wires), default=0)
    column += SPREAD / 2 * max(map(len, leaving.values()), default=1)
    x = [0.34, 0.98, *(0.98 + column * (place + 1) for place in range(nodes))]
    x.append(x[-1] + RADIUS + 0.55)
    y, lanes, bottom = _rows(nodes, wires)
    scale = min(1.0, WIDTH / (x[-1] + 0.22))  # below 1 for cells of more nodes than a page holds
    height = HEAD - bottom * scale
    figure = Figure(figsize=(WIDTH, height), layout="none")
    figure.text(0.5, 1 - 0.12 / height, title, ha="center", va="top", size=14)
    axes = figure.add_axes((0, 0, 1, 1 - HEAD / height))
    middle, half = (x[-1] + 0.22) / 2, WIDTH / scale / 2
    axes.set(xlim=(middle - half, middle + half), ylim=(bottom, 0))
    axes.axis("off")
    for source, wires_here in leaving.items():
        for place, wire in enumerate(wires_here):
            start = x[source] + SPREAD * (place - (len(wires_here) - 1) / 2), y[source]
            end = x[wire.target], y[wire.target]
            _draw_wire(axes, wire, start, end, lanes[id(wire)])
    for state in range(2, nodes + 2):  # the concatenation
        ends = (x[-1] - 0.2, y[state]), (x[state] + RADIUS, y[state])
        arrow = PEN | {"color": GREY, "lw": 1.6, "ls": "--", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", *ends, arrowprops=arrow)
    for state in range(nodes + 2):
        size = (0.54, 0.36) if state < 2 else (2 * RADIUS, 2 * RADIUS)
        _draw_state(axes, state_math(state), (x[state], y[state]), size, state_look(state, nodes))
    middle, tall = (y[2] + y[-1]) / 2, y[2] - y[-1] + 0.4  # the output spans the rows of all nodes
    for size in ((0.36, tall), (0.25, tall - 0.11)):
        _draw_state(axes, "$c_k$", (x[-1], middle), size, state_look(nodes + 2, nodes))
    for text in axes.texts:
        text.set_size(text.get_size() * scale)
    return figure


def _rows(nodes: int, wires: Sequence[Wire]) -> tuple[list[float], dict[int, float], float]:
    """y of each state, of each wire's lane (by its id), and of the bottom; 0 is the top."""
    y, lanes, top = [-0.2, -0.62], {}, -0.9
    for state in range(2, nodes + 2):
        begin = top
        # Nearest source first, so that the wires' corners nest.
        for wire in sorted((w for w in wires if w.target == state), key=lambda w: -w.source):
            lane = 0.34 if wire.text else 0.28
            lanes[id(wire)] = top - lane / 2
            top -= lane
        top = min(top, begin - 2 * RADIUS - 0.04)
        y.append((begin + top) / 2)
        top -= 0.13
    return y, lanes, top + 0.05


def _draw_wire(
    axes: Axes,
    wire: Wire,
    start: tuple[float, float],
    end: tuple[float, float],
    lane: float,
) -> None:
    """Down from `start` to the lane, right to the label, then to the state at `end`."""
    (x, y), (x_end, y_end) = start, end
    corner, front = min(0.1, abs(y - lane)), x_end - RADIUS - ARROW
    bend = ((x, x, x + corner, front), (y, lane + corner, lane, lane))
    axes.plot(
        *bend, color="white", lw=wire.width + 2, zorder=1.5
    )  # lifts it above those it crosses
    axes.plot(*bend, color=wire.color, lw=wire.width, zorder=2)
    # The arrow points to the circle's center and stops at its edge.
    dx, dy = x_end - front, y_end - lane
    inside = (RADIUS + 0.02) / (dx**2 + dy**2) ** 0.5
    arrow = PEN | {"color": wire.color, "lw": wire.width, "shrinkA": 0, "shrinkB": 0}
    tip = (x_end - dx * inside, y_end - dy * inside)
    axes.annotate("", tip, (front - 0.01, lane), zorder=2, arrowprops=arrow)
    if wire.text:
        frame = {"boxstyle": "round,pad=0.22", "fc": "white", "ec": wire.color, "lw": 1.5}
        axes.text(front - 0.04, lane, wire.text, ha="right", va="center", size=12, zorder=4,
                  bbox=frame)  # fmt: skip


def _draw_state(
    axes: Axes, name: str, at: tuple[float, float], size: tuple[float, float], style: StateLook
) -> None:
    """A box, or a circle, around the name of a state."""
    pen = {"fc": style.fill, "ec": style.color, "lw": 2, "zorder": 5}
    if style.shape == "circle":
        axes.add_patch(Circle(at, RADIUS, **pen))
    else:
        corner = (at[0] - size[0] / 2, at[1] - size[1] / 2)
        shape = {"boxstyle": "round,pad=0,rounding_size=0.04"}
        axes.add_patch(FancyBboxPatch(corner, *size, **shape, **pen))
    axes.text(*at, name, ha="center", va="center", size=13, zorder=6)

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
from matplotlib.textpath import TextPath

from dartslib.show.style import (
    BLACK,
    GREY,
    INPUT,
    NODE,
    OUTPUT,
    WIDTH,
    StateLook,
    state_math,
    styled,
)

# Inches, all of them.
HEAD = 0.42  # the title
INPUTS = (0.34, 0.98)  # where the two inputs stand
RADIUS = 0.23  # of a node
ARROW, GAP = 0.27, 0.1  # from a label to its node; from the wires before it to the label
LANE, LINE, THIN = 0.13, 0.21, 0.15  # height of a wire's lane: frame, each line of text; no label
SPREAD = 0.085  # between two wires that leave one state
LETTERS = 12.0  # points


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


@styled
def draw_staircase(title: str, nodes: int, wires: Sequence[Wire]) -> Figure:
    """The drawing of a cell, as wide as a notebook's column.

    Args:
        title: stands above the cell.
        nodes: how many intermediate nodes it has.
        wires: its edges; states are numbered as in `SearchSpace`.
    """
    leaving = _leaving(wires)
    room = max((len(order) for order in leaving.values()), default=1) * SPREAD / 2
    texts, x = _columns(nodes, wires, room)
    y, lane_y, bottom = _rows(nodes, wires, texts)
    right = x[-1] + 0.22
    scale = min(1.0, WIDTH / right)  # below 1 for cells of more nodes than a page holds
    height = HEAD - bottom * scale
    figure = Figure(figsize=(WIDTH, height), layout="none")
    figure.text(0.5, 1 - 0.12 / height, title, ha="center", va="top", size=14)
    axes = figure.add_axes((0, 0, 1, 1 - HEAD / height))
    half = WIDTH / scale / 2
    axes.set(xlim=(right / 2 - half, right / 2 + half), ylim=(bottom, 0))
    axes.axis("off")
    for source, order in leaving.items():
        for place, wire in enumerate(order):
            start = x[source] + SPREAD * (place - (len(order) - 1) / 2), y[source]
            end = x[wire.target], y[wire.target]
            _draw_wire(axes, wire, start, end, lane_y[id(wire)], texts[id(wire)], LETTERS * scale)
    for state in range(2, nodes + 2):  # the concatenation
        _draw_arrow(axes, (x[state] + RADIUS, y[state]), (x[-1] - 0.2, y[state]), GREY, 1.6, "--")
    for state in range(nodes + 2):
        _draw_state(axes, state, x[state], y[state], (LETTERS + 1) * scale)
    low, high = y[-1] - 0.2, y[2] + 0.2  # the output takes in the rows of all nodes
    for inset in (0.0, 0.055):
        _draw_box(axes, x[-1], (low + high) / 2, 0.36 - 2 * inset, high - low - 2 * inset, OUTPUT)
    axes.text(
        x[-1], (low + high) / 2, "$c_k$", ha="center", va="center", size=LETTERS + 1, zorder=6
    )
    return figure


def _leaving(wires: Sequence[Wire]) -> dict[int, list[Wire]]:
    """The wires out of each state, farthest target first: so none cross where they leave."""
    leaving = defaultdict(list)
    for wire in sorted(wires, key=lambda w: -w.target):
        leaving[wire.source].append(wire)
    return leaving


def _columns(nodes: int, wires: Sequence[Wire], room: float) -> tuple[dict[int, str], list[float]]:
    """The labels by wire, on two lines if one is too wide for the page, and x of each state."""
    for between in ("  ", "\n"):
        texts = {id(w): between.join(filter(None, (w.text, w.note))) for w in wires}
        label = max((_text_width(text) for text in texts.values() if text), default=0.3)
        column = room + GAP + label + ARROW + RADIUS
        states = [*INPUTS, *(INPUTS[1] + column * (place + 1) for place in range(nodes))]
        x = [*states, states[-1] + RADIUS + 0.55]
        if x[-1] + 0.22 <= WIDTH:
            break
    return texts, x


def _rows(
    nodes: int, wires: Sequence[Wire], texts: dict[int, str]
) -> tuple[list[float], dict[int, float], float]:
    """y of each state and of each wire's lane, and of the bottom; 0 is the top."""
    y, lane_y, top = [-0.2, -0.62], {}, -0.9
    for state in range(2, nodes + 2):
        # Nearest source first, so that the wires' corners nest.
        lanes = sorted((w for w in wires if w.target == state), key=lambda w: -w.source)
        heights = [
            LANE + LINE * (texts[id(wire)].count("\n") + 1) if texts[id(wire)] else THIN
            for wire in lanes
        ]
        row = max(sum(heights), 2 * RADIUS + 0.04)
        down = top - (row - sum(heights)) / 2
        for wire, height in zip(lanes, heights, strict=True):
            lane_y[id(wire)] = down - height / 2
            down -= height
        y.append(top - row / 2)
        top -= row + 0.13
    return y, lane_y, top + 0.05


def _draw_wire(
    axes: Axes,
    wire: Wire,
    start: tuple[float, float],
    end: tuple[float, float],
    lane: float,
    text: str,
    letters: float,
) -> None:
    """Down from `start` to the lane, right to the label, then to the state at `end`."""
    (x, y), (x_end, y_end) = start, end
    corner, front = min(0.1, abs(y - lane)), x_end - RADIUS - ARROW
    bend = [(x, y), (x, lane + corner), (x + corner, lane), (front, lane)]
    level = 2 if wire.kept else 1
    halo = {"color": "white", "lw": wire.width + 2, "zorder": level - 0.5}
    axes.plot(*zip(*bend, strict=True), **halo)  # lifts the wire above those it crosses
    axes.plot(*zip(*bend, strict=True), color=wire.color, lw=wire.width, zorder=level)
    # The arrow points to the circle's center and stops at its edge.
    dx, dy = x_end - front, y_end - lane
    inside = (RADIUS + 0.02) / (dx**2 + dy**2) ** 0.5
    tip = (x_end - dx * inside, y_end - dy * inside)
    _draw_arrow(axes, (front - 0.01, lane), tip, wire.color, wire.width, "-", level)
    if text:
        frame = {"boxstyle": "round,pad=0.22", "fc": "white", "ec": wire.color, "lw": 1.5}
        axes.text(front - 0.04, lane, text, ha="right", va="center", ma="center", size=letters,
                  linespacing=1.05, zorder=4, bbox=frame)  # fmt: skip


def _draw_arrow(
    axes: Axes,
    start: tuple[float, float],
    tip: tuple[float, float],
    color: str,
    width: float,
    dashes: str,
    level: float = 1,
) -> None:
    head = {"arrowstyle": "-|>,head_length=0.5,head_width=0.24", "mutation_scale": 12}
    pen = {"color": color, "lw": width, "ls": dashes, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", tip, start, zorder=level, arrowprops=head | pen)


def _draw_state(axes: Axes, state: int, x: float, y: float, letters: float) -> None:
    if state < 2:
        _draw_box(axes, x, y, 0.54, 0.36, INPUT)
    else:
        axes.add_patch(Circle((x, y), RADIUS, fc=NODE.fill, ec=NODE.color, lw=2, zorder=5))
    axes.text(x, y, state_math(state), ha="center", va="center", size=letters, zorder=6)


def _draw_box(
    axes: Axes, x: float, y: float, width: float, height: float, style: StateLook
) -> None:
    corner = (x - width / 2, y - height / 2)
    shape = {"boxstyle": "round,pad=0,rounding_size=0.04"}
    pen = {"fc": style.fill, "ec": style.color, "lw": 2, "zorder": 5}
    axes.add_patch(FancyBboxPatch(corner, width, height, **shape, **pen))


def _text_width(text: str) -> float:
    """Inches a label takes, with its frame."""
    lines = text.split("\n")
    return max(TextPath((0, 0), s, size=LETTERS).get_extents().width for s in lines) / 72 + 0.12

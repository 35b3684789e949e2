"""Notebook 03's explorer: a search moment by moment, its map, its entropy and its cell together."""

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from dartslib.genotypes import Choice, choices, entropy
from dartslib.show.decisions import decided
from dartslib.show.explorers import DPI, WIDE, Explorer, Player
from dartslib.show.figures import HISTORY, TOP, arrays
from dartslib.show.style import (
    BLACK,
    BLUE,
    KEPT,
    SHADES,
    WIDTH,
    edge_names,
    ink,
    look,
    state_look,
    state_math,
    state_words,
)
from dartslib.space import CELL_TYPES, SearchSpace

CUT = "#B3B3B3"
APART = 0.13  # neighboring edges at a state; a state's radius is 0.27
BROADEST = 16.0  # points of an edge whose operation has probability 1


class SearchExplorer(Explorer):
    """A search moment by moment.

    Left, the softmax of alpha, what derivation would keep outlined; below it the mean entropy of
    the edges, with a tick at each moment at which the derived cell is another one than before.
    Right, the cell: an edge is as wide as its best operation is probable, in that operation's
    color if it would be kept, grey if not.

    Attributes:
        moment: which record, a slider of steps; `play` moves it.
        run: which search.  cell_type: "normal" or "reduction".
        flips: the places of the records at which the derived cell changed.
    """

    def __init__(self, histories: Mapping[str, HISTORY], space: SearchSpace) -> None:
        if not histories:
            raise ValueError("SearchExplorer needs at least one search: {label: history}.")
        self.space = space
        self._histories = {label: arrays(history) for label, history in histories.items()}
        self.run = widgets.Dropdown(options=list(histories), description="search", **WIDE)
        self.cell_type = widgets.ToggleButtons(
            options=CELL_TYPES, description="cell", style={"button_width": "7em"}
        )
        steps = self._history["step"]
        self.moment = widgets.SelectionSlider(
            options=_options(steps), index=len(steps) - 1, description="step", **WIDE
        )
        self.play = Player(self.moment, "index", len(steps) - 1, 1, 0.2)
        figure = Figure(figsize=(WIDTH, 6.0), dpi=DPI, layout="none")
        colors = list(dict.fromkeys(look(name, space.operations).color for name in self._names))
        rows = ((self.run, self.cell_type), (self.moment, self.play))
        super().__init__(figure, rows, [*colors, KEPT], SHADES(np.linspace(0, 1, SHADES.N)))
        self.moment.observe(self.update, "index")
        self.cell_type.observe(self.redraw, "value")
        self.run.observe(self._other_run, "value")

    @property
    def _history(self) -> dict[str, np.ndarray]:
        return self._histories[self.run.value]

    @property
    def _names(self) -> list[str]:
        return [name for name in self.space.operations if name != "none"]

    def _other_run(self, _: dict) -> None:
        steps = self._history["step"]
        self.moment.unobserve(self.update, "index")  # the maps are still those of the other run
        self.moment.options, self.moment.index = _options(steps), len(steps) - 1
        self.moment.observe(self.update, "index")
        self.play.last = len(steps) - 1
        self.redraw()

    def ground(self) -> None:
        """Axes, the entropy over the whole run, the ticks where the cell changes, the states."""
        history, kind = self._history, self.cell_type.value
        self._tables = history[f"probabilities_{kind}"]
        self._choices = {
            t: [c for c in choices(tables, self.space) if c.cell_type == kind]
            for t, tables in decided(history).items()
        }
        self.flips = [
            t for t in self._choices
            if t - 1 in self._choices and _kept(self._choices[t]) != _kept(self._choices[t - 1])
        ]  # fmt: skip
        self.figure.clear()
        self.moving = []
        self._map(self.figure.add_axes((0.125, 0.42, 0.4, 0.525)), kind)
        self._line(self.figure.add_axes((0.125, 0.1, 0.4, 0.17)), history["step"])
        self._cell(self.figure.add_axes((0.56, 0.19, 0.43, 0.755)))
        self._legend()

    def _map(self, axes, kind: str) -> None:
        operations, edges = self.space.operations, self.space.edges
        self._mesh = axes.pcolormesh(
            np.zeros((len(operations), len(edges))), cmap=SHADES, vmin=0, vmax=TOP,
            edgecolors="white", linewidth=0.5, animated=True,
        )  # fmt: skip
        axes.set(
            xlim=(0, len(edges)), ylim=(len(operations), 0), title=f"{kind} cell: softmax of α"
        )
        axes.set_xticks(np.arange(len(edges)) + 0.5)
        axes.set_xticklabels(edge_names(self.space, "\n"), fontsize=10)
        axes.set_yticks(np.arange(len(operations)) + 0.5)
        axes.set_yticklabels(operations, fontsize=10)
        axes.tick_params(length=0)
        axes.grid(False)
        pen = {"fill": False, "animated": True}
        self._frames = [
            axes.add_patch(Rectangle((0, 0), 1, 1, ec=KEPT, lw=2.5, **pen)) for _ in edges
        ]
        self._numbers = [
            axes.text(0, 0, "", ha="center", va="center", size=9, animated=True) for _ in edges
        ]
        self.moving += [self._mesh, *self._frames, *self._numbers]

    def _line(self, axes, steps: np.ndarray) -> None:
        self._entropy = entropy(self._tables).mean(axis=1)
        axes.plot(steps, self._entropy, color=BLUE)
        for t in self.flips:
            axes.axvline(steps[t], ymax=0.22, color=KEPT, lw=1.2)
        axes.set(xlabel="step (ticks: the derived cell changes)", xlim=(steps[0], 1.03 * steps[-1]))
        axes.set_ylabel("entropy\n(nats)", fontsize=11)
        axes.margins(y=0.25)
        axes.tick_params(labelsize=10)
        (self._now,) = axes.plot([], [], color=BLACK, lw=1.5, animated=True)
        (self._dot,) = axes.plot([], [], "o", color=BLUE, mec="white", ms=10, animated=True)
        self.moving += [self._now, self._dot]

    def _cell(self, axes: Axes) -> None:
        self._wires, states = draw_cell(axes, self.space)
        self.moving += [*self._wires, *states]
        axes.set_title("the cell: width = probability, grey = cut", fontsize=12)

    def _legend(self) -> None:
        handles = [
            Rectangle((0, 0), 1, 1, fc=look(name, self.space.operations).color, label=name)
            for name in self._names
        ]
        self.figure.legend(
            handles=handles, loc="lower right", ncols=3, fontsize=10, handlelength=1.2,
            columnspacing=1.0, bbox_to_anchor=(0.995, 0.0),
        )  # fmt: skip

    def move(self) -> None:
        """Map, frames, cursor and edges of the present moment."""
        t, table = self.moment.index, self._tables[self.moment.index]
        self._mesh.set_array(table.T)
        found = {c.edge: c for c in self._choices.get(t, ())}
        for edge, (frame, number) in enumerate(zip(self._frames, self._numbers, strict=True)):
            choice = found.get(edge)
            frame.set_visible(choice is not None and choice.kept)
            number.set_visible(choice is not None)
            if choice is not None:
                row = self.space.operations.index(choice.operation)
                frame.set_xy((edge, row))
                number.set(x=edge + 0.5, y=row + 0.5, text=f"{choice.probability:.2f}".lstrip("0"))
                number.set_color(ink(SHADES(min(1.0, choice.probability / TOP))))
        step, entropy = self._history["step"][t], self._entropy[t]
        self._now.set_data([step, step], self._now.axes.get_ylim())
        self._dot.set_data([step], [entropy])
        for edge, wire in enumerate(self._wires):
            self._draw_wire(wire, found.get(edge), float(table[edge].max()))

    def _draw_wire(self, wire, choice: Choice | None, largest: float) -> None:
        kept = choice is not None and choice.kept
        wire.set_color(look(choice.operation, self.space.operations).color if kept else CUT)
        wire.set_linewidth(BROADEST * (largest if choice is None else choice.probability))
        wire.set_zorder(3 if kept else 2)

    def words(self) -> str:
        """Step and entropy, what is kept, and what has just changed."""
        t = self.moment.index
        begin = (
            f"{self.run.value}, {self.cell_type.value} cell, step "
            f"{self._history['step'][t]:g}: mean entropy {self._entropy[t]:.3f} nats. "
        )
        if t not in self._choices:
            return begin + "All operations have the same probability: nothing is decided."
        kept = [c for c in self._choices[t] if c.kept]
        parts = []
        for node in range(self.space.nodes):
            mine = [f"{c.operation} of {state_words(c.source)}" for c in kept if c.node == node]
            parts.append(f"node {node + 1}: {' and '.join(mine)}")
        begin += "; ".join(parts) + "."
        if t in self.flips:
            before = _kept(self._choices[t - 1])
            new = [c for c in kept if (c.edge, c.operation) not in before]
            named = [
                f"{c.operation} from {state_words(c.source)} to node {c.node + 1}" for c in new
            ]
            begin += f" New at this moment: {', '.join(named)}."
        return begin


def draw_cell(axes: Axes, space: SearchSpace) -> tuple[list[Line2D], list[Artist]]:
    """States on a diagonal; an edge is a bow above it, so that none lies on another.

    Args:
        axes: empty; theirs is all the room.
        space: whose edges are drawn.

    Returns:
        The edges' lines, one per edge, to be colored; and the states, which lie on them.
    """
    nodes = space.nodes
    axes.axis("off")
    axes.set(xlim=(-0.75, nodes + 1.05), ylim=(0.45 - nodes, 1.3))
    axes.set_aspect("equal")
    place = {0: (-0.35, 0.8), 1: (-0.35, -0.35)}
    place |= {state: (state - 1.0, -(state - 2) * 1.0) for state in range(2, nodes + 2)}
    wires, states = [], []
    for source, target in space.edges:
        # Side by side where they arrive and where they leave, so that none hides another.
        x, y = place[target]
        end = x + APART * ((target - 1) / 2 - source), y
        x, y = place[source]
        start = x, y + APART * (nodes / 2 - (target - max(source, 1)))
        wires += axes.plot(*_bow(start, end), animated=True, solid_capstyle="butt")
    for state, (x, y) in place.items():
        style = state_look(state, nodes)
        disc = Circle((x, y), 0.27, fc=style.fill, ec=style.color, lw=2, animated=True)
        name = {"ha": "center", "va": "center", "size": 12, "animated": True}
        states += [axes.add_patch(disc), axes.text(x, y, state_math(state), **name)]
    return wires, states


def _options(steps: np.ndarray) -> list[tuple[str, int]]:
    """Readout and value of each moment; the value is its place, since steps may repeat."""
    return [(f"{step:g}", t) for t, step in enumerate(steps)]


def _kept(found: list[Choice]) -> set[tuple[int, str]]:
    return {(c.edge, c.operation) for c in found if c.kept}


def _bow(start: tuple[float, float], end: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A quadratic curve that leaves `start` to the right and reaches `end` from above."""
    t = np.linspace(0, 1, 24)
    x = (1 - t) ** 2 * start[0] + 2 * t * (1 - t) * end[0] + t**2 * end[0]
    y = (1 - t) ** 2 * start[1] + 2 * t * (1 - t) * start[1] + t**2 * end[1]
    return x, y

"""Notebook 03's explorer: a search moment by moment, its map, its entropy and its cell together."""

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np

from dartslib.genotypes import choices, entropy
from dartslib.show.decisions import HISTORY, decided
from dartslib.show.explorers import WIDE, Explorer, Player, buttons
from dartslib.show.parts import AlphaMap, draw_cell
from dartslib.show.style import BLACK, BLUE, KEPT, color_key, edges_words, look, state_words
from dartslib.space import CELL_TYPES, SearchSpace

CUT = "#B3B3B3"
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
        self.space, self._histories = space, histories
        self.run = widgets.Dropdown(options=list(histories), description="search", **WIDE)
        self.cell_type = buttons("cell", CELL_TYPES)
        self.moment = widgets.SelectionSlider(options=self._moments(), description="step", **WIDE)
        last = self.moment.index = len(self.moment.options) - 1
        self.play = Player(self.moment, last)
        rows = (self.run, self.cell_type), (self.moment, self.play)
        super().__init__(6.0, rows, moves=[self.moment], changes=[self.cell_type])
        self.run.observe(self._other_run, "value")

    @property
    def _steps(self) -> np.ndarray:
        return np.asarray(self._histories[self.run.value]["step"])

    def _moments(self) -> list[tuple[str, int]]:
        """Readout and value of each; the value is its place, since steps may repeat."""
        return [(f"{step:g}", t) for t, step in enumerate(self._steps)]

    def _other_run(self, _: dict) -> None:
        self.moment.options = self._moments()  # which goes to the first
        self.redraw()  # before any other: the maps were those of the run before
        self.moment.index = self.play.last = len(self.moment.options) - 1

    def _ground(self) -> None:
        history, kind = self._histories[self.run.value], self.cell_type.value
        self._tables = np.asarray(history[f"probabilities_{kind}"])
        self._choices = {
            t: [c for c in choices(tables, self.space) if c.cell_type == kind]
            for t, tables in decided(history).items()
        }
        self._kept = {
            t: {(c.edge, c.operation) for c in found if c.kept}
            for t, found in self._choices.items()
        }
        self.flips = [t for t, kept in self._kept.items() if self._kept.get(t - 1, kept) != kept]
        self._entropy = entropy(self._tables).mean(axis=1)
        self.figure.clear()
        axes = self.figure.add_axes((0.125, 0.42, 0.4, 0.525), title=f"{kind} cell: softmax of α")
        self._map = AlphaMap(axes, self.space)
        axes = self.figure.add_axes((0.125, 0.1, 0.4, 0.17))
        steps = self._steps
        axes.plot(steps, self._entropy, color=BLUE)
        for t in self.flips:
            axes.axvline(steps[t], ymax=0.22, color=KEPT, lw=1.2)
        axes.set(
            xlabel="step (ticks: the derived cell changes)",
            xlim=(steps[0], 1.03 * max(1, steps[-1])),
        )
        axes.set_ylabel("entropy\n(nats)", fontsize=11)
        axes.margins(y=0.25)
        axes.tick_params(labelsize=10)
        (self._now,) = axes.plot([], [], color=BLACK, lw=1.5, animated=True)
        (self._dot,) = axes.plot([], [], "o", color=BLUE, mec="white", ms=10, animated=True)
        axes = self.figure.add_axes((0.56, 0.19, 0.43, 0.755))
        self._wires, states = draw_cell(axes, self.space.nodes, self.space.edges)
        axes.set_title("the cell: width = probability, grey = cut", fontsize=12)
        self._others = [*self._map.artists, self._now, self._dot, *states]  # no wire meets these
        self.figure.legend(
            handles=color_key(self.space.operations), loc="lower right", ncols=3, fontsize=10,
            handlelength=1.2, columnspacing=1.0, bbox_to_anchor=(0.995, 0.0),
        )  # fmt: skip

    def _move(self) -> None:
        t = self.moment.index
        table, found = self._tables[t], self._choices.get(t, ())
        self._map.show(table, found)
        step = self._steps[t]
        self._now.set_data([step, step], self._now.axes.get_ylim())
        self._dot.set_data([step], [self._entropy[t]])
        for wire, row in zip(self._wires, table, strict=True):  # where nothing is decided
            wire.set(color=CUT, linewidth=BROADEST * row.max(), zorder=2)
        for c in found:
            color = look(c.operation, self.space.operations).color if c.kept else CUT
            width, above = BROADEST * c.probability, 3 if c.kept else 2
            self._wires[c.edge].set(color=color, linewidth=width, zorder=above)
        wires = sorted(self._wires, key=lambda wire: wire.get_zorder())  # they are drawn in order
        self.moving = [*wires, *self._others]

    def _words(self) -> str:
        t = self.moment.index
        begin = (
            f"{self.run.value}, {self.cell_type.value} cell, step "
            f"{self._steps[t]:g}: mean entropy {self._entropy[t]:.3f} nats. "
        )
        if t not in self._choices:
            return begin + "All operations have the same probability: nothing is decided."
        kept = [c for c in self._choices[t] if c.kept]
        parts = []
        for node in range(self.space.nodes):
            mine = [(c.operation, c.source) for c in kept if c.node == node]
            parts.append(f"node {node + 1}: {edges_words(mine)}")
        begin += "; ".join(parts) + "."
        if t in self.flips:
            new = [
                f"{c.operation} from {state_words(c.source)} to node {c.node + 1}"
                for c in kept
                if (c.edge, c.operation) not in self._kept[t - 1]
            ]
            begin += f" New at this moment: {', '.join(new)}."
        return begin

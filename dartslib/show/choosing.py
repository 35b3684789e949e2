"""Notebook 06's explorer: choose a cell, guess its rank, and only then see what it is worth."""

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from dartslib.genotypes import Genotype
from dartslib.rivals.coding import Code, Coding
from dartslib.show.explorers import DPI, WIDE, Explorer
from dartslib.show.moments import draw_cell
from dartslib.show.style import BLACK, BLUE, GREY, VERMILION, WIDTH, look, state_name, state_words
from dartslib.tabular import Table

PAIRS = ((0, 1), (0, 2), (1, 2))  # what node 2 may read, in the coding's order
DOT = {"ls": "none", "mec": "white", "animated": True}


class CellExplorer(Explorer):
    """A cell of the table, chosen edge by edge; its rank is guessed before it is shown.

    Left, the cell. Right, all classes from the best to the worst, and the guess. Once that is
    locked: the cell's mean and its trainings, and its neighbors, which differ in one choice.
    Another cell hides all this again.

    Args:
        table: whose cells these are.

    Attributes:
        operations: the menus of the four edges, node 1's first.  inputs: what node 2 reads.
        guess: a slider of ranks, 1 is the best.  lock: the button that locks it.
        locked: whether the cell's rank is shown.
    """

    def __init__(self, table: Table) -> None:
        self.table, self.locked, self._coding = table, False, Coding(table.space)
        ends = (*(f"{state_name(k)} → 1" for k in (0, 1)), "first → 2", "second → 2")
        self.operations = [
            widgets.Dropdown(options=self._coding.operations, description=end, **WIDE)
            for end in ends
        ]
        pairs = [(" and ".join(map(state_words, pair)), k) for k, pair in enumerate(PAIRS)]
        self.inputs = widgets.Dropdown(options=pairs, description="node 2 reads", **WIDE)
        last = len(table.classes)
        self.guess = widgets.IntSlider(
            last // 2, min=1, max=last, description="its rank is", **WIDE
        )
        self.lock = widgets.Button(description="lock my guess", icon="lock")
        self.lock.tooltip = "lock my guess, and show the cell's rank"
        rows = (self.operations[:2], self.operations[2:], (self.inputs,), (self.guess, self.lock))
        colors = [look(name).color for name in self._coding.operations]
        figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="none")
        super().__init__(figure, rows, (*colors, VERMILION))
        for menu in (*self.operations, self.inputs):
            menu.observe(self._other_cell, "value")
        self.guess.observe(self.update, "value")
        self.lock.on_click(self._lock)

    @property
    def code(self) -> Code:
        """The chosen cell as a row of numbers."""
        first, second, third, fourth = (menu.index for menu in self.operations)
        return 0, first, second, self.inputs.index, third, fourth

    @property
    def genotype(self) -> Genotype:
        """The chosen cell."""
        return self._coding.genotype(self.code)

    @property
    def neighbors(self) -> dict[str, Genotype]:
        """The other classes that differ from it in one choice, by name."""
        near = map(self._coding.genotype, self._coding.neighbors(self.code))
        mine = self.table.name(self.genotype)
        return {name: cell for cell in near if (name := self.table.name(cell)) != mine}

    def _other_cell(self, _: dict) -> None:
        self.locked = self.guess.disabled = self.lock.disabled = False
        self.update()

    def _lock(self, _: widgets.Button) -> None:
        self.locked = self.guess.disabled = self.lock.disabled = True
        self.update()

    def ground(self) -> None:
        """The axes, and all classes by rank."""
        self.figure.clear()
        cell = self.figure.add_axes((0.0, 0.17, 0.36, 0.75))
        self._wires, states = draw_cell(cell, self.table.space)
        names = self._coding.operations
        handles = [Rectangle((0, 0), 1, 1, fc=look(name).color, label=name) for name in names]
        self.figure.legend(handles=handles, loc="lower left", fontsize=10, ncols=1)
        axes = self.figure.add_axes((0.46, 0.14, 0.525, 0.77))
        runs = np.array([answer.valid for answers in self.table.trainings("short").values()
                         for answer in answers])  # fmt: skip
        truths = [self.table.truth(cell) for cell in self.table.classes]
        axes.plot(1 + np.arange(len(truths)), sorted(truths)[::-1], color=GREY, lw=1.5)
        room = 0.06 * np.ptp(runs)
        axes.set(xlim=(-3, len(truths) + 4), ylim=(runs.min() - room, runs.max() + room))
        axes.set(xlabel="rank among all classes (1 is the best)", ylabel="accuracy")
        axes.set_title("grey line: all classes", fontsize=12)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        (self._guessed,) = axes.plot([], [], color=VERMILION, lw=2, ls="--", label="your guess",
                                     animated=True)  # fmt: skip
        (self._near,) = axes.plot([], [], "o", ms=8, mfc="white", label="neighbors",
                                  **DOT | {"mec": BLUE, "mew": 1.6})  # fmt: skip
        (self._runs,) = axes.plot([], [], "_", ms=22, label="its trainings",
                                  **DOT | {"mec": BLACK, "mew": 2.2})  # fmt: skip
        (self._mean,) = axes.plot([], [], "D", ms=7, color=BLACK, label="their mean", **DOT)
        axes.legend(loc="upper right", fontsize=10)
        self.moving = [*self._wires, *states, self._guessed, self._near, self._runs, self._mean]

    def move(self) -> None:
        """The cell, the guess, and what is known of the cell once the guess is locked."""
        kept = {
            (source, node + 2): name
            for node, edges in enumerate(self.genotype.normal)
            for name, source in edges
        }
        for edge, wire in zip(self.table.space.edges, self._wires, strict=True):
            wire.set_visible(edge in kept)
            if edge in kept:
                wire.set(color=look(kept[edge]).color, linewidth=5)
        self._guessed.set_data([self.guess.value] * 2, self._guessed.axes.get_ylim())
        for artist in (self._near, self._runs, self._mean):
            artist.set_visible(self.locked)
        if self.locked:
            self._near.set_data(*zip(*map(self._place, self.neighbors.values()), strict=True))
            rank, mean = self._place(self.genotype)
            self._mean.set_data([rank], [mean])
            values = self._trainings()
            self._runs.set_data([rank] * len(values), values)

    def _place(self, cell: Genotype) -> tuple[int, float]:
        return self.table.rank(cell), self.table.truth(cell)

    def _trainings(self) -> list[float]:
        runs = self.table.query(self.genotype).runs
        return [self.table.query(self.genotype, run).valid for run in runs]

    def words(self) -> str:
        """The cell and the guess; locked, its rank, its trainings and its neighbors as well."""
        nodes = [
            f"node {k}: " + " and ".join(f"{name} of {state_words(s)}" for name, s in edges)
            for k, edges in enumerate(self.genotype.normal, start=1)
        ]
        said = f"{'; '.join(nodes)}. Guess: rank {self.guess.value} of {self.guess.max}"
        if not self.locked:
            return f"{said}, not locked yet."
        (rank, mean), trainings = self._place(self.genotype), self._trainings()
        truths = np.array([self.table.truth(cell) for cell in self.table.classes])
        alone = ", ".join(f"{value:.1%} (rank {1 + sum(truths > value)})" for value in trainings)
        places = sorted(self.table.rank(cell) for cell in self.neighbors.values())
        return (
            f"{said}; it has rank {rank}, off by {abs(rank - self.guess.value)}. Accuracy "
            f"{mean:.1%}; its trainings alone: {alone}. Its {len(places)} neighbors have the ranks "
            f"{', '.join(map(str, places))}."
        )

"""Notebook 06's explorer: choose a cell, guess its rank, and only then see what it is worth."""

import ipywidgets as widgets
import numpy as np
from matplotlib.ticker import PercentFormatter

from dartslib.genotypes import Genotype
from dartslib.rivals.coding import Coding
from dartslib.show.explorers import WIDE, Explorer
from dartslib.show.parts import draw_cell
from dartslib.show.style import BLACK, BLUE, GREY, VERMILION, color_key, edges_words, look
from dartslib.tabular import Table

EDGES = ("c_{k-2} → 1", "c_{k-1} → 1", "first → 2", "second → 2")
# What node 2 may read, in the coding's order.
INPUTS = ("c_{k-2} and c_{k-1}", "c_{k-2} and node 1", "c_{k-1} and node 1")
DOT = {"ls": "none", "mec": "white"}


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
        names = self._coding.operations
        self.operations = [widgets.Dropdown(options=names, description=e, **WIDE) for e in EDGES]
        self.inputs = widgets.Dropdown(options=INPUTS, description="node 2 reads", **WIDE)
        last = len(table.classes)
        limits = {"min": 1, "max": last, "description": "its rank is"}
        self.guess = widgets.IntSlider(last // 2, **limits, **WIDE)
        self.lock = widgets.Button(description="lock my guess", icon="lock")
        self.lock.tooltip = "lock my guess, and show the cell's rank"
        self.lock.on_click(lambda _: self._set(locked=True))
        rows = (self.operations[:2], self.operations[2:], (self.inputs,), (self.guess, self.lock))
        super().__init__(4.6, rows, moves=[self.guess])
        for menu in (*self.operations, self.inputs):
            menu.observe(lambda _: self._set(locked=False), "value")

    def _set(self, locked: bool) -> None:
        self.locked = self.guess.disabled = self.lock.disabled = locked
        self.update()

    @property
    def _code(self) -> tuple[int, ...]:
        first, second, third, fourth = (menu.index for menu in self.operations)
        return 0, first, second, self.inputs.index, third, fourth

    @property
    def genotype(self) -> Genotype:
        """The chosen cell."""
        return self._coding.genotype(self._code)

    @property
    def neighbors(self) -> dict[str, Genotype]:
        """The other classes that differ from it in one choice, by name."""
        near = map(self._coding.genotype, self._coding.neighbors(self._code))
        mine = self.table.name(self.genotype)
        return {name: cell for cell in near if (name := self.table.name(cell)) != mine}

    def _ground(self) -> None:
        self.figure.clear()
        axes = self.figure.add_axes((0.0, 0.17, 0.36, 0.75))
        self._wires, states = draw_cell(axes, self.table.space.nodes, self.table.space.edges)
        key = color_key(self._coding.operations)
        self.figure.legend(handles=key, loc="lower left", fontsize=10, ncols=1)
        axes = self.figure.add_axes((0.46, 0.14, 0.525, 0.77))
        trainings = self.table.trainings("short").values()
        runs = np.array([answer.valid for answers in trainings for answer in answers])
        self._truths = np.array([self.table.truth(cell) for cell in self.table.classes])
        last, room = len(self._truths), 0.06 * np.ptp(runs)
        axes.plot(1 + np.arange(last), np.sort(self._truths)[::-1], color=GREY, lw=1.5)
        axes.set(xlim=(-3, last + 4), ylim=(runs.min() - room, runs.max() + room))
        axes.set(xlabel="rank among all classes (1 is the best)", ylabel="accuracy")
        axes.set_title("grey line: all classes", fontsize=12)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        pens = {
            "your guess": {"color": VERMILION, "lw": 2, "ls": "--"},
            "neighbors": DOT | {"marker": "o", "ms": 8, "mfc": "white", "mec": BLUE, "mew": 1.6},
            "its trainings": DOT | {"marker": "_", "ms": 22, "mec": BLACK, "mew": 2.2},
            "their mean": DOT | {"marker": "D", "ms": 7, "color": BLACK},
        }
        lines = [axes.plot([], [], label=k, animated=True, **pen)[0] for k, pen in pens.items()]
        self._guessed, *self._known = lines
        axes.legend(loc="upper right", fontsize=10)
        self.moving = [*self._wires, *states, *lines]

    def _move(self) -> None:
        kept = {
            (source, node): name
            for node, edges in enumerate(self.genotype.normal, start=2)
            for name, source in edges
        }
        for edge, wire in zip(self.table.space.edges, self._wires, strict=True):
            wire.set_visible(edge in kept)
            if edge in kept:
                wire.set(color=look(kept[edge]).color, linewidth=5)
        self._guessed.set_data([self.guess.value] * 2, self._guessed.axes.get_ylim())
        for artist in self._known:
            artist.set_visible(self.locked)
        if self.locked:
            rank, mean, trainings = self._place(self.genotype)
            near = [self._place(cell)[:2] for cell in self.neighbors.values()]
            places = zip(*near, strict=True), ([rank] * len(trainings), trainings), ([rank], [mean])
            for artist, place in zip(self._known, places, strict=True):
                artist.set_data(*place)

    def _place(self, cell: Genotype) -> tuple[int, float, list[float]]:
        """Rank, mean, and what each training alone says."""
        runs = [self.table.query(cell, run).valid for run in self.table.query(cell).runs]
        return self.table.rank(cell), self.table.truth(cell), runs

    def _words(self) -> str:
        edges = enumerate(self.genotype.normal, start=1)
        nodes = "; ".join(f"node {k}: {edges_words(mine)}" for k, mine in edges)
        said = f"{nodes}. Guess: rank {self.guess.value} of {self.guess.max}"
        if not self.locked:
            return f"{said}, not locked yet."
        rank, mean, trainings = self._place(self.genotype)
        alone = [f"{value:.1%} (rank {1 + sum(self._truths > value)})" for value in trainings]
        places = sorted(self.table.rank(cell) for cell in self.neighbors.values())
        return (
            f"{said}; it has rank {rank}, off by {abs(rank - self.guess.value)}. Accuracy "
            f"{mean:.1%}; its trainings alone: {', '.join(alone)}. Its {len(places)} neighbors "
            f"have the ranks {', '.join(map(str, places))}."
        )

"""Notebook 04's explorer: the curves of all recorded runs, switched on and off."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dartslib.show.drawings import every
from dartslib.show.explorers import DPI, WIDE, Explorer
from dartslib.show.style import GREY, WIDTH, Look, looks

History = Mapping[str, Any]  # of a record: arrays; of a live run: lists
PARTS = {"train": ("-", "batches trained on"), "valid": ("--", "held-out or α's batches")}


class CurveExplorer(Explorer):
    """Curves over the part of each run's steps, so that long and short ones compare.

    Args:
        runs: kind of run -> label -> the histories of its runs, for instance one per seed. A way
            to search has its own look, as in every figure.

    Attributes:
        kind: which kind of runs.  quantity: "accuracy" or "loss".
        switches: label -> its checkbox; those of the present kind.

    Raises:
        ValueError: a kind without a run, or no kind.
    """

    def __init__(self, runs: Mapping[str, Mapping[str, Sequence[History]]]) -> None:
        if not runs or not all(runs.values()):
            raise ValueError("CurveExplorer needs at least one run of each kind.")
        self._runs = runs
        self._looks = looks([label for labels in runs.values() for label in labels])
        self.kind = widgets.Dropdown(options=list(runs), description="runs", **WIDE)
        self.quantity = widgets.ToggleButtons(
            options=("accuracy", "loss"), description="show", style={"button_width": "7em"}
        )
        self._box = widgets.HBox(layout={"flex_flow": "row wrap"})
        self._make_switches()
        figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="none")
        colors = list(dict.fromkeys(pen.color for pen in self._looks.values()))
        super().__init__(figure, ((self.kind, self.quantity), (self._box,)), colors)
        self.kind.observe(self._other_kind, "value")
        self.quantity.observe(self.redraw, "value")

    def _make_switches(self) -> None:
        self.switches = {
            label: widgets.Checkbox(
                True, description=f"{label} ({len(histories)})", indent=False,
                layout={"width": "auto", "margin": "2px 18px 2px 4px"},
            )
            for label, histories in self._runs[self.kind.value].items()
        }  # fmt: skip
        for switch in self.switches.values():
            switch.observe(self.update, "value")
        self._box.children = tuple(self.switches.values())

    def _other_kind(self, change: dict) -> None:
        self._make_switches()
        self.redraw(change)

    def ground(self) -> None:
        """The axes, wide enough for every run of this kind, and the lines of each label."""
        self.figure.clear()
        axes = self.figure.add_axes((0.085, 0.23, 0.895, 0.69))
        quantity, named = self.quantity.value, self._runs[self.kind.value]
        self._lines = {
            label: [
                line
                for history in histories
                for part in PARTS
                for line in _curve(axes, history, f"{part}_{quantity}", self._looks[label])
            ]
            for label, histories in named.items()
        }
        self.moving = [line for lines in self._lines.values() for line in lines]
        top = max((float(np.nanmax(line.get_ydata())) for line in self.moving), default=1)
        axes.set(xlim=(0, 100), xlabel="part of the run, %", ylim=(0, 1.05 * top or 1))
        axes.set(ylabel=quantity if quantity == "accuracy" else "cross-entropy (nats)")
        axes.set_title(f"{self.kind.value}: {quantity}")
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        kinds = [Line2D([], [], color=GREY, ls=ls, label=words) for ls, words in PARTS.values()]
        place = "lower right" if quantity == "accuracy" else "upper right"
        axes.legend(handles=kinds, loc=place, frameon=True, framealpha=0.9, edgecolor="none")
        labels = [
            Line2D([], [], color=pen.color, marker=pen.marker, mec="white", label=label)
            for label, pen in self._looks.items()
            if label in named
        ]
        self.figure.legend(handles=labels, loc="lower center", ncols=4)

    def move(self) -> None:
        """Shows the lines whose switch is on."""
        for label, lines in self._lines.items():
            for line in lines:
                line.set_visible(self.switches[label].value)

    def words(self) -> str:
        """How the runs that are shown ended: on held-out batches, where a run has any."""
        form = "{:.1%}" if self.quantity.value == "accuracy" else "{:.3f}"
        parts = []
        for label, histories in self._runs[self.kind.value].items():
            if self.switches[label].value:
                ends = [_values(h, f"valid_{self.quantity.value}") for h in histories]
                if not all(map(len, ends)):
                    ends = [_values(h, f"train_{self.quantity.value}") for h in histories]
                parts.append(f"{label} {', '.join(form.format(end[-1]) for end in ends)}")
        if not parts:
            return f"{self.kind.value}: no run is switched on."
        return f"{self.kind.value}, last record of {self.quantity.value}: {'; '.join(parts)}."


def _values(history: History, name: str) -> np.ndarray:
    """A run's values of one kind; none where it has only nan (one level has no half for alpha)."""
    values = np.asarray(history.get(name, ()), float)
    return values if np.isfinite(values).any() else np.empty(0)


def _curve(axes: Axes, history: History, name: str, pen: Look) -> list[Line2D]:
    """A run's values over the percent of its steps, as a line that moves; [] without values."""
    values = _values(history, name)
    if not len(values):
        return []
    part = name.split("_")[0]
    watched = part == "valid" and "evaluation_step" in history
    steps = np.asarray(history["evaluation_step" if watched else "step"], float)
    return axes.plot(
        100 * steps / max(1, history["step"][-1]), values, color=pen.color, ls=PARTS[part][0],
        marker=pen.marker, mec="white", ms=7, lw=1.8, animated=True, markevery=every(len(values)),
    )  # fmt: skip

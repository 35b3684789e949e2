"""Notebook 04's explorer: the curves of all recorded runs, switched on and off."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dartslib.show.drawings import every
from dartslib.show.explorers import WIDE, Explorer, buttons
from dartslib.show.style import GREY, looks

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
        self.quantity = buttons("show", ("accuracy", "loss"))
        self._box = widgets.HBox(layout={"flex_flow": "row wrap"})
        self._make_switches()
        self.kind.observe(self._make_switches, "value")  # before the picture follows
        rows = (self.kind, self.quantity), (self._box,)
        super().__init__(4.6, rows, changes=[self.kind, self.quantity])

    def _make_switches(self, _: dict | None = None) -> None:
        layout = {"width": "auto", "margin": "2px 18px 2px 4px"}
        self.switches = {
            label: widgets.Checkbox(
                True, description=f"{label} ({len(histories)})", indent=False, layout=layout
            )
            for label, histories in self._runs[self.kind.value].items()
        }
        for switch in self.switches.values():
            switch.observe(self.update, "value")
        self._box.children = tuple(self.switches.values())

    def _ground(self) -> None:
        self.figure.clear()
        axes = self.figure.add_axes((0.085, 0.23, 0.895, 0.69))
        kind, quantity = self.kind.value, self.quantity.value
        self._lines = {label: [] for label in self._runs[kind]}
        for label, histories in self._runs[kind].items():
            look = self._looks[label].pen | {"ms": 7, "lw": 1.8, "animated": True}
            for history, part in product(histories, PARTS):
                values = _values(history, f"{part}_{quantity}")
                if not len(values):
                    continue
                watched = part == "valid" and "evaluation_step" in history
                steps = np.asarray(history["evaluation_step" if watched else "step"], float)
                look |= {"ls": PARTS[part][0], "markevery": every(len(values))}
                percent = 100 * steps / max(1, history["step"][-1])
                self._lines[label] += axes.plot(percent, values, **look)
        self.moving = [line for lines in self._lines.values() for line in lines]
        top = max((float(np.nanmax(line.get_ydata())) for line in self.moving), default=1)
        axes.set(xlim=(0, 100), xlabel="part of the run, %", ylim=(0, 1.05 * top or 1))
        axes.set(ylabel="cross-entropy (nats)", title=f"{kind}: {quantity}")
        place = "upper right"
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.set_ylabel(quantity)
            place = "lower right"
        parts = [Line2D([], [], color=GREY, ls=ls, label=words) for ls, words in PARTS.values()]
        axes.legend(handles=parts, loc=place, frameon=True, framealpha=0.9, edgecolor="none")
        known = {label: look for label, look in self._looks.items() if label in self._lines}
        key = [Line2D([], [], label=label, **look.pen) for label, look in known.items()]
        self.figure.legend(handles=key, loc="lower center", ncols=4)

    def _move(self) -> None:
        for label, lines in self._lines.items():
            for line in lines:
                line.set_visible(self.switches[label].value)

    def _words(self) -> str:
        quantity = self.quantity.value
        form = "{:.1%}" if quantity == "accuracy" else "{:.3f}"
        parts = []
        for label, histories in self._runs[self.kind.value].items():
            if self.switches[label].value:
                ends = [_values(h, f"valid_{quantity}") for h in histories]
                if not all(map(len, ends)):
                    ends = [_values(h, f"train_{quantity}") for h in histories]
                parts.append(f"{label} {', '.join(form.format(end[-1]) for end in ends)}")
        if not parts:
            return f"{self.kind.value}: no run is switched on."
        return f"{self.kind.value}, last record of {quantity}: {'; '.join(parts)}."


def _values(history: History, name: str) -> np.ndarray:
    """A run's values of one kind; none where it has only nan (one level has no half for alpha)."""
    values = np.asarray(history.get(name, ()), float)
    return values if np.isfinite(values).any() else np.empty(0)

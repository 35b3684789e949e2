"""Notebook 04's explorer: the curves of all recorded runs, switched on and off."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dartslib.show.curves import run_looks
from dartslib.show.explorers import DPI, WIDE, Explorer
from dartslib.show.figures import HISTORY, arrays
from dartslib.show.style import GREY, WIDTH

QUANTITIES = ("accuracy", "loss")
Runs = Mapping[str, Mapping[str, Sequence[HISTORY]]]


def curve_explorer(runs: Runs) -> "CurveExplorer":
    """The curves of many runs, to be switched on and off; see `CurveExplorer`.

    Args:
        runs: kind of run -> label -> the histories of its runs, for instance one a seed. A label
            may be a group of the study (see `run_looks`).
    """
    return CurveExplorer(runs)


class CurveExplorer(Explorer):
    """Curves over the part of each run's steps, so that long and short ones compare.

    Attributes:
        kind: which kind of runs.  quantity: "accuracy" or "loss".
        switches: label -> its checkbox; those of the present kind.
    """

    def __init__(self, runs: Runs) -> None:
        if not runs or not all(runs.values()):
            raise ValueError("curve_explorer needs at least one run of each kind.")
        self._runs = {
            kind: {label: [arrays(h) for h in histories] for label, histories in labels.items()}
            for kind, labels in runs.items()
        }
        self._looks = {kind: run_looks(labels) for kind, labels in runs.items()}
        self.kind = widgets.Dropdown(options=list(runs), description="runs", **WIDE)
        self.quantity = widgets.ToggleButtons(
            options=QUANTITIES, description="show", style={"button_width": "7em"}
        )
        self._box = widgets.HBox(layout={"flex_flow": "row wrap"})
        self._make_switches()
        figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="none")
        drawn = [color for looks in self._looks.values() for color, _, _ in looks.values()]
        colors = list(dict.fromkeys(drawn))
        super().__init__(figure, ((self.kind, self.quantity), (self._box,)), colors)
        self.kind.observe(self._other_kind, "value")
        self.quantity.observe(self.redraw, "value")

    def _make_switches(self) -> None:
        looks = self._looks[self.kind.value]
        self.switches = {
            label: widgets.Checkbox(
                True, description=f"{looks[label][2]} ({len(histories)})", indent=False,
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
        """The axes, wide enough for every run of this kind, and a line for each."""
        self.figure.clear()
        axes = self.figure.add_axes((0.085, 0.23, 0.895, 0.69))
        quantity, named = self.quantity.value, self._runs[self.kind.value]
        self._lines, self.moving, top = {}, [], 0.0
        looks = self._looks[self.kind.value]
        for label, histories in named.items():
            color, marker, _ = looks[label]
            self._lines[label] = []
            for history in histories:
                for part, dashes in (("train", "-"), ("valid", "--")):
                    line = _line(axes, history, part, quantity, color, marker, dashes)
                    if line is not None:
                        self._lines[label].append(line)
                        top = max(top, float(np.nanmax(line.get_ydata())))
            self.moving += self._lines[label]
        axes.set(xlim=(0, 100), xlabel="part of the run, %", ylim=(0, 1.05 * top or 1))
        axes.set(ylabel=quantity if quantity == "accuracy" else "cross-entropy (nats)")
        axes.set_title(f"{self.kind.value}: {quantity}")
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        kinds = [
            Line2D([], [], color=GREY, label="batches trained on"),
            Line2D([], [], color=GREY, ls="--", label="held-out or α's batches"),
        ]
        place = "lower right" if quantity == "accuracy" else "upper right"
        axes.legend(handles=kinds, loc=place, frameon=True, framealpha=0.9, edgecolor="none")
        labels = [
            Line2D([], [], color=color, marker=marker, mec="white", label=words)
            for color, marker, words in looks.values()
        ]
        self.figure.legend(handles=labels, loc="lower center", ncols=4)

    def move(self) -> None:
        """Shows the lines whose switch is on."""
        for label, lines in self._lines.items():
            for line in lines:
                line.set_visible(self.switches[label].value)

    def words(self) -> str:
        """How the runs that are shown ended."""
        named, quantity = self._runs[self.kind.value], self.quantity.value
        parts = []
        for label, histories in named.items():
            if not self.switches[label].value:
                continue
            ends = [
                float(h[f"{part}_{quantity}"][-1])
                for h in histories
                for part in ("valid", "train")
                if part == _last_word(h, quantity)
            ]
            shown = [f"{end:.1%}" if quantity == "accuracy" else f"{end:.3f}" for end in ends]
            parts.append(f"{self._looks[self.kind.value][label][2]} {', '.join(shown)}")
        if not parts:
            return f"{self.kind.value}: no run is switched on."
        return f"{self.kind.value}, last record of {quantity}: {'; '.join(parts)}."


def _last_word(history: HISTORY, quantity: str) -> str:
    """Which part a run is judged on: validation where it has any (one level has none)."""
    return "valid" if np.isfinite(history.get(f"valid_{quantity}", [])).any() else "train"


def _line(axes, history, part, quantity, color, marker, dashes) -> Line2D | None:
    """The curve of one part of one run over the percent of its steps; None where it has none."""
    values = history.get(f"{part}_{quantity}", ())
    if not np.isfinite(values).any():
        return None
    watched = part == "valid" and "evaluation_step" in history
    steps = history["evaluation_step" if watched else "step"]
    (line,) = axes.plot(
        100 * np.asarray(steps, dtype=float) / max(1, history["step"][-1]), values, color=color,
        ls=dashes, marker=marker, mec="white", ms=7, lw=1.8, animated=True,
        markevery=max(1, len(values) // 6),
    )  # fmt: skip
    return line

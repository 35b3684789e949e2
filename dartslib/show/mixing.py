"""Notebook 02's explorer: one map through the operations of an edge, and their mixture."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dartslib.genotypes import as_array
from dartslib.show.explorers import DPI, Explorer
from dartslib.show.style import BLACK, WIDTH, look

ALPHA_TO = 4.0  # each way
PLACE = {"style": {"description_width": "7.5em"}, "layout": {"width": "22em"}}
GREYS = {"cmap": "gray", "vmin": -3, "vmax": 3}  # BatchNorm gives most values within


class MixtureExplorer(Explorer):
    """One map through the operations of an edge: alpha, its softmax, and the weighted sum.

    Args:
        given: (H, W), what the edge reads.
        outputs: operation -> (H, W), what it makes of it.

    Attributes:
        alpha: operation -> its slider, -4 to 4.
        zero: a button that sets all of them to 0.
        probabilities: (operations,), the softmax of alpha at present.
        mixture: (H, W), the weighted sum.
    """

    def __init__(self, given: Any, outputs: Mapping[str, Any]) -> None:
        self._given, self._names = as_array(given), list(outputs)
        self._table = np.stack([as_array(values) for values in outputs.values()])  # (k, H, W)
        self._colors = [look(name, self._names).color for name in self._names]
        ends = {"min": -ALPHA_TO, "max": ALPHA_TO, "step": 0.25}
        self.alpha = {
            name: widgets.FloatSlider(0, **ends, description=name, **PLACE) for name in self._names
        }
        self.zero = widgets.Button(
            description="all α = 0", tooltip="set every α to 0: all operations have the same say"
        )
        sliders = list(self.alpha.values())
        rows = [sliders[at : at + 2] for at in range(0, len(sliders), 2)]
        figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="none")
        super().__init__(figure, [*rows, [self.zero]], self._colors)
        for control in sliders:
            control.observe(self.update, "value")
        self.zero.on_click(self._reset)

    def _reset(self, _: widgets.Button) -> None:
        for control in self.alpha.values():
            control.value = 0

    def ground(self) -> None:
        """What no slider changes: the map that the edge reads, and the operations' outputs."""
        self.figure.clear()
        count, two_lines = len(self._names), [_two_lines(name) for name in self._names]
        place = {"left": 0.01, "right": 0.99, "bottom": 0.66, "top": 0.87, "wspace": 0.08}
        grid = self.figure.add_gridspec(1, count + 1, **place)
        maps = [self._given, *self._table]
        for at, (name, values) in enumerate(zip(["what it\nreads", *two_lines], maps, strict=True)):
            axes = self.figure.add_subplot(grid[0, at])
            axes.set_title(name, fontsize=10, pad=4)
            _bare(axes).imshow(values, **GREYS)
        axes = self.figure.add_axes((0.085, 0.16, 0.575, 0.42))
        axes.set(xlim=(-0.5, count - 0.5), ylim=(0, 1), xticks=range(count))
        axes.set_xticklabels(two_lines, fontsize=10)
        axes.set_ylabel("probability (softmax of α)", fontsize=11)
        pen = {"animated": True, "edgecolor": BLACK, "color": self._colors}
        self._bars = axes.bar(range(count), np.ones(count), **pen)
        axes = self.figure.add_axes((0.7, 0.03, 0.29, 0.53))
        axes.set_title("weighted sum", fontsize=12, pad=4)
        self._sum = _bare(axes).imshow(self._table[0], animated=True, **GREYS)
        self.moving = [*self._bars, self._sum]

    def move(self) -> None:
        """The softmax, and the sum of the outputs that it weighs."""
        alpha = np.array([control.value for control in self.alpha.values()])
        grown = np.exp(alpha - alpha.max())
        self.probabilities = grown / grown.sum()
        self.mixture = np.einsum("k,khw->hw", self.probabilities, self._table)
        for bar, p in zip(self._bars, self.probabilities, strict=True):
            bar.set_height(p)
        self._sum.set_data(self.mixture)

    def words(self) -> str:
        """The probabilities, the largest first."""
        named = sorted(zip(self.probabilities, self._names, strict=True), reverse=True)
        if np.ptp(self.probabilities) < 1e-9:
            return f"All {len(named)} operations have the probability {named[0][0]:.3f}."
        largest = ", ".join(f"{name} {p:.3f}" for p, name in named[:3])
        rest = [p for p, _ in named[3:]]
        others = f"; the other {len(rest)} together {sum(rest):.3f}" if rest else ""
        return f"Most probable: {largest}{others}."


def _two_lines(name: str) -> str:
    """sep_conv_3x3 as sep, conv 3x3: what stands above a small map."""
    return name.replace("_", "\n", 1).replace("_", " ")


def _bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    return axes

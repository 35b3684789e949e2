"""Notebook 02's explorer: one map through the operations of an edge, and their mixture."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from dartslib.genotypes import as_array
from dartslib.show.explorers import DPI, Explorer
from dartslib.show.style import BLACK, WIDTH, look, styled

ALPHA_TO = 4.0  # each way
HEIGHT = 4.6  # inches
PLACE = {"style": {"description_width": "7.5em"}, "layout": {"width": "22em"}}


@styled
def mixture_maps(given: Any, outputs: Mapping[str, Any], weights: Any | None = None) -> Figure:
    """One map, what each operation makes of it, and the weighted sum of that.

    Args:
        given: (H, W), what the edge reads.
        outputs: operation -> (H, W).
        weights: of the sum, one an operation; equal ones if None.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="none")
    panels = _panels(figure, given, outputs)
    table = np.stack([as_array(values) for values in outputs.values()])
    p = np.full(len(table), 1 / len(table)) if weights is None else as_array(weights)
    _show(panels["sum"], np.einsum("k,khw->hw", p, table))
    panels["bars"].bar(range(len(p)), p, color=_colors(outputs), edgecolor=BLACK)
    return figure


def mixture_explorer(given: Any, outputs: Mapping[str, Any]) -> "MixtureExplorer":
    """Sliders on alpha of one edge; see `MixtureExplorer`. Arguments as of `mixture_maps`."""
    return MixtureExplorer(given, outputs)


class MixtureExplorer(Explorer):
    """One map through the operations of an edge: alpha, its softmax, and the weighted sum.

    Attributes:
        alpha: operation -> its slider, -4 to 4.
        zero: a button that sets all of them to 0.
        probabilities: (operations,), the softmax of alpha at present.
        mixture: (H, W), the weighted sum.
    """

    def __init__(self, given: Any, outputs: Mapping[str, Any]) -> None:
        self._given, self._outputs = given, dict(outputs)
        self._table = np.stack([as_array(values) for values in outputs.values()])
        self.alpha = {
            name: widgets.FloatSlider(
                0, min=-ALPHA_TO, max=ALPHA_TO, step=0.25, description=name, **PLACE
            )
            for name in outputs
        }
        self.zero = widgets.Button(
            description="all α = 0", tooltip="set every α to 0: all operations have the same say"
        )
        sliders = list(self.alpha.values())
        rows = [sliders[at : at + 2] for at in range(0, len(sliders), 2)]
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="none")
        super().__init__(figure, [*rows, [self.zero]], _colors(outputs))
        for control in sliders:
            control.observe(self.update, "value")
        self.zero.on_click(self._reset)

    def _reset(self, _: widgets.Button) -> None:
        for control in self.alpha.values():
            control.value = 0

    def ground(self) -> None:
        """What no slider changes: the map that the edge reads, and the operations' outputs."""
        panels = _panels(self.figure, self._given, self._outputs)
        self._bars = panels["bars"].bar(
            range(len(self._table)), np.ones(len(self._table)), animated=True, edgecolor=BLACK,
            color=_colors(self._outputs),
        )  # fmt: skip
        self._sum = _show(panels["sum"], self._table[0], animated=True)
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
        named = sorted(zip(self.probabilities, self._outputs, strict=True), reverse=True)
        if np.ptp(self.probabilities) < 1e-9:
            return f"All {len(named)} operations have the probability {named[0][0]:.3f}."
        largest = ", ".join(f"{name} {p:.3f}" for p, name in named[:3])
        rest = [p for p, _ in named[3:]]
        others = f"; the other {len(rest)} together {sum(rest):.3f}" if rest else ""
        return f"Most probable: {largest}{others}."


def _colors(outputs: Mapping[str, Any]) -> list[str]:
    return [look(name, list(outputs)).color for name in outputs]


def _panels(figure: Figure, given: Any, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The maps that do not change, and the axes for the bars and for the sum."""
    figure.clear()
    count = len(outputs)
    grid = figure.add_gridspec(
        1, count + 1, left=0.01, right=0.99, bottom=0.66, top=0.87, wspace=0.08
    )
    for place, (name, values) in enumerate([("what it reads", given), *outputs.items()]):
        axes = figure.add_subplot(grid[0, place])
        _show(axes, as_array(values))
        axes.set_title(_two_lines(name), fontsize=10, pad=4)
    bars = figure.add_axes((0.085, 0.16, 0.575, 0.42))
    bars.set(xlim=(-0.5, count - 0.5), ylim=(0, 1), xticks=range(count))
    bars.set_xticklabels([_two_lines(name) for name in outputs], fontsize=10)
    bars.set_ylabel("probability (softmax of α)", fontsize=11)
    total = figure.add_axes((0.7, 0.03, 0.29, 0.53))
    total.set_title("weighted sum", fontsize=12, pad=4)
    return {"bars": bars, "sum": total}


def _two_lines(name: str) -> str:
    """sep_conv_3x3 as sep, conv 3x3: what stands above a small map."""
    return name.replace("_", "\n", 1).replace("_", " ")


def _show(axes: Any, values: np.ndarray, **options: Any) -> Any:
    """A map in greys from -3 to 3: BatchNorm gives most values within."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    return axes.imshow(values, cmap="gray", vmin=-3, vmax=3, aspect="equal", **options)

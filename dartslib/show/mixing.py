"""Notebook 02's explorer: one map through the operations of an edge, and their mixture."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from dartslib.genotypes import as_array
from dartslib.show.explorers import Explorer
from dartslib.show.style import BLACK, look

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
        sliders = [
            widgets.FloatSlider(0, min=-4, max=4, step=0.25, description=name, **PLACE)
            for name in self._names
        ]
        self.alpha = dict(zip(self._names, sliders, strict=True))
        self.zero = widgets.Button(
            description="all α = 0", tooltip="set every α to 0: all operations have the same say"
        )
        self.zero.on_click(lambda _: [setattr(control, "value", 0) for control in sliders])
        rows = [sliders[at : at + 2] for at in range(0, len(sliders), 2)]
        super().__init__(4.6, [*rows, [self.zero]], moves=sliders)

    def _ground(self) -> None:
        self.figure.clear()
        count = len(self._names)
        # sep_conv_3x3 as sep, conv 3x3: what stands above a small map.
        names = [name.replace("_", "\n", 1).replace("_", " ") for name in self._names]
        place = {"left": 0.01, "right": 0.99, "bottom": 0.66, "top": 0.87, "wspace": 0.08}
        panels = self.figure.add_gridspec(1, count + 1, **place).subplots()
        maps = [self._given, *self._table]
        for axes, name, values in zip(panels, ["what it\nreads", *names], maps, strict=True):
            axes.set_title(name, fontsize=10, pad=4)
            axes.imshow(values, **GREYS)
        bars = self.figure.add_axes((0.085, 0.16, 0.575, 0.42))
        bars.set(xlim=(-0.5, count - 0.5), ylim=(0, 1))
        bars.set_xticks(range(count), names, fontsize=10)
        bars.set_ylabel("probability (softmax of α)", fontsize=11)
        colors = [look(name, self._names).color for name in self._names]
        pen = {"animated": True, "edgecolor": BLACK, "color": colors}
        self._bars = bars.bar(range(count), np.ones(count), **pen)
        blend = self.figure.add_axes((0.7, 0.03, 0.29, 0.53))
        blend.set_title("weighted sum", fontsize=12, pad=4)
        self._sum = blend.imshow(self._table[0], animated=True, **GREYS)
        for axes in (*panels, blend):
            axes.set(xticks=[], yticks=[])
        self.moving = [*self._bars, self._sum]

    def _move(self) -> None:
        alpha = np.array([control.value for control in self.alpha.values()])
        grown = np.exp(alpha - alpha.max())
        self.probabilities = grown / grown.sum()
        self.mixture = np.einsum("k,khw->hw", self.probabilities, self._table)
        for bar, p in zip(self._bars, self.probabilities, strict=True):
            bar.set_height(p)
        self._sum.set_data(self.mixture)

    def _words(self) -> str:
        named = sorted(zip(self.probabilities, self._names, strict=True), reverse=True)
        if np.ptp(self.probabilities) < 1e-9:
            return f"All {len(named)} operations have the probability {named[0][0]:.3f}."
        largest = ", ".join(f"{name} {p:.3f}" for p, name in named[:3])
        rest = [p for p, _ in named[3:]]
        others = f"; the other {len(rest)} together {sum(rest):.3f}" if rest else ""
        return f"Most probable: {largest}{others}."

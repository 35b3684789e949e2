"""Notebook 05's explorer: the hypergradient's terms, from vectors that were recorded.

The record is that of `python -m benchmarks.microscope`; the head of that file says what each array
holds. Lengths are in multiples of the first-order gradient's, angles in degrees.
"""

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
from matplotlib.patches import Wedge

from dartslib.genotypes import as_array
from dartslib.show.explorers import WIDE, Explorer, Player, buttons
from dartslib.show.style import BAND, BLACK, BLUE, DASHED, GREEN, SOLID, VERMILION, Look

SEARCH_XI = 0.025  # the learning rate of w at the start of a search, in every profile
Record = Mapping[str, np.ndarray]
ARROWS = {  # how it is drawn, and its name in the legend
    "first": (Look(BLACK, "o"), "first order, at w"),
    "direct": (Look(BLUE, "s", DASHED), "direct term, at w'"),
    "implicit": (Look(VERMILION, "^", DASHED), "ξ · implicit term"),
    "whole": (Look(GREEN, "D", SOLID), "the whole gradient"),
}


def sizes_and_angles(record: Record, probe: int) -> dict[str, np.ndarray]:
    """What looking ahead changes, over xi, at one moment of the recorded search.

    Returns:
        implicit: |xi * implicit| / |first|, exactly.
        direct_change: |direct - first| / |first|.
        angle_direct, angle_whole: between the first-order gradient and each, in degrees.
        angle_implicit: how far the implicit term alone turns the direct one.
        Each (X,); and angle_other: (B,), to the first-order gradients of other batches.
    """
    first, direct = record["first_order"][probe], record["direct"][probe]
    implicit = record["xi"][:, None] * record["implicit"][probe]
    length = np.linalg.norm(first)
    whole = direct - implicit
    return {
        "implicit": np.linalg.norm(implicit, axis=1) / length,
        "direct_change": np.linalg.norm(direct - first, axis=1) / length,
        "angle_direct": angle(direct, first),
        "angle_whole": angle(whole, first),
        "angle_implicit": angle(whole, direct),
        "angle_other": angle(record["other_batches"][probe], first),
    }


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The angle between vectors along the last axis, in degrees."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    product = (a * b).sum(axis=-1)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip(product / lengths, -1, 1)))


class HypergradientExplorer(Explorer):
    """The terms of the hypergradient as arrows, in the plane of first order and whole gradient.

    Across lies the first-order gradient, of length 1; upward what is perpendicular to it in the
    whole gradient. The direct term is projected onto that plane; the implicit term leads from its
    tip to the whole. Grey: the angles to the gradients of other batches. Right: all angles over xi.

    Args:
        record: the arrays of the recorded search.

    Attributes:
        slider: xi, on the grid of the record.
        moment: which step of the search.
    """

    def __init__(self, record: Record) -> None:
        self.record, xi = record, record["xi"]
        options = [(f"{value:.3f}", k) for k, value in enumerate(xi)]
        start = int(np.abs(xi - SEARCH_XI).argmin())
        self.slider = widgets.SelectionSlider(options=options, index=start, description="ξ", **WIDE)
        self.play = Player(self.slider, len(xi) - 1, interval=0.3)
        moments = [(f"step {int(step)}", k) for k, step in enumerate(record["step"])]
        self.moment = buttons("moment", moments, "6em")
        rows = (self.slider, self.play), (self.moment,)
        super().__init__(4.6, rows, moves=[self.slider], changes=[self.moment])

    def _ground(self) -> None:
        self.figure.clear()
        left = self.figure.add_axes((0.085, 0.23, 0.5, 0.69))
        right = self.figure.add_axes((0.675, 0.23, 0.305, 0.69))
        xi = self.record["xi"]
        self._found = found = sizes_and_angles(self.record, self.moment.value)
        self._tips = _plane(self.record, self.moment.value)
        reach = 1.12 * max(1.0, np.abs(self._tips).max())
        others = found["angle_other"].min(), found["angle_other"].max()
        left.add_patch(Wedge((0, 0), 3 * reach, *others, color=BAND, lw=0))
        left.set(xlim=(-0.15 * reach, reach), ylim=(-0.1 * reach, 0.66 * reach), aspect="equal")
        left.set(xlabel="along the first-order gradient", ylabel="perpendicular to it")
        left.set_title("in multiples of first order; grey: other batches", fontsize=12)
        left.plot(0, 0, "o", color=BLACK)
        self._arrows, self._marks = [], {}
        dot = {"mec": "white", "animated": True}
        for name, (pen, label) in ARROWS.items():
            look = {"markevery": [-1], "ms": 9, "lw": 3.4, "solid_capstyle": "round"}
            look |= dot | {"color": pen.color, "label": label}
            self._arrows += left.plot([], [], "o-", **look)
            if name != "first":  # how far each turns, over xi
                right.plot(xi, found[f"angle_{name}"], color=pen.color, ls=pen.dashes)
                look = dot | {"color": pen.color, "ms": 10}
                (self._marks[name],) = right.plot([], [], pen.marker, **look)
        right.axvline(SEARCH_XI, color=BLACK, ls=":", lw=1.4)
        right.set(xlabel="ξ", ylabel="degrees", xlim=(0, 1.05 * xi[-1]), ylim=(0, None))
        right.set_title("angles over ξ", fontsize=12)
        self.figure.legend(handles=self._arrows, loc="lower center", ncols=4, columnspacing=1.4)
        self.moving = [*self._arrows, *self._marks.values()]

    def _move(self) -> None:
        k = self.slider.index
        start, ahead, end = (0, 0), *(tips[k] for tips in self._tips)
        ends = (start, (1, 0)), (start, ahead), (ahead, end), (start, end)
        for line, both in zip(self._arrows, ends, strict=True):
            line.set_data(*np.transpose(both))
        for name, mark in self._marks.items():
            mark.set_data([self.record["xi"][k]], [self._found[f"angle_{name}"][k]])

    def _words(self) -> str:
        k, found = self.slider.index, self._found
        others = found["angle_other"]
        return (
            f"Step {self.record['step'][self.moment.value]:.0f}, ξ = {self.record['xi'][k]:.3f}: "
            f"in lengths of the first-order gradient, the direct term changes by "
            f"{found['direct_change'][k]:.1%}, the implicit term has {found['implicit'][k]:.1%}. "
            f"The whole is turned by {found['angle_whole'][k]:.0f}°, the direct term alone by "
            f"{found['angle_direct'][k]:.0f}°, other batches {others.min():.0f}° to "
            f"{others.max():.0f}°."
        )


def _plane(record: Record, probe: int) -> tuple[np.ndarray, np.ndarray]:
    """Tips of the direct term and of the whole, (X, 2), in the plane of first order and whole."""
    names = "first_order", "direct", "implicit"
    first, direct, implicit = (as_array(record[name][probe]) for name in names)
    whole = direct - as_array(record["xi"])[:, None] * implicit  # (X, entries)
    length = np.linalg.norm(first)
    across = first / length
    up = whole - np.outer(whole @ across, across)
    height = np.linalg.norm(up, axis=1, keepdims=True)
    # A record has single precision: at xi = 0 what is left is rounding, and has no direction.
    up = np.where(height > 1e-5 * length, up / np.maximum(height, 1e-300), 0.0)
    direct, whole = (
        np.stack([term @ across, (term * up).sum(axis=1)], axis=1) / length
        for term in (direct, whole)
    )
    return direct, whole

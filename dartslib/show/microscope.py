"""Notebook 05's figures and explorer: the hypergradient's terms, from vectors that were recorded.

The record is that of `python -m benchmarks.microscope`; the head of that file says what each array
holds. Lengths are in multiples of the first-order gradient's, angles in degrees.
"""

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dartslib.genotypes import as_array
from dartslib.show.explorers import DPI, WIDE, Explorer, Player
from dartslib.show.style import BAND, BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, WIDTH, styled

SEARCH_XI = 0.025  # the learning rate of w at the start of a search, in every profile
XI_TICKS = (0, 0.05, 0.1)
Record = Mapping[str, np.ndarray]
LOOKS = {  # of a term: color, marker, in words
    "first": (BLACK, "o", "first order, at w"),
    "direct": (BLUE, "s", "direct term, at w'"),
    "implicit": (VERMILION, "^", "ξ · implicit term"),
    "whole": (GREEN, "D", "the whole gradient"),
}


def sizes_and_angles(record: Record, probe: int) -> dict[str, np.ndarray]:
    """What looking ahead changes, over xi, at one moment of the recorded search.

    Returns:
        implicit: |xi * implicit| / |first|, exactly; by_difference: the same by finite difference.
        direct_change: |direct - first| / |first|.
        angle_direct, angle_whole: between the first-order gradient and each, in degrees.
        angle_implicit: how far the implicit term alone turns the direct one.
        Each (X,); and angle_other: (B,), to the first-order gradients of other batches.
    """
    first, direct = record["first_order"][probe], record["direct"][probe]
    xi = record["xi"][:, None]
    implicit, difference = (xi * record[name][probe] for name in ("implicit", "difference"))
    length = np.linalg.norm(first)
    whole = direct - implicit
    return {
        "implicit": np.linalg.norm(implicit, axis=1) / length,
        "by_difference": np.linalg.norm(difference, axis=1) / length,
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


@styled
def hypergradient_terms(record: Record) -> Figure:
    """Sizes (above) and angles (below) of the terms over xi, a column a moment of the search.

    The dotted line is the xi of the search; the grey band spans the angles between the first-order
    gradients of this batch and of others: what another batch would have changed.
    """
    count = len(record["step"])
    figure = Figure(figsize=(WIDTH, 6.6))
    panels = figure.subplots(2, count, sharex=True, sharey="row", squeeze=False)
    for probe, step in enumerate(record["step"]):
        found = sizes_and_angles(record, probe)
        above, below = panels[:, probe]
        _over_xi(above, record, found, ("direct_change", "implicit", "by_difference"))
        others = found["angle_other"]
        below.axhspan(others.min(), others.max(), color=BAND, lw=0)
        _over_xi(below, record, found, ("angle_whole", "angle_direct", "angle_implicit"))
        above.set_title(f"step {int(step)}")
        below.set_xlabel("ξ")
    panels[0, 0].set(ylabel="length / that of first order", ylim=(0, None))
    panels[1, 0].set(ylabel="angle (degrees)", ylim=(0, None))
    panels[0, 0].set(xlim=(0, record["xi"][-1]), xticks=XI_TICKS, xticklabels=map(str, XI_TICKS))
    handles = [
        Line2D([], [], color=color, marker=marker, mec="white", ls=dashes, label=label)
        for color, marker, dashes, label in CURVES.values()
    ]
    handles.append(Line2D([], [], color=BAND, lw=9, label="angle: first order of other batches"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


CURVES = {  # of `hypergradient_terms`: color, marker, dashes, in words
    "direct_change": (BLUE, "s", "-", "length: change of the direct term"),
    "implicit": (VERMILION, "^", "-", "length: ξ · implicit term, exact"),
    "by_difference": (ORANGE, "v", "--", "length: the same by difference"),
    "angle_whole": (GREEN, "D", "-", "angle: first order to the whole"),
    "angle_direct": (BLUE, "s", "--", "angle: first order to direct at w'"),
    "angle_implicit": (VERMILION, "^", "--", "angle: direct to the whole"),
}


def _over_xi(axes: Axes, record: Record, found: Mapping, names: tuple[str, ...]) -> None:
    for name in names:
        color, marker, dashes, _ = CURVES[name]
        axes.plot(
            record["xi"], found[name], color=color, marker=marker, mec="white", ms=7, ls=dashes,
            markevery=max(1, len(record["xi"]) // 4),
        )  # fmt: skip
    axes.axvline(SEARCH_XI, color=BLACK, ls=":", lw=1.4)


@styled
def difference_errors_recorded(record: Record) -> Figure:
    """Error of the finite difference over the length of its step, a line a moment.

    Left in single precision, in which a search runs, right in double.
    """
    figure = Figure(figsize=(WIDTH, 4.6))
    panels = figure.subplots(1, 2, sharey=True)
    looks = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"))
    for axes, name in zip(panels, ("error_float32", "error_float64"), strict=True):
        for errors, step, (color, marker) in zip(record[name], record["step"], looks, strict=False):
            axes.plot(
                record["radius"], errors, color=color, marker=marker, mec="white",
                label=f"step {int(step)}",
            )  # fmt: skip
        axes.axhline(1, color=BLACK, ls=":", lw=1.8)
        axes.axvline(0.01, color=GREY, ls=":", lw=1.4)
        axes.set(xscale="log", yscale="log", xlabel="length of the step, R ‖v‖")
        axes.set_title("single precision" if name.endswith("32") else "double precision")
    panels[0].set_ylabel("error of the implicit term / term")
    panels[0].annotate(
        "as large as the term", (0.02, 1), xycoords=("axes fraction", "data"), va="bottom",
        xytext=(0, 4), textcoords="offset points", fontsize=12,
    )  # fmt: skip
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def hypergradient_explorer(record: Record) -> "HypergradientExplorer":
    """A slider over xi at recorded moments of a search; see `HypergradientExplorer`."""
    return HypergradientExplorer(record)


class HypergradientExplorer(Explorer):
    """The terms of the hypergradient as arrows, in the plane of first order and whole gradient.

    Across lies the first-order gradient, of length 1; upward what is perpendicular to it in the
    whole gradient. The direct term is projected onto that plane, and the implicit one goes from
    its tip to the whole. The grey sector spans the angles to the gradients of other batches.
    Right, the three angles over xi.

    Attributes:
        slider: xi, on the grid of the record.
        moment: which step of the search.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        xi = [f"{value:.3f}" for value in record["xi"]]
        start = int(np.abs(record["xi"] - SEARCH_XI).argmin())
        self.slider = widgets.SelectionSlider(
            options=[(label, k) for k, label in enumerate(xi)], index=start, description="ξ", **WIDE
        )
        self.play = Player(self.slider, "index", len(xi) - 1, 1, 0.3)
        self.moment = widgets.ToggleButtons(
            options=[(f"step {int(step)}", k) for k, step in enumerate(record["step"])],
            description="moment", style={"button_width": "6em"},
        )  # fmt: skip
        figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="none")
        colors = (BLUE, VERMILION, GREEN)
        super().__init__(figure, ((self.slider, self.play), (self.moment,)), colors)
        self.slider.observe(self.update, "index")
        self.moment.observe(self.redraw, "value")

    def ground(self) -> None:
        """Axes, the sector of other batches, and the angles over all xi."""
        self.figure.clear()
        left = self.figure.add_axes((0.085, 0.23, 0.5, 0.69))
        right = self.figure.add_axes((0.675, 0.23, 0.305, 0.69))
        self._found = sizes_and_angles(self.record, self.moment.value)
        self._plane = [_plane(self.record, self.moment.value, k) for k in range(self._count)]
        ends = np.array([[*p["whole"], *p["direct"]] for p in self._plane]).reshape(-1, 2)
        reach = max(1.0, np.abs(ends).max()) * 1.12
        low, high = self._found["angle_other"].min(), self._found["angle_other"].max()
        turn = np.radians(np.linspace(low, high, 30))
        far = 3 * reach
        left.fill([0, *far * np.cos(turn)], [0, *far * np.sin(turn)], color=BAND, lw=0)
        left.set(xlim=(-0.15 * reach, reach), ylim=(-0.1 * reach, 0.66 * reach), aspect="equal")
        left.set(xlabel="along the first-order gradient", ylabel="perpendicular to it")
        left.set_title("in multiples of first order; grey: other batches", fontsize=12)
        left.plot(0, 0, "o", color=BLACK)
        self._draw_angles(right)
        self._make_moving(left, right)

    @property
    def _count(self) -> int:
        return len(self.record["xi"])

    def _draw_angles(self, axes: Axes) -> None:
        for name in ("angle_whole", "angle_direct", "angle_implicit"):
            color, _, dashes, _ = CURVES[name]
            axes.plot(self.record["xi"], self._found[name], color=color, ls=dashes)
        axes.axvline(SEARCH_XI, color=BLACK, ls=":", lw=1.4)
        axes.set(
            xlabel="ξ", ylabel="degrees", xlim=(0, 1.05 * self.record["xi"][-1]), ylim=(0, None)
        )
        axes.set(xticks=XI_TICKS, xticklabels=map(str, XI_TICKS))
        axes.set_title("angles over ξ", fontsize=12)

    def _make_moving(self, left: Axes, right: Axes) -> None:
        self._arrows = {}
        for name, (color, _, label) in LOOKS.items():
            (line,) = left.plot([], [], color=color, lw=3.4, animated=True, label=label,
                                solid_capstyle="round")  # fmt: skip
            (tip,) = left.plot([], [], "o", color=color, mec="white", ms=9, animated=True)
            self._arrows[name] = line, tip
        handles = [line for line, _ in self._arrows.values()]
        self.figure.legend(handles=handles, loc="lower center", ncols=4, columnspacing=1.4)
        self._marks = {
            name: right.plot([], [], CURVES[name][1], color=CURVES[name][0], mec="white", ms=10,
                             animated=True)[0]
            for name in ("angle_whole", "angle_direct", "angle_implicit")
        }  # fmt: skip
        self.moving = [artist for pair in self._arrows.values() for artist in pair]
        self.moving += self._marks.values()

    def move(self) -> None:
        """The arrows and marks of the present xi."""
        k = self.slider.index
        plane = self._plane[k]
        ways = {
            "first": ((0, 0), (1, 0)),
            "direct": ((0, 0), plane["direct"]),
            "implicit": (plane["direct"], plane["whole"]),
            "whole": ((0, 0), plane["whole"]),
        }
        for name, ((x, y), (x_to, y_to)) in ways.items():
            line, tip = self._arrows[name]
            line.set_data([x, x_to], [y, y_to])
            tip.set_data([x_to], [y_to])
        for name, mark in self._marks.items():
            mark.set_data([self.record["xi"][k]], [self._found[name][k]])

    def words(self) -> str:
        """The sizes and angles at the present xi."""
        k, found = self.slider.index, self._found
        step = int(self.record["step"][self.moment.value])
        return (
            f"Step {step}, ξ = {self.record['xi'][k]:.3f}: the implicit term is "
            f"{found['implicit'][k]:.1%} of the first-order gradient, the direct term changes by "
            f"{found['direct_change'][k]:.1%}. The whole gradient is turned by "
            f"{found['angle_whole'][k]:.0f}°, the direct term alone by "
            f"{found['angle_direct'][k]:.0f}°; the implicit term turns it by "
            f"{found['angle_implicit'][k]:.0f}°. Another batch would turn it by "
            f"{found['angle_other'].min():.0f}° to {found['angle_other'].max():.0f}°."
        )


def _plane(record: Record, probe: int, k: int) -> dict[str, tuple[float, float]]:
    """Direct term and whole gradient in the plane of the first-order and the whole gradient."""
    names = "first_order", "direct", "implicit"
    first, direct, implicit = (as_array(record[name][probe]) for name in names)
    direct = direct[k]
    whole = direct - float(record["xi"][k]) * implicit[k]
    length = np.linalg.norm(first)
    across = first / length
    up = whole - (whole @ across) * across
    height = np.linalg.norm(up)
    # A record has single precision: at xi = 0 what is left is rounding, and has no direction.
    up = up / height if height > 1e-5 * length else np.zeros_like(up)
    return {
        name: (float(v @ across / length), float(v @ up / length))
        for name, v in (("direct", direct), ("whole", whole))
    }

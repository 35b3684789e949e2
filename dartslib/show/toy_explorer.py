"""Notebook 01's explorer: the toy problem to play with."""

import ipywidgets as widgets
import numpy as np

from dartslib import toy
from dartslib.show.explorers import WIDE, Explorer, Player, slider
from dartslib.show.style import BLACK, BLUE, GREY, VERMILION
from dartslib.show.toy import END, FIXED_POINT, START, draw_map, map_view
from dartslib.toy import Trajectory

REPORT_XIS = (0, 0.3, 0.5, 0.7)
XI_TO = 1.5
RATES = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 0.8)
ARROWS = 13  # of the phase portrait, along each side
PERCENT = 100  # what the slider `shown` has at its end
PATH = {"color": BLUE, "lw": 2.6}
ON_MAP = (
    PATH,
    START,
    FIXED_POINT | {"mec": VERMILION},
    END | {"color": BLUE},
)  # fixed point and end are marked twice
LOSSES = {"$L_{train}$": VERMILION, "$L_{val}$": BLUE}
AT_LOSS = {"marker": "o", "mec": "white", "ls": "none", "animated": True, "clip_on": False}
TITLE = 1  # its height, given: to find a free one takes a sixth of a full draw
LOSS_TICKS = (-10, -1, 0, 1, 10, 100)


class XiExplorer(Explorer):
    """The toy problem to play with.

    Left, the run on the map of L_val, with the phase portrait: arrows that say which way a step
    would go from there, all of one length. Right, both losses along the run, and where the runs of
    other xi end.

    Attributes:
        slider: xi, 0 to 1.5. Also to be set by code: `explorer.slider.value = 0.3`.
        report: buttons that set xi to the report's four values.
        lr: learning rate, one of `RATES`.
        curvature: L_train'' in w, 0.5 to 4; the report has 2.
        start_alpha, start_w: the start, each -3 to 3.
        shown: how much of the run is shown, in percent of its steps; `play` moves it.
        run: the `Trajectory` shown.
    """

    def __init__(self) -> None:
        self.slider = slider("ξ", 0.5, 0, XI_TO, 0.05)
        self.report = []
        for value in REPORT_XIS:
            button = widgets.Button(description=f"ξ = {value:g}", layout={"width": "5.2em"})
            button.tooltip = f"set ξ to {value:g}, as in the report"
            button.on_click(lambda _, value=value: setattr(self.slider, "value", value))
            self.report.append(button)
        rates = [(f"{rate:g}", rate) for rate in RATES]
        self.lr = widgets.SelectionSlider(
            options=rates, value=1e-2, description="learning rate", **WIDE
        )
        self.curvature = slider("curvature", toy.CURVATURE, 0.5, 4, 0.25)
        self.start_alpha = slider("start α", toy.START[0], -3, 3, 0.25)
        self.start_w = slider("start w", toy.START[1], -3, 3, 0.25)
        self.shown = widgets.IntSlider(PERCENT, min=0, max=PERCENT, description="shown, %", **WIDE)
        self.play = Player(self.shown, PERCENT, 2, 0.08)
        problem = (self.lr, self.curvature), (self.start_alpha, self.start_w)
        rows = (self.slider, widgets.HBox(self.report)), *problem, (self.shown, self.play)
        moves = self.slider, self.shown
        super().__init__(5.2, rows, moves=moves, changes=problem[0] + problem[1])

    def _make_axes(self) -> None:
        place = {"left": 0.065, "right": 0.985, "bottom": 0.11, "top": 0.93, "wspace": 0.2}
        left, right = self.figure.add_gridspec(1, 2, width_ratios=(1.25, 1), **place)
        right = right.subgridspec(2, 1, hspace=0.55)
        self._map, self._losses, self._ends = map(self.figure.add_subplot, (left, *right))
        self._map.set_title("from the start (■), on the contours of $L_{val}$", y=TITLE)
        self._ends.set_title("where runs end", y=TITLE)
        axes = self._losses
        axes.set_title("losses along the run", y=TITLE)
        axes.set_yscale("symlog", linthresh=1)
        axes.set(xlim=(0, PERCENT), ylim=(-20, 200), xlabel="part of the run's steps, %")
        axes.set_yticks(LOSS_TICKS, [f"{tick:g}" for tick in LOSS_TICKS])
        axes.minorticks_off()
        axes.axhline(0, color=BLACK, ls="--", lw=1)
        for place, (name, color) in enumerate(LOSSES.items()):
            look = {"color": color, "ha": "right", "weight": "bold", "transform": axes.transAxes}
            axes.text(0.98 - 0.2 * place, 0.84, name, **look)
        colors = LOSSES.values()
        self._lines = [axes.plot([], [], color=color, animated=True)[0] for color in colors]
        self._dots = [axes.plot([], [], color=color, **AT_LOSS)[0] for color in colors]

    def _descend(self, xi: float) -> Trajectory:
        start = self.start_alpha.value, self.start_w.value
        return toy.descend(xi, curvature=self.curvature.value, lr=self.lr.value, start=start)

    def _ground(self) -> None:
        if not self.figure.axes:
            self._make_axes()
        c = self.curvature.value
        runs = [self._descend(xi) for xi in np.linspace(0, XI_TO, 16)]
        ended = [run for run in runs if run.reason != "diverged"]
        view = map_view(ended)
        for axes in (self._map, self._ends):
            # Not axes.clear(): to make the ticks anew takes as long as to draw the picture.
            for artist in (*axes.lines, *axes.collections):  # contours with their labels
                artist.remove()
        draw_map(self._map, view)
        xi = np.linspace(0, XI_TO, 100)
        self._ends.plot(xi, 2 / (1 + c * xi), color=VERMILION, label=f"fixed point 2/(1 + {c:g}ξ)")
        self._ends.axhline(1, color=BLACK, ls="--", lw=1.5, label="optimum")
        ends = [run.xi for run in ended], [run.end[0] for run in ended]
        self._ends.plot(*ends, ".", color=GREY, label="ends at other ξ")
        self._ends.set(xlim=(-0.05, XI_TO + 0.05), ylim=view[:2], xlabel="ξ", ylabel="α")
        self._ends.legend(loc="upper right", fontsize=10, borderaxespad=0.1, labelspacing=0.2)
        # What moves on it.
        sides = (np.linspace(*side, ARROWS + 2)[1:-1] for side in (view[:2], view[2:]))
        self._grid = alpha, w = np.meshgrid(*sides)
        self._arrows = self._map.quiver(
            alpha, w, alpha, w, color=GREY, angles="xy", pivot="mid", scale=24, width=0.0035,
            animated=True, zorder=3,
        )  # fmt: skip
        self._on_map = [self._map.plot([], [], animated=True, **look)[0] for look in ON_MAP]
        self._at_ends = [self._ends.plot([], [], animated=True, **look)[0] for look in ON_MAP[2:]]
        self.moving = [self._arrows, *self._on_map, *self._lines, *self._dots, *self._at_ends]

    def _move(self) -> None:
        run = self.run = self._descend(self.slider.value)
        c, rest = run.curvature, toy.fixed_point(run.xi, run.curvature)
        self._now = now = round(run.steps * self.shown.value / PERCENT)
        alpha, w = self._grid
        right, up = -toy.alpha_gradient(w, alpha, run.xi, c), -c * (w - alpha)
        length = np.maximum(np.hypot(right, up), 1e-9)
        self._arrows.set_UVC(right / length, up / length)
        so_far, here = slice(now + 1), slice(now, now + 1)
        places = (run.alpha[so_far], run.w[so_far]), (run.alpha[:1], run.w[:1])
        places += ([rest], [rest]), (run.alpha[here], run.w[here])
        part = np.linspace(0, PERCENT, run.steps + 1)
        with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges
            losses = toy.train_loss(run.w, run.alpha, c), toy.valid_loss(run.w, run.alpha)
        places += tuple((part[so_far], loss[so_far]) for loss in losses)
        places += tuple((part[here], loss[here]) for loss in losses)
        places += ([run.xi], [rest]), ([run.xi], [run.alpha[-1]])
        for artist, place in zip(self.moving[1:], places, strict=True):  # the arrows are set
            artist.set_data(*place)

    def _words(self) -> str:
        return describe_run(self.run, self.lr.value, self._now)


def describe_run(run: Trajectory, lr: float = 1e-2, now: int | None = None) -> str:
    """Where a run of learning rate `lr` is after `now` steps (None: all), or how it ended."""
    curved = f"curvature {run.curvature:g}, " if run.curvature != toy.CURVATURE else ""
    begin = f"ξ = {run.xi:.2f}, learning rate {lr:g}, {curved}"
    begin += f"start ({run.alpha[0]:g}, {run.w[0]:g}): "
    now = run.steps if now is None else now
    alpha, w = float(run.alpha[now]), float(run.w[now])
    if now < run.steps:
        train, valid = toy.train_loss(w, alpha, run.curvature), toy.valid_loss(w, alpha)
        return begin + (
            f"after {now} of {run.steps} steps at α = {alpha:.5g}, w = {w:.5g}; "
            f"L_train {train:.3g}, L_val {valid:.3g}."
        )
    if run.reason == "diverged":
        return begin + f"diverged; after {run.steps} steps α = {alpha:.3g}."
    how = "settled" if run.reason == "settled" else "not yet settled"
    return begin + (
        f"{how} after {run.steps} steps at α = {alpha:.5g}, w = {w:.5g}, {run.distance:.2g} from "
        f"the fixed point {toy.fixed_point(run.xi, run.curvature):.5g}; "
        f"(α − 1)² = {(alpha - 1) ** 2:.2g} there."
    )

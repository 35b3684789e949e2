"""Figures of the toy problem: where the runs go on the map of L_val, and where they end.

Each function returns a matplotlib figure. A run is a `dartslib.toy.Trajectory`. The four xi of the
report keep their colors and markers through all figures.
Sources: Figure 2 and Table 1 of the report; Liu et al. (2019), Figure 2.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dartslib import toy
from dartslib.show.style import BLACK, COLORS, GREY, MARKERS, PURPLE, SKY, WIDTH, styled
from dartslib.toy import Trajectory

MAP = (-0.4, 3.6, -2.5, 3.2)  # alpha from, to; w from, to
WIDEST = 6.0  # a map never shows more than +-6, however far a run goes
REPORT_XIS = (0, 0.3, 0.5, 0.7)

# How the places on a map look. The star is kept for the optimum.
OPTIMUM = {"marker": "*", "ms": 17, "mfc": "white", "mec": BLACK, "mew": 1.5, "ls": "none"}
START = {"marker": "s", "ms": 11, "color": BLACK, "ls": "none", "zorder": 5}
FIXED_POINT = {"marker": "o", "ms": 15, "mfc": "none", "mew": 2, "ls": "none", "zorder": 6}
END = {"marker": "X", "ms": 9, "mec": "white", "ls": "none", "zorder": 7}


def draw_map(axes: Axes, view: tuple[float, float, float, float] = MAP) -> None:
    """The ground of every run: contours of L_val, the feasible line w = alpha, the optimum.

    view: alpha from, to; w from, to.
    """
    alpha_from, alpha_to, w_from, w_to = view
    # First, since the places of the contours' labels depend on it.
    axes.set(xlim=(alpha_from, alpha_to), ylim=(w_from, w_to), xlabel="α", ylabel="w")
    axes.grid(False)
    alpha, w = np.meshgrid(np.linspace(alpha_from, alpha_to, 81), np.linspace(w_from, w_to, 81))
    loss = toy.valid_loss(w, alpha)
    low, high = loss.min(), loss.max()
    # Even numbers: the optimum's contour 0 is one of them; 1, which crosses itself, is not.
    step = 2 * max(1, round((high - low) / 20))
    levels = np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step
    # The greys end beyond the highest loss, so that the ground stays lighter than the lines on it.
    greys = {"cmap": "Greys", "vmin": low, "vmax": low + 3 * (high - low)}
    axes.contourf(alpha, w, loss, levels, zorder=0, **greys)
    lines = axes.contour(
        alpha, w, loss, levels, colors="#8c8c8c", linewidths=0.8, linestyles="solid", zorder=1
    )
    axes.clabel(lines, colors=[BLACK], fontsize=10, fmt="%g", zorder=2)
    along = np.array([max(alpha_from, w_from), min(alpha_to, w_to)])
    axes.plot(along, along, "--", color=BLACK, lw=1.6, label="feasible: w = α")
    axes.plot(*toy.OPTIMUM, label="optimum (1, 1)", zorder=5, **OPTIMUM)


def map_view(runs: Iterable[Trajectory]) -> tuple[float, float, float, float]:
    """The usual piece of the map, made wider by halves until it holds all runs, up to `WIDEST`."""
    lows, highs = [MAP[0], MAP[2]], [MAP[1], MAP[3]]
    for run in runs:
        for i, values in enumerate((run.alpha, run.w)):
            lows[i] = min(lows[i], np.floor(2 * values.min() - 0.2) / 2)
            highs[i] = max(highs[i], np.ceil(2 * values.max() + 0.2) / 2)
    lows, highs = np.maximum(lows, -WIDEST), np.minimum(highs, WIDEST)
    return lows[0], highs[0], lows[1], highs[1]


@styled
def toy_map(start: tuple[float, float] = toy.START) -> Figure:
    """The map alone, with the start: the question before any answer."""
    figure = Figure(figsize=(0.78 * WIDTH, 5.0))
    axes = figure.subplots()
    draw_map(axes)
    axes.plot(*start, label=f"start ({start[0]:g}, {start[1]:g})", **START)
    axes.set_title("Contours of $L_{val}$ (its values on the lines)")
    figure.legend(loc="outside right center")
    return figure


@styled
def toy_lookahead(
    xis: Sequence[float], *, at: tuple[float, float] = toy.START, curvature: float = toy.CURVATURE
) -> Figure:
    """L_val(w', alpha) over alpha, w as it stands: for each xi the curve whose slope it follows.

    The dashed curve is the one that counts: (alpha - 1)^2, w solved for every alpha.
    `at` is (alpha, w).
    """
    here, w = at
    alpha = np.linspace(here - 2.5, here + 1.0, 141)
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    for xi, (color, marker) in zip(xis, _looks(xis), strict=True):
        slope = toy.alpha_gradient(w, here, xi, curvature)
        curve = toy.valid_loss(w - xi * curvature * (w - alpha), alpha)
        point = toy.valid_loss(w - xi * curvature * (w - here), here)
        axes.plot(alpha, curve, color=color)
        axes.plot(here, point, marker, color=color, ms=11, mec="white", zorder=4)
        axes.plot([], [], marker=marker, color=color, label=f"ξ = {xi:g}: slope {slope:+.3g}")
    axes.plot(alpha, (alpha - 1) ** 2, "--", color=BLACK, lw=1.8, label="w solved: (α − 1)²")
    axes.axvline(here, color=GREY, lw=1, ls=":")
    axes.set(xlabel="α", ylabel="$L_{val}(w', α)$")
    axes.set_title(f"What moving α would bring, seen from α = {here:g}, w = {w:g}")
    figure.legend(loc="outside right center", title=f"slope at α = {here:g}")
    return figure


@styled
def toy_start(runs: Sequence[Trajectory], steps: int = 60) -> Figure:
    """The first steps of all runs on one map: which way each sets out."""
    figure = Figure(figsize=(0.86 * WIDTH, 4.6))
    axes = figure.subplots()
    shown = [(run.alpha[: steps + 1], run.w[: steps + 1]) for run in runs]
    alphas, ws = (np.concatenate(parts) for parts in zip(*shown, strict=True))
    pad = 0.12 * max(np.ptp(alphas), np.ptp(ws), 1.0)
    draw_map(axes, (alphas.min() - pad, alphas.max() + pad, ws.min() - pad, ws.max() + pad))
    for run, (alpha, w), (color, marker) in zip(runs, shown, _looks_of(runs), strict=True):
        marks = {"marker": marker, "markevery": 10, "ms": 7, "mec": "white"}
        axes.plot(alpha, w, color=color, label=f"ξ = {run.xi:g}", **marks)
    axes.plot(runs[0].alpha[0], runs[0].w[0], label="start", **START)
    axes.set_title(f"The first {steps} steps (a marker every 10)")
    figure.legend(loc="outside right center")
    return figure


@styled
def toy_paths(runs: Sequence[Trajectory]) -> Figure:
    """One small map a run: its way from start to stop, and the fixed point it went for."""
    columns = min(2, len(runs))
    rows = -(-len(runs) // columns)
    figure = Figure(figsize=(WIDTH, 4.1 * rows + 0.5))
    panels = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
    view = map_view(runs)
    for axes, run, (color, _) in zip(panels, runs, _looks_of(runs), strict=False):
        draw_map(axes, view)
        rest = toy.fixed_point(run.xi, run.curvature)
        axes.plot(run.alpha, run.w, color=color, lw=2.6)
        dots = {"ms": 9, "mec": "white", "mew": 0.8, "label": "every 50 steps"}
        axes.plot(run.alpha[50::50], run.w[50::50], ".", color=color, **dots)
        axes.plot(run.alpha[0], run.w[0], label="start", **START)
        axes.plot(rest, rest, mec=color, label="fixed point", **FIXED_POINT)
        axes.plot(*run.end, color=color, label="end of the run", **END)
        axes.set_title(f"ξ = {run.xi:g}: {run.reason} after {run.steps} steps")
        axes.label_outer()
    for axes in panels[len(runs) :]:
        axes.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


@styled
def toy_losses(runs: Sequence[Trajectory]) -> Figure:
    """Both losses over the steps: every run solves the inner problem, few the outer one."""
    figure = Figure(figsize=(WIDTH, 4.2))
    left, right = figure.subplots(1, 2)
    for run, (color, marker) in zip(runs, _looks_of(runs), strict=True):
        look = {"color": color} | _last_marked(run, marker)
        inner = toy.train_loss(run.w, run.alpha, run.curvature)
        left.plot(inner, label=f"ξ = {run.xi:g}", **look)
        right.plot(toy.valid_loss(run.w, run.alpha), **look)
    # Where w passes alpha the loss touches 0: the logarithmic axis is cut well below the rest.
    left.set(title="$L_{train}(w, α)$", xlabel="steps", ylabel="loss (logarithmic)")
    left.set(yscale="log", ylim=(1e-7, None))
    right.set(title="$L_{val}(w, α)$", xlabel="steps", ylabel="loss")
    right.axhline(0, color=BLACK, ls="--", lw=1.5)
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    right.annotate("at the optimum", (1, 0), (0, 5), fontsize=11, **place)
    figure.legend(loc="outside lower center", ncols=len(runs))
    return figure


@styled
def toy_distances(runs: Sequence[Trajectory], labels: Sequence[str] | None = None) -> Figure:
    """Distance from the run's own fixed point over the steps; the marker is where it stopped."""
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    labels = labels or [f"ξ = {run.xi:g}" for run in runs]
    for run, label, (color, marker) in zip(runs, labels, _looks_of(runs), strict=True):
        rest = toy.fixed_point(run.xi, run.curvature)
        away = np.hypot(run.alpha - rest, run.w - rest)
        label = f"{label}: {run.reason}"
        axes.plot(away, color=color, label=label, **_last_marked(run, marker))
    axes.set(yscale="log", xlabel="steps", ylabel="distance from the fixed point")
    figure.legend(loc="outside right center")
    return figure


@styled
def toy_fixed_points(runs: Iterable[Trajectory], to: float = 1.5) -> Figure:
    """Over xi: where steps come to rest (curves, by formula), where runs stopped (markers).

    One curve a curvature among the runs, at most three. Right: what that rest is worth,
    (alpha - 1)^2.
    """
    by_curvature: dict[float, list[Trajectory]] = {}
    for run in runs:
        by_curvature.setdefault(run.curvature, []).append(run)
    figure = Figure(figsize=(WIDTH, 4.4))
    left, right = figure.subplots(1, 2)
    xi = np.linspace(0, to, 200)
    for (c, members), color, marker in zip(
        by_curvature.items(), (SKY, PURPLE, BLACK), "Pv8", strict=False
    ):
        rest, stops = 2 / (1 + c * xi), np.array([run.end[0] for run in members])
        look = {"color": color, "marker": marker, "mec": "white", "ms": 10}
        for axes, curve, points in (
            (left, rest, stops),
            (right, (rest - 1) ** 2, (stops - 1) ** 2),
        ):
            axes.plot(xi, curve, color=color)
            axes.plot([run.xi for run in members], points, ls="none", **look)
            axes.axvline(1 / c, color=color, lw=1.2, ls=":")
        left.plot([], [], label=f"c = {c:g}, 1/c = {1 / c:g}", **look)
    left.axhline(1, color=BLACK, ls="--", lw=1.5)
    left.set(xlabel="ξ", ylabel="α at rest", title="Fixed point 2 / (1 + c ξ)")
    right.set(xlabel="ξ", ylabel="(α − 1)²", title="What it is worth: $L_{val}(w^*, α)$")
    title = "curves: by formula; markers: where a run stopped; dotted: ξ = 1/c"
    figure.legend(loc="outside lower center", ncols=max(1, len(by_curvature)), title=title)
    return figure


@styled
def toy_times(rows: Mapping[str, Mapping[float, float]]) -> Figure:
    """Seconds a step for each way to compute it, {name of the way: {xi: seconds}}."""
    figure = Figure(figsize=(WIDTH, 1.5 + 0.75 * len(rows)))
    axes = figure.subplots()
    xis = sorted({xi for times in rows.values() for xi in times})
    shifts = np.linspace(0.3, -0.3, len(xis))  # within a row, so that no marker hides another
    for xi, shift, (color, marker) in zip(xis, shifts, _looks(xis), strict=True):
        here = [(times[xi], row + shift) for row, times in enumerate(rows.values()) if xi in times]
        look = {"marker": marker, "color": color, "mec": "white", "ms": 11, "ls": "none"}
        axes.plot(*zip(*here, strict=True), label=f"ξ = {xi:g}", **look)
    axes.set(xscale="log", xlabel="seconds a step (logarithmic)")
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.5, -0.5))
    figure.legend(loc="outside lower center", ncols=max(1, len(xis)))
    return figure


def _looks(xis: Sequence[float]) -> list[tuple[str, str]]:
    """A color and a marker for each xi, that of the report's four, or one that is left over."""
    every = cycle(zip(COLORS, MARKERS, strict=True))
    known = dict(zip(REPORT_XIS, every, strict=False))
    return [known[xi] if xi in known else next(every) for xi in xis]


def _looks_of(runs: Sequence[Trajectory]) -> list[tuple[str, str]]:
    return _looks([run.xi for run in runs])


def _last_marked(run: Trajectory, marker: str) -> dict:
    """A marker at the last step alone."""
    return {"marker": marker, "markevery": [run.steps], "ms": 11, "mec": "white"}

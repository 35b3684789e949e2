"""The map of the toy problem: contours of L_val, and where runs go on it.

A run is a `dartslib.toy.Trajectory`.
Sources: Figure 2 of the report; Liu et al. (2019), Figure 2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dartslib import toy
from dartslib.show.pictures import Picture, picture
from dartslib.show.style import BLACK, WIDTH, looks, styled
from dartslib.toy import Trajectory

MAP = (-0.4, 3.6, -2.5, 3.2)  # alpha from, to; w from, to
WIDEST = 6.0  # a map never shows more than +-6, however far a run goes

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
    pen = {"colors": "#8c8c8c", "linewidths": 0.8, "linestyles": "solid"}
    lines = axes.contour(alpha, w, loss, levels, zorder=1, **pen)
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
def toy_map(runs: Sequence[Trajectory] = (), first: int | None = None) -> Picture:
    """The map: one per run, from its start to its stop and with its fixed point.

    Args:
        runs: without any, the map has the report's start alone.
        first: so many steps, of all runs on one map.
    """
    every = 50
    if first is not None:
        every = max(1, first // 6)
        runs = [replace(run, alpha=run.alpha[: first + 1], w=run.w[: first + 1]) for run in runs]
    panels = [runs] if first is not None or not runs else [[run] for run in runs]
    rows, columns = -(-len(panels) // 2), min(2, len(panels))
    figure = Figure(figsize=(WIDTH, 4.1 * rows + 1.1))
    found = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    view, style, said = map_view(runs), looks([f"ξ = {run.xi:g}" for run in runs]), []
    steps = f"a marker every {every} steps"
    for axes, shown in zip(found, panels, strict=False):
        draw_map(axes, view)
        title = "Contours of $L_{val}$, with its values"
        for run in shown:
            name = f"ξ = {run.xi:g}"
            look = style[name].pen | {"ms": 7, "markevery": every}
            look |= {"label": steps if first is None else name}
            axes.plot(run.alpha, run.w, **look)
            title = f"The first {first} steps, {steps}"
            if first is None:
                title = f"{name}: {run.reason} after {run.steps} steps"
                rest = toy.fixed_point(run.xi, run.curvature)
                axes.plot(rest, rest, mec=look["color"], label="fixed point", **FIXED_POINT)
                axes.plot(*run.end, color=look["color"], label="end of the run", **END)
            ends = "({:.2f}, {:.2f})".format(*run.end)
            said.append(f"{name} goes to {ends} in {run.steps} steps")
        start = (shown[0].alpha[0], shown[0].w[0]) if shown else toy.START
        axes.plot(*start, label="start", **START)
        axes.set_title(title)
        axes.label_outer()
    for axes in found[len(panels) :]:
        axes.set_visible(False)
    figure.legend(*found[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    said = [f"The start is ({start[0]:g}, {start[1]:g})", *said]
    ground = "L_val over α and w: contours, the feasible line w = α, the optimum (1, 1)"
    return picture(figure, f"{ground}. {'; '.join(said)}.")

"""Figures of a study: every run is a point, and the noise of a training stands behind."""

from collections.abc import Mapping, Sequence
from math import isnan

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from dartslib.runs.results import Noise, Summary
from dartslib.show.marks import WIDTH
from dartslib.show.style import BLACK, COLORS, GREY, MARKERS, styled

GROUPS = {
    "one_level": "one level",
    "first_order": "first order (ξ = 0)",
    "finite_difference": "second order (ξ > 0)",
    "random": "drawn at random",
}
LOOKS = dict(zip(GROUPS, zip(COLORS, MARKERS, strict=True), strict=False))
BAND = "#e8e8e8"
STAGES = {
    "supernet": "supernet,\nall operations",
    "one_hot": "the same weights,\none operation\nan edge",
    "one_hot_new_statistics": "the same,\nBatchNorm\nanew",
    "scratch": "derived cell,\ntrained\nfrom scratch",
}


@styled
def cells_compared(rows: Mapping[str, Summary], noise: Noise, title: str | None = None) -> Figure:
    """Accuracies of compared cells, a row a group: each cell a point, the mean of several a line.

    The grey band reaches two standard deviations of one cell's training to both sides of the mean.
    The height of a point within its row means nothing.

    Args:
        rows: group of cells -> its summary.
        noise: of a training; without any no band is drawn.
        title: above the rows.
    """
    _some(rows, "cells_compared")
    figure = Figure(figsize=(WIDTH, 1.7 + 0.75 * len(rows)))
    axes = figure.subplots()
    for place, (group, row) in enumerate(rows.items()):
        color, marker = LOOKS[group]
        if not isnan(noise.deviation):
            reach = 2 * noise.deviation
            axes.fill_betweenx(
                [place - 0.36, place + 0.36], row.mean - reach, row.mean + reach, color=BAND, lw=0
            )
        if row.n > 1:
            axes.plot([row.mean] * 2, [place - 0.36, place + 0.36], color=BLACK, lw=2.2)
        shift = np.linspace(-0.18, 0.18, row.n) if row.n > 1 else np.zeros(1)
        axes.plot(row.accuracies, place + shift, marker, color=color, mec="white", ms=10)
    handles = [Line2D([], [], color=GREY, marker="o", ls="", mec="white", ms=10, label="a cell")]
    if any(row.n > 1 for row in rows.values()):
        handles.append(Line2D([], [], color=BLACK, lw=2.2, label="mean"))
    if not isnan(noise.deviation):
        handles.append(Patch(color=BAND, label="noise of one training, ± 2 standard deviations"))
    axes.set(yticks=range(len(rows)), yticklabels=[f"{GROUPS[g]}\nn = {rows[g].n}" for g in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy on held-out images")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=False, axis="y")
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return _titled(figure, axes, title)


@styled
def accuracy_by_size(rows: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Accuracy against multiply-adds, each cell a point: a cell may win by being larger.

    Args:
        rows: group of cells -> (multiply-adds, accuracy as a fraction) of each.
    """
    _some(rows, "accuracy_by_size")
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    for group, points in rows.items():
        color, marker = LOOKS[group]
        x, y = np.array(points).T
        axes.plot(x / 1e6, y, marker, color=color, mec="white", ms=11, label=GROUPS[group])
    axes.set(xlabel="multiply-adds of the network (millions)", ylabel="accuracy, held-out images")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def gap_stages(gaps: Mapping[str, Mapping[str, Sequence[float]]], chance: float) -> Figure:
    """From the supernet to the derived cell, a line a search.

    Args:
        gaps: method -> stage -> accuracy of each seed, as `Results.gaps` gives them.
        chance: accuracy of guessing, a dotted line.
    """
    _some(gaps, "gap_stages")
    figure = Figure(figsize=(WIDTH, 4.8))
    axes = figure.subplots()
    for group, stages in gaps.items():
        color, marker = LOOKS[group]
        lines = np.array([stages[name] for name in STAGES])  # (stages, seeds)
        axes.plot(lines, color=color, marker=marker, mec="white", lw=1.7)
        axes.plot([], [], color=color, marker=marker, mec="white", label=GROUPS[group])
    axes.axhline(chance, color=BLACK, ls=":", lw=1.8)
    # Between the last two stages all lines have left it.
    axes.annotate(
        "chance", (len(STAGES) - 1.25, chance), (0, 4), textcoords="offset points", fontsize=12
    )
    axes.set(xticks=range(len(STAGES)), xticklabels=STAGES.values(), ylim=(0, None))
    axes.set_ylabel("accuracy, held-out images")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=len(gaps))
    return figure


@styled
def finals_compared(
    rows: Sequence[tuple[str, str, float, float]], title: str | None = None
) -> Figure:
    """Test accuracies of final networks: a row a network, two standard errors to either side.

    Args:
        rows: (label, group, accuracy as a fraction, how many images it was measured on).
        title: above the rows.
    """
    if not rows:
        raise ValueError("finals_compared needs at least one row.")
    figure = Figure(figsize=(WIDTH, 1.5 + 0.55 * len(rows)))
    axes = figure.subplots()
    for place, (_, group, accuracy, images) in enumerate(rows):
        color, marker = LOOKS.get(group, (BLACK, "X"))
        reach = 2 * (accuracy * (1 - accuracy) / images) ** 0.5
        axes.errorbar(
            accuracy, place, xerr=reach, fmt=marker, color=color, mec="white", ms=11, capsize=6,
            elinewidth=2.2, capthick=2.2,
        )  # fmt: skip
        axes.annotate(
            f"{accuracy:.2%}", (accuracy + reach, place), (8, 0), textcoords="offset points",
            va="center", size=12,
            path_effects=[effects.withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    low, high = axes.get_xlim()
    axes.set(yticks=range(len(rows)), yticklabels=[row[0] for row in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(low, high + 0.2 * (high - low)))
    axes.set_xlabel("test accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=False, axis="y")
    return _titled(figure, axes, title)


def _some(rows: Mapping, name: str) -> None:
    if not rows:
        raise ValueError(f"{name} needs at least one group of runs, and the study has none yet.")


def _titled(figure: Figure, axes: Axes, title: str | None) -> Figure:
    if title:
        axes.set_title(title)
    return figure

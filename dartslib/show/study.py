"""Figures of a study: every run is a point, and the noise of a training stands behind."""

from collections.abc import Collection, Mapping, Sequence
from math import isnan

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dartslib.runs.results import Noise, Summary
from dartslib.show.style import BAND, BLACK, COLORS, GREY, MARKERS, WIDTH, styled

GROUPS = {
    "one_level": "one level",
    "first_order": "first order (ξ = 0)",
    "finite_difference": "second order (ξ > 0)",
    "random": "drawn at random",
}
LONG = "long"  # beside the groups: the best of their cells, trained for longer
WORDS = GROUPS | {LONG: "the best of these, longer"}
LOOKS = dict(zip(GROUPS, zip(COLORS, MARKERS, strict=True), strict=False)) | {LONG: (BLACK, "X")}
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
    Beside a point, at its height, lie the same cell's trainings under other seeds. Otherwise the
    height of a point within its row means nothing.

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
        for cell, others in row.again.items():
            heights = [place + shift[cell]] * len(others)
            axes.plot(others, heights, marker, mfc="white", mec=color, mew=1.8, ms=8)
        axes.plot(row.accuracies, place + shift, marker, color=color, mec="white", ms=10)
    handles = [Line2D([], [], color=GREY, marker="o", ls="", mec="white", ms=10, label="a cell")]
    if any(row.again for row in rows.values()):
        look = {"mfc": "white", "mec": GREY, "mew": 1.8, "ms": 8}
        handles.append(Line2D([], [], marker="o", ls="", label="the cell, another seed", **look))
    if any(row.n > 1 for row in rows.values()):
        handles.append(Line2D([], [], color=BLACK, lw=2.2, label="mean"))
    if not isnan(noise.deviation):
        handles.append(Patch(color=BAND, label="noise of one training, ± 2 std. dev."))
    axes.set(yticks=range(len(rows)), yticklabels=[f"{GROUPS[g]}\nn = {rows[g].n}" for g in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy on held-out images")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=False, axis="y")
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    if title:
        axes.set_title(title)
    return figure


@styled
def accuracy_by_size(rows: Mapping[str, Sequence[tuple[float, float]]], noise: Noise) -> Figure:
    """Accuracy against multiply-adds, each cell a point: a cell may win by being larger.

    The bar at the right is as long as two trainings of one cell may differ for their seeds alone.

    Args:
        rows: group of cells -> (multiply-adds, accuracy as a fraction) of each.
        noise: of a training; without any no bar is drawn.
    """
    _some(rows, "accuracy_by_size")
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    for group, points in rows.items():
        color, marker = LOOKS[group]
        x, y = np.array(points).T
        axes.plot(x / 1e6, y, marker, color=color, mec="white", ms=11, label=GROUPS[group])
    if not isnan(noise.deviation):
        middle = np.mean(axes.get_ylim())
        axes.errorbar(
            0.985, middle, yerr=2**0.5 * noise.deviation, transform=axes.get_yaxis_transform(),
            color=GREY, capsize=7, elinewidth=2.2, capthick=2.2,
            label="two seeds of one cell, 2√2 σ",
        )  # fmt: skip
        axes.margins(x=0.09)  # the bar is no cell
    axes.set(xlabel="multiply-adds of the network (millions)", ylabel="accuracy, held-out images")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=3)
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
def finals_compared(panels: Mapping[str, Mapping[str, float]], images: int = 10_000) -> Figure:
    """Test accuracies of final networks: a panel a data set, a row a cell.

    A bar reaches two binomial standard errors to either side, the luck of the test images.

    Args:
        panels: name of a data set -> group of cells, or "long" -> accuracy as a fraction.
        images: how many each accuracy was measured on.
    """
    groups = [group for group in WORDS if any(group in row for row in panels.values())]
    _some(groups, "finals_compared")
    figure = Figure(figsize=(WIDTH, 1.7 + 0.65 * len(groups)))
    for axes, (title, row) in zip(
        figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(), strict=True
    ):
        for group, accuracy in row.items():
            color, marker = LOOKS[group]
            place, reach = groups.index(group), 2 * (accuracy * (1 - accuracy) / images) ** 0.5
            axes.errorbar(
                accuracy, place, xerr=reach, fmt=marker, color=color, mec="white", ms=9,
                capsize=9, elinewidth=2.2, capthick=2.2,
            )  # fmt: skip  # caps higher than the marker, so that a short bar shows, too
            axes.annotate(
                f"{accuracy:.2%}", (accuracy, place), (0, 12), textcoords="offset points",
                ha="center", size=12,
            )  # fmt: skip
        axes.set(title=title, xlabel="test accuracy", ylim=(len(groups) - 0.5, -0.6))
        axes.margins(x=0.15)  # for the numbers
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(visible=False, axis="y")
    figure.get_layout_engine().set(wspace=0.06)  # so that labels of two axes do not touch
    names = [WORDS[group].replace(", ", ",\n") for group in groups]
    figure.axes[0].set(yticks=range(len(groups)), yticklabels=names)
    return figure


def _some(rows: Collection, name: str) -> None:
    if not rows:
        raise ValueError(f"{name} needs at least one group of runs, and the study has none yet.")

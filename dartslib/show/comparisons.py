"""Steps of a search compared: how a choice forms, what a step costs.

Notebook 02 uses these. Every function takes plain numbers and returns a matplotlib figure as wide
as a notebook's column.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dartslib.genotypes import as_array
from dartslib.show.curves import BARS
from dartslib.show.drawings import every
from dartslib.show.figures import CELL_LOOKS, HISTORY
from dartslib.show.style import BLACK, GREY, WIDTH, look, styled
from dartslib.space import CELL_TYPES

METHODS = {  # as in records: as on the page
    "one_level": "one level",
    "first_order": "first order",
    "finite_difference": "finite difference",
    "exact": "exact",
}


@styled
def choice_over_time(
    steps: Sequence[int], probabilities: np.ndarray, operations: Sequence[str]
) -> Figure:
    """The probabilities of one edge's operations over the steps.

    Args:
        steps: (T,).
        probabilities: (T, operations).
        operations: their names.
    """
    figure = Figure(figsize=(WIDTH, 4.4))
    axes = figure.subplots()
    for name, column in zip(operations, as_array(probabilities).T, strict=True):
        style = look(name, operations)
        axes.plot(
            steps, column, color=style.color, ls=style.dashes, marker=style.marker, mec="white",
            markevery=every(len(steps)), label=name,
        )  # fmt: skip
    axes.axhline(1 / len(operations), color=BLACK, lw=0.9, ls=(0, (1, 2)))
    axes.set(xlabel="step", ylabel="probability (softmax of α)", ylim=(0, 1.02))
    figure.legend(loc="outside right")
    return figure


@styled
def step_costs(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """What a step costs by each method, in multiples of a first-order step of the same row.

    Args:
        rows: where the times come from -> {method: seconds a step}; each has first_order.
    """
    methods = [name for name in METHODS if any(name in times for times in rows.values())]
    figure = Figure(figsize=(WIDTH, 1.3 + len(methods) * (0.28 + 0.3 * len(rows))))
    axes = figure.subplots()
    height = 0.8 / max(1, len(rows))
    for place, ((label, times), (fill, hatch)) in enumerate(
        zip(rows.items(), cycle(BARS), strict=False)
    ):
        here = [number for number, name in enumerate(methods) if name in times]
        ratios = [times[methods[number]] / times["first_order"] for number in here]
        middle = np.array(here) + height * (place - (len(rows) - 1) / 2)
        pen = {"fc": fill, "ec": BLACK, "hatch": hatch, "lw": 1.2}
        bars = axes.barh(middle, ratios, 0.9 * height, label=label, **pen)
        axes.bar_label(bars, [f"{ratio:.1f}" for ratio in ratios], padding=5, fontsize=12)
    axes.axvline(1, color=BLACK, ls=":", lw=1.8)
    axes.set(yticks=range(len(methods)), yticklabels=[METHODS[name] for name in methods])
    axes.set(ylim=(len(methods) - 0.5, -0.5), xlabel="seconds a step / seconds of first order")
    axes.margins(x=0.1)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=max(1, len(rows)))
    return figure


@styled
def alphas_compared(
    pairs: Mapping[str, tuple[HISTORY, HISTORY]], labels: tuple[str, str] = ("ξ = 0", "ξ > 0")
) -> Figure:
    """Two searches against each other: the last probability of each edge and operation in both.

    Args:
        pairs: title of a panel -> the histories of the two searches.
        labels: which search lies along x and which along y.
    """
    figure = Figure(figsize=(WIDTH, 5.4 if len(pairs) > 1 else 6.4))
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    tables = {
        title: [[as_array(h[f"probabilities_{kind}"][-1]) for h in pair] for kind in CELL_TYPES]
        for title, pair in pairs.items()
    }
    # One scale for all panels, so that they compare.
    top = 1.08 * max(table.max() for kinds in tables.values() for pair in kinds for table in pair)
    for axes, (title, kinds) in zip(panels, tables.items(), strict=True):
        for (x, y), (color, marker, _) in zip(kinds, CELL_LOOKS.values(), strict=True):
            axes.plot(x.ravel(), y.ravel(), marker, color=color, mec="white", ms=8, mew=0.7)
        axes.plot([0, top], [0, top], color=GREY, lw=1.5, ls="--", zorder=1)
        for line in (axes.axhline, axes.axvline):
            line(1 / kinds[0][0].shape[-1], color=BLACK, lw=0.9, ls=(0, (1, 2)), zorder=1)
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal", title=title)
        axes.set(xlabel=f"probability, {labels[0]}", ylabel=f"probability, {labels[1]}")
    handles = [
        Line2D([], [], color=color, marker=marker, ls="none", mec="white", label=f"{name} cell")
        for name, (color, marker, _) in CELL_LOOKS.items()
    ]
    handles += [
        Line2D([], [], color=GREY, lw=1.5, ls="--", label="equal"),
        Line2D([], [], color=BLACK, lw=0.9, ls=(0, (1, 2)), label="uniform"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure

"""Curves of searches and trainings, and accuracies side by side.

Histories come as dicts of arrays (see the records), each under the label the caller gives: which
run it was, and whether live or recorded. Figures are as wide as a notebook's column.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dartslib.show.drawings import every
from dartslib.show.figures import HISTORY, arrays
from dartslib.show.study import LOOKS, WORDS
from dartslib.show.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, WIDTH, styled

RUNS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (BLACK, "P"))
# Fill and hatch of bars: okabe-ito colors, lightened.
BARS = (
    ("#9CC7E3", ""),
    ("#F5D08A", "///"),
    ("#8FD3BC", "..."),
    ("#E6B9D1", "xx"),
    ("#D9D9D9", "\\\\"),
)


def run_looks(labels: Collection[str]) -> dict[str, tuple[str, str, str]]:
    """Label of a run -> its color, marker and words in a legend.

    A group of the study ("first_order", "random", …) has its own everywhere. All other labels are
    shown as they are, and take of `RUNS`, in order, the colors that no such group has.
    """
    groups = {label: LOOKS[label] for label in labels if label in LOOKS}
    taken = {color for color, _ in groups.values()}
    spare = cycle([look for look in RUNS if look[0] not in taken])
    looks = {label: groups[label] if label in groups else next(spare) for label in labels}
    return {label: (*look, WORDS.get(label, label)) for label, look in looks.items()}


@styled
def search_curves(histories: Mapping[str, HISTORY], title: str | None = None) -> Figure:
    """Loss and accuracy of the supernet over the steps, on the weights' and on alpha's batches.

    Args:
        histories: label -> history of a search; the label says which run, and live or recorded,
            or is a group of the study (see `run_looks`).
        title: above both panels.
    """
    figure = Figure(figsize=(WIDTH, 4.4 + 0.28 * len(histories) + (0.4 if title else 0)))
    panels = figure.subplots(1, 2)
    for label, (color, marker, _) in run_looks(histories).items():
        history = arrays(histories[label])
        for part, dashes in (("train", "-"), ("valid", "--")):
            _curve(panels, history["step"], history, part, color, marker, dashes)
    _finish_curves(figure, panels, histories, "step", title)
    return figure


@styled
def training_curves(histories: Mapping[str, HISTORY], title: str | None = None) -> Figure:
    """Loss and accuracy of trainings over the epochs; validation where one was watched.

    Args:
        histories: label -> history of a training; the label says which run, and live or recorded,
            or is a group of the study (see `run_looks`).
        title: above both panels.
    """
    figure = Figure(figsize=(WIDTH, 4.4 + 0.28 * len(histories) + (0.4 if title else 0)))
    panels, watched = figure.subplots(1, 2), False
    for label, (color, marker, _) in run_looks(histories).items():
        history = arrays(histories[label])
        _curve(panels, history["epoch"], history, "train", color, marker, "-")
        if len(history.get("evaluation_step", ())):
            watched = True
            epochs = history["evaluation_step"] * (history["epoch"][-1] / history["step"][-1])
            _curve(panels, epochs, history, "valid", color, marker, "--")
    _finish_curves(figure, panels, histories, "epoch", title, watched)
    return figure


@styled
def accuracy_bars(
    rows: Sequence[Sequence], title: str | None = None, chance: float | None = None
) -> Figure:
    """Accuracies beside each other, with the numbers at the bars.

    Args:
        rows: (label, accuracy) or (label, accuracy, source), accuracies as fractions. Several
            accuracies in a row are runs that differ in the seed: the bar is their mean, each a dot.
            The source ("report", "recorded", "live", …) sets color and hatch.
        title: above the bars.
        chance: accuracy of a guess, drawn as a line.
    """
    if not rows:
        raise ValueError("accuracy_bars needs at least one row: (label, accuracy[, source]).")
    sources = list(dict.fromkeys(row[2] for row in rows if len(row) > 2))
    # Light fills, so that hatch and numbers stand out.
    styles = dict(zip(sources, cycle(BARS), strict=False))
    figure = Figure(
        figsize=(WIDTH, 0.9 + 0.5 * len(rows) + 0.4 * bool(title) + 0.4 * bool(sources))
    )
    axes = figure.subplots()
    values = [np.atleast_1d(np.asarray(row[1], dtype=float)) for row in rows]
    for place, (row, runs) in enumerate(zip(rows, values, strict=True)):
        fill, hatch = styles[row[2]] if len(row) > 2 else BARS[0]
        axes.barh(place, runs.mean(), height=0.66, fc=fill, ec=BLACK, hatch=hatch, lw=1.2)
        if len(runs) > 1:
            axes.plot(
                runs, np.full(len(runs), place), "o", ms=8, color=BLACK, mec="white", zorder=4
            )
        words = f"{runs.mean():.2%}" + (f" (mean of {len(runs)})" if len(runs) > 1 else "")
        axes.annotate(
            words, (runs.max(), place), (9, 0), textcoords="offset points", va="center", size=12,
            path_effects=[effects.withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    if chance is not None:
        axes.axvline(chance, color=BLACK, ls=":", lw=1.8)
        axes.annotate("chance", (chance, 1), (3, 2), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=12)  # fmt: skip
    room = 1.17 if all(len(runs) == 1 for runs in values) else 1.36  # for the numbers
    axes.set(yticks=range(len(rows)), yticklabels=[row[0] for row in rows], xlabel="accuracy")
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, room * max(runs.max() for runs in values)))
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1])  # no accuracy above 100 %
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(visible=False, axis="y")
    if sources:
        patches = [Rectangle((0, 0), 1, 1, fc=f, ec=BLACK, hatch=h) for f, h in styles.values()]
        figure.legend(patches, sources, loc="outside lower center", ncols=len(sources))
    if title:
        axes.set_title(title, pad=18 if chance is not None else 6)
    return figure


def _curve(
    panels: Sequence[Axes], x: np.ndarray, history: HISTORY, part: str, color: str, marker: str,
    dashes: str,
) -> None:  # fmt: skip
    """Loss on the left, accuracy on the right; validation with hollow markers."""
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        axes.plot(
            x, history[f"{part}_{name}"], color=color, ls=dashes, marker=marker, lw=1.7,
            mfc=color if part == "train" else "white", mec="white" if part == "train" else color,
            markevery=every(len(x)),
        )  # fmt: skip


def _finish_curves(
    figure: Figure, panels: Sequence[Axes], histories: Mapping[str, HISTORY], unit: str,
    title: str | None, validation: bool = True,
) -> None:  # fmt: skip
    """Axes, and a legend with a line a run and one for the two kinds of batches."""
    left, right = panels
    left.set(title="Loss", xlabel=unit, ylabel="cross-entropy (nats)", ylim=(0, None))
    right.set(title="Accuracy", xlabel=unit, ylabel="accuracy")
    if unit == "step":
        for axes in panels:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    handles = [
        Line2D([], [], color=color, marker=marker, mec="white", label=words)
        for color, marker, words in run_looks(histories).values()
    ]
    kinds = [Line2D([], [], color=GREY, marker="o", mec="white", label="training batches")]
    if validation:
        kinds.append(
            Line2D([], [], color=GREY, ls="--", marker="o", mfc="white", label="validation")
        )
    figure.legend(handles=handles, loc="outside lower left")
    right.legend(handles=kinds, loc="best", frameon=True, framealpha=0.9, edgecolor="none")
    if title:
        figure.suptitle(title)

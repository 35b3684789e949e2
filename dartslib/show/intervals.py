"""Differences of two accuracies, with the room that the choice of images leaves them."""

from collections.abc import Sequence
from itertools import cycle
from math import isfinite

import matplotlib.patheffects as effects
from matplotlib.figure import Figure

from dartslib.show.curves import RUNS
from dartslib.show.style import BAND, BLACK, WIDTH, styled


@styled
def differences(
    rows: Sequence[Sequence], title: str | None = None, seeds: float | None = None
) -> Figure:
    """Differences in percentage points; a bar reaches two standard errors to either side.

    Args:
        rows: (label, difference, standard error, source), both numbers as fractions. The source
            ("report", "recorded", …) sets color and marker.
        title: above the rows.
        seeds: what the luck of two seeds may make of no difference, as a fraction: a grey band
            behind, to both sides of 0.
    """
    if not rows:
        raise ValueError("differences needs at least one row: (label, difference, error, source).")
    looks = dict(zip(dict.fromkeys(row[3] for row in rows), cycle(RUNS), strict=False))
    figure = Figure(figsize=(WIDTH, 1.5 + 0.5 * len(rows) + 0.4 * bool(title)))
    axes, named = figure.subplots(), set()
    ends = [0.0]
    for place, (_, difference, error, source) in enumerate(rows):
        points, reach, (color, marker) = 100 * difference, 200 * error, looks[source]
        axes.errorbar(
            points, place, xerr=reach, fmt=marker, color=color, ms=9, capsize=7, elinewidth=2.2,
            capthick=2.2, label=None if source in named else source,
        )  # fmt: skip
        named.add(source)
        ends += [points, *(points + side * reach for side in (-1, 1) if isfinite(reach))]
    for place, (_, difference, error, _) in enumerate(rows):  # a column, clear of bars and zero
        axes.annotate(
            f"{100 * difference:+.2f}" + (f" ± {200 * error:.2f}" if isfinite(error) else ""),
            (max(ends), place), (12, 0),
            textcoords="offset points", va="center", size=12,
            path_effects=[effects.withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    room = max(ends) - min(ends) or 1.0
    if seeds is not None:
        label = "what two seeds alone may do"
        axes.axvspan(-100 * seeds, 100 * seeds, color=BAND, lw=0, zorder=-1, label=label)
    axes.axvline(0, color=BLACK, lw=1.8, zorder=0.9)  # over the grid, under the bars
    axes.set(yticks=range(len(rows)), yticklabels=[row[0] for row in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="difference (percentage points)")
    axes.set(xlim=(min(ends) - 0.05 * room, max(ends) + 0.27 * room))  # for the numbers
    axes.grid(visible=False, axis="y")
    entries = len(looks) + (seeds is not None)
    figure.legend(loc="outside lower center", ncols=entries if entries < 4 else 2)
    if title:
        axes.set_title(title)
    return figure

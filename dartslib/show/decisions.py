"""How narrowly derivation decides, and what it would have decided at every moment of a search."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dartslib.genotypes import Choice, as_array, choices
from dartslib.show.drawings import OUTLINE
from dartslib.show.figures import HISTORY, arrays
from dartslib.show.pictures import Picture, picture
from dartslib.show.style import (
    BLACK,
    GREY,
    VERMILION,
    WIDTH,
    edge_names,
    ink,
    look,
    state_words,
    styled,
)
from dartslib.space import CELL_TYPES, SearchSpace

UP, DOWN = 0.17, 0.22  # in the row of an edge: its best operation above, the others below
NAMED = 0.24  # a strip that is at least this part of the run bears the operation's name
Stretch = tuple[float, float, str, bool]  # from step, to step, operation, kept


@styled
def margins(
    probabilities: Mapping[str, Any], space: SearchSpace, title: str = "", *, numbers: bool = False
) -> Picture:
    """A row per edge: the probabilities of its operations, and how closely derivation decides.

    The best operation but none stands in the upper half of a row, filled where the edge is kept,
    with its lead over the second best; the others stand below it. The band across the rows of a
    node, with its width, is the margin between its weakest kept and its strongest cut edge.

    Args:
        probabilities: cell type -> (edges, operations); arrays or tensors.
        space: the space they belong to.
        title: above both cell types.
        numbers: the description says the narrowest decisions; of a live run leave it.

    Raises:
        ValueError: the probabilities are not of this space.
    """
    found = choices(probabilities, space)
    kept = [choice for choice in found if choice.kept]
    narrowest = min(kept, key=lambda choice: choice.operation_margin)
    figure, panels = _panels(space, title, 0.46)
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        axes.axvline(1 / len(space.operations), color=BLACK, lw=0.9, ls=(0, (1, 2)), zorder=1)
        mine = [choice for choice in found if choice.cell_type == cell_type]
        for choice in mine:
            row = as_array(probabilities[cell_type])[choice.edge]
            _draw_edge(axes, choice, row, space, choice is narrowest)
        for node in range(space.nodes):
            _draw_band(axes, [choice for choice in mine if choice.node == node])
        axes.set(xlabel="probability (softmax of α)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    left, right = panels[0].get_xlim()
    panels[0].set_xlim(left, right + 0.1 * (right - left))  # for the numbers
    best = [name for name in space.operations if any(c.operation == name for c in found)]
    pen = {"color": GREY, "ls": "none", "mec": "none"}
    handles = [
        Line2D([], [], ls="none", color=p.color, marker=p.marker, ms=10, label=name)
        for name, p in ((name, look(name, space.operations)) for name in best)
    ] + [Line2D([], [], marker=".", ms=9, label="another operation", **pen)]
    if "none" in space.operations:
        pen |= {"marker": "|", "ms": 12, "mew": 2, "mec": GREY}
        handles.append(Line2D([], [], label="none", **pen))
    _legend(
        figure, handles, "filled: kept; hollow: cut; band: margin between edges; dotted: uniform"
    )
    words = (
        "One row per edge: the probability of each of its operations, the lead of the best one, "
        "and a band between the weakest kept and the strongest cut edge of each node."
    )
    if numbers:
        words += (
            f" The narrowest decision for an operation: {narrowest.operation} from "
            f"{state_words(narrowest.source)} to node {narrowest.node + 1} in the "
            f"{narrowest.cell_type} cell, by {narrowest.operation_margin:.4f}"
        )
        cuts = [choice.edge_margin for choice in kept if not np.isnan(choice.edge_margin)]
        words += f"; the narrowest cut: by {min(cuts):.4f}." if cuts else "."
    return picture(figure, words)


@styled
def choices_over_time(history: HISTORY, space: SearchSpace, title: str = "") -> Picture:
    """A strip per edge: its best operation at each record, thick while derivation would keep it.

    Args:
        history: of a search; needs step and probabilities_* of both cell types.
        space: the space of the search.
        title: above both cell types.
    """
    rows = _rows(history, space)
    figure, panels = _panels(space, title, 0.31)
    length = float(history["step"][-1] - history["step"][0])
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        for edge, row in enumerate(rows[cell_type]):
            _draw_strip(axes, edge, row, length, space)
        end = max((row[-1][1] for row in rows[cell_type] if row), default=1.0)
        axes.set(xlabel="step", xlim=(0, end))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=False)
    handles = [
        Rectangle((0, 0), 1, 1, fc=look(name, space.operations).color, label=name)
        for name in space.operations
        if name != "none"
    ]
    _legend(figure, handles, "thick: would be kept; thin: would be cut")
    words = "One strip per edge: its best operation at each step, thick while it would be kept."
    return picture(figure, words)


def decided(history: HISTORY) -> dict[int, dict[str, np.ndarray]]:
    """The probabilities of each record at which alpha is no longer uniform, by its place."""
    history = arrays(history)
    every = {
        t: {kind: history[f"probabilities_{kind}"][t] for kind in CELL_TYPES}
        for t in range(len(history["step"]))
    }
    return {
        t: tables for t, tables in every.items() if any(np.ptp(p) > 1e-9 for p in tables.values())
    }


def _rows(history: HISTORY, space: SearchSpace) -> dict[str, list[list[Stretch]]]:
    """Per cell type and edge the stretches in which nothing changed.

    Records at which alpha is still uniform decide nothing and are left out.
    """
    steps = np.asarray(history["step"], dtype=float)
    # What is derived in the end is seen, too: the last record gets as long a strip as the others.
    ends = [*steps[1:], steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1.0)]
    moments: dict[tuple[str, int], list[Stretch]] = {
        (kind, edge): [] for kind in CELL_TYPES for edge in range(len(space.edges))
    }
    for t, tables in decided(history).items():
        for c in choices(tables, space):
            moments[c.cell_type, c.edge].append((steps[t], ends[t], c.operation, c.kept))
    return {
        kind: [_joined(moments[kind, edge]) for edge in range(len(space.edges))]
        for kind in CELL_TYPES
    }


def _joined(moments: list[Stretch]) -> list[Stretch]:
    """Neighbors with the same operation and fate become one."""
    grouped = [list(group) for _, group in groupby(moments, key=lambda moment: moment[2:])]
    return [(group[0][0], group[-1][1], *group[0][2:]) for group in grouped]


def _panels(space: SearchSpace, title: str, row: float) -> tuple[Figure, Any]:
    """A panel per cell type with a row per edge, and lines between the nodes they lead to."""
    figure = Figure(figsize=(WIDTH, row * len(space.edges) + 2.0 + 0.4 * bool(title)))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        axes.set_title(f"{cell_type} cell")
        for edge in range(1, len(space.edges)):
            if space.edges[edge][1] != space.edges[edge - 1][1]:
                axes.axhline(edge - 0.5, color=GREY, lw=1)
    names = edge_names(space)
    panels[0].set(yticks=range(len(names)), yticklabels=names, ylabel="edge")
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    if title:
        figure.suptitle(title)
    return figure, panels


def _legend(figure: Figure, handles: list, title: str) -> None:
    place = {"loc": "outside lower center", "ncols": 4, "handlelength": 1.4}
    figure.legend(handles=handles, title=title, **place)


def _draw_edge(
    axes: Axes, choice: Choice, row: np.ndarray, space: SearchSpace, narrowest: bool
) -> None:
    """The best operation of an edge, with its lead if it is kept; below it all others."""
    for name, probability in zip(space.operations, row, strict=True):
        if name != choice.operation:
            pen = (
                {"marker": "|", "ms": 12, "mew": 2} if name == "none" else {"marker": ".", "ms": 8}
            )
            axes.plot(probability, choice.edge + DOWN, color=GREY, ls="none", **pen)
    pen = look(choice.operation, space.operations)
    axes.plot(
        choice.probability, choice.edge - UP, pen.marker or "o", ms=9, color=pen.color, mew=2,
        mfc=pen.color if choice.kept else "white", zorder=4,
    )  # fmt: skip
    if choice.kept and not np.isnan(choice.operation_margin):
        axes.annotate(
            f"+{choice.operation_margin:.3f}", (choice.probability, choice.edge - UP), (9, 0),
            textcoords="offset points", va="center", size=12, path_effects=OUTLINE, zorder=5,
            weight="bold" if narrowest else "normal",
        )  # fmt: skip


def _draw_band(axes: Axes, node: list[Choice]) -> None:
    """From the strongest cut to the weakest kept edge of a node, across its rows."""
    cut = [choice.probability for choice in node if not choice.kept]
    if not cut:
        return
    margin, edges = node[0].edge_margin, [choice.edge for choice in node]
    place = max(cut), min(edges) - 0.5
    axes.add_patch(
        Rectangle(place, margin, len(node), fc=VERMILION, ec=VERMILION, alpha=0.3, lw=1, zorder=2)
    )
    axes.annotate(
        f"{margin:.3f}", (1, max(edges) + 0.45), (-3, 0), ha="right", va="bottom", size=12,
        xycoords=axes.get_yaxis_transform(), textcoords="offset points", color=VERMILION,
        path_effects=OUTLINE, zorder=5,
    )  # fmt: skip


def _draw_strip(
    axes: Axes, edge: int, row: list[Stretch], length: float, space: SearchSpace
) -> None:
    for start, end, operation, kept in row:
        color, height = look(operation, space.operations).color, 0.78 if kept else 0.2
        axes.broken_barh([(start, end - start)], (edge - height / 2, height), fc=color, ec="none")
        if kept and end - start >= NAMED * length:
            short = operation.replace("_conv_", " ").replace("_pool_", " ").replace("_connect", "")
            axes.text((start + end) / 2, edge, short, ha="center", va="center", color=ink(color),
                      size=12, clip_on=True)  # fmt: skip

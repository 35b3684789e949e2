"""How narrowly derivation decides, and what it would have decided at every moment of a search."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dartslib.genotypes import Choice, choices
from dartslib.show.figures import HISTORY, arrays, checked_tables
from dartslib.show.style import (
    BLACK,
    GREY,
    VERMILION,
    WIDTH,
    ink,
    look,
    state_math,
    state_name,
    styled,
)
from dartslib.space import CELL_TYPES, SearchSpace

NAMED = 0.24  # a strip that is at least this part of the run bears the operation's name
Row = list[tuple[float, float, str, bool]]  # from step, to step, operation, kept


@styled
def margins(
    probabilities: Mapping[str, Any], space: SearchSpace, title: str | None = None
) -> Figure:
    """A row an edge: the probabilities of its operations, and how closely derivation decides.

    The best operation but none has its own marker, filled where the edge is kept. The band across
    the rows of a node, with its width, is the margin between its weakest kept and its strongest
    cut edge.

    Args:
        probabilities: cell type -> (edges, operations); arrays or tensors.
        space: the space they belong to.
        title: above both cell types.
    """
    tables = checked_tables(probabilities, space)
    found = choices(tables, space)
    figure = Figure(figsize=(WIDTH, 0.37 * len(space.edges) + 2.1 + 0.4 * bool(title)))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        _part_nodes(axes, space)
        axes.axvline(1 / len(space.operations), color=BLACK, lw=0.9, ls=(0, (1, 2)), zorder=1)
        for choice in (choice for choice in found if choice.cell_type == cell_type):
            _draw_rivals(axes, choice, tables[cell_type][choice.edge], space)
        for node in range(space.nodes):
            _draw_band(axes, [c for c in found if (c.cell_type, c.node) == (cell_type, node)])
        axes.set(title=f"{cell_type} cell", xlabel="probability (softmax of α)")
    _name_edges(panels[0], space)
    panels[0].xaxis.set_major_locator(MaxNLocator(5))
    best = [name for name in space.operations if any(c.operation == name for c in found)]
    pens = {name: look(name, space.operations) for name in best}
    small = {"color": GREY, "ls": "none", "mec": "none"}
    handles = [
        Line2D([], [], ls="none", color=p.color, marker=p.marker, ms=10, label=name)
        for name, p in pens.items()
    ] + [Line2D([], [], marker=".", ms=9, label="another operation", **small)]
    if "none" in space.operations:
        handles.append(
            Line2D([], [], marker="x", ms=7, mew=1.6, ls="none", color=GREY, label="none")
        )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, handlelength=1.4,
        title="filled: kept; hollow: cut; band: the margin between edges; dotted: uniform",
    )  # fmt: skip
    if title:
        figure.suptitle(title)
    return figure


@styled
def choices_over_time(history: HISTORY, space: SearchSpace, title: str | None = None) -> Figure:
    """A strip an edge: its best operation at each record, thick while derivation would keep it.

    Args:
        history: of a search; needs step and probabilities_* of both cell types.
        space: the space of the search.
        title: above both cell types.
    """
    rows = _rows(history, space)
    figure = Figure(figsize=(WIDTH, 0.31 * len(space.edges) + 1.9 + 0.4 * bool(title)))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        _part_nodes(axes, space)
        length = float(history["step"][-1] - history["step"][0])
        for edge, row in enumerate(rows[cell_type]):
            _draw_row(axes, edge, row, length, space)
        end = max((row[-1][1] for row in rows[cell_type] if row), default=1.0)
        axes.set(title=f"{cell_type} cell", xlabel="step", xlim=(0, end))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=False)
    _name_edges(panels[0], space)
    handles = [
        Rectangle((0, 0), 1, 1, fc=look(name, space.operations).color, label=name)
        for name in space.operations
        if name != "none"
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, handlelength=1.4,
        title="thick: would be kept; thin: would be cut",
    )  # fmt: skip
    if title:
        figure.suptitle(title)
    return figure


def describe_choices(history: HISTORY, space: SearchSpace) -> str:
    """In words, for a recorded run: when the derived cells changed last, and how often.

    Counted from the second record on at which alpha is no longer uniform: that can be a change.
    """
    sentences, after = [], len(decided(history)) - 1
    for cell_type, rows in _rows(history, space).items():
        changes = sorted(
            (new[0], edge)
            for edge, row in enumerate(rows)
            for old, new in zip(row, row[1:], strict=False)
            if old[3] != new[3] or (new[3] and old[2] != new[2])
        )
        if not changes:
            sentences.append(f"The {cell_type} cell that would be derived never changed.")
            continue
        step, (source, target) = changes[-1][0], space.edges[changes[-1][1]]
        name = state_name(source) if source < 2 else f"node {state_name(source)}"
        moments = len({moment for moment, _ in changes})
        sentences.append(
            f"The {cell_type} cell that would be derived changed at {moments} of "
            f"{after} records, last at step {step:g} on the edge from {name} to "
            f"node {target - 1}."
        )
    return " ".join(sentences)


def _rows(history: HISTORY, space: SearchSpace) -> dict[str, list[Row]]:
    """Per cell type and edge the stretches in which nothing changed.

    Records at which alpha is still uniform decide nothing and are left out.
    """
    tables = decided(history)
    steps = np.asarray(history["step"], dtype=float)
    moments = [_by_edge(tables[t], space) if t in tables else {} for t in range(len(steps))]
    # What is derived in the end is seen, too: the last record gets as long a strip as the others.
    ends = [*steps[1:], steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1.0)]
    return {
        kind: [
            _stretches([(steps[t], ends[t], *m[kind, edge]) for t, m in enumerate(moments) if m])
            for edge in range(len(space.edges))
        ]
        for kind in CELL_TYPES
    }


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


def _by_edge(
    tables: Mapping[str, np.ndarray], space: SearchSpace
) -> dict[tuple[str, int], tuple[str, bool]]:
    return {(c.cell_type, c.edge): (c.operation, c.kept) for c in choices(tables, space)}


def _stretches(moments: Row) -> Row:
    """Neighbors with the same operation and fate become one."""
    grouped = [list(group) for _, group in groupby(moments, key=lambda moment: moment[2:])]
    return [(group[0][0], group[-1][1], *group[0][2:]) for group in grouped]


def _name_edges(axes: Axes, space: SearchSpace) -> None:
    names = [f"{state_math(source)} → {target - 1}" for source, target in space.edges]
    axes.set(yticks=range(len(names)), yticklabels=names, ylabel="edge")
    axes.set_ylim(len(names) - 0.5, -0.5)


def _part_nodes(axes: Axes, space: SearchSpace) -> None:
    """A line between the edges into one node and those into the next."""
    for edge in range(1, len(space.edges)):
        if space.edges[edge][1] != space.edges[edge - 1][1]:
            axes.axhline(edge - 0.5, color=GREY, lw=1)


def _draw_rivals(axes: Axes, choice: Choice, row: np.ndarray, space: SearchSpace) -> None:
    """The operations of one edge; the best above the others."""
    for name, probability in zip(space.operations, row, strict=True):
        if name == "none":
            axes.plot(probability, choice.edge, "x", color=GREY, ms=7, mew=1.6)
        elif name != choice.operation:
            axes.plot(probability, choice.edge, ".", color=GREY, ms=8, mec="none")
    pen = look(choice.operation, space.operations)
    axes.plot(
        choice.probability, choice.edge, pen.marker or "o", ms=9, color=pen.color, mew=2,
        mfc=pen.color if choice.kept else "white", zorder=4,
    )  # fmt: skip


def _draw_band(axes: Axes, node: Sequence[Choice]) -> None:
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
        f"{margin:.3f}", (1, max(edges) + 0.42), (-3, 0), ha="right", va="bottom", size=12,
        xycoords=axes.get_yaxis_transform(), textcoords="offset points", color=VERMILION,
        path_effects=[effects.withStroke(linewidth=3, foreground="white")], zorder=5,
    )  # fmt: skip


def _draw_row(axes: Axes, edge: int, row: Row, length: float, space: SearchSpace) -> None:
    for start, end, operation, kept in row:
        color, height = look(operation, space.operations).color, 0.78 if kept else 0.2
        axes.broken_barh([(start, end - start)], (edge - height / 2, height), fc=color, ec="none")
        if kept and end - start >= NAMED * length:
            axes.text((start + end) / 2, edge, _short(operation), ha="center", va="center",
                      color=ink(color), size=12, clip_on=True)  # fmt: skip


def _short(operation: str) -> str:
    """sep_conv_3x3 as sep 3x3, skip_connect as skip: what a strip has room for."""
    return operation.replace("_conv_", " ").replace("_pool_", " ").replace("_connect", "")

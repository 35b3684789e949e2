"""What a search decided: alpha's heatmap, how narrowly derivation decides, and when it changed."""

from collections.abc import Mapping, Sequence
from itertools import groupby, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dartslib.genotypes import Choice, as_array, choices
from dartslib.show.drawings import heatmap, say
from dartslib.show.parts import TOP
from dartslib.show.pictures import Picture, picture
from dartslib.show.style import (
    BLACK,
    GREY,
    VERMILION,
    WIDTH,
    color_key,
    edge_names,
    ink,
    look,
    state_words,
    styled,
)
from dartslib.space import CELL_TYPES, SearchSpace

HISTORY = Mapping[str, Sequence | np.ndarray]  # of a record: arrays; of a live run: lists
UP, DOWN = 0.17, 0.22  # in the row of an edge: its best operation above, the others below
NAMED = 0.24  # a strip that is at least this part of the run bears the operation's name
OTHER = {"color": GREY, "marker": ".", "ms": 8}
NONE = {"color": GREY, "marker": "|", "ms": 12, "mew": 2}


def alpha_heatmap(runs: Mapping[str, Mapping[str, Any]], space: SearchSpace) -> Picture:
    """The softmax of alpha on every edge: a column per run, its normal cell above the reduction.

    Outlined is what derivation keeps: two edges per node, on each its best operation but none.

    Args:
        runs: what to call a run -> cell type -> (edges, operations); arrays or tensors.
        space: the space they belong to.

    Raises:
        ValueError: the probabilities are not of this space.
    """
    panels, frames = {}, {}
    for kind, (label, tables) in product(CELL_TYPES, runs.items()):
        title, found = f"{label}: {kind} cell", choices(tables, space)
        panels[title] = as_array(tables[kind]).T  # (operations, edges)
        frames[title] = np.zeros(panels[title].shape, bool)
        for choice in found:
            if choice.kept and choice.cell_type == kind:
                frames[title][space.operations.index(choice.operation), choice.edge] = True
    return heatmap(
        panels, rows=space.operations, columns=edge_names(space, "\n"), across=len(runs), top=TOP,
        x="edge (from → to node)", color="probability (softmax of α)", outlined=frames,
        outline="kept by derivation", form="{:.3f}" if len(runs) == 1 else "{:.2f}",
        parted=_node_begins(space),
    )  # fmt: skip


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
    names = [n for n in space.operations if any(choice.operation == n for choice in found)]
    pens = {name: look(name, space.operations) for name in names}
    marks = {n: {"color": p.color, "marker": p.marker, "ms": 10} for n, p in pens.items()}
    marks["another operation"] = OTHER | {"mec": "none", "ms": 9}
    if "none" in space.operations:
        marks["none"] = NONE
    handles = [Line2D([], [], ls="none", label=name, **mark) for name, mark in marks.items()]
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
    figure, panels = _panels(space, title, 0.31)
    steps = np.asarray(history["step"], dtype=float)
    letters = {"ha": "center", "va": "center", "size": 12, "clip_on": True}
    # What is derived in the end is seen, too: the last record gets as long a strip as the others.
    ends = [*steps[1:], steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1.0)]
    found = [(t, c) for t, tables in decided(history).items() for c in choices(tables, space)]
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        for edge in range(len(space.edges)):
            mine = [(t, c) for t, c in found if c.cell_type == cell_type and c.edge == edge]
            for (operation, kept), group in groupby(mine, lambda at: (at[1].operation, at[1].kept)):
                times = [t for t, _ in group]
                start, long = steps[times[0]], ends[times[-1]] - steps[times[0]]
                color, height = look(operation, space.operations).color, 0.78 if kept else 0.2
                place = [(start, long)], (edge - height / 2, height)
                axes.broken_barh(*place, fc=color, ec="none")
                if kept and long >= NAMED * (steps[-1] - steps[0]):
                    name = operation.replace("_conv_", " ").replace("_pool_", " ")
                    axes.text(start + long / 2, edge, name.replace("_connect", ""),
                              color=ink(color), **letters)  # fmt: skip
        axes.set(xlabel="step", xlim=(0, max((ends[t] for t, _ in found), default=1.0)))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=False)
    _legend(figure, color_key(space.operations), "thick: would be kept; thin: would be cut")
    words = "One strip per edge: its best operation at each step, thick while it would be kept."
    return picture(figure, words)


def decided(history: HISTORY) -> dict[int, dict[str, np.ndarray]]:
    """The probabilities of each record at which alpha is no longer uniform, by its place."""
    both = {kind: np.asarray(history[f"probabilities_{kind}"]) for kind in CELL_TYPES}
    every = ({kind: table[t] for kind, table in both.items()} for t in range(len(history["step"])))
    return {
        t: tables
        for t, tables in enumerate(every)
        if any(np.ptp(table) > 1e-9 for table in tables.values())
    }


def _panels(space: SearchSpace, title: str, row: float) -> tuple[Figure, Any]:
    """A panel per cell type with a row per edge, and lines between the nodes they lead to."""
    figure = Figure(figsize=(WIDTH, row * len(space.edges) + 2.0 + 0.4 * bool(title)))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        axes.set_title(f"{cell_type} cell")
        for edge in _node_begins(space):
            axes.axhline(edge - 0.5, color=GREY, lw=1)
    names = edge_names(space)
    panels[0].set(yticks=range(len(names)), yticklabels=names, ylabel="edge")
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    if title:
        figure.suptitle(title)
    return figure, panels


def _node_begins(space: SearchSpace) -> list[int]:
    """The first edge of each node but the first."""
    return [space.edges_into(target)[0] for target in range(3, space.nodes + 2)]


def _legend(figure: Figure, handles: list, title: str) -> None:
    place = {"loc": "outside lower center", "ncols": 4, "handlelength": 1.4}
    figure.legend(handles=handles, title=title, **place)


def _draw_edge(
    axes: Axes, choice: Choice, row: np.ndarray, space: SearchSpace, narrowest: bool
) -> None:
    """The best operation of an edge, with its lead if it is kept; below it all others."""
    for name, probability in zip(space.operations, row, strict=True):
        if name != choice.operation:
            mark = NONE if name == "none" else OTHER
            axes.plot(probability, choice.edge + DOWN, ls="none", **mark)
    pen, place = look(choice.operation, space.operations), (choice.probability, choice.edge - UP)
    fill = pen.color if choice.kept else "white"
    axes.plot(*place, pen.marker or "o", ms=9, color=pen.color, mew=2, mfc=fill, zorder=4)
    if choice.kept and not np.isnan(choice.operation_margin):
        weight = "bold" if narrowest else "normal"
        say(axes, f"+{choice.operation_margin:.3f}", place, (9, 0), va="center", weight=weight)


def _draw_band(axes: Axes, node: list[Choice]) -> None:
    """From the strongest cut to the weakest kept edge of a node, across its rows."""
    cut = [choice.probability for choice in node if not choice.kept]
    if not cut:
        return
    margin, edges = node[0].edge_margin, [choice.edge for choice in node]
    band = {"fc": VERMILION, "ec": VERMILION, "alpha": 0.3, "lw": 1, "zorder": 2}
    axes.add_patch(Rectangle((max(cut), min(edges) - 0.5), margin, len(node), **band))
    corner = {"ha": "right", "va": "bottom", "xycoords": axes.get_yaxis_transform()}
    say(axes, f"{margin:.3f}", (1, max(edges) + 0.45), (-3, 0), color=VERMILION, **corner)

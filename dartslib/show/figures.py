"""What alpha said in a search: the heatmap of its softmax, and every edge over time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dartslib.genotypes import Choice, as_array, choices
from dartslib.show.drawings import every, heatmap
from dartslib.show.pictures import Picture
from dartslib.show.style import (
    BLACK,
    BLUE,
    GREY,
    KEPT,
    VERMILION,
    WIDTH,
    edge_names,
    look,
    state_math,
    state_words,
    styled,
)
from dartslib.space import CELL_TYPES, SearchSpace

TOP = 0.5  # probability of the darkest color: the same in every heatmap, so that two compare
HISTORY = Mapping[str, Sequence | np.ndarray]  # of a record: arrays; of a live run: lists
# Each cell type has a color, a marker and a line style of its own.
CELL_LOOKS = {"normal": (BLUE, "o", "-"), "reduction": (VERMILION, "s", (0, (5, 1.6)))}


def alpha_heatmap(
    runs: Mapping[str, Mapping[str, Any]], space: SearchSpace, *, numbers: bool = False
) -> Picture:
    """The softmax of alpha on every edge: a column per run, its normal cell above the reduction.

    Outlined is what derivation keeps: two edges per node, on each its best operation but none.

    Args:
        runs: what to call a run -> cell type -> (edges, operations); arrays or tensors.
        space: the space they belong to.
        numbers: the description says what is kept; of a live run leave it.

    Raises:
        ValueError: the probabilities are not of this space.
    """
    found = {label: choices(tables, space) for label, tables in runs.items()}
    panels, frames, said = {}, {}, []
    for kind in CELL_TYPES:
        for label, tables in runs.items():
            title = f"{label}: {kind} cell"
            kept = [c for c in found[label] if c.kept and c.cell_type == kind]
            panels[title] = as_array(tables[kind]).T  # (operations, edges)
            frames[title] = np.zeros(panels[title].shape, bool)
            for choice in kept:
                frames[title][space.operations.index(choice.operation), choice.edge] = True
            words = (
                f"{c.operation} from {state_words(c.source)} to node {c.node + 1} "
                f"({c.probability:.2f})"
                for c in kept
            )
            said.append(f"{title}: kept are {', '.join(words)}.")
    targets = [target for _, target in space.edges]
    drawn = heatmap(
        panels, rows=space.operations, columns=edge_names(space, "\n"), across=len(runs), top=TOP,
        x="edge (from → to node)", color="probability (softmax of α)", outlined=frames,
        outline="kept by derivation", form="{:.3f}" if len(runs) == 1 else "{:.2f}",
        parted=[edge for edge in range(1, len(targets)) if targets[edge] != targets[edge - 1]],
    )  # fmt: skip
    return replace(drawn, description=" ".join([drawn.description, *said])) if numbers else drawn


@styled
def alpha_over_time(
    history: HISTORY, space: SearchSpace, cell_type: str = "normal", title: str | None = None
) -> Figure:
    """The probabilities on every edge over the steps: a row a node, a panel an edge.

    What derivation keeps at the end is drawn thick, in a panel with an orange frame, and named.

    Args:
        history: of a search; needs step and probabilities_* of both cell types.
        space: the space of the search.
        cell_type: "normal" or "reduction".
        title: above all panels.
    """
    if cell_type not in CELL_TYPES:
        raise ValueError(f"A cell is one of {', '.join(CELL_TYPES)}, not {cell_type!r}.")
    history = arrays(history)
    steps, table = history["step"], as_array(history[f"probabilities_{cell_type}"])
    last = {kind: history[f"probabilities_{kind}"][-1] for kind in CELL_TYPES}
    found = choices(last, space)
    final = {choice.edge: choice for choice in found if choice.cell_type == cell_type}
    columns, corner = space.nodes + 1, space.nodes > 2  # the legend stands in the empty corner
    figure = Figure(
        figsize=(WIDTH, 1.7 * space.nodes + (0.4 if corner else 1.5) + 0.4 * bool(title))
    )
    panels = figure.subplots(space.nodes, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat:
        axes.set_visible(False)
    for edge, (source, target) in enumerate(space.edges):
        axes = panels[target - 2, source]
        axes.set_visible(True)
        _edge_over_time(axes, steps, table[:, edge], space, final[edge])
        axes.set_title(f"{state_math(source)} → {target - 1}", fontsize=13, pad=4)
        if target == space.nodes + 1 or source == target - 1:  # nothing stands below it
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("step", labelpad=1)
        if source == 0:
            axes.set_ylabel("probability")
    high = max(table.max() * 1.22, 1.6 / len(space.operations))  # room for the name
    panels[0, 0].set_ylim(0, min(high, 1.15))
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(2, integer=True))
    panels[0, 0].yaxis.set_major_locator(MaxNLocator(3))
    handles = _operations_legend(space)
    if corner:
        legend = figure.legend(
            handles=handles, loc="upper right", ncols=2, handlelength=2.1, columnspacing=1.0,
            bbox_to_anchor=(0.995, 0.985 - 0.4 * bool(title) / figure.get_figheight()),
        )  # fmt: skip
        legend.set_in_layout(False)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=2.6)
    if title:
        figure.suptitle(title)
    return figure


def _edge_over_time(
    axes: Axes, steps: np.ndarray, table: np.ndarray, space: SearchSpace, choice: Choice
) -> None:
    """The lines of one edge; (records, operations)."""
    for place, name in enumerate(space.operations):
        winner, style = choice.kept and name == choice.operation, look(name, space.operations)
        pen = {"color": style.color, "ls": "-" if winner else style.dashes, "marker": style.marker}
        axes.plot(
            steps, table[:, place], **pen, ms=6, mec="white", mew=0.6,
            markevery=every(len(steps), 3), lw=3.6 if winner else 1.4, zorder=3 if winner else 2,
        )  # fmt: skip
    axes.axhline(1 / len(space.operations), color=BLACK, lw=0.9, ls=(0, (1, 2)), zorder=1)
    if choice.kept:
        axes.text(
            0.03, 0.97, f"{choice.operation}\n{choice.probability:.2f}", transform=axes.transAxes,
            va="top", size=12, weight="bold", linespacing=1.0, zorder=5,
            path_effects=[effects.withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    for side in axes.spines.values():
        side.set(visible=True, color=KEPT if choice.kept else GREY, lw=2.5 if choice.kept else 0.8)


def _operations_legend(space: SearchSpace) -> list[Line2D | Rectangle]:
    """What the lines and frames of the panels mean."""
    handles = []
    for name in space.operations:
        style = look(name, space.operations)
        pen = {"color": style.color, "ls": style.dashes, "marker": style.marker, "lw": 2}
        handles.append(Line2D([], [], mec="white", label=name, **pen))
    uniform = f"uniform: 1/{len(space.operations)}"
    handles.append(Line2D([], [], color=BLACK, lw=0.9, ls=(0, (1, 2)), label=uniform))
    return [
        *handles,
        Rectangle((0, 0), 1, 1, fill=False, ec=KEPT, lw=2.5, label="kept at the end"),
    ]


def arrays(history: HISTORY) -> dict[str, np.ndarray]:
    """A history with an array under every name."""
    return {name: np.asarray(values) for name, values in history.items()}

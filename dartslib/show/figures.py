"""What alpha did in a search: heatmaps, every edge over time, decisions, confidence.

Every function takes arrays (histories and probabilities as in the records) and returns a matplotlib
figure as wide as a notebook's column. Whether a run was live or recorded stands in the labels that
the caller gives.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dartslib.genotypes import Choice, as_array, choices
from dartslib.show.drawings import every
from dartslib.show.style import (
    BLACK,
    BLUE,
    GREY,
    KEPT,
    SHADES,
    VERMILION,
    WIDTH,
    ink,
    look,
    state_math,
    state_name,
    styled,
)
from dartslib.space import CELL_TYPES, SearchSpace

TOP = 0.5  # probability of the darkest color: the same in every heatmap, so that two compare
HISTORY = Mapping[str, Sequence | np.ndarray]  # of a record: arrays; of a live run: lists
# Each cell type has a color, a marker and a line style of its own.
CELL_LOOKS = {"normal": (BLUE, "o", "-"), "reduction": (VERMILION, "s", (0, (5, 1.6)))}


@styled
def alpha_heatmap(
    probabilities: Mapping[str, Any], space: SearchSpace, title: str | None = None, top: float = TOP
) -> Figure:
    """The softmax of alpha on every edge, normal above reduction (Figures 5 and 6 of the report).

    Outlined is what derivation keeps: two edges a node, on each its best operation but none.

    Args:
        probabilities: cell type -> (edges, operations); arrays or tensors.
        space: the space they belong to.
        title: above both maps, for instance which run and which step.
        top: the probability that gets the darkest color. Leave it, so that maps compare.
    """
    tables = checked_tables(probabilities, space)
    kept = [choice for choice in choices(tables, space) if choice.kept]
    rows = len(space.operations)
    figure = Figure(figsize=(WIDTH, 0.36 * rows * 2 + 2.3 + (0.4 if title else 0)))
    panels = figure.subplots(2, 1)
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        _heatmap(axes, tables[cell_type].T, space, top)
        for choice in (choice for choice in kept if choice.cell_type == cell_type):
            place = choice.edge, space.operations.index(choice.operation)
            axes.add_patch(
                Rectangle(place, 1, 1, fill=False, ec="white", lw=5.5, zorder=3, clip_on=False)
            )
            axes.add_patch(
                Rectangle(place, 1, 1, fill=False, ec=KEPT, lw=3, zorder=4, clip_on=False)
            )
        axes.set_title(f"{cell_type} cell", loc="left")
        axes.set_ylabel("operation")
    panels[1].set_xlabel("edge (from → to node)")
    bar = figure.colorbar(
        panels[0].collections[0], ax=list(panels), extend="max", pad=0.02, aspect=40
    )
    bar.set_label("probability (softmax of α)")
    outline = Rectangle((0, 0), 1, 1, fill=False, ec=KEPT, lw=3)
    figure.legend([outline], ["kept by derivation"], loc="outside lower right")
    if title:
        figure.suptitle(title)
    return figure


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
    found = choices(checked_tables(last, space), space)
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


@styled
def operation_means(
    history: HISTORY, space: SearchSpace, title: str | None = None, bold: str = "skip_connect"
) -> Figure:
    """Each operation's probability over the steps, as the mean over the edges of a cell type.

    Args:
        history: of a search; needs step and probabilities_* of both cell types.
        space: the space of the search.
        title: above both panels.
        bold: the operation whose line is thick.
    """
    figure = Figure(figsize=(WIDTH, 5.0 + (0.4 if title else 0)))
    panels = figure.subplots(1, 2, sharey=True)
    history = arrays(history)
    for axes, cell_type in zip(panels, CELL_TYPES, strict=True):
        means = history[f"probabilities_{cell_type}"].mean(axis=1)  # (records, operations)
        for place, name in enumerate(space.operations):
            style, thick = look(name, space.operations), name == bold
            axes.plot(
                history["step"], means[:, place], color=style.color, ls=style.dashes,
                marker=style.marker, mec="white", mew=0.6, markevery=every(len(means), 4),
                lw=3.6 if thick else 1.8, zorder=3 if thick else 2,
            )  # fmt: skip
        axes.axhline(1 / len(space.operations), color=BLACK, lw=0.9, ls=(0, (1, 2)), zorder=1)
        axes.set(title=f"{cell_type} cell", xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set(ylabel=f"probability, mean of {len(space.edges)} edges", ylim=(0, None))
    handles = _operations_legend(space)[:-1]  # without the frame
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=2.6)
    if title:
        figure.suptitle(title)
    return figure


@styled
def confidence(history: HISTORY, title: str | None = None) -> Figure:
    """How sure the search is: entropy of the edges, and the lead of each best operation.

    Thin lines are edges, thick ones the mean over edges.

    Args:
        history: of a search; needs step, entropy_*, margin_* and probabilities_normal.
        title: above both panels.
    """
    figure = Figure(figsize=(WIDTH, 4.4 + (0.4 if title else 0)))
    left, right = figure.subplots(1, 2)
    history = arrays(history)
    steps = history["step"]
    for cell_type, (color, marker, dashes) in CELL_LOOKS.items():
        pale = 1 - 0.4 * (1 - np.array(to_rgb(color)))
        for axes, name in ((left, "entropy"), (right, "margin")):
            table = history[f"{name}_{cell_type}"]
            # without smoothing they take half the room in a notebook
            axes.plot(steps, table, color=pale, lw=0.8, ls=dashes, antialiased=False)
            axes.plot(
                steps, table.mean(axis=1), color=color, lw=3, ls=dashes, marker=marker, mec="white",
                markevery=every(len(steps)), label=f"{cell_type}: mean of {table.shape[1]} edges",
            )  # fmt: skip
    count = history["probabilities_normal"].shape[-1]
    left.axhline(np.log(count), color=BLACK, ls=":", lw=1.8)
    left.annotate(
        f"uniform: ln {count} = {np.log(count):.2f}", (0.98, np.log(count)), fontsize=12,
        xycoords=("axes fraction", "data"), xytext=(0, 5), textcoords="offset points", ha="right",
    )  # fmt: skip
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.09 * (high - low))
    right.set_ylim(bottom=0)
    left.set(title="Entropy of an edge", xlabel="step", ylabel="nats")
    right.set(title="Best minus second best operation", xlabel="step", ylabel="probability")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    if title:
        figure.suptitle(title)
    return figure


def describe_heatmap(probabilities: Mapping[str, Any], space: SearchSpace) -> str:
    """In words what came out, for the alternative text of a recorded run's heatmap."""
    tables = checked_tables(probabilities, space)
    found = choices(tables, space)
    sentences = [
        f"Heatmap of the softmax of alpha, {len(space.edges)} edges by {len(space.operations)} "
        f"operations; uniform would be {1 / len(space.operations):.3f}."
    ]
    for cell_type in CELL_TYPES:
        mine = [choice for choice in found if choice.cell_type == cell_type]
        best = max(mine, key=lambda choice: choice.probability)
        kept = [c for c in mine if c.kept]
        count = {name: sum(c.operation == name for c in kept) for name in space.operations}
        names = [f"{times} {name}" for name, times in count.items() if times]
        cuts = [c.edge_margin for c in mine if not np.isnan(c.edge_margin)]
        narrow = f"; the narrowest cut is by {min(cuts):.3f}" if cuts else ""
        none = ""
        if "none" in space.operations:
            share = tables[cell_type][:, space.operations.index("none")].mean()
            none = f"; none has {share:.3f} on average"
        source = state_name(best.source) if best.source < 2 else f"node {best.source - 1}"
        sentences.append(
            f"{cell_type.capitalize()} cell: kept are {', '.join(names)}; the strongest is "
            f"{best.operation} from {source} to node {best.node + 1} with "
            f"{best.probability:.3f}{narrow}{none}."
        )
    return " ".join(sentences)


def describe_confidence(history: HISTORY) -> str:
    """In words where a recorded run ended: entropy and margins, means over the edges."""
    history = arrays(history)
    count = history["probabilities_normal"].shape[-1]
    parts = []
    for cell_type in CELL_TYPES:
        entropy, margin = (history[f"{name}_{cell_type}"][-1] for name in ("entropy", "margin"))
        parts.append(
            f"in the {cell_type} cell at {entropy.mean():.3f} nats, with the best operation "
            f"{margin.mean():.3f} ahead of the second ({margin.min():.3f} on the closest edge)"
        )
    return (
        f"After {history['step'][-1]:g} steps the edges' entropy, {np.log(count):.3f} when "
        f"uniform, is on average {' and '.join(parts)}."
    )


def checked_tables(probabilities: Mapping[str, Any], space: SearchSpace) -> dict[str, np.ndarray]:
    """Arrays of the right shape, or one sentence."""
    tables = {cell_type: as_array(probabilities[cell_type]) for cell_type in CELL_TYPES}
    shape = (len(space.edges), len(space.operations))
    for cell_type, table in tables.items():
        if table.shape != shape:
            raise ValueError(
                f"The {cell_type} probabilities have shape {table.shape}; this space needs {shape} "
                "(edges, operations): give the space of the search."
            )
    return tables


def _heatmap(axes: Axes, table: np.ndarray, space: SearchSpace, top: float) -> None:
    """One cell's map: (operations, edges), numbers in the cells, a gap between target nodes."""
    names = [f"{state_math(source)}\n→ {target - 1}" for source, target in space.edges]
    numbers = np.vectorize(lambda p: f"{p:.3f}".lstrip("0"))(table)
    sns.heatmap(
        table, ax=axes, cmap=SHADES, vmin=0, vmax=top, annot=numbers, fmt="", cbar=False,
        annot_kws={"size": 12}, linewidths=0.5, linecolor="white", xticklabels=names,
        yticklabels=list(space.operations),
    )  # fmt: skip
    shades = axes.collections[0]
    for text, shade in zip(axes.texts, shades.to_rgba(table.ravel()), strict=True):
        text.set_color(ink(shade))  # seaborn turns white too early
    for edge, (_, target) in enumerate(space.edges[1:], start=1):
        if target != space.edges[edge - 1][1]:
            axes.axvline(edge, color="white", lw=7)
            axes.axvline(edge, color=BLACK, lw=1)
    axes.tick_params(length=0, labelsize=12, rotation=0)


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

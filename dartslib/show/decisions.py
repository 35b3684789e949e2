"""What would have been derived at every moment of a search: which choices flip, and when."""

from collections.abc import Mapping
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dartslib.genotypes import choices
from dartslib.show.figures import HISTORY, arrays
from dartslib.show.marks import WIDTH, ink, look, state_math, state_name
from dartslib.show.style import GREY, styled
from dartslib.space import CELL_TYPES, SearchSpace

NAMED = 0.24  # a strip that is at least this part of the run bears the operation's name
Row = list[tuple[float, float, str, bool]]  # from step, to step, operation, kept


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
        length = float(history["step"][-1] - history["step"][0])
        for edge, row in enumerate(rows[cell_type]):
            _draw_row(axes, edge, row, length, space)
        for edge in range(1, len(space.edges)):
            if space.edges[edge][1] != space.edges[edge - 1][1]:
                axes.axhline(edge - 0.5, color=GREY, lw=1)
        axes.set(title=f"{cell_type} cell", xlabel="step", xlim=(0, max(1, history["step"][-1])))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=False)
    names = [f"{state_math(source)} → {target - 1}" for source, target in space.edges]
    panels[0].set(yticks=range(len(names)), yticklabels=names, ylabel="edge")
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = [
        Rectangle((0, 0), 1, 1, fc=look(name, space.operations).color, label=name)
        for name in space.operations
        if name != "none"
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, handlelength=1.4,
        title="thick: would be kept; thin: would be dropped",
    )  # fmt: skip
    if title:
        figure.suptitle(title)
    return figure


def describe_choices(history: HISTORY, space: SearchSpace) -> str:
    """In words, for a recorded run: when the derived cells changed last, and how often."""
    sentences = []
    for cell_type, rows in _rows(history, space).items():
        changes = sorted(
            (after[0], edge)
            for edge, row in enumerate(rows)
            for before, after in zip(row, row[1:], strict=False)
            if before[3] != after[3] or (after[3] and before[2] != after[2])
        )
        if not changes:
            sentences.append(f"The {cell_type} cell that would be derived never changed.")
            continue
        step, (source, target) = changes[-1][0], space.edges[changes[-1][1]]
        name = state_name(source) if source < 2 else f"node {state_name(source)}"
        moments = len({moment for moment, _ in changes})
        sentences.append(
            f"The {cell_type} cell that would be derived changed at {moments} of "
            f"{len(history['step'])} records, last at step {step:g} on the edge from {name} to "
            f"node {target - 1}."
        )
    return " ".join(sentences)


def _rows(history: HISTORY, space: SearchSpace) -> dict[str, list[Row]]:
    """Per cell type and edge the stretches in which nothing changed.

    Records at which alpha is still uniform decide nothing and are left out.
    """
    history = arrays(history)
    steps = history["step"].astype(float)
    moments = []
    for t in range(len(steps)):
        tables = {kind: history[f"probabilities_{kind}"][t] for kind in CELL_TYPES}
        decided = any(np.ptp(table) > 1e-9 for table in tables.values())
        moments.append(_by_edge(tables, space) if decided else {})
    ends = [*steps[1:], steps[-1]]
    return {
        kind: [
            _stretches([(steps[t], ends[t], *m[kind, edge]) for t, m in enumerate(moments) if m])
            for edge in range(len(space.edges))
        ]
        for kind in CELL_TYPES
    }


def _by_edge(
    tables: Mapping[str, np.ndarray], space: SearchSpace
) -> dict[tuple[str, int], tuple[str, bool]]:
    return {(c.cell_type, c.edge): (c.operation, c.kept) for c in choices(tables, space)}


def _stretches(moments: Row) -> Row:
    """Neighbors with the same operation and fate become one."""
    grouped = [list(group) for _, group in groupby(moments, key=lambda moment: moment[2:])]
    return [(group[0][0], group[-1][1], *group[0][2:]) for group in grouped]


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

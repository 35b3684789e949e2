"""The heatmap of alpha, and how the drawings of a search take its history."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dartslib.genotypes import as_array, choices
from dartslib.show.drawings import heatmap
from dartslib.show.pictures import Picture
from dartslib.show.style import edge_names
from dartslib.space import CELL_TYPES, SearchSpace

TOP = 0.5  # probability of the darkest color: the same in every heatmap, so that two compare
HISTORY = Mapping[str, Sequence | np.ndarray]  # of a record: arrays; of a live run: lists


def alpha_heatmap(runs: Mapping[str, Mapping[str, Any]], space: SearchSpace) -> Picture:
    """The softmax of alpha on every edge: a column per run, its normal cell above the reduction.

    Outlined is what derivation keeps: two edges per node, on each its best operation but none.

    Args:
        runs: what to call a run -> cell type -> (edges, operations); arrays or tensors.
        space: the space they belong to.

    Raises:
        ValueError: the probabilities are not of this space.
    """
    found = {label: choices(tables, space) for label, tables in runs.items()}
    panels, frames = {}, {}
    for kind in CELL_TYPES:
        for label, tables in runs.items():
            title = f"{label}: {kind} cell"
            panels[title] = as_array(tables[kind]).T  # (operations, edges)
            frames[title] = np.zeros(panels[title].shape, bool)
            for choice in found[label]:
                if choice.kept and choice.cell_type == kind:
                    frames[title][space.operations.index(choice.operation), choice.edge] = True
    targets = [target for _, target in space.edges]
    return heatmap(
        panels, rows=space.operations, columns=edge_names(space, "\n"), across=len(runs), top=TOP,
        x="edge (from → to node)", color="probability (softmax of α)", outlined=frames,
        outline="kept by derivation", form="{:.3f}" if len(runs) == 1 else "{:.2f}",
        parted=[edge for edge in range(1, len(targets)) if targets[edge] != targets[edge - 1]],
    )  # fmt: skip


def arrays(history: HISTORY) -> dict[str, np.ndarray]:
    """A history with an array under every name."""
    return {name: np.asarray(values) for name, values in history.items()}

"""From probabilities to a discrete cell: derivation, and the genotype as data.

Section 4.2 ("Network") of the report, section 2.4 of Liu et al. (2019). Needs numpy only.

The JSON form of a genotype, the only one that is read or written:

    {"format": "dartslib-genotype", "version": 1,
     "normal":    [[["sep_conv_3x3", 1], ["sep_conv_3x3", 0]], …],
     "reduction": [[["max_pool_3x3", 0], ["max_pool_3x3", 1]], …]}

One list per node, in it one [operation, input state] per edge, strongest first. States are numbered
as in `SearchSpace`. The cell's output is the concatenation of all its nodes. A cell has 1 to 32
nodes, a node at least one edge.
"""

import json
import reprlib
import tomllib
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from dartslib.space import CELL_TYPES, MOST_NODES, SearchSpace

FORMAT, VERSION = "dartslib-genotype", 1
Nodes = tuple[tuple[tuple[str, int], ...], ...]


def _nodes(cell_type: str, value: Any) -> Nodes:
    """The checked nodes of one cell: each node has at least one edge, from an earlier state."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_NODES:
        raise ValueError(f"A genotype's {cell_type} cell is a list of 1 to {MOST_NODES} nodes.")
    for node, edges in enumerate(value, start=1):
        where = f"node {node} of the {cell_type} cell"
        if not isinstance(edges, list | tuple) or not edges:
            raise ValueError(f"In the genotype, {where} has no input: give it at least one edge.")
        for edge in edges:
            match edge:
                case [str(), source] if type(source) is int and 0 <= source <= node:
                    pass
                case _:
                    raise ValueError(
                        f"In the genotype, an edge of {where} must be [operation name, input state "
                        f"from 0 to {node}], not {reprlib.repr(edge)}."
                    )
    return tuple(tuple((name, source) for name, source in edges) for edges in value)


@dataclass(frozen=True)
class Genotype:
    """A derived architecture: for each node of both cells, its operations and their inputs.

    Attributes:
        normal, reduction: one tuple per node, in it one (operation, input state) per edge.

    Raises:
        ValueError: a node without input or with one that is not an earlier state, or a cell that
            does not have 1 to 32 nodes.
    """

    normal: Nodes
    reduction: Nodes

    def __post_init__(self) -> None:
        for cell_type in CELL_TYPES:
            object.__setattr__(self, cell_type, _nodes(cell_type, getattr(self, cell_type)))

    def cell(self, cell_type: str) -> Nodes:
        """The nodes of one cell type, "normal" or "reduction"."""
        if cell_type not in CELL_TYPES:
            raise ValueError(f"A cell is one of {', '.join(CELL_TYPES)}, not {cell_type!r}.")
        return getattr(self, cell_type)

    def to_json(self) -> str:
        """The JSON form given at the head of this file, one node per line."""
        rows = [f'"format": "{FORMAT}"', f'"version": {VERSION}']
        for cell_type in CELL_TYPES:
            nodes = ",\n    ".join(json.dumps(node) for node in self.cell(cell_type))
            rows.append(f'"{cell_type}": [\n    {nodes}\n  ]')
        return "{\n  " + ",\n  ".join(rows) + "\n}\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Genotype":
        """Reads and checks that form; anything else is a ValueError."""
        try:
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"The genotype is not valid JSON ({error}).") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f'This is not a genotype: it lacks "format": "{FORMAT}".')
        if data.get("version") != VERSION:
            raise ValueError(f"This dartslib reads genotypes of version {VERSION} only.")
        return cls(data.get("normal"), data.get("reduction"))


@dataclass(frozen=True)
class Choice:
    """One edge with its best operation, whether derivation keeps it, and by what margin.

    Attributes:
        cell_type, node, edge, source: where. `node` is an index into the genotype's list (pictures
            count from 1), `edge` a row of alpha, `source` a state.
        operation, probability: the best operation other than none, and its probability.
        operation_margin: that probability minus the second best's; nan with one operation.
        kept: whether the edge is among its node's strongest.
        edge_margin: strength of the node's weakest kept edge minus that of its strongest cut edge;
            nan if no edge is cut.
    """

    cell_type: str
    node: int
    edge: int
    source: int
    operation: str
    probability: float
    operation_margin: float
    kept: bool
    edge_margin: float


def choices(
    probabilities: dict[str, Any], space: SearchSpace, edges_per_node: int = 2
) -> list[Choice]:
    """What derivation decides on every edge, kept or cut.

    Args:
        probabilities: cell type -> (edges, operations), after the softmax over all operations,
            `none` included, as in the paper's code.
        space: the space of the rows and columns.
        edges_per_node: how many edges a node keeps, if it has as many predecessors.

    Raises:
        ValueError: edges_per_node below 1, or tables that do not fit the space.
    """
    if edges_per_node < 1:
        raise ValueError(f"A node keeps 1 edge or more, not edges_per_node={edges_per_node}.")
    shape = len(space.edges), len(space.operations)
    # The columns that can be chosen. `none` takes its share in the softmax but is never chosen.
    real = [k for k, name in enumerate(space.operations) if name != "none"]
    found = []
    for cell_type in CELL_TYPES:
        table = as_array(probabilities[cell_type])
        if table.shape != shape or not np.isfinite(table).all():
            raise ValueError(
                f"The probabilities of the {cell_type} cell must be {shape[0]} edges x {shape[1]} "
                f"operations of finite numbers, not {table.shape}: give those of this space."
            )
        table = table[:, real]  # (edges, real operations)
        # The strength of an edge is its best probability; the second best is for the margin.
        best = table.max(axis=1)  # (edges,)
        second = np.sort(table, axis=1)[:, -2] if len(real) > 1 else np.full(len(table), nan)
        for node in range(space.nodes):
            # The edges into this node, strongest first; in a tie the earlier one comes first.
            rows = space.edges_into(node + 2)
            order = sorted(rows, key=lambda row: -best[row])
            kept, dropped = order[:edges_per_node], order[edges_per_node:]
            edge_margin = float(best[kept[-1]] - best[dropped[0]]) if dropped else nan
            # Kept or not, each edge gets its best operation; argmax takes the first of a tie.
            for row in order:
                where = cell_type, node, row, space.edges[row][0]
                operation = space.operations[real[table[row].argmax()]]
                strength, margin = float(best[row]), float(best[row] - second[row])
                found.append(Choice(*where, operation, strength, margin, row in kept, edge_margin))
    return found


def derive(
    architecture: Any, space: SearchSpace | None = None, edges_per_node: int = 2
) -> Genotype:
    """The discrete architecture: per node its two strongest edges, per edge its best operation.

    An edge is as strong as its best operation other than none.

    Args:
        architecture: an `Architecture`, which derives as its relaxation does; or probabilities.
        space: the space of the probabilities; None for an `Architecture`.
        edges_per_node: as in `choices`, which also has the errors.
    """
    if space is None:
        return architecture.derive(edges_per_node)
    nodes = {cell_type: [[] for _ in range(space.nodes)] for cell_type in CELL_TYPES}
    for choice in choices(architecture, space, edges_per_node):
        if choice.kept and choice.probability > 0:  # a closed operation has probability 0
            nodes[choice.cell_type][choice.node].append((choice.operation, choice.source))
    return Genotype(nodes["normal"], nodes["reduction"])


def entropy(probabilities: Any) -> np.ndarray:
    """Entropy of each row in nats; ln 8 = 2.08 for eight equal operations, 0 for one.

    Args:
        probabilities: (…, operations). A row that does not sum to 1 (as in PC-DARTS) is divided by
            its sum.
    """
    p = as_array(probabilities)
    total = p.sum(axis=-1, keepdims=True)
    p = p / np.where((abs(total - 1) < 1e-4) | (total == 0), 1.0, total)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def as_array(values: Any) -> np.ndarray:
    """A float64 numpy array from a tensor or from anything numpy takes."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


# Each has its source there.
_CELLS = tomllib.loads(Path(__file__).with_name("published.toml").read_text("utf-8"))
PUBLISHED = {name: Genotype(cell["normal"], cell["reduction"]) for name, cell in _CELLS.items()}
DARTS_V1, DARTS_V2 = PUBLISHED["DARTS_V1"], PUBLISHED["DARTS_V2"]

"""From probabilities to a discrete cell: derivation, and the genotype as data.

Section 4.2 ("Network") of the report, section 2.4 of Liu et al. (2019). Needs numpy only.

The JSON form of a genotype, the only one that is read or written:

    {"format": "dartslib-genotype", "version": 1,
     "normal":    [[["sep_conv_3x3", 1], ["sep_conv_3x3", 0]], …],
     "reduction": [[["max_pool_3x3", 0], ["max_pool_3x3", 1]], …]}

One list a node, in it one [operation, input state] an edge, strongest first. States are numbered
as in `SearchSpace`. The cell's output is the concatenation of all its nodes. A cell has 1 to 32
nodes, a node any number of edges from 1; a text has at most a million characters.
"""

import json
from dataclasses import dataclass
from math import nan
from reprlib import repr  # of a long or deep value, no more than a sentence can hold
from typing import Any

import numpy as np

from dartslib.space import CELL_TYPES, MOST_NODES, SearchSpace

FORMAT, VERSION = "dartslib-genotype", 1
MOST_TEXT = 1_000_000  # characters: a cell of 32 nodes with seven operations an edge has a sixth
Nodes = tuple[tuple[tuple[str, int], ...], ...]


def _nodes(cell_type: str, value: Any) -> Nodes:
    """Checks the nodes of one cell; any number of edges a node, at least one."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_NODES:
        raise ValueError(
            f"The genotype's {cell_type} cell must be a list of 1 to {MOST_NODES} nodes."
        )
    nodes = []
    for state, edges in enumerate(value, start=2):
        where = f"node {state - 1} of the {cell_type} cell"
        if not isinstance(edges, list | tuple) or not edges:
            raise ValueError(f"In the genotype, {where} has no input: give it at least one edge.")
        for edge in edges:
            if not (
                isinstance(edge, list | tuple)
                and len(edge) == 2
                and isinstance(edge[0], str)
                and type(edge[1]) is int
            ):
                raise ValueError(
                    f"In the genotype, an edge of {where} must be [operation name, input state], "
                    f"not {repr(edge)}."
                )
            if not 0 <= edge[1] < state:
                raise ValueError(
                    f"In the genotype, {where} reads state {repr(edge[1])}; "
                    f"it can read 0 to {state - 1}."
                )
        nodes.append(tuple((operation, source) for operation, source in edges))
    return tuple(nodes)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Of two equal keys json takes the last, and a reader sees the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


@dataclass(frozen=True)
class Genotype:
    """A derived architecture: for each node of both cells, its operations and their inputs.

    Attributes:
        normal, reduction: one tuple a node, in it one (operation, input state) an edge.

    Raises:
        ValueError: a node without input, or one that reads itself or a later state; not 1 to 32
            nodes.
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
        """The documented form (see the module's head), one node a line."""
        rows = [f'"format": "{FORMAT}"', f'"version": {VERSION}']
        for cell_type in CELL_TYPES:
            nodes = ",\n    ".join(json.dumps(node) for node in self.cell(cell_type))
            rows.append(f'"{cell_type}": [\n    {nodes}\n  ]')
        return "{\n  " + ",\n  ".join(rows) + "\n}\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Genotype":
        """Reads and checks the documented form.

        Raises:
            ValueError: the text is not JSON, not a genotype, or one that cannot be built.
        """
        if isinstance(text, str | bytes) and len(text) > MOST_TEXT:
            raise ValueError(
                f"This is not a genotype: it has {len(text):,} characters, and a genotype has at "
                f"most {MOST_TEXT:,}."
            )
        try:
            data = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"The genotype is not valid JSON ({error}).") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f'This is not a genotype: it lacks "format": "{FORMAT}".')
        if data.get("version") != VERSION:
            raise ValueError(
                f"This genotype has version {repr(data.get('version'))}; this dartslib reads "
                f"version {VERSION}."
            )
        missing = [cell_type for cell_type in CELL_TYPES if cell_type not in data]
        if missing:
            raise ValueError(f"The genotype lacks the {missing[0]} cell.")
        return cls(data["normal"], data["reduction"])


@dataclass(frozen=True)
class Choice:
    """One edge with its best operation, whether derivation keeps it, and how sure it was.

    Attributes:
        cell_type, node, edge, source: where; `node` is a place in the genotype's list, 0 for what
            pictures call node 1; `edge` is a row of alpha, `source` a state.
        operation, probability: the best operation other than none, and its probability.
        operation_margin: that probability minus the second best's; nan with one operation.
        kept: whether the edge is among its node's strongest.
        edge_margin: the node's weakest kept minus its strongest cut edge; nan if none is cut.
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
            none included: none takes its share before edges are compared (as the paper's code).
        space: the space the rows and columns belong to.
        edges_per_node: how many edges a node keeps, 1 or more; fewer where it has fewer
            predecessors.

    Raises:
        ValueError: no edge to keep, or tables that are not of the space.
    """
    if edges_per_node < 1:
        raise ValueError(f"A node keeps 1 edge or more, not edges_per_node={edges_per_node}.")
    shape = len(space.edges), len(space.operations)
    real = [k for k, name in enumerate(space.operations) if name != "none"]
    found = []
    for cell_type in CELL_TYPES:
        table = as_array(probabilities[cell_type])
        if table.shape != shape or not np.isfinite(table).all():
            raise ValueError(
                f"The probabilities of the {cell_type} cell must be {shape[0]} edges x {shape[1]} "
                f"operations of finite numbers, not {table.shape}: give those of this space."
            )
        table = table[:, real]
        best = table.max(axis=1)
        second = np.sort(table, axis=1)[:, -2] if len(real) > 1 else np.full(len(table), nan)
        for node in range(space.nodes):
            rows = space.edges_into(node + 2)
            order = sorted(rows, key=lambda row: -best[row])
            kept, dropped = order[:edges_per_node], order[edges_per_node:]
            edge_margin = best[kept[-1]] - best[dropped[0]] if dropped else nan
            for row in order:
                found.append(
                    Choice(
                        cell_type,
                        node,
                        row,
                        space.edges[row][0],
                        space.operations[real[table[row].argmax()]],
                        float(best[row]),
                        float(best[row] - second[row]),
                        row in kept,
                        float(edge_margin),
                    )
                )
    return found


def derive(
    architecture: Any, space: SearchSpace | None = None, edges_per_node: int = 2
) -> Genotype:
    """The discrete architecture: per node its two strongest edges, per edge its best operation.

    An edge is as strong as its best operation other than none. Edges of a node have distinct
    predecessors, since a space has one edge for each.

    Args:
        architecture: an `Architecture`, which derives as its relaxation does; or probabilities
            (then give `space`).
        space: the space of the probabilities; an `Architecture` knows its own.
        edges_per_node: how many edges a node keeps, 1 or more.

    Raises:
        ValueError: as `choices`.
    """
    if space is None:
        return architecture.derive(edges_per_node)
    nodes = {cell_type: [[] for _ in range(space.nodes)] for cell_type in CELL_TYPES}
    for choice in choices(architecture, space, edges_per_node):
        if choice.kept:
            nodes[choice.cell_type][choice.node].append((choice.operation, choice.source))
    return Genotype(nodes["normal"], nodes["reduction"])


def draw(space: SearchSpace, seed: int, edges_per_node: int = 2) -> Genotype:
    """A genotype drawn uniformly from those that `derive` can give: what a search has to beat.

    For each node of both cells its predecessors, distinct, then an operation other than none for
    each; all equally likely.

    Args:
        space: the search space.
        seed: fixes the draw.
        edges_per_node: as in `derive`.
    """
    generator = np.random.default_rng(seed)
    real = [name for name in space.operations if name != "none"]

    def node(target: int) -> list[tuple[str, int]]:
        count = min(edges_per_node, target)
        sources = generator.choice(target, size=count, replace=False)
        picks = generator.integers(len(real), size=count)
        return [(real[k], int(source)) for k, source in zip(picks, sources, strict=True)]

    targets = range(2, 2 + space.nodes)
    return Genotype(*([node(target) for target in targets] for _ in CELL_TYPES))


def entropy(probabilities: Any) -> np.ndarray:
    """Entropy of each row in nats; ln 8 = 2.08 for eight equal operations, 0 for one.

    Args:
        probabilities: (…, operations), each row summing to 1.
    """
    p = as_array(probabilities)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def as_array(values: Any) -> np.ndarray:
    """A float64 numpy array of a tensor (detached, on the CPU) or of anything numpy takes."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


# Published by Liu et al. (2019), found with first and with second order.
DARTS_V1 = Genotype(
    normal=(
        (("sep_conv_3x3", 1), ("sep_conv_3x3", 0)),
        (("skip_connect", 0), ("sep_conv_3x3", 1)),
        (("skip_connect", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 0), ("skip_connect", 2)),
    ),
    reduction=(
        (("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        (("skip_connect", 2), ("max_pool_3x3", 0)),
        (("max_pool_3x3", 0), ("skip_connect", 2)),
        (("skip_connect", 2), ("avg_pool_3x3", 0)),
    ),
)
DARTS_V2 = Genotype(
    normal=(
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 1), ("skip_connect", 0)),
        (("skip_connect", 0), ("dil_conv_3x3", 2)),
    ),
    reduction=(
        (("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        (("skip_connect", 2), ("max_pool_3x3", 1)),
        (("max_pool_3x3", 0), ("skip_connect", 2)),
        (("skip_connect", 2), ("max_pool_3x3", 1)),
    ),
)
PUBLISHED = {"DARTS_V1": DARTS_V1, "DARTS_V2": DARTS_V2}

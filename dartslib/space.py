"""The search space: which nodes a cell has, which edges join them, which operations compete.

Section 2.1 of the report, section 2.1 of Liu et al. (2019). Pure data, no torch.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

CELL_TYPES = ("normal", "reduction")
MOST_NODES = 32  # per cell; edges grow with the square: 32 nodes have 560

CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
POOLS = ("max_pool_3x3", "avg_pool_3x3")

# In the report's order (section 4.2); sep_conv and dil_conv are its separable and dilated
# separable convolutions, skip_connect its identity, none its zero.
REPORT_OPERATIONS = (*CONVOLUTIONS, *POOLS, "skip_connect", "none")

# The same eight in the order of the paper's code.
DARTS_OPERATIONS = ("none", *POOLS, "skip_connect", *CONVOLUTIONS)


@dataclass(frozen=True)
class SearchSpace:
    """All cells that a search can find.

    States are numbered: 0 is the output of the cell before the last (c_{k-2}), 1 that of the
    last cell (c_{k-1}), 2, 3, … are the intermediate nodes. Every node sees all earlier states.

    Attributes:
        nodes: intermediate nodes per cell, 1 to 32; 3 in the report, 4 in the paper.
        operations: the names that compete on every edge, in the order of alpha's columns.
        edges: pairs (source state, target state), sorted by target, then source.

    Raises:
        ValueError: the number of nodes is out of range, an operation is named twice, or `none` is
            the only one.
    """

    nodes: int = 3
    operations: Sequence[str] = REPORT_OPERATIONS
    edges: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.nodes, int) or not 1 <= self.nodes <= MOST_NODES:
            raise ValueError(
                f"nodes must be a whole number from 1 to {MOST_NODES}, not {self.nodes!r:.40}."
            )
        names = tuple(self.operations)
        if not set(names) - {"none"}:
            raise ValueError("operations must name at least one operation other than none.")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"operations names {twice[0]!r:.40} twice: name each once.")
        object.__setattr__(self, "operations", names)
        states = range(2, 2 + self.nodes)
        edges = tuple((source, target) for target in states for source in range(target))
        object.__setattr__(self, "edges", edges)

    @classmethod
    def report(cls) -> "SearchSpace":
        """The report's space: 3 nodes, 9 edges."""
        return cls(3, REPORT_OPERATIONS)

    @classmethod
    def darts(cls) -> "SearchSpace":
        """The paper's space: 4 nodes, 14 edges."""
        return cls(4, DARTS_OPERATIONS)

    def edges_into(self, target: int) -> list[int]:
        """Positions in `edges` of the edges that enter a state."""
        return [position for position, (_, end) in enumerate(self.edges) if end == target]


def reduction_cells(layers: int, reductions: Collection[int] | None = None) -> frozenset[int]:
    """Which cells reduce: those at one and two thirds of the depth, unless they are named.

    Raises:
        ValueError: a cell that is none of 0 to layers - 1.
    """
    reducing = (layers // 3, 2 * layers // 3) if reductions is None else reductions
    if not frozenset(reducing) <= set(range(layers)):
        raise ValueError(f"reductions must name cells from 0 to {layers - 1}, not {reducing}.")
    return frozenset(reducing)

"""The small space: 243 cells, 207 of which are different networks.

A part of the report's space (section 4.2), so that the same code searches it: two nodes, normal
cells only, three operations. Node 1 reads both inputs, node 2 two of the three states before it.
Needs no torch.
"""

from functools import cache
from itertools import combinations, product

from dartslib.genotypes import Genotype, Nodes
from dartslib.space import SearchSpace

OPERATIONS = ("max_pool_3x3", "skip_connect", "sep_conv_3x3")
SPACE = SearchSpace(nodes=2, operations=(*OPERATIONS, "none"))  # what a search chooses from


@cache
def cells() -> tuple[Genotype, ...]:
    """All 243 cells, each node's edges by source; the reduction cell repeats the normal one."""
    found = []
    for sources in combinations(range(3), 2):  # of node 2; node 1 has no choice but 0 and 1
        for names in product(OPERATIONS, repeat=4):
            node_1 = (names[0], 0), (names[1], 1)
            node_2 = (names[2], sources[0]), (names[3], sources[1])
            found.append(Genotype((node_1, node_2), (node_1, node_2)))
    return tuple(found)


def ordered(normal: Nodes) -> Nodes:
    """The same cell with each node's edges by source."""
    return tuple(tuple(sorted(node, key=lambda edge: edge[1])) for node in normal)


def representative(normal: Nodes) -> Nodes:
    """Of all equal cells, the one that the table contains.

    The order of a node's edges does not matter. If node 2 reads the inputs 0 and 1, exchanging it
    with node 1 gives the same network, up to the order of its channels.
    """
    node_1, node_2 = ordered(normal)
    if all(source < 2 for _, source in node_2):
        node_1, node_2 = sorted((node_1, node_2))
    return node_1, node_2


@cache
def classes() -> tuple[Genotype, ...]:
    """The 207 representatives, in the order of `cells`."""
    return tuple(cell for cell in cells() if representative(cell.normal) == cell.normal)


def name(normal: Nodes) -> str:
    """A short name such as "sep0 sep1 | skip0 max2": per node operations and their inputs.

    Equal cells have one name.
    """
    nodes = representative(normal)
    return " | ".join(" ".join(f"{op.split('_')[0]}{source}" for op, source in n) for n in nodes)

"""What operations cost on this processor, and what a search expects its cell to cost.

With P a cell type's probabilities and T its table of milliseconds, both (edges, operations), the
expected latency and its gradient are (Cai et al. 2019, equation 7)::

    E = sum over cell types, edges and operations of P_eo T_eo
    dE / d alpha_ej = P_ej (T_ej - sum_o P_eo T_eo)

Operations are measured alone, as they are in a final network. Without the rest of the network a
cell of nothing would cost nothing, and a loss with the factor log E would be lowest there.
"""

from collections.abc import Callable
from functools import cache, partial
from statistics import median
from time import perf_counter
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dartslib.operations import build
from dartslib.relaxation import Relaxation, Tables
from dartslib.searching import SearchConfig
from dartslib.space import CELL_TYPES, SearchSpace
from dartslib.supernet import places

Milliseconds = dict[
    Literal[CELL_TYPES], tuple[tuple[Annotated[float, Field(ge=0)], ...], ...]
]  # cell type -> (edges, operations), over all cells of that type

# Calls that do not count, forward passes of an operation that do, and rounds of those: the quickest
# round counts, since whatever disturbs a pass makes it slower.
WARM, PASSES, ROUNDS = 3, 50, 5


def measure(config: SearchConfig, image_size: int, images: int = 1) -> Milliseconds:
    """Milliseconds of each operation on each edge of a search's space, summed over its cells.

    Measure on a quiet machine, with torch's threads set as for the network.

    Args:
        config: space, cells and channels of the network.
        image_size: pixels per side.
        images: how many at once.
    """
    space, found, of_kind = config.space(), {}, cache(_milliseconds)  # each kind is measured once
    nodes = dict.fromkeys(CELL_TYPES, space.nodes)
    for place in places(config.layers, config.channels, image_size, config.reductions, nodes=nodes):
        table = np.zeros((len(space.edges), len(space.operations)))
        for edge, (source, _) in enumerate(space.edges):
            stride = place.stride(source)
            sizes = place.channels, stride, place.size * stride, images
            table[edge] = [of_kind(name, *sizes) for name in space.operations]
        found[place.cell_type] = found.get(place.cell_type, 0.0) + table
    return {kind: tuple(map(tuple, table.tolist())) for kind, table in found.items()}


@torch.inference_mode()
def _milliseconds(name: str, channels: int, stride: int, size: int, images: int) -> float:
    if name == "none":
        return 0.0
    operation = build(name, channels, stride, searching=False).eval()
    operation.to(memory_format=torch.channels_last)
    x = torch.ones(images, channels, size, size).contiguous(memory_format=torch.channels_last)
    return 1000 * min(typical(partial(operation, x), PASSES) for _ in range(ROUNDS))


def typical(
    call: Callable[[], Any], count: int, clock: Callable[[], float] = perf_counter
) -> float:
    """Median seconds of `count` calls, after a few that do not count."""
    times = []
    for _ in range(WARM + count):
        began = clock()
        call()
        times.append(clock() - began)
    return median(times[WARM:])


class Priced(Relaxation):
    """A relaxation that knows what operations cost."""

    milliseconds: Milliseconds
    """Cell type -> (edges, operations), of all its cells together, from `measure`."""
    rest: float = Field(1.0, ge=0.01)
    """Milliseconds of what every network has: stem, cell inputs, head."""

    def parameters(self, space: SearchSpace) -> dict[str, tuple[int, ...]]:
        """Those of DARTS; ValueError if the milliseconds are of another space."""
        found = super().parameters(space)
        for kind, table in self.milliseconds.items():
            if [len(row) for row in table] != [len(space.operations)] * len(space.edges):
                raise ValueError(
                    f"The milliseconds of the {kind} cell must be a table of {found[kind]} (edges, "
                    "operations): measure them for this space."
                )
        return found

    def latency(self, alpha: Tables, space: SearchSpace) -> Tensor:
        """E and the rest in milliseconds, a scalar."""
        found = self.probabilities(alpha, space)
        tables = {kind: torch.tensor(t).to(found[kind]) for kind, t in self.milliseconds.items()}
        return self.rest + sum((found[kind] * table).sum() for kind, table in tables.items())

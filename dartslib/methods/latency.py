"""What operations cost on this processor, and what a search expects its cell to cost.

With P a cell type's probabilities and T its table of milliseconds, both (edges, operations), the
expected latency and its gradient are (Cai et al. 2019, equation 7)::

    E = sum over cell types, edges and operations of P_eo T_eo
    dE / d alpha_ej = P_ej (T_ej - sum_o P_eo T_eo)

Operations are measured alone, as they are in a final network, one image at a time. What else a
network does (stem, head, sums, concatenation) is not in E.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.benchmark import Timer

from dartslib.operations import build
from dartslib.relaxation import Relaxation, Tables
from dartslib.searching import SearchConfig
from dartslib.space import CELL_TYPES, SearchSpace
from dartslib.supernet import places

Milliseconds = dict[
    Literal[CELL_TYPES], tuple[tuple[Annotated[float, Field(ge=0)], ...], ...]
]  # cell type -> (edges, operations), over all cells of that type


def measure(config: SearchConfig, image_size: int, images: int = 1) -> Milliseconds:
    """Milliseconds of each operation on each edge of a search's space, summed over its cells.

    In one thread; measure on a quiet machine.

    Args:
        config: space, cells and channels of the network.
        image_size: pixels per side.
        images: how many at once.
    """
    space, known, found = config.space(), {}, {}
    nodes = dict.fromkeys(CELL_TYPES, space.nodes)
    for place in places(config.layers, config.channels, image_size, config.reductions, nodes=nodes):
        rows = []
        for source, _ in space.edges:
            stride = place.stride(source)
            kinds = [
                (name, place.channels, stride, place.size * stride) for name in space.operations
            ]
            for kind in set(kinds) - known.keys():
                known[kind] = _milliseconds(*kind, images)
            rows.append([known[kind] for kind in kinds])
        before = found.get(place.cell_type, torch.zeros(()))
        found[place.cell_type] = before + torch.tensor(rows, dtype=torch.float64)
    return {kind: tuple(map(tuple, table.tolist())) for kind, table in found.items()}


def _milliseconds(name: str, channels: int, stride: int, size: int, images: int) -> float:
    if name == "none":
        return 0.0
    operation = build(name, channels, stride, searching=False).eval()
    operation.to(memory_format=torch.channels_last)
    x = torch.ones(images, channels, size, size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        timer = Timer("operation(x)", globals={"operation": operation, "x": x})
        return 1000 * timer.blocked_autorange(min_run_time=0.05).median


class Priced(Relaxation):
    """A relaxation that knows what operations cost."""

    milliseconds: Milliseconds
    """Cell type -> (edges, operations), of all its cells together, from `measure`."""

    def parameters(self, space: SearchSpace) -> dict[str, tuple[int, ...]]:
        """Those of DARTS; ValueError if the milliseconds are of another space."""
        found = super().parameters(space)
        for kind, table in self.milliseconds.items():
            if {len(table), *map(len, table)} != {*found[kind]} or len(table) != found[kind][0]:
                raise ValueError(
                    f"The milliseconds of the {kind} cell must be a table of {found[kind]} (edges, "
                    "operations): measure them for this space."
                )
        return found

    def latency(self, alpha: Tables, space: SearchSpace) -> Tensor:
        """E in milliseconds, a scalar."""
        found = self.probabilities(alpha, space)
        tables = {kind: torch.tensor(t).to(found[kind]) for kind, t in self.milliseconds.items()}
        return sum((found[kind] * table).sum() for kind, table in tables.items())

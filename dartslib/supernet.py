"""The supernet: a network whose every edge is a mixed operation.

Figures 3 and 4 and appendix A of the report; section 3.1.1 of Liu et al. (2019) and its code. One
module per operation and edge, as in the notebooks; this form is the reference for `dartslib.fast`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dartslib.operations import FactorizedReduce, conv_bn
from dartslib.relaxation import START, MixedOperation, Moment, Tables
from dartslib.space import CELL_TYPES, SearchSpace, reduction_cells


class Place(NamedTuple):
    """The place of a cell in a network.

    Attributes:
        c_before, c_last: channels of its inputs, c_{k-2} and c_{k-1}.
        channels: C inside the cell; its output has C channels per node.
        size: pixels per side of its output.
        reduction: whether it reduces: operations next to the inputs then have stride 2.
        after_reduction: whether the previous cell reduced: c_{k-2} then has twice the size of
            c_{k-1}.
    """

    c_before: int
    c_last: int
    channels: int
    size: int
    reduction: bool
    after_reduction: bool

    @property
    def cell_type(self) -> str:
        """One of `CELL_TYPES`."""
        return "reduction" if self.reduction else "normal"

    def stride(self, source: int) -> int:
        """The stride of an operation that reads this state."""
        return 2 if self.reduction and source < 2 else 1


def places(
    layers: int,
    channels: int,
    size: int,
    reductions: Collection[int] | None,
    *,
    nodes: Mapping[str, int],
) -> list[Place]:
    """The places of all cells: each reduction doubles the channels and halves the map.

    Args:
        layers: number of cells.
        channels: C of the first cells; the stem gives three times as many.
        size: pixels per side of the images.
        reductions: which cells reduce; see `reduction_cells`.
        nodes: cell type -> nodes per cell.

    Raises:
        ValueError: a reduction that is not a cell, or images too small to leave 2 x 2 pixels.
    """
    reducing = reduction_cells(layers, reductions)
    most = (size - 1).bit_length() - 1
    if len(reducing) > most:
        small = f"Images of {size} pixels per side are too small for {len(reducing)} reductions"
        raise ValueError(f"{small}: use {most} at most, or larger images.")
    found: list[Place] = []
    c_before = c_last = 3 * channels
    for k in range(layers):
        if k in reducing:
            channels, size = 2 * channels, -(-size // 2)
        place = Place(c_before, c_last, channels, size, k in reducing, k - 1 in reducing)
        found.append(place)
        c_before, c_last = c_last, nodes[place.cell_type] * channels
    return found


def adjust(c_in: int, c_out: int, halve: bool, searching: bool) -> nn.Module:
    """Brings a cell's input to the cell's channels, and to half its size after a reduction."""
    if halve:
        return FactorizedReduce(c_in, c_out, searching)
    return conv_bn(c_in, c_out, 1, 1, searching=searching)


def stem(in_channels: int, channels: int) -> nn.Sequential:
    """The first convolution, to 3 x channels; no ReLU, since `adjust` begins with one."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 3 * channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(3 * channels),
    )


def classifier(
    kind: str, channels: int, size: int, num_classes: int, *, width: int
) -> nn.Sequential:
    """The head, from the last cell's output to class scores.

    Args:
        kind: "linear" (mean over the map, one linear layer; the paper) or "mlp" (the report's
            Table 4: the flattened map, then layers of `width`, 1024 and 256).
        channels, size: the map is (N, channels, size, size).
        num_classes: number of scores.
        width: of the MLP's first layer; 2048 in the report's search, 4096 in its final network.
    """
    if kind == "linear":
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
        )
    if kind == "mlp":
        sizes = [channels * size * size, width, 1024, 256]
        layers = [nn.Flatten()]
        for c_in, c_out in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(c_in, c_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(256, num_classes))
    raise ValueError(f'A head is "linear" or "mlp", not {kind!r}.')


class Cell(nn.Module):
    """A cell of the supernet: a graph of mixed operations, x_j = sum over i < j of o_ij(x_i).

    Args:
        space: its nodes, edges and operations.
        place: its place in the network.
        edge: (operations, channels, stride) -> the module of an edge.
    """

    def __init__(
        self, space: SearchSpace, place: Place, edge: Callable[..., nn.Module] = MixedOperation
    ) -> None:
        super().__init__()
        self.space, self.cell_type = space, place.cell_type
        self.adjust_before = adjust(place.c_before, place.channels, place.after_reduction, True)
        self.adjust_last = adjust(place.c_last, place.channels, False, True)
        self.edges = nn.ModuleList(
            edge(space.operations, place.channels, place.stride(source))
            for source, _ in space.edges
        )

    def forward(
        self, before: Tensor, last: Tensor, mixture: Tables, moment: Moment = START
    ) -> Tensor:
        """before: (N, c_before, H, W), last: (N, c_last, H, W). Returns (N, nodes * C, H', W')."""
        states = [self.adjust_before(before), self.adjust_last(last)]  # (N, C, H, W) each
        rows = mixture[self.cell_type]  # (edges, operations)
        # Each node sums over its incoming edges; all sources are earlier states.
        for target in range(2, 2 + self.space.nodes):
            states.append(
                sum(
                    self.edges[edge](states[self.space.edges[edge][0]], rows[edge], moment)
                    for edge in self.space.edges_into(target)
                )
            )
        return torch.cat(states[2:], dim=1)  # (N, nodes * C, H', W')


class Supernet(nn.Module):
    """Stem, cells, head: the network in which all architectures of a space share their weights.

    Args:
        space: the search space.
        channels: C of the first cells; each reduction cell doubles it. 16 in report and paper.
        layers: number of cells; 8 in report and paper.
        num_classes: number of scores.
        head: "linear" or "mlp", see `classifier`.
        in_channels: 3 for color, 1 for gray.
        image_size: height and width in pixels, more than 2 ** (number of reductions).
        reductions: which cells reduce, see `reduction_cells`.
        edge: (operations, channels, stride) -> the module of an edge; the relaxation's `edge`.

    Raises:
        ValueError: images that are too small, an unknown operation or head.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        channels: int = 16,
        layers: int = 8,
        num_classes: int = 10,
        head: str = "linear",
        in_channels: int = 3,
        image_size: int = 32,
        reductions: Sequence[int] | None = None,
        edge: Callable[..., nn.Module] = MixedOperation,
    ) -> None:
        super().__init__()
        self.space = space
        nodes = dict.fromkeys(CELL_TYPES, space.nodes)
        found = places(layers, channels, image_size, reductions, nodes=nodes)
        self.stem = stem(in_channels, channels)
        self.cells = nn.ModuleList(Cell(space, place, edge) for place in found)
        width = space.nodes * found[-1].channels  # of the last cell's output
        self.head = classifier(head, width, found[-1].size, num_classes, width=2048)

    def forward(self, images: Tensor, mixture: Tables, moment: Moment = START) -> Tensor:
        """Class scores (N, num_classes).

        Args:
            images: (N, in_channels, H, W).
            mixture: cell type -> (edges, operations), what multiplies the operations.
            moment: where a search is, for edges that depend on it.
        """
        before = last = self.stem(images)  # (N, 3 * channels, H, W)
        for cell in self.cells:
            before, last = last, cell(before, last, mixture, moment)  # (N, nodes * C, H', W')
        return self.head(last)

"""The supernet: a network whose every edge is a mixed operation.

Figures 3 and 4 and appendix A of the report; section 3.1.1 of Liu et al. (2019) and its code:
stem, cells, head. It is written as the lesson reads, one module per operation and edge, weighted
and summed, and stays the reference for any faster way to run it.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from dartslib.operations import FactorizedReduce, conv_bn
from dartslib.relaxation import START, MixedOperation, Moment, Tables
from dartslib.space import SearchSpace

LARGEST_FOR_MLP = 64  # pixels: the first layer of the report's head grows with the image's area


def check_sizes(head: str, reducing: Collection[int], size: int) -> None:
    """Refuses images that a network has no use for.

    Args:
        head: of the network.
        reducing: the cells that reduce; each halves the map, and two pixels a side must be left.
        size: of the images, pixels per side.

    Raises:
        ValueError: they are too small, or too large for the MLP head.
    """
    most = (size - 1).bit_length() - 1
    if len(reducing) > most:
        raise ValueError(
            f"Images of {size} pixels a side are too small for {len(reducing)} reductions: use "
            f"{most} at most, or larger images."
        )
    if head == "mlp" and size > LARGEST_FOR_MLP:
        raise ValueError(
            f"The MLP head is for images of at most {LARGEST_FOR_MLP} pixels a side, and these "
            f'have {size}: use head="linear".'
        )


def adjust(c_in: int, c_out: int, halve: bool, searching: bool) -> nn.Module:
    """Brings a cell's input to the cell's channels, and to half its size after a reduction."""
    if halve:
        return FactorizedReduce(c_in, c_out, searching)
    return conv_bn(c_in, c_out, 1, 1, searching)


def stem(in_channels: int, channels: int) -> nn.Sequential:
    """The first convolution, to 3 x channels; no ReLU, since `adjust` begins with one."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 3 * channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(3 * channels),
    )


def classifier(kind: str, channels: int, size: int, num_classes: int, width: int) -> nn.Sequential:
    """What turns the last cell's output into class scores.

    Args:
        kind: "linear" (mean over the map, one linear layer; the paper) or "mlp" (the report's
            Table 4: the flattened map through layers of width, 1024 and 256).
        channels, size: of the map, (N, channels, size, size).
        num_classes: how many scores.
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


def reduction_cells(layers: int, reductions: Collection[int] | None = None) -> frozenset[int]:
    """Which cells reduce: those at one and two thirds of the depth, unless they are named."""
    reducing = (layers // 3, 2 * layers // 3) if reductions is None else reductions
    if not frozenset(reducing) <= set(range(layers)):
        raise ValueError(f"reductions must name cells from 0 to {layers - 1}, not {reducing}.")
    return frozenset(reducing)


class Cell(nn.Module):
    """A cell of the supernet: a graph of mixed operations, x_j = sum over i < j of o_ij(x_i).

    Args:
        space: its nodes, edges and operations.
        c_before, c_last: channels of the two inputs, c_{k-2} and c_{k-1}.
        channels: C inside the cell; the output has space.nodes * C.
        reduction: operations next to the inputs have stride 2.
        after_reduction: the cell before reduced, so that c_{k-2} is twice as large as c_{k-1}.
        edge: (operations, channels, stride) -> the module of an edge.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        c_before: int,
        c_last: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
        edge: Callable[..., nn.Module] = MixedOperation,
    ) -> None:
        super().__init__()
        self.space = space
        self.cell_type = "reduction" if reduction else "normal"
        self.adjust_before = adjust(c_before, channels, after_reduction, searching=True)
        self.adjust_last = adjust(c_last, channels, False, searching=True)
        self.edges = nn.ModuleList(
            edge(space.operations, channels, 2 if reduction and source < 2 else 1)
            for source, _ in space.edges
        )

    def forward(
        self, before: Tensor, last: Tensor, mixture: Tables, moment: Moment = START
    ) -> Tensor:
        """before: (N, c_before, H, W), last: (N, c_last, H, W). Returns (N, nodes * C, H', W')."""
        states = [self.adjust_before(before), self.adjust_last(last)]  # (N, C, H, W) each
        rows = mixture[self.cell_type]  # (edges, operations)
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
        channels: C of the first cells; a reduction cell doubles it. 16 in report and paper.
        layers: number of cells; 8 in report and paper.
        num_classes: class scores.
        head: "linear" or "mlp", see `classifier`.
        in_channels: 3 for color, 1 for grey.
        image_size: height and width in pixels, odd ones included; more than 2 ** reductions, and
            at most 64 with the MLP head.
        reductions: which cells reduce; None means layers // 3 and 2 * layers // 3, () none.
        edge: (operations, channels, stride) -> the module of an edge; the relaxation's `edge`.

    Raises:
        ValueError: images that do not fit, an unknown operation or head.
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
        reducing = reduction_cells(layers, reductions)
        check_sizes(head, reducing, image_size)
        self.stem = stem(in_channels, channels)
        c_before = c_last = 3 * channels
        self.cells = nn.ModuleList()
        for k in range(layers):
            if k in reducing:
                channels, image_size = 2 * channels, -(-image_size // 2)
            self.cells.append(
                Cell(
                    space,
                    c_before=c_before,
                    c_last=c_last,
                    channels=channels,
                    reduction=k in reducing,
                    after_reduction=k - 1 in reducing,
                    edge=edge,
                )
            )
            c_before, c_last = c_last, space.nodes * channels
        self.head = classifier(head, c_last, image_size, num_classes, width=2048)

    def forward(self, images: Tensor, mixture: Tables, moment: Moment = START) -> Tensor:
        """Class scores.

        Args:
            images: (N, in_channels, H, W).
            mixture: cell type -> (edges, operations), what multiplies the operations: that of the
                architecture, or any other of the same shape.
            moment: where a search is, for edges that change with it.

        Returns:
            (N, num_classes).
        """
        before = last = self.stem(images)  # (N, 3 * channels, H, W)
        for cell in self.cells:
            before, last = last, cell(before, last, mixture, moment)
        return self.head(last)

"""The supernet: a network whose every edge is a mixed operation.

Figures 3 and 4 and appendix A of the report; section 3.1.1 of Liu et al. (2019) and its code:
stem, cells, head. It is written as the lesson reads, one module an operation and edge, weighted
and summed, and stays the reference for any faster way to run it.
"""

from collections.abc import Collection, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from dartslib.operations import FactorizedReduce, conv_bn
from dartslib.relaxation import MixedOperation, Tables
from dartslib.space import SearchSpace

# From and to: a larger size is a slip, which would fill the memory before anything is said.
LIMITS = {
    "channels": (1, 4096),
    "layers": (1, 1000),
    "num_classes": (1, 100_000),
    "in_channels": (1, 4096),
    "image_size": (2, 4096),
}
LARGEST_FOR_MLP = 64  # pixels: the first layer of the report's head grows with the image's area


def check_sizes(head: str, reducing: Collection[int], *sizes: int) -> None:
    """Refuses sizes that no network can have, before memory is taken for one.

    Every reduction halves the map, and two pixels a side must be left.

    Args:
        head: of the network.
        reducing: the cells that reduce.
        sizes: those that `LIMITS` names, in its order.

    Raises:
        ValueError: a size outside of its limits, or images too small or too large.
    """
    for (name, (low, high)), size in zip(LIMITS.items(), sizes, strict=True):
        if not isinstance(size, Integral) or not low <= size <= high:
            raise ValueError(
                f"{name} must be a whole number from {low} to {high}, not {size!r:.40}."
            )
    size = int(sizes[-1])  # of an image
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


def reduction_cells(layers: int, reductions: Sequence[int] | None = None) -> frozenset[int]:
    """Which cells reduce: those at one and two thirds of the depth, unless they are named."""
    low, high = LIMITS["layers"]
    if not isinstance(layers, Integral) or not low <= layers <= high:
        raise ValueError(f"layers must be a whole number from {low} to {high}, not {layers!r:.40}.")
    found = (layers // 3, 2 * layers // 3) if reductions is None else reductions
    if isinstance(found, Sequence) and all(
        isinstance(cell, Integral) and 0 <= cell < layers for cell in found
    ):
        return frozenset(found)
    raise ValueError(f"reductions must name cells from 0 to {layers - 1}, not {found!r:.40}.")


class Cell(nn.Module):
    """A cell of the supernet: a graph of mixed operations, x_j = sum over i < j of o_ij(x_i).

    Args:
        space: its nodes, edges and operations.
        c_before, c_last: channels of the two inputs, c_{k-2} and c_{k-1}.
        channels: C inside the cell; the output has space.nodes * C.
        reduction: operations next to the inputs have stride 2.
        after_reduction: the cell before reduced, so that c_{k-2} is twice as large as c_{k-1}.
        mixed_operation: the module of an edge.
    """

    def __init__(
        self,
        space: SearchSpace,
        c_before: int,
        c_last: int,
        channels: int,
        reduction: bool,
        after_reduction: bool,
        mixed_operation: type[nn.Module] = MixedOperation,
    ) -> None:
        super().__init__()
        self.space = space
        self.cell_type = "reduction" if reduction else "normal"
        self.adjust_before = adjust(c_before, channels, after_reduction, searching=True)
        self.adjust_last = adjust(c_last, channels, False, searching=True)
        self.edges = nn.ModuleList(
            mixed_operation(space.operations, channels, 2 if reduction and source < 2 else 1)
            for source, _ in space.edges
        )

    def forward(self, before: Tensor, last: Tensor, weights: Tables) -> Tensor:
        """before: (N, c_before, H, W), last: (N, c_last, H, W). Returns (N, nodes * C, H', W')."""
        states = [self.adjust_before(before), self.adjust_last(last)]
        rows = weights[self.cell_type]  # (edges, operations)
        for target in range(2, 2 + self.space.nodes):
            states.append(
                sum(
                    self.edges[edge](states[self.space.edges[edge][0]], rows[edge])
                    for edge in self.space.edges_into(target)
                )
            )
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """Stem, cells, head: the network in which all architectures of a space share their weights.

    Args:
        space: the search space.
        channels: C of the first cells, 1 to 4096; a reduction cell doubles it. 16 in report and
            paper.
        layers: number of cells, 1 to 1000; 8 in report and paper.
        num_classes: class scores, 1 to 100,000.
        head: "linear" or "mlp", see `classifier`.
        in_channels: 3 for color, 1 for grey; 1 to 4096.
        image_size: height and width in pixels, 2 to 4096, odd ones included; more than
            2 ** reductions, and at most 64 with the MLP head.
        reductions: which cells reduce; None means layers // 3 and 2 * layers // 3, () none.
        mixed_operation: the module of an edge; that of the relaxation in use.

    Raises:
        ValueError: a size outside of these limits, an unknown operation or head.
    """

    def __init__(
        self,
        space: SearchSpace,
        channels: int = 16,
        layers: int = 8,
        num_classes: int = 10,
        head: str = "linear",
        in_channels: int = 3,
        image_size: int = 32,
        reductions: Sequence[int] | None = None,
        mixed_operation: type[nn.Module] = MixedOperation,
    ) -> None:
        super().__init__()
        self.space = space
        reducing = reduction_cells(layers, reductions)
        check_sizes(head, reducing, channels, layers, num_classes, in_channels, image_size)
        self.stem = stem(in_channels, channels)
        c_before = c_last = 3 * channels
        self.cells = nn.ModuleList()
        for k in range(layers):
            if k in reducing:
                channels, image_size = 2 * channels, -(-image_size // 2)
            self.cells.append(
                Cell(
                    space,
                    c_before,
                    c_last,
                    channels,
                    reduction=k in reducing,
                    after_reduction=k - 1 in reducing,
                    mixed_operation=mixed_operation,
                )
            )
            c_before, c_last = c_last, space.nodes * channels
        self.head = classifier(head, c_last, image_size, num_classes, width=2048)

    def forward(self, images: Tensor, weights: Tables) -> Tensor:
        """Class scores.

        Args:
            images: (N, in_channels, H, W).
            weights: cell type -> (edges, operations): the architecture's probabilities, or any
                other weights of the same shape.

        Returns:
            (N, num_classes).
        """
        before = last = self.stem(images)
        for cell in self.cells:
            before, last = last, cell(before, last, weights)
        return self.head(last)

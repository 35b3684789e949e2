"""The final network: cells of one genotype, stacked deep and trained from scratch.

Figure 9 and section 4.3 of the report; section 3.2 of Liu et al. (2019) and its code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dartslib.genotypes import Genotype, Nodes
from dartslib.operations import build
from dartslib.space import CELL_TYPES
from dartslib.supernet import Place, adjust, classifier, places, stem


def drop_paths(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Sets each sample of x, (N, C, H, W), to 0 with this probability and scales up the others."""
    keep = torch.rand(len(x), 1, 1, 1, generator=generator)  # (N, 1, 1, 1)
    keep = keep.to(x.device, non_blocking=True) >= probability  # without waiting for a GPU
    return x * keep / (1 - probability)


class DerivedCell(nn.Module):
    """A cell of a genotype: each node adds the outputs of its few edges.

    Args:
        nodes: one cell of a genotype.
        place: its place in the network.

    Attributes:
        edges: the nodes as given: (operation, source state) per edge, per node.
    """

    def __init__(self, nodes: Nodes, place: Place) -> None:
        super().__init__()
        self.edges = nodes
        self.adjust_before = adjust(place.c_before, place.channels, place.after_reduction, False)
        self.adjust_last = adjust(place.c_last, place.channels, False, False)
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                build(name, place.channels, place.stride(source), searching=False)
                for name, source in edges
            )
            for edges in nodes
        )

    def forward(
        self,
        before: Tensor,
        last: Tensor,
        drop_path: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """(N, c_before, H, W), (N, c_last, H, W) -> (N, nodes * channels, H', W').

        After a reduction, `before` has twice the size of `last`. H' is the H of `last`, halved in a
        reduction cell.
        """
        states = [self.adjust_before(before), self.adjust_last(last)]  # each (N, channels, H, W)
        for operations, edges in zip(self.nodes, self.edges, strict=True):
            terms = []
            for operation, (_, source) in zip(operations, edges, strict=True):
                term = operation(states[source])  # (N, channels, H', W')
                if drop_path > 0 and not isinstance(operation, nn.Identity):
                    term = drop_paths(term, drop_path, generator)
                terms.append(term)
            states.append(sum(terms))
        return torch.cat(states[2:], dim=1)  # (N, nodes * channels, H', W')


class AuxiliaryHead(nn.Sequential):
    """A second classifier on an inner cell, whose loss helps deep networks to train.

    As in the paper's code, where the map is 8 x 8. Larger maps are averaged before the last layer;
    smaller ones are refused with a ValueError.
    """

    def __init__(self, channels: int, size: int, num_classes: int) -> None:
        if size < 8:
            raise ValueError(f"The auxiliary head needs 8 x 8 pixels, not {size}: set auxiliary=0.")
        super().__init__(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(768, num_classes),
        )


class FinalNetwork(nn.Module):
    """Stem, cells of one genotype, head.

    Args:
        genotype: the cells.
        channels, layers, num_classes, head, in_channels, image_size, reductions: as in
            `dartslib.Supernet`; 14 layers in the report, 20 in the paper.
        auxiliary: whether an `AuxiliaryHead` is trained after cell 2 * layers // 3.
        drop_path: probability that an edge's output is dropped, per sample, from 0 to below 1; a
            training loop may change this attribute. Identities are never dropped.

    Attributes:
        generator: draws the drop paths; torch's global CPU generator if None.

    Raises:
        ValueError: images that are too small, an unknown operation or head.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int = 16,
        layers: int = 14,
        num_classes: int = 10,
        head: str = "linear",
        auxiliary: bool = False,
        drop_path: float = 0.0,
        in_channels: int = 3,
        image_size: int = 32,
        reductions: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path is a probability from 0 to below 1, not {drop_path}.")
        self.drop_path, self.generator = drop_path, None
        nodes = {cell_type: len(genotype.cell(cell_type)) for cell_type in CELL_TYPES}
        found = places(layers, channels, image_size, reductions, nodes=nodes)
        self.stem = stem(in_channels, channels)
        self.auxiliary_cell = 2 * layers // 3
        self.auxiliary_head: nn.Module | None = None
        self.cells = nn.ModuleList()
        for k, place in enumerate(found):
            self.cells.append(DerivedCell(genotype.cell(place.cell_type), place))
            width = nodes[place.cell_type] * place.channels  # of the cell's output
            if auxiliary and k == self.auxiliary_cell:
                self.auxiliary_head = AuxiliaryHead(width, place.size, num_classes)
        self.head = classifier(head, width, found[-1].size, num_classes, width=4096)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Class scores (N, num_classes) of images (N, in_channels, H, W).

        While training with an auxiliary head, a pair: the scores and the auxiliary scores.
        """
        before = last = self.stem(images)  # (N, 3 * channels, H, W)
        drop_path = self.drop_path if self.training else 0.0
        auxiliary = None
        for k, cell in enumerate(self.cells):
            before, last = last, cell(before, last, drop_path, self.generator)
            if k == self.auxiliary_cell and self.auxiliary_head is not None and self.training:
                auxiliary = self.auxiliary_head(last)  # (N, num_classes)
        scores = self.head(last)  # (N, num_classes)
        return scores if auxiliary is None else (scores, auxiliary)

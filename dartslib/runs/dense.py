"""A network made by hand: plain 3 x 3 convolutions, no cell, no search. What has to be beaten.

Separable convolutions have few multiply-adds and are slow on a processor, dense ones are not: so it
is compared at equal seconds, not at equal size.
"""

from typing import Any

from torch import nn

from dartslib.genotypes import Genotype
from dartslib.loops import seeded
from dartslib.runs.hour import HourConfig

_NODE = ((("skip_connect", 0),),)
STAND_IN = Genotype(_NODE, _NODE)  # where a training expects a cell: it plays no part


class DenseNetwork(nn.Sequential):
    """Convolution, BatchNorm, ReLU, again and again; then the mean over the map and a linear layer.

    Images (N, in_channels, H, W) -> class scores (N, num_classes).

    Args:
        widths: channels after each convolution. Where they double, the convolution has stride 2.
        num_classes, in_channels: of the images.
    """

    def __init__(self, widths: tuple[int, ...], num_classes: int, in_channels: int) -> None:
        layers: list[nn.Module] = []
        before = in_channels
        for k, width in enumerate(widths):
            stride = 2 if k and width > before else 1
            layers += [
                nn.Conv2d(before, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        super().__init__(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)
        )
        self.drop_path, self.generator = 0.0, None  # a training sets them: no paths are dropped
        self.auxiliary_head = None


class DenseConfig(HourConfig):
    """The settings of a training whose network is made by hand; the genotype plays no part."""

    widths: tuple[int, ...] = (32, 32, 64, 64, 128, 128)

    def network(self, genotype: Genotype, **sizes: Any) -> DenseNetwork:
        """The network that is trained, its weights drawn by the seed."""
        with seeded(self.seed):
            return DenseNetwork(self.widths, sizes["num_classes"], sizes["in_channels"])

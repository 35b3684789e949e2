"""A better hour: settings of a training that neither the report nor the paper has.

    config = HourConfig(nesterov=True, bias_rate=64, average=0.99, first_size=24, muon=0.02)

What each brings on these networks was measured together, see benchmarks/screening.py. Sources: the
records of short CIFAR-10 trainings, Page (2018) and Jordan, "94 % on CIFAR-10 in 3.29 seconds on a
single GPU" (2024, arXiv 2404.00498). All are off by default, and a training is then that of
`dartslib.training`.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dartslib.loops import BatchSource, step_generator
from dartslib.settings import Fraction
from dartslib.training import TrainConfig, Training, evaluate, learning_rate


class HourConfig(TrainConfig):
    """The settings of `TrainConfig`, and those that make more of an hour."""

    flip: bool | Literal["alternate"] | None = None
    """As in `TrainConfig`; "alternate" mirrors each image in every second epoch."""
    nesterov: bool = False
    """Nesterov's momentum in SGD (Sutskever et al., 2013)."""
    bias_rate: float = Field(1.0, gt=0)
    """Learning rate of BatchNorm's biases, in multiples of the others'; their decay stays."""
    average: Fraction = 0.0
    """Decay per step of a running mean of weights and statistics, which is what is evaluated."""
    norm_momentum: Fraction = 0.1
    """Share of the newest batch in BatchNorm's running statistics."""
    first_size: int = Field(0, ge=0)
    """Pixels per side that the first batches are cropped to; 0 for whole images."""
    whole_from: float = Field(0.7, gt=0, le=1)
    """Progress from which images are whole; until then crops grow in steps of 4 pixels."""
    muon: float = Field(0.0, ge=0)
    """Largest learning rate of Muon, for the matrices of pointwise convolutions; 0 for SGD."""


class HourTraining(Training):
    """A training by an `HourConfig`; arguments and attributes as in `Training`.

    Attributes:
        averaged: what is evaluated where `average` is on.

    Raises:
        ValueError: Muon with a torch that has none, or crops with the report's head.
    """

    config: HourConfig

    def __init__(
        self,
        config: HourConfig,
        genotype: Any,
        batches: BatchSource,
        watched: BatchSource | None = None,
        **options: Any,
    ) -> None:
        if config.first_size and config.head != "linear":
            raise ValueError("Crops need head=linear: the report's head has one size of image.")
        super().__init__(config, genotype, batches, watched, **options)
        parts = [*self.network.modules()]
        norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = config.norm_momentum
        convolutions = [part for part in parts if isinstance(part, nn.Conv2d) and config.muon]
        pointwise = [c for c in convolutions if (*c.kernel_size, c.groups) == (1, 1, 1)]
        self.matrices = [convolution.weight for convolution in pointwise]
        biases = [norm.bias for norm in norms if norm.bias is not None]
        apart = {*biases, *self.matrices}
        rest = [p for p in self.network.parameters() if p not in apart]
        # In SGD a decay is multiplied by the rate: divided by the factor it stays what it was.
        fast = {"weight_decay": config.weight_decay / config.bias_rate, "factor": config.bias_rate}
        groups = [{"params": rest, "factor": 1.0}, {"params": biases, **fast}]
        of_all = {"weight_decay": config.weight_decay, "nesterov": config.nesterov}
        self.optimizer = _Sgd(groups, config.lr, config.momentum, **of_all)
        if config.muon:
            if not hasattr(torch.optim, "Muon"):
                raise ValueError("muon needs torch 2.9 or newer: set muon=0, or update torch.")
            # Matrices that share the memory of pointwise weights (Jordan et al., 2024)
            shared = [nn.Parameter(weight.data.flatten(1)) for weight in self.matrices]
            self.muon = torch.optim.Muon(shared, config.muon, weight_decay=0.0)
            self.stateful = (*self.stateful, "muon")
        if config.average:
            mean = get_ema_multi_avg_fn(config.average)
            self.averaged = AveragedModel(self.network, multi_avg_fn=mean, use_buffers=True)
            self.stateful = (*self.stateful, "averaged")

    def advance(self) -> None:
        """One step of SGD, and of Muon for its matrices."""
        progress = self.step / self.steps
        super().advance()  # leaves the gradients, clipped
        if self.config.muon:
            for group in self.muon.param_groups:
                group["lr"] = self.config.muon * learning_rate(self.config, progress)
                group["lr"] /= self.config.lr
                for matrix, weight in zip(group["params"], self.matrices, strict=True):
                    matrix.data = weight.data.flatten(1)  # (C_out, C_in), the same memory
                    matrix.grad = weight.grad.flatten(1)
            self.muon.step()
            for weight in self.matrices:  # SGD, which does not have them, leaves their gradients
                weight.grad = None

    def _batch(self, source: BatchSource) -> tuple[Tensor, Tensor]:
        """The batch of a step, cropped at a random place while images are not whole."""
        images, labels = super()._batch(source)
        side = images.shape[-1]
        size = crop_size(self.config, self.step / self.steps, side)
        if size < side:
            generator = step_generator(self.config.seed + 1, self.step)
            top, left = torch.randint(side - size + 1, (2,), generator=generator).tolist()
            images = images[:, :, top : top + size, left : left + size]  # (N, C, size, size)
        return images.contiguous(memory_format=self.memory_format), labels

    def _after_step(self) -> None:
        if self.config.average:
            self.averaged.update_parameters(self.network)
        super()._after_step()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: the running mean where there is one."""
        return self.averaged.module if self.config.average else self.network

    def evaluate_mirrored(self, batches: BatchSource) -> tuple[float, float]:
        """`evaluate` for the mean of the scores of each image and of its mirror image.

        Twice as many passes: never to be compared with a figure of one.
        """
        return evaluate(_Mirrored(self.evaluated), batches, self.memory_format)


def crop_size(config: HourConfig, progress: float, side: int) -> int:
    """Pixels per side of a batch at a progress from 0 to 1: growing by 4 until images are whole."""
    if not config.first_size or progress >= config.whole_from:
        return side
    grown = (side - config.first_size) * progress / config.whole_from
    return min(side, config.first_size + 4 * int(grown / 4))


class _Sgd(torch.optim.SGD):
    """SGD whose groups have their rate times a factor of their own."""

    def step(self, closure: None = None) -> None:
        """The loop sets one rate for all groups before each step."""
        for group in self.param_groups:
            group["lr"] *= group["factor"]
        super().step(closure)


class _Mirrored(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return (self.network(images) + self.network(images.flip(3))) / 2

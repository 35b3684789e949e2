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
    """Share of all steps that a running mean of weights and statistics reaches back over: its
    decay is 1 - 1 / (average * steps). The mean is what is evaluated; 0 for none."""
    norm_momentum: Fraction = 0.1
    """Share of the newest batch in BatchNorm's running statistics."""
    first_size: int = Field(0, ge=0)
    """Pixels per side that the first batches are cropped to; 0 for whole images."""
    whole_from: float = Field(0.7, gt=0, le=1)
    """Progress from which images are whole; until then crops grow in steps of 4 pixels."""
    muon: float = Field(0.0, ge=0)
    """Largest learning rate of Muon, for convolutions that mix channels, but for the first; without
    weight decay. 0 for SGD."""


class HourTraining(Training):
    """A training by an `HourConfig`; arguments and attributes as in `Training`.

    Attributes:
        averaged: what is evaluated where `average` is on.

    Raises:
        ValueError: Muon with a torch that has none, or crops with the report's head.
    """

    config: HourConfig

    def __init__(self, config: HourConfig, *given: Any, **options: Any) -> None:
        if config.first_size and config.head != "linear":
            raise ValueError("Crops need head=linear: the report's head has one size of image.")
        super().__init__(config, *given, **options)
        parts = [*self.network.modules()]
        norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = config.norm_momentum
        convolutions = [part for part in parts if isinstance(part, nn.Conv2d) and config.muon]
        # The first reads the image. Of cells, what mixes channels are the pointwise ones.
        self.matrices = [c.weight for c in convolutions[1:] if c.groups == 1]
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
            # A kernel is a matrix, (C_out, C_in * side**2), as in Jordan et al. (2024).
            flat = [nn.Parameter(weight.data.flatten(1)) for weight in self.matrices]
            self.muon = torch.optim.Muon(flat, config.muon, weight_decay=0.0)
            self.stateful = (*self.stateful, "muon")
        if config.average:
            mean = get_ema_multi_avg_fn(1 - 1 / max(1.0, config.average * self.steps))
            self.averaged = AveragedModel(self.network, multi_avg_fn=mean, use_buffers=True)
            self.stateful = (*self.stateful, "averaged")

    def advance(self) -> None:
        """One step of SGD, and of Muon for its matrices."""
        progress = self.step / self.steps
        super().advance()  # leaves the gradients, clipped
        if self.config.muon:
            (group,) = self.muon.param_groups
            group["lr"] = self.config.muon * learning_rate(self.config, progress) / self.config.lr
            pairs = [*zip(group["params"], self.matrices, strict=True)]
            for matrix, weight in pairs:
                matrix.data, matrix.grad = weight.data.flatten(1).clone(), weight.grad.flatten(1)
            self.muon.step()
            for matrix, weight in pairs:
                weight.data.copy_(matrix.data.view_as(weight))
                weight.grad = None  # SGD, which does not have these, leaves their gradients

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

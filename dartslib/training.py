"""Training of a final network from scratch; transfer is the same on another data set.

Sections 4.3 and 4.4 of the report, section 3.2 of Liu et al. (2019). `dartslib.train` makes a
`Training` whose cells run in the fast form where possible.

What differs from the paper's code, on purpose: learning rate and drop path move per step, not per
epoch; images that do not fill a batch are left out of an epoch; the accuracy that counts is the
last one, not the best one seen.
"""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from dartslib.genotypes import Genotype
from dartslib.gradients import accuracy
from dartslib.loops import BatchSource, Loop, LoopConfig, cosine, seeded, set_lr, step_generator
from dartslib.networks import FinalNetwork
from dartslib.supernet import reduction_cells


class TrainConfig(LoopConfig):
    """All settings of a training; the defaults are those of the report's final network."""

    part: Literal["compare", "final"] = "final"
    """The images to train on. "compare": all but the held-out images (the first half, if none are
    held out); accuracy is watched on the others. "final": all, with one test at the end."""
    layers: int = Field(14, ge=1, le=1000)
    """Cells of the network."""
    epochs: int = Field(600, ge=1)
    """Passes over the images."""
    batch_size: int = Field(128, ge=1)
    """Images per batch."""
    lr: float = Field(0.025, gt=0)
    """Largest learning rate (SGD)."""
    lr_min: float = Field(0.0, ge=0)
    """Last learning rate."""
    schedule: Literal["cosine", "one_cycle"] = "cosine"
    """How lr moves: "cosine" falls from the first step on, "one_cycle" rises for a fifth first."""
    weight_decay: float = Field(3e-4, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    cutout: int = Field(0, ge=0)
    """Pixels per side of the square set to zero in each training image; 0 for none."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Drop path probability at the end; it grows linearly from 0."""
    auxiliary: float = Field(0.0, ge=0)
    """Weight of the auxiliary loss; 0 for no auxiliary head."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "TrainConfig":
        reduction_cells(self.layers, self.reductions)
        if self.auxiliary and self.batch_size < 2:
            # Its last BatchNorm sees one pixel per image.
            raise ValueError("The auxiliary head needs batch_size=2 or more: else set auxiliary=0.")
        return self

    def network(self, genotype: Genotype, **sizes: int) -> FinalNetwork:
        """The network that is trained, its weights drawn by the seed; `sizes` as in `Training`."""
        sizes |= self.model_dump(include={"channels", "layers", "head", "reductions"})
        with seeded(self.seed):
            return FinalNetwork(genotype, auxiliary=self.auxiliary > 0, **sizes)


def learning_rate(config: TrainConfig, progress: float, rise: float = 0.2) -> float:
    """The learning rate at a progress from 0 to 1; one_cycle rises until `rise`."""
    if config.schedule == "one_cycle":
        if progress < rise:
            return config.lr * (0.1 + 0.9 * progress / rise)
        progress = (progress - rise) / (1 - rise)
    return cosine(config.lr, config.lr_min, progress)


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: BatchSource, layout: torch.memory_format = torch.preserve_format
) -> tuple[float, float]:
    """Mean loss and accuracy (a fraction) over all images, in evaluation mode."""
    was_training = network.training
    network.eval()
    loss = correct = count = 0
    for step in range(len(batches)):
        images, labels = batches.at(step)
        scores = network(images.to(memory_format=layout))  # (N, num_classes)
        loss = loss + F.cross_entropy(scores, labels, reduction="sum").double()
        correct = correct + (scores.argmax(dim=1) == labels).sum()
        count += len(labels)
    network.train(was_training)
    return float(loss) / count, int(correct) / count


class Training(Loop):
    """A training in progress; iterate it for its records.

    Args:
        config: the settings.
        genotype: the cells of the network.
        batches: training batches, such as `dartslib.data.Batches`.
        watched: batches to evaluate on after every epoch, or None. Never the test images.
        device: where it runs, and where the batches are.
        sizes: num_classes, in_channels, image_size of the data set; 10, 3 and 32 if left out.

    Attributes:
        network: the network.
        step, steps, seconds, history: as in `Loop`; `evaluation_step` and the `valid_` lists have
            one entry per epoch.
    """

    stateful = ("network", "optimizer")
    advice = "try a smaller learning rate (lr)"

    def __init__(
        self,
        config: TrainConfig,
        genotype: Genotype,
        batches: BatchSource,
        watched: BatchSource | None = None,
        *,
        device: torch.device | str = "cpu",
        **sizes: int,
    ) -> None:
        super().__init__(config, config.epochs * len(batches), device)
        self.owner = genotype.to_json()
        self.genotype, self.batches, self.watched = genotype, batches, watched
        network = config.network(genotype, **sizes)
        self.network = network.to(device, memory_format=self.memory_format)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay
        )

    def advance(self) -> None:
        """One step of SGD."""
        config, network = self.config, self.network
        progress = self.step / self.steps
        set_lr(self.optimizer, learning_rate(config, progress))
        network.drop_path = config.drop_path * progress
        network.generator = step_generator(config.seed, self.step)
        network.train()
        images, labels = self._batch(self.batches)
        scores = network(images)  # (N, num_classes), or a pair of them
        loss = 0.0
        if isinstance(scores, tuple):
            scores, auxiliary = scores
            loss = config.auxiliary * self._loss(auxiliary, labels)
        loss = loss + self._loss(scores, labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        self.optimizer.step()
        self.means.add(train_loss=loss, train_accuracy=accuracy(scores, labels))
        self.step += 1

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels, label_smoothing=self.config.label_smoothing)

    def _after_step(self) -> None:
        if self.watched is not None and self.step % len(self.batches) == 0:
            loss, share = self.evaluate(self.watched)
            self._keep({"evaluation_step": self.step, "valid_loss": loss, "valid_accuracy": share})

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated, and kept at the end."""
        return self.network

    def evaluate(self, batches: BatchSource) -> tuple[float, float]:
        """Mean loss and accuracy of the network as it is now."""
        return evaluate(self.evaluated, batches, self.memory_format)

    def _record(self) -> dict[str, Any]:
        return self._keep(
            {
                "step": self.step,
                "epoch": self.step / len(self.batches),
                "seconds": self.seconds,
                "w_lr": self.optimizer.param_groups[0]["lr"],  # named as in a search's record
                **self.means.take(),
            }
        )

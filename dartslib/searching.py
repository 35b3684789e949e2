"""The search: an alpha step, then a w step, again and again.

Algorithm 1 of Liu et al. (2019), section 4.2 ("Training details") of the report. `dartslib.search`
makes a `Search` whose cells run in the fast form, where there is one.

What differs from the paper's code, on purpose:

1. The learning rate of w falls with every step, not with every epoch: short runs have few epochs.
2. xi is read off the optimizer of w at each step, so it is the rate that the next step will use.
3. Passes for alpha compute no gradient of w that nobody needs, and leave BatchNorm's running
   statistics as they are.
4. Images that fill no batch are left out of an epoch: 390 steps, not 391.
5. Both halves are shuffled anew each epoch (by `dartslib.data.Batches`), and all that is random in
   a step is fixed by the seed and the number of the step alone.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from dartslib.genotypes import as_array, choices, entropy
from dartslib.gradients import METHODS, BatchLoss, hypergradient
from dartslib.loops import BatchSource, Loop, cosine, seeded, set_lr, step_generator
from dartslib.operations import check_name
from dartslib.relaxation import Architecture, Softmax
from dartslib.settings import Config, Fraction
from dartslib.space import CELL_TYPES, MOST_NODES, REPORT_OPERATIONS, SearchSpace
from dartslib.supernet import LIMITS, Supernet, reduction_cells

# 40 epochs of 390 steps at 3e-4: how far Adam can carry alpha in the report's search.
REPORT_ALPHA_TRAVEL = 40 * 390 * 3e-4
NO_STEP_AHEAD = ("one_level", "first_order")


class SearchConfig(Config):
    """All settings of a search; the defaults are the report's."""

    dataset: str = "cifar10"
    """Name of the data set, as `dartslib.data.load` takes it."""
    half: int | None = Field(None, ge=1)
    """Images in each half; None for as many as there are."""
    held_out: float = Field(0.0, ge=0, lt=1)
    """Fraction of the training images that the search never sees."""
    nodes: int = Field(3, ge=1, le=MOST_NODES)
    """Intermediate nodes of a cell."""
    operations: tuple[str, ...] = REPORT_OPERATIONS
    """Operations that compete on each edge."""
    layers: int = Field(8, ge=1, le=LIMITS["layers"][1])
    """Cells of the supernet."""
    reductions: tuple[int, ...] | None = None
    """Which cells reduce; None for those at one and two thirds of the depth."""
    channels: int = Field(16, ge=1, le=LIMITS["channels"][1])
    """Channels of the first cells."""
    head: Literal["linear", "mlp"] = "mlp"
    """Classifier: linear on the mean, or the report's MLP on the flattened map."""
    method: Literal[METHODS] = "first_order"
    """How alpha's gradient is computed, see `hypergradient`."""
    xi: float | None = Field(None, ge=0)
    """Rate of the step ahead, for the methods that make one; None for w's rate at that step."""
    epochs: int = Field(40, ge=1)
    """Passes over a half."""
    batch_size: int = Field(64, ge=1)
    """Images a batch, for w and for alpha alike."""
    w_lr: float = Field(0.025, gt=0)
    """First learning rate of w (SGD), falling along a cosine."""
    w_lr_min: float = Field(0.0, ge=0)
    """Last learning rate of w."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of w."""
    w_weight_decay: float = Field(3e-4, ge=0)
    """Weight decay of w."""
    clip: float = Field(5.0, gt=0)
    """Largest norm of w's gradient."""
    alpha_lr: float | None = Field(3e-4, gt=0)
    """Learning rate of alpha (Adam); None to keep steps x rate at the report's 4.68."""
    alpha_betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    """Adam's betas."""
    alpha_weight_decay: float = Field(1e-3, ge=0)
    """Weight decay of alpha."""
    alpha_init_std: float = Field(0.0, ge=0)
    """0 starts all operations equal; the paper starts with noise of 1e-3."""
    radius: float = Field(0.01, gt=0)
    """R = radius / ||v|| in the finite difference."""
    channels_last: bool = True
    """Memory format on a CPU, where it is faster, same mathematics; a GPU keeps torch's default."""
    records: int = Field(100, ge=1)
    """Least number of records of a run that has as many steps; at most twice as many."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Fixes the first weights, the first alpha and all batches."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "SearchConfig":
        for name in self.space().operations:
            check_name(name)
        if self.xi and self.method in NO_STEP_AHEAD:
            raise ValueError(
                f"xi is the rate of a step ahead, and {self.method} makes none: leave xi out, or "
                "choose method=finite_difference."
            )
        reduction_cells(self.layers, self.reductions)
        return self

    def space(self) -> SearchSpace:
        """The space of these nodes and operations."""
        return SearchSpace(self.nodes, self.operations)


class Search(Loop):
    """A search in progress; iterate it for its records.

    Args:
        config: the settings.
        train, valid: batches of the two halves, as `dartslib.data.Batches`.
        num_classes, in_channels, image_size: of the data set.
        device: where it runs; the batches must come from there.
        relaxation: DARTS's softmax unless another is given.

    Attributes:
        supernet, architecture: w and alpha.
        step, steps, seconds, history: as in `Loop`.
    """

    parts = ("supernet", "architecture", "w_optimizer", "alpha_optimizer")
    advice = "try a smaller learning rate of w (w_lr)"

    def __init__(
        self,
        config: SearchConfig,
        train: BatchSource,
        valid: BatchSource,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        device: torch.device | str = "cpu",
        relaxation: Softmax | None = None,
    ) -> None:
        super().__init__(config, config.epochs * min(len(train), len(valid)), device)
        self.train, self.valid = train, valid
        space, relaxation = config.space(), relaxation or Softmax()
        with seeded(config.seed):
            supernet = Supernet(
                space,
                config.channels,
                config.layers,
                num_classes,
                config.head,
                in_channels,
                image_size,
                config.reductions,
                relaxation.mixed_operation,
            )
            self.architecture = Architecture(
                space, relaxation, config.alpha_init_std, device=device
            )
        self.supernet = supernet.to(device, memory_format=self.memory_format)
        self.w = list(self.supernet.parameters())
        self.w_optimizer = torch.optim.SGD(
            self.w, config.w_lr, config.momentum, weight_decay=config.w_weight_decay
        )
        self.alpha_optimizer = torch.optim.Adam(
            self.architecture.alpha,
            config.alpha_lr or REPORT_ALPHA_TRAVEL / self.steps,
            config.alpha_betas,
            weight_decay=config.alpha_weight_decay,
        )

    def advance(self) -> None:
        """One step: alpha by its hypergradient, then w by its gradient at the new alpha.

        With one level both by the gradients of one pass.
        """
        config, generator = self.config, step_generator(self.config.seed, self.step)
        progress = self.step / self.steps
        set_lr(self.w_optimizer, cosine(config.w_lr, config.w_lr_min, progress))
        self.architecture.relaxation.progress = progress
        train, valid = self._batch(self.train), self._batch(self.valid)
        self.supernet.train()
        if config.method == "one_level":
            # One level: the batch of w and the batch of alpha are one, from both halves together.
            train = [torch.cat(pair) for pair in zip(train, valid, strict=True)]
        else:
            self._alpha_step(train, valid, generator)

        images, labels = train
        weights = self.architecture.weights(generator=generator)
        if config.method != "one_level":
            weights = {cell_type: table.detach() for cell_type, table in weights.items()}
        scores = self.supernet(images, weights)
        loss = F.cross_entropy(scores, labels)
        self.w_optimizer.zero_grad()
        self.alpha_optimizer.zero_grad()
        loss.backward()
        if config.method == "one_level":
            self.alpha_optimizer.step()
        torch.nn.utils.clip_grad_norm_(self.w, config.clip)
        self.w_optimizer.step()
        self.means.add(
            train_loss=loss, train_accuracy=(scores.detach().argmax(1) == labels).float().mean()
        )
        self.step += 1

    def _alpha_step(
        self,
        train: tuple[Tensor, Tensor],
        valid: tuple[Tensor, Tensor],
        generator: torch.Generator,
    ) -> None:
        config, alpha = self.config, self.architecture.alpha
        train_loss = BatchLoss(self.supernet, self.architecture, *train, generator)
        valid_loss = BatchLoss(self.supernet, self.architecture, *valid, generator)
        result = hypergradient(
            train_loss,
            valid_loss,
            self.w,
            alpha,
            method=config.method,
            xi=self.xi,
            momentum=config.momentum,
            buffers=[self.w_optimizer.state[p].get("momentum_buffer") for p in self.w],
            weight_decay=config.w_weight_decay,
            radius=config.radius,
        )
        for logits, gradient in zip(alpha, result.gradient, strict=True):
            logits.grad = gradient
        self.alpha_optimizer.step()
        self.means.add(valid_loss=result.loss, valid_accuracy=valid_loss.accuracy)

    @property
    def xi(self) -> float:
        """The rate of the step ahead now; 0 where the method looks at no step ahead."""
        if self.config.method in NO_STEP_AHEAD:
            return 0.0
        rate = self.w_optimizer.param_groups[0]["lr"]
        return rate if self.config.xi is None else self.config.xi

    def each_step(self) -> Iterator[dict[str, Any] | None]:
        """Runs to the end and yields after every step; before the first, a record of step 0."""
        if not self.history:
            yield self._record()
        yield from super().each_step()

    def _record(self) -> dict[str, Any]:
        """What is known at this step; see `history`."""
        nothing = dict.fromkeys(
            ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy"), float("nan")
        )
        record: dict[str, Any] = {"step": self.step, "seconds": self.seconds, "xi": self.xi}
        record["w_lr"] = self.w_optimizer.param_groups[0]["lr"]
        record |= nothing | self.means.take()
        probabilities = self.architecture.probabilities()
        found = choices(probabilities, self.architecture.space)
        for cell_type in CELL_TYPES:
            table = as_array(probabilities[cell_type])
            record[f"logits_{cell_type}"] = as_array(self.architecture.logits[cell_type])
            record[f"probabilities_{cell_type}"] = table
            record[f"entropy_{cell_type}"] = entropy(table)
            margins = {c.edge: c.operation_margin for c in found if c.cell_type == cell_type}
            record[f"margin_{cell_type}"] = as_array([margins[edge] for edge in sorted(margins)])
        return self._keep(record)

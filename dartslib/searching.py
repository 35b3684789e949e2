"""The search: an alpha step, then a w step, again and again.

Algorithm 1 of Liu et al. (2019), section 4.2 ("Training details") of the report. `Search` is a loop
with a state: iterate it and it yields a record about a hundred times a run; stop, save its
`state_dict`, load it elsewhere, and go on as if nothing had happened.

What differs from the paper's code, on purpose:
1. The learning rate of w falls with every step, not with every epoch: short runs have few epochs.
2. xi is read off the optimizer of w at each step, so it is the rate that the next step will use.
3. Passes for alpha neither compute gradients of w nor touch BatchNorm statistics.
4. Both halves are shuffled anew each epoch, by a seed and the number of the step alone.
"""

from collections import defaultdict
from collections.abc import Iterator
from difflib import get_close_matches
from math import cos, pi
from reprlib import repr  # of a long or deep value, no more than a sentence can hold
from time import perf_counter
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor
from torch.nn import functional as F

from dartslib.genotypes import as_array, choices, entropy
from dartslib.gradients import METHODS, BatchLoss, hypergradient
from dartslib.operations import check_name
from dartslib.relaxation import Architecture, Softmax
from dartslib.space import (
    CELL_TYPES,
    DARTS_OPERATIONS,
    MOST_NODES,
    REPORT_OPERATIONS,
    SearchSpace,
)
from dartslib.supernet import LIMITS, Supernet, reduction_cells

# 40 epochs of 390 steps at 3e-4: how far Adam can carry alpha in the report's search.
REPORT_ALPHA_TRAVEL = 40 * 390 * 3e-4


class BatchSource(Protocol):
    """What a loop needs of its data: the batches of an epoch, asked for by the number of a step."""

    def __len__(self) -> int: ...

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and labels (N,) of a step."""


class Config(BaseModel):
    """Settings that are checked when they are made, cannot change, and go to JSON and back.

    Raises:
        ValueError: the first setting that is wrong, and what it should be, in one sentence.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ValueError(self._sentence(error.errors()[0])) from None

    @classmethod
    def _sentence(cls, error: dict[str, Any]) -> str:
        """What pydantic says of one error in several lines."""
        name = ".".join(str(part) for part in error["loc"])
        if error["type"] == "value_error":  # a sentence of our own
            return str(error["ctx"]["error"])
        if error["type"] == "extra_forbidden":
            (nearest,) = get_close_matches(name, cls.model_fields, n=1, cutoff=0)
            return (
                f"There is no setting {repr(name)}: choose one of {cls.__name__}'s, such as "
                f"{nearest}."
            )
        said = error["msg"][0].lower() + error["msg"][1:]
        return f"{name}: {said}, not {repr(error['input'])}."


Fraction = Annotated[float, Field(ge=0, lt=1)]


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
    """Rate of the step ahead; None for the learning rate of w at that step."""
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
    """Memory format of weights and images: faster on CPUs and recent GPUs, same mathematics."""
    records: int = Field(100, ge=1)
    """How many records a run yields."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Fixes the first weights, the first alpha and all batches."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "SearchConfig":
        for name in self.space().operations:
            check_name(name)
        reduction_cells(self.layers, self.reductions)
        return self

    def space(self) -> SearchSpace:
        """The space of these nodes and operations."""
        return SearchSpace(self.nodes, self.operations)

    @classmethod
    def darts(cls, **changes: Any) -> "SearchConfig":
        """The settings of Liu et al. (2019), with changes."""
        paper = {
            "nodes": 4,
            "operations": DARTS_OPERATIONS,
            "head": "linear",
            "epochs": 50,
            "w_lr_min": 0.001,
            "alpha_init_std": 1e-3,
        }
        return cls(**(paper | changes))


def cosine(first: float, last: float, progress: float) -> float:
    """Cosine annealing: from `first` at progress 0 to `last` at 1 (Loshchilov and Hutter, 2017)."""
    return last + 0.5 * (first - last) * (1 + cos(pi * progress))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of all groups of an optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step: fixed by seed and step, so that resuming needs no state."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class Means:
    """Means since the last record, summed on the device so that no step waits for a number."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = defaultdict(int)
        self.finite: dict[str, Tensor | int] = {}  # how many came before the first nan or inf

    def add(self, **values: Tensor) -> None:
        """Adds one value a name."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
            self.counts[name] += 1
            # A sum that is not finite stays so.
            self.finite[name] = self.finite.get(name, 0) + self.sums[name].isfinite()

    def check(self, step: int, advice: str) -> None:
        """Looks whether all values were finite, which waits for the device.

        Args:
            step: steps done.
            advice: end of the message.

        Raises:
            FloatingPointError: one was not; names the step.
        """
        missing = {name: self.counts[name] - int(count) for name, count in self.finite.items()}
        first = max(missing, key=missing.get, default=None)
        if first is not None and missing[first]:
            raise FloatingPointError(
                f"The {first.replace('_', ' ')} of step {step - missing[first] + 1} is not finite: "
                f"{advice}."
            )

    def take(self) -> dict[str, float]:
        """The means, and start anew."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.__init__()
        return means

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Sums and counts since the last record, plain numbers; only after a `check`."""
        return {
            "sums": {name: float(total) for name, total in self.sums.items()},
            "counts": dict(self.counts),
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Goes on from there."""
        self.sums, self.counts = dict(state["sums"]), defaultdict(int, state["counts"])
        self.finite = dict(self.counts)


class Search:
    """A search in progress; iterate it for its records.

    Args:
        config: the settings.
        train, valid: batches of the two halves, as `dartslib.data.Batches`.
        num_classes, in_channels, image_size: of the data set.
        device: where it runs; the batches must come from there.
        relaxation: DARTS's softmax unless another is given.

    Attributes:
        supernet, architecture: w and alpha.
        step, steps: steps done, and in all.
        history: the records so far, name -> list of numbers or arrays.
    """

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
        self.config, self.train, self.valid = config, train, valid
        self.steps = config.epochs * min(len(train), len(valid))
        space, relaxation = config.space(), relaxation or Softmax()
        # Weights are drawn on the CPU, so that a seed means the same on every device, and without
        # leaving a trace in the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
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
        self.memory_format = (
            torch.channels_last if config.channels_last else torch.contiguous_format
        )
        self.supernet = supernet.to(device, memory_format=self.memory_format)
        self.on_cpu = torch.device(device).type == "cpu"
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
        self.step, self.seconds, self.history = 0, 0.0, defaultdict(list)
        self.means = Means()

    def _batch(self, source: BatchSource) -> tuple[Tensor, Tensor]:
        images, labels = source.at(self.step)
        return images.contiguous(memory_format=self.memory_format), labels

    def advance(self) -> None:
        """One step: alpha by its hypergradient, then w by its gradient at the new alpha."""
        config, generator = self.config, step_generator(self.config.seed, self.step)
        set_lr(self.w_optimizer, cosine(config.w_lr, config.w_lr_min, self.step / self.steps))
        images, labels = self._batch(self.train)
        valid_images, valid_labels = self._batch(self.valid)
        self.supernet.train()
        if config.method == "one_level":
            # One level: the batch of w and the batch of alpha are one, from both halves together.
            images = torch.cat([images, valid_images])
            labels = torch.cat([labels, valid_labels])
        else:
            self._alpha_step(images, labels, valid_images, valid_labels, generator)

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
        images: Tensor,
        labels: Tensor,
        valid_images: Tensor,
        valid_labels: Tensor,
        generator: torch.Generator,
    ) -> None:
        config, alpha = self.config, self.architecture.alpha
        train_loss = BatchLoss(self.supernet, self.architecture, images, labels, generator)
        valid_loss = BatchLoss(
            self.supernet, self.architecture, valid_images, valid_labels, generator
        )
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
        if self.config.method in ("one_level", "first_order"):
            return 0.0
        rate = self.w_optimizer.param_groups[0]["lr"]
        return rate if self.config.xi is None else self.config.xi

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Runs to the end and yields a record about `config.records` times, the first at step 0.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        return (record for record in self.each_step() if record is not None)

    def each_step(self) -> Iterator[dict[str, Any] | None]:
        """Runs to the end and yields after every step: a record where one is due, or None."""
        every = max(1, self.steps // self.config.records)
        if not self.history:
            yield self._record()
        while self.step < self.steps:
            start = perf_counter()
            self.advance()
            self.seconds += perf_counter() - start
            due = self.step % every == 0 or self.step == self.steps
            if due or self.on_cpu:  # elsewhere a look at every step would make every step wait
                self.check()
            yield self._record() if due else None

    def check(self) -> None:
        """Raises a FloatingPointError if a loss since the last record was not finite."""
        self.means.check(self.step, "try a smaller learning rate of w (w_lr)")

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
        for name, value in record.items():
            self.history[name].append(value)
        return record

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the run depends on, and the history; take it between two steps.

        Raises:
            FloatingPointError: a loss is not finite; such a state is not worth keeping.
        """
        self.check()
        return {
            "step": self.step,
            "seconds": self.seconds,
            "means": self.means.state_dict(),
            "supernet": self.supernet.state_dict(),
            "architecture": self.architecture.state_dict(),
            "w_optimizer": self.w_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "history": {name: torch.as_tensor(stack(v)) for name, v in self.history.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of a search with the same configuration."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.means.load_state_dict(state["means"])
        self.supernet.load_state_dict(state["supernet"])
        self.architecture.load_state_dict(state["architecture"])
        self.w_optimizer.load_state_dict(state["w_optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.history = unstack(state["history"])


def stack(values: list[Any]) -> np.ndarray:
    """A history's list of numbers or arrays as one array, (T, …): int64 or float64."""
    return np.asarray(values)


def unstack(history: dict[str, Tensor]) -> dict[str, list[Any]]:
    """The lists of a history that was stacked."""
    lists = {name: list(values.cpu().numpy()) for name, values in history.items()}
    return defaultdict(list, lists)

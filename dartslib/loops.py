"""A loop with a state: what a search and a training have in common.

Iterating a loop yields a record about a hundred times per run. You can stop, save its `state_dict`,
load it elsewhere and go on as if nothing had happened. Checkpoints and progress bars are in
`dartslib.runs`.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from math import cos, isfinite, pi
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from dartslib.settings import Config


class LoopConfig(Config):
    """What the settings of a search and of a training have in common."""

    dataset: str = "cifar10"
    """Name of the data set, as `dartslib.data.load` takes it."""
    held_out: float = Field(0.0, ge=0, lt=1)
    """Fraction of the training images that no search sees; cells are compared on them."""
    flip: bool | None = None
    """Whether training images are mirrored at random; None for yes, except the digits of mnist."""
    crop: int = Field(4, ge=0)
    """Pixels of border that the random crop of a training image may take in; 0 for no crop."""
    image_size: int = Field(32, ge=8, le=64)
    """Pixels per side that the pictures of a folder are brought to; other data keep their size."""
    channels: int = Field(16, ge=1, le=4096)
    """Channels of the first cells."""
    reductions: tuple[int, ...] | None = None
    """Which cells reduce; None for those at one and two thirds of the depth."""
    head: Literal["linear", "mlp"] = "mlp"
    """Classifier: linear on the mean over the map, or the report's MLP on the flattened map."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of w (SGD)."""
    clip: float = Field(5.0, gt=0)
    """Largest norm of w's gradient."""
    channels_last: bool = True
    """Memory format on a CPU, where it is faster; a GPU always uses torch's default."""
    records: int = Field(100, ge=1)
    """Records per run: this many, up to twice as many; one per step in a shorter run."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Fixes the first weights, the first alpha, all batches and all random numbers of the steps."""


class BatchSource(Protocol):
    """What a loop needs of its data: batches by step number, and how many make an epoch."""

    def __len__(self) -> int: ...

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and labels (N,) of a step."""


def cosine(first: float, last: float, progress: float) -> float:
    """Cosine annealing: from `first` at progress 0 to `last` at 1 (Loshchilov and Hutter, 2017)."""
    return last + 0.5 * (first - last) * (1 + cos(pi * progress))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of all groups of an optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator for the first weights, and restores it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed GPUs
        yield


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step, fixed by seed and step, so that resuming needs no state."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class Means(dict[str, tuple[Tensor | float, int]]):
    """Name -> (sum, count) since the last record, kept on the device so that no step waits."""

    def add(self, **values: Tensor) -> None:
        """Adds one value per name."""
        for name, value in values.items():
            total, count = self.get(name, (0.0, 0))
            self[name] = total + value.detach().double(), count + 1

    def take(self) -> dict[str, float]:
        """Returns the means and starts from zero."""
        means = {name: float(total) / count for name, (total, count) in self.items()}
        self.clear()
        return means


class Loop:
    """A run in progress; iterate it for its records. `Search` and `Training` are the two kinds.

    A subclass has `advance`, which makes one step and adds to `means`, and `_record`.

    Args:
        config: the settings.
        steps: how many in all.
        device: where it runs.

    Attributes:
        step, steps: steps done, and in all.
        seconds: wall time of the steps.
        history: the records so far, name -> list of numbers or arrays.
    """

    stateful: tuple[str, ...] = ()  # attributes whose `state_dict` is part of this one's
    advice: str  # what to try if a loss is not finite
    owner: str  # relaxation or genotype as JSON; a state is loaded only where this is equal

    def __init__(self, config: LoopConfig, steps: int, device: torch.device | str) -> None:
        self.config, self.steps = config, steps
        self.step, self.seconds = 0, 0.0
        self.history: dict[str, list[Any]] = defaultdict(list)
        self.means = Means()
        self.on_cpu = torch.device(device).type == "cpu"
        # On a GPU channels_last made torch copy more, and was slower.
        last = config.channels_last and self.on_cpu
        self.memory_format = torch.channels_last if last else torch.contiguous_format

    def _batch(self, source: BatchSource) -> tuple[Tensor, Tensor]:
        images, labels = source.at(self.step)
        return images.contiguous(memory_format=self.memory_format), labels

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Runs to the end and yields each record; FloatingPointError if a loss is not finite."""
        return (record for record in self.each_step() if record is not None)

    def each_step(self) -> Iterator[dict[str, Any] | None]:
        """Runs to the end and yields after every step: a record if one is due, else None."""
        every = max(1, self.steps // self.config.records)
        while self.step < self.steps:
            start = perf_counter()
            self.advance()
            due = self.step % every == 0 or self.step == self.steps
            if due or self.on_cpu:  # on a GPU, checking every step would make every step wait
                self.check()
            self.seconds += perf_counter() - start
            self._after_step()
            yield self._record() if due else None

    def _after_step(self) -> None:
        """What a subclass does between two steps; not counted in `seconds`."""

    def check(self) -> None:
        """Raises FloatingPointError unless all losses since the last record are finite.

        This waits for the device.
        """
        for name, (total, _) in self.means.items():
            if not isfinite(total):  # once nan or infinite, a sum stays so
                what = f"{name.replace('_', ' ')} is not finite by step {self.step}"
                raise FloatingPointError(f"The {what}: {self.advice}.")

    def _keep(self, record: dict[str, Any]) -> dict[str, Any]:
        for name, value in record.items():
            self.history[name].append(value)
        return record

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on, and the history; call it between two steps.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        self.check()
        return {
            "owner": self.owner,
            "step": self.step,
            "seconds": self.seconds,
            "means": {name: (float(total), n) for name, (total, n) in self.means.items()},
            **{name: getattr(self, name).state_dict() for name in self.stateful},
            "history": {name: torch.as_tensor(np.asarray(v)) for name, v in self.history.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from the `state_dict` of a loop with the same configuration.

        Raises:
            ValueError: the state belongs to another relaxation or genotype.
        """
        if state["owner"] != self.owner:
            raise ValueError("This state belongs to another relaxation or genotype: use that one.")
        self.step, self.seconds = state["step"], state["seconds"]
        self.means = Means(state["means"])
        for name in self.stateful:
            getattr(self, name).load_state_dict(state[name])
        self.history = defaultdict(list, {k: list(v.numpy()) for k, v in state["history"].items()})

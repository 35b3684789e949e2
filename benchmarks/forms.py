"""The same work in several forms, which take turns: seconds of each.

Plain is the paper's code's way in torch's default memory format, channels_last the same in the
other format, ours the fast form. All three begin with the same weights.
"""

import gc
import time
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from benchmarks.original import OriginalSearch
from benchmarks.steps import RandomImages
from dartslib.genotypes import DARTS_V2
from dartslib.gradients import BatchLoss, hypergradient
from dartslib.runs.running import fast_form
from dartslib.searching import Search, SearchConfig
from dartslib.training import TrainConfig, Training

FORMS = ("plain", "channels_last", "ours")
ON_A_GPU = "on a GPU"  # the form that dartslib.search chooses there; counted, not timed
Forms = dict[str, Callable[[], object]]  # name of a form -> does the work once


class Noise(RandomImages):
    """Batches of noise on a device."""

    device = "cpu"

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (N, 3, 32, 32) and labels (N,)."""
        images, labels = super().at(step)
        return images.to(self.device), labels.to(self.device)


def search(config: SearchConfig, form: str, device: str = "cpu") -> Search:
    """A search in one of the forms, or in `ON_A_GPU`, on noise."""
    halves = [Noise(config.batch_size, 1000, seed) for seed in (0, 1)]
    for half in halves:
        half.device = device
    if form == "ours":
        return fast_form(Search(config, *halves, device=device))
    config = config.model_copy(update={"channels_last": form == "channels_last"})
    if form == ON_A_GPU:
        return fast_form(Search(config, *halves, device=device))
    return OriginalSearch(config, *halves, device=device)


def training(config: TrainConfig, form: str) -> Training:
    """The training of a final network, the paper's cell, in one of the forms, on noise."""
    batches = RandomImages(config.batch_size, 1000, 0)
    config = config.model_copy(update={"channels_last": form != "plain"})
    loop = Training(config, DARTS_V2, batches)
    return fast_form(loop) if form == "ours" else loop


def search_steps(config: SearchConfig) -> Forms:
    """A step of the search: alpha, then w."""
    return {form: search(config, form).advance for form in FORMS}


def training_steps(config: TrainConfig) -> Forms:
    """A step of the final training."""
    return {form: training(config, form).advance for form in FORMS}


def full_passes(config: SearchConfig) -> Forms:
    """Forward and backward with the gradients of w and alpha."""
    return {form: full_pass(search(config, form)) for form in FORMS}


def alpha_passes(config: SearchConfig) -> Forms:
    """The gradient of alpha. The plain forms compute that of w, too, and drop it."""
    return full_passes(config) | {"ours": alpha_pass(search(config, "ours"))}


def full_pass(loop: Search) -> Callable[[], object]:
    """One forward and backward pass with all gradients."""
    images, labels = loop._batch(loop.train)
    loop.supernet.train()
    alpha = loop.architecture.alpha

    def run() -> None:
        for tensor in (*loop.w, *alpha):
            tensor.grad = None
        F.cross_entropy(loop.supernet(images, loop.architecture.mixture()), labels).backward()

    return run


def alpha_pass(loop: Search) -> Callable[[], object]:
    """The gradient of alpha alone, as `Search` computes it in first order."""
    loss = BatchLoss(loop.supernet, loop.architecture, *loop._batch(loop.valid))
    loop.supernet.train()
    alpha = loop.architecture.alpha
    return lambda: hypergradient(loss, loss, loop.w, alpha, method="first_order")


def take_turns(forms: Forms, rounds: int) -> dict[str, list[float]]:
    """Seconds of each form in each round; other work on the machine slows all forms down alike."""
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form, run in forms.items():
            gc.collect()
            begin = time.perf_counter()
            run()
            seconds[form].append(time.perf_counter() - begin)
    return seconds

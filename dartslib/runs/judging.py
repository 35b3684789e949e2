"""What an accuracy is made of: that of each class, and what the largest class alone would give."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dartslib.loops import BatchSource
from dartslib.training import Training


def share_of_the_largest(labels: Tensor) -> float:
    """The accuracy of an answer that is always the most frequent class; labels are int64 (N,)."""
    return int(labels.bincount().max()) / len(labels)


class _Noted(list[Tensor]):
    """A source of batches that keeps their labels: it may not be asked for a batch twice."""

    def __init__(self, batches: BatchSource) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        images, labels = self.batches.at(step)
        self.append(labels)
        return images, labels


def judge(
    training: Training, batches: BatchSource, class_names: Sequence[str]
) -> tuple[float, float, dict[str, Any]]:
    """Mean loss and accuracy of a network in one pass, and what a record has beside them.

    Returns:
        Loss, accuracy (a fraction), and {"largest_class": its share of the images,
        "class_accuracy": name -> accuracy, or None where a class has no images}.
    """
    noted, guesses = _Noted(batches), []

    def note(network: nn.Module, images: Any, scores: Tensor) -> None:
        guesses.append(scores.argmax(dim=1))

    with training.evaluated.register_forward_hook(note):
        loss, accuracy = training.evaluate(noted)
    labels = torch.cat([*noted])
    right = torch.cat(guesses) == labels
    found = {}
    for label, name in enumerate(class_names):
        of_class = right[labels == label]
        found[name] = int(of_class.sum()) / len(of_class) if len(of_class) else None
    return loss, accuracy, {"largest_class": share_of_the_largest(labels), "class_accuracy": found}

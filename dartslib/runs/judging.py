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


def judge(
    training: Training, batches: BatchSource, class_names: Sequence[str]
) -> tuple[float, float, dict[str, Any]]:
    """Mean loss and accuracy of a network in one pass, and what a record has beside them.

    Returns:
        Loss, accuracy (a fraction), and {"largest_class": its share of the images,
        "class_accuracy": name -> accuracy, or None where a class has no images}.
    """
    seen: list[tuple[Tensor, Tensor]] = []  # labels, guesses

    def note(network: nn.Module, images: Any, scores: Tensor) -> None:
        seen.append((batches.at(len(seen))[1], scores.argmax(dim=1)))

    with training.network.register_forward_hook(note):
        loss, accuracy = training.evaluate(batches)
    labels, guesses = map(torch.cat, zip(*seen, strict=True))
    found = {}
    for label, name in enumerate(class_names):
        of_class = (guesses == labels)[labels == label]
        found[name] = int(of_class.sum()) / len(of_class) if len(of_class) else None
    return loss, accuracy, {"largest_class": share_of_the_largest(labels), "class_accuracy": found}

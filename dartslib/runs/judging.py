"""What an accuracy is made of: that of each class, and what the largest class alone would give."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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
    guesses, labels = [], []

    class Watched:
        def __len__(self) -> int:
            return len(batches)

        def at(self, step: int) -> tuple[Tensor, Tensor]:
            batch = batches.at(step)
            labels.append(batch[1])
            return batch

    hook = training.network.register_forward_hook(
        lambda network, images, scores: guesses.append(scores.argmax(dim=1))
    )
    try:
        loss, accuracy = training.evaluate(Watched())
    finally:
        hook.remove()
    if not labels:
        return loss, accuracy, {}
    right, found = torch.cat(guesses) == torch.cat(labels), {}
    for label, name in enumerate(class_names):
        of_class = right[torch.cat(labels) == label]
        found[name] = int(of_class.sum()) / len(of_class) if len(of_class) else None
    share = share_of_the_largest(torch.cat(labels))
    return loss, accuracy, {"largest_class": share, "class_accuracy": found}

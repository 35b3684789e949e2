"""Batches that somebody else makes, such as a DataLoader of torch, as a loop asks for them."""

import warnings
from typing import Any

import torch
from torch import Tensor

AHEAD = 3  # batches that are kept, since a run's first ones are asked for a second time


class Loader:
    """A DataLoader as a source of batches: one after the other, epoch after epoch.

    What a DataLoader draws depends on how often it was asked, so a run that resumes gets other
    batches than one that was never stopped: then a warning says so. In a run it stands for the
    `DataSet`, too, as far as that is known.

    Args:
        source: gives pairs of images, float (N, C, side, side), and labels, (N,); has a length.
        class_names: by label.
        device: where batches are moved to.

    Raises:
        ValueError: here or at a later batch, it gives something else.
    """

    name = "loaders"

    def __init__(self, source: Any, class_names: tuple[str, ...], device: str = "cpu") -> None:
        if not getattr(source, "__len__", lambda: 0)():
            raise ValueError("A DataLoader needs a length of one batch or more: give its data one.")
        self.source, self.class_names, self.device = source, class_names, device
        self.num_classes = len(class_names)
        self._next, self._iterator, self._kept, self._said = 0, iter(()), {}, False
        self.batch_size, self.in_channels, self.image_size, _ = self.at(0)[0].shape

    def __len__(self) -> int:
        return len(self.source)

    def digest(self) -> None:
        """Not known: nobody has all images at once."""

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: images, float (N, C, side, side), and labels, int64 (N,)."""
        if hasattr(self.source, "at"):  # a source of our own kind, whose batches have numbers
            return self._checked(self.source.at(step))
        if step not in self._kept:
            if step not in (0, self._next):
                self.say_anew()
            if step != self._next:
                self._iterator, self._kept = iter(()), {}
            batch = next(self._iterator, None)
            if batch is None:  # the end of an epoch
                self._iterator = iter(self.source)
                batch = next(self._iterator)
            self._kept[step], self._next = self._checked(batch), step + 1
            self._kept.pop(step - AHEAD, None)
        return self._kept[step]

    def say_anew(self) -> None:
        """Warns, once, that a run goes on with other batches than it would have had."""
        if not self._said and not hasattr(self.source, "at"):
            self._said = True
            warnings.warn(
                "The DataLoader begins anew, since it cannot be asked for the batch of a step: "
                "the run does not end as it would have without a stop.",
                stacklevel=3,
            )

    def _checked(self, batch: Any) -> tuple[Tensor, Tensor]:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(
                f"A DataLoader must give pairs (images, labels), not {type(batch).__name__}: "
                "change what its data set returns, or its collate_fn."
            )
        images, labels = batch[0], torch.as_tensor(batch[1])
        shape = tuple(getattr(images, "shape", ()))
        if len(shape) != 4 or shape[2] != shape[3] or not torch.is_floating_point(images):
            raise ValueError(
                "A DataLoader must give images as a float tensor (N, C, side, side), not "
                f"{getattr(images, 'dtype', type(images).__name__)} {shape}: transform its images, "
                "as ToTensor and CenterCrop do."
            )
        if labels.shape != shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"{shape[0]} images of a DataLoader came with labels {labels.dtype} "
                f"{tuple(labels.shape)}: give one whole number for each image."
            )
        if not labels.is_cuda:  # of a GPU every step would wait for it
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.num_classes:
                raise ValueError(
                    f"A DataLoader gives labels from {low} to {high} for {self.num_classes} "
                    "classes: number them from 0, or give another num_classes."
                )
        return images.to(self.device), labels.to(self.device, torch.int64)

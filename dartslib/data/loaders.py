"""Batches that somebody else makes, such as a DataLoader of torch, as a loop asks for them."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

AHEAD = 3  # batches that are kept, since the first ones are asked for a second time


class Loader:
    """A DataLoader as a source of batches: one after the other, epoch after epoch.

    What a DataLoader draws depends on how often it was asked, so that a run which resumes gets
    other batches than one that was never stopped: then a warning says so.

    Args:
        source: gives pairs of images, float (N, C, side, side), and labels, (N,); has a length.
        num_classes: labels are below this.
        device: where batches are moved to.

    Raises:
        ValueError: here or at a later batch, it gives something else.
    """

    def __init__(self, source: Any, num_classes: int, device: str = "cpu") -> None:
        try:
            self._length = len(source)
        except TypeError:
            self._length = 0
        if not self._length:
            raise ValueError(
                "A DataLoader needs a length, of one batch or more: give its data one."
            )
        self.source, self.num_classes, self.device = source, num_classes, device
        self._next, self._iterator, self._kept = 0, iter(()), {}
        _, self.in_channels, self.image_size, _ = self.at(0)[0].shape

    def __len__(self) -> int:
        return self._length

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: images, float (N, C, side, side), and labels, int64 (N,)."""
        if hasattr(self.source, "at"):  # a source of our own kind, whose batches have numbers
            return self._checked(*self.source.at(step))
        if step not in self._kept and step != self._next:
            if step:
                warnings.warn(
                    "The DataLoader begins anew, since it cannot be asked for the batch of a step: "
                    "the run does not end as it would have without a stop.",
                    stacklevel=2,
                )
            self._next, self._iterator, self._kept = step, iter(()), {}
        if step == self._next:
            batch = next(self._iterator, None)
            if batch is None:
                self._iterator = iter(self.source)
                batch = next(self._iterator)
            self._next += 1
            self._kept[step] = self._checked(*batch)
            self._kept.pop(step - AHEAD, None)
        return self._kept[step]

    def _checked(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
            said = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else images
            raise ValueError(
                "A DataLoader must give images as a float tensor (N, C, side, side), not "
                f"{said!s:.60}: have its data set return tensors, as ToTensor does."
            )
        if images.shape[2] != images.shape[3]:
            raise ValueError(
                f"The images of a DataLoader are {images.shape[2]} x {images.shape[3]}: crop them "
                "to squares."
            )
        labels = torch.as_tensor(labels)
        if labels.shape != images.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"{len(images)} images of a DataLoader came with labels {tuple(labels.shape)} of "
                f"{labels.dtype}: give one whole number for each image."
            )
        if labels.device.type == "cpu":  # elsewhere every step would wait for the device
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.num_classes:
                raise ValueError(
                    f"A DataLoader gives labels from {low} to {high}, and num_classes is "
                    f"{self.num_classes}: number the classes from 0, or give another num_classes."
                )
        return images.to(self.device), labels.to(self.device, torch.int64)


class Loaders:
    """DataLoaders in the place of a `DataSet`: what is known of their images.

    Attributes:
        name: "loaders".
        num_classes, in_channels, image_size, class_names: as of a `DataSet`.
        sources: the loaders, in the order they were given in; a missing one is None.
    """

    name = "loaders"

    def __init__(
        self, sources: Sequence[Any], class_names: Sequence[str], device: str = "cpu"
    ) -> None:
        self.class_names, self.num_classes = tuple(class_names), len(class_names)
        self.sources = [s if s is None else Loader(s, self.num_classes, device) for s in sources]
        shapes = {(s.in_channels, s.image_size) for s in self.sources if s is not None}
        if len(shapes) != 1:
            raise ValueError(
                f"The two DataLoaders give images of different channels and sizes, {shapes}: make "
                "them alike."
            )
        ((self.in_channels, self.image_size),) = shapes

    def digest(self) -> None:
        """Not known: nobody has all images at once."""

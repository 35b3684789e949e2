"""Batches: images augmented and normalized as tensors, a pure function of (seed, step).

A batch is requested by the number of its step. So resuming needs no state, and there is no worker
process, no global generator and no hidden position that could go wrong. (A common bug elsewhere:
`next(iter(loader))` in every step, which without shuffling always gives the same batch.)
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of a data set, and their labels.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        name: part of the seed, so that two subsets do not draw the same random numbers.

    Raises:
        ValueError: another type or shape.
    """

    images: Tensor
    labels: Tensor
    name: str = ""

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if (images.dtype, images.ndim, labels.dtype) != (torch.uint8, 4, torch.int64) or (
            labels.shape != images.shape[:1]
        ):
            raise ValueError(
                "A subset must be a uint8 tensor (N, C, H, W) and one label for each image, int64 "
                f"(N,), not {images.dtype} {tuple(images.shape)} and {labels.dtype} "
                f"{tuple(labels.shape)}: convert them first."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Subset":
        """The first images, under the same name; all where there are no more."""
        return Subset(self.images[:count], self.labels[:count], self.name)


class Batches:
    """The batches of a subset, requested by step: `.at(step)`.

    Args:
        subset: the images and labels.
        batch_size: images per batch.
        seed: with the step and the name of the subset it fixes all random choices.
        mean, std: per channel, for pixels from 0 to 1.
        crop: pixels of black added on each side, before normalization; a window of the image's size
            is then cut out at a random place. 0 for none.
        flip: mirror left and right with probability 1/2; "alternate" mirrors each image in every
            second epoch (Jordan, arXiv 2404.00498), half of them in the first.
        cutout: pixels per side of a square set to 0 after normalization, the mean color; 0 for
            none. Its center is anywhere in the image, so it may stick out (DeVries and Taylor
            2017, and the paper's code).
        shuffle: a new order in each epoch.
        drop_last: leave out the images that do not fill a batch.
        device: where images are held and augmented. Random numbers come from the CPU, the same on
            every device.

    Raises:
        ValueError: no image; with drop_last, a batch larger than the subset; a crop or a cutout
            larger than the images.
    """

    def __init__(
        self,
        subset: Subset,
        batch_size: int,
        *,
        seed: int = 0,
        mean: Sequence[float],
        std: Sequence[float],
        crop: int = 4,
        flip: bool | Literal["alternate"] = True,
        cutout: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        device: str | torch.device = "cpu",
    ) -> None:
        count, _, height, width = subset.images.shape
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number from 1, not {batch_size}.")
        if count == 0:
            raise ValueError(f"The subset {subset.name!r} has no images: choose larger subsets.")
        if drop_last and batch_size > count:
            raise ValueError(
                f"A batch of {batch_size} images is larger than the {count} images of the subset "
                f"{subset.name!r}: choose a smaller batch or more images."
            )
        for name, value in (("crop", crop), ("cutout", cutout)):
            if not isinstance(value, Integral) or not 0 <= value <= min(height, width):
                raise ValueError(
                    f"{name}={value} does not fit images of {height} x {width} pixels: choose 0 to "
                    f"{min(height, width)}."
                )
        self.subset, self.batch_size, self.seed = subset, batch_size, seed
        self.crop, self.flip, self.cutout = crop, flip, cutout
        self.shuffle, self.drop_last = shuffle, drop_last
        self.device = torch.device(device)
        self._images, self._labels = subset.images.to(device), subset.labels.to(device)
        # (x / 255 - mean) / std = (x - shift) * scale, both (1, C, 1, 1)
        shift = 255 * torch.tensor(mean, dtype=torch.float64)
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        self._shift = shift.float().view(1, -1, 1, 1).to(device)
        self._scale = scale.float().view(1, -1, 1, 1).to(device)
        self._order_of_epoch: tuple[int, Tensor | None] = (-1, None)

    def __len__(self) -> int:
        """Batches per epoch."""
        full, rest = divmod(len(self.subset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, over epoch 0."""
        return map(self.at, range(len(self)))

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: normalized images, float32 (B, C, H, W), and labels, int64 (B,).

        Step s is in epoch s // len(self), and always gives the same batch.
        """
        chosen = self.indices(step)
        images = self._images[chosen]
        if self.flip == "alternate":
            first = torch.randint(2, (len(self.subset),), generator=self._generator("flip", 0))
            mirrored = (first.to(self.device)[chosen] + step // len(self)) % 2 == 1  # (B,)
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        images = self._augment(images, self._generator("augment", step))
        return images, self._labels[chosen]

    def indices(self, step: int) -> Tensor:
        """The indices in the subset of a step's images: int64 (B,)."""
        if step < 0:
            raise ValueError(f"There is no step {step}: steps count from 0.")
        epoch, position = divmod(step, len(self))
        return self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def _order(self, epoch: int) -> Tensor:
        """The order of all images in an epoch, int64 (N,); the last epoch's is cached."""
        if not self.shuffle:
            return torch.arange(len(self.subset), device=self.device)
        if self._order_of_epoch[0] != epoch:
            generator = self._generator("order", epoch)
            order = torch.randperm(len(self.subset), generator=generator)
            self._order_of_epoch = (epoch, order.to(self.device))
        return self._order_of_epoch[1]

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        key = f"{self.seed}/{self.subset.name}/{purpose}/{number}".encode()
        digest = hashlib.blake2b(key, digest_size=4).digest()  # torch's CPU generator takes 32 bits
        return torch.Generator().manual_seed(int.from_bytes(digest, "little"))

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 (B, C, H, W) -> float32 (B, C, H, W)."""
        count, _, height, width = images.shape

        def draw(limit: int) -> Tensor:  # (B,), from 0 to limit - 1
            drawn = torch.randint(limit, (count,), generator=generator)
            return drawn.to(self.device, non_blocking=True)  # without waiting for a GPU

        if self.crop:
            padded = F.pad(images, (self.crop,) * 4)  # (B, C, H + 2 crop, W + 2 crop)
            # A view of all windows, (B, C, places, places, H, W); each image draws a place of its
            # own, down and across.
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            each, places = torch.arange(count, device=self.device), 2 * self.crop + 1
            images = windows[each, :, draw(places), draw(places)]  # (B, C, H, W)
        if self.flip is True:
            images = torch.where(draw(2).bool().view(-1, 1, 1, 1), images.flip(3), images)
        images = images.float().sub_(self._shift).mul_(self._scale)
        if self.cutout:  # a square is where its rows and its columns meet
            rows = self._strip(draw(height), height)[:, None, :, None]
            columns = self._strip(draw(width), width)[:, None, None, :]
            images.masked_fill_(rows & columns, 0.0)
        return images

    def _strip(self, center: Tensor, size: int) -> Tensor:
        """Which of `size` pixels the square covers, per center (B,): bool (B, size)."""
        place = torch.arange(size, device=self.device) - (center - self.cutout // 2)[:, None]
        return (place >= 0) & (place < self.cutout)

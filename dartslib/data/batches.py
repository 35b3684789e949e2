"""Batches: images drawn, augmented and normalized on the tensor, a pure function of (seed, step).

The usual loop, `next(iter(loader))` in every step, trains on one fixed batch wherever the loader does not shuffle.
Here a batch is asked for by the number of its step, so a run that is resumed needs no state, and no worker
process, global generator or hidden position can go wrong.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a data set and their labels.

    images: uint8 (N, C, H, W).  labels: int64 (N,).  name: sets the random stream of this part apart from the
    streams of the others, which have the same seed.
    """

    images: Tensor
    labels: Tensor
    name: str = ""

    def __post_init__(self):
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"The images of a part are a uint8 tensor (N, C, H, W), these are {self.images.dtype} "
                f"{tuple(self.images.shape)}: convert them first."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"The labels of {len(self.images)} images are an int64 tensor ({len(self.images)},), these are "
                f"{self.labels.dtype} {tuple(self.labels.shape)}: give one label an image."
            )

    def __len__(self) -> int:
        return len(self.labels)


class Batches:
    """The batches of a part, asked for by step: `.at(step)`.

    part: what the images are taken from.  batch_size: images a batch.
    seed: with the step, the epoch and the part's name it fixes every random choice.
    mean, std: of each channel, for pixels from 0 to 1.
    crop: pixels of black added on each side before a window of the old size is cut out at a random place
        (Krizhevsky's padding of 4); 0 for none.  Black is added to the raw image, before normalization.
    flip: mirror left and right with probability 1/2.
    cutout: side of a square set to zero after normalization (the mean color); its center lies anywhere in the image,
        so it may stick out (DeVries and Taylor 2017); 0 for none.
    shuffle: a new order each epoch.  drop_last: leave out the images that do not fill a batch.
    device: where the images are held and augmented.  Random numbers come from the CPU, so that they are the same
        on every device.

    For an evaluation: crop=0, flip=False, shuffle=False, drop_last=False (`DataSet.evaluation_batches`).
    ValueError: a batch larger than the part (with drop_last), or a number out of its range.
    """

    def __init__(
        self,
        part: Part,
        batch_size: int,
        *,
        seed: int = 0,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        crop: int = 4,
        flip: bool = True,
        cutout: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        device: str | torch.device = "cpu",
    ):
        count, channels, height, width = part.images.shape
        if batch_size < 1:
            raise ValueError(
                f"A batch of {batch_size} images is empty: choose a batch size of 1 or more."
            )
        if count == 0:
            raise ValueError(f"The part {part.name!r} has no images: choose larger parts.")
        if drop_last and batch_size > count:
            raise ValueError(
                f"A batch of {batch_size} images is larger than the {count} images of the part {part.name!r}: "
                "choose a smaller batch or more images."
            )
        if len(mean) != channels or len(std) != channels:
            raise ValueError(
                f"The images have {channels} channels, but mean has {len(mean)} values and std {len(std)}: "
                "give one a channel."
            )
        if not all(value > 0 for value in std):
            raise ValueError(f"A std of {tuple(std)} cannot divide: give values above zero.")
        for word, value in (("crop", crop), ("cutout", cutout)):
            if not 0 <= value <= min(height, width):
                raise ValueError(
                    f"{word}={value} does not fit images of {height}x{width} pixels: choose 0 to {min(height, width)}."
                )
        self.part, self.batch_size, self.seed = part, batch_size, seed
        self.crop, self.flip, self.cutout = crop, flip, cutout
        self.shuffle, self.drop_last, self.device = (
            shuffle,
            drop_last,
            torch.device(device),
        )
        self._images, self._labels = part.images.to(device), part.labels.to(device)
        # (x / 255 - mean) / std in two operations on x
        self._shift = (
            (torch.tensor(mean, dtype=torch.float64) * 255).float().view(1, -1, 1, 1).to(device)
        )
        self._scale = (
            (1 / (torch.tensor(std, dtype=torch.float64) * 255))
            .float()
            .view(1, -1, 1, 1)
            .to(device)
        )
        self._order_of_epoch: tuple[int, Tensor | None] = (-1, None)

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(len(self.part), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, over epoch 0."""
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, over the epoch of that number."""
        return (self.at(number * len(self) + position) for position in range(len(self)))

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: images float32 (B, C, H, W), normalized, and labels int64 (B,).

        Step s lies in epoch s // len(self).  The same step gives the same batch, whatever was asked for before.
        """
        if step < 0:
            raise ValueError(f"There is no step {step}: steps count from 0.")
        chosen = self.indices(step)
        images = self._augment(self._images[chosen], self._generator("augment", step))
        return images, self._labels[chosen]

    def indices(self, step: int) -> Tensor:
        """Which images of the part make up the batch of a step: int64 (B,)."""
        epoch, position = divmod(step, len(self))
        return self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            epoch = 0
        if self._order_of_epoch[0] != epoch:
            count = len(self.part)
            if self.shuffle:
                order = torch.randperm(count, generator=self._generator("order", epoch))
            else:
                order = torch.arange(count)
            self._order_of_epoch = (epoch, order.to(self.device))
        return self._order_of_epoch[1]

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        key = f"{self.seed}/{self.part.name}/{purpose}/{number}".encode()
        digest = hashlib.blake2b(
            key, digest_size=4
        ).digest()  # torch's CPU generator uses 32 bits of a seed
        return torch.Generator().manual_seed(int.from_bytes(digest, "little"))

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape

        def draw(limit: int) -> Tensor:  # (B,), from 0 to limit - 1
            return torch.randint(limit, (count,), generator=generator).to(self.device)

        if self.crop:
            padded = F.pad(images, (self.crop,) * 4)  # (B, C, H + 2 crop, W + 2 crop), still uint8
            windows = padded.unfold(2, height, 1).unfold(
                3, width, 1
            )  # a view: (B, C, places, places, H, W)
            places = 2 * self.crop + 1
            images = windows[torch.arange(count, device=self.device), :, draw(places), draw(places)]
        if self.flip:
            images = torch.where(draw(2).bool().view(-1, 1, 1, 1), images.flip(3), images)
        images = images.float().sub_(self._shift).mul_(self._scale)
        if self.cutout:
            rows = self._strip(draw(height), height)[:, None, :, None]
            columns = self._strip(draw(width), width)[:, None, None, :]
            images.masked_fill_(rows & columns, 0.0)
        return images

    def _strip(self, center: Tensor, size: int) -> Tensor:
        """(B, size) of bool: the pixels at most half a cutout from each center."""
        offset = torch.arange(size, device=self.device) - (center - self.cutout // 2)[:, None]
        return (offset >= 0) & (offset < self.cutout)

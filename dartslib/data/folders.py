"""Pictures: a folder of them as a data set, and single ones for a trained network."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dartslib.data.checking import check_class_names, hash_order
from dartslib.data.sets import DataSet

ROWS = 4096  # images that are in memory at once


def open_picture(path: str | Path, size: int, channels: int = 3) -> np.ndarray:
    """A picture as uint8 (channels, size, size): its shorter side brought to size, its middle cut.

    Raises:
        ValueError: the file is not a picture.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"its mode is {picture.mode}, not 8 bits a channel")
            picture = ImageOps.exif_transpose(picture)  # as a camera was held
            picture = picture.convert("RGB" if channels == 3 else "L")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}.") from None
    ratio = size / min(picture.size)
    width, height = (max(size, round(ratio * side)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def load_folder(folder: Path, size: int = 32) -> DataSet:
    """A data set from train/CLASS/* and test/CLASS/*, or from CLASS/* alone.

    The pictures are read once, into a temporary file that goes with the data set. Batches are
    read from there, so that the images need not fit into memory.

    Args:
        folder: as torchvision's `ImageFolder` takes it, or one that has two of those.
        size: pixels per side of the images.

    Raises:
        ValueError: it has not that form, or a file in it is not a picture.
    """
    parts = [folder / "train", folder / "test"]
    parts = parts if all(part.is_dir() for part in parts) else [folder]
    listed = [_listed(part) for part in parts]
    names = listed[0].classes
    if any(part.classes != names for part in listed):
        raise ValueError(
            f"The folders of classes in {parts[0]} and {parts[-1]} differ: give both the same."
        )
    found = [tensor for part in listed for tensor in _stored(part, size)]
    make = DataSet if len(parts) == 2 else DataSet.without_test
    return make(folder.name, *found, check_class_names(names))


def _listed(folder: Path) -> Any:
    """Pictures and their classes, as torchvision's `ImageFolder` finds them; no hidden folders."""
    from torchvision.datasets import ImageFolder  # seconds

    class Pictures(ImageFolder):
        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            names = [name for name in super().find_classes(directory)[0] if name[0] != "."]
            return names, {name: k for k, name in enumerate(names)}

    for place in sorted(path for path in folder.glob("[!.]*") if path.is_dir()):
        kinds = {path.is_dir() for path in place.glob("[!.]*")}
        if kinds == {True}:
            raise ValueError(
                f"{place} has folders and no pictures: a folder of pictures has train/CLASS and "
                "test/CLASS, by these names, or CLASS alone."
            )
    try:
        return Pictures(str(folder))
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise ValueError(
            f"{folder} is no folder of pictures ({reason}): put the pictures of each class into a "
            "folder CLASS of it, or into train/CLASS and test/CLASS."
        ) from None


def _file(shape: tuple[int, ...]) -> np.ndarray:
    """Bytes on the disk, in a file without a name that is gone when nobody uses the array."""
    size = int(np.prod(shape, dtype=np.int64))
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process later
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise OSError(
            f"{tempfile.gettempdir()} has no room for {size / 2**20:.1f} MiB of pictures "
            f"({error.strerror}): set TMPDIR to a folder that has."
        ) from None


def _stored(source: Any, size: int) -> tuple[Tensor, Tensor]:
    """Images in hash order, uint8 (N, 3, size, size), in a file; and their labels, int64 (N,)."""
    labels = np.array(source.targets)
    shape = len(labels), 3, size, size
    read, ordered = _file(shape), _file(shape)
    with ThreadPoolExecutor() as threads:
        pictures = threads.map(lambda sample: open_picture(sample[0], size), source.samples)
        for row, picture in enumerate(pictures):
            read[row] = picture
    order = hash_order(read, labels)
    for start in range(0, len(order), ROWS):
        ordered[start : start + ROWS] = read[order[start : start + ROWS]]
    return torch.from_numpy(ordered), torch.from_numpy(labels[order].astype(np.int64))

"""Pictures: a folder of them as a data set, and single ones for a trained network."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
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
    names, found = None, []
    for part in parts:
        pictures, labels, classes = _listed(part)
        if names not in (None, classes):
            raise ValueError(
                f"The folders of classes in {parts[0]} and {part} differ: give both the same."
            )
        names = classes
        found += _stored(pictures, labels, size)
    if len(found) == 2:
        return DataSet.without_test(folder.name, *found, check_class_names(names))
    return DataSet(folder.name, *found, check_class_names(names))


def _listed(folder: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Paths, labels and names of the classes, as torchvision finds them."""
    from torchvision.datasets import ImageFolder  # seconds

    try:
        source = ImageFolder(str(folder))
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise ValueError(
            f"{folder} is no folder of pictures ({reason}): put the pictures of each class into a "
            "folder CLASS of it, or into train/CLASS and test/CLASS."
        ) from None
    return [path for path, _ in source.samples], np.array(source.targets), source.classes


def _file(shape: tuple[int, ...]) -> np.ndarray:
    """Bytes on the disk, in a file without a name that is gone when nobody uses the array."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _stored(pictures: list[str], labels: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """Images in hash order, uint8 (N, 3, size, size), in a file; and their labels, int64 (N,)."""
    shape = len(pictures), 3, size, size
    read, ordered = _file(shape), _file(shape)

    def put(row: int) -> None:
        read[row] = open_picture(pictures[row], size)

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(put, range(len(pictures))):
            pass
    order = hash_order(read, labels)
    for start in range(0, len(order), ROWS):
        ordered[start : start + ROWS] = read[order[start : start + ROWS]]
    return torch.from_numpy(ordered), torch.from_numpy(labels[order].astype(np.int64))

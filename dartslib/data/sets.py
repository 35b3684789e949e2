"""Data sets: embedded, downloaded by torchvision, or a file data/NAME.npz; and how they are split into parts.

Images are put in the order of a hash of their bytes before anything is split.  So every source of a data set, in
whatever order it keeps its images, gives the same split.
"""

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dartslib.data.batches import Batches, Part

EMBEDDED = ("shapes10", "shapes100")
DOWNLOADED = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
}  # ours: torchvision's class
KEYS = ("x_train", "y_train", "x_test", "y_test", "class_names")

# Channel means and standard deviations as the literature quotes them (pixels from 0 to 1); others are measured.
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set of small square images, with its own split into training and test images.

    x_train, x_test: uint8 tensors (N, C, H, W).  y_train, y_test: int64 tensors (N,).
    class_names: by label.  Build one with `load` or `DataSet.from_arrays`, which check what they get.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    class_names: tuple[str, ...]

    @classmethod
    def from_arrays(cls, name: str, x_train, y_train, x_test, y_test, class_names) -> "DataSet":
        """A data set from numpy arrays, checked and put in hash order.

        x_train, x_test: uint8 (N, H, W, C), or (N, H, W) for grey images; 8 to 64 pixels, 1 or 3 channels.
        y_train, y_test: whole numbers (N,), from 0.  class_names: a name a class.
        ValueError: one sentence that says what is wrong and what to do.
        """
        class_names = _class_names(class_names)
        train, test = _images("x_train", x_train), _images("x_test", x_test)
        if train.shape[1:] != test.shape[1:]:
            raise ValueError(
                f"x_train has images of {_size(train)} and x_test of {_size(test)}: bring them to the same size."
            )
        parts = []
        for images, labels, which in (
            (train, y_train, "train"),
            (test, y_test, "test"),
        ):
            labels = _labels(f"y_{which}", labels, f"x_{which}", len(images), len(class_names))
            order = hash_order(images, labels)
            parts += [torch.from_numpy(images[order]), torch.from_numpy(labels[order])]
        return cls(name, *parts, class_names)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        return self.x_train.shape[1]

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return self.x_train.shape[2]

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) of each channel, pixels from 0 to 1: quoted for CIFAR, else measured on the training images."""
        if self.name in STATISTICS:
            return STATISTICS[self.name]
        means, stds = [], []
        values = torch.arange(256, dtype=torch.float64) / 255
        for channel in range(self.in_channels):
            # counts of whole numbers, so that every machine finds the same
            counts = torch.bincount(self.x_train[:, channel].flatten(), minlength=256).double()
            mean = float((counts * values).sum() / counts.sum())
            variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
            means.append(mean)
            stds.append(variance**0.5 or 1.0)  # a channel without contrast is left as it is
        return tuple(means), tuple(stds)

    def batches(self, part: Part, batch_size: int, **options) -> Batches:
        """Batches of a part for training, with this data set's mean and std; options as in `Batches`.

        Images are mirrored unless the data set is mnist: a mirrored digit is no digit.
        """
        mean, std = self.statistics()
        defaults = {"mean": mean, "std": std, "flip": self.name != "mnist"}
        return Batches(part, batch_size, **(defaults | options))

    def evaluation_batches(self, part: Part, batch_size: int = 256, **options) -> Batches:
        """Batches for an evaluation: every image once, in order, as it is."""
        plain = {"crop": 0, "flip": False, "shuffle": False, "drop_last": False}
        return self.batches(part, batch_size, **(plain | options))


@dataclass(frozen=True, eq=False)
class Parts:
    """What each step of an experiment may look at.  All but final_train and test are parts of the training images.

    search_train, search_valid: w and alpha of a search.
    compare_train, compare_valid: training and judging the cells that are compared.
    final_train: all training images, for the final network, whose cell is then fixed.
    test: used once.
    """

    search_train: Part
    search_valid: Part
    compare_train: Part
    compare_valid: Part
    final_train: Part
    test: Part


def parts(dataset: DataSet, half: int | None = None, held_out: float = 0.1) -> Parts:
    """Split a data set, whose images lie in hash order, by counting.

    half: images in each half of a search; None for as many as there are.
    held_out: fraction of the training images that takes part in no search and in no training of cells that are
        compared: it is compare_valid, and compare_train is the rest, from which the search's halves are taken.
        With 0 the split is that of the papers: compare_train and compare_valid are the halves of all training images
        (25,000 each for CIFAR), and the search's halves are those, or their first `half` images.
    A smaller half is the beginning of a larger one.
    ValueError: a half or a fraction that does not fit.
    """
    images, labels = dataset.x_train, dataset.y_train
    count = len(labels)
    if not 0 <= held_out < 1:
        raise ValueError(
            f"held_out={held_out} is not a fraction from 0 to below 1: choose one, such as 0.1."
        )
    held = round(held_out * count)
    if held_out > 0 and held == 0:
        raise ValueError(
            f"held_out={held_out} of {count} training images is no image: choose a larger fraction, or 0 for the "
            "split of the papers."
        )
    rest = count - held
    largest = rest // 2
    if half is None:
        half = largest
    if not 1 <= half <= largest:
        raise ValueError(
            f"A search cannot have halves of {half} images: {dataset.name} has {rest} training images that are not "
            f"held out, so choose 1 to {largest}."
        )

    def part(name: str, start: int, stop: int) -> Part:
        return Part(images[start:stop], labels[start:stop], name)

    return Parts(
        search_train=part("search_train", 0, half),
        search_valid=part("search_valid", largest, largest + half),
        compare_train=part("compare_train", 0, rest if held else largest),
        compare_valid=part("compare_valid", rest, count)
        if held
        else part("compare_valid", largest, 2 * largest),
        final_train=part("final_train", 0, count),
        test=Part(dataset.x_test, dataset.y_test, "test"),
    )


def load(name: str, folder: str | Path = "data") -> DataSet:
    """A data set by name, its images in hash order.

    name: shapes10 or shapes100 (drawn by code); NAME of a file folder/NAME.npz with uint8 x_train (N, H, W, C), y_train
        (N,), x_test, y_test, class_names; or cifar10, cifar100, mnist, which torchvision downloads into the folder and
        checks, if there is no such file.
    ValueError: an unknown name or a file that does not hold what it should.
    FileNotFoundError: neither a file nor a network.
    """
    folder = Path(folder)
    if name in EMBEDDED:
        from dartslib.data import shapes

        return DataSet.from_arrays(name, *shapes.draw(name))
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(
            f"{name!r} is not the name of a data set: give a name such as cifar10, without a folder."
        )
    path = folder / f"{name}.npz"
    if path.exists():
        return _read(name, path)
    if name in DOWNLOADED:
        return _download(name, folder)
    raise ValueError(
        f"There is no data set {name!r}: choose {', '.join((*EMBEDDED, *DOWNLOADED))}, or write {path} with "
        f"{', '.join(KEYS)}."
    )


def hash_order(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The order of a hash (BLAKE2b, 128 bits) of each image's bytes, channels first; equal images: of the label."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    digests = [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
    keys = list(zip(digests, labels.tolist(), strict=True))
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _read(name: str, path: Path) -> DataSet:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                raise ValueError(f"it has no {', '.join(missing)}: save all of {', '.join(KEYS)}.")
            arrays = {key: file[key] for key in KEYS}
    except (
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ):  # a single array, nothing, or a broken archive
        raise ValueError(
            f"{path} is not a whole npz archive: write it with numpy.savez, or fetch it again."
        ) from None
    except ValueError as error:
        reason = str(error)
        if "pickle" in reason:
            reason = "it holds Python objects instead of plain arrays: save uint8, integer and string arrays."
        raise ValueError(f"{path} cannot be used: {reason}") from None
    try:
        return DataSet.from_arrays(name, **arrays)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from None


def _download(name: str, folder: Path) -> DataSet:
    instead = f"run with shapes10, which needs neither, or put {name}.npz into the folder {folder}"
    try:
        from torchvision import datasets
    except ImportError:
        raise ModuleNotFoundError(
            f"Downloading {name} needs torchvision: run `pip install torchvision`, or {instead}."
        ) from None
    arrays = []
    try:
        for train in (True, False):
            source = getattr(datasets, DOWNLOADED[name])(str(folder), train=train, download=True)
            arrays += [np.asarray(source.data), np.asarray(source.targets)]
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{name} could not be downloaded ({_first_line(error)}) and there is no {folder / (name + '.npz')}: {instead}."
        ) from None
    return DataSet.from_arrays(name, *arrays, source.classes)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _images(key: str, array) -> np.ndarray:
    """uint8 (N, C, H, W) from (N, H, W, C) or (N, H, W)."""
    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise ValueError(f"{key} is {array.dtype}: give uint8, pixels from 0 to 255.")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or array.shape[1] != array.shape[2]:
        raise ValueError(
            f"{key} has the shape {array.shape}: give square images as (N, H, W, 3), (N, H, W, 1) or (N, H, W)."
        )
    if not 8 <= array.shape[1] <= 64:
        raise ValueError(
            f"{key} has images of {array.shape[1]} pixels a side: bring them to 8 to 64."
        )
    if len(array) == 0:
        raise ValueError(f"{key} is empty: give at least one image.")
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _labels(key: str, array, images_key: str, images: int, classes: int) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{key} is {array.dtype}: give whole numbers, from 0.")
    if array.shape != (images,):
        raise ValueError(
            f"{key} has the shape {array.shape}: give ({images},), one label for each image of {images_key}."
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"{key} has labels from {low} to {high}, but there are {classes} class_names: label the classes from 0 to "
            f"{classes - 1}."
        )
    return array.astype(np.int64)


def _class_names(names) -> tuple[str, ...]:
    names = np.asarray(names)
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) < 2:
        raise ValueError(
            f"class_names is {names.dtype} of the shape {names.shape}: give a list of two or more names, one a class."
        )
    return tuple(str(name) for name in names)


def _size(images: np.ndarray) -> str:
    _, channels, height, width = images.shape
    return f"{height}x{width} pixels and {channels} channel{'s' if channels > 1 else ''}"

"""Data sets: drawn by code, downloaded by torchvision, or from a file data/NAME.npz.

Images are sorted by a hash of their bytes before they are split, so that every source of a data set
gives the same split, whatever its order.
"""

import json
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from hashlib import blake2b
from io import StringIO
from pathlib import Path
from pickle import UnpicklingError
from reprlib import repr  # shortens long values for messages

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from dartslib.data import shapes
from dartslib.data.batches import Batches, Subset
from dartslib.data.checking import check_class_names, check_images, check_labels, hash_order

CHECKOUT = Path(__file__).resolve().parents[2]  # or what an installed dartslib lies in
EMBEDDED = ("shapes10", "shapes100")
# our name -> the name of torchvision's class
DOWNLOADED = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "mnist": "MNIST"}
KEYS = ("x_train", "y_train", "x_test", "y_test", "class_names")
# What torchvision raises where files are missing, not whole, or cannot be had.
UNREADABLE = (OSError, EOFError, RuntimeError, UnpicklingError)
UNREADABLE += (ValueError, TypeError, LookupError, AssertionError)
DAMAGED = (zipfile.BadZipFile, zlib.error)

# Mean and standard deviation per channel, as usually quoted; for other sets they are measured.
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set of small square images. `load` and `DataSet.from_arrays` make one.

    Attributes:
        name: as in `load`.
        x_train, x_test: uint8 (N, C, H, W), in hash order.
        y_train, y_test: int64 (N,).
        class_names: by label.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    class_names: tuple[str, ...]

    @classmethod
    def from_arrays(
        cls,
        name: str,
        x_train: np.ndarray,
        y_train: np.ndarray,
        x_test: np.ndarray | None,
        y_test: np.ndarray | None,
        class_names: Sequence[str],
    ) -> "DataSet":
        """A data set from numpy arrays, checked and put in hash order.

        Args:
            name: its name.
            x_train, x_test: uint8 (N, H, W, C), or (N, H, W) for gray images; square, 8 to 64
                pixels, 1 or 3 channels.
            y_train, y_test: integers (N,), from 0. Without x_test and y_test the last fifth in hash
                order is kept to test on.
            class_names: one per class.

        Raises:
            ValueError: anything else.
        """
        names = check_class_names(class_names)
        given = {"train": (x_train, y_train)}
        if x_test is not None:
            given["test"] = x_test, y_test
        tensors = []
        for which, (images, labels) in given.items():
            images = check_images(f"x_{which}", images)
            labels = check_labels(f"y_{which}", labels, len(images), len(names))
            order = hash_order(images, labels)
            tensors += [torch.from_numpy(images[order]), torch.from_numpy(labels[order])]
        sizes = [images.shape[1:] for images in tensors[::2]]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"x_train has images of {tuple(sizes[0])}, x_test of {tuple(sizes[1])} (channels, "
                "height, width): make them alike."
            )
        return (cls if len(tensors) == 4 else cls.without_test)(name, *tensors, names)

    @classmethod
    def without_test(
        cls, name: str, images: Tensor, labels: Tensor, class_names: tuple[str, ...]
    ) -> "DataSet":
        """A data set of which nobody said what is to be tested on: the last fifth in hash order."""
        rest = len(labels) - len(labels) // 5
        return cls(name, images[:rest], labels[:rest], images[rest:], labels[rest:], class_names)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        """1 for gray images, 3 for color."""
        return self.x_train.shape[1]

    @property
    def image_size(self) -> int:
        """Pixels per side."""
        return self.x_train.shape[2]

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel, for pixels from 0 to 1.

        The usual numbers for CIFAR, otherwise measured on the training images.
        """
        if self.name in STATISTICS and self.in_channels == 3:
            return STATISTICS[self.name]
        means, stds = [], []
        values = torch.arange(256)
        for channel in self.x_train.unbind(1):
            # In pieces, since the images may be in a file that is larger than the memory.
            pieces = (piece.flatten() for piece in channel.split(4096))
            counts = sum(torch.bincount(piece, minlength=256) for piece in pieces)
            # Integers as long as possible, so that every machine gets the same result.
            n, sum_1, sum_2 = (int((counts * values**power).sum()) for power in (0, 1, 2))
            means.append(sum_1 / n / 255)
            # A channel without contrast is divided by 1.
            stds.append((n * sum_2 - sum_1**2) ** 0.5 / n / 255 or 1.0)
        return tuple(means), tuple(stds)

    def digest(self) -> str:
        """A hash of all that a run is given: images, labels, class names and statistics."""
        found = blake2b(digest_size=16)
        for tensor in (self.x_train, self.y_train, self.x_test, self.y_test):
            found.update(json.dumps((*tensor.shape, str(tensor.dtype))).encode())
            found.update(np.ascontiguousarray(tensor.numpy()))
        found.update(json.dumps((self.class_names, self.statistics())).encode())
        return found.hexdigest()

    def batches(
        self, subset: Subset, batch_size: int, *, flip: bool | str | None = None, **options
    ) -> Batches:
        """`Batches` for training, normalized by `statistics`.

        Images are mirrored if `flip`; None is yes, except for the digits of mnist. `options` are
        those of `Batches`.
        """
        mean, std = self.statistics()
        flip = self.name != "mnist" if flip is None else flip
        usual = {"mean": mean, "std": std, "flip": flip}
        return Batches(subset, batch_size, **(usual | options))

    def evaluation_batches(self, subset: Subset, batch_size: int = 256, **options) -> Batches:
        """`Batches` for an evaluation: every image once, in order, not augmented."""
        plain = {"crop": 0, "flip": False, "shuffle": False, "drop_last": False}
        return self.batches(subset, batch_size, **(plain | options))


def is_own(name: str) -> bool:
    """Whether a data set of that name is the user's: neither drawn by code nor downloaded."""
    return name not in (*EMBEDDED, *DOWNLOADED)


class Itself(type(Path())):
    """The path of a data set, where another path is that of the folder that data sets are in."""


def load(name: str, folder: str | Path = "data", image_size: int = 32) -> DataSet:
    """A data set by name, its images in hash order.

    Args:
        name: shapes10 or shapes100, which are always drawn; NAME of a file folder/NAME.npz with
            x_train, y_train, x_test, y_test, class_names as in `DataSet.from_arrays`; of a folder
            of pictures folder/NAME, as `folders.load_folder` takes it; or, without these, cifar10,
            cifar100 or mnist, which torchvision downloads and checks.
        folder: where such files are, and where downloads go; one that is not here is looked for in
            the checkout, so that a notebook finds its data/. Or what `locate` found.
        image_size: pixels per side that pictures of a folder are brought to.

    Raises:
        ValueError: an unknown name, or a file with the wrong content.
        FileNotFoundError: there is no file and the download failed.
        NotADirectoryError: the folder is a file.
    """
    path = find(name, folder)
    if path is None and name in EMBEDDED:
        return DataSet.from_arrays(name, *shapes.draw(name))
    if path is None:
        return _download(name, find_folder(folder) / f"{name}.npz")
    if path.is_dir() and path.suffix != ".npz":
        from dartslib.data.folders import load_folder  # which makes a data set, too

        return load_folder(path, image_size)
    return _read(name, path)


def find(name: str, folder: str | Path = "data") -> Path | None:
    """The file or folder that `load` reads; None for what is drawn by code or downloaded.

    Raises:
        ValueError, NotADirectoryError: as of `load`.
    """
    if isinstance(folder, Itself):
        if name in (folder.name, folder.stem):
            return folder
        folder = Path(folder.parent)  # of another data set
    if name in EMBEDDED:
        return None
    if re.search(r"[/\\]", name):
        raise ValueError(
            f"There is no file and no folder {repr(name)}: give the path of NAME.npz or of a "
            "folder of pictures, or the name of a data set, such as cifar10."
        )
    if not re.fullmatch(r"\w[\w. -]{0,99}", name):
        raise ValueError(f"{repr(name)} is no name of a data set: give one such as cifar10.")
    path = find_folder(folder) / f"{name}.npz"
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(
            f"{folder} is a file: give the folder that data sets are in, or are downloaded to."
        )
    if path.exists():
        return path
    if name in DOWNLOADED:
        return None
    if path.with_name(name).is_dir():
        return path.with_name(name)
    path = Path(folder) / f"{name.removesuffix('.npz')}.npz"
    raise ValueError(
        f"There is no data set {name!r}: choose {', '.join((*EMBEDDED, *DOWNLOADED))}, or write "
        f"{path} with {', '.join(KEYS)}, or put pictures into folders "
        f"{path.with_suffix('') / 'CLASS'}."
    )


def locate(data: str | Path, folder: str | Path = "data") -> tuple[str, str | Path]:
    """Name of a data set that may be given as a path, and the `folder` for `load`.

    Args:
        data: a name, or the path of a file NAME.npz or of a folder of pictures.
        folder: where a data set is that was given as a name.

    Raises:
        ValueError: the path ends in the name of a known data set, which it is not.
    """
    path, here = Path(data), find_folder(folder)
    kept = [here / f"{data}.npz", here / data]
    file = os.path.isfile(path) and path.suffix == ".npz"  # Path.is_file raises if a name is long
    plain = re.fullmatch(r"\w[\w. -]*", str(data))
    named = plain and (not is_own(str(data)) or any(map(os.path.exists, kept)))
    if not file and (named or not str(data) or not os.path.isdir(path)):
        return str(data), folder
    path = path.resolve()
    name = path.stem if file else path.name
    if name in EMBEDDED or name in DOWNLOADED and not file:
        raise ValueError(
            f"{repr(str(data))} has the name of another data set, {name}, which its record would "
            "say: give it a name of its own."
        )
    return name, Itself(path)


def find_folder(folder: str | Path) -> Path:
    """A folder of data sets; where it is not here but in the checkout, that one."""
    if isinstance(folder, Itself):
        return folder
    there = CHECKOUT / folder
    in_checkout = (CHECKOUT / "pyproject.toml").is_file() and there.is_dir()
    return there if in_checkout and not Path(folder).exists() else Path(folder)


def _read(name: str, path: Path) -> DataSet:
    broken = f"{path} is not a whole npz archive: write it with numpy.savez, or fetch it again."
    if not zipfile.is_zipfile(path):
        raise ValueError(broken)
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in (key for key in KEYS if key in file.files):
                arrays[key] = file[key]
    except (ValueError, EOFError, OSError, RuntimeError, MemoryError, *DAMAGED) as error:
        if "pickle" in str(error):
            broken = (
                f"{path} holds Python objects as {key}, which are not read, since reading them can "
                "run code: save plain arrays of numbers and strings."
            )
        raise ValueError(broken) from None
    if missing := [key for key in KEYS if key not in arrays]:
        raise ValueError(f"{path} has no {', '.join(missing)}: save all of {', '.join(KEYS)}.")
    try:
        return DataSet.from_arrays(name, **arrays)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used, since {error}") from None


def _download(name: str, path: Path) -> DataSet:
    instead = f"run with shapes10, which needs no download, or put {path.name} into {path.parent}"
    from torchvision import datasets  # seconds

    source = getattr(datasets, DOWNLOADED[name])
    with suppress(*UNREADABLE):  # what is there already needs no lock, nor a folder to write to
        return _both(name, source, str(path.parent), download=False)
    root, raw = str(path.parent), path.parent / DOWNLOADED[name] / "raw"  # raw: of mnist
    made = [folder for folder in (raw, raw.parent, path.parent) if not folder.exists()]
    lock = FileLock(path.parent / f".{name}.lock")  # two runs that start together download once
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(StringIO()), lock:  # torchvision prints there
            return _both(name, source, root, download=True)
    # No network, a broken download, or the remains of an earlier one.
    except UNREADABLE as error:
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):  # missing or not empty
                folder.rmdir()
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".: ")
        raise FileNotFoundError(
            f"{name} could not be downloaded ({reason}) and there is no {path}: {instead}."
        ) from None


def _both(name: str, source: type, root: str, download: bool) -> DataSet:
    """Both halves of one of torchvision's data sets."""
    halves = [source(root, train=train, download=download) for train in (True, False)]
    arrays = [np.asarray(array) for half in halves for array in (half.data, half.targets)]
    return DataSet.from_arrays(name, *arrays, halves[0].classes)

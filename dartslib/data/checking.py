"""Checks of arrays of images, labels and names that come from a user. All raise ValueError."""

import hashlib

import numpy as np


def check_images(key: str, array: np.ndarray) -> np.ndarray:
    """Images as uint8 (N, C, H, W), of those that `DataSet.from_arrays` takes, named `key`."""
    array = np.asarray(array)
    if array.dtype != np.uint8:
        raise ValueError(f"{key} is {array.dtype}: give uint8, pixels from 0 to 255.")
    channels_last = array[..., None] if array.ndim == 3 else array
    shape = channels_last.shape
    if len(shape) != 4 or shape[3] not in (1, 3) or shape[1] != shape[2]:
        raise ValueError(
            f"{key} has the shape {array.shape}: give square images as (N, H, W, 3), "
            "(N, H, W, 1) or (N, H, W)."
        )
    if not 8 <= shape[1] <= 64:
        raise ValueError(f"{key} has images of {shape[1]} pixels per side: bring them to 8 to 64.")
    if shape[0] == 0:
        raise ValueError(f"{key} is empty: give at least one image.")
    return np.ascontiguousarray(channels_last.transpose(0, 3, 1, 2))


def check_labels(key: str, array: np.ndarray, images: int, classes: int) -> np.ndarray:
    """Labels as int64 (N,), from integers (N,) below the number of classes."""
    array = np.asarray(array)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{key} is {array.dtype}: give whole numbers, from 0.")
    if array.shape != (images,):
        raise ValueError(
            f"{key} has the shape {array.shape}: give ({images},), one label for each image."
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"{key} has labels from {low} to {high} for {classes} class_names: number the classes "
            f"from 0 to {classes - 1}."
        )
    return array.astype(np.int64)


def check_class_names(names: np.ndarray) -> tuple[str, ...]:
    """Names of the classes, by label: a list of two or more strings."""
    array = np.asarray(names)
    if array.dtype.kind != "U" or array.ndim != 1 or len(array) < 2:
        raise ValueError(
            f"class_names is {array.dtype} of the shape {array.shape}: give a list of two or more "
            "names, one for each class."
        )
    return tuple(str(name) for name in array)


def digests(images: np.ndarray) -> list[bytes]:
    """A hash of the bytes of each image, (N, …)."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    return [hashlib.blake2b(row, digest_size=16).digest() for row in rows]


def hash_order(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices, int64 (N,), that sort images by a hash of their bytes, equal images by label."""
    keys = list(zip(digests(images), labels.tolist(), strict=True))
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)

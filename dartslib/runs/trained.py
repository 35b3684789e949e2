"""From the folder of a training to answers: the network with all that it needs to read a picture.

A training leaves weights.safetensors, which other programs can read and which cannot run code.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dartslib.data import DataSet
from dartslib.data.checking import check_images
from dartslib.data.folders import open_picture
from dartslib.data.loaders import Loaders
from dartslib.genotypes import Genotype
from dartslib.runs import records
from dartslib.runs.files import write_whole
from dartslib.runs.importing import IMPORTED
from dartslib.training import TrainConfig, Training

WEIGHTS = "weights.safetensors"
AT_ONCE = 256  # images


class Answer(NamedTuple):
    """What a network says of some images.

    Attributes:
        class_names: of the columns.
        probabilities: float32 (images, classes).
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def best(self) -> list[str]:
        """The name of the most probable class of each image."""
        return [self.class_names[k] for k in self.probabilities.argmax(axis=1)]


class Trained(nn.Module):
    """A trained network in evaluation mode, in its plain form, from pixels to probabilities.

    Args:
        network: a `FinalNetwork`.
        images: what `about_images` says of its data.
    """

    def __init__(self, network: nn.Module, images: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.class_names = network, tuple(images["class_names"])
        self.image_size, self.in_channels = images["image_size"], images["in_channels"]
        for name, usual in (("mean", 0.0), ("std", 1.0)):  # DataLoaders normalize by themselves
            values = torch.tensor(images[name] or [usual] * self.in_channels)
            self.register_buffer(name, values.view(1, -1, 1, 1))
        self.pixels = 255.0 if images["mean"] else 1.0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (N, classes) of images (N, C, side, side), uint8 or float, from 0 to 255.

        A network that was trained on DataLoaders takes what those gave.
        """
        x = (images.to(self.mean.dtype) / self.pixels - self.mean) / self.std
        return self.network(x).softmax(dim=1)

    def predict(self, images: Any) -> Answer:
        """What `dartslib.predict` returns."""
        given = self._read(images)
        with torch.no_grad():
            found = torch.cat([self(piece) for piece in given.split(AT_ONCE)])
        return Answer(self.class_names, found.numpy())

    def _read(self, images: Any) -> Tensor:
        """Images as they come: paths of pictures, arrays, or a tensor as it is."""
        size, channels = self.image_size, self.in_channels
        if isinstance(images, str | Path):
            images = [images]
        if isinstance(images, list | tuple) and all(isinstance(x, str | Path) for x in images):
            arrays = [open_picture(path, size, channels) for path in images]
            read = torch.from_numpy(np.stack(arrays)) if arrays else torch.empty(0)
        elif isinstance(images, Tensor):
            read = images
        else:
            read = torch.from_numpy(check_images("images", np.asarray(images)))
        if not len(read) or read.shape[1:] != (channels, size, size):
            raise ValueError(
                f"The images are {tuple(read.shape)}, channels first, and this network was trained "
                f"on {channels} x {size} x {size}: give paths of pictures, which are brought to "
                "that, or bring the arrays to it."
            )
        return read

    def export(self, path: str | Path) -> None:
        """Writes what `dartslib.export` promises."""
        example = torch.zeros(2, self.in_channels, self.image_size, self.image_size)
        batch = {0: torch.export.Dim("batch", min=1)}
        program = torch.export.export(self, (example,), dynamic_shapes=(batch,))
        torch.export.save(program, path)


def about_images(dataset: DataSet | Loaders) -> dict[str, Any]:
    """What a network must know of the images that it was trained on, for its record."""
    mean, std = dataset.statistics() if isinstance(dataset, DataSet) else (None, None)
    names = "class_names", "in_channels", "image_size"
    found = {name: getattr(dataset, name) for name in names} | {"mean": mean, "std": std}
    return {name: list(x) if isinstance(x, tuple) else x for name, x in found.items()}


def keep_weights(folder: Path, network: nn.Module) -> None:
    """Writes the weights of a network, whole or not at all."""
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    write_whole(folder / WEIGHTS, save(state))


def of_training(training: Training, dataset: DataSet | Loaders) -> Trained:
    """The network of a training as it is now; its own goes on as before."""
    state = training.network.state_dict()
    return _build(training.config, training.genotype, state, about_images(dataset))


def load_trained(folder: str | Path) -> Trained:
    """The network of a finished training, from the training's folder.

    Raises:
        ValueError, FileNotFoundError: there is no such record, it has no weights, or they are
            damaged.
    """
    if (Path(folder) / "checkpoint.pt").exists() and not (Path(folder) / "meta.json").exists():
        raise ValueError(f"The run in {folder} is not finished: go on with --resume.")
    record = records.load(folder)
    meta = record.meta
    if meta.get("kind") != "train":
        raise ValueError(f"{folder} has no trained network: give the folder of a training.")
    for name in meta.get("imports", {}):
        if name not in IMPORTED:
            raise ValueError(f"This network needs {name}: import it first (--import {name}).")
    path = Path(folder) / WEIGHTS
    if not path.is_file() or "images" not in meta:
        raise FileNotFoundError(
            f"{folder} has no {WEIGHTS}: a record that is kept has none, since weights are large; "
            "they are in the folder that the run itself was made in, or this makes it again: "
            f"{meta.get('command') or 'the same call'}."
        )
    try:
        state = load_file(path)
        return _build(TrainConfig(**meta["config"]), record.genotype, state, meta["images"])
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is damaged or of another network: train again.") from error


def _build(
    config: TrainConfig, genotype: Genotype, state: dict[str, Tensor], images: dict[str, Any]
) -> Trained:
    sizes = {name: images[name] for name in ("in_channels", "image_size")}
    network = config.network(genotype, num_classes=len(images["class_names"]), **sizes)
    network.load_state_dict(state)
    return Trained(network, images)

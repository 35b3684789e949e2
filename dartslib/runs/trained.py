"""From the folder of a training to answers: the network, with all that it needs to read a picture.

A training leaves weights.safetensors, which other programs can read and which cannot run code.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dartslib.data import DataSet
from dartslib.data.checking import check_images
from dartslib.data.folders import open_picture
from dartslib.data.loaders import Loader
from dartslib.runs import records
from dartslib.runs.dense import DenseConfig
from dartslib.runs.driving import CHECKPOINT
from dartslib.runs.files import write_whole
from dartslib.runs.hour import HourConfig
from dartslib.runs.importing import IMPORTED
from dartslib.training import TrainConfig

WEIGHTS = "weights.safetensors"
AT_ONCE = 256  # images


class Trained(nn.Module):
    """A trained network in evaluation mode, in its plain form, from pixels to probabilities.

    Args:
        network: a `FinalNetwork`.
        images: what `about_images` says of its data.
    """

    def __init__(self, network: nn.Module, images: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.class_names = network, tuple(images["class_names"])
        self.shape = images["in_channels"], images["image_size"], images["image_size"]
        # DataLoaders normalize by themselves.
        mean, std = (torch.tensor(images[name] or [x]) for name, x in (("mean", 0), ("std", 1)))
        self.register_buffer("mean", mean.view(1, -1, 1, 1).float())
        self.register_buffer("std", std.view(1, -1, 1, 1).float())
        self.white = 255.0 if images["mean"] else 1.0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (N, classes) of images (N, C, side, side), uint8 or float, from 0 to 255.

        A network that was trained on DataLoaders takes what those gave.
        """
        return self.network((images / self.white - self.mean) / self.std).softmax(dim=1)

    @torch.no_grad()
    def predict(self, images: Any) -> tuple[tuple[str, ...], np.ndarray]:
        """What `dartslib.predict` returns."""
        channels, size, _ = self.shape
        floats = isinstance(images, Tensor) and images.is_floating_point()
        if self.white == 1 and not floats:
            raise ValueError(
                "This network was trained on DataLoaders, which made the images that it knows: "
                "give a float tensor (N, C, side, side) as they do."
            )
        if self.white != 1 and floats and images.numel() and images.max() <= 1:
            raise ValueError("The images lie between 0 and 1: give pixels from 0 to 255, uint8.")
        if isinstance(images, str | Path):
            images = [images]
        if isinstance(images, list | tuple) and images and isinstance(images[0], str | Path):
            images = torch.from_numpy(np.stack([open_picture(x, size, channels) for x in images]))
        elif not isinstance(images, Tensor):
            images = np.asarray(images)
            one = images.shape == (size, size, channels)  # an image, not a list of gray ones
            images = torch.from_numpy(check_images("images", images[None] if one else images))
        if images.shape[1:] != self.shape:
            raise ValueError(
                f"The images are {tuple(images.shape[1:])}, channels first, and this network was "
                f"trained on {self.shape}: give paths of pictures, which are brought to that, or "
                "bring the arrays to it."
            )
        found = [self(piece) for piece in images.split(AT_ONCE)]
        return self.class_names, torch.cat(found).numpy()


def about_images(dataset: DataSet | Loader) -> dict[str, Any]:
    """What a network must know of the images that it was trained on, for its record."""
    mean, std = map(list, dataset.statistics()) if isinstance(dataset, DataSet) else (None, None)
    sizes = {name: getattr(dataset, name) for name in ("in_channels", "image_size")}
    return {"class_names": list(dataset.class_names), "mean": mean, "std": std} | sizes


def keep_weights(folder: Path, network: nn.Module) -> None:
    """Writes the weights of a network into the folder of its training."""
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    write_whole(folder / WEIGHTS, save(state))


def load_trained(folder: str | Path) -> Trained:
    """The network of a finished training, from the training's folder.

    Raises:
        ValueError, FileNotFoundError: it is not finished, there is no such record, it has no
            weights, or they are damaged.
    """
    path = Path(folder) / WEIGHTS
    if path.with_name(CHECKPOINT).exists() and not path.with_name("meta.json").exists():
        raise ValueError(f"The run in {folder} is not finished: go on with --resume.")
    record = records.load(folder)
    meta = record.meta
    if meta.get("kind") != "train":
        raise ValueError(f"{folder} has no trained network: give the folder of a training.")
    if missing := dict(meta.get("imports", {}).items() - IMPORTED.items()):
        names = " ".join(f"--import {name}" for name in sorted(missing))
        raise ValueError(
            "This network is made of operations that are not here, or that have changed since: "
            f"give {names}, as it was."
        )
    if not path.is_file() or "images" not in meta:
        raise FileNotFoundError(
            f"{folder} has no {WEIGHTS}: a kept record is without, since weights are large; they "
            "are in the folder that the run was made in, or this makes it again: "
            f"{meta.get('command') or 'dartslib.train, with the settings in its meta.json'}."
        )
    try:
        config = config_of(meta)
        return build(config, record.genotype, load_file(path), meta["images"])
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is damaged or of another network: train again.") from error


def config_of(meta: dict[str, Any]) -> TrainConfig:
    """The settings of a training, from its record."""
    own = meta["config"].keys() - TrainConfig.model_fields.keys()
    kind = DenseConfig if "widths" in own else HourConfig if own else TrainConfig
    return kind(**meta["config"])


def build(config: TrainConfig, genotype: Any, state: dict[str, Tensor], images: Any) -> Trained:
    """The network of a training with a copy of its weights; `images` as of `Trained`."""
    sizes = {name: images[name] for name in ("in_channels", "image_size")}
    network = config.network(genotype, num_classes=len(images["class_names"]), **sizes)
    network.load_state_dict(state)
    return Trained(network, images)

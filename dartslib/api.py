"""The front door: a search, a training and a prediction on any form of data.

    search = dartslib.search((images, labels))
    search.run("runs/found")
    training = dartslib.train((images, labels), search.derive())
    training.run("runs/trained")
    names, probabilities = dartslib.predict("runs/trained", new_images)

`data` is one of

- a name: "shapes10", "cifar10", or that of a file data/NAME.npz or of a folder data/NAME;
- the path of such a file or of a folder of pictures, train/CLASS/* and test/CLASS/*, or CLASS/*;
- arrays, (images, labels) or (images, labels, test images, test labels), as
  `DataSet.from_arrays` takes them; of two a fifth is kept to test on;
- a `DataSet`;
- two DataLoaders and num_classes: (for w, for alpha) in a search, (to train on, to judge on or
  None) in a training. Their batches are taken as they come.

Sizes come from the data. A setting that a call cannot use is refused.
"""

import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from dartslib import searching, training
from dartslib.data import DataSet, load, locate, split
from dartslib.data.loaders import Loader
from dartslib.genotypes import Genotype
from dartslib.runs import driving, hour, running, trained
from dartslib.runs.profiles import profile as profile_of
from dartslib.runs.records import Record
from dartslib.searching import SearchConfig
from dartslib.training import TrainConfig

Data = Any  # one of the forms above
OF_A_DATA_SET = ("half", "held_out", "batch_size", "flip", "crop", "cutout", "part")


class _Run:
    """What a search and a training of the door have in common: they know their data."""

    def _knows(self, data: DataSet | list[Loader], **kept: Any) -> None:
        """Keeps the data, and what `running.finish` is to be told."""
        self.dataset, self.kept = data[0] if isinstance(data, list) else data, kept

    def run(
        self, folder: str | Path | None = None, resume: bool = False, progress: bool = True
    ) -> Record:
        """Runs to the end and saves all, as the command line does.

        Args:
            folder: receives checkpoint, history, genotype and meta, and of a training the weights
                for `predict`; by default one in runs/.
            resume: go on from the folder's checkpoint, if there is one.
            progress: say how long it will take, and show a bar.

        Returns:
            The record of the finished run.

        Raises:
            FileExistsError: the folder holds a run, and resume is off.
            ValueError: this run is over, or the checkpoint is of another run.
            FloatingPointError: a loss is not finite.
            OSError: the folder cannot be written to, or another process uses it.
        """
        if folder is None:
            kind, cell = getattr(self.config, "part", "search"), self.kept.get("genotype_name", "")
            folder = running.usual_folder(kind, self.kept["profile"], self.config, cell)
        folder, options = Path(folder), self.kept | {"resume": resume, "progress": progress}
        there = (folder / driving.CHECKPOINT).exists() and resume
        if self.step == self.steps and not there:
            raise ValueError("This run is over: make another one, and call its run() at once.")
        if there and isinstance(self.dataset, Loader):
            self.dataset.say_anew()
        if progress:
            _say(f"{self.steps} steps; measuring how long two of them take …")
            _say(_forecast(self, folder, resume))
        return running.finish(self, self.dataset, folder=folder, **options)


class Search(_Run, searching.Search):
    """A search that knows its data; iterate it, or `run` it."""

    def derive(self) -> Genotype:
        """The cell of the present probabilities."""
        return self.architecture.derive()


class Training(_Run, training.Training):
    """A training that knows its data; iterate it, or `run` it."""

    def evaluate(self, batches: Data) -> tuple[float, float]:
        """Mean loss and accuracy now, on numbered batches, a DataLoader, or (images, labels)."""
        known, device = self.dataset, self.kept["device"]
        if hasattr(batches, "at"):
            return super().evaluate(batches)
        if isinstance(batches, DataSet):
            raise ValueError("Which images of the data set? Give (x_test, y_test), for instance.")
        if isinstance(batches, tuple | list) and isinstance(known, Loader):
            raise ValueError("This network was trained on DataLoaders: give one to evaluate it on.")
        if isinstance(batches, tuple | list):
            given = DataSet.from_arrays(known.name, *batches, *batches, known.class_names)
            batches = known.evaluation_batches(split(given, held_out=0).test, device=device)
        else:
            given = batches = Loader(batches, known.class_names, device)
        if running.sizes_of(given) != running.sizes_of(known):
            raise ValueError(
                f"These images are {running.sizes_of(given)}, and the network was trained on "
                f"{running.sizes_of(known)}: make them alike."
            )
        return super().evaluate(batches)


class HourTraining(Training, hour.HourTraining):
    """The same of an `HourConfig`."""


def search(
    data: Data,
    *,
    profile: str = "smoke",
    config: SearchConfig | None = None,
    device: str | None = None,
    fast: bool = True,
    num_classes: int | None = None,
    data_folder: str | Path = "data",
    **settings: Any,
) -> Search:
    """A search before its first step.

    Args:
        data: one of the forms at the head of this file.
        profile: the settings to begin with: smoke, lesson, report or darts.
        config: all settings, in the place of profile and settings.
        device: cpu or cuda; found by itself if None.
        fast: the fast form, where possible.
        num_classes: of DataLoaders alone.
        data_folder: where data sets lie that are named.
        settings: those of `SearchConfig` that differ from the profile's, such as
            relaxation="gdas".

    Raises:
        ValueError: what is wrong, in a sentence.
        FileNotFoundError: the data set is not there and could not be downloaded.
    """
    base, device = profile_of(profile).search, running.find_device(device)
    where = {"folder": data_folder, "device": device}
    where |= {"profile": profile, "classes": num_classes}
    config, known, kept = _settle(data, base, config, settings, **where)
    found, unseen = running.begin_search(config, known, device, fast=fast, kind=Search)
    found._knows(known, judged=unseen, device=device, **kept)
    return found


def train(
    data: Data,
    genotype: Genotype | str | Path,
    *,
    profile: str = "smoke",
    config: TrainConfig | None = None,
    device: str | None = None,
    fast: bool = True,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    data_folder: str | Path = "data",
    **settings: Any,
) -> Training:
    """A training of a final network before its first step.

    Args:
        data: one of the forms at the head of this file.
        genotype: the cell, or its name as `python -m dartslib train --genotype` takes it.
        class_names: of arrays and DataLoaders, by label; for `predict`.
        profile, config, device, fast, num_classes, data_folder: as of `search`.
        settings: those of `TrainConfig` that differ from the profile's. part="compare" trains the
            profile's smaller network, and judges it on held-out images.

    Raises:
        ValueError: what is wrong, in a sentence.
        FileNotFoundError: the data set is not there and could not be downloaded.
    """
    device, name = running.find_device(device), ""
    if isinstance(genotype, str | Path):
        name = running.cell_name(str(genotype))
        genotype = running.find_genotype(str(genotype))
    if not isinstance(genotype, Genotype):
        raise ValueError(f"genotype is a dartslib.Genotype or its name, not {genotype!r:.40}.")
    part = "compare" if settings.get("part") == "compare" else "final"
    base, where = getattr(profile_of(profile), part), {"folder": data_folder, "device": device}
    where |= {"profile": profile, "classes": num_classes, "names": class_names}
    config, known, kept = _settle(data, base, config, settings, **where)
    begin = {"fast": fast, "kinds": (Training, HourTraining)}
    found, judged = running.begin_training(config, genotype, known, device, **begin)
    found._knows(known, genotype_name=name, judged=judged, device=device, **kept)
    return found


def predict(run: str | Path | Training, images: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """What a trained network says of images.

    Args:
        run: the folder of a finished training, or a training.
        images: the path of a picture or several, which are brought to the network's size; a numpy
            array, uint8 (N, side, side, 3), or (N, side, side) if gray; or a tensor
            (N, C, side, side) of pixels from 0 to 255. A network that was trained on DataLoaders
            takes a float tensor as those gave it.

    Returns:
        The names of the classes and their probabilities, float32 (images, classes).

    Raises:
        ValueError: images or run of another form, or weights that are damaged.
        FileNotFoundError: no such run, or a record without weights.
    """
    return _trained(run).predict(images)


def export(run: str | Path | Training, path: str | Path) -> None:
    """Writes a trained network as a file .pt2, a program that torch runs without dartslib.

    `torch.export.load(path).module()` takes pixels, float32 (N, C, side, side) from 0 to 255, of
    any number of images, and gives probabilities (N, classes). Raises as `predict` does.
    """
    import torch

    network = _trained(run)
    example, batch = torch.zeros(2, *network.shape), {0: torch.export.Dim("batch")}
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=(batch,)), path)


def _trained(run: str | Path | Training) -> trained.Trained:
    if isinstance(run, Training):
        images, state = trained.about_images(run.dataset), run.evaluated.state_dict()
        return trained.build(run.config, run.genotype, state, images)
    if not isinstance(run, str | Path):
        raise ValueError(
            "Give the folder of a finished training, or a training: no other predicts."
        )
    return trained.load_trained(run)


def _settle(
    data: Data,
    base: Any,
    config: Any,
    settings: dict[str, Any],
    *,
    profile: str,
    classes: int | None,
    names: Sequence[str] | None = None,
    folder: str | Path,
    device: str,
) -> tuple[Any, DataSet | list[Loader | None], dict[str, Any]]:
    """The settings, which fit the form of the data; the data set, or both DataLoaders; and what
    the record says of where the settings come from.
    """
    named, whole = isinstance(data, str | Path), isinstance(data, DataSet)
    if not named and not whole and not (isinstance(data, tuple | list) and len(data) in (2, 4)):
        raise ValueError(
            "data is a name, the path of a folder of pictures, a DataSet, (images, labels), "
            "(images, labels, test images, test labels), or two DataLoaders with num_classes."
        )
    arrays = not named and not whole and isinstance(data[0], np.ndarray | Tensor | list)
    loaders = not (named or whole or arrays)
    unused = ["dataset", *["image_size"] * (not named), *OF_A_DATA_SET * loaders]
    unused = [name for name in unused if name in settings]
    unused += ["num_classes"] * (classes is not None and not loaders)
    unused += ["class_names"] * (names is not None and (named or whole))
    if config is not None:
        unused += [*settings, *["profile"] * (profile != "smoke")]
        if not isinstance(config, type(base)):
            raise ValueError(f"config is to be a {type(base).__name__}, not {config!r:.40}.")
    if unused:
        raise ValueError(
            f"{' and '.join(dict.fromkeys(unused))} would change nothing here, since "
            f"{'config has all settings' if config else 'the data say it'}: leave it out."
        )
    kept = {"profile": "custom" if config else profile}
    config = config or base.changed(**settings)
    kept["overridden"] = config.model_dump(mode="json", include={*settings})
    if arrays and names is None:
        labels = [np.asarray(part) for part in data[1::2] if part is not None]
        known = [part.max() for part in labels if part.dtype.kind in "iu" and part.size]
        classes = int(max(known, default=1)) + 1
    if names is not None and loaders and classes not in (None, len(names)):
        raise ValueError(f"class_names has {len(names)} names and num_classes is {classes}.")
    names = [str(k) for k in range(classes or 0)] if names is None else [*map(str, names)]
    if named:
        data = load(*locate(data, folder), config.image_size)
    elif arrays:
        data = DataSet.from_arrays("arrays", *data, *[None] * (4 - len(data)), names)
    if not loaders:
        return running.fitted(config.changed(dataset=data.name), data, settings), data, kept
    needed = data[: 1 + ("half" in dict(config))]
    if not names or len(data) > 2 or any(one is None for one in needed):
        raise ValueError(
            "DataLoaders do not say how many classes there are, and a search needs two, for w "
            "and for alpha: give both and num_classes."
        )
    found = [None if one is None else Loader(one, tuple(names), device) for one in data]
    one, other = (running.sizes_of(loader or found[0]) for loader in found)
    if one != other:
        raise ValueError(f"The DataLoaders give other images, {one} and {other}: make them alike.")
    # What DataLoaders do by themselves is not done here, and the record is not to say so.
    rests = {"flip": False, "crop": 0, "cutout": 0, "held_out": 0.0, "part": "final"}
    rests |= {"dataset": Loader.name, "batch_size": found[0].batch_size}
    known = {name: value for name, value in rests.items() if name in type(config).model_fields}
    return config.changed(**known), found, kept


def _say(text: str) -> None:
    """Prints; what the place cannot show does not end the run."""
    known = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(known, "backslashreplace").decode(known), flush=True)


def _forecast(loop: Any, folder: Path, resume: bool) -> str:
    """How long a run will take, from a step that is made for this alone, after one to warm up."""
    done, state, seconds = loop.step, deepcopy(loop.state_dict()), [0.0]
    if resume and (there := driving.progress(folder)) is not None:
        done = there[0]
    for _ in range(min(2, loop.steps - loop.step)):
        began = perf_counter()
        loop.advance()
        loop.check()  # waits for a GPU
        seconds.append(perf_counter() - began)
    loop.load_state_dict(state)
    left = loop.steps - done
    time = left * seconds[-1]
    said = f"{time / 3600:.1f} hours" if time > 5400 else f"{time / 60:.0f} minutes"
    said = said if time > 100 else f"{max(1, time):.0f} seconds"
    return f"{left} steps, about {said}; in {folder}."

"""The front door: a search, a training and a prediction on any form of data.

    search = dartslib.search((images, labels))
    search.run("runs/found")
    training = dartslib.train((images, labels), search.derive())
    training.run("runs/trained")
    answer = dartslib.predict("runs/trained", new_images)

`data` is one of

- a name: "shapes10", "cifar10", or that of a file data/NAME.npz or of a folder data/NAME;
- the path of such a file or of a folder of pictures, train/CLASS/* and test/CLASS/*, or CLASS/*;
- arrays, (images, labels) or (images, labels, test images, test labels), as
  `DataSet.from_arrays` takes them; of two a fifth is kept to test on;
- a `DataSet`;
- two DataLoaders and num_classes: (for w, for alpha) in a search, (to train on, to judge on or
  None) in a training. Batches are taken as they come.

Sizes come from the data. A setting that a call cannot use is refused.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from dartslib import searching, training
from dartslib.data import DataSet, load, locate
from dartslib.data.loaders import Loader, Loaders
from dartslib.genotypes import Genotype
from dartslib.loops import Loop
from dartslib.runs import running, trained
from dartslib.runs.driving import progress
from dartslib.runs.profiles import profile as profile_of
from dartslib.runs.records import Record
from dartslib.searching import SearchConfig
from dartslib.training import TrainConfig

Data = Any  # one of the forms above
OF_A_DATA_SET = ("half", "held_out", "batch_size", "flip", "crop", "cutout", "part")


class Search(searching.Search):
    """A search that knows its data; iterate it, or `run` it."""

    def derive(self) -> Genotype:
        """The cell of the present probabilities."""
        return self.architecture.derive()

    def run(
        self, folder: str | Path | None = None, resume: bool = False, progress: bool = True
    ) -> Record:
        """Runs it to the end, with checkpoints, as `python -m dartslib search` does.

        Args:
            folder: receives checkpoint, history, genotype and meta; by default one in runs/.
            resume: go on from the folder's checkpoint, if there is one.
            progress: say how long it will take, and show a bar.
        """
        return _run(self, running.finish_search, folder, resume=resume, progress=progress)


class Training(training.Training):
    """A training that knows its data; iterate it, or `run` it."""

    def run(
        self, folder: str | Path | None = None, resume: bool = False, progress: bool = True
    ) -> Record:
        """As `Search.run`; the folder receives the weights, too, for `dartslib.predict`."""
        return _run(self, running.finish_training, folder, resume=resume, progress=progress)

    def evaluate(self, batches: Data) -> tuple[float, float]:
        """Mean loss and accuracy of the network as it is now.

        Args:
            batches: numbered batches, a DataLoader, arrays (images, labels), or a `DataSet`, whose
                test images are meant.
        """
        known, device = self.dataset, next(self.network.parameters()).device
        if isinstance(batches, tuple | list):
            images, labels = batches
            batches = DataSet.from_arrays(
                known.name, images, labels, images, labels, known.class_names
            )
        if isinstance(batches, DataSet):
            cut = running.split(batches, held_out=0.0).test
            batches = known.evaluation_batches(cut, device=device)
        if not hasattr(batches, "at"):
            batches = Loader(batches, known.num_classes, device)
        return super().evaluate(batches)


def search(
    data: Data,
    *,
    profile: str = "smoke",
    relaxation: str | dict[str, Any] | searching.Relaxation | None = None,
    config: SearchConfig | None = None,
    device: str | None = None,
    fast: bool = True,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    data_folder: str | Path = "data",
    **settings: Any,
) -> Search:
    """A search before its first step.

    Args:
        data: one of the forms at the head of this file.
        profile: the settings to begin with: smoke, lesson, report or darts.
        relaxation: the name of another method than DARTS, or {"name": …, its settings}.
        config: all settings, in the place of profile, relaxation and settings.
        device: cpu or cuda; found by itself if None.
        fast: the fast form, where possible.
        num_classes: of DataLoaders alone.
        class_names: of arrays and DataLoaders, by label.
        data_folder: where data sets lie that are named.
        settings: those of `SearchConfig` that differ from the profile's.

    Raises:
        ValueError: what is wrong, in a sentence.
    """
    if relaxation is not None:
        settings["relaxation"] = relaxation
    config, dataset, device = _begin(
        data, config, profile_of(profile).search, settings,
        device=device, names=(num_classes, class_names), folder=data_folder,
    )  # fmt: skip
    if isinstance(dataset, Loaders):
        train, valid = dataset.sources
        if valid is None:
            raise ValueError("A search needs two DataLoaders: (for w, for alpha).")
        found, cut = Search(config, train, valid, device=device, **running.sizes_of(dataset)), None
    else:
        config = running.fitted(config, dataset, settings)
        found, cut = running.begin_search(config, dataset, device, kind=Search)
    found.dataset, found.kept = dataset, {"cut": cut}
    return _ready(found, profile, settings, device, fast)


def train(
    data: Data,
    genotype: Genotype | str,
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
        genotype: the cell, or as `python -m dartslib train --genotype` takes it.
        profile: the settings to begin with: smoke, lesson, report or darts.
        config, device, fast, num_classes, class_names, data_folder: as of `search`.
        settings: those of `TrainConfig` that differ from the profile's; part="compare" trains the
            profile's smaller network and judges it on held-out images.

    Raises:
        ValueError: what is wrong, in a sentence.
    """
    name = genotype if isinstance(genotype, str) else ""
    genotype = running.find_genotype(name) if name else genotype
    base = profile_of(profile)
    base = base.compare if settings.get("part") == "compare" else base.final
    config, dataset, device = _begin(
        data, config, base, settings,
        device=device, names=(num_classes, class_names), folder=data_folder,
    )  # fmt: skip
    if isinstance(dataset, Loaders):
        batches, judged = dataset.sources
        sizes = running.sizes_of(dataset)
        found = Training(config, genotype, batches, device=device, **sizes)
    else:
        found, subset = running.begin_training(config, genotype, dataset, device, kind=Training)
        judged = dataset.evaluation_batches(subset, device=device)
    found.dataset, found.kept = dataset, {"judged": judged, "genotype_name": name}
    return _ready(found, profile, settings, device, fast)


def predict(run: str | Path | training.Training, images: Any) -> trained.Answer:
    """What a trained network says of images.

    Args:
        run: the folder of a finished training, or a `Training`.
        images: paths of pictures, which are brought to the network's size, one path, or arrays
            uint8 (N, side, side, 3), (N, side, side) if gray. A network that was trained on
            DataLoaders takes a tensor as those gave it.

    Returns:
        The names of the classes and their probabilities, (images, classes); `best` has the name
        of the most probable class of each image.
    """
    return _trained(run).predict(images)


def export(run: str | Path | training.Training, path: str | Path) -> None:
    """Writes a trained network as a program that torch runs without dartslib: a file .pt2.

    It takes pixels, float32 (N, C, side, side) from 0 to 255, of any number of images, and gives
    probabilities (N, classes): `torch.export.load(path).module()(images)`.
    """
    _trained(run).export(path)


def _trained(run: str | Path | training.Training) -> trained.Trained:
    if isinstance(run, Training):
        return trained.of_training(run, run.dataset)
    return trained.load_trained(run)


def _begin(
    data: Data,
    config: Any,
    base: Any,
    settings: dict[str, Any],
    *,
    device: str | None,
    names: tuple[int | None, Sequence[str] | None],
    folder: str | Path,
) -> tuple[Any, DataSet | Loaders, str]:
    """Settings, data and device, checked against each other."""
    if config is not None and settings:
        raise ValueError(f"config has all settings: leave out {', '.join(settings)}.")
    device = running.find_device(device)
    num_classes, class_names = names
    path = isinstance(data, str | Path)
    loaders = not path and not isinstance(data, DataSet) and not _arrays(data)
    unused = ["dataset"] + ["image_size"] * (not path) + [*OF_A_DATA_SET] * loaders
    unused = [name for name in unused if name in settings]
    unused += ["num_classes"] * (num_classes is not None and not loaders)
    unused += ["class_names"] * (class_names is not None and (path or isinstance(data, DataSet)))
    if unused:
        raise ValueError(
            f"{' and '.join(unused)} would change nothing here, since the data say it: leave it "
            "out."
        )
    config = config or base.changed(**settings)
    if path:
        dataset = load(*locate(data, folder), config.image_size)
    elif isinstance(data, DataSet):
        dataset = data
    elif loaders:
        if class_names is None and num_classes is None:
            raise ValueError("DataLoaders do not say how many classes there are: give num_classes.")
        class_names = class_names or [str(k) for k in range(num_classes)]
        dataset = Loaders(data, class_names, device)
    else:
        labels = np.asarray(data[1])
        if class_names is None and labels.dtype.kind in "iu" and labels.size:
            class_names = [str(k) for k in range(int(labels.max()) + 1)]
        given = data if len(data) == 4 else (*data, None, None)
        dataset = DataSet.from_arrays("arrays", *given, class_names)
    return config.changed(dataset=dataset.name), dataset, device


def _arrays(data: Data) -> bool:
    if not isinstance(data, tuple | list) or len(data) not in (2, 4):
        raise ValueError(
            "data is a name, the path of a folder of pictures, a DataSet, (images, labels), "
            "(images, labels, test images, test labels), or two DataLoaders."
        )
    return isinstance(data[0], np.ndarray | Tensor | list)


def _ready(found: Any, profile: str, settings: dict[str, Any], device: str, fast: bool) -> Any:
    """What `run` is told of it."""
    found.kept |= {"profile": profile, "overridden": settings, "device": device}
    return running.fast_form(found) if fast else found


def _run(
    loop: Any, finish: Any, folder: str | Path | None, *, resume: bool, progress: bool
) -> Record:
    if loop.step == loop.steps and not resume:
        raise ValueError("This run is over: make another one, and call run() before its end.")
    if folder is None:
        kind = "search" if isinstance(loop, Search) else loop.config.part
        folder = (
            Path("runs") / f"{kind}-{loop.kept['profile']}-{loop.dataset.name}-{loop.config.seed}"
        )
    if progress:
        print(_forecast(loop, Path(folder), resume))
    return finish(
        loop, loop.dataset, folder=Path(folder), resume=resume, progress=progress, **loop.kept
    )


def _forecast(loop: Loop, folder: Path, resume: bool) -> str:
    """How long a run will take, from a step that is made for this alone, after one to warm up."""
    done = (resume and progress(folder) or (loop.step,))[0]
    state = copy.deepcopy(loop.state_dict())
    seconds = []
    for _ in range(min(2, loop.steps - loop.step)):
        began = perf_counter()
        loop.advance()
        loop.check()  # waits for a GPU
        seconds.append(perf_counter() - began)
    loop.load_state_dict(state)
    left = loop.steps - done
    minutes = left * min(seconds, default=0.0) / 60
    time = f"{minutes / 60:.1f} hours" if minutes > 90 else f"{max(minutes, 0.1):.1f} minutes"
    return f"{left} steps, about {time}; in {folder}."

"""One run from settings to record: loads the data, runs the loop, writes the results."""

import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from math import nan
from pathlib import Path
from reprlib import repr  # shortens long values for messages
from typing import Any, TypeVar

import numpy as np
import torch

import dartslib
from dartslib.data import DataSet, Split, Subset, load, locate, remarks, split
from dartslib.data.loaders import Loader
from dartslib.fast import accelerate
from dartslib.genotypes import PUBLISHED, Genotype
from dartslib.loops import BatchSource
from dartslib.methods.stages import Around, Stages
from dartslib.networks import FinalNetwork
from dartslib.runs import gap, records
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.runs.driving import drive
from dartslib.runs.files import alone
from dartslib.runs.importing import IMPORTED
from dartslib.runs.judging import judge, share_of_the_largest
from dartslib.runs.trained import about_images, keep_weights
from dartslib.runs.usual_text import read_usual
from dartslib.searching import REPORT_ALPHA_TRAVEL, Search, SearchConfig
from dartslib.settings import Config
from dartslib.training import TrainConfig, Training

MOST_ALPHA_LR = 0.5  # a step of Adam is about its rate, and alpha is of the order of 1
FastForm = TypeVar("FastForm", Search, Training)


def find_device(name: str | None = None) -> str:
    """Checks a device (ValueError); if None, "cuda" if available, else "cpu"."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = torch.empty(0, device=name).device.type
    except (RuntimeError, AssertionError):  # an unknown name; a torch built without that device
        kind = None
    if kind not in ("cpu", "cuda"):  # others lack float64 or, like meta, compute nothing
        raise ValueError(f"There is no device {repr(name)} here: choose cpu, or cuda with a GPU.")
    try:
        if kind == "cuda":  # only a computation shows a GPU that this torch has no code for
            torch.conv2d(*(torch.ones(1, 1, 3, 3, device=name) for _ in range(2))).item()
    except RuntimeError as error:
        raise ValueError(
            f"The GPU {repr(name)} cannot be used ({str(error).splitlines()[0].rstrip('.')}): give "
            "--device cpu, or install a torch that was built for it."
        ) from None
    return name


def find_genotype(name: str) -> Genotype:
    """A published or recorded genotype by name, or one from a file or a run's folder.

    Raises:
        ValueError: there is none, or the file is not a genotype.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    for path in (
        Path(name),
        Path(name) / "genotype.json",
        records.RECORDED / name / "genotype.json",
    ):
        if os.path.isfile(path):  # Path.is_file raises if the name is too long
            content = path.read_bytes()
            return read_usual(content.decode(errors="ignore")) or Genotype.from_json(content)
    raise ValueError(
        f"There is no genotype {repr(name)}: give a file, the folder of a finished search, a "
        f"recorded run, or one of {', '.join(PUBLISHED)}."
    )


def fast_form(loop: FastForm, fast: bool = True) -> FastForm:
    """The same loop, whose cells run in the fast form where that is possible and pays.

    A GPU, gradient="exact", which differentiates twice, and channels_last=False run plain; so does
    all with fast=False.
    """
    network = loop.supernet if isinstance(loop, Search) else loop.network
    exact = isinstance(loop, Search) and loop.config.gradient == "exact"
    if fast and loop.on_cpu and loop.config.channels_last and not exact:
        accelerate(network)
    return loop


def begin_search(
    config: SearchConfig,
    dataset: DataSet,
    device: str = "cpu",
    *,
    around: Around | None = None,
    fast: bool = True,
    kind: type[Search] = Search,
) -> tuple[Search | Stages, Split]:
    """A search before its first step, and the split of its data set.

    `around` is a method that goes around the search, `fast` as in `fast_form`.
    """
    cut = split(dataset, config.half, config.held_out)
    _say(remarks(dataset, cut.search_train, cut.search_valid))
    options = {"seed": config.seed, "device": device, "flip": config.flip, "crop": config.crop}
    train = dataset.batches(cut.search_train, config.batch_size, **options)
    valid = dataset.batches(cut.search_valid, config.batch_size, **options)

    def begin(config: SearchConfig) -> Search:
        search = kind(config, train, valid, device=device, **sizes_of(dataset))
        rate = search.alpha_optimizer.param_groups[0]["lr"]
        if config.alpha_lr is None and rate > MOST_ALPHA_LR:
            said = (
                f"alpha_lr=None is {REPORT_ALPHA_TRAVEL:.2f} / steps, so {rate:.2g} in "
                f"{search.steps} steps, which is more than alpha can use: give alpha_lr a number, "
                "or the search more steps."
            )
            _say([said])
        return fast_form(search, fast)

    return (Stages(around, config, begin) if around else begin(config)), cut


def begin_training(
    config: TrainConfig,
    genotype: Genotype,
    dataset: DataSet,
    device: str = "cpu",
    *,
    fast: bool = True,
    kind: type[Training] = Training,
) -> tuple[Training, Subset]:
    """A training before its first step, and the images that it is judged on at the end."""
    cut = split(dataset, held_out=config.held_out)
    compare = config.part == "compare"
    options = {"seed": config.seed, "device": device, "flip": config.flip, "crop": config.crop}
    images = cut.compare_train if compare else cut.final_train
    watched = cut.compare_valid if compare else None
    judged = watched or cut.test
    _say(remarks(dataset, images, judged))
    training = kind(
        config,
        genotype,
        dataset.batches(images, config.batch_size, cutout=config.cutout, **options),
        watched and dataset.evaluation_batches(watched, device=device),
        device=device,
        **sizes_of(dataset),
    )
    return fast_form(training, fast), judged


def _say(sentences: list[str]) -> None:
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=3)


def fitted(config: Config, dataset: DataSet, given: dict[str, Any] | None = None) -> Config:
    """The settings with a half that the data set has, unless half is among the given settings.

    Raises:
        ValueError: image_size is among them, and the data set has another.
    """
    given = given or {}
    if "image_size" in given and dataset.image_size != config.image_size:
        raise ValueError(
            f"image_size is for pictures of a folder; {dataset.name} has {dataset.image_size} "
            "pixels per side: leave it out."
        )
    count = len(dataset.y_train)
    largest = (count - round(config.held_out * count)) // 2
    half = getattr(config, "half", None)
    if "half" in given or half is None or not 1 <= largest < half:
        return config
    return config.changed(half=largest)


def run_search(
    config: SearchConfig,
    folder: Path,
    *,
    around: Around | None = None,
    overridden: dict[str, Any] | None = None,
    data: str | Path = "data",
    device: str | None = None,
    **options: Any,
) -> records.Record:
    """A search from its settings to its record, written into the folder.

    Args:
        config: the settings.
        folder: receives checkpoint, history, genotype and meta.
        around: a method that goes around the search, see `dartslib.methods.stages`.
        overridden: for the record: the settings that are not the profile's.
        data: the folder of data sets.
        device: as in `find_device`.
        options: those of `finish_search`.
    """
    device = find_device(device)
    dataset = load(config.dataset, data, config.image_size)
    config = fitted(config, dataset, overridden)
    search, cut = begin_search(config, dataset, device, around=around)
    options |= {"overridden": overridden, "device": device, "around": around}
    return finish_search(search, dataset, cut, folder, **options)


def finish_search(
    search: Search | Stages,
    dataset: DataSet | Loader,
    cut: Split | None,
    folder: Path,
    *,
    around: Around | None = None,
    profile: str = "custom",
    overridden: dict[str, Any] | None = None,
    device: str = "cpu",
    command: str | None = None,
    **options: Any,
) -> records.Record:
    """Runs a search to its end and writes its record into the folder.

    Args:
        search: as `begin_search` makes it.
        dataset, cut: its data; no split of DataLoaders.
        around: the method that goes around it.
        folder: receives checkpoint, history, genotype and meta.
        profile, overridden: for the record: where the settings come from, what was changed.
        device: where the search runs.
        command: for the record, what repeats the run; None for the present command line.
        options: resume, progress, as in `drive`.
    """
    config = search.config
    with alone(folder):
        options |= {"device": device, "data": dataset.digest()}
        stretches = drive(search, folder, **options)
        history = _arrays(search.history)
        # Means over batches in train mode. one_level has no batches of alpha's own.
        names = ["train_accuracy"] + ["valid_accuracy"] * (config.gradient != "one_level")
        last = {name: _last_epoch(history, name, search.steps, config.epochs) for name in names}
        result = {name: value for name, value in last.items() if np.isfinite(value)}
        with torch.no_grad():  # the counter of multiply-adds fails with a graph
            mixture = search.architecture.mixture(moment=search.moment)
        meta = _meta("search", config, profile, overridden, stretches, search, result, command)
        meta["data"] = options["data"]
        if around:
            meta["around"] = {"name": around.name, **around.model_dump(mode="json")}
        if cut is not None:
            meta["largest_class"] = share_of_the_largest(cut.search_valid.labels)
        if cut is not None and config.held_out > 0:  # else alpha has seen all images
            unseen = dataset.evaluation_batches(cut.compare_valid, device=device)
            meta["gap"] = gap.measure(search, unseen)
        meta |= {
            "gradient": config.gradient,
            "weights": count_weights(search.supernet),
            "multiply_adds": count_multiply_adds(
                search.supernet, *_shape(dataset), mixture=mixture
            ),
        }
        record = records.Record(folder.name, meta, history, search.architecture.derive())
        records.save(record, folder)
    return record


def run_training(
    config: TrainConfig,
    genotype: Genotype,
    folder: Path,
    *,
    data: str | Path = "data",
    overridden: dict[str, Any] | None = None,
    device: str | None = None,
    **options: Any,
) -> records.Record:
    """A training from its settings to its record, written into the folder.

    With config.part "compare" the record has the accuracy on the held-out images; with "final" the
    test images are used once, after the last step. Arguments as in `run_search` and
    `finish_training`.
    """
    device = find_device(device)
    dataset = load(config.dataset, data, config.image_size)
    config = fitted(config, dataset, overridden)
    training, judged = begin_training(config, genotype, dataset, device)
    batches, options = (
        dataset.evaluation_batches(judged, device=device),
        options | {"device": device},
    )
    return finish_training(training, dataset, batches, folder, overridden=overridden, **options)


def finish_training(
    training: Training,
    dataset: DataSet | Loader,
    judged: BatchSource | None,
    folder: Path,
    *,
    profile: str = "custom",
    genotype_name: str = "",
    overridden: dict[str, Any] | None = None,
    device: str = "cpu",
    command: str | None = None,
    **options: Any,
) -> records.Record:
    """Runs a training to its end and writes record and weights into the folder.

    Args:
        training: as `begin_training` makes it.
        dataset: its data.
        judged: the batches that the network is judged on; None for none.
        genotype_name: what the record calls the cell.
        folder, profile, overridden, device, command, options: as in `finish_search`.
    """
    config = training.config
    with alone(folder):
        options |= {"device": device, "data": dataset.digest()}
        stretches = drive(training, folder, **options)
        history = _arrays(training.history)
        accuracy = _last_epoch(history, "train_accuracy", training.steps, config.epochs)
        result, by_class = {"train_accuracy": accuracy}, {}
        if judged is not None:
            loss, accuracy, by_class = judge(training, judged, dataset.class_names)
            if config.part == "compare":
                result["valid_accuracy"] = float(history["valid_accuracy"][-1])
            else:
                result["test_loss"], result["test_accuracy"] = loss, accuracy
        meta = _meta("train", config, profile, overridden, stretches, training, result, command)
        meta["data"] = options["data"]
        meta |= by_class | {
            "cell": genotype_name,
            "weights": _weights_in_use(training.network),
            "multiply_adds": count_multiply_adds(training.network, *_shape(dataset)),
        }
        meta["images"] = about_images(dataset)
        keep_weights(folder, training.network)
        record = records.Record(folder.name, meta, history, training.genotype)
        records.save(record, folder)
    return record


def _weights_in_use(network: FinalNetwork) -> int:
    """The number of weights without those of the auxiliary head, which only helps training."""
    helper = network.auxiliary_head
    return count_weights(network) - (0 if helper is None else count_weights(helper))


def sizes_of(dataset: DataSet | Loader) -> dict[str, int]:
    """The sizes that a network needs of a data set."""
    return {name: getattr(dataset, name) for name in ("num_classes", "in_channels", "image_size")}


def _shape(dataset: DataSet | Loader) -> tuple[int, int, int]:
    return dataset.in_channels, dataset.image_size, dataset.image_size


def _last_epoch(history: dict[str, np.ndarray], name: str, steps: int, epochs: int) -> float:
    """The mean over the last epoch, as nearly as the records say; nan if alpha rested in all."""
    lengths = np.diff(history["step"], prepend=0)
    last = (history["step"] > steps - steps // epochs) & np.isfinite(history[name])
    return float(np.average(history[name][last], weights=lengths[last])) if last.any() else nan


def _command() -> str | None:
    """The command that repeats the run; None if it did not start from the command line."""
    if Path(sys.argv[0]).resolve() != Path(dartslib.__file__).resolve().with_name("__main__.py"):
        return None
    return "python -m dartslib " + shlex.join(_of_no_place(sys.argv[1:]))


def _of_no_place(words: list[str]) -> Iterator[str]:
    """The words of a command without those that name folders of this machine."""
    words = iter(words)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("--out", "--data-folder", "--genotype", "--data", "--import"):
            value = value if equals else next(words, "")
            if option == "--genotype":
                yield from (option, cell_name(value))
            elif option == "--data":
                yield from (option, locate(value)[0])
            elif option == "--import":
                yield from (option, Path(value).name)
        elif word != "--resume":
            yield word


def usual_folder(
    kind: str, profile: str, config: SearchConfig | TrainConfig, cell: str = ""
) -> Path:
    """Where a run lies if nobody says where: runs/KIND-PROFILE-DATASET-…-SEED."""
    if isinstance(config, SearchConfig):
        name = config.relaxation.name
        cell = config.gradient if name == "darts" else f"{name}-{config.gradient}"
    words = kind, profile, config.dataset, cell, str(config.seed)
    return Path("runs") / "-".join(filter(None, words))


def cell_name(genotype: str) -> str:
    """The name, in a record, of a genotype that was given as a name, a file or a run's folder."""
    path = Path(genotype)
    if path.name in ("", "..", "genotype.json"):  # the folder's name counts, also that of "."
        path = path.resolve()
    return path.parent.name if path.name == "genotype.json" else path.name


def _arrays(history: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    return {name: np.asarray(values) for name, values in history.items()}


def _meta(
    kind: str,
    config: Config,
    profile: str,
    overridden: dict[str, Any] | None,
    stretches: list[dict[str, Any]],
    loop: Search | Training,
    result: dict[str, float],
    command: str | None,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "dataset": config.dataset,
        "profile": profile,
        "seed": config.seed,
        "overridden": overridden or {},
        "config": config.model_dump(mode="json"),
        "command": command or _command(),
        "commits": [stretch["commit"] for stretch in stretches],
        "machines": [stretch["machine"] for stretch in stretches],
        "versions": [stretch["versions"] for stretch in stretches],
        "from_steps": [stretch["from_step"] for stretch in stretches],
        "steps": loop.steps,
        "seconds": loop.seconds,
        "seconds_per_iteration": loop.seconds / loop.steps,
        "cpu_seconds": sum(stretch["cpu_seconds"] for stretch in stretches),
        "result": result,
    } | ({"imports": dict(IMPORTED)} if IMPORTED else {})

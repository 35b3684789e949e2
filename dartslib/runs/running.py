"""One run from settings to record: loads the data, runs the loop, writes the results."""

import json
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from math import nan
from pathlib import Path
from reprlib import repr  # shortens long values for messages
from typing import Any, TypeVar

import numpy as np
import torch

import dartslib
from dartslib.data import Batches, DataSet, Subset, load, locate, remarks, split
from dartslib.data.loaders import Loader
from dartslib.fast import accelerate
from dartslib.genotypes import PUBLISHED, Genotype
from dartslib.loops import BatchSource, LoopConfig
from dartslib.methods.stages import Around, Stages
from dartslib.runs import gap, records
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.runs.driving import drive
from dartslib.runs.files import alone
from dartslib.runs.hour import HourConfig, HourTraining
from dartslib.runs.importing import IMPORTED
from dartslib.runs.judging import judge, share_of_the_largest
from dartslib.runs.trained import about_images, keep_weights
from dartslib.runs.usual_text import read_usual
from dartslib.searching import REPORT_ALPHA_TRAVEL, Search, SearchConfig
from dartslib.settings import Config
from dartslib.training import TrainConfig, Training

MOST_ALPHA_LR = 0.5  # a step of Adam is about its rate, and alpha is of the order of 1
FastForm = TypeVar("FastForm", Search, Training)
History = dict[str, np.ndarray]
Found = tuple[Genotype, dict[str, float], dict[str, Any]]  # cell, result, the rest of the meta


def find_device(name: str | None = None) -> str:
    """Checks a device (ValueError); if None, "cuda" if available, else "cpu"."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = None
    with suppress(RuntimeError, AssertionError):  # an unknown name; a torch without that device
        kind = torch.empty(0, device=name).device.type
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
    file = "genotype.json"
    for path in (Path(name), Path(name) / file, records.RECORDED / name / file):
        if os.path.isfile(path):  # Path.is_file raises if the name is too long
            content = path.read_bytes()
            text = content.decode(json.detect_encoding(content), errors="ignore")
            return read_usual(text) or Genotype.from_json(content)
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
    data: DataSet | list[Loader],
    device: str = "cpu",
    *,
    around: Around | None = None,
    fast: bool = True,
    kind: type[Search] = Search,
) -> tuple[Search | Stages, Batches | None]:
    """A search before its first step, and batches of images that it does not see, if there are any.

    Args:
        data: a data set, or sources of batches for w and for alpha.
        around: a method that goes around the search, see `dartslib.methods.stages`.
        fast: as in `fast_form`.
    """
    halves, unseen = data, None
    if isinstance(data, DataSet):
        cut = split(data, config.half, config.held_out)
        halves = _batches(data, config, device, [cut.search_train, cut.search_valid])
        if config.held_out > 0:  # else alpha has seen all images
            unseen = data.evaluation_batches(cut.compare_valid, device=device)

    def begin(config: SearchConfig) -> Search:
        search = kind(config, *halves, device=device, **sizes_of(data))
        rate = search.alpha_optimizer.param_groups[0]["lr"]
        if config.alpha_lr is None and rate > MOST_ALPHA_LR:
            said = (
                f"alpha_lr=None is {REPORT_ALPHA_TRAVEL:.2f} / steps, so {rate:.2g} in "
                f"{search.steps} steps, which is more than alpha can use: give alpha_lr a number, "
                "or the search more steps."
            )
            warnings.warn(said, stacklevel=3)
        return fast_form(search, fast)

    return (Stages(around, config, begin) if around else begin(config)), unseen


def begin_training(
    config: TrainConfig,
    genotype: Genotype,
    data: DataSet | list[Loader | None],
    device: str = "cpu",
    *,
    fast: bool = True,
    kinds: tuple[type[Training], type[HourTraining]] = (Training, HourTraining),
) -> tuple[Training, Batches | Loader | None]:
    """A training before its first step, and the batches that it is judged on at the end.

    With config.part "compare" it is judged on held-out images, and watched on them; with "final" on
    the test images. `data` may be sources of batches to train and to judge on, `fast` is as in
    `fast_form`; `kinds` are for a `TrainConfig` and for an `HourConfig`.
    """
    if isinstance(data, DataSet):
        cut, compare = split(data, held_out=config.held_out), config.part == "compare"
        images = cut.compare_train if compare else cut.final_train
        judging = cut.compare_valid if compare else cut.test
        (batches,) = _batches(data, config, device, [images], judging)
        judged = data.evaluation_batches(judging, device=device)
        watched = judged if compare else None
    else:
        (batches, judged), watched = data, None
    kind = kinds[isinstance(config, HourConfig)]
    training = kind(config, genotype, batches, watched, device=device, **sizes_of(data))
    return fast_form(training, fast), judged


def _batches(
    data: DataSet, config: LoopConfig, device: str, subsets: list[Subset], *judging: Subset
) -> list[Batches]:
    """The batches of subsets as a run takes them; what a user should know of them all is said."""
    for sentence in remarks(data, *subsets, *judging):
        warnings.warn(sentence, stacklevel=4)
    options = config.model_dump(include={"batch_size", "seed", "flip", "crop", "cutout"})
    return [data.batches(subset, device=device, **options) for subset in subsets]


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


def make_run(
    config: SearchConfig | TrainConfig,
    folder: Path,
    genotype: Genotype | None = None,
    *,
    around: Around | None = None,
    overridden: dict[str, Any] | None = None,
    data: str | Path = "data",
    device: str | None = None,
    digest: str | None = None,
    **options: Any,
) -> records.Record:
    """A search, or the training of a genotype, from its settings to its record in the folder.

    `data` is the folder of data sets; `around` is as in `begin_search`, `device` as in
    `find_device`, the others as in `finish`.

    Raises:
        ValueError: the images have not this digest, if one is given.
    """
    device = find_device(device)
    dataset = load(config.dataset, data, config.image_size)
    if digest is not None and digest != dataset.digest():
        raise ValueError(
            f"{config.dataset} has other images than earlier runs had: put those back, or give "
            "these runs another folder (--out)."
        )
    config = fitted(config, dataset, overridden)
    if genotype is None:
        loop, judged = begin_search(config, dataset, device, around=around)
    else:
        loop, judged = begin_training(config, genotype, dataset, device)
    options |= {"overridden": overridden, "device": device}
    return finish(loop, dataset, judged, folder, **options)


def finish(
    loop: Search | Stages | Training,
    data: DataSet | Loader,
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
    """Runs a loop to its end and writes its record into the folder, of a training weights, too.

    Args:
        loop, judged: as `begin_search` or `begin_training` makes them. Test images are used once,
            after the last step.
        data: their data.
        folder: receives checkpoint, history, genotype and meta.
        profile, overridden: for the record: where the settings come from, what was changed.
        genotype_name: what the record of a training calls the cell.
        device: where it runs.
        command: for the record, what repeats the run; None for the present command line.
        options: resume, progress, as in `drive`.
    """
    config, trained = loop.config, hasattr(loop, "network")
    with alone(folder):
        digest = data.digest()
        stretches = drive(loop, folder, device=device, data=digest, **options)
        history = {name: np.asarray(values) for name, values in loop.history.items()}
        of_loop = _of_training if trained else _of_search
        genotype, result, found = of_loop(loop, data, judged, history)
        meta = {
            "kind": "train" if trained else "search",
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
            **({"imports": dict(IMPORTED)} if IMPORTED else {}),
            "data": digest,
            **found,
        }
        if trained:
            meta["cell"] = genotype_name
            keep_weights(folder, loop.evaluated)
        record = records.Record(folder.name, meta, history, genotype)
        records.save(record, folder)
    return record


def _of_search(
    search: Search | Stages, data: DataSet | Loader, unseen: Batches | None, history: History
) -> Found:
    config, architecture = search.config, search.architecture
    # Means over batches in train mode. one_level has no batches of alpha's own.
    names = ["train_accuracy"] + ["valid_accuracy"] * (config.gradient != "one_level")
    last = {name: _last_epoch(history, name, search.steps, config.epochs) for name in names}
    with torch.no_grad():  # the counter of multiply-adds fails with a graph
        mixture = architecture.mixture(moment=search.moment)
    found = {
        "gradient": config.gradient,
        "weights": count_weights(search.supernet),
        "multiply_adds": count_multiply_adds(search.supernet, *_shape(data), mixture=mixture),
    }
    if isinstance(search, Stages):
        around = search.around
        found["around"] = {"name": around.name, **around.model_dump(mode="json")}
    if isinstance(search.valid, Batches):
        found["largest_class"] = share_of_the_largest(search.valid.subset.labels)
    if unseen is not None:
        found["gap"] = gap.measure(search, unseen)
    result = {name: value for name, value in last.items() if np.isfinite(value)}
    return architecture.derive(), result, found


def _of_training(
    training: Training, data: DataSet | Loader, judged: BatchSource | None, history: History
) -> Found:
    config, network = training.config, training.network
    accuracy = _last_epoch(history, "train_accuracy", training.steps, config.epochs)
    result, found = {"train_accuracy": accuracy}, {}
    if judged is not None:
        loss, accuracy, found = judge(training, judged, data.class_names)
        if config.part == "compare":
            result["valid_accuracy"] = float(history["valid_accuracy"][-1])
        else:
            result |= {"test_loss": loss, "test_accuracy": accuracy}
            if isinstance(training, HourTraining):  # beside the plain figure, never instead
                result["mirrored_accuracy"] = training.evaluate_mirrored(judged)[1]
    helper = network.auxiliary_head  # only helps training: its weights do not count
    found["weights"] = count_weights(network) - (count_weights(helper) if helper else 0)
    found["multiply_adds"] = count_multiply_adds(network, *_shape(data))
    return training.genotype, result, found | {"images": about_images(data)}


def sizes_of(data: DataSet | Loader | list[Loader]) -> dict[str, int]:
    """The sizes that a network needs of a data set, or of sources of batches."""
    known = data[0] if isinstance(data, list) else data
    return {name: getattr(known, name) for name in ("num_classes", "in_channels", "image_size")}


def _shape(dataset: DataSet | Loader) -> tuple[int, int, int]:
    return dataset.in_channels, dataset.image_size, dataset.image_size


def _last_epoch(history: History, name: str, steps: int, epochs: int) -> float:
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
    told = {
        "--genotype": cell_name,
        "--data": lambda data: locate(data)[0],
        "--import": lambda file: Path(file).name,
    }
    words = iter(words)
    for word in words:
        option, equals, value = word.partition("=")
        if option in (*told, "--out", "--data-folder"):
            value = value if equals else next(words, "")
            if option in told:
                yield from (option, told[option](value))
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

"""One run from settings to record: loads the data, runs the loop, writes the results."""

import os
import shlex
import sys
from collections.abc import Iterator
from math import nan
from pathlib import Path
from reprlib import repr  # shortens long values for messages
from typing import Any

import numpy as np
import torch

import dartslib
from dartslib import fast
from dartslib.data import DataSet, Split, load, split
from dartslib.genotypes import PUBLISHED, Genotype
from dartslib.methods.stages import Around, Stages
from dartslib.networks import FinalNetwork
from dartslib.runs import gap, records
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.runs.driving import drive
from dartslib.runs.files import alone
from dartslib.searching import Search, SearchConfig
from dartslib.settings import Config
from dartslib.training import TrainConfig, Training


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
            return Genotype.from_json(path.read_bytes())
    raise ValueError(
        f"There is no genotype {repr(name)}: give a file, the folder of a finished search, a "
        f"recorded run, or one of {', '.join(PUBLISHED)}."
    )


def begin_search(
    config: SearchConfig,
    data: str | Path = "data",
    device: str = "cpu",
    around: Around | None = None,
) -> tuple[Search | Stages, DataSet, Split]:
    """A search before its first step, its data set, and the split of that.

    `around` is a method that goes around the search.
    """
    dataset = load(config.dataset, data)
    cut = split(dataset, config.half, config.held_out)
    options = {"seed": config.seed, "device": device}
    train = dataset.batches(cut.search_train, config.batch_size, **options)
    valid = dataset.batches(cut.search_valid, config.batch_size, **options)

    def begin(config: SearchConfig) -> Search:
        return fast.search(config, train, valid, device=device, **_of(dataset))

    return (Stages(around, config, begin) if around else begin(config)), dataset, cut


def begin_training(
    config: TrainConfig, genotype: Genotype, data: str | Path = "data", device: str = "cpu"
) -> tuple[Training, DataSet, Split]:
    """A training before its first step, its data set, and the split of that."""
    dataset = load(config.dataset, data)
    cut = split(dataset, held_out=config.held_out)
    compare = config.part == "compare"
    options = {"seed": config.seed, "device": device, "cutout": config.cutout}
    images = cut.compare_train if compare else cut.final_train
    watched = cut.compare_valid if compare else None
    training = fast.train(
        config,
        genotype,
        dataset.batches(images, config.batch_size, **options),
        watched and dataset.evaluation_batches(watched, device=device),
        device=device,
        **_of(dataset),
    )
    return training, dataset, cut


def run_search(
    config: SearchConfig,
    folder: Path,
    *,
    around: Around | None = None,
    profile: str = "custom",
    overridden: dict[str, Any] | None = None,
    data: str | Path = "data",
    device: str | None = None,
    resume: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> records.Record:
    """A search from its settings to its record, written into the folder.

    Args:
        config: the settings.
        folder: receives checkpoint, history, genotype and meta.
        around: a method that goes around the search, see `dartslib.methods.stages`.
        profile, overridden: for the record: where the settings come from, what was changed.
        data: the folder of data sets.
        device: as in `find_device`.
        resume, progress: as in `drive`.
        command: for the record, what repeats the run; None for the present command line.
    """
    device = find_device(device)
    search, dataset, cut = begin_search(config, data, device, around)
    with alone(folder):
        options = {"resume": resume, "progress": progress, "device": device}
        options["data"] = dataset.digest()
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
        if config.held_out > 0:  # else alpha has seen all images
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
    profile: str = "custom",
    genotype_name: str = "",
    overridden: dict[str, Any] | None = None,
    data: str | Path = "data",
    device: str | None = None,
    resume: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> records.Record:
    """A training from its settings to its record, written into the folder.

    With config.part "compare" the record has the accuracy on the held-out images; with "final" the
    test images are used once, after the last step. Arguments as in `run_search`; the record calls
    the cell genotype_name.
    """
    device = find_device(device)
    training, dataset, cut = begin_training(config, genotype, data, device)
    with alone(folder):
        options = {"resume": resume, "progress": progress, "device": device}
        options["data"] = dataset.digest()
        stretches = drive(training, folder, **options)
        history = _arrays(training.history)
        accuracy = _last_epoch(history, "train_accuracy", training.steps, config.epochs)
        result = {"train_accuracy": accuracy}
        if config.part == "compare":
            result["valid_accuracy"] = float(history["valid_accuracy"][-1])
        else:
            test = dataset.evaluation_batches(cut.test, device=device)
            result["test_loss"], result["test_accuracy"] = training.evaluate(test)
        meta = _meta("train", config, profile, overridden, stretches, training, result, command)
        meta["data"] = options["data"]
        meta |= {
            "cell": genotype_name,
            "weights": _weights_in_use(training.network),
            "multiply_adds": count_multiply_adds(training.network, *_shape(dataset)),
        }
        record = records.Record(folder.name, meta, history, genotype)
        records.save(record, folder)
    return record


def _weights_in_use(network: FinalNetwork) -> int:
    """The number of weights without those of the auxiliary head, which only helps training."""
    helper = network.auxiliary_head
    return count_weights(network) - (0 if helper is None else count_weights(helper))


def _of(dataset: DataSet) -> dict[str, int]:
    """The sizes that a network needs of a data set."""
    return {name: getattr(dataset, name) for name in ("num_classes", "in_channels", "image_size")}


def _shape(dataset: DataSet) -> tuple[int, int, int]:
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
        if option in ("--out", "--data-folder", "--genotype"):
            value = value if equals else next(words, "")
            if option == "--genotype":
                yield from (option, cell_name(value))
        elif word != "--resume":
            yield word


def cell_name(genotype: str) -> str:
    """The name, in a record, of a genotype that was given as a name, a file or a run's folder."""
    path = Path(genotype)
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
    }

"""The command line: python -m dartslib search | train | transfer | study | doctor.

Bad input is answered with one sentence and exit code 2, Ctrl-C with one and 130; neither with a
traceback.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="Differentiable architecture search: find cells, train and transfer them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # The same words in every terminal and log file: no frames, no colors, lines of one width.
    rich_markup_mode=None,
    context_settings={"terminal_width": 80},
)

# gradients.METHODS, written out: that file loads torch, and `doctor` must run without.
Gradient = Literal["one_level", "first_order", "finite_difference", "exact"]
ProfileOption = Annotated[
    Literal["smoke", "lesson", "report", "darts"], typer.Option(help="The size of the run.")
]
DataOption = Annotated[str | None, typer.Option(help="Data set, if not the profile's.")]
SeedOption = Annotated[int, typer.Option(min=0, help="First weights, batches, drop paths.")]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the run; runs/… named after its settings if not given."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")]
RecordOption = Annotated[
    str | None,
    typer.Option(help="Also keep the finished run as data/recorded/NAME.", metavar="NAME"),
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; again for another."),
]
GenotypeOption = Annotated[
    str, typer.Option(help="A file, a finished search's folder, a recorded run, or DARTS_V2.")
]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu or cuda; found by itself if not given.")
]
FolderOption = Annotated[Path, typer.Option(help="Where data sets lie or are downloaded to.")]


@contextmanager
def _one_sentence(advice: str = "go on with --resume") -> Iterator[None]:
    """Turns the errors that bad input can cause into one sentence; the advice is for Ctrl-C.

    A warning is shown as its sentence, without the line of code that it came from.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: typer.echo(message, err=True)
            yield
    except OSError as error:
        message = str(error)
        if error.strerror:  # the system's own, such as "[Errno 13] Permission denied: 'x'"
            name = str(error.filename or "A file")[:100]
            message = (
                f"{name} cannot be used ({error.strerror}): look at its name, its rights and the "
                "room on the disk, or give another."
            )
    except (ValueError, FloatingPointError, ImportError) as error:
        message = str(error)
    except (MemoryError, RuntimeError) as error:
        # torch says so in a RuntimeError, of the processor's memory and of a GPU's.
        said = ("out of memory", "not enough memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(x in str(error).lower() for x in said):
            raise
        message = (
            "There is not enough memory for this run: choose a smaller batch_size, or fewer "
            "channels, layers or nodes."
        )
    except KeyboardInterrupt as interrupt:
        typer.echo(f"{str(interrupt) or 'Stopped'}: {advice}.", err=True)
        raise typer.Exit(130) from None  # as every command that Ctrl-C ends
    else:
        return
    typer.echo(message, err=True)
    raise typer.Exit(2)


def _overrides(words: list[str], **options: Any) -> dict[str, Any]:
    """The settings that differ from the profile's, from --set and from options of their own."""
    found = {name: value for name, value in options.items() if value is not None}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise ValueError(f"--set takes NAME=VALUE, such as epochs=3, not {word!r}.")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value  # a plain word
    return found


def _of_relaxation(name: str | None, changes: dict[str, Any]) -> dict[str, Any]:
    """The same settings; those that only the relaxation of that name has stand with it.

    Raises:
        ValueError: no such relaxation; it is named twice; neither it nor a search has a setting.
    """
    from dartslib.relaxation import read_relaxation
    from dartslib.searching import SearchConfig

    if name is None:
        return changes
    if "relaxation" in changes:
        raise ValueError("The relaxation is named twice: leave out --relaxation, or the --set.")
    own = {key: value for key, value in changes.items() if key not in SearchConfig.model_fields}
    known = [*type(read_relaxation(name)).model_fields, *SearchConfig.model_fields]
    for key in own:
        if key not in known:
            (nearest,) = get_close_matches(key, known, n=1, cutoff=0)
            raise ValueError(
                f"Neither a search nor {name} has a setting {key!r:.40}: choose another, such as "
                f"{nearest}."
            )
    rest = {key: value for key, value in changes.items() if key not in own}
    return rest | {"relaxation": {"name": name, **own}}


def _finish(record: Any, folder: Path, name: str | None) -> None:
    if name is not None:
        from dartslib.runs import records

        records.save(record, records.RECORDED / name)
    result = _numbers(record.meta["result"])
    typer.echo(
        f"{folder}: {record.meta['steps']} steps in {record.meta['seconds']:.0f} s; {result}"
    )


def _numbers(result: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in result.items())


@app.command()
def search(
    profile: ProfileOption = "smoke",
    gradient: Annotated[
        Gradient | None,
        # The second name is that of before version 0.2.
        typer.Option("--gradient", "--method", help="How alpha's gradient is computed."),
    ] = None,
    relaxation: Annotated[
        str | None,
        typer.Option(help="darts, or one that came after it: gdas, pc_darts; --set sets it, too."),
    ] = None,
    data: DataOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    record: RecordOption = None,
    set_: SetOption = (),
    device: DeviceOption = None,
    data_folder: FolderOption = Path("data"),
) -> None:
    """Search for a cell; leaves genotype.json, history.npz and meta.json in the run's folder."""
    with _one_sentence():
        from dartslib.runs import records
        from dartslib.runs.profiles import PROFILES
        from dartslib.runs.running import run_search

        records.check_name(record)
        base = PROFILES[profile].search
        changes = _overrides(set_, dataset=data, gradient=gradient)
        changes = _of_relaxation(relaxation, changes)
        config = base.changed(**({"seed": seed} | changes))
        found = "" if config.relaxation.name == "darts" else f"{config.relaxation.name}-"
        words = f"search-{profile}-{config.dataset}-{found}{config.gradient}-{config.seed}"
        folder = out or Path("runs") / words
        done = run_search(
            config,
            folder,
            profile=profile,
            overridden=changes,
            data=data_folder,
            device=device,
            resume=resume,
        )
        _finish(done, folder, record)


def _train(
    kind: str,
    genotype: str,
    profile: str,
    data: str | None,
    seed: int,
    out: Path | None,
    resume: bool,
    record: str | None,
    set_: list[str],
    device: str | None,
    data_folder: Path,
) -> None:
    with _one_sentence():
        from dartslib.runs import records
        from dartslib.runs.profiles import PROFILES
        from dartslib.runs.running import cell_name, find_genotype, run_training

        records.check_name(record)
        base = getattr(PROFILES[profile], kind)
        changes = _overrides(set_, dataset=data)
        config = base.changed(**({"seed": seed} | changes))
        name = cell_name(genotype)
        folder = out or Path("runs") / f"{kind}-{profile}-{config.dataset}-{name}-{config.seed}"
        done = run_training(
            config,
            find_genotype(genotype),
            folder,
            profile=profile,
            genotype_name=name,
            overridden=changes,
            data=data_folder,
            device=device,
            resume=resume,
        )
        _finish(done, folder, record)


@app.command()
def train(
    genotype: GenotypeOption,
    profile: ProfileOption = "smoke",
    part: Annotated[
        Literal["compare", "final"],
        typer.Option(help="compare: small network, held-out images. final: all data, tested once."),
    ] = "final",
    data: DataOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    record: RecordOption = None,
    set_: SetOption = (),
    device: DeviceOption = None,
    data_folder: FolderOption = Path("data"),
) -> None:
    """Train a network of one genotype from scratch."""
    _train(part, genotype, profile, data, seed, out, resume, record, set_, device, data_folder)


@app.command()
def transfer(
    genotype: GenotypeOption,
    profile: ProfileOption = "smoke",
    data: DataOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    record: RecordOption = None,
    set_: SetOption = (),
    device: DeviceOption = None,
    data_folder: FolderOption = Path("data"),
) -> None:
    """Train the same genotype on the profile's other data set."""
    _train(
        "transfer", genotype, profile, data, seed, out, resume, record, set_, device, data_folder
    )


@app.command()
def study(
    profile: ProfileOption = "smoke",
    seeds: Annotated[int, typer.Option(min=1, help="Searches with each gradient.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder of all runs; runs/study-PROFILE if not given.")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(help="Keep each finished run in data/recorded/NAME.", metavar="NAME"),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Make this one run, from recorded cells.", metavar="RUN")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only say what is left.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Runs at once; they share the cores.")] = 2,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that takes the runs.")
    ] = None,
    device: DeviceOption = None,
    data_folder: FolderOption = Path("data"),
) -> None:
    """The report's tables with seeds, random cells and noise; goes on where it stopped."""
    with _one_sentence("the same command goes on"):
        from dartslib.runs import records
        from dartslib.runs.study import RECORDED, Study, execute

        records.check_name(record)
        if only is not None and (list_ or cluster):
            raise ValueError("--only makes one run, here: leave --list and --cluster out.")
        usual = Path("runs") / f"study-{profile}"
        plan = Study(
            profile,
            seeds,
            (out or usual).absolute(),
            None if record is None else records.RECORDED / record,
            known=(RECORDED, usual) if only else (),
        )
        data = data_folder.absolute()
        if only is not None:
            run = plan.find(only)
            done = plan.make(run, data, device, progress=True)
            _finish(done, plan.folder / run.name, None)
            return
        for line in plan.overview(workers):
            typer.echo(line)
        for run in (
            ()
            if list_
            else execute(plan, data=data, device=device, workers=workers, cluster=cluster)
        ):
            result = plan.record(run).meta["result"]
            typer.echo(f"{run.name}: {_numbers(result)}; {plan.overview(workers)[-1]}")


@app.command()
def doctor(data_folder: FolderOption = Path("data")) -> None:
    """Say what this machine has, and what to do about what is missing."""
    from dartslib.runs.doctor import main

    raise typer.Exit(main(data_folder))


if __name__ == "__main__":
    app(prog_name="python -m dartslib")

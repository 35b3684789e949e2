"""The command line: python -m dartslib search | train | transfer | predict | study | …

Bad input is answered with one sentence and exit code 2, Ctrl-C with one and 130; neither with a
traceback.
"""

import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

PROGRAM = __name__ == "__main__"  # else a test or another program calls the commands


class Commands(TyperGroup):
    """Commands that turn the errors that bad input can cause into one sentence."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Runs a command. A warning is shown as its sentence, without its line of code."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: typer.echo(message, err=True)
                return super().invoke(ctx)
        except OSError as error:
            message = str(error)
            if error.strerror:  # the system's own, such as "[Errno 13] Permission denied: 'x'"
                name = str(error.filename or "A file")[:100]
                message = (
                    f"{name} cannot be used ({error.strerror}): look at its name, its rights and "
                    "the room on the disk, or give another."
                )
        except (ValueError, FloatingPointError, ImportError) as error:
            message = str(error)
        except (MemoryError, RuntimeError) as error:
            # torch says so in a RuntimeError, of the processor's memory and of a GPU's.
            said = re.search(
                "out of memory|not enough memory|can't allocate memory", str(error), re.I
            )
            if not isinstance(error, MemoryError) and not said:
                raise
            message = (
                "There is not enough memory for this run: choose a smaller batch_size, or fewer "
                "channels, layers or nodes; or --device cpu, if it is the GPU's."
            )
        except KeyboardInterrupt as interrupt:
            advice = dict.fromkeys(("search", "train", "transfer"), "go on with --resume")
            advice |= {"predict": "give the same command again"}
            advice = advice.get(ctx.invoked_subcommand, "the same command goes on")
            typer.echo(f"{str(interrupt) or 'Stopped'}: {advice}.", err=True)
            raise typer.Exit(130) from None  # as every command that Ctrl-C ends
        typer.echo(message, err=True)
        raise typer.Exit(2)


app = typer.Typer(
    cls=Commands,
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
GenotypeOption = Annotated[
    str, typer.Option(help="A file, a finished search's folder, a recorded run, or DARTS_V2.")
]
RecordOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Also keep what is finished in data/recorded/NAME."),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu or cuda; found by itself if not given.")
]
FolderOption = Annotated[Path, typer.Option(help="Where data sets lie or are downloaded to.")]
DataOption = Annotated[
    str | None, typer.Option(help="Data set, if not the profile's; or a folder of pictures.")
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="Override a setting; again for another."),
]
ImportOption = Annotated[
    list[Path],
    typer.Option("--import", metavar="FILE", help="Import your own operations or relaxations."),
]
ListOption = Annotated[bool, typer.Option("--list", help="Say every job; * is finished.")]
PriceOption = Annotated[bool, typer.Option("--price", help="Measure costs; a quiet machine.")]


def _set(words: Iterable[str]) -> dict[str, Any]:
    """Setting -> value of words such as epochs=3."""
    found = {}
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
    import dartslib.methods  # noqa: F401  registers all methods
    from dartslib.relaxation import RELAXATIONS, Relaxation
    from dartslib.searching import SearchConfig

    if name is None:
        return changes
    if "relaxation" in changes:
        raise ValueError("The relaxation is named twice: leave out --relaxation, or the --set.")
    own = {key: value for key, value in changes.items() if key not in SearchConfig.model_fields}
    known = [*RELAXATIONS.get(name, Relaxation).model_fields, *SearchConfig.model_fields]
    for key in [key for key in own if key not in known]:
        (nearest,) = get_close_matches(key, known, n=1, cutoff=0)
        raise ValueError(
            f"Neither a search nor {name} has a setting {key!r:.40}: choose another, such as "
            f"{nearest}."
        )
    rest = {key: value for key, value in changes.items() if key not in own}
    return rest | {"relaxation": {"name": name, **own}}


def _begin() -> None:
    """Chooses how many threads compute, before a run, and says so; in a program of its own."""
    if PROGRAM:
        from dartslib.runs.machine import choose_threads

        if said := choose_threads():
            typer.echo(said, err=True)


def _run(
    kind: str,
    genotype: str | None = None,
    gradient: str | None = None,
    relaxation: str | None = None,
    *,
    profile: ProfileOption = "smoke",
    data: DataOption = None,
    seed: Annotated[int, typer.Option(min=0, help="First weights, batches, drop paths.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/… if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    record: RecordOption = None,
    set_: SetOption = (),
    import_: ImportOption = (),
    device: DeviceOption = None,
    data_folder: FolderOption = Path("data"),
) -> None:
    """A search or a training, from its options to its record."""
    from dartslib.data import locate
    from dartslib.runs import records, running
    from dartslib.runs.importing import import_files
    from dartslib.runs.profiles import PROFILES

    records.check_name(record)
    import_files(import_)  # before the settings, which may be what they define
    name, where = (None, data_folder) if data is None else locate(data, data_folder)
    changes = {key: v for key, v in (("dataset", name), ("gradient", gradient)) if v is not None}
    changes = _of_relaxation(relaxation, changes | _set(set_))
    config = getattr(PROFILES[profile], kind).changed(**({"seed": seed} | changes))
    cell = running.cell_name(genotype) if genotype is not None else ""
    folder = out or running.usual_folder(kind, profile, config, cell)
    trained = None if genotype is None else running.find_genotype(genotype)
    options = {"profile": profile, "genotype_name": cell, "overridden": changes, "data": where}
    _begin()
    done = running.make_run(config, folder, trained, device=device, resume=resume, **options)
    if record is not None:
        records.save(done, records.RECORDED / record)
    _say_done(done, folder)


def _with_common(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `_run`, which it is given as its last argument."""
    *own, _ = signature(command).parameters.values()
    shared = [p for p in signature(_run).parameters.values() if p.kind is p.KEYWORD_ONLY]
    command.__signature__ = Signature([*own, *shared])  # what typer makes options of
    return command


def _say_done(record: Any, folder: Path) -> None:
    took = f"{record.meta['steps']} steps in {record.meta['seconds']:.0f} s"
    typer.echo(f"{folder}: {took}; {_result(record.meta)}")


def _result(meta: dict[str, Any]) -> str:
    """What came out; on one's own data with the accuracy of a constant answer beside it."""
    from dartslib.data.sets import is_own

    said = ", ".join(f"{name} {value:.4f}" for name, value in meta["result"].items())
    if "largest_class" in meta and is_own(meta["dataset"]):
        said += f" (the largest class alone: {meta['largest_class']:.4f})"
    return said


@app.command()
@_with_common
def search(
    gradient: Annotated[
        Gradient | None,
        # The second name is that of before version 0.2.
        typer.Option("--gradient", "--method", help="How alpha's gradient is computed."),
    ] = None,
    relaxation: Annotated[
        str | None,
        typer.Option(help="darts, or one that came after it: gdas, pc_darts; --set sets it, too."),
    ] = None,
    **common: Any,
) -> None:
    """Search for a cell; leaves genotype.json, history.npz and meta.json in the run's folder."""
    _run("search", None, gradient, relaxation, **common)


@app.command()
@_with_common
def train(
    genotype: GenotypeOption,
    part: Annotated[
        Literal["compare", "final"],
        typer.Option(help="compare: small network, held-out images. final: all data, tested once."),
    ] = "final",
    **common: Any,
) -> None:
    """Train a network of one genotype from scratch."""
    _run(part, genotype, **common)


@app.command()
@_with_common
def transfer(genotype: GenotypeOption, **common: Any) -> None:
    """Train the same genotype on the profile's other data set."""
    _run("transfer", genotype, **common)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training.")],
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    import_: ImportOption = (),
) -> None:
    """Say what pictures show: the names of their most probable classes, and how probable."""
    from dartslib import predict
    from dartslib.runs.importing import import_files

    import_files(import_)
    names, probabilities = predict(run, pictures)
    for picture, row in zip(pictures, probabilities, strict=True):
        best = [f"{names[k]} {row[k]:.3f}" for k in row.argsort()[::-1][:3]]
        typer.echo(f"{picture}: {', '.join(best)}")


@app.command()
def study(
    profile: ProfileOption = "smoke",
    data: DataOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Searches with each gradient.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder of all runs; runs/study-PROFILE if not given.")
    ] = None,
    record: RecordOption = None,
    published: Annotated[
        list[str], typer.Option(help="A published cell to train among the others.", metavar="CELL")
    ] = (),
    hand: Annotated[
        int, typer.Option(min=0, help="Epochs of a network made by hand.", metavar="EPOCHS")
    ] = 0,
    only: Annotated[
        str | None, typer.Option(help="Make this one run, from recorded cells.", metavar="RUN")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only say what is left.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Runs at once; they share the cores.")] = 2,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that takes the runs.")
    ] = None,
    set_: SetOption = (),
    import_: ImportOption = (),
    device: DeviceOption = None,
    data_folder: FolderOption = Path("data"),
) -> None:
    """The report's tables with seeds, random cells and noise; goes on where it stopped."""
    from dartslib.data.sets import find, find_folder, locate
    from dartslib.runs import records
    from dartslib.runs.importing import import_files
    from dartslib.runs.study import RECORDED, Study, execute

    records.check_name(record)
    if only is not None and (list_ or cluster):
        raise ValueError("--only makes one run, here: leave --list and --cluster out.")
    name, where = locate(data, data_folder) if data else (None, data_folder)
    if data:
        find(name, where)  # a list of runs on nothing would look like one
    changes = _set(set_) | ({"dataset": name} if name else {})
    usual = Path("runs") / "-".join(filter(None, ("study", profile, name)))
    kept = None if record is None else records.RECORDED / record
    known = (RECORDED, usual) if only else ()
    options = {"known": known, "imports": import_files(import_), "changes": changes}
    options |= {"published": tuple(published), "hand": hand}
    plan = Study(profile, seeds, (out or usual).absolute(), kept, **options)
    where = find_folder(where).absolute()
    if only is not None:
        _begin()
        run = plan.find(only)
        _say_done(plan.make(run, where, device, progress=True), plan.folder / run.name)
        return
    typer.echo("\n".join(plan.overview(workers)))
    if list_:
        return
    _begin()
    for run in execute(plan, data=where, device=device, workers=workers, cluster=cluster):
        result = _result(plan.record(run).meta)
        typer.echo(f"{run.name}: {result}; {plan.overview(workers)[-1]}")


def _say_list(folder: Path, jobs: Iterable[str]) -> None:
    """The names of a list's jobs in their order, with a star before those that are finished."""
    from dartslib.runs.many import finished

    done = finished(folder, jobs)
    typer.echo("\n".join(f"{'*' if job in done else ' '} {job}" for job in jobs))


def _made(
    folder: Path, jobs: Iterable[str], make: Callable[[str], dict[str, Any]], workers: int
) -> dict[str, dict[str, Any]]:
    """Makes what is left of a list and says each job that ends; the results of all."""
    from dartslib.runs.many import finished, make_all

    for job in make_all(folder, jobs, make, workers=workers):
        typer.echo(job)
    return finished(folder, jobs)


def _recorded(collect: Callable[[], None]) -> None:
    """Puts results among the records, where no more are recorded already."""
    try:
        collect()
    except FileExistsError as refused:
        typer.echo(str(refused), err=True)


@app.command()
def tabular(
    list_: ListOption = False,
    make: Annotated[bool, typer.Option("--make", help="Train what is left.")] = False,
    price: PriceOption = False,
    race: Annotated[bool, typer.Option("--race", help="Race all ways to search on it.")] = False,
    remake: Annotated[
        int, typer.Option(min=0, metavar="N", help="Train N drawn rows again, and compare.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Where finished jobs lie.")] = Path("runs/tabular"),
    workers: Annotated[int, typer.Option(min=1, help="Jobs at once, a thread each.")] = 2,
    data_folder: FolderOption = Path("data"),
) -> None:
    """The table of the small space: what is left of it; goes on where it stopped."""
    from functools import partial

    from dartslib.rivals import recording
    from dartslib.runs.many import finished, make_each
    from dartslib.tabular import making, pricing

    if list_:
        return _say_list(out, recording.plan())
    if price:
        list(make_each(pricing.price_all, [data_folder], threads=1))  # with the workers' memory
    if race:
        recording.record_race()
    for old, new in making.remake(remake, data_folder):
        typer.echo(f"{old['cell']}, run {old['run']}: {old['valid']} -> {new['valid']:.5f}")
    if price or race or remake:
        return
    plan, one = recording.plan(), partial(recording.make, folder=data_folder)

    def collect() -> dict[str, Any]:
        done = finished(out, plan)
        if make and done:
            _recorded(partial(recording.collect, done.values()))
        return done

    collect()  # what a run made that was killed
    try:
        _made(out, plan, one, workers * make)
    finally:
        done = collect()
    typer.echo(f"{len(done)} of {len(plan)} jobs are finished; --make goes on.")


@app.command()
def contest(
    list_: ListOption = False,
    make: Annotated[bool, typer.Option("--make", help="Make what is left.")] = False,
    price: PriceOption = False,
    out: Annotated[Path, typer.Option(help="Where finished searches lie.")] = Path("runs/contest"),
    workers: Annotated[int, typer.Option(min=1, help="Searches at once, a thread each.")] = 2,
    data_folder: FolderOption = Path("data"),
) -> None:
    """All methods on the table's space, for equal seconds: what is left; goes on."""
    from functools import partial

    from dartslib.rivals import contest
    from dartslib.runs.many import finished, make_each
    from dartslib.tabular import making

    if list_:
        return _say_list(out, [*contest.rates(), *contest.plan()])
    if price:
        list(make_each(contest.price_all, [making.small_images(data_folder)], threads=1))
        return
    one, count, failed = partial(making.kept, folder=data_folder), workers * make, []

    def collect() -> dict[str, Any]:
        done = finished(out, contest.plan())
        done |= finished(out, contest.fallback(done.values()))
        if make and done:
            trained = finished(out, contest.fresh(done.values()))
            _recorded(partial(contest.collect, done.values(), trained.values()))
        return done

    def go(jobs: list[str], make: Callable[..., Any]) -> dict[str, Any]:
        try:
            return _made(out, jobs, partial(one, make=make), count)
        except ValueError as some:  # that could not be made: other lists go on
            failed.append(some)
            return finished(out, jobs)

    if make:
        contest.kept("prices")  # before hours are spent
        contest.check_plan(finished(out, contest.rates()) | collect())
    try:
        rates = _made(out, contest.rates(), partial(one, make=contest.make), count)
        if make:
            contest.choose_rate(rates.values())
        done = go(contest.plan(), contest.make)
        done |= go(contest.fallback(done.values()), contest.make)
        go(contest.fresh(done.values()), making.make)
    finally:
        done = collect()
    typer.echo(f"{len(done)} of {len(contest.plan())} searches are finished; --make goes on.")
    if failed:
        raise failed[0]


@app.command()
def doctor(data_folder: FolderOption = Path("data")) -> None:
    """Say what this machine has, and what to do about what is missing."""
    from dartslib.runs.doctor import doctor, print_findings

    with suppress(Exception):  # it loads torch, which may be broken
        from dartslib.data.sets import find_folder

        data_folder = find_folder(data_folder)
    raise typer.Exit(print_findings(doctor(data_folder)))


if PROGRAM:
    for stream in (sys.stdout, sys.stderr):  # what a terminal cannot show must not end a run
        if hasattr(stream, "reconfigure"):  # not in a notebook
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="python -m dartslib")

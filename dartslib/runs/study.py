"""The study: the report's tables with seeds, with cells drawn at random, and with the noise.

Its stages, one after the other::

    stage                    its runs
    search, seed by seed     one level, first order, finite difference
    compare, seed by seed    each cell that was found, and as many drawn at random, trained alike
                             and judged on held-out images; three of the cells again with other
                             seeds, which gives the noise that every difference is read against
    published                published cells, if any are given, trained in the same way: each with
                             six seeds, and with three for twice as long
    final                    the best cell of first order, of finite difference and of the random
                             ones, and the last of the published: the final network on all images,
                             tested once, and its transfer; and a network made by hand, if asked
                             for, with three learning rates
    long                     the best cell of all, for three times as long, on both data sets

"Held-out" are images that no search has seen. The profiles `report` and `darts` hold none out, as
their papers do: there the comparison is judged on alpha's own half, which favors the cells that
were found over the random ones.

A stage is a list of runs that do not need each other; the next one reads its records.
"""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from statistics import mean
from typing import Any

from dartslib.data.sets import is_own
from dartslib.genotypes import PUBLISHED, Genotype
from dartslib.gradients import METHODS
from dartslib.runs import records
from dartslib.runs.dense import STAND_IN, DenseConfig
from dartslib.runs.drawing import draw
from dartslib.runs.driving import progress
from dartslib.runs.importing import IMPORTED, Files
from dartslib.runs.many import made
from dartslib.runs.profiles import Profile, profile
from dartslib.runs.results import used_gpu
from dartslib.runs.running import make_run
from dartslib.searching import SearchConfig
from dartslib.settings import Config
from dartslib.training import TrainConfig

SEARCHED = tuple(gradient for gradient in METHODS if gradient != "exact")
FINALISTS = ("first_order", "finite_difference", "random")
AGAIN = (1, 2)  # seeds with which the first cell of each of these is trained again
OF_PUBLISHED = {"": 6, "-twice": 3}  # trainings of a published cell, and for twice as long
HAND_RATES = (0.05, 0.15, 0.45)  # of the network made by hand
KINDS = ("final", "transfer")
ITS_OWN = ("gradient", "seed", "part")  # settings that a study sets by itself
RECORDED = records.RECORDED / "study"  # the study of this checkout


@dataclass(frozen=True)
class Run:
    """One run of the study.

    Attributes:
        name: of its folder and of its record.
        kind: "search", "compare", "final" or "transfer".
        config: all its settings.
        changed: those that are not the profile's.
        cell: what is trained: the name of the search that found it, random-NUMBER, the name of a
            published one, or "hand"; "" in a search, and where it is not known yet.
    """

    name: str
    kind: str
    config: Config
    changed: dict[str, Any]
    cell: str = ""

    @property
    def price_class(self) -> str:
        """Runs that agree in this take about the same time per epoch."""
        return self.config.model_dump_json(exclude={"dataset", "seed", "epochs", "part"})

    def made(self, record: records.Record) -> bool:
        """Whether a record has these settings; one that it lacks counts with its default.

        Operations of one's own are settings, too: they are to be as they were.
        """
        if not record.meta.get("imports", {}).items() <= IMPORTED.items():
            return False
        try:
            found = type(self.config)(**record.meta["config"])
            fitted = is_own(found.dataset) and "half" not in self.changed  # to the images there are
            if fitted and isinstance(found, SearchConfig):
                found = found.changed(half=self.config.half)
            return found == self.config
        except (KeyError, TypeError, ValueError):  # no run, or one with other settings
            return False


@dataclass
class Study:
    """What the runs are, which of them are finished, and what is left.

    Attributes:
        name: of the profile.
        seeds: searches with each gradient.
        folder: receives a folder for each run.
        recorded: keeps a copy of each record, and says what is finished; None: `folder` does.
        known: other folders of records, from which cells may be taken.
        imports: files of operations or relaxations that every process of the study imports.
        published: names of published cells that are trained among those of the study.
        hand: epochs of the network made by hand, such that it takes as long as the others; 0: none.
        changes: settings that differ from the profile's, of all kinds of runs that have them. On
            a `dataset` of one's own there is no other to transfer to.
        settings: the profile of that name, unless others are given.

    Raises:
        ValueError: no seed, no such profile or published cell, or a setting that no run has.
    """

    name: str = "smoke"
    seeds: int = 3
    folder: Path = Path("runs/study")
    recorded: Path | None = None
    known: tuple[Path, ...] = ()
    imports: Files = Files()  # before the settings, which a process could not read without
    published: tuple[str, ...] = ()
    hand: int = 0
    changes: dict[str, Any] = field(default_factory=dict)
    settings: Profile | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"A study has one seed or more, not {self.seeds}.")
        self.settings = self.settings or profile(self.name)
        for name in {*self.published} - {*PUBLISHED}:
            raise ValueError(
                f"There is no published cell {name!r:.40}: choose among {', '.join(PUBLISHED)}."
            )
        known = {*SearchConfig.model_fields, *TrainConfig.model_fields} - {*ITS_OWN}
        for setting in self.changes.keys() - known:
            (nearest,) = get_close_matches(setting, known, n=1, cutoff=0)
            raise ValueError(
                f"A study has no setting {setting!r:.40} to change: choose another, such as "
                f"{nearest}."
            )
        kinds = vars(self.settings).items()
        self.settings = Profile(**{k: c.changed(**self._changes(c)) for k, c in kinds})
        self.kinds = KINDS[:1] if "dataset" in self.changes else KINDS
        self.kept = self.recorded or self.folder

    def __iter__(self) -> Iterator[Run]:
        """All runs; the cells of the last two stages are known once those before are finished."""
        return (run for stage in self.stages() for run in stage)

    def find(self, name: str) -> Run:
        """The run of a name; ValueError if there is none."""
        runs = {run.name: run for run in self}
        if name not in runs:
            (nearest,) = get_close_matches(name, runs, n=1, cutoff=0)
            raise ValueError(
                f"There is no run {name[:80]!r} in this study: --list has them, such as {nearest}."
            )
        return runs[name]

    def _changes(self, config: Config) -> dict[str, Any]:
        return {k: v for k, v in self.changes.items() if k in type(config).model_fields}

    def _run(self, kind: str, name: str, cell: str = "", **changed: Any) -> Run:
        config = getattr(self.settings, kind).changed(**changed)
        changed = self._changes(config) | changed
        return Run(f"{kind}-{config.dataset}-{name}", kind, config, changed, cell)

    def _by_hand(self, number: int) -> Run:
        rate, final = HAND_RATES[number], self.settings.final
        more = {"epochs": self.hand, "lr": rate}
        if getattr(final, "muon", 0):  # most of its weights are Muon's, whose rate is its own
            more["muon"] = final.muon * rate / final.lr
        run = self._run("final", f"hand_{number}", "hand", **more)
        return replace(run, config=DenseConfig(**run.config.model_dump()))

    @cached_property
    def searches(self) -> list[Run]:
        """Seed by seed, the longest search first, so that no core waits for it at the end."""
        return [
            self._run("search", f"{gradient}-{seed}", gradient=gradient, seed=seed)
            for seed in range(self.seeds)
            for gradient in reversed(SEARCHED)
        ]

    @cached_property
    def compared(self) -> dict[str, list[Run]]:
        """Group of cells -> the trainings that compare them, all with seed 0."""
        cells: dict[str, list[str]] = {gradient: [] for gradient in SEARCHED}
        for run in self.searches:
            cells[run.config.gradient].append(run.name)
        cells["random"] = [f"random-{number}" for number in range(len(self.searches))]
        return {
            group: [self._run("compare", f"{group}-{k}", cell) for k, cell in enumerate(found)]
            for group, found in cells.items()
        }

    @cached_property
    def of_published(self) -> list[Run]:
        """The trainings of published cells, round by round, those of the usual length first.

        No two share a seed: a seed that is lucky for one may be so for another.
        """
        epochs, known = self.settings.compare.epochs, [*PUBLISHED]
        return [
            self._run("compare", f"{cell}{length}-{number}", cell, seed=seed, **more)
            for place, (length, count) in enumerate(OF_PUBLISHED.items())
            for more in [{"epochs": 2 * epochs} if length else {}]
            for number in range(count)
            for cell in self.published
            for seed in [100 * (1 + known.index(cell)) + 10 * place + number]
        ]

    def stages(self) -> Iterator[list[Run]]:
        """The lists of runs, one after the other; a later one needs records of those before."""
        each = len(SEARCHED)
        for seed in range(self.seeds):
            of_seed = slice(each * seed, each * (seed + 1))
            yield self.searches[of_seed] + self.compared["random"][of_seed]
            # One more training with each of the first seeds; what is left over with the last.
            end = None if seed == self.seeds - 1 else seed + 1
            yield [self.compared[gradient][seed] for gradient in SEARCHED] + [
                self._run("compare", f"{group}-0-again-{other}", first.cell, seed=other)
                for group, (first, *_) in self.compared.items()
                if group in FINALISTS
                for other in AGAIN[seed:end]
            ]
        if self.published:
            yield self.of_published
        finalists = {group: self.best(group) for group in FINALISTS}
        finalists |= {name: name for name in self.published[-1:]}
        yield [
            self._run(kind, group, cell, epochs=epochs)
            for group, cell in finalists.items()
            for kind in self.kinds
            for epochs in [getattr(self.settings, kind).epochs // 3 or 1]
        ] + [self._by_hand(number) for number in range(len(HAND_RATES)) if self.hand]
        yield [self._run(kind, "long", self.best(*self.compared)) for kind in self.kinds]

    def best(self, *groups: str) -> str:
        """The cell of these groups with the highest accuracy on held-out images.

        All were trained with one seed for this, and looked at once. "" if a record is missing.
        """
        runs = [run for group in groups for run in self.compared[group]]
        found = [self.record(run) for run in runs]
        if None in found:
            return ""
        accuracies = [record.meta["result"]["valid_accuracy"] for record in found]
        return runs[accuracies.index(max(accuracies))].cell

    def record(self, run: Run, *folders: Path) -> records.Record | None:
        """The record of a run in one of these folders, or in any known; None if none has it.

        A damaged record is none: the run is made again, or taken from another folder.

        Raises:
            ValueError: a folder of this study has a run of that name with other settings.
        """
        for folder in folders or (self.kept, self.folder, *self.known):
            try:
                record = records.load(folder / run.name)
            except (FileNotFoundError, ValueError):
                continue
            if run.made(record):
                return record
            if folder in (self.kept, self.folder):
                raise ValueError(
                    f"{folder / run.name} was made with other settings than the profile "
                    f"{self.name} has, or with other imported files: give this study another "
                    "folder (--out) or another name (--record)."
                )
        return None

    def finished(self, run: Run) -> bool:
        """Whether nothing is left to do; a final network is made once, of the cell best then."""
        return self.record(run, self.kept) is not None

    def genotype(self, run: Run) -> Genotype:
        """The cell that a run trains; ValueError if the record that it comes from is missing."""
        if run.cell == "hand":
            return STAND_IN
        if run.cell in self.published:
            return PUBLISHED[run.cell]
        if run.cell.startswith("random-"):
            return draw(self.settings.search.space(), int(run.cell.removeprefix("random-")))
        found = [self.record(search) for search in self.searches if search.name == run.cell]
        if not any(found):
            raise ValueError(
                f"{run.name} trains a cell that is not found yet: make the runs before it first."
            )
        return found[0].genotype

    def make(
        self,
        run: Run,
        data: str | Path = "data",
        device: str | None = None,
        progress: bool = False,
    ) -> records.Record:
        """Makes a run, or what is left of it; arguments and errors as for `make_run`."""
        record = self.record(run, self.folder)
        if record is None:
            command = f"python -m dartslib study --profile {self.name} --seeds {self.seeds}".split()
            command += [word for path in self.imports for word in ("--import", Path(path).name)]
            command += [word for name in self.published for word in ("--published", name)]
            command += ["--hand", str(self.hand)] * bool(self.hand)
            for name, value in self.changes.items():
                command += ["--set", f"{name}={json.dumps(value)}"]
            command += ["--only", run.name]
            record = make_run(
                run.config,
                self.folder / run.name,
                genotype=None if run.kind == "search" else self.genotype(run),
                genotype_name=run.cell,
                profile=self.name,
                overridden=run.changed,
                data=data,
                device=device,
                resume=True,
                progress=progress,
                command=shlex.join(command),
                digest=self._digest(run),
            )
        if self.recorded is not None:
            records.save(record, self.recorded / run.name)
        return record

    def _digest(self, run: Run) -> str | None:
        """Of the images that finished runs on the same data set had; None if there are none."""
        for other in self:
            with suppress(FileNotFoundError, ValueError):
                meta = records.load(self.kept / other.name).meta
                if meta["dataset"] == run.config.dataset and meta.get("data"):
                    return meta["data"]
        return None

    def _done(self, run: Run, *folders: Path) -> tuple[float, float]:
        """Epochs made of a run, and the seconds on a processor that they took; 0 if not known."""
        record = self.record(run, *folders)
        if record is not None:
            return run.config.epochs, 0.0 if used_gpu(record) else record.meta["seconds"]
        try:
            step, steps, seconds = progress(self.folder / run.name) or (0, 1, 0.0)
        except ValueError:  # a damaged checkpoint
            return 0.0, 0.0
        return run.config.epochs * step / steps, seconds

    def seconds_left(self) -> dict[str, float | None]:
        """Name of each run that is left -> seconds that it still needs; None if not known.

        From what runs with the same settings took per epoch: here, or else in the recorded study,
        on its machine.
        """
        runs, prices = list(self), {}
        for folder in (RECORDED, self.kept)["dataset" in self.changes :]:
            found = defaultdict(list)
            for run in runs:
                epochs, seconds = self._done(run, folder)
                if epochs and seconds:
                    found[run.price_class].append(seconds / epochs)
            prices |= {name: mean(values) for name, values in found.items()}
        left: dict[str, float | None] = {}
        for run in runs:
            if not self.finished(run):
                epochs, price = self._done(run, self.kept)[0], prices.get(run.price_class)
                left[run.name] = None if price is None else (run.config.epochs - epochs) * price
        return left

    def overview(self, workers: int) -> list[str]:
        """What is finished and what is left, one line per run, and the sum."""
        lines, left = [], self.seconds_left()
        for run in self:
            seconds = left.get(run.name)
            time = "not known yet" if seconds is None else f"{seconds / 60:.1f} min"
            lines.append(f"{run.name:45}{time if run.name in left else self._of_which(run):>15}")
        if not left:
            return [*lines, "all finished"]
        known = [seconds for seconds in left.values() if seconds is not None]
        hours = f"about {sum(known) / workers / 3600:.1f} hours, {workers} at once"
        others = f"{len(left) - len(known)} whose time is not known yet"
        times = [hours] * bool(known) + [others] * (len(known) < len(left))
        return [*lines, f"{len(left)} of {len(lines)} runs left: {', and '.join(times)}"]

    def _of_which(self, run: Run) -> str:
        """What is said of a finished run: the cell, too, if it is not the best one any more."""
        trained = self.record(run, self.kept).meta.get("cell")  # a search has none
        if run.kind not in KINDS or trained == run.cell:
            return "finished"
        now = f"now it is {run.cell}" if run.cell else "others are to be compared yet"
        return f"finished, with {trained}, when that was the best cell; {now}"


def execute(
    study: Study,
    *,
    data: str | Path = "data",
    device: str | None = None,
    workers: int = 2,
    cluster: str | None = None,
) -> Iterator[Run]:
    """Makes what is left of a study, and yields each run as it ends.

    A run that was stopped goes on from its checkpoint. What fails does not keep the others of its
    stage from being made.

    Args:
        study: what to do.
        data, device: as in `make_run`.
        workers: runs at once, on this machine; they share its cores.
        cluster: address of a Dask scheduler, whose workers make the runs instead; they must see the
            same folders and have dartslib. If one is lost, another one goes on with its run.

    Raises:
        ValueError: some runs could not be made, and why.
        ChildProcessError: a worker of this machine was killed.
    """
    make = partial(study.make, data=data, device=device)
    for stage in study.stages():
        left = [run for run in stage if not study.finished(run)]
        yield from made(make, left, attrgetter("name"), workers=workers, cluster=cluster)

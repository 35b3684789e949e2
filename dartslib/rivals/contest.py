"""The contest: every method searches the table's space for equal seconds, and the table judges.

    python -m dartslib contest --list         all jobs; * is finished
    python -m dartslib contest --price        seconds per step of every arm; a quiet machine
    python -m dartslib contest --make         w's rate, then all searches; goes on where it stopped

All that was decided before is in contest.toml. A job is called arm-group-seed, such as
"gdas-budget-3". Its row has the probabilities and the cell that would be derived, record by record.
"""

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import inf, nan
from pathlib import Path
from statistics import fmean, median
from time import process_time
from typing import Any

import numpy as np
import torch

from dartslib.data import DataSet
from dartslib.methods import latency
from dartslib.methods.fbnet import FBNet
from dartslib.methods.stages import AROUND, Around, Stages
from dartslib.relaxation import Moment
from dartslib.rivals.measuring import new_search
from dartslib.runs import records
from dartslib.runs.files import refuse_fewer, write_text
from dartslib.runs.machine import commit, machine, versions
from dartslib.searching import Search, SearchConfig
from dartslib.space import CELL_TYPES
from dartslib.tabular import pricing
from dartslib.tabular.cells import classes, name
from dartslib.tabular.making import RECIPE, RUNS
from dartslib.tabular.table import PRICES as TABLE_PRICES
from dartslib.tabular.table import read_rows

PLAN = Path(__file__).with_name("contest.toml")
FOLDER = records.RECORDED / "contest"
ROUNDS, SHORT = 3, (30, 90)  # steps of the two runs that give a price
# What these do once costs as much as hundreds of steps: of two short runs the difference would be
# mostly noise.
DEAR_ONCE, LONGER = ("early_stopping", "perturbation"), (30, 330)
# What a record of each arm keeps of every moment, and how exactly; "frozen" is a share (OLES).
KEPT = {
    "at": np.int32, "cells": np.int16,
    "probabilities": np.float32, "logits": np.float16, "curves": np.float16,
}  # fmt: skip
CURVES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "w_lr", "frozen")


@cache
def settings() -> dict[str, Any]:
    """contest.toml."""
    return tomllib.loads(PLAN.read_text(encoding="utf-8"))


@cache
def digest() -> str:
    """Of contest.toml, as it stands in every record."""
    return hashlib.blake2b(PLAN.read_bytes(), digest_size=8).hexdigest()


def arms() -> dict[str, dict[str, Any]]:
    """Name -> its settings; those of a group alone are DARTS with other settings."""
    found = dict(settings()["arms"])
    for plan in (settings()[group] for group in ("equal_steps", "collapse", "latency")):
        for arm in plan["arms"]:  # in this order, in every process
            found.setdefault(arm, found["darts"] | plan.get(arm, {}))
    return found


def rates() -> list[str]:
    """The jobs that choose w's rate."""
    plan = settings()["rate"]
    return [f"rate-{rate}-{seed}" for rate in plan["choices"] for seed in range(plan["seeds"])]


def plan() -> list[str]:
    """The names of all searches, seed by seed, so that whatever is finished can be compared."""
    all_of = settings()
    every, seeds, travel = list(all_of["arms"]), all_of["budget"]["seeds"], all_of["travel"]
    found = [f"{arm}-budget-{seed}" for seed in range(seeds) for arm in every]
    for group in ("equal_steps", "collapse", "long"):
        own = all_of[group]
        found += [f"{arm}-{group}-{seed}" for seed in range(own["seeds"]) for arm in own["arms"]]
    powers = range(len(all_of["latency"]["powers"]))
    for seed in range(all_of["latency"]["seeds"]):
        found += [f"fbnet-latency{number}-{seed}" for number in powers]
    for seed in range(seeds, seeds + travel["seeds"]):
        groups = [f"travel{number}" for number in range(len(travel["times"]))]
        found += [f"{arm}-{group}-{seed}" for group in groups for arm in every]
    return found


def fallback(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The searches of the collapse on two operations, if it did not come on all of them."""
    plan, collapse = settings()["narrow"], settings()["collapse"]
    ends = [row for row in rows if (row["arm"], row["group"]) == ("watched", "collapse")]
    if len(ends) < collapse["seeds"] or sum(map(collapsed, ends)) >= plan["unless"]:
        return []
    return [f"{arm}-narrow-{seed}" for seed in range(plan["seeds"]) for arm in plan["arms"]]


def collapsed(row: Mapping[str, Any]) -> bool:
    """Whether most operations of the cell that a search ends with are skip_connect."""
    return not row["error"] and row["cells"][-1].count("skip") >= settings()["collapse"]["skips"]


def config_of(
    arm: str, w_lr: float, seed: int, operations: Sequence[str] = (), **changed: Any
) -> SearchConfig:
    """The settings of an arm; the number of steps and alpha's rate come with the budget.

    `operations` stand for the arm's own, `changed` are settings of FBNet's relaxation that differ.
    """
    own = {k: v for k, v in arms()[arm].items() if k not in ("travel", "around")}
    own |= {"operations": operations} if operations else {}
    if arm in settings()["latency"]["arms"]:
        found, known = kept("latency"), settings()["search"]
        places = [known["operations"].index(operation) for operation in own["operations"]]
        edges = [[edge[k] for k in places] for edge in found["milliseconds"]["normal"]]
        changed |= {"milliseconds": {"normal": edges}, "rest": found["rest"]}
        usual = FBNet(**changed)  # the factor of all powers is that of the paper's where alpha is 0
        log = np.log(1000 * (found["rest"] + sum(map(fmean, edges))))
        scale = usual.scale * log ** (FBNet.model_fields["power"].default - usual.power)
        own["relaxation"] = own["relaxation"] | changed | {"scale": float(scale)}
    return SearchConfig(**settings()["search"] | own, w_lr=w_lr, seed=seed)


def begin(
    arm: str,
    images: DataSet,
    *,
    w_lr: float,
    seed: int,
    steps: int,
    times: float = 1.0,
    fast: bool = True,
    **changed: Any,
) -> Stages:
    """An arm's search before its first step.

    Args:
        arm: its name.
        images: those of the table.
        w_lr: w's first rate.
        seed: of everything.
        steps: how many in all; where the method tunes after the search, that comes on top.
        times: alpha's travel, in multiples of the arm's.
        fast: the fast form where there is one, or the plain form.
        changed: as in `config_of`.
    """
    config = config_of(arm, w_lr, seed, **changed)
    own = dict(arms()[arm].get("around", {}))
    around = AROUND.get(own.pop("name", None), Around)(**own)
    each = max(1, around.share(steps))
    moves = sum(config.relaxation.moves_alpha(Moment(k, each, None)) for k in range(each))
    config = config.changed(alpha_lr=times * arms()[arm]["travel"] / max(1, moves))

    def one(config: SearchConfig) -> Search:
        search = new_search(config, images, fast)
        search.steps = each
        return search

    return Stages(around, config, one)


def follow(loop: Stages) -> dict[str, Any]:
    """Runs a search to its end: seconds of the processor, and what its records say.

    A search that fails is one, too: "error" says why, the rest is that of its records so far.
    """
    began, error, frozen = process_time(), "", []
    try:
        for _ in loop:
            share = loop.notes["frozen"].float().mean() if "frozen" in loop.notes else nan
            frozen.append(float(share))
    except (FloatingPointError, ValueError, RuntimeError) as failed:  # something is not finite
        numbers = (*loop.w, *loop.architecture.alpha)
        said = isinstance(failed, FloatingPointError)
        if not said and all(bool(t.isfinite().all()) for t in numbers):
            raise  # a fault of the machine, such as too little memory, or of the code
        error = str(failed)
    history = loop.history | {"frozen": frozen}
    kept = len(frozen)  # records
    tables = history["probabilities_normal"][:kept]  # (edges, operations) each
    derive, space = loop.architecture.relaxation.derive, loop.architecture.space
    cells = [derive(dict.fromkeys(CELL_TYPES, torch.as_tensor(p)), space) for p in tables]
    values = enumerate(history["eigenvalue"][:kept] if "eigenvalue" in history else [])
    at = [int(step) for step in history["step"][:kept]]
    return {
        "at": at,
        "cells": [name(cell.normal) for cell in cells],
        "probabilities": np.round(tables, 9).tolist(),
        "logits": np.round(history["logits_normal"][:kept], 4).tolist(),
        "eigenvalues": [[at[k], round(value, 5)] for k, value in values if np.isfinite(value)],
        "curves": np.round([history[key][:kept] for key in CURVES], 5).T.tolist(),
        "operations": list(space.operations),
        "seconds": process_time() - began,
        "error": error,
    }


def make(job: str, images: DataSet) -> dict[str, Any]:
    """One job: a search of the plan, or one that chooses w's rate.

    Raises:
        FileNotFoundError: prices or w's rate are not there yet.
    """
    arm, group, seed = job.split("-")
    if arm == "rate":  # alpha hardly moves: the uniform supernet
        options = {"w_lr": float(group), "steps": settings()["budget"]["steps"], "times": 1e-9}
        found = follow(begin("darts", images, seed=int(seed), **options))
        loss = inf if found["error"] else found["curves"][-1][CURVES.index("train_loss")]
        return {"train_loss": loss, "w_lr": float(group), "digest": digest()}
    steps, changed = steps_of(arm, group), {}
    if group.startswith("travel"):
        changed["times"] = settings()["travel"]["times"][int(group.removeprefix("travel"))]
    elif group in ("collapse", "narrow"):  # alpha's rate stays what it was
        changed = {k: v for k, v in settings()[group].items() if k in ("times", "operations")}
    elif group.startswith("latency"):
        changed["power"] = settings()["latency"]["powers"][int(group.removeprefix("latency"))]
    loop = begin(arm, images, w_lr=kept("rate")["w_lr"], seed=int(seed), steps=steps, **changed)
    what = {"arm": arm, "group": group, "seed": int(seed), "digest": digest(), "steps": steps}
    rates = {
        "price": kept("prices")["plain"][arm] if by_price(group) else None,
        "config": loop.searches[0].config.model_dump(mode="json"),
        "around": {"name": loop.around.name} | loop.around.model_dump(mode="json"),
        "w_lr": loop.config.w_lr,
        "alpha_lr": loop.config.alpha_lr,
    }
    return what | rates | follow(loop)


def steps_of(arm: str, group: str) -> int:
    """How many steps an arm may make: equal seconds, or equal steps."""
    all_of = settings()
    steps, times = all_of["budget"]["steps"], 1
    if group in ("long", "collapse", "narrow"):
        times = all_of[group]["times"]
    if not by_price(group):
        return times * steps
    prices = kept("prices")["plain"]
    darts, mine = prices["darts"], prices[arm]
    seconds = times * (darts["once"] + steps * darts["per_step"])
    return max(1, round((seconds - mine["once"]) / mine["per_step"]))


def budget_seconds() -> float:
    """CPU-seconds that a search may take, by DARTS in the fast form, at the table's prices.

    The table may be of another machine than the contest: "pace" says how many times as long as in
    its prices a training step takes where those of the contest were measured.
    """
    found = kept("prices")
    fast = found["fast"]["darts"]
    return (fast["once"] + settings()["budget"]["steps"] * fast["per_step"]) / found["pace"]


def by_price(group: str) -> bool:
    """Whether the searches of a group have equal seconds, and not equal steps."""
    return group not in ("equal_steps", "collapse", "narrow")


def kept(name: str) -> Any:
    """What a file beside the records has: "prices", "rate", "latency" or "fresh".

    Raises:
        FileNotFoundError: there is none yet.
        ValueError: as `check_plan`.
    """
    path = FOLDER / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {path.name} yet: run contest --price, on a quiet machine, then --make."
        )
    found = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(found, dict):
        check_plan({path.name: found})
    return found


def check_plan(found: Mapping[str, Mapping[str, Any]]) -> None:
    """ValueError if any of these was made with another contest.toml."""
    others = [name for name, one in found.items() if one["digest"] != digest()]
    if others:
        raise ValueError(
            f"Of the contest, {len(others)} were made with another contest.toml, {others[0]} "
            "first: put that file back, or begin anew in an empty folder."
        )


def choose_rate(rows: Iterable[Mapping[str, Any]]) -> float:
    """The rate with the lowest mean training loss; written down, once.

    Raises:
        ValueError: another one was chosen before, and searches may have it.
    """
    losses: dict[float, list[float]] = {}
    for row in rows:
        losses.setdefault(row["w_lr"], []).append(row["train_loss"])
    means = {rate: fmean(values) for rate, values in losses.items()}
    chosen = min(means, key=means.__getitem__)
    if (FOLDER / "rate.json").exists():
        if kept("rate")["w_lr"] != chosen:
            raise ValueError(f"rate.json has another rate than {chosen}, and searches may have it.")
        return chosen
    found = {"w_lr": chosen, "train_loss": means, "digest": digest()}
    write_text(FOLDER / "rate.json", json.dumps(found, indent=1) + "\n")
    return chosen


def price_all(images: DataSet) -> None:
    """Seconds of every arm, once and per step, and milliseconds per operation; writes both files.

    In process time of this one process, with nothing else running: two short runs per arm give a
    line, and the median of the rounds counts. A search that is stopped early is priced as if it
    were not.

    "pace" is how many times as long as in the table's prices a training step takes here.

    Raises:
        FileExistsError: there are prices, and searches may have been given them.
        ValueError: a search failed.
    """
    if (FOLDER / "prices.json").exists():
        raise FileExistsError(
            f"There are prices in {FOLDER.name}, and searches may have them: they stay. Remove "
            "prices.json if there is no search yet."
        )
    made = {"commit": commit(), "machine": machine("cpu"), "versions": versions()}
    made["digest"] = digest()
    found = price_operations(config_of("darts", 0.1, 0), images.image_size)
    write_text(FOLDER / "latency.json", json.dumps(found | made, indent=1) + "\n")
    quiet = {row["cell"]: float(row["step_seconds"]) for row in read_rows(TABLE_PRICES)}
    pace = median(
        pricing.price(cell, images, RECIPE)["step_seconds"] / quiet[name(cell.normal)]
        for cell in classes()[::16]
    )

    def price(arm: str, fast: bool) -> dict[str, float]:
        searched = "watched" if arm == "early_stopping" else arm
        options = {"w_lr": 0.05, "seed": 0, "fast": fast}
        steps = LONGER if arm in DEAR_ONCE else SHORT
        few, many = (follow(begin(searched, images, steps=n, **options)) for n in steps)
        if error := few["error"] or many["error"]:
            raise ValueError(f"The search that is to give {arm} its price failed: {error}")
        per_step = (many["seconds"] - few["seconds"]) / (steps[1] - steps[0])
        return {"per_step": per_step, "once": max(0.0, few["seconds"] - steps[0] * per_step)}

    every = [("fast", "darts")]
    every += [("plain", arm) for arm in arms() if not arm.startswith(("watched", "jitter"))]
    price("darts", False)  # the first run pays for what torch sets up once
    rounds = [[price(arm, form == "fast") for form, arm in every] for _ in range(ROUNDS)]
    prices: dict[str, dict[str, Any]] = {"fast": {}, "plain": {}}
    for (form, arm), *same in zip(every, *rounds, strict=True):
        prices[form][arm] = {key: median(one[key] for one in same) for key in same[0]}
    prices["pace"] = pace
    write_text(FOLDER / "prices.json", json.dumps(prices | made, indent=1) + "\n")


def price_operations(config: SearchConfig, image_size: int) -> dict[str, Any]:
    """What operations cost in the small space, and whether their sum explains what cells cost.

    A line is fitted to the milliseconds that cells take in prices.csv, over these sums: operations
    are then told in milliseconds of the machine and the network of that file.

    Returns:
        "milliseconds" per edge and operation, for one image, already times the line's "slope";
        "rest", where the line begins; "explained", R squared.
    """
    found, space = latency.measure(config, image_size), config.space()
    measured = {row["cell"]: float(row["forward_1_ms"]) for row in read_rows(TABLE_PRICES)}
    pairs = []
    for cell in classes():
        edges = [(space.edges.index((source, target)), space.operations.index(operation))
                 for target, node in enumerate(cell.normal, start=2)
                 for operation, source in node]  # fmt: skip
        whole = sum(found["normal"][edge][operation] for edge, operation in edges)
        pairs.append((whole, measured[name(cell.normal)]))
    sums, milliseconds = np.array(pairs).T  # each (classes,)
    slope, rest = np.polyfit(sums, milliseconds, 1)
    return {
        "milliseconds": {"normal": (slope * np.array(found["normal"])).tolist()},
        "slope": float(slope),
        "rest": float(rest),
        "explained": float(np.corrcoef(sums, milliseconds)[0, 1] ** 2),
    }


def fresh(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Trainings of the classes in which enough searches end: jobs of the table, with a new seed."""
    ends = Counter(row["cells"][-1] for row in rows if not row["error"])
    numbers = {name(cell.normal): number for number, cell in enumerate(classes())}
    least = settings()["fresh"]["searches"]
    # Seeds of its own: run RUNS is that of the long trainings and of the controls.
    return [f"short-{numbers[cell]}-{RUNS + 1}" for cell, count in ends.items() if count >= least]


def collect(rows: Iterable[Mapping[str, Any]], trained: Iterable[Mapping[str, Any]] = ()) -> None:
    """Writes a record per arm, of what `make` says of its searches, and their arrays.

    An array per group and kind has a row per search, in the order of "searches" in meta.json, and
    is as long as the longest; what a search that failed lacks is nan, or -1. "cells" are numbers of
    classes. A search's "made" is its place in "made" of meta.json: where and by which code. Fresh
    trainings go into fresh.json.

    Raises:
        FileExistsError: more is recorded than these; nothing is written.
    """
    trained = list(trained)
    if (FOLDER / "fresh.json").exists():
        refuse_fewer(FOLDER / "fresh.json", len(kept("fresh")), len(trained))
    numbers = {name(cell.normal): number for number, cell in enumerate(classes())}
    of_arm: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of_arm.setdefault(row["arm"], []).append(row)
    for arm in records.names(FOLDER):
        before, now = (
            {(one["group"], one["seed"]) for one in searches}
            for searches in (records.load(arm, FOLDER).meta["searches"], of_arm.get(arm, ()))
        )
        refuse_fewer(FOLDER / arm, len(before), len(before & now))
    write_text(FOLDER / "fresh.json", json.dumps(trained, indent=1) + "\n")
    keys = (
        "group", "seed", "steps", "seconds", "price", "w_lr", "alpha_lr", "operations", "error",
        "eigenvalues", "digest",
    )  # fmt: skip
    where = "commit", "data", "machine", "versions"
    for arm, mine in of_arm.items():
        meta: dict[str, Any] = {"kind": "contest", "arm": arm, "curves": CURVES}
        meta |= {key: mine[0][key] for key in ("config", "around")}  # others: seed, rates, group
        made = [{key: row[key] for key in where} for row in mine]
        meta["made"] = [one for k, one in enumerate(made) if one not in made[:k]]
        meta["searches"] = [
            {key: row[key] for key in keys} | {"made": meta["made"].index(one)}
            for row, one in zip(mine, made, strict=True)
        ]
        history = {}
        for group in dict.fromkeys(row["group"] for row in mine):
            found = [row for row in mine if row["group"] == group]
            arrays = {key: [row[key] for row in found] for key in KEPT}
            arrays["cells"] = [[numbers[cell] for cell in cells] for cells in arrays["cells"]]
            for key, values in arrays.items():
                history[f"{group}-{key}"] = stacked(values, KEPT[key])
        records.save(records.Record(arm, meta, history, None), FOLDER / arm)


def stacked(values: Sequence[Any], kind: type) -> np.ndarray:
    """(len(values), longest, ...): shorter ones end on nan, or on -1 where they are whole."""
    arrays = [np.asarray(value, kind) for value in values]
    longest, fill = max(map(len, arrays)), np.nan if issubclass(kind, np.floating) else -1
    shape = len(arrays), longest, *arrays[0].shape[1:]
    found = np.full(shape, fill, kind)
    for row, array in zip(found, arrays, strict=True):
        row[: len(array)] = array
    return found

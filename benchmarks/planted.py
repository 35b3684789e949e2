"""Does the search find what is needed? Ten searches on the planted problem, and their control.

    python -m benchmarks.planted             one seed of each kind, and print; half a minute
    python -m benchmarks.planted --record    ten seeds; write data/recorded/planted; minutes
    python -m benchmarks.planted --methods all --seeds 10      how often does each method find it?

Notebook 02 shows that record and tests/test_planted.py checks it. By construction one operation
is needed (see dartslib/data/planted.py). Kinds of search: by first order, by the finite
difference, and the control, first order in the same space without that operation. `--methods`
takes names of `METHODS`, or of any relaxation, and keeps nothing: a method enters the contest that
finds it in nine searches of ten (rivals/contest.toml).

With --record each finished search is kept in runs/planted, written whole, so that a command that
was stopped goes on where it was. A search of another commit or with other settings is made anew.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dartslib.data.planted import NEEDED, SEARCH, planted, planted_accuracy, planted_search
from dartslib.methods.stages import AROUND, Around, Stages
from dartslib.runs import records
from dartslib.runs.machine import commit, machine, versions
from dartslib.searching import SearchConfig

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "runs" / "planted"
RECORD = records.RECORDED / "planted"
SEEDS = range(10)
OTHERS = tuple(name for name in SEARCH.operations if name != NEEDED)
KINDS = {  # name -> what differs from SEARCH
    "first_order": {"gradient": "first_order"},
    "finite_difference": {"gradient": "finite_difference"},
    "control": {"gradient": "first_order", "operations": OTHERS},
}
REAL = tuple(name for name in SEARCH.operations if name != "none")
METHODS = {  # name -> what differs from SEARCH
    name: {"relaxation": name}
    for name in ("darts", "sdarts", "drnas", "darts_minus", "i_darts", "sgas", "oles", "p_darts")
} | {
    # The paper's 50 is a mean over six edges, and there are four rows here; then halves of it.
    f"beta_darts_{scale:g}": {"relaxation": {"name": "beta_darts", "scale": scale * 4 / 6}}
    for scale in (50, 25, 12.5, 6.25)
} | {
    f"sdarts_adv_{reach:g}": {
        "relaxation": {"name": "sdarts", "attack": "adversarial", "reach_to": reach}
    }
    for reach in (0.3, 0.15, 0.075, 0.0375)  # eight operations begin with 1/8 each
} | {
    # A mean over 28 numbers here and 196 in its paper, where the factor is 10; then halves of it.
    f"fair_darts_{factor:g}": {
        "relaxation": {"name": "fair_darts", "w01": factor * 28 / 196}, "operations": REAL
    }
    for factor in (10, 5, 2.5, 1.25)
} | {
    # One operation per edge runs in a step, so w needs more of them.
    "gdas": {"relaxation": "gdas", "epochs": 8},
    # Of 8 channels K = 4 would search two.
    "pc_darts": {"relaxation": {"name": "pc_darts", "k": 4}, "channels": 16, "epochs": 4},
    "sgas_2": {"relaxation": {"name": "sgas", "criterion": 2}},
    "snas": {"relaxation": "snas", "gradient": "one_level"},
    "proxyless": {"relaxation": "proxyless", "epochs": 8},
    # Milliseconds of edges and operations; with 1 and not 0.05, latency is all that counts.
    "fbnet": {"operations": REAL, "relaxation": {"name": "fbnet", "milliseconds": {
        "normal": [[0.0 if name == "skip_connect" else 0.05 for name in REAL]] * 2
    }}},
    "perturbation": {"around": {"name": "perturbation"}},
    "early_stopping": {"around": {"name": "early_stopping"}},
}  # fmt: skip


def settings(kind: str, seed: int) -> SearchConfig:
    """The configuration of one search."""
    changes = dict((KINDS | METHODS).get(kind, {"relaxation": kind}))
    changes.pop("around", None)
    return SEARCH.changed(**changes, seed=seed)


def around(kind: str) -> Around:
    """What goes around the search: nothing, for most."""
    own = dict(METHODS.get(kind, {}).get("around", {}))
    return AROUND.get(own.pop("name", None), Around)(**own)


def found(probabilities: Any, operations: Sequence[str]) -> Any:
    """Whether the needed operation has the largest probability, so the largest alpha, on an edge.

    Args:
        probabilities: (…, edges, operations).
        operations: the names of the columns.
    """
    best = np.asarray(probabilities).argmax(axis=-1)
    return (best == list(operations).index(NEEDED)).any(axis=-1)


def searched(kind: str, seed: int, code: str) -> records.Record:
    """One search of a kind from start to end; `code` is the commit that runs."""
    config = settings(kind, seed)
    begin, search = perf_counter(), Stages(around(kind), config, planted_search)
    for _ in search:
        pass
    seconds = perf_counter() - begin
    half = planted(config.half, 3 * config.seed + 1)
    meta = {
        "config": config.model_dump(mode="json"),
        "commit": code,
        "machine": machine(),
        "versions": versions(),
        "seconds": round(seconds, 1),
        "result": {
            "unseen_accuracy": planted_accuracy(search),
            "valid_accuracy": planted_accuracy(search, half),
        },
    }
    history = {
        "step": np.array(search.history["step"]),  # (T,)
        "probabilities": np.array(search.history["probabilities_normal"]),  # (T, 2, operations)
    }
    return records.Record(f"{kind}-{seed}", meta, history, None)


def kept_or_searched(kind: str, seed: int, code: str) -> records.Record:
    """The finished search of a kind and seed; made and kept if there is none yet."""
    name, config = f"{kind}-{seed}", settings(kind, seed)
    if (KEPT / name / "meta.json").is_file():
        found = records.load(KEPT / name)
        if (found.meta["config"], found.meta["commit"]) == (config.model_dump(mode="json"), code):
            return found
    records.save(searched(kind, seed, code), KEPT / name)
    return records.load(KEPT / name)


def joined(found: dict[str, list[records.Record]]) -> records.Record:
    """One record of all searches: arrays with a row a seed."""
    every = [search for searches in found.values() for search in searches]

    def distinct(name: str) -> list[Any]:
        values = [search.meta[name] for search in every]
        return [value for n, value in enumerate(values) if value not in values[:n]]

    history = {"step": every[0].history["step"]}
    for kind, searches in found.items():
        history[f"{kind}_probabilities"] = np.stack([s.history["probabilities"] for s in searches])
        for name in ("unseen_accuracy", "valid_accuracy"):
            history[f"{kind}_{name}"] = np.array([s.meta["result"][name] for s in searches])
        history[f"{kind}_seconds"] = np.array([s.meta["seconds"] for s in searches])
    varied = {name for changes in KINDS.values() for name in changes} | {"seed"}
    meta = {
        "kind": "measurement",
        "what": "searches on the planted problem, and the control: the space without what it needs",
        "dataset": SEARCH.dataset,
        "needed": NEEDED,
        "config": SEARCH.model_dump(mode="json", exclude=varied),
        "searches": {
            kind: settings(kind, 0).model_dump(mode="json", include=varied - {"seed"})
            for kind in found
        },
        "seeds": [search.meta["config"]["seed"] for search in every[: len(every) // len(found)]],
        "seconds": round(sum(search.meta["seconds"] for search in every), 1),
        "command": "python -m benchmarks.planted " + shlex.join(sys.argv[1:]),
        "commits": distinct("commit"),
        "machines": distinct("machine"),
        "versions": distinct("versions"),
    }
    return records.Record("planted", meta, history, None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="these methods, or all")
    parser.add_argument("--seeds", type=int, default=1, help="how many, with --methods")
    options = parser.parse_args()
    if options.record and options.methods:
        parser.error("--record is for the three kinds of search: leave out --methods")
    code = commit()  # of what is loaded now, whatever happens to the files while it runs
    kinds = list(METHODS) if options.methods == ["all"] else options.methods or list(KINDS)
    searches: dict[str, list[records.Record]] = {kind: [] for kind in kinds}
    for seed in SEEDS if options.record else range(options.seeds):
        for kind in kinds:
            if options.record:
                search = kept_or_searched(kind, seed, code)
            else:
                search = searched(kind, seed, code)
            searches[kind].append(search)
            operations, last = settings(kind, seed).operations, search.history["probabilities"][-1]
            best = [f"{operations[row.argmax()]} {row.max():.2f}" for row in last]
            accuracy = search.meta["result"]["unseen_accuracy"]
            print(
                f"{kind:18} seed {seed}: {', '.join(best):40} accuracy {accuracy:.2f}", flush=True
            )
    for kind in kinds if options.methods else ():
        names = settings(kind, 0).operations
        times = sum(bool(found(s.history["probabilities"][-1], names)) for s in searches[kind])
        print(f"{kind:18} found it in {times} of {options.seeds}")
    if options.record:
        records.save(joined(searches), RECORD)
        print(f"written: {RECORD.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

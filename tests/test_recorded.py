"""The recorded study, from its files alone: no CIFAR, no run.

Each record is one of the study's runs with the profile's settings; what it says of itself follows
from its arrays; and the tables of docs/results.md and of notebook 04 come out of the files again.
"""

import json
import re
import shutil
from math import nan, sqrt
from statistics import mean, stdev

import numpy as np
import pytest

from dartslib import FinalNetwork, SearchSpace, derive
from dartslib.genotypes import PUBLISHED, Genotype
from dartslib.runs import records
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.runs.dense import DenseNetwork
from dartslib.runs.drawing import draw
from dartslib.runs.results import STUDY, Results
from dartslib.runs.study import SEARCHED, Study
from dartslib.space import CELL_TYPES
from tools import write_readme

NAMES = records.names(STUDY)
PAGE = STUDY.parents[2] / "docs" / "results.md"
CLASSES = {"cifar10": 10, "cifar100": 100}
SPACE = SearchSpace.report()
PUBLISHED_CELLS = ("REPORT_FIRST", "REPORT_SECOND")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The study of the lesson profile, whose runs so far are the recorded ones."""
    commands = [records.load(STUDY / name).meta["command"] for name in NAMES if "hand_" in name]
    (hand,) = {int(command.split("--hand ")[1].split()[0]) for command in commands} or {0}
    told = {"published": PUBLISHED_CELLS, "hand": hand}
    return Study("lesson", seeds=3, folder=tmp_path_factory.mktemp("runs"), recorded=STUDY, **told)


def _read(name):
    folder = STUDY / name
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    meta.setdefault("cell", meta.get("method"))  # as it was called before version 0.2
    with np.load(folder / "history.npz", allow_pickle=False) as file:
        history = {key: file[key] for key in file.files}
    cell = Genotype.from_json((folder / "genotype.json").read_text(encoding="utf-8"))
    return meta, history, cell


def test_all_that_is_kept_is_small():
    """Five megabytes, as every clone has to carry it."""
    files = [file for file in records.RECORDED.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 5e6


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_a_run_of_the_study(plan, name):
    run = plan.find(name)
    record = plan.record(run)  # raises where it was made with other settings
    assert record.meta["profile"] == "lesson" and record.meta["overridden"] == run.changed
    assert record.meta["steps"] == record.history["step"][-1]
    assert all("+changes" not in commit for commit in record.meta["commits"])
    assert record.meta["command"].endswith(f"--only {name}")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("search")])
def test_the_cell_of_a_search_follows_from_its_alpha(name):
    meta, history, cell = _read(name)
    ends = {}
    for kind in CELL_TYPES:
        logits = history[f"logits_{kind}"].astype(np.float64)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        ends[kind] = (powers / powers.sum(axis=-1, keepdims=True))[-1]
        np.testing.assert_allclose(ends[kind], history[f"probabilities_{kind}"][-1], atol=1e-6)
    assert derive(ends, SPACE) == cell
    assert set(meta["gap"]) == {"supernet", "one_hot", "one_hot_new_statistics"}


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("search")])
def test_what_a_training_says_follows_from_its_cell(name):
    meta, history, cell = _read(name)
    if meta["cell"].startswith("random-"):
        assert cell == draw(SPACE, int(meta["cell"].removeprefix("random-")))
    elif meta["cell"] in PUBLISHED_CELLS:
        assert cell == PUBLISHED[meta["cell"]]
    elif meta["cell"] != "hand":
        assert cell == _read(meta["cell"])[2]
    size = meta["config"]
    sizes = {"channels": size["channels"], "layers": size["layers"]}
    if meta["cell"] == "hand":
        network = DenseNetwork(tuple(size["widths"]), CLASSES[meta["dataset"]], 3)
    else:
        network = FinalNetwork(cell, num_classes=CLASSES[meta["dataset"]], **sizes)
    assert meta["weights"] == count_weights(network)
    assert meta["multiply_adds"] == count_multiply_adds(network, 3, 32, 32)
    if "valid_accuracy" in meta["result"]:
        assert meta["result"]["valid_accuracy"] == pytest.approx(history["valid_accuracy"][-1])


def test_the_comparison_from_the_files():
    rows = Results().comparison()
    for group, row in rows.items():
        metas = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(STUDY.glob(f"compare-*-{group}-*/meta.json"))
        ]
        first = [meta for meta in metas if meta["seed"] == 0]
        right = [meta["result"]["valid_accuracy"] for meta in first]
        assert row.n == len(right) and row.mean == pytest.approx(mean(right))
        assert row.n == 1 or row.spread == pytest.approx(stdev(right))
        # A run with a GPU has hours of another kind.
        seconds = [
            m["cpu_seconds"] for m in first if {x["device"] for x in m["machines"]} == {"cpu"}
        ]
        hours = mean(seconds) / 3600 if seconds else nan
        assert row.cpu_hours == pytest.approx(hours, nan_ok=True)
    assert set(rows) <= {*SEARCHED, "random"} and rows


@pytest.mark.parametrize(
    "name",
    [
        name for name in NAMES
        if name.startswith(("final", "transfer")) and not re.search("REPORT|hand_", name)
    ],
)  # fmt: skip
def test_a_final_network_is_of_the_best_cell_of_its_group(name, tmp_path):
    meta, history, _ = _read(name)
    # Of the study that its command names: cells of more seeds came after it.
    seeds = int(meta["command"].split("--seeds ")[1].split()[0])
    known = Study("lesson", seeds=seeds, folder=tmp_path, recorded=STUDY)
    group = name.split("-")[2]
    compared = [
        _read(run.name)[0]
        for run in known
        if run.kind == "compare"
        and "again" not in run.name
        and group in (run.name.split("-")[2], "long")
    ]
    assert len(compared) == seeds * {"long": 6, "random": 3}.get(group, 1)
    best = max(compared, key=lambda meta: meta["result"]["valid_accuracy"])
    assert meta["cell"] == best["cell"]
    # What was trained on is all that there is: no image was held out to be watched.
    assert meta["config"]["part"] == "final" and "valid_accuracy" not in history
    assert 0 < meta["result"]["test_accuracy"] < 1


def test_one_search_is_above_the_best_random_cell_by_less_than_seeds_may_move_it():
    """As docs/results.md says; the verdicts of notebook 04 stand in test_verdicts.py."""
    study = Results()
    rows = study.comparison()
    drawn = rows.pop("random").accuracies
    best = max(drawn)
    ahead = {group: max(row.accuracies) - best for group, row in rows.items()}
    assert [group for group, points in ahead.items() if points > 0] == ["first_order"]
    assert study.noise.freedom == 6
    assert np.isclose(study.noise.bar, 2.447 * sqrt(2) * study.noise.deviation, rtol=1e-3)
    assert ahead["first_order"] < study.noise.bar
    assert sum(accuracy > best for row in rows.values() for accuracy in row.accuracies) == 1
    (sentence,) = (
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if "learned cells" in line
    )
    assert sentence.startswith(f"1 of the {sum(row.n for row in rows.values())} learned cells")
    assert f"{100 * max(ahead.values()):+.1f} points" in sentence
    means = [row.mean for row in rows.values()]  # one level, xi = 0, xi > 0
    assert f"ξ > 0, minus ξ = 0 {100 * (means[2] - means[1]):+.2f} ± " in sentence
    assert f"one level, minus ξ = 0 {100 * (means[0] - means[1]):+.2f} ± " in sentence
    learned = np.mean([*rows["first_order"].accuracies, *rows["finite_difference"].accuracies])
    lead = 100 * (learned - np.mean(drawn))
    assert (
        f"ξ = 0 and ξ > 0 together, minus at random {lead:+.2f} ± 0.94 (not told apart)" in sentence
    )
    assert "one level, minus at random -1.19 ± 0.92 (it counts)" in sentence


def test_pages_tell_of_the_reports_own_cells_once_they_are_trained(tmp_path):
    """On records that are made up: 70 and 75 %, and 80 and 81 % after 12 epochs."""
    made, study = {"": (0.70, 0.75), "-twice": (0.80, 0.81)}, tmp_path / "study"
    shutil.copytree(STUDY, study)
    for length, levels in made.items():
        for cell, level in zip(PUBLISHED_CELLS, levels, strict=True):
            for k in range(3):
                name = f"compare-cifar10-{cell}{length}-{k}"
                shutil.copytree(STUDY / "compare-cifar10-random-0", study / name)
                meta = json.loads((study / name / "meta.json").read_text("utf-8"))
                meta["result"]["valid_accuracy"] = level + (k - 1) / 1000
                (study / name / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    for name in ("final-cifar10-REPORT_SECOND", "final-cifar10-hand_1"):
        shutil.copytree(STUDY / "final-cifar10-random", study / name)
    meta = json.loads((study / name / "meta.json").read_text("utf-8"))
    meta["result"]["mirrored_accuracy"] = 0.8123  # beside the plain one, never instead
    (study / name / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    page, bar = write_readme.results(Results(study)), Results(study).noise.bar
    own = "| the report's own, ξ = 0"
    assert f"{own} | 71.42% | 70.00% ± 0.10% | 3 |" in page
    assert f"{own}, twice as many epochs | 71.42% | 80.00% ± 0.10% | 3 |" in page
    difference = 2.776 * 0.1 * sqrt(2 / 3)  # Student's t of 4 degrees
    assert f"trained alike, ξ > 0, minus ξ = 0 +5.00 ± {difference:.2f} (it counts)" in page
    assert f"twice as long, ξ > 0, minus ξ = 0 +1.00 ± {difference:.2f} (it counts)" in page
    assert "| the report's own, ξ > 0 | 79.67% | 80.34% | 1 |" in page
    assert "| by hand, rate 0.15 |  | 80.34% | 1 |" in page
    assert "mirror image averaged, a second pass: by hand, rate 0.15 81.23%." in page
    assert "came first" not in page  # while n is 1
    noise = f"no order: two trainings of one compared cell may differ by {100 * bar:.1f} for"
    assert page.count(noise) == 2  # on either data set
    short = write_readme.summary(Results(study))
    assert f"{own} | 71.42%, **70.00%** ± 0.10% | 78.28%,  |" in short

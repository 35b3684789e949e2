"""Notebook 04 on records that are made up: its new sections run, and say what was made.

They stand in notebooks/ once the runs are recorded, until then in runs/nb04.patch.
"""

import json
import re
import shutil
from contextlib import redirect_stdout
from functools import partial
from io import StringIO

import pytest
from drafts import draft, is_short, last_value

from benchmarks import autopsy, screening
from dartslib.runs.results import STUDY, Results

CELLS = draft("04")
CODE = {name: source for name, (source, kind) in CELLS.items() if kind == "code"}
MADE = {  # a new record -> the one that it is made from, its accuracy, what differs
    **{f"compare-cifar10-REPORT_FIRST-{k}": (0.70 + k / 1000, {"seed": k}) for k in range(6)},
    **{f"compare-cifar10-REPORT_SECOND-{k}": (0.75 + k / 1000, {"seed": k}) for k in range(6)},
    **{f"compare-cifar10-REPORT_FIRST-twice-{k}": (0.80 + k / 1000, {}) for k in range(3)},
    **{f"compare-cifar10-REPORT_SECOND-twice-{k}": (0.81 + k / 1000, {}) for k in range(3)},
    "final-cifar10-REPORT_SECOND": (0.88, {}), "transfer-cifar100-REPORT_SECOND": (0.60, {}),
    **{f"final-cifar10-hand_{k}": (0.92 + k / 100, {}) for k in range(3)},
}  # fmt: skip


def test_it_is_as_short_as_it_may_be():
    is_short(CELLS)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What each cell ends on, and what all cells print, but for those of live runs."""
    study = tmp_path_factory.mktemp("made") / "data" / "recorded" / "study"
    shutil.copytree(STUDY, study)
    for name, (accuracy, more) in MADE.items():
        kind = name.split("-")[0]
        like = {"compare": "cifar10-random-0", "final": "cifar10-random"}
        source = STUDY / f"{kind}-{like.get(kind, 'cifar100-random')}"
        shutil.copytree(source, study / name, dirs_exist_ok=True)
        meta = json.loads((source / "meta.json").read_text("utf-8")) | more
        key = "valid_accuracy" if kind == "compare" else "test_accuracy"
        meta["result"][key] = accuracy
        (study / name / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    shutil.rmtree(study / "transfer-cifar100-first_order", ignore_errors=True)  # not all transfer
    values = {
        job: 0.7 - 0.02 * (job[0] == "+") - 0.05 * (job[4] == "+") + 0.004 * (job[-1] == "1")
        for job in autopsy.plan()
    }
    found = {kind: autopsy.effects(values) for kind in ("valid", "train")}
    made = {"effects": found, "predicted": autopsy.predicted(values, 0.88)}
    made["found"] = {"test": 0.79, "train": 0.99, "epochs": 24}
    tricks = screening.effects(list(0.7 + 0.01 * screening.design()[:, 1]))
    together = {"effects": {"valid": tricks, "seconds": tricks}, "kept": screening.kept_of(tricks)}
    together["effects"]["together"] = {"valid": 0.018, "bar": 0.004}
    folder = study.parents[2] / "benchmarks"
    folder.mkdir()
    for name, content in {"autopsy": made, "screening": together}.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    printed, names = StringIO(), {}
    instead = {"Results": partial(Results, study), "STUDY": study}
    with redirect_stdout(printed):
        ends = {}
        for source in CODE.values():
            if not re.search(r"live\[|train_live|course.check", source):
                ends[source] = last_value(source, names)
            names |= {name: value for name, value in instead.items() if name in names}
    return ends, printed.getvalue()


@pytest.mark.full
@pytest.mark.skipif("autopsy.json" not in "".join(CODE.values()), reason="not drafted here")
def test_it_says_what_was_made(shown):
    ends, said = shown
    for row in (r"report's ξ = 0 +71.42 +70.25 ", r"report's ξ > 0 +74.64 +75.25 "):
        assert re.search(row, said), row
    assert re.search(r"report's ξ > 0 .* 88.00 % ", said)
    assert len(re.findall(r"by hand, rate 0\.\d+ ", said)) == 3
    (drawn,) = (v.description for s, v in ends.items() if "the same after 12 epochs" in s)
    assert "report's cells, ξ > 0 minus ξ = 0 +5.00" in drawn
    assert "the same after 12 epochs +1.00" in drawn
    (drawn,) = (v.description for s, v in ends.items() if "autopsy" in s and hasattr(v, "png"))
    assert "no stem -5.0" in drawn and "crop without padding -2.0" in drawn
    assert (
        "found:                     79.00 %, and 99.00 % of training images, after 24 epochs"
        in said
    )
    assert "Images that were not trained on: pairs that count: none; ours lies +0.0 ±" in said
    assert "kept: Nesterov; together +1.8 ± 0.4 points" in said
    (drawn,) = (v.description for s, v in ends.items() if "screening" in s and hasattr(v, "png"))
    assert "Nesterov +2.0" in drawn

"""The command line, from a search to a transfer; bad input is in test_bad_input.py."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from plain import is_one_sentence
from typer.testing import CliRunner

from dartslib.__main__ import app
from dartslib.data import DataSet, load
from dartslib.genotypes import DARTS_V2
from dartslib.runs import records, running
from dartslib.searching import Search

ROOT = Path(__file__).resolve().parent.parent
# The smoke profile, made smaller still.
HALF = ["--set", "half=16"]  # the stand-in data set is small
SMALL_SEARCH = "--set half=16 --set batch_size=8 --set nodes=1 --set channels=2".split()
SMALL_TRAIN = "--set channels=2 --set batch_size=30 --set layers=2".split()


def _tiny(name="tiny", classes=2, side=16):
    """A hundred random images and as many to test."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, side, side, 3), dtype=np.uint8)
    test = rng.integers(0, 256, (100, side, side, 3), dtype=np.uint8)
    labels = np.arange(100) % classes
    names = [str(k) for k in range(classes)]
    return {
        "x_train": images,
        "y_train": labels,
        "x_test": test,
        "y_test": labels,
        "class_names": names,
    }


def _load(name, folder, image_size=32):
    """The embedded sets take seconds to draw, so that a few images of noise stand in for them."""
    if name in ("shapes10", "shapes100"):
        return DataSet.from_arrays(name, **_tiny(name, int(name[6:]), 32))
    return load(name, folder, image_size)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command in a folder of its own; no run of the checkout is touched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(running, "load", _load)

    def run(*words):
        words = [
            str(word) for part in words for word in (part if isinstance(part, list) else [part])
        ]
        result = CliRunner().invoke(app, words)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def test_search_train_transfer(run, tmp_path):
    found = run("search", "--method", "finite_difference", "--record", "mine", SMALL_SEARCH)
    assert found.exit_code == 0, found.output
    folder = Path("runs/search-smoke-shapes10-finite_difference-0")
    assert f"{folder}: 2 steps" in found.output and "valid_accuracy" in found.output
    for kept in (folder, tmp_path / "recorded" / "mine"):
        record = records.load(kept)
        assert record.meta["gradient"] == "finite_difference"
        assert record.meta["overridden"] == {
            "half": 16,
            "batch_size": 8,
            "nodes": 1,
            "channels": 2,
            "gradient": "finite_difference",
        }
        assert len(record.genotype.normal) == 1

    found = run("train", "--genotype", "mine", "--part", "compare", SMALL_TRAIN)
    assert found.exit_code == 0, found.output
    record = records.load("runs/compare-smoke-shapes10-mine-0")
    assert record.meta["cell"] == "mine" and record.meta["config"]["part"] == "compare"
    assert set(record.meta["result"]) == {"train_accuracy", "valid_accuracy"}

    genotype = folder / "genotype.json"
    found = run("transfer", "--genotype", genotype, "--out", "hundred", SMALL_TRAIN)
    assert found.exit_code == 0, found.output
    record = records.load("hundred")
    assert record.meta["dataset"] == "shapes100"
    assert record.meta["cell"] == folder.name  # not "genotype.json"
    assert "test_accuracy" in record.meta["result"]
    assert record.genotype == records.load(folder).genotype


def test_a_stopped_search_goes_on_with_resume(run, monkeypatch):
    words = ["search", "--out", "run", SMALL_SEARCH]
    monkeypatch.setattr("dartslib.runs.running.drive", _checkpoint_after_every_step())
    advance = Search.advance

    def interrupted(self):
        if self.step == 1:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Search, "advance", interrupted)
    stopped = run(*words)
    assert stopped.exit_code == 130 and "--resume" in stopped.output
    assert is_one_sentence(stopped.output.strip())
    monkeypatch.setattr(Search, "advance", advance)

    again = run(*words)
    assert again.exit_code == 2 and "--resume" in again.output
    other = run(*words, "--resume", "--seed", "1")
    assert other.exit_code == 2 and "other settings" in other.output
    assert not Path("run/meta.json").exists()
    done = run(*words, "--resume")
    assert done.exit_code == 0, done.output
    assert records.load("run").meta["from_steps"] == [0, 1]
    assert "--resume" not in str(records.load("run").meta["command"])


def _checkpoint_after_every_step():
    from functools import partial

    from dartslib.runs.driving import drive

    return partial(drive, every_seconds=0.0)


def test_a_seed_by_set_is_a_seed(run):
    found = run("search", "--set", "seed=3", SMALL_SEARCH)
    assert found.exit_code == 0, found.output
    record = records.load("runs/search-smoke-shapes10-first_order-3")
    assert record.meta["seed"] == record.meta["config"]["seed"] == 3


GENOTYPE = ["--genotype", "DARTS_V2"]


def _tiny_set(path):
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **_tiny())


def test_a_training_that_diverges(run):
    found = run("train", *GENOTYPE, "--set", "lr=1e30", "--set", "clip=1e30", SMALL_TRAIN)
    assert found.exit_code == 2 and "learning rate" in found.output
    assert is_one_sentence(found.output.strip())


@pytest.mark.filterwarnings("default:Some cells run plain")
def test_a_warning_is_a_sentence_without_its_line_of_code(run):
    found = run("train", *GENOTYPE, "--set", "drop_path=0.5", SMALL_TRAIN)
    (said,) = [line for line in found.stderr.splitlines() if "Some cells run plain" in line]
    assert is_one_sentence(said.strip()) and ".py" not in found.stderr


def test_your_own_data_set(run):
    _tiny_set(Path("data/tiny.npz"))
    words = ["--data", "tiny", "--set", "layers=2", "--set", "channels=2", "--set", "batch_size=50"]
    found = run("train", *GENOTYPE, words)
    assert found.exit_code == 0, found.output
    record = records.load("runs/final-smoke-tiny-DARTS_V2-0")
    assert record.meta["dataset"] == "tiny" and record.genotype == DARTS_V2


def _started(folder, *words, **environment):
    """A command in a process of its own, as it is used; it must succeed."""
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dartslib", *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_of_a_record_makes_it_again(tmp_path, run):
    _tiny_set(tmp_path / "data" / "tiny.npz")
    words = ["search", "--data", "tiny", "--out", "运行", *SMALL_SEARCH]
    said = _started(tmp_path, *words, PYTHONIOENCODING="cp1252")  # which lacks these letters
    assert said.startswith("\\u8fd0\\u884c: 2 steps")
    first = records.load(tmp_path / "运行")
    text = (tmp_path / "运行" / "meta.json").read_text("utf-8")
    assert str(tmp_path) not in text and str(ROOT) not in text
    words = first.meta["command"].split()
    assert words[:3] == ["python", "-m", "dartslib"] and "--out" not in words
    done = run([*words[3:], "--out", "again"])
    assert done.exit_code == 0, done.output
    again = records.load(tmp_path / "again")
    assert again.genotype == first.genotype
    assert again.meta["config"] == first.meta["config"]
    for name, values in first.history.items():
        if name != "seconds":
            np.testing.assert_allclose(values, again.history[name], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("search --out /a/b --seed 3 --resume", "search --seed 3"),
        ("search --data-folder=/a/data --data tiny", "search --data tiny"),
        ("train --genotype /a/found/genotype.json --out=/b", "train --genotype found"),
        ("transfer --genotype=/a/found --device cpu", "transfer --genotype found --device cpu"),
        ("train --genotype DARTS_V2", "train --genotype DARTS_V2"),
    ],
)
def test_no_folder_of_this_machine_gets_into_a_record(words, kept, monkeypatch):
    program = str(ROOT / "dartslib" / "__main__.py")
    monkeypatch.setattr(sys, "argv", [program, *words.split()])
    assert running._command() == f"python -m dartslib {kept}"


def test_stopped_in_a_study_the_advice_is_another(run, monkeypatch):
    """`study` has no --resume: it goes on by itself."""

    def interrupted(config, folder, **options):
        raise KeyboardInterrupt("Stopped after step 3 of 20, which is saved")

    monkeypatch.setattr("dartslib.runs.study.make_run", interrupted)
    stopped = run("study", "--only", "search-shapes10-first_order-0")
    said = stopped.output.strip()
    assert stopped.exit_code == 130 and is_one_sentence(said)
    assert said == "Stopped after step 3 of 20, which is saved: the same command goes on."


@pytest.mark.parametrize("other", [["--list"], ["--cluster", "tcp://nowhere:1"]])
def test_one_run_of_a_study_is_made_here(run, other):
    answer = run("study", "--only", "search-shapes10-first_order-0", *other)
    assert answer.exit_code == 2 and is_one_sentence(answer.output.strip())
    assert "leave --list and --cluster out" in answer.output


@pytest.mark.full
def test_the_smoke_profile_as_it_is(tmp_path):
    """From a search on shapes10 to a transfer to shapes100, nothing overridden."""
    _started(tmp_path, "search")
    found = tmp_path / "runs" / "search-smoke-shapes10-first_order-0"
    _started(tmp_path, "train", "--genotype", str(found), "--part", "compare")
    _started(tmp_path, "train", "--genotype", str(found))
    _started(tmp_path, "transfer", "--genotype", str(found))
    kinds = {path.name.split("-")[0] for path in (tmp_path / "runs").iterdir()}
    assert kinds == {"search", "compare", "final", "transfer"}
    accuracies = {
        path.name.split("-")[0]: records.load(path).meta["result"]
        for path in (tmp_path / "runs").iterdir()
    }
    assert accuracies["final"]["test_accuracy"] > 0.15  # chance is 0.1
    assert accuracies["transfer"]["test_accuracy"] > 0.01


# Names


def test_the_old_spelling_of_the_gradient(run, tmp_path):
    done = run("search", "--method", "finite_difference", SMALL_SEARCH)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "runs" / "search-smoke-shapes10-finite_difference-0").is_dir()


# GDAS has edges of its own, which run plain, and a warning says so.
@pytest.mark.filterwarnings("default")
def test_a_relaxation_on_the_command_line(run, tmp_path):
    words = ["--relaxation", "gdas", "--set", "tau_to=0.5", "--set", "alpha_lr=0.2"]
    done = run("search", *words, SMALL_SEARCH)
    assert done.exit_code == 0, done.output
    record = records.load(tmp_path / "runs" / "search-smoke-shapes10-gdas-first_order-0")
    config = record.meta["config"]
    assert config["relaxation"]["name"] == "gdas" and config["relaxation"]["tau_to"] == 0.5
    assert config["alpha_lr"] == 0.2
    assert record.meta["overridden"]["relaxation"] == {"name": "gdas", "tau_to": 0.5}
    assert record.meta["command"] is None or "--relaxation gdas" in record.meta["command"]


def test_a_relaxation_that_needs_a_setting(run, tmp_path):
    table = [[0.5] * 8] * 2  # (edges, operations) of a cell of one node
    given = "milliseconds=" + json.dumps({"normal": table, "reduction": table})
    done = run("search", "--relaxation", "fbnet", "--set", given, SMALL_SEARCH)
    assert done.exit_code == 0, done.output
    record = records.load(tmp_path / "runs" / "search-smoke-shapes10-fbnet-first_order-0")
    assert record.meta["config"]["relaxation"]["milliseconds"]["reduction"] == table


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--relaxation", "fbnet"], "milliseconds: field required"),
        (["--relaxation", "gdas", "--set", "tau_too=1"], "Neither a search nor gdas .*tau_to"),
        (["--relaxation", "gdas", "--set", "epohcs=1"], "Neither a search nor gdas .*epochs"),
        (["--relaxation", "darts", "--set", "name=gdas"], "Neither a search nor darts"),
        (["--relaxation", "gdas", "--set", "relaxation=gdas"], "named twice"),
        (["--relaxation", ""], "no relaxation ''"),
        (["--set", "self=1"], "no setting 'self'"),
    ],
)
def test_a_relaxation_that_cannot_be_meant(run, words, said):
    done = run("search", *words, SMALL_SEARCH)
    assert (
        done.exit_code == 2
        and re.search(said, done.output)
        and is_one_sentence(done.output.strip())
    )


@pytest.mark.parametrize(("command", "count"), [("tabular", 897), ("contest", 463)])
def test_a_list_says_which_jobs_are_finished(run, command, count):
    words = [command, "--list", "--out", "kept"]
    jobs = run(*words).output.splitlines()
    assert len(jobs) == count == len(set(jobs)) and all(job.startswith("  ") for job in jobs)
    Path("kept").mkdir()
    third = jobs[2].strip()
    Path(f"kept/{third}.json").write_text("{}", "utf-8")
    again = run(*words).output.splitlines()
    assert again[2] == f"* {third}" and again[:2] + again[3:] == jobs[:2] + jobs[3:]


def test_the_contest_wants_its_prices_first(run, monkeypatch, tmp_path):
    from dartslib.rivals import contest

    monkeypatch.setattr(contest, "FOLDER", tmp_path / "none")
    done = run("contest", "--make")
    assert done.exit_code == 2 and "run contest --price, on a quiet machine" in done.output


def test_a_job_that_cannot_be_made_keeps_no_other_list_from_being_made(run, monkeypatch):
    from dartslib import __main__ as command_line
    from dartslib.rivals import contest

    lists, kept = [], []

    def made(out, jobs, make, workers):
        lists.append(jobs)
        if jobs == contest.plan():
            raise ValueError("1 of 463 runs could not be made")
        return {}

    monkeypatch.setattr(command_line, "_made", made)
    monkeypatch.setattr(contest, "kept", lambda name: {})
    monkeypatch.setattr(contest, "choose_rate", lambda rows: 0.1)
    monkeypatch.setattr(contest, "collect", lambda rows, trained: kept.append([*rows]))
    row = {"arm": "gdas", "group": "budget", "cells": [""], "error": "", "digest": "other"}
    Path("runs/contest").mkdir(parents=True)
    Path("runs/contest/gdas-budget-0.json").write_text(json.dumps(row), "utf-8")
    done = run("contest", "--make")
    assert done.exit_code == 2 and "with another contest.toml" in done.output and not lists
    row["digest"] = contest.digest()
    Path("runs/contest/gdas-budget-0.json").write_text(json.dumps(row), "utf-8")
    kept.clear()
    done = run("contest", "--make")
    assert done.exit_code == 2 and "1 of 463 runs could not be made" in done.output
    assert len(lists) == 4 and kept == [[row]] * 2  # before, what a killed run made; and after

    def refuse(error, *rows):
        raise error

    for error in (FileExistsError("it stays"), ValueError("a shape")):
        monkeypatch.setattr(contest, "collect", partial(refuse, error))
        lists.clear()
        done = run("contest", "--make")
        # What is recorded stays, and the searches go on; a fault of the code ends the command.
        assert done.exit_code == 2 and str(error) in done.output
        assert len(lists) == (4 if isinstance(error, FileExistsError) else 0)

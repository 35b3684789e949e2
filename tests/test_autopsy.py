"""What the report's code does otherwise: the design, its effects, and each factor."""

import json
import shutil
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from torch import nn

from benchmarks import autopsy
from dartslib.data import DataSet
from dartslib.genotypes import PUBLISHED
from dartslib.runs import records
from dartslib.runs.driving import progress
from dartslib.runs.hour import HourConfig
from dartslib.runs.profiles import PROFILES
from dartslib.training import Training


def test_the_half_fraction_keeps_single_factors_and_pairs_apart():
    rows = autopsy.design()
    columns = [*rows.T] + [a * b for k, a in enumerate(rows.T) for b in rows.T[k + 1 :]]
    found = np.array(columns)
    assert np.array_equal(found @ found.T, 16 * np.eye(15))
    plan = autopsy.plan()
    assert len(plan) == len(set(plan)) == 23
    names = {job.split("_")[0] for job in plan}
    assert {autopsy.signs_of(row) for row in rows} == names - {autopsy.OURS} and len(names) == 17
    assert set(autopsy.ENDS) <= names
    assert autopsy.config_of("-----_1").changed(seed=0) == autopsy.BASE
    report = autopsy.config_of("+++++_2")
    assert (report.crop, report.shuffle, report.head, report.lr) == (0, False, "mlp", 0.025)
    assert not report.has_stem and len({autopsy.config_of(job).seed for job in plan}) == 23


def test_ours_is_how_table_3_trains_and_the_report_has_no_tricks(monkeypatch):
    """Whatever the screening keeps for the hour: the factor of the rate turns all of it off."""
    final = PROFILES["lesson"].final
    same = ("lr", "schedule", "label_smoothing", "clip", "batch_size", "crop", "head", "flip")
    assert all(getattr(autopsy.BASE, name) == getattr(final, name) for name in same)
    tricks = {"flip": "alternate", "nesterov": True, "average": 0.1, "muon": 0.02, "bias_rate": 4.0}
    base = autopsy.BASE.changed(**tricks)
    monkeypatch.setattr(autopsy, "BASE", base)
    ours, rate = autopsy.config_of("-----_0"), autopsy.config_of("---+-_0")
    assert all(getattr(ours, name) == value for name, value in tricks.items())
    plain = HourConfig()
    assert all(getattr(rate, name) == getattr(plain, name) for name in tricks)
    assert isinstance(rate, HourConfig) and rate.clip > 1e6


def value_of(job, noise, generator):
    signs = [1 if sign == "+" else -1 for sign in job.split("_")[0]]
    true = 0.8 - 0.03 * signs[4] / 2 + 0.01 * signs[2] / 2 + 0.01 * signs[0] * signs[1]
    return true + noise * generator.normal()


def test_effects_and_their_bars():
    generator = np.random.default_rng(0)

    def found(noise):
        return autopsy.effects({job: value_of(job, noise, generator) for job in autopsy.plan()})

    exact = found(0.0)
    names = list(autopsy.FACTORS)
    assert exact[names[4]] == pytest.approx(-0.03) and exact[names[2]] == pytest.approx(0.01)
    assert exact[f"{names[0]} x {names[1]}"] == pytest.approx(0.02)
    assert exact[names[0]] == pytest.approx(0) and exact["bar"] == pytest.approx(0, abs=1e-12)
    assert exact["ours less its sum"] == pytest.approx(0, abs=1e-12)
    each = [name for name in exact if "bar" not in name and "ours" not in name]
    pairs = [name for name in each if " x " in name]
    assert len(each) == 15 and len(pairs) == 10
    inside, all_pairs, ours, times = 0, 0, 0, 400
    for _ in range(times):
        one = found(0.01)
        inside += sum(abs(one[name] - exact[name]) < one["bar"] for name in each)
        all_pairs += all(abs(one[name] - exact[name]) < one["bar of a pair"] for name in pairs)
        ours += abs(one["ours less its sum"]) < one["bar of ours"]
    assert inside / (times * 15) == pytest.approx(0.95, abs=0.025)
    assert all_pairs / times >= 0.93
    assert ours / times == pytest.approx(0.95, abs=0.03)


def test_three_factors_together_show_in_ours():
    """What single factors and pairs do not say: in the fraction it hides behind a pair."""
    values = {}
    for job in autopsy.plan():
        signs = [1 if sign == "+" else -1 for sign in job.split("_")[0]]
        values[job] = 0.8 + 0.02 * np.prod(signs[:3])
    assert autopsy.effects(values)["ours less its sum"] == pytest.approx(-0.04)


@pytest.mark.full
def test_a_loss_that_is_not_finite_is_chance_and_does_not_end_the_list(monkeypatch):
    data = tiny()
    small = autopsy.BASE.changed(layers=3, channels=2, epochs=1, batch_size=16)
    monkeypatch.setattr(autopsy, "BASE", small)
    monkeypatch.setattr(autopsy, "load", lambda name: data)
    row = autopsy.make("-----_0")
    assert row["error"] == "" and row["valid"] != 0.1  # 38 judged: no tenth of them is whole
    assert row["cell"] == "REPORT_SECOND" and row["data"] == data.digest()

    def fail(training):
        raise FloatingPointError("The train loss is not finite.")

    monkeypatch.setattr(Training, "advance", fail)
    row = autopsy.make("-----_0")
    assert row["valid"] == row["train"] == 0.1 and "not finite" in row["error"]


@pytest.mark.full
def test_a_full_run_that_is_not_finite_is_told(monkeypatch, at_a_small_size):
    def fail(training):
        raise FloatingPointError("The train loss is not finite.")

    monkeypatch.setattr(Training, "advance", fail)
    found = autopsy.make_full(2, at_a_small_size / "a")
    assert found["test"] == found["train"] == 0.1 and "not finite" in found["error"]


def tiny():
    rng, labels = np.random.default_rng(0), np.arange(64) % 10
    images = rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    return DataSet.from_arrays("cifar10", images, labels, images, labels, list("0123456789"))


def test_the_full_run_is_predicted_from_its_effects():
    """Where log-odds add up: exactly without noise, and within the interval with it."""
    generator, each = np.random.default_rng(1), [-0.1, 0.05, -0.4, 0.2, -0.3]

    def values(noise, ours=0.7):
        signs = {job: [sign == "+" for sign in job.split("_")[0]] for job in autopsy.plan()}
        odds = {job: logit(ours) + np.dot(signs[job], each) for job in signs}
        return {job: expit(o + noise * generator.normal()) for job, o in odds.items()}

    right = expit(logit(0.9) + sum(each))
    found = autopsy.predicted(values(0.0), reference=0.9)
    assert found["reference"] == 0.9
    assert found["test"] == found["low"] == found["high"] == pytest.approx(right)
    assert found["by the ends"] == pytest.approx(right)
    inside, by_ends = 0, 0
    for _ in range(300):
        full, ours = (logit(p) + 0.05 * generator.normal() for p in (right, 0.9))
        found = autopsy.predicted(values(0.05), expit(ours))
        inside += found["low"] < expit(full) < found["high"]
        by_ends += found["by the ends, low"] < expit(full) < found["by the ends, high"]
    assert inside / 300 == pytest.approx(0.95, abs=0.035)
    assert by_ends / 300 == pytest.approx(0.95, abs=0.035)


@pytest.fixture
def at_a_small_size(monkeypatch, tmp_path):
    """The run at full size in seconds, and its files in a folder of the test."""
    full = autopsy.full(2)
    assert (full.head, full.shuffle, full.has_stem, full.part) == ("mlp", False, False, "final")
    assert (full.layers, full.channels, full.lr, full.epochs) == (14, 16, 0.025, 2)
    size = {"layers": 3, "channels": 2, "batch_size": 16, "head": "linear"}
    small = full.changed(**size)  # the report's head would take half a minute
    data = tiny()
    monkeypatch.setattr(autopsy, "load", lambda name: data)
    monkeypatch.setattr(autopsy, "full", lambda epochs: small.changed(epochs=epochs))
    monkeypatch.setattr(records, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(autopsy, "RECORD", tmp_path / "autopsy.json")
    monkeypatch.setattr(autopsy, "FOLDER", tmp_path / "autopsy")
    return tmp_path


@pytest.mark.full
def test_the_full_run_goes_on_from_its_checkpoint(monkeypatch, at_a_small_size):
    """One record, with the factors of the report, whole after a stop."""
    folder = at_a_small_size
    straight = autopsy.make_full(2, folder / "a")
    advance = Training.advance

    def stop(training):
        advance(training)
        if training.step == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Training, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        autopsy.make_full(2, folder / "b")
    monkeypatch.setattr(Training, "advance", advance)
    assert progress(folder / "b")[0] == 5
    again = autopsy.make_full(2, folder / "b")
    assert (again["test"], again["train"]) == (straight["test"], straight["train"])
    meta = records.load("autopsy", folder / "recorded").meta
    assert meta["cell"] == "REPORT_SECOND" and not meta["config"]["has_stem"]
    assert meta["result"]["test_accuracy"] == again["test"]


@pytest.mark.full
def test_a_prediction_comes_first_and_stays(monkeypatch, at_a_small_size, capsys):
    """Committed before the run begins; and neither it nor the effects are made again after."""
    folder = at_a_small_size

    def say(*words):
        monkeypatch.setattr("sys.argv", ["autopsy", *words])
        autopsy.main()

    def refused(*words):
        with pytest.raises(SystemExit):
            say(*words)
        return capsys.readouterr().err

    for words in (["init", "-q"], ["config", "user.name", "a"], ["config", "user.email", "a@b.c"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    assert "give --record" in refused("--predict")
    generator = np.random.default_rng(0)
    runs = {job: {"valid": value_of(job, 0.01, generator)} for job in autopsy.plan()}
    autopsy.RECORD.write_text(json.dumps({"runs": runs}), encoding="utf-8")
    assert "to be predicted first" in refused("--full")
    meta = {"result": {"test_accuracy": 0.9}, "commits": ["c"]}
    real = records.load
    told = SimpleNamespace(meta=meta)
    monkeypatch.setattr(records, "load", lambda name, *of: told if "final" in name else real(name))
    say("--predict")
    found = json.loads(autopsy.RECORD.read_text("utf-8"))["predicted"]
    assert found["low"] < found["test"] < found["high"] and found["reference"] == 0.9
    assert found["epochs"] >= 1 and found["reference commits"] == ["c"] and found["commit"]
    assert "commit that" in refused("--full")
    found["epochs"] = found["config"]["epochs"] = 2  # five hours at this size are many
    autopsy.RECORD.write_text(json.dumps({"runs": runs, "predicted": found}), encoding="utf-8")
    for words in (["add", "autopsy.json"], ["commit", "-qm", "predicted"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    monkeypatch.setattr(autopsy, "make_each", lambda make, jobs, workers: map(make, jobs))
    say("--full")
    made = json.loads(autopsy.RECORD.read_text("utf-8"))
    assert made["predicted"] == found and 0 <= made["found"]["test"] <= 1
    assert made["found"]["epochs"] == 2
    for words in ("--predict", "--record"):
        assert "stays" in refused(words)
    say("--full")  # goes on, where there is nothing left: the same
    assert json.loads(autopsy.RECORD.read_text("utf-8"))["found"]["test"] == made["found"]["test"]
    made["predicted"]["config"]["lr"] = 0.5
    autopsy.RECORD.write_text(json.dumps(made), encoding="utf-8")
    assert "other settings" in refused("--full")
    shutil.rmtree(folder / "autopsy-full")  # another machine has the records alone
    assert "its record stays" in refused("--full")
    assert "stays" in refused("--predict") and "stays" in refused("--record")


def test_five_core_hours_are_so_many_epochs(monkeypatch, at_a_small_size):
    """Four batches an epoch; ten steps in 90 s: 500 epochs. The first step is not counted."""
    clock = iter([100.0, 190.0])
    monkeypatch.setattr(autopsy, "process_time", lambda: next(clock))
    assert autopsy.epochs_in(5.0) == round(5 * 3600 / (9.0 * 4)) == 500


def test_without_a_stem_the_first_relu_meets_the_image():
    config = autopsy.BASE.changed(layers=3, channels=2, has_stem=False)
    network = config.network(PUBLISHED["REPORT_SECOND"], num_classes=10)
    seen = []
    first = next(part for part in network.modules() if isinstance(part, nn.ReLU))
    first.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    images = torch.randn(2, 3, 32, 32)
    assert network(images).shape == (2, 10)
    assert torch.equal(seen[0], images)
    sizes = {part.in_channels for part in network.cells[0].modules()
             if isinstance(part, nn.Conv2d) and part.in_channels == 3}  # fmt: skip
    assert sizes == {3} and isinstance(network.stem, nn.Identity)
    network(images).sum().backward()
    assert all(p.grad is not None for p in network.parameters())

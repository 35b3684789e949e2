"""What the report's code does otherwise: the design, its effects, and each factor."""

import signal

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from torch import nn

from benchmarks import autopsy
from dartslib.data import DataSet
from dartslib.genotypes import PUBLISHED
from dartslib.runs.driving import progress
from dartslib.training import Training


def test_the_half_fraction_keeps_single_factors_and_pairs_apart():
    rows = autopsy.design()
    columns = [*rows.T] + [a * b for k, a in enumerate(rows.T) for b in rows.T[k + 1 :]]
    found = np.array(columns)
    assert np.array_equal(found @ found.T, 16 * np.eye(15))
    plan = autopsy.plan()
    assert len(plan) == len(set(plan)) == 20
    ours = autopsy.config_of("----+_0")
    assert ours.changed(seed=0, has_stem=True) == autopsy.BASE
    report = autopsy.config_of("+++++_2")
    assert (report.crop, report.shuffle, report.head, report.lr) == (0, False, "mlp", 0.025)
    assert not report.has_stem and len({autopsy.config_of(job).seed for job in plan}) == 20


def test_effects_and_their_bar():
    generator = np.random.default_rng(0)

    def value(job, noise):
        signs = [1 if sign == "+" else -1 for sign in job.split("_")[0]]
        true = 0.8 - 0.03 * signs[4] / 2 + 0.01 * signs[2] / 2 + 0.02 * signs[0] * signs[1] / 2
        return true + noise * generator.normal()

    exact = autopsy.effects({job: value(job, 0.0) for job in autopsy.plan()})
    names = list(autopsy.FACTORS)
    assert exact[names[4]] == pytest.approx(-0.03) and exact[names[2]] == pytest.approx(0.01)
    assert exact[f"{names[0]} x {names[1]}"] == pytest.approx(0.02)
    assert exact[names[0]] == pytest.approx(0) and exact["bar"] == pytest.approx(0, abs=1e-12)
    inside, effects = 0, [name for name in exact if not name.startswith("bar")]
    for _ in range(200):
        found = autopsy.effects({job: value(job, 0.01) for job in autopsy.plan()})
        inside += sum(abs(found[name] - exact[name]) < found["bar"] for name in effects)
    assert inside / (200 * 15) == pytest.approx(0.95, abs=0.03)


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
    inside = 0
    for _ in range(300):
        full, ours = (logit(p) + 0.05 * generator.normal() for p in (right, 0.9))
        found = autopsy.predicted(values(0.05), expit(ours))
        inside += found["low"] < expit(full) < found["high"]
    assert inside / 300 == pytest.approx(0.95, abs=0.035)


def test_the_full_run_goes_on_from_its_checkpoint(monkeypatch, tmp_path):
    """At a size of seconds: one record, with the factors of the report, whole after a stop."""
    rng, labels = np.random.default_rng(0), np.arange(64) % 10
    images = rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    data = DataSet.from_arrays("cifar10", images, labels, images, labels, list("0123456789"))
    full = autopsy.full()
    assert (full.head, full.shuffle, full.has_stem, full.part) == ("mlp", False, False, "final")
    assert (full.layers, full.channels, full.lr) == (14, 16, 0.025)
    size = {"layers": 3, "channels": 2, "epochs": 2, "batch_size": 16, "head": "linear"}
    small = full.changed(**size)  # the report's head would take half a minute
    monkeypatch.setattr(autopsy, "load", lambda name: data)
    monkeypatch.setattr(autopsy, "full", lambda: small)
    straight = autopsy.make_full(tmp_path / "a")
    advance = Training.advance

    def stop(training):
        advance(training)
        if training.step == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Training, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        autopsy.make_full(tmp_path / "b")
    monkeypatch.setattr(Training, "advance", advance)
    assert progress(tmp_path / "b")[0] == 5
    again = autopsy.make_full(tmp_path / "b")
    assert again.meta["result"] == straight.meta["result"]
    assert straight.meta["cell"] == "REPORT_SECOND"
    assert not straight.meta["config"]["has_stem"]


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

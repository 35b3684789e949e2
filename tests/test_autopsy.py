"""What the report's code does otherwise: the design, its effects, and each factor."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import autopsy
from dartslib.genotypes import PUBLISHED


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
    inside = 0
    for _ in range(200):
        found = autopsy.effects({job: value(job, 0.01) for job in autopsy.plan()})
        inside += sum(abs(found[n] - exact[n]) < found["bar"] for n in exact if n != "bar")
    assert inside / (200 * 15) == pytest.approx(0.95, abs=0.03)


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

"""The settings of a better hour, each against a calculation of its own."""

import copy
import json
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

import dartslib
from benchmarks import screening
from dartslib import fast
from dartslib.data import DataSet, split
from dartslib.runs import records
from dartslib.runs.dense import DenseConfig
from dartslib.runs.hour import HourConfig, HourTraining, crop_size
from dartslib.runs.judging import judge
from dartslib.runs.machine import machine
from dartslib.runs.profiles import PROFILES
from dartslib.runs.trained import load_trained
from dartslib.tabular.cells import classes
from dartslib.training import TrainConfig, Training, evaluate

CELL = classes()[150]

SIZES = {"num_classes": 4, "image_size": 8}
BASE = {
    "layers": 2, "channels": 4, "reductions": (), "head": "linear", "epochs": 2, "lr": 0.1,
    "batch_size": 8, "channels_last": False,
}  # fmt: skip


class Noise:
    """Four batches of images that mean nothing."""

    def __len__(self):
        return 4

    def at(self, step):
        generator = torch.Generator().manual_seed(step % 4)
        images = torch.randn(8, 3, 8, 8, generator=generator)
        return images, torch.randint(4, (8,), generator=generator)


def begun(**settings):
    return HourTraining(HourConfig(**BASE | settings), CELL, Noise(), **SIZES)


def test_all_off_is_a_plain_training():
    one = begun()
    other = Training(TrainConfig(**BASE), CELL, Noise(), **SIZES)
    for loop in (one, other):
        list(loop)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.evaluate(Noise()) == other.evaluate(Noise())


class Fleeting(Noise):
    """A source that gives another batch each time that it is asked, as a random one would."""

    def __init__(self):
        self.asked = 0

    def at(self, step):
        self.asked += 1
        return super().at(self.asked % 4)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_judgment_is_of_what_is_evaluated(average):
    """Each batch once, and the running mean's weights where they are what counts."""
    training = begun(average=average)
    list(training)
    source = Fleeting()
    loss, accuracy, found = judge(training, source, ["a", "b", "c", "d"])
    assert source.asked == len(source)
    assert (loss, accuracy) == pytest.approx(training.evaluate(Noise()))
    labels = torch.cat([Noise().at(step)[1] for step in range(4)])
    counts = labels.bincount(minlength=4).tolist()
    of_class = [found["class_accuracy"][name] or 0.0 for name in "abcd"]
    assert np.dot(of_class, counts) / sum(counts) == pytest.approx(accuracy)


@pytest.mark.parametrize("kind", [HourConfig, DenseConfig])
def test_its_settings_are_kept_from_the_front_door_to_a_prediction(kind, tmp_path):
    """They were read as those of a plain training, and left out without a word."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    more = {"widths": (4, 4)} if kind is DenseConfig else {}
    config = kind(**BASE, average=0.5, bias_rate=4.0, **more)
    training = dartslib.train((images, np.arange(64) % 4), CELL, config=config)
    training.run(tmp_path)
    assert isinstance(training, HourTraining)
    _, probabilities = dartslib.predict(tmp_path, images)
    _, again = dartslib.predict(training, images)
    np.testing.assert_allclose(probabilities, again, rtol=1e-5)
    trained = load_trained(tmp_path)
    for name, value in training.averaged.module.state_dict().items():
        assert torch.equal(trained.network.state_dict()[name], value)
    assert records.load(tmp_path).meta["config"]["average"] == 0.5


def test_a_mirrored_accuracy_stands_beside_the_plain_one(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (128, 8, 8, 3), dtype=np.uint8)
    images[:, :, 0] = 60 * (np.arange(128) % 4)[:, None, None]  # what tells classes is on one side
    data = (images[:64], np.arange(64) % 4, images[64:], np.arange(64) % 4)
    size = BASE | {"epochs": 8}
    for config in (HourConfig(**size), TrainConfig(**size)):
        training = dartslib.train(data, CELL, config=config)
        folder = tmp_path / type(config).__name__
        result = training.run(folder).meta["result"]
        assert ("mirrored_accuracy" in result) == isinstance(config, HourConfig)
    hour = dartslib.train(data, CELL, config=HourConfig(**size))
    list(hour)
    whole = DataSet.from_arrays("arrays", *data, [*"abcd"])
    judged = whole.evaluation_batches(split(whole).test)
    made = records.load(tmp_path / "HourConfig").meta["result"]
    assert made["test_accuracy"] == hour.evaluate(judged)[1]
    assert made["mirrored_accuracy"] == hour.evaluate_mirrored(judged)[1]
    assert made["mirrored_accuracy"] != made["test_accuracy"]


def test_biases_have_their_rate_and_keep_their_decay():
    """By hand: w - factor * lr * (g + decay / factor * w), without momentum."""
    training = begun(bias_rate=8.0, momentum=0.0, weight_decay=0.1, clip=1e9)
    for name, p in training.network.named_parameters():
        if name.endswith("bias"):  # all 0 at first: nothing would decay
            p.data.fill_(0.5)
    before = {name: p.detach().clone() for name, p in training.network.named_parameters()}
    training.advance()
    rate = 0.1  # cosine at its beginning
    for name, p in training.network.named_parameters():
        factor = 8.0 if name.endswith("bias") and not name.startswith("head") else 1.0
        expected = before[name] - rate * (factor * p.grad + 0.1 * before[name])
        torch.testing.assert_close(p.detach(), expected)


def test_nesterov_looks_ahead():
    training = begun(nesterov=True, weight_decay=0.0, clip=1e9)
    training.advance()
    p = next(training.network.parameters())
    before, buffer = p.detach().clone(), training.optimizer.state[p]["momentum_buffer"].clone()
    training.advance()
    rate = training.optimizer.param_groups[0]["lr"]
    buffer = 0.9 * buffer + p.grad
    torch.testing.assert_close(p.detach(), before - rate * (p.grad + 0.9 * buffer))


def test_the_running_mean_is_that_of_weights_and_statistics():
    training = begun(average=0.25, norm_momentum=0.4)  # of 8 steps: the decay is 1 - 1 / 2
    means = None
    for _ in range(4):
        training.advance()
        training._after_step()
        state = copy.deepcopy(training.network.state_dict())
        if means is None:
            means = state
        for name, value in state.items():
            whole = not value.is_floating_point()
            means[name] = value if whole else 0.5 * means[name] + 0.5 * value
    found = training.averaged.module.state_dict()
    for name, value in means.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[name], value)
    norms = [part for part in training.network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.4}
    assert training.evaluated is training.averaged.module
    plain = evaluate(training.network, Noise())
    assert training.evaluate(Noise())[0] != plain[0]


def test_crops_grow_until_images_are_whole():
    config = HourConfig(**BASE, first_size=24, whole_from=0.6)
    sizes = [crop_size(config, k / 100, 32) for k in range(100)]
    assert sizes[0] == 24 and sizes == sorted(sizes) and set(sizes) == {24, 28, 32}
    assert sizes[60:] == [32] * 40 and 28 in sizes[20:59]
    assert crop_size(HourConfig(**BASE), 0.0, 32) == 32
    training = begun(first_size=4, whole_from=1.0)
    seen, places = [], set()
    for _ in range(training.steps):
        images, labels = training._batch(training.batches)
        whole, same = training.batches.at(training.step)
        seen.append(images.shape[-1])
        places |= {
            (top, left) for top in range(5) for left in range(5)
            if images.shape[-1] == 4
            and torch.equal(images, whole[:, :, top : top + 4, left : left + 4])
        }  # fmt: skip
        assert torch.equal(labels, same)
        training.step += 1
    assert seen[0] == 4 and len(places) > 3
    with pytest.raises(ValueError, match="head=linear"):
        begun(first_size=4, head="mlp")


@pytest.mark.parametrize("kind", [HourConfig, DenseConfig])
def test_muon_makes_the_steps_of_its_formula(kind):
    """Newton and Schulz's iteration in float64: the step has nearly equal singular values."""
    more = {"widths": (4, 6, 6), "channels_last": True} if kind is DenseConfig else {}
    config = kind(**BASE | {"muon": 0.02, "weight_decay": 0.0, "clip": 1e9} | more)
    training = HourTraining(config, CELL, Noise(), in_channels=3, **SIZES)
    before = [weight.detach().clone() for weight in training.matrices]
    sides = {weight.shape[2:] for weight in before}
    assert sides == ({(3, 3)} if kind is DenseConfig else {(1, 1)})
    training.advance()
    assert all(weight.grad is None for weight in training.matrices)  # none is left for the next
    for old, new, matrix in zip(
        before, training.matrices, training.muon.param_groups[0]["params"], strict=True
    ):
        moved = (old - new.detach()).flatten(1).double() / 0.02
        # Nesterov's momentum at the first step: g + 0.95 (1 - 0.95) g or a multiple of it.
        x = matrix.grad.double()
        turned = x.shape[0] > x.shape[1]
        x = x.T if turned else x
        x = x / x.norm()
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
        x = x.T if turned else x
        x = x * max(1, x.shape[0] / x.shape[1]) ** 0.5  # Jordan's factor for tall matrices
        assert (moved - x).norm() < 0.15 * x.norm()  # torch computes in bfloat16


@pytest.mark.parametrize("form", ["plain", "fast"])
def test_a_stopped_hour_goes_on_to_the_bit(form):
    settings = {"average": 0.9, "muon": 0.02, "bias_rate": 8.0, "nesterov": True, "first_size": 4}

    def new():
        training = begun(**settings, channels_last=form == "fast")
        if form == "fast":
            fast.accelerate(training.network)
        return training

    straight, stopped = new(), new()
    list(straight)
    for _ in range(5):
        stopped.advance()
        stopped._after_step()
    again = new()
    again.load_state_dict(copy.deepcopy(stopped.state_dict()))
    list(again)
    for loop in ("network", "averaged"):
        one, other = (getattr(t, loop).state_dict() for t in (straight, again))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_mirrored_evaluation_is_the_mean_of_both():
    training = begun()
    list(training)

    class Both:
        def __len__(self):
            return 4

        def at(self, step):
            images, labels = Noise().at(step)
            return torch.cat([images, images.flip(3)]), torch.cat([labels, labels])

    network, correct = training.network.eval(), 0
    with torch.no_grad():
        for step in range(4):
            images, labels = Both().at(step)
            scores = network(images).unflatten(0, (2, 8)).mean(0)
            correct += int((scores.argmax(1) == labels[:8]).sum())
    assert training.evaluate_mirrored(Noise())[1] == correct / 32


# Which of them pay: the screening design


def test_the_design_is_balanced_and_clear_of_pairs():
    """Each setting in twelve runs, two in six; and no product of two settings moves an effect."""
    design = screening.design()
    assert design.shape == (24, 7) and (design.sum(axis=0) == 0).all()
    assert np.array_equal(design.T @ design, 24 * np.eye(7))
    pairs = np.array([a * b for a, b in combinations(design.T, 2)])
    assert not (pairs @ design).any()
    configs = [screening.config_of(job) for job in screening.plan()]
    assert len({config.model_dump_json(exclude={"seed"}) for config in configs}) == 24
    for change in screening.SETTINGS.values():
        on = [all(getattr(c, name) == value for name, value in change.items()) for c in configs]
        assert sum(on) == 12
    assert configs[11].changed(seed=0) == screening.BASE
    compare = PROFILES["lesson"].compare
    same = ("layers", "channels", "epochs", "batch_size", "part", "lr", "schedule")
    assert all(getattr(compare, name) == getattr(screening.BASE, name) for name in same)


def test_crops_have_the_epochs_of_equal_pixels():
    crops = HourConfig(**BASE, **{"first_size": 24})
    share = np.mean([crop_size(crops, k / 1000, 32) ** 2 for k in range(1000)]) / 32**2
    longer = screening.SETTINGS["crops from 24 pixels"]["epochs"]
    assert round(screening.BASE.epochs / share) == longer


def test_effects_are_found_and_noise_has_its_bar():
    generator, places = np.random.default_rng(0), list(screening.SETTINGS)
    true = dict(zip(places, (0.02, 0.0, -0.01, 0.0, 0.0, 0.03, 0.0), strict=True))
    signs = screening.design()
    values = 0.8 + signs @ np.array([*true.values()]) / 2
    exact = screening.effects(list(values + 0.01 * signs[:, 0] * signs[:, 5]))
    assert all(exact[name] == pytest.approx(true[name]) for name in places)
    assert screening.effects(list(values))["bar"] == pytest.approx(0, abs=1e-12)
    assert exact["bar"] > 0  # what a pair does is in it
    inside = 0
    for _ in range(300):
        found = screening.effects(list(values + 0.005 * generator.normal(size=24)))
        inside += sum(abs(found[name] - true[name]) < found["bar"] for name in places)
    assert inside / 2100 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(("bar", "kept"), [(0.004, "AB"), (0.015, "A"), (0.05, "")])
def test_what_is_kept_is_useful_and_above_its_bar(bar, kept):
    names = list(screening.SETTINGS)
    values = (0.02, 0.01, 0.0099, -0.03, 0.005, 0.0, 0.0)
    found = dict(zip(names, values, strict=True)) | {"bar": bar}
    assert screening.kept_of(found) == tuple(names["AB".index(k)] for k in kept)


def test_all_that_is_kept_together():
    kept = ("Nesterov", "crops from 24 pixels")
    plan = screening.plan(kept)
    assert plan[24:] == ["none-0", "kept-0", "none-1", "kept-1", "none-2", "kept-2"]
    configs = {job: screening.config_of(job, kept) for job in plan}
    assert [config.seed for config in configs.values()] == list(range(30))
    one = configs["kept-1"]
    assert (one.nesterov, one.first_size, one.epochs, one.muon) == (True, 24, 8, 0.0)
    assert configs["none-1"].changed(seed=0) == screening.BASE
    rows = {
        job: {"valid": 0.8 + 0.02 * job.startswith("kept") + 0.001 * int(job[-1]), "mirrored": 0.8,
              "train": 0.9, "seconds": 100.0 + 5 * job.startswith("kept"),
              "machine": {"processor": "a", "instructions": "AVX2"}}
        for job in plan[24:]
    }  # fmt: skip
    found = screening.together(rows)
    assert found["valid"] == pytest.approx(0.02) and found["seconds"] == pytest.approx(5)
    # Student's t of 4 degrees, times the deviation of a difference of two means of three
    assert found["bar"] == pytest.approx(2.776 * 0.001 * (2 / 3) ** 0.5, rel=1e-3)
    rows["kept-0"]["machine"]["instructions"] = "AVX512"  # seconds of two machines say nothing
    assert screening.together(rows).keys() == {"valid", "mirrored", "train", "bar"}


@pytest.mark.full
def test_the_command_trains_judges_and_says_what_is_kept(monkeypatch, tmp_path, capsys):
    """At a size of seconds, on images that are drawn; accuracies of the design are given."""
    rng, labels = np.random.default_rng(0), np.arange(160) % 10
    images = rng.integers(0, 256, (160, 32, 32, 3), dtype=np.uint8)
    data = DataSet.from_arrays("cifar10", images, labels, images[:1], labels[:1], [*"0123456789"])
    small = screening.BASE.changed(layers=3, channels=2, batch_size=32, epochs=1)
    monkeypatch.setattr(screening, "BASE", small)
    monkeypatch.setattr(screening, "load", lambda name: data)
    monkeypatch.setattr(screening, "make_all", here)
    monkeypatch.setattr(screening, "commit", lambda: "c")  # whatever is not committed here
    monkeypatch.setattr(screening, "RECORD", tmp_path / "screening.json")
    monkeypatch.setattr(screening, "FOLDER", tmp_path)
    for run, row in enumerate(screening.design()):
        made = {"valid": 0.7 + 0.01 * row[1], "mirrored": 0.7, "train": 0.7, "seconds": 1.0}
        made |= {"error": "", "commit": "c", "machine": machine("cpu")}
        made["config"] = screening.config_of(str(run)).model_dump(mode="json")
        (tmp_path / f"{run}.json").write_text(json.dumps(made), encoding="utf-8")
    for words in ([], ["--record"]):
        monkeypatch.setattr("sys.argv", ["screening", *words])
        screening.main()
    assert "kept: Nesterov\n" in capsys.readouterr().out
    found = json.loads((tmp_path / "screening.json").read_text("utf-8"))
    assert found["kept"] == ["Nesterov"] and "bar" in found["effects"]["together"]
    made = found["runs"]["kept-2"]
    assert made["config"]["nesterov"] and made["cell"] == "random-100" and made["data"]
    assert 0 <= made["valid"] <= 1 and not found["runs"]["none-2"]["config"]["nesterov"]


def here(folder, jobs, make, *, workers):
    """`make_all` in this process."""
    for job in jobs:
        if workers and not (folder / f"{job}.json").exists():
            (folder / f"{job}.json").write_text(json.dumps(make(job)), encoding="utf-8")
            yield job

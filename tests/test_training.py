"""Training against a second loop; schedules, switches, evaluation; stopping and going on."""

from math import cos, pi

import numpy as np
import pytest
import torch
from plain import Noise, is_one_sentence
from test_searching import _same, _saved
from torch.nn import functional as F

from dartslib.data import DataSet
from dartslib.data.batches import Subset
from dartslib.genotypes import DARTS_V1, DARTS_V2, Genotype
from dartslib.networks import FinalNetwork
from dartslib.training import TrainConfig, Training, evaluate, learning_rate

CELL = Genotype(
    (
        (("sep_conv_3x3", 0), ("skip_connect", 1)),
        (("max_pool_3x3", 1), ("dil_conv_3x3", 2)),
    ),
    ((("max_pool_3x3", 0), ("skip_connect", 1)),),
)
TINY = {
    "layers": 2,
    "reductions": (1,),
    "channels": 2,
    "head": "linear",
    "epochs": 2,
    "batch_size": 4,
}


def _training(batches=3, size=8, watched=None, genotype=CELL, **changes):
    config = TrainConfig(**(TINY | changes))
    return Training(config, genotype, Noise(batches, size), watched, image_size=size)


def test_a_training_by_a_second_loop():
    """Drop path, auxiliary head, label smoothing, clipping, cosine; both in float64."""
    options = {"auxiliary": 0.4, "drop_path": 0.5, "label_smoothing": 0.1, "clip": 0.5, "lr": 0.1}
    options |= {"reductions": (0,), "seed": 3}
    found = _training(size=16, **options)
    found.network.double()
    at = found.batches.at
    found.batches.at = lambda step: (at(step)[0].double(), at(step)[1])
    second = found.config.network(CELL, num_classes=10, image_size=16).double()
    assert all(map(torch.equal, second.parameters(), found.network.parameters()))
    optimizer = torch.optim.SGD(second.parameters(), 0.1, 0.9, weight_decay=3e-4)
    steps = 6
    for step in range(steps):
        found.advance()
        rate = 0.1 * (1 + cos(pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = rate
        second.drop_path = 0.5 * step / steps  # linear, from 0
        assert found.network.drop_path == pytest.approx(second.drop_path)
        second.generator = torch.Generator().manual_seed(3 * 1_000_003 + step)
        images, labels = found.batches.at(step)
        losses = []
        for scores in second(images):
            logs = scores.log_softmax(-1)
            right = logs[range(len(labels)), labels]
            losses.append(-(0.9 * right + 0.1 * logs.mean(dim=1)).mean())
        optimizer.zero_grad()
        (losses[0] + 0.4 * losses[1]).backward()
        total = torch.cat([p.grad.flatten() for p in second.parameters()]).norm().item()
        for p in second.parameters():
            p.grad *= min(1.0, 0.5 / (total + 1e-6))
        optimizer.step()
        for ours, theirs in zip(found.network.parameters(), second.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_cosine_falls_from_the_first_step():
    config = TrainConfig(lr=0.4, lr_min=0.1)
    assert learning_rate(config, 0) == 0.4
    assert learning_rate(config, 0.5) == pytest.approx(0.25)
    assert learning_rate(config, 1) == pytest.approx(0.1)


def test_one_cycle_rises_for_a_fifth_and_falls_along_a_cosine():
    config = TrainConfig(lr=0.4, schedule="one_cycle")
    values = [learning_rate(config, step / 100) for step in range(101)]
    assert np.argmax(values) == 20 and max(values) == pytest.approx(0.4)
    assert values[0] == pytest.approx(0.04) and values[100] == pytest.approx(0)
    assert np.allclose(np.diff(values[:21]), 0.36 / 20)  # a straight line
    assert values[60] == pytest.approx(0.2)


def test_switches_reach_the_network_and_the_batches():
    found = _training(auxiliary=0.4, size=16, reductions=(0,))
    assert found.network.auxiliary_head is not None
    assert _training().network.auxiliary_head is None
    assert found.network.drop_path == 0.0
    assert _training(head="mlp").network.head[1].out_features == 4096


def test_records_and_evaluations():
    watched = Noise(2, seed=9)
    found = _training(batches=4, watched=watched, epochs=3, records=3)
    records = list(found)
    assert [r["step"] for r in records] == [4, 8, 12]
    history = {name: np.asarray(values) for name, values in found.history.items()}
    assert set(history) == set(
        "step epoch seconds train_loss train_accuracy w_lr".split()
        + "evaluation_step valid_loss valid_accuracy".split()
    )
    assert history["step"].dtype == history["evaluation_step"].dtype == np.int64
    assert history["evaluation_step"].tolist() == [4, 8, 12]
    assert history["epoch"].tolist() == [1.0, 2.0, 3.0]
    assert watched.asked == [0, 1] * 3
    loss, accuracy = found.evaluate(watched)  # nothing moved since
    assert (loss, accuracy) == (history["valid_loss"][-1], history["valid_accuracy"][-1])
    for r in records:
        assert r["w_lr"] == pytest.approx(0.025 * (1 + cos(pi * (r["step"] - 1) / 12)) / 2)


def test_long_trainings_give_about_as_many_records_as_asked_for(monkeypatch):
    # Six hundred epochs are not six hundred records.
    monkeypatch.setattr(Training, "advance", lambda self: setattr(self, "step", self.step + 1))
    monkeypatch.setattr(Training, "_record", lambda self: {"step": self.step})
    found = _training(batches=4, epochs=600, records=100)
    steps = [r["step"] for r in found]
    assert len(steps) == 100 and steps[-1] == 2400


def test_the_last_step_has_a_record():
    assert [r["step"] for r in _training(batches=5, epochs=1, records=2)] == [2, 4, 5]


def test_means_since_the_last_record():
    fine = list(_training(batches=4))
    coarse = list(_training(batches=4, records=2))
    assert [r["step"] for r in coarse] == [4, 8]
    for r in coarse:
        own = [f["train_loss"] for f in fine if r["step"] - 4 < f["step"] <= r["step"]]
        assert r["train_loss"] == pytest.approx(np.mean(own))


# Evaluation


class _ByBrightness(torch.nn.Module):
    """Says class 1 where an image is bright; remembers its mode and how many images it saw."""

    def __init__(self):
        super().__init__()
        self.seen, self.modes = 0, []

    def forward(self, images):
        self.seen += len(images)
        self.modes.append(self.training)
        brightness = images.mean(dim=(1, 2, 3))
        return torch.stack([-brightness, brightness], dim=1)


@pytest.mark.parametrize("images", [1, 7, 256, 300])
def test_evaluation_counts_every_image_once(images):
    rng = np.random.default_rng(images)
    pixels = torch.from_numpy(rng.integers(0, 256, (images, 3, 8, 8), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 2, images))
    names = ("dark", "bright")
    dataset = DataSet("noise", pixels, labels, pixels, labels, names)
    batches = dataset.evaluation_batches(Subset(pixels, labels, "test"), batch_size=50)
    network = _ByBrightness().train()
    loss, accuracy = evaluate(network, batches)
    assert network.seen == images and not any(network.modes) and network.training

    mean, std = (np.array(values) for values in dataset.statistics())
    x = (pixels.permute(0, 2, 3, 1).numpy() / 255 - mean) / std
    brightness = x.mean(axis=(1, 2, 3))
    right = (brightness > 0) == labels.numpy().astype(bool)
    signs = np.where(labels.numpy(), 1, -1)
    assert accuracy == pytest.approx(right.mean(), abs=1e-12)
    expected = np.log1p(np.exp(-2 * signs * brightness)).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_evaluation_moves_nothing():
    found = _training()
    found.advance()
    before = {name: value.clone() for name, value in found.network.state_dict().items()}
    found.evaluate(Noise(2))
    assert _same(before, dict(found.network.state_dict()))
    assert all(not p.grad.requires_grad for p in found.network.parameters())


def test_transfer_is_the_same_genotype_with_other_classes():
    config = TrainConfig(**TINY)
    sources = Noise(2), Noise(2, classes=100)
    nets = [
        Training(config, DARTS_V2, source, num_classes=classes).network
        for source, classes in zip(sources, (10, 100), strict=True)
    ]
    assert all(isinstance(net, FinalNetwork) for net in nets)
    assert [net(torch.zeros(2, 3, 32, 32)).shape[1] for net in nets] == [10, 100]
    assert str(nets[0].cells) == str(nets[1].cells)


# Stopping and going on


@pytest.mark.parametrize("stop", [2, 3, 5])  # after a record, after an epoch, in between
def test_a_stopped_training_goes_on_to_the_bit(stop):
    options = {"auxiliary": 0.4, "drop_path": 0.5, "reductions": (0,), "size": 16, "records": 3}
    whole = _training(**options, watched=Noise(1, 16, seed=5))
    list(whole)
    stopped = _training(**options, watched=Noise(1, 16, seed=5))
    for _ in stopped.each_step():
        if stopped.step == stop:
            break
    state = _saved(stopped.state_dict())
    resumed = _training(**options, watched=Noise(1, 16, seed=5))
    resumed.load_state_dict(state)
    list(resumed)
    assert resumed.batches.asked == list(range(stop, 6))
    assert _same(whole.state_dict(), resumed.state_dict())
    for name in ("network", "optimizer"):  # and what a state_dict might leave out
        assert _same(dict(getattr(whole, name).state_dict()), getattr(resumed, name).state_dict())
    assert resumed.history["step"] == [2, 4, 6]
    assert resumed.history["evaluation_step"] == [3, 6]


def test_drop_path_took_part_in_that_comparison():
    ends = []
    for probability in (0.0, 0.5):
        found = _training(drop_path=probability)
        list(found)
        ends.append(torch.cat([p.detach().flatten() for p in found.network.parameters()]))
    assert not torch.equal(*ends)


def test_a_state_of_another_genotype_is_refused():
    # Pools have no weights, so the tensors alone would not tell.
    state = _training(genotype=CELL).state_dict()
    other = Genotype.from_json(CELL.to_json().replace("max_pool", "avg_pool"))
    with pytest.raises(ValueError, match="genotype"):
        _training(genotype=other).load_state_dict(state)


def test_a_loss_that_is_not_finite_stops_the_training():
    with pytest.raises(FloatingPointError, match="learning rate"):
        list(_training(lr=1e30, clip=1e30))


def test_global_generators_are_left_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    list(_training(drop_path=0.3))
    assert torch.equal(torch.get_rng_state(), state)


# Settings


def test_defaults_are_the_reports():
    c = TrainConfig()
    assert (c.layers, c.channels, c.head, c.epochs, c.batch_size) == (14, 16, "mlp", 600, 128)
    assert (c.cutout, c.drop_path, c.auxiliary, c.label_smoothing) == (0, 0, 0, 0)


@pytest.mark.parametrize("wrong", [{"drop_path": 1.0}, {"part": "test"}, {"seed": 2**40}])
def test_bad_settings(wrong):
    with pytest.raises(ValueError) as error:
        TrainConfig(**wrong)
    assert is_one_sentence(error.value) and next(iter(wrong)) in str(error.value)


def test_the_loss_in_these_tests_is_torchs():
    scores, labels = torch.randn(4, 5), torch.tensor([0, 1, 4, 2])
    logs = scores.log_softmax(-1)
    expected = F.cross_entropy(scores, labels, label_smoothing=0.1)
    found = -(0.9 * logs[range(4), labels] + 0.1 * logs.mean(dim=1)).mean()
    torch.testing.assert_close(found, expected)


def test_published_genotypes_train():
    for genotype in (DARTS_V1, DARTS_V2):
        found = _training(batches=1, epochs=1, genotype=genotype)
        assert len(list(found)) == 1

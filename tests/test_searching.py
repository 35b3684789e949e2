"""The search against a second loop with torch's optimizers; stopping and going on."""

import copy
import io
import random
from math import cos, log, pi

import numpy as np
import pytest
import torch
from plain import Noise, Plain, is_one_sentence
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from dartslib.data import DataSet, split
from dartslib.gradients import METHODS
from dartslib.loops import Loop
from dartslib.runs.profiles import profile
from dartslib.runs.running import fast_form
from dartslib.searching import Search, SearchConfig
from dartslib.space import REPORT_OPERATIONS

TINY = {
    "nodes": 1,
    "operations": ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "none"),
    "layers": 2,
    "reductions": (1,),
    "channels": 2,
    "head": "linear",
    "epochs": 2,
    "alpha_lr": 0.05,
    "alpha_init_std": 0.1,
}


def _search(batches=3, size=8, **changes):
    config = SearchConfig(**(TINY | changes))
    sources = Noise(batches, size), Noise(batches, size, seed=1)
    return Search(config, *sources, image_size=size)


def _in_float64(found):
    """The same search in float64: rounding must not decide a comparison."""
    found.supernet.double()
    for logits in found.architecture.alpha:
        logits.data = logits.data.double()
    for source in (found.train, found.valid):
        at = source.at
        source.at = lambda step, at=at: (at(step)[0].double(), at(step)[1])
    return found


# The order and the rules of a step


class _SecondLoop:
    """A search by copies of networks and optimizers, as one would write it at first."""

    def __init__(self, found):
        self.config = found.config
        self.net = copy.deepcopy(found.supernet)
        self.alpha = [a.detach().clone().requires_grad_() for a in found.architecture.alpha]
        self.space, self.steps = found.architecture.space, found.steps
        c = self.config
        self.sgd = torch.optim.SGD(
            self.net.parameters(), c.w_lr, momentum=c.momentum, weight_decay=c.w_weight_decay
        )
        self.adam = torch.optim.Adam(
            self.alpha, c.alpha_lr, betas=c.alpha_betas, weight_decay=c.alpha_weight_decay
        )

    def loss(self, batch, parameters, alpha=None):
        normal, reduction = self.alpha if alpha is None else alpha
        tables = {"normal": normal.softmax(-1), "reduction": reduction.softmax(-1)}
        scores = Plain(parameters).supernet(batch[0], tables, self.space, 2, (1,))
        return F.cross_entropy(scores, batch[1])

    def step(self, number, train, valid):
        c = self.config
        rate = c.w_lr_min + (c.w_lr - c.w_lr_min) * (1 + cos(pi * number / self.steps)) / 2
        self.sgd.param_groups[0]["lr"] = rate
        w = list(self.net.parameters())
        self.adam.zero_grad()
        if c.gradient == "one_level":
            train = [torch.cat(pair) for pair in zip(train, valid, strict=True)]
        elif c.gradient == "first_order":
            self.loss(valid, w).backward()
            self.adam.step()
        else:
            self.second_order(rate if c.xi is None else c.xi, train, valid)
            self.adam.step()
        self.sgd.zero_grad()
        if c.gradient != "one_level":
            self.adam.zero_grad()
        self.loss(train, w).backward()
        total = torch.cat([p.grad.flatten() for p in w]).norm()
        for p in w:
            p.grad *= min(1.0, c.clip / (total.item() + 1e-6))
        if c.gradient == "one_level":
            self.adam.step()
        self.sgd.step()
        return rate

    def second_order(self, xi, train, valid):
        """d/d alpha of L_val(w'(alpha), alpha), by autograd through the optimizer's formula."""
        c = self.config
        w = list(self.net.parameters())
        gradient = torch.autograd.grad(self.loss(train, w), w, create_graph=True)
        ahead = []
        for p, g in zip(w, gradient, strict=True):
            buffer = self.sgd.state[p].get("momentum_buffer", torch.zeros_like(p))
            ahead.append(p - xi * (c.momentum * buffer + g + c.w_weight_decay * p))
        for logits, g in zip(
            self.alpha, torch.autograd.grad(self.loss(valid, ahead), self.alpha), strict=True
        ):
            logits.grad = g


@pytest.mark.parametrize("method", METHODS)
def test_a_search_by_a_second_loop(method):
    # Few images and a low clip, so that clipping takes part; a small radius, so that both agree.
    found = _in_float64(_search(gradient=method, nodes=2, clip=0.5, radius=1e-5, w_lr=0.1))
    second = _SecondLoop(found)
    for step in range(4):
        rate = second.step(step, found.train.at(step), found.valid.at(step))
        found.advance()
        assert found.w_optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-12)
        tolerance = 1e-7 if method == "finite_difference" else 1e-10
        for ours, theirs in zip(found.architecture.alpha, second.alpha, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        for ours, theirs in zip(found.w, second.net.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_clipping_took_part_in_that_comparison():
    moved = []
    for clip in (0.5, 1e6):
        found = _search(clip=clip, w_lr=0.1)
        found.advance()
        moved.append(torch.cat([p.detach().flatten() for p in found.w]))
    assert not torch.equal(*moved)


@pytest.mark.parametrize("method", METHODS)
def test_alpha_moves_first_and_w_sees_the_new_alpha(method, monkeypatch):
    found = _search(gradient=method)
    order = []
    for name in ("alpha_optimizer", "w_optimizer"):
        optimizer = getattr(found, name)
        step = optimizer.step
        monkeypatch.setattr(
            optimizer, "step", lambda name=name, step=step: order.append(name) or step()
        )
    for number in range(1, 4):
        alpha = [logits.detach().clone() for logits in found.architecture.alpha]
        w = [p.detach().clone() for p in found.w]
        found.advance()
        assert order == ["alpha_optimizer", "w_optimizer"] * number
        assert all(
            not torch.equal(a, b) for a, b in zip(alpha, found.architecture.alpha, strict=True)
        )
        assert all(not torch.equal(a, b) for a, b in zip(w, found.w, strict=True) if b.grad.any())


def test_every_step_asks_both_halves_for_a_batch_of_its_own():
    found = _search(batches=3)
    list(found)
    assert found.steps == 6
    assert found.train.asked == found.valid.asked == list(range(6))


def test_the_shorter_half_makes_the_epoch():
    config = SearchConfig(**TINY)
    assert Search(config, Noise(5), Noise(3), image_size=8).steps == 2 * 3


def test_both_halves_are_shuffled_anew_each_epoch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 8, 8, 3), dtype=np.uint8)
    dataset = DataSet.from_arrays(
        "noise", images, np.arange(80) % 2, images, np.arange(80) % 2, ["a", "b"]
    )
    cut = split(dataset, held_out=0.0)
    for half in (cut.search_train, cut.search_valid):
        batches = dataset.batches(half, 8, seed=0)
        epochs = [
            torch.cat([batches.indices(step) for step in range(start, start + 5)]).tolist()
            for start in (0, 5, 10)
        ]
        assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in [*epochs, range(40)]}) == 4


@pytest.mark.parametrize("method", METHODS)
def test_batch_norm_counts_one_batch_a_step(method):
    # Other codes run BatchNorm four times a step, three of them at weights that are thrown away.
    found = _in_float64(_search(gradient=method))
    norm = found.supernet.stem[1]
    mean, variance = torch.zeros(6).double(), torch.ones(6).double()
    for step in range(3):
        images, _ = found.train.at(step)
        if method == "one_level":
            images = torch.cat([images, found.valid.at(step)[0]])
        values = F.conv2d(images, found.supernet.stem[0].weight, padding=1).detach()
        found.advance()
        mean = 0.9 * mean + 0.1 * values.mean(dim=(0, 2, 3))
        variance = 0.9 * variance + 0.1 * values.var(dim=(0, 2, 3))
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
    counts = [
        m.num_batches_tracked for m in found.supernet.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert counts and all(count == 3 for count in counts)


def test_w_lr_falls_along_a_cosine_with_every_step_and_xi_is_that_rate():
    found = _search(batches=5, gradient="finite_difference", w_lr=0.1, w_lr_min=0.02)
    records = list(found)
    assert [record["step"] for record in records] == list(range(11))
    for record in records[1:]:
        expected = 0.02 + 0.08 * (1 + cos(pi * (record["step"] - 1) / 10)) / 2
        assert record["w_lr"] == record["xi"] == pytest.approx(expected)
    assert records[0]["w_lr"] == records[1]["w_lr"] == 0.1


@pytest.mark.parametrize(
    ("changes", "xi"),
    [({"gradient": "one_level"}, 0), ({"gradient": "first_order"}, 0)]
    + [({"gradient": "exact", "xi": 0.3}, 0.3), ({"gradient": "finite_difference", "xi": 0.0}, 0)],
)
def test_other_values_of_xi(changes, xi):
    found = _search(**changes)
    found.advance()
    assert found.xi == xi


# Records


@pytest.mark.parametrize("method", ["one_level", "finite_difference"])
def test_history(method):
    config = SearchConfig(**TINY | {"operations": REPORT_OPERATIONS}, gradient=method)
    found = fast_form(Search(config, Noise(3), Noise(3, seed=1), image_size=8))
    records = list(found)
    history = {name: np.asarray(values) for name, values in found.history.items()}
    edges, operations = 2, 8
    shapes = dict.fromkeys(
        "step seconds train_loss train_accuracy valid_loss valid_accuracy xi w_lr".split(), ()
    )
    for cell_type in ("normal", "reduction"):
        shapes[f"logits_{cell_type}"] = shapes[f"probabilities_{cell_type}"] = (edges, operations)
        shapes[f"entropy_{cell_type}"] = shapes[f"margin_{cell_type}"] = (edges,)
    assert {name: values.shape[1:] for name, values in history.items()} == shapes
    assert len({len(values) for values in history.values()}) == 1
    assert history["step"].dtype == np.int64
    assert history["step"].tolist() == list(range(7))
    assert [record["step"] for record in records] == list(range(7))

    assert np.isnan(history["train_loss"][0]) and np.isnan(history["valid_accuracy"][0])
    assert np.isfinite(history["train_loss"][1:]).all()
    watched = history["valid_loss"][1:]
    assert np.isnan(watched).all() if method == "one_level" else np.isfinite(watched).all()
    assert (np.diff(history["seconds"]) > 0).all() and history["seconds"][0] == 0
    for cell_type in ("normal", "reduction"):
        table = history[f"probabilities_{cell_type}"]
        logits = history[f"logits_{cell_type}"]
        raised = np.exp(logits - logits.max(-1, keepdims=True))
        np.testing.assert_allclose(table, raised / raised.sum(-1, keepdims=True), rtol=1e-5)
        entropy = [[-sum(p * log(p) for p in row) for row in rows] for rows in table.tolist()]
        np.testing.assert_allclose(history[f"entropy_{cell_type}"], entropy, rtol=1e-5)
        real = np.sort(table[:, :, :7], axis=-1)  # the report's order: none comes last
        np.testing.assert_allclose(
            history[f"margin_{cell_type}"], real[:, :, -1] - real[:, :, -2], atol=1e-12
        )
        assert (np.abs(np.diff(logits, axis=0)).max(axis=(1, 2)) > 0).all()


def test_losses_and_accuracies_are_means_since_the_last_record():
    every = _search(batches=4)
    fine = list(every)[1:]  # eight records of one step
    coarse = list(_search(batches=4, records=3))[1:]
    assert [record["step"] for record in coarse] == [2, 4, 6, 8]
    for record in coarse:
        own = [r for r in fine if record["step"] - 2 < r["step"] <= record["step"]]
        for name in ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy"):
            assert record[name] == pytest.approx(np.mean([r[name] for r in own]))


def test_validation_figures_are_of_the_validation_batch():
    config = SearchConfig(**TINY | {"epochs": 1})
    sources = Noise(1, images=40), Noise(1, images=40, seed=2)
    first, again = (Search(config, *sources, image_size=8) for _ in range(2))
    _, record = first
    images, labels = sources[1].at(0)
    scores = again.supernet(images, again.architecture.mixture())  # as at the first step
    assert record["valid_accuracy"] == pytest.approx((scores.argmax(1) == labels).float().mean())
    assert record["valid_loss"] == pytest.approx(F.cross_entropy(scores, labels).item())
    assert record["valid_accuracy"] != record["train_accuracy"]


@pytest.mark.parametrize(
    ("batches", "records"), [(5, 5), (7, 5), (7, 4), (3, 100), (10, 1), (9, 2)]
)
def test_about_as_many_records_as_asked_for(batches, records, monkeypatch):
    monkeypatch.setattr(Search, "advance", lambda self: setattr(self, "step", self.step + 1))
    monkeypatch.setattr(
        Search, "_record", lambda self: self.history["step"].append(self.step) or {}
    )
    found = _search(batches, records=records)
    count = len(list(found)) - 1  # beside the one at step 0
    assert found.history["step"][-1] == found.steps
    assert count == found.steps if found.steps <= records else records <= count < 2 * records + 1


def test_a_loss_that_is_not_finite_stops_the_search():
    found = _search(w_lr=1e30, clip=1e30)
    with pytest.raises(FloatingPointError, match="learning rate") as error:
        list(found)
    assert is_one_sentence(error.value)


# Stopping and going on


def _saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a.nan_to_num(nan=-7.0), b.nan_to_num(nan=-7.0))
    if isinstance(a, dict):
        keys = a.keys() - {"seconds"}
        return keys == b.keys() - {"seconds"} and all(_same(a[key], b[key]) for key in keys)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [2, 3])  # after a record, and between two
def test_a_stopped_search_goes_on_to_the_bit(method, stop):
    whole = _search(batches=3, gradient=method, records=3)
    list(whole)

    stopped = _search(batches=3, gradient=method, records=3)
    for _ in stopped.each_step():
        if stopped.step == stop:
            break
    state = _saved(stopped.state_dict())
    resumed = _search(batches=3, gradient=method, records=3)
    resumed.load_state_dict(state)
    assert resumed.step == stop and resumed.seconds == stopped.seconds
    list(resumed)

    assert resumed.train.asked == list(range(stop, 6))
    assert _same(whole.state_dict(), resumed.state_dict())
    # And what a state_dict might leave out: running statistics, alpha, both optimizers.
    for name in ("supernet", "architecture", "w_optimizer", "alpha_optimizer"):
        assert _same(dict(getattr(whole, name).state_dict()), getattr(resumed, name).state_dict())
    assert whole.history["step"] == resumed.history["step"] == [0, 2, 4, 6]
    assert np.asarray(resumed.history["step"]).dtype == np.int64


def test_a_state_is_a_copy_of_nothing_that_moves_before_it_is_saved():
    found = _search()
    found.advance()
    state = _saved(found.state_dict())
    found.advance()
    assert not _same(state["architecture"], found.state_dict()["architecture"])


def test_same_seed_same_search_other_seed_another():
    first, again, other = _search(), _search(), _search(seed=1)
    for found in (first, again, other):
        list(found)
    assert _same(first.state_dict(), again.state_dict())
    assert not _same(first.state_dict(), other.state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_global_generators_are_left_alone(method):
    torch.manual_seed(7)
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    list(_search(batches=1, gradient=method))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), repr(np.random.get_state())) == states[1:]  # noqa: NPY002


def test_global_generators_of_gpus_are_left_alone(monkeypatch):
    """torch.manual_seed would seed the generators of all devices, and nothing restores them."""

    def seeded(seed):
        raise AssertionError("the generators of all devices were seeded")

    monkeypatch.setattr(torch, "manual_seed", seeded)
    list(_search(batches=1))


def test_memory_format_changes_no_mathematics():
    contiguous, last = (_in_float64(_search(channels_last=value)) for value in (False, True))
    list(contiguous), list(last)
    for a, b in zip(contiguous.architecture.alpha, last.architecture.alpha, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    assert last.supernet.stem[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_gpu_keeps_the_default_format():
    formats = [Loop(SearchConfig(), 1, device).memory_format for device in ("cpu", "cuda")]
    assert formats == [torch.channels_last, torch.contiguous_format]


# Settings


def test_defaults_are_the_reports():
    c = SearchConfig()
    assert (c.nodes, c.layers, c.channels, c.head, c.epochs) == (3, 8, 16, "mlp", 40)
    assert (c.batch_size, c.w_lr, c.w_lr_min, c.momentum) == (64, 0.025, 0.0, 0.9)
    assert (c.w_weight_decay, c.alpha_lr, c.alpha_weight_decay) == (3e-4, 3e-4, 1e-3)
    assert (c.alpha_betas, c.alpha_init_std, c.radius, c.xi) == ((0.5, 0.999), 0.0, 0.01, None)


def test_settings_of_the_paper():
    c = profile("darts").search
    assert (c.nodes, c.layers, c.channels, c.head, c.epochs) == (4, 8, 16, "linear", 50)
    assert (c.w_lr, c.w_lr_min, c.clip, c.alpha_init_std) == (0.025, 0.001, 5.0, 1e-3)
    assert c.operations[0] == "none" and len(c.space().edges) == 14


def test_alpha_rate_that_keeps_steps_times_rate():
    found = _search(batches=4, alpha_lr=None)
    rate = found.alpha_optimizer.param_groups[0]["lr"]
    assert rate * found.steps == pytest.approx(40 * 390 * 3e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gradient": "second_order"},
        {"epochs": 0},
        {"w_lr": float("nan")},
        {"xi": -1},
        {"channel": 4},
        {"seed": -1},
        {"seed": 2**32},
        {"head": "resnet"},
    ],
)
def test_bad_settings(wrong):
    with pytest.raises(ValueError) as error:
        SearchConfig(**wrong)
    assert is_one_sentence(error.value) and next(iter(wrong)) in str(error.value)


def test_settings_go_to_json_and_back():
    config = SearchConfig(reductions=(1, 3), gradient="exact", xi=0.1, seed=2**32 - 1)
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError):
        config.epochs = 3

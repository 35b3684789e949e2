"""ProxylessNAS's gates, latency in the loss, and OLES, against their formulas."""

import math

import pytest
import torch
from plain import Noise, is_one_sentence
from torch.nn import functional as F

from dartslib import operations
from dartslib.loops import step_generator
from dartslib.methods import latency
from dartslib.methods.fbnet import FBNet
from dartslib.methods.latency import measure
from dartslib.methods.oles import OLES, cosines
from dartslib.methods.proxyless import Gates, ProxylessNAS
from dartslib.relaxation import START, Architecture, MixedOperation, Moment
from dartslib.searching import Search, SearchConfig
from dartslib.space import SearchSpace
from dartslib.tabular.cells import SPACE as SMALL

NAMES = "sep_conv_3x3", "avg_pool_3x3", "skip_connect", "none"
TINY = {"nodes": 2, "layers": 1, "reductions": (), "channels": 2, "head": "linear", "epochs": 1}
SPACE = SearchSpace(2, NAMES)
COSTS = [[3.0, 2.0, 0.5, 0.0], [1.0, 0.2, 0.1, 0.0], [2.0, 2.0, 2.0, 0.0]] + [
    [4.0, 1.0, 0.0, 0.0]
] * 2


def _search(relaxation, batches=4, **settings):
    settings = {"alpha_lr": 0.1, "operations": NAMES} | settings
    config = SearchConfig(**TINY | settings, relaxation=relaxation)
    return Search(config, Noise(batches), Noise(batches, seed=1), image_size=8)


def _moment(step=0, steps=1, seed=0):
    return Moment(step, steps, torch.Generator().manual_seed(seed))


def _alpha(seed=0, spread=1.0):
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {kind: (spread * noise).requires_grad_() for kind in ("normal", "reduction")}


# ProxylessNAS


@pytest.mark.parametrize("paths", ["all", "two"])
def test_one_gate_is_one_and_the_gradient_that_of_the_softmax(paths):
    alpha, relaxation = _alpha(), ProxylessNAS(paths=paths)
    gates = relaxation.mixture(alpha, SPACE, _moment())["normal"]
    assert ((gates == 1).sum(1) == 1).all()
    assert ((gates == 0) | (gates == 1) | (gates == 1e-30)).all()
    asked = gates != 0  # their gradient is asked for
    assert (asked.sum(1) == (4 if paths == "all" else 2)).all()
    slope = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (found,) = torch.autograd.grad((gates * slope).sum(), alpha["normal"])
    logits = alpha["normal"].detach().masked_fill(~asked, -torch.inf)
    for row, (s, p) in enumerate(zip(slope, logits.softmax(1), strict=True)):
        expected = [sum(s[j] * p[j] * (float(i == j) - p[i]) for j in range(4)) for i in range(4)]
        torch.testing.assert_close(found[row], torch.stack(expected))


def test_gradients_of_gates_reach_all_that_compete():
    search = _search({"name": "proxyless", "every": 1, "warm_up": 0.0}, alpha_weight_decay=0.0)
    search.advance()
    # One step of Adam: each logit moves, by a gradient of its own.
    assert (search.architecture.logits["normal"] != 0).all()
    gates = search.architecture.mixture(moment=search.moment)["normal"][0]
    edge = search.supernet.cells[0].edges[0].requires_grad_(False)
    (slopes,) = torch.autograd.grad(edge(torch.randn(2, 2, 6, 6), gates).square().sum(), gates)
    assert (slopes[:3] != 0).all() and slopes[3] == 0  # the last is none


def test_gates_are_drawn_by_the_softmax():
    logits = torch.tensor([math.log(2), 0.0, -1.0]).expand(40_000, 3)
    for paths in ("all", "two"):
        _, _, drawn = ProxylessNAS(paths=paths)._draw(logits, _moment())
        if paths == "all":
            often = F.one_hot(drawn[:, 0], 3).float().mean(0)
            torch.testing.assert_close(often, logits[0].softmax(0), rtol=0, atol=4 * 0.5 / 200)


def _edges():
    torch.manual_seed(0)
    edge, full = (cls(NAMES, 2, 1).double() for cls in (Gates, MixedOperation))
    full.load_state_dict(edge.state_dict())
    return edge, full, torch.randn(3, 2, 6, 6, dtype=torch.float64, requires_grad=True)


def test_gradients_of_gates_are_those_of_the_whole_sum():
    edge, full, x = _edges()
    edge.requires_grad_(False)
    target = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    for drawn in range(4):
        found = []
        for module in (edge, full):
            gates = torch.full((4,), 1e-30, dtype=torch.float64)
            gates[drawn] = 1.0
            gates.requires_grad_()
            y = module(x, gates, START)
            torch.testing.assert_close(y, full.operations[drawn](x) * 1.0, rtol=0, atol=1e-12)
            found.append(torch.autograd.grad((y * target).sum(), [gates, x]))
        for ours, whole in zip(*found, strict=True):
            torch.testing.assert_close(ours, whole)
        along = [(target * operation(x)).sum() for operation in full.operations]
        torch.testing.assert_close(found[0][0], torch.stack(along))


def test_where_the_output_is_linear_every_draw_gives_the_gradient_of_darts():
    edge, full, x = _edges()
    edge.requires_grad_(False)
    alpha, target = _alpha(2), torch.randn(3, 2, 6, 6, dtype=torch.float64)
    usual = full(x, alpha["normal"][0].softmax(0))
    (expected,) = torch.autograd.grad((usual * target).sum(), alpha["normal"])
    for seed in range(5):
        gates = ProxylessNAS().mixture(alpha, SPACE, _moment(seed=seed))["normal"]
        (found,) = torch.autograd.grad((edge(x, gates[0]) * target).sum(), alpha["normal"])
        torch.testing.assert_close(found, expected)


def _watch(search):
    """Per call of an operation: whether it had a graph."""
    calls = []
    for cell in search.supernet.cells:
        for edge in cell.edges:
            for operation in edge.operations:
                operation.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    return calls


@pytest.mark.parametrize(("paths", "forwards"), [("all", 4), ("two", 2)])
def test_one_path_has_a_graph_and_w_runs_one_alone(paths, forwards):
    search = _search({"name": "proxyless", "every": 2, "warm_up": 0.0, "paths": paths})
    calls = _watch(search)
    search.advance()
    assert calls == [True] * 5  # w alone, five edges
    calls.clear()
    search.advance()
    assert len(calls) == 5 * (forwards + 1) and sum(calls) == 5 * 2


def test_alpha_moves_in_each_fifth_step_after_the_warm_up():
    moves = [ProxylessNAS().moves_alpha(Moment(step, 40)) for step in range(40)]
    assert [step for step, does in enumerate(moves) if does] == [14, 19, 24, 29, 34, 39]


@pytest.mark.parametrize("every", [1, 3])
def test_of_two_paths_the_others_keep_their_probabilities(every):
    settings = {"name": "proxyless", "every": every, "warm_up": 0.0, "paths": "two"}
    search = _search(settings, batches=6, alpha_init_std=0.5, seed=4)
    search.advance()
    for step in range(1, 6):
        alpha = search.architecture.logits["normal"].detach().clone()
        before = alpha.softmax(1)
        chosen, _, _ = ProxylessNAS(paths="two")._draw(alpha, Moment(0, 1, step_generator(4, step)))
        search.advance()
        logits = search.architecture.logits["normal"].detach()
        now, others = logits.softmax(1), torch.ones(5, 4, dtype=bool).scatter(1, chosen, False)
        torch.testing.assert_close(now[others], before[others], rtol=1e-5, atol=1e-7)
        assert torch.equal(logits[others], alpha[others])
        moved = (logits.gather(1, chosen) != alpha.gather(1, chosen)).all()
        assert bool(moved) == ((step + 1) % every == 0)
        if moved:  # the pair has the same sum, shared anew
            assert not torch.allclose(now.gather(1, chosen), before.gather(1, chosen), atol=1e-3)


def test_two_paths_go_on_from_a_checkpoint_to_the_bit():
    settings = {"name": "proxyless", "every": 1, "warm_up": 0.0, "paths": "two"}
    whole, stopped, resumed = (_search(settings, batches=5) for _ in range(3))
    list(whole)
    for _ in range(3):
        stopped.advance()
    resumed.load_state_dict(stopped.state_dict())
    list(resumed)
    for one, other in zip(whole.architecture.alpha, resumed.architecture.alpha, strict=True):
        assert torch.equal(one, other)
    assert whole.architecture.logits["normal"].any()


# Latency


def _expected(table, p):
    return sum(t * q for row, ps in zip(table, p.tolist(), strict=True)
               for t, q in zip(row, ps, strict=True))  # fmt: skip


@pytest.mark.parametrize("cells", [("normal",), ("normal", "reduction")])
def test_expected_latency_and_its_gradient(cells):
    relaxation, alpha = FBNet(milliseconds=dict.fromkeys(cells, COSTS)), _alpha()
    found = relaxation.latency(alpha, SPACE)
    p = alpha["normal"].detach().softmax(1)
    assert float(found.detach()) == pytest.approx(1 + len(cells) * _expected(COSTS, p))
    (gradient,) = torch.autograd.grad(found, alpha["normal"])
    for row, (ps, costs) in enumerate(zip(p.tolist(), COSTS, strict=True)):
        mean = sum(q * t for q, t in zip(ps, costs, strict=True))
        expected = [q * (t - mean) for q, t in zip(ps, costs, strict=True)]
        assert gradient[row].tolist() == pytest.approx(expected)


def test_the_logarithm_is_raised_to_the_power():
    """Not log(LAT^0.6), which is 0.6 log(LAT)."""
    relaxation = FBNet(milliseconds={"normal": COSTS})
    alpha = {kind: a.detach() for kind, a in _alpha().items()}
    lat = 1000 * (1 + _expected(COSTS, alpha["normal"].softmax(1)))
    found = relaxation.alpha_loss(torch.tensor(2.0), alpha, SPACE, START)
    assert float(found) == pytest.approx(2.0 * 0.2 * math.log(lat) ** 0.6, rel=1e-6)
    free = [{**alpha, "normal": torch.full((5, 4), -40.0).index_fill(1, torch.tensor([3]), 40.0)}]
    nothing = relaxation.alpha_loss(torch.tensor(2.0), *free, SPACE, START)
    # A cell of none costs nothing, but the rest of the network does.
    assert float(nothing) == pytest.approx(2.0 * 0.2 * math.log(1000) ** 0.6, rel=1e-6)
    assert float(FBNet(milliseconds={"normal": COSTS}, power=0.0).alpha_loss(
        torch.tensor(2.0), alpha, SPACE, START)) == pytest.approx(0.4)  # fmt: skip


def test_both_forms_of_proxyless_nas():
    alpha = {kind: a.detach() for kind, a in _alpha().items()}
    now = 0.5 + _expected(COSTS, alpha["normal"].softmax(1))
    reference = 0.5 + sum(map(sum, COSTS)) / 4
    loss = torch.tensor(2.0)
    log, linear, none = (
        float(ProxylessNAS(**settings).alpha_loss(loss, alpha, SPACE, START))
        for settings in (
            {"milliseconds": {"normal": COSTS}, "rest": 0.5},
            {"milliseconds": {"normal": COSTS}, "rest": 0.5, "form": "linear"},
            {},
        )
    )
    ratio = math.log(1000 * now) / math.log(1000 * reference)
    assert log == pytest.approx(0.2 * 2.0 * ratio**0.3, rel=1e-6)
    assert linear == pytest.approx(2.0 + 0.1 * (now - reference) / reference, rel=1e-6)
    assert none == 2.0


def test_a_search_finds_what_is_cheap_where_latency_is_everything():
    costs = [[5.0, 5.0, 0.1, 5.0]] * 5
    for settings in ({"name": "fbnet", "power": 9.0}, {"name": "proxyless", "form": "linear",
                     "weight": 500.0, "every": 1, "warm_up": 0.0}):  # fmt: skip
        search = _search(settings | {"milliseconds": {"normal": costs}}, batches=4)
        list(search)
        assert (search.architecture.logits["normal"].argmax(1) == 2).all()
        assert {name for node in search.architecture.derive().normal for name, _ in node} == {
            "skip_connect"
        }


def test_the_sample_of_fbnet_is_soft_and_cools_exponentially():
    relaxation = FBNet(milliseconds={"normal": COSTS})
    for step in (0, 45, 90):
        found = relaxation.mixture(_alpha(), SPACE, _moment(step, 90))["normal"].detach()
        tau = 5 * math.exp(-0.045 * step)
        noise = -torch.empty(5, 4).exponential_(generator=torch.Generator().manual_seed(0)).log()
        h = (_alpha()["normal"].detach().log_softmax(1) + noise.double()) / tau
        torch.testing.assert_close(found, h.softmax(1), rtol=1e-5, atol=1e-7)
    cold = relaxation.changed(tau_from=1e-4, tau_to=1e-4).mixture(_alpha(), SPACE, _moment())
    hot = relaxation.changed(tau_from=1e6, tau_to=1e6).mixture(_alpha(), SPACE, _moment())
    torch.testing.assert_close(cold["normal"].max(1).values.detach(), torch.ones(5).double())
    torch.testing.assert_close(
        hot["normal"].detach(), torch.full((5, 4), 0.25).double(), rtol=1e-3, atol=0
    )
    moves = [relaxation.moves_alpha(Moment(step, 90)) for step in range(12)]
    assert moves == [False] * 10 + [True] * 2


def test_milliseconds_are_summed_over_the_cells(monkeypatch):
    asked = []

    def known(name, *sizes):
        asked.append((name, *sizes))
        return 0.0 if name == "none" else len(name) + sizes[0] * sizes[2]

    monkeypatch.setattr(latency, "_milliseconds", known)
    config = SearchConfig(
        nodes=2, operations=SMALL.operations, layers=3, reductions=(), channels=16
    )
    found = measure(config, 16)
    assert found.keys() == {"normal"} and len(asked) == len(set(asked)) == 4
    row = [3 * (len(name) + 16 * 16) if name != "none" else 0 for name in SMALL.operations]
    assert [list(r) for r in found["normal"]] == [row] * 5
    assert FBNet(milliseconds=found).parameters(config.space())["normal"] == (5, 4)
    # A reduction cell: twice the channels; edges from the inputs have stride 2 on the larger map.
    found = measure(config.changed(reductions=(1,), operations=("skip_connect",)), 16)
    assert found["normal"] == ((12 + 256 + 12 + 32 * 8,),) * 5
    larger, smaller = 12 + 32 * 16, 12 + 32 * 8
    assert [r for (r,) in found["reduction"]] == [larger, larger, larger, larger, smaller]


def test_a_measurement():
    def slow(channels, stride, searching):
        return torch.nn.Sequential(
            *(torch.nn.Conv2d(channels, channels, 5, padding=2) for _ in range(9))
        )

    operations.OPERATIONS["slow"] = slow
    try:
        times = {name: latency._milliseconds(name, 8, 1, 16, 1) for name in ("slow", *NAMES)}
    finally:
        del operations.OPERATIONS["slow"]
    assert times["none"] == 0 < times["skip_connect"] < times["slow"] < 1000


def test_the_quickest_round_of_an_operation_counts(monkeypatch):
    """What disturbs a pass makes it slower, never quicker."""
    rounds = iter([0.009, 0.002, 0.005, 0.004, 0.008])
    monkeypatch.setattr(latency, "typical", lambda call, passes: next(rounds))
    assert latency._milliseconds("skip_connect", 8, 1, 16, 1) == 2.0


def test_milliseconds_of_another_space_are_refused():
    for table in (COSTS[:4], [row[:3] for row in COSTS], [*COSTS[:4], COSTS[0][:2]]):
        with pytest.raises(ValueError, match="measure them for this space") as error:
            Architecture(SPACE, FBNet(milliseconds={"normal": table}))
        assert is_one_sentence(error.value)
    for wrong in ({"normal": [[-1.0]]}, {"other": COSTS}, {}):
        with pytest.raises(ValueError) as error:
            FBNet(**({"milliseconds": wrong} if wrong else {}))
        assert is_one_sentence(error.value)


# OLES


def test_cosines_of_each_operation():
    generator = torch.Generator().manual_seed(0)
    owner = torch.randint(0, 6, (500,), generator=generator)
    one, other = torch.randn(2, 500, generator=generator)
    other[owner == 2] = one[owner == 2] * 3  # equal up to their length, as after clipping
    other[owner == 3] = -one[owner == 3]
    other[owner == 4] = 0
    found = cosines(one, other, owner)
    for number in (0, 1, 5):
        picked = owner == number
        expected = F.cosine_similarity(one[picked], other[picked], dim=0)
        torch.testing.assert_close(found[number], expected)
    assert found[2:5].tolist() == pytest.approx([1, -1, 0])
    apart = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 5.0, 0.0]), torch.zeros(3, dtype=int)
    assert cosines(*apart).tolist() == [0]


def test_where_both_halves_are_one_all_agree():
    search = _search({"name": "oles", "window": 9}, batches=3, alpha_lr=1e-9)
    search.valid = search.train
    list(search)
    mean = (search.notes["sum"] / search.notes["count"])[1:]
    torch.testing.assert_close(mean, torch.ones(5), rtol=0, atol=1e-4)
    assert search.notes["count"] == 2  # steps after the first


@pytest.mark.parametrize("window", [1, 2])
def test_what_is_frozen_stays_to_the_bit_and_alpha_goes_on(window):
    search = _search({"name": "oles", "window": window, "threshold": 1.0}, batches=6)
    kept, parts = {}, [edge.operations[0] for edge in search.supernet.cells[0].edges]
    for step in range(1, 7):
        alpha = search.architecture.logits["normal"].detach().clone()
        search.advance()
        assert (search.architecture.logits["normal"] != alpha).all()
        frozen = search.notes["frozen"]
        # Cosines are below 1: all that has weights freezes at the end of the first window. Pools
        # and identities have none.
        assert frozen.tolist() == [False] + 5 * [step >= window + 1]
        for number, part in enumerate(parts):
            for name, p in part.named_parameters():
                if (number, name) in kept:
                    assert torch.equal(p, kept[number, name])
                elif frozen[1 + number]:
                    kept[number, name] = p.detach().clone()
    assert len(kept) == 5 * 4
    stem = search.w[0].detach().clone()
    search.steps += 1
    search.advance()
    assert not torch.equal(stem, search.w[0])


def test_oles_compares_gradients_at_the_same_weights():
    """L_val's at the weights before the step, with the step's own of L_train."""
    search = _search({"name": "oles", "window": 9}, batches=3, alpha_lr=1e-9)
    search.advance()
    search.supernet.train()
    step, w = search.step, [p.detach().clone().requires_grad_() for p in search.w]
    found = []
    for half in (search.train, search.valid):
        images, labels = half.at(step)
        state = dict(zip(dict(search.supernet.named_parameters()), w, strict=True))
        state |= {name: b.clone() for name, b in search.supernet.named_buffers()}
        mixture = {k: p.detach() for k, p in search.architecture.mixture().items()}
        scores = torch.func.functional_call(search.supernet, state, (images, mixture))
        found.append(torch.autograd.grad(F.cross_entropy(scores, labels), w))
    search.advance()
    names = [name for name, _ in search.supernet.named_parameters()]
    for edge in range(5):
        mine = [k for k, name in enumerate(names) if name.startswith(f"cells.0.edges.{edge}.")]
        one, other = (torch.cat([half[k].flatten() for k in mine]) for half in found)
        expected = float(F.cosine_similarity(one, other, dim=0))
        assert float(search.notes["sum"][1 + edge]) == pytest.approx(expected, abs=1e-4)


def test_oles_that_freezes_nothing_is_darts_to_the_bit():
    settings = {"alpha_init_std": 1e-3, "batches": 6}
    ours, plain = (
        _search({"name": "oles", "threshold": -1.0, "window": 1}, **settings),
        _search("darts", **settings),
    )
    list(ours), list(plain)
    for one, other in zip(
        (*ours.w, *ours.architecture.alpha), (*plain.w, *plain.architecture.alpha), strict=True
    ):
        assert torch.equal(one, other)
    for name, buffer in plain.supernet.named_buffers():
        assert torch.equal(buffer, dict(ours.supernet.named_buffers())[name])
    assert OLES().window == 20

"""Methods that go around a search: one contract, then the checks of each."""

import copy
import itertools
import json
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from plain import Noise, is_one_sentence
from torch import nn
from torch.nn import functional as F

from dartslib import methods
from dartslib.genotypes import Genotype, choices, derive
from dartslib.gradients import BatchLoss, hypergradient
from dartslib.methods import early_stopping
from dartslib.methods.ablations import LookAhead, Placebo
from dartslib.methods.early_stopping import EarlyStopping, hessian
from dartslib.methods.p_darts import PDARTS, DroppedSkip, Progressive
from dartslib.methods.perturbation import Perturbation
from dartslib.methods.stages import AROUND, Around, Stages
from dartslib.relaxation import START, MixedOperation, Moment
from dartslib.runs import driving, running
from dartslib.runs.profiles import PROFILES
from dartslib.runs.running import fast_form
from dartslib.searching import Search, SearchConfig
from dartslib.space import CELL_TYPES, SearchSpace

TINY = {"nodes": 2, "layers": 1, "reductions": (), "channels": 2, "head": "linear", "epochs": 1}
TINY["operations"] = "sep_conv_3x3", "avg_pool_3x3", "skip_connect", "none"
SPACE = SearchSpace(2, TINY["operations"])
SHORT = (2, 4, 0.0), (3, 3, 0.4), (2, 2, 0.7)
EVERY = [
    EarlyStopping(every=0.4, back=1, earliest=0.0, ratio=0.0),
    Perturbation(tuning=0.5, batches=1),
    Progressive(stages=SHORT),
    LookAhead(),
    Placebo(),
]
named = pytest.mark.parametrize("around", EVERY, ids=lambda around: around.name)


def _begin(config, batches=4, make=Search):
    return make(config, Noise(batches), Noise(batches, seed=1), image_size=8)


def _quick(*arguments, **sizes):
    return fast_form(Search(*arguments, **sizes))


def _config(**settings):
    return SearchConfig(**TINY | {"alpha_lr": 0.1, "alpha_init_std": 1e-3} | settings)


def _loop(around, batches=4, **settings):
    return Stages(around, _config(**settings), partial(_begin, batches=batches))


def _tensors(loop):
    return [t.detach().clone() for t in (*loop.w, *loop.architecture.alpha)]


def _same(one, other):
    return all(map(torch.equal, _tensors(one), _tensors(other)))


# The contract


def test_each_method_is_in_this_list():
    assert {type(around) for around in EVERY} == {*AROUND.values()}
    assert all(AROUND[around.name] is type(around) for around in EVERY)
    for around in EVERY:
        file = type(around).__module__.rpartition(".")[2]
        assert file in methods.NAMES


@named
def test_settings_survive_json(around):
    again = type(around)(**json.loads(around.model_dump_json()))
    assert again == around and again.model_dump_json() == around.model_dump_json()


@cache
def _whole(name):
    loop = _loop(next(around for around in EVERY if around.name == name))
    list(loop)
    return loop


@named
@pytest.mark.parametrize("part", [0.2, 0.7])
def test_a_run_goes_on_from_its_checkpoint_to_the_bit(around, part, tmp_path, monkeypatch):
    def of_alpha(search):  # quick
        return torch.diag(torch.cat([a.detach().flatten() for a in search.architecture.alpha]))

    monkeypatch.setattr(early_stopping, "hessian", of_alpha)
    whole, (stopped, resumed, other) = _whole(around.name), (_loop(around) for _ in range(3))
    usual = stopped.each_step

    def until():
        for record in usual():
            yield record
            if stopped.step >= part * stopped.steps:
                raise KeyboardInterrupt

    stopped.each_step = until
    with pytest.raises(KeyboardInterrupt):
        driving.drive(stopped, tmp_path, progress=False, every_seconds=0)
    assert driving.progress(tmp_path)[:2] == (stopped.step, whole.steps)
    driving.drive(resumed, tmp_path, progress=False, resume=True)
    assert whole.step == resumed.step == resumed.steps and _same(whole, resumed)
    assert whole.history.keys() == resumed.history.keys()
    for name in whole.history.keys() - {"seconds"}:
        np.testing.assert_array_equal(*(np.array(loop.history[name]) for loop in (whole, resumed)))
    for kind in CELL_TYPES:
        tables = [loop.architecture.open[kind] for loop in (whole, resumed)]
        assert torch.equal(*tables)
    assert isinstance(resumed.architecture.derive(), Genotype)
    for search in other.searches:
        search.owner += "another setting"
    with pytest.raises(ValueError, match="another relaxation") as error:
        driving.drive(other, tmp_path, progress=False, resume=True)
    assert is_one_sentence(error.value) and other.step == other.stage == 0


@named
@pytest.mark.filterwarnings("ignore:Some cells")  # P-DARTS's dropouts are modules of their own
def test_each_runs_accelerated(around):
    quick = Stages(around, _config(), partial(_begin, make=_quick))
    assert all("forward" in vars(cell) for cell in quick.searches[0].supernet.cells)
    list(quick)
    if around.name not in ("p_darts", "perturbation"):  # whose choices may turn on a rounding
        for ours, plain in zip(_tensors(quick), _tensors(_whole(around.name)), strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-2, atol=1e-3)
    assert isinstance(quick.architecture.derive(), Genotype)


def test_other_settings_are_another_run():
    owners = {_loop(x).searches[0].owner for x in (Around(), LookAhead(), Placebo(), *EVERY)}
    owners |= {_loop(EarlyStopping(ratio=x)).searches[0].owner for x in (0.1, 0.2)}
    assert len(owners) == 1 + len(EVERY) + 2


def test_a_method_that_does_nothing_is_the_search():
    loop, search = _loop(Around()), _begin(_config())
    records, expected = list(loop), list(search)
    assert _same(loop, search) and loop.history.keys() == search.history.keys()
    assert [r["step"] for r in records] == [r["step"] for r in expected] == loop.history["step"]


def test_steps_and_seconds_go_on_counting_over_the_stages():
    loop = _loop(Progressive(stages=SHORT))
    records = list(loop)
    assert [record["step"] for record in records] == [*range(13)]
    assert loop.history["step"] == [record["step"] for record in records] and loop.steps == 12
    assert (np.diff(loop.history["seconds"]) >= 0).all()
    assert loop.seconds >= loop.history["seconds"][-1] > 0


def test_a_run_with_a_method_is_recorded_and_resumed(tmp_path):
    config = PROFILES["smoke"].search.changed(half=32, held_out=0.0, **TINY)
    around = Progressive(stages=((1, 4, 0.0), (1, 3, 0.0)))
    record = running.make_run(config, tmp_path / "a", around=around, progress=False)
    assert record.meta["around"] == {"name": "p_darts"} | around.model_dump(mode="json")
    assert record.history["step"].tolist() == [0, 1, 2, 3, 4] and record.meta["steps"] == 4
    assert ((record.history["probabilities_normal"][-1] > 0).sum(1) == 3).all()
    again = running.make_run(config, tmp_path / "a", around=around, progress=False, resume=True)
    assert again.genotype == record.genotype


# Early stopping


def test_the_hessian_of_a_quadratic_is_its_matrix(monkeypatch):
    search = _begin(_config())
    size = sum(a.numel() for a in search.architecture.alpha)
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    matrix = root + root.T

    def half_of_it(*_, **options):
        return lambda w, alpha: (
            0.5 * (flat := torch.cat([*map(torch.flatten, alpha)])) @ matrix @ flat
        )

    monkeypatch.setattr(early_stopping, "BatchLoss", half_of_it)
    torch.testing.assert_close(hessian(search), matrix)


def _smooth(search):
    """In float64, without kinks."""
    search.supernet.double()
    for module in list(search.supernet.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.SiLU())
    for alpha in search.architecture.alpha:
        alpha.data = alpha.data.double()
    batches = search.valid
    search.valid = SimpleNamespace(
        at=lambda step: (batches.at(step)[0].double(), batches.at(step)[1])
    )
    return search


def test_the_hessian_by_double_backward_and_what_it_does_not_feel():
    search = _smooth(_begin(_config(alpha_init_std=0.3)))
    found, alpha = hessian(search, 1e-4), search.architecture.alpha
    assert torch.equal(found, found.T)
    loss, w = BatchLoss(search.supernet, search.architecture, *search.valid.at(0)), search.w
    slopes = torch.autograd.grad(loss([p.detach() for p in w], alpha), alpha[0], create_graph=True)
    rows = [
        torch.autograd.grad(slope, alpha[0], retain_graph=True)[0] for slope in slopes[0].flatten()
    ]
    expected = torch.stack(rows).flatten(1)
    torch.testing.assert_close(found[:20, :20], expected, rtol=1e-4, atol=1e-8)
    assert not found[20:].any()  # of a cell type that the network lacks
    # A softmax does not feel a shift of a whole row of logits.
    shifts = torch.eye(5, dtype=torch.float64).repeat_interleave(4, dim=1)
    assert (found[:20, :20] @ shifts.T).abs().max() < 1e-9
    largest = float(torch.linalg.eigvalsh(expected)[-1])
    coarse = torch.linalg.eigvalsh(hessian(search))[-1]
    assert float(coarse) == pytest.approx(largest, rel=0.01)


def test_the_hessian_of_a_fast_search():
    quick, plain = _begin(_config(), make=_quick), _begin(_config())
    before = copy.deepcopy(quick.state_dict())
    torch.testing.assert_close(hessian(quick), hessian(plain), rtol=1e-3, atol=1e-4)
    for name, tensor in quick.supernet.state_dict().items():
        assert torch.equal(tensor, before["supernet"][name])


def test_early_stopping_that_never_stops_is_darts_to_the_bit():
    around = EarlyStopping(ratio=0.0, every=0.45)
    loop, search = _loop(around, batches=6), _begin(_config(), 6)
    list(loop), list(search)
    assert _same(loop, search)
    known = np.isfinite(loop.history["eigenvalue"])
    # The first records at or after 0, 0.45 and 0.9 of six steps.
    assert np.flatnonzero(known).tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("values", "settings", "stops"),
    [
        # "before" is two values earlier: 1 / 1.5 < 0.75 at step 4, and alpha of step 2 returns.
        ([1, 1, 1, 1, 1.5, 9, 9, 9, 9], {}, (4, 2)),
        ([1, 1, 1, 1, 1.3, 1.3, 1.3, 1.3, 1.3], {}, None),
        ([1, 9, 1, 1, 1, 1, 1, 9, 9], {"earliest": 0.5}, (7, 5)),
        ([1, 1, 1, 1, 2, 1, 1, 1, 1], {"window": 2}, (4, 2)),  # 1 / 1.5
        ([1, 1, 1, 1, 1.6, 1, 1, 1, 1], {"window": 2}, None),  # 1 / 1.3
        ([-2, -2, -1, -1, -1, -1, 3, 3, 3], {}, None),  # a ratio of -1 / 3, and of 2
        ([2, 2, 2, 2, -9, -9, -9, -9, -9], {}, None),
        ([1, 1, 1, 1, 1.5, 9, 9, 9, 9], {"ratio": 0.6}, (5, 3)),
    ],
)
def test_where_a_search_stops_and_which_alpha_it_returns(monkeypatch, values, settings, stops):
    given = iter(values)
    monkeypatch.setattr(
        early_stopping, "hessian", lambda search: torch.diag(torch.tensor([-99.0, next(given)]))
    )
    around = EarlyStopping(**{"every": 0.01, "window": 1, "back": 2, "earliest": 0.0} | settings)
    loop = _loop(around, batches=8)
    records = [*loop]
    seen = [record["step"] for record in records]
    steps, history = loop.history["step"], loop.history
    assert loop.step == loop.steps == 8
    if stops is None:
        assert seen == steps == [*range(9)]
        return
    end, returned = stops
    assert seen == steps == [*range(end + 1), 8]  # the last as returned
    for name, logits in loop.architecture.logits.items():
        assert torch.equal(logits.double(), torch.tensor(history[f"logits_{name}"][returned]))
        np.testing.assert_array_equal(*(history[f"logits_{name}"][k] for k in (returned, -1)))
        assert np.array_equal(records[returned][f"logits_{name}"], records[-1][f"logits_{name}"])
    expected = {k: torch.tensor(history[f"probabilities_{k}"][returned]) for k in CELL_TYPES}
    assert loop.architecture.derive() == derive(expected, SPACE)


def test_settings_of_early_stopping_are_the_papers():
    usual = EarlyStopping()
    assert (usual.ratio, usual.every * 50, usual.window, usual.back) == (0.75, 2, 5, 4)
    assert usual.earliest * 50 == 10


# Selection by perturbation


def _judged(search, mixture, batches):
    """Accuracy and loss of a copy of the supernet in train mode, over batches of alpha's half."""
    net = copy.deepcopy(search.supernet)
    found = np.zeros(2)
    with torch.no_grad():
        for step in range(batches):
            images, labels = search.valid.at(step)
            scores = net(images, mixture)
            found += (
                float((scores.argmax(1) == labels).sum()),
                float(F.cross_entropy(scores, labels)),
            )
    return found[0], -found[1]


def test_what_is_missed_most_is_kept():
    loop = _loop(Perturbation(tuning=0.25, batches=3), batches=4, nodes=3)
    space, seen, kept_back = loop.searches[1].architecture.space, [], {}
    around = loop.around
    decide = type(around)._decide

    def watched(self, search, edges):
        kept_back["search"] = copy.deepcopy(search)
        before = search.supernet.state_dict()
        before = {name: tensor.clone() for name, tensor in before.items()}
        decide(self, search, edges)
        after = search.supernet.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        seen.append(
            (len(seen), search.step, kept_back["search"], copy.deepcopy(search.architecture))
        )

    type(around)._decide = watched
    try:
        list(loop)
    finally:
        type(around)._decide = decide
    # Nine edges, then two nodes with more than two inputs; one step of tuning between two.
    assert [(number, step) for number, step, *_ in seen] == [(k, k) for k in range(11)]
    assert loop.searches[1].steps == 11 and loop.steps == 15
    orders = []
    for number, _, search, after in seen:
        for kind in ("normal",):
            before, now = search.architecture.open[kind], after.open[kind]
            changed = [e for e in range(9) if not torch.equal(before[e], now[e])]
            mixture = {k: p.detach() for k, p in search.architecture.mixture().items()}

            def without(edge, columns, mixture=mixture, kind=kind, search=search):
                table = mixture[kind].clone()
                table[edge, columns] = 0
                return _judged(search, mixture | {kind: table}, 3)

            if number < 9:
                (edge,) = changed
                orders.append(edge)
                worth = {k: without(edge, k) for k in range(3)}  # 3 is none
                best = min(worth, key=worth.get)
                assert now[edge].tolist() == [k == best for k in range(4)]
            else:
                (target,) = {space.edges[edge][1] for edge in changed}
                edges = space.edges_into(target)
                assert len(changed) == len(edges) - 2 and not now[changed].any()
                if len(edges) == 3:
                    worth = {edge: without(edge, slice(None)) for edge in edges}
                    assert changed == [max(worth, key=worth.get)]
    assert sorted(orders) == [*range(9)] and orders != [*range(9)]  # in random order
    assert loop.architecture.open["reduction"].all()  # of a cell type that the network lacks
    for kind in ("normal",):
        is_open, cell = loop.architecture.open[kind], loop.architecture.derive().cell(kind)
        assert is_open.sum(1).max() == 1 and is_open.sum() == 6
        for target, node in enumerate(cell, start=2):
            for name, source in node:
                row = is_open[space.edges.index((source, target))]
                assert row[space.operations.index(name)]


def test_none_is_never_kept(monkeypatch):
    loop = _loop(Perturbation(tuning=0.25, batches=1))
    worth = [iter(range(1000, 0, -1))]  # what is judged first is missed most
    monkeypatch.setattr(Perturbation, "_without", lambda *_: next(worth[0]))
    monkeypatch.setattr(Search, "advance", lambda search: setattr(search, "step", search.step + 1))
    list(loop)
    table = loop.architecture.open["normal"]
    assert table[:, 0].sum() == 4 and table.sum() == 4
    backwards = _loop(Perturbation(tuning=0.25, batches=1))
    worth[0] = iter(range(1000))  # what is judged last
    list(backwards)
    assert backwards.architecture.open["normal"][:, 2].sum() == 4


def test_tuning_goes_on_from_the_search_at_a_tenth_of_the_rate():
    loop = _loop(Perturbation(tuning=0.5, batches=1), w_lr=0.04, w_lr_min=0.001)
    search, tuning = loop.searches
    for _ in itertools.islice(loop.each_step(), 5):  # a record of step 0, four steps
        pass
    loop.stage = 1
    loop.around.begin(loop)
    assert loop.stage == 1 and tuning.step == 0 and tuning.steps == 2 * (5 + 1 - 1) + 1
    assert all(map(torch.equal, search.w, tuning.w))
    for one, other in zip(search.architecture.alpha, tuning.architecture.alpha, strict=True):
        assert torch.equal(one, other)
    assert (tuning.config.w_lr, tuning.config.w_lr_min) == (0.004, 0.001)
    before = _tensors(loop)
    list(loop)
    assert any(not torch.equal(a, b) for a, b in zip(before, _tensors(loop), strict=True))
    assert _loop(Perturbation(), w_lr=0.005, w_lr_min=0.001).searches[1].config.w_lr_min == 0.0005
    assert Perturbation().tuning * 50 == 10


# P-DARTS


def test_stages_keep_what_was_most_probable_and_nothing_else():
    loop = _loop(Progressive(stages=SHORT))
    called = [0, 0, 0]

    def count(stage, *_):
        called[stage] += 1

    for stage, search in enumerate(loop.searches):
        for cell in search.supernet.cells:
            for edge in cell.edges:
                for operation in edge.operations:
                    operation.register_forward_hook(partial(count, stage))
    list(loop)
    first, second, third = loop.searches
    assert [len(s.supernet.cells) for s in loop.searches] == [2, 3, 2]
    assert [s.config.relaxation.dropout for s in loop.searches] == [0.0, 0.4, 0.7]
    for before, after, count, begun in ((first, second, 3, 5), (second, third, 2, 9)):
        anew = _begin(after.config).architecture.logits["normal"].detach()
        assert np.array_equal(loop.history["logits_normal"][begun], anew.double())  # it rests
        for kind, p in before.architecture.probabilities().items():
            best = p.argsort(dim=1, descending=True)[:, :count]
            for row, kept in zip(
                after.architecture.open[kind].tolist(), best.tolist(), strict=True
            ):
                assert [k for k, is_open in enumerate(row) if is_open] == sorted(kept)
    # Four steps: alpha rests in two of them. Edges of cells, times operations, times passes.
    assert called == [(4 + 2) * 5 * 2 * 4, (4 + 2) * 5 * 3 * 3, (4 + 2) * 5 * 2 * 2]


def test_stages_take_the_settings_of_the_run():
    own = PDARTS(warm_up=0.1, most_skips=1)
    loop = _loop(Progressive(stages=SHORT), relaxation=own, seed=3)
    assert [s.config.relaxation for s in loop.searches] == [
        own.changed(dropout=rate) for rate in (0.0, 0.4, 0.7)
    ]
    assert {s.config.seed for s in loop.searches} == {3}
    usual = Progressive().stages
    assert usual == ((5, 8, 0.0), (11, 5, 0.4), (17, 3, 0.7))


def test_p_darts_without_dropout_or_warm_up_is_darts_to_the_bit():
    plain = _begin(_config())
    ours = _begin(_config(relaxation={"name": "p_darts", "warm_up": 0.0}))
    list(plain), list(ours)
    assert _same(plain, ours)


def test_the_rate_of_the_dropout_jumps_when_alpha_wakes():
    rate = [PDARTS(dropout=0.5).rate(Moment(step, 10)) for step in range(10)]
    assert rate[:4] == pytest.approx([0.5, 0.45, 0.4, 0.35])
    assert rate[4:] == pytest.approx([0.5 * 0.6065306597**k for k in range(6)])  # exp(-1/2)
    moves = [PDARTS().moves_alpha(Moment(step, 10)) for step in range(10)]
    assert moves == [False] * 4 + [True] * 6


def test_a_dropout_on_identities_alone():
    names, rate = ("avg_pool_3x3", "skip_connect"), 0.25
    edge = DroppedSkip(names, 2, 1, lambda moment: rate)
    x, mixture = torch.randn(4, 2, 20, 20), torch.tensor([0.0, 1.0])
    moment = Moment(0, 1, torch.Generator().manual_seed(0))
    found = edge(x, mixture, moment)
    kept = found != 0
    torch.testing.assert_close(found[kept], x[kept] / 0.75)
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=4 * 0.0077)  # four standard errors
    again = edge(x, mixture, Moment(0, 1, torch.Generator().manual_seed(0)))
    assert torch.equal(found, again)
    others = torch.tensor([1.0, 0.0])
    assert torch.equal(edge(x, others, moment), MixedOperation(names, 2, 1)(x, others))
    assert torch.equal(edge.eval()(x, mixture, START), x)
    halved = DroppedSkip(names, 2, 2, lambda moment: rate)
    assert not (halved(x, mixture, moment) == 0).any()
    closed = DroppedSkip(names, 2, 1, lambda moment: rate)
    closed.open = (True, False)
    torch.testing.assert_close(closed(x, torch.tensor([1.0, 0.0]), START), closed.operations[0](x))


def _skips(genotype):
    return sum(name == "skip_connect" for node in genotype.normal for name, _ in node)


def _by_hand(table, space, most):
    """Again and again: the best real operation of each edge, then each node's two best edges."""
    table = table.clone()
    while True:
        nodes, skips = [], []
        for target in range(2, 2 + space.nodes):
            best = []
            for edge in space.edges_into(target):
                p, name = max((float(table[edge, k]), name) for k, name in
                              enumerate(space.operations) if name != "none")  # fmt: skip
                best.append((p, name, edge))
            kept = sorted(best, reverse=True)[:2]
            nodes.append({(name, space.edges[edge][0]) for _, name, edge in kept})
            skips += [(p, edge) for p, name, edge in kept if name == "skip_connect"]
        if len(skips) <= most:
            return nodes
        table[min(skips)[1], space.operations.index("skip_connect")] = 0


def test_skips_are_limited_as_by_hand():
    space = SearchSpace(4, ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"))
    for seed in range(30):
        table = torch.randn(14, 4, generator=torch.Generator().manual_seed(seed))
        table = (2 * table + torch.tensor([0.0, 3.0, 0.0, 0.0])).softmax(1)
        tables = dict.fromkeys(CELL_TYPES, table)
        for most in range(9):
            found = PDARTS(most_skips=most).derive(tables, space)
            assert _skips(found) <= most
            assert [set(node) for node in found.normal] == _by_hand(table, space, most)
            assert found.reduction == derive(tables, space).reduction
        for unlimited in (8, None):
            assert PDARTS(most_skips=unlimited).derive(tables, space) == derive(tables, space)
    # One operation per edge stays: none goes first, then the least probable.
    for choice in choices(tables, space):
        left = [k for k in table[choice.edge].argsort().tolist() if k != 0]
        assert choice.operation == space.operations[left[-1]]


def test_a_skip_that_a_node_needs_stays():
    space = SearchSpace(2, ("none", "skip_connect", "max_pool_3x3"))
    table = torch.tensor(
        [[0.1, 0.9, 0.0], [0.2, 0.8, 0.0]] + [[0.3, 0.7, 0.0]] * 2 + [[0, 0.6, 0.4]]
    )
    found = PDARTS(most_skips=1).derive(dict.fromkeys(CELL_TYPES, table), space)
    assert _skips(found) == 3  # both of node 1, and one of the three of node 2
    assert ("max_pool_3x3", 2) in found.normal[1]


# The second order taken apart


def _losses(search, step=0):
    search.supernet.train()
    return [
        BatchLoss(search.supernet, search.architecture, *half.at(step), moment=search.moment)
        for half in (search.train, search.valid)
    ]


def _options(search):
    buffers = [search.w_optimizer.state[p].get("momentum_buffer") for p in search.w]
    return {"method": "finite_difference", "xi": 0.5, "momentum": 0.9, "buffers": buffers,
            "weight_decay": 3e-4, "radius": 0.01}  # fmt: skip


def test_look_ahead_is_the_direct_term_of_the_second_order():
    loop = _loop(LookAhead())
    (search,) = loop.searches
    assert search.config.gradient == "finite_difference" and search.xi > 0
    for _ in itertools.islice(loop.each_step(), 3):  # two steps, so that there is momentum
        pass
    options, given = _options(search), (*_losses(search), search.w, search.architecture.alpha)
    true = hypergradient(*given, **options)
    first = hypergradient(*given, method="first_order")
    found = search.hypergradient(*given, **options)
    for ours, direct, now in zip(found.gradient, true.direct, first.direct, strict=True):
        torch.testing.assert_close(ours, direct, rtol=1e-4, atol=1e-7)
        assert not torch.allclose(ours, now, rtol=1e-2) or not now.any()
    assert found.implicit == []


@pytest.mark.parametrize("around", [LookAhead(), Placebo()], ids=["look_ahead", "placebo"])
def test_without_a_step_ahead_both_are_the_first_order_to_the_bit(around):
    loop, first = _loop(around, xi=0.0), _begin(_config(gradient="first_order"))
    list(loop), list(first)
    assert _same(loop, first)


@pytest.mark.parametrize("term", ["finite_difference", "exact"])
def test_the_placebo_is_as_long_as_the_implicit_term(term):
    search = _loop(Placebo(term=term)).searches[0]
    assert search.config.gradient == term
    options = _options(search) | {"method": term}
    given = (*_losses(search), search.w, search.architecture.alpha)
    true = hypergradient(*given, **options)
    first = hypergradient(*given, method="first_order")
    found = search.hypergradient(*given, **options)
    noise, implicit = found.implicit[0], true.implicit[0]
    length = float(implicit.norm())
    assert float(noise.norm()) == pytest.approx(length, rel=1e-5) and length > 0
    torch.testing.assert_close(noise.sum(1), torch.zeros(5), rtol=0, atol=1e-6 * length)
    assert abs(float(F.cosine_similarity(noise.flatten(), implicit.flatten(), dim=0))) < 0.8
    for ours, direct, r in zip(found.gradient, first.direct, found.implicit, strict=True):
        torch.testing.assert_close(ours, direct - 0.5 * r)
    assert not found.gradient[1].any()  # of a cell type that the network lacks
    assert torch.equal(noise, search.hypergradient(*given, **options).implicit[0])  # of the step
    search.step = 1
    assert not torch.equal(noise, search.hypergradient(*given, **options).implicit[0])


@pytest.mark.parametrize(("around", "passes"), [(LookAhead(), 3), (Placebo(), 6), (Around(), 5)])
def test_passes_per_step(around, passes):
    loop = _loop(around, gradient="finite_difference")
    calls = []
    loop.supernet.register_forward_hook(lambda *_: calls.append(1))
    list(loop)
    assert len(calls) == passes * loop.steps


@pytest.mark.parametrize("steps", [600, 700, 1000, 5000])
def test_no_eigenvalue_is_lost_to_rounding(steps):
    around, known = EarlyStopping(), 0
    for record in range(26):  # at every twenty-fifth of the search
        known += around.due(known, record * steps // 25 / steps)
    assert known == 26

"""What became of DARTS: one contract for all of the registry, then the checks of each method."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from plain import Noise, is_one_sentence
from relatives import OTHERS
from torch import nn
from torch.nn import functional as F

from dartslib import methods
from dartslib.genotypes import Genotype, derive
from dartslib.methods.darts_minus import WithSkip
from dartslib.methods.gdas import GDAS, OneOperation, gumbel_softmax, hard
from dartslib.methods.pc_darts import PCDARTS, PartialChannels
from dartslib.relaxation import RELAXATIONS, Architecture, MixedOperation, Moment, Relaxation
from dartslib.runs import driving
from dartslib.runs.cost import count_weights
from dartslib.runs.running import _last_epoch, fast_form
from dartslib.searching import Search, SearchConfig
from dartslib.space import CELL_TYPES, SearchSpace
from dartslib.supernet import Supernet

TINY = {"nodes": 2, "layers": 2, "reductions": (1,), "channels": 4, "head": "linear"}
TINY["operations"] = "sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3", "skip_connect", "none"
FILES = [name for name in methods.NAMES if name in RELAXATIONS]
COSTS = {"normal": [[3.0, 2.0, 1.0, 0.5, 0.0]] * 5}  # milliseconds
# Settings that show more than the defaults do, or without which nothing happens in four steps.
MORE = [
    {"name": "gdas", "tau_to": 1.0, "derivation": "pairs"},
    {"name": "pc_darts", "k": 2},
    {"name": "sdarts", "attack": "adversarial", "ascents": 2},
    {"name": "sgas", "criterion": 2},
    {"name": "p_darts", "dropout": 0.4},
    {"name": "proxyless", "every": 2, "warm_up": 0.0, "milliseconds": COSTS},
    {"name": "fbnet", "milliseconds": COSTS},
    {"name": "oles", "threshold": 0.9, "window": 1},
]
NOT_ALONE = "proxyless", "fbnet"  # such as those
REGISTRY = ["darts", *(name for name in FILES if name not in NOT_ALONE), *MORE, "odd"]
IDS = [x if isinstance(x, str) else "-".join(map(str, x.values()))[:30] for x in REGISTRY]


def _search(relaxation, batches=4, **settings):
    config = SearchConfig(
        **TINY | {"epochs": 1, "alpha_lr": 0.1, "relaxation": relaxation} | settings
    )
    return Search(config, Noise(batches), Noise(batches, seed=1), image_size=8)


def _copies(search):
    return [t.detach().clone() for t in (*search.w, *search.architecture.alpha)]


# The contract


def test_each_file_has_the_relaxation_of_its_name():
    for name in FILES:
        given = {"name": name, "milliseconds": COSTS} if name == "fbnet" else name
        relaxation = SearchConfig(relaxation=given).relaxation
        assert type(relaxation) is RELAXATIONS[name] and type(relaxation).name == name
        assert type(relaxation).__module__ == f"dartslib.methods.{name}"
        assert "differs" in __import__(f"dartslib.methods.{name}", fromlist="x").__doc__


@pytest.mark.parametrize("relaxation", REGISTRY, ids=IDS)
@pytest.mark.parametrize("gradient", ["one_level", "first_order", "finite_difference", "exact"])
def test_a_search_runs_and_moves_every_alpha(relaxation, gradient):
    search = _search(relaxation, batches=3, gradient=gradient, alpha_init_std=1e-3)
    before = search.architecture.state_dict()
    records = list(search)
    for name, logits in search.architecture.logits.items():
        moved = (logits != before[name]).detach()
        free = search.architecture.undecided()[name]
        assert moved[free].all(), name
    assert isinstance(search.architecture.derive(), Genotype)
    assert all(np.isfinite(record["train_loss"]) for record in records[1:])
    for cell_type, p in search.architecture.probabilities().items():
        assert p.shape == search.architecture.logits[cell_type].shape and (p >= 0).all()
    assert {f"logits_{name}" for name in search.architecture.logits} <= search.history.keys()


@pytest.mark.parametrize("relaxation", REGISTRY, ids=IDS)
def test_alpha_of_a_cell_type_that_the_network_lacks_feels_no_loss(relaxation):
    search = _search(relaxation, reductions=(), layers=1, alpha_weight_decay=0.0)
    list(search)
    assert search.architecture.logits["normal"].any()
    if relaxation not in ("odd", "beta_darts"):  # whose penalties know all logits
        assert not search.architecture.logits["reduction"].any()


@pytest.mark.parametrize("relaxation", REGISTRY, ids=IDS)
def test_a_stopped_search_goes_on_to_the_bit(relaxation):
    whole, states = _search(relaxation, alpha_init_std=1e-3), []
    for _ in whole.each_step():
        if whole.step in (1, 3):
            states.append(copy.deepcopy(whole.state_dict()))
    for state in states:
        resumed = _search(relaxation, alpha_init_std=1e-3)
        resumed.load_state_dict(state)
        list(resumed)
        _assert_alike(whole, resumed)


def _assert_alike(whole, resumed):
    assert all(map(torch.equal, _copies(whole), _copies(resumed)))
    assert whole.notes.keys() == resumed.notes.keys()
    assert all(torch.equal(whole.notes[name], resumed.notes[name]) for name in whole.notes)
    for cell_type in CELL_TYPES:
        for kept in (whole, resumed):
            rows = kept.architecture.open[cell_type]
            cells = [c for c in kept.supernet.cells if c.cell_type == cell_type]
            assert all([e.open for e in c.edges] == [*map(tuple, rows.tolist())] for c in cells)
        assert torch.equal(whole.architecture.open[cell_type], resumed.architecture.open[cell_type])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("darts", "gdas"),
        ("gdas", "darts"),
        ("gdas", {"name": "gdas", "tau_to": 0.5}),
        ("pc_darts", {"name": "pc_darts", "warm_up": 0.0}),
        (Relaxation(), type("Mine", (Relaxation,), {})()),
    ],
)
def test_another_relaxation_cannot_go_on(tmp_path, first, second):
    search = _search(first)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(search, tmp_path, after=2)
    with pytest.raises(ValueError, match="other settings") as error:
        driving.drive(_search(second), tmp_path, resume=True, progress=False)
    assert is_one_sentence(error.value)
    resumed = _search(first)
    driving.drive(resumed, tmp_path, resume=True, progress=False)
    whole = _search(first)
    list(whole)
    assert all(map(torch.equal, _copies(whole), _copies(resumed)))


def _interrupted(search, folder, after):
    usual = search.advance

    def advance():
        usual()
        if search.step == after:
            raise KeyboardInterrupt

    search.advance = advance
    driving.drive(search, folder, progress=False, every_seconds=0)


@pytest.mark.parametrize("relaxation", REGISTRY, ids=IDS)
def test_settings_survive_json(relaxation):
    config = SearchConfig(relaxation=relaxation)
    again = SearchConfig(**json.loads(config.model_dump_json()))
    assert again == config and again.model_dump_json() == config.model_dump_json()


@pytest.mark.parametrize("relaxation", REGISTRY, ids=IDS)
def test_the_alpha_loss_is_a_function_of_w_and_alpha_alone(relaxation):
    """All passes of an alpha step share one draw, so the finite difference finds the exact term."""
    smooth = "sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3", "skip_connect", "none"
    search = _search(relaxation, batches=1, alpha_init_std=0.1, operations=smooth)
    found = []
    for gradient in ("exact", "finite_difference"):
        config = search.config.model_copy(update={"gradient": gradient, "radius": 1e-4, "xi": 0.5})
        other = Search(config, Noise(1), Noise(1, seed=1), image_size=8)
        other.supernet.double()
        for module in list(other.supernet.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):  # whose kinks a finite difference would see
                    setattr(module, name, nn.SiLU())
                if isinstance(child, nn.MaxPool2d):
                    setattr(module, name, nn.AvgPool2d(2, 2, ceil_mode=True))
        for alpha in other.architecture.alpha:
            alpha.data = alpha.data.double()
        batches = [
            (images.double(), labels) for images, labels in (other.train.at(0), other.valid.at(0))
        ]
        other.supernet.train()
        other._alpha_step(*batches, other.moment)
        found.append(torch.cat([alpha.grad.flatten() for alpha in other.architecture.alpha]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("relaxation", REGISTRY, ids=IDS)
def test_fast_where_only_numbers_change_and_plain_with_a_word_elsewhere(relaxation):
    config = SearchConfig(**TINY, epochs=1, alpha_lr=0.1, relaxation=relaxation)
    data = Noise(3), Noise(3, seed=1)
    edge = config.relaxation.edge(config.operations, 4, 1)
    own_edges = type(edge) not in (MixedOperation, WithSkip)
    if own_edges:
        with pytest.warns(UserWarning, match="run plain") as said:
            fast = fast_form(Search(config, *data, image_size=8))
        assert len(said) == 1
    else:
        fast = fast_form(Search(config, *data, image_size=8))
    assert all(("forward" in vars(cell)) is not own_edges for cell in fast.supernet.cells)
    plain = Search(config, *data, image_size=8)
    for search in (plain, fast):
        list(search)
    for one, other in zip(plain.architecture.alpha, fast.architecture.alpha, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("relaxation", OTHERS, ids=lambda relaxation: type(relaxation).__name__)
@pytest.mark.parametrize("gradient", ["first_order", "finite_difference", "one_level"])
def test_the_seam_carries_others(relaxation, gradient):
    search = _search(relaxation, batches=2, gradient=gradient)
    before = _copies(search)
    list(search)
    assert search.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in _copies(search))
    assert any(not torch.equal(a, b) for a, b in zip(before, _copies(search), strict=True))
    assert any(alpha.any() for alpha in search.architecture.alpha)


# GDAS

SPACE = SearchSpace(2)


def _moment(step=0, steps=1, seed=0):
    return Moment(step, steps, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
def test_gdas_draws_by_the_softmax_at_every_temperature(tau):
    logits = torch.tensor([math.log(2), 0.0, -1.0])
    moment = _moment()
    drawn = gumbel_softmax(logits.expand(40_000, 3), tau, moment)
    often = F.one_hot(drawn.argmax(-1), 3).float().mean(0)
    # Four standard errors of a frequency.
    torch.testing.assert_close(often, logits.softmax(-1), rtol=0, atol=4 * 0.5 / 200)


def test_the_mean_of_gdas_probabilities_is_not_the_softmax():
    """For logits ln 2 and 0, E[p] is 2 - 2 ln 2 at tau = 1; it is the softmax only as tau -> 0."""
    logits = torch.tensor([math.log(2), 0.0]).expand(40_000, 2)
    mean = gumbel_softmax(logits, 1.0, _moment())[:, 0].mean()
    assert float(mean) == pytest.approx(2 - 2 * math.log(2), abs=0.006)
    mean = gumbel_softmax(logits, 0.01, _moment())[:, 0].mean()
    assert float(mean) == pytest.approx(2 / 3, abs=0.01)


def test_gdas_is_hard_forward_and_soft_backward():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    soft = gumbel_softmax(logits, 0.7, _moment())
    found = hard(soft)
    drawn = soft.argmax(-1, keepdim=True)
    others = torch.ones_like(soft, dtype=torch.bool).scatter(1, drawn, False)
    assert (found[others] == 0).all()  # exactly
    torch.testing.assert_close(found.gather(1, drawn), torch.ones(50, 1), rtol=0, atol=2e-7)
    # d m_k / d alpha_j = p_k (1[k = j] - p_j) / tau
    (gradient,) = torch.autograd.grad(found.gather(1, drawn).sum(), logits)
    p, p_k = soft.detach(), soft.detach().gather(1, drawn)
    expected = p_k * (F.one_hot(drawn[:, 0], 4) - p) / 0.7
    torch.testing.assert_close(gradient, expected)


def test_gdas_runs_one_operation_and_equals_the_full_sum():
    torch.manual_seed(0)
    edge = OneOperation(SPACE.operations, 2, 1).double()
    full = MixedOperation(SPACE.operations, 2, 1).double()
    full.load_state_dict(edge.state_dict())
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    for seed in range(8):
        logits = torch.zeros(8, dtype=torch.float64).requires_grad_()
        row = hard(gumbel_softmax(logits[None], 1.0, _moment(seed=seed)))[0]
        torch.testing.assert_close(edge(x, row), full(x, row.detach()))
        # Only the drawn operation's output has a share in the gradient.
        target = torch.randn(edge(x, row).shape, dtype=torch.float64)
        drawn = int(row.argmax())
        (found,) = torch.autograd.grad((edge(x, row) * target).sum(), logits, retain_graph=True)
        along = (target * edge.operations[drawn](x)).sum().detach()
        (slope,) = torch.autograd.grad(row[drawn], logits)
        torch.testing.assert_close(found, along * slope)


def test_the_variance_of_gdas_gradients_grows_as_one_over_tau_squared():
    def variance(tau):
        logits = torch.zeros(20_000, 4).requires_grad_()
        soft = gumbel_softmax(logits, tau, _moment())
        picked = hard(soft).max(dim=1).values
        (gradient,) = torch.autograd.grad(picked.sum(), logits)
        return float(gradient[:, 0].var())

    assert variance(50.0) / variance(100.0) == pytest.approx(4, rel=0.1)


def test_gdas_cools_in_a_straight_line_ends_included():
    config = GDAS(tau_from=10.0, tau_to=0.1)
    seen = []
    for step in range(5):
        moment = _moment(step, 5)
        architecture = Architecture(SPACE, config)
        ours = architecture.mixture(moment=moment)["normal"]
        (gradient,) = torch.autograd.grad(ours.max(dim=1).values[0], architecture.logits["normal"])
        tau = moment.between(10.0, 0.1)
        row = gumbel_softmax(torch.zeros(5, 8), tau, _moment(step, 5))[0]
        k = int(row.argmax())
        expected = row[k] * (F.one_hot(torch.tensor(k), 8) - row) / tau
        torch.testing.assert_close(gradient[0], expected)
        seen.append(tau)
    assert seen == pytest.approx([10.0, 7.525, 5.05, 2.575, 0.1])


def test_gdas_runs_no_operation_of_a_closed_edge_and_both_that_are_kept_of_one():
    edge = OneOperation(SPACE.operations, 2, 2)
    x = torch.randn(2, 2, 5, 5)
    assert torch.equal(edge(x, torch.zeros(8)), torch.zeros(2, 2, 3, 3))
    both = edge(x, torch.tensor([0.0, 1, 0, 0, 0, 1, 0, 0]))
    torch.testing.assert_close(both, edge.operations[1](x) + edge.operations[5](x))


def test_gdas_draws_for_each_cell_type():
    tables = Architecture(SearchSpace.darts(), GDAS()).mixture(moment=_moment())
    assert not torch.equal(tables["normal"].argmax(1), tables["reduction"].argmax(1))


def test_the_settings_of_the_papers():
    gdas, pc_darts = GDAS(), PCDARTS()
    assert (gdas.tau_from, gdas.tau_to, gdas.derivation) == (10.0, 0.1, "darts")
    assert (pc_darts.k, pc_darts.warm_up) == (4, 15 / 50)


def test_gdas_may_keep_two_operations_from_one_input():
    table = torch.full((5, 8), 0.01)
    table[0, 1], table[0, 2], table[1, 3] = 0.5, 0.4, 0.3
    table[2, 7], table[2, 4], table[4, 5] = 0.9, 0.5, 0.4  # 7 is none
    tables = dict.fromkeys(CELL_TYPES, table)
    names = SPACE.operations
    pairs = GDAS(derivation="pairs").derive(tables, SPACE)
    assert pairs.normal == (
        ((names[1], 0), (names[2], 0)),
        ((names[4], 0), (names[5], 2)),
    )
    usual = GDAS().derive(tables, SPACE)
    assert usual == derive(tables, SPACE)
    assert {source for _, source in usual.normal[0]} == {0, 1}


# PC-DARTS


def _edges(k, names=("sep_conv_3x3", "skip_connect", "none"), channels=4, stride=1):
    torch.manual_seed(0)
    return PartialChannels(names, channels, stride, k).double()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [6, 7])
def test_pc_darts_searches_the_first_channels_and_scales_the_others(stride, size):
    edge = _edges(2, channels=6, stride=stride)
    x = torch.randn(3, 6, size, size, dtype=torch.float64)
    row = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64)  # beta is 0.6
    searched = sum(a * o(x[:, :3]) for a, o in zip(row, edge.operations, strict=True))
    others = x[:, 3:] if stride == 1 else F.max_pool2d(x[:, 3:], 2, 2, ceil_mode=True)
    # Two groups of three, shuffled: one channel of each, in turns.
    pairs = zip(searched.unbind(1), (0.6 * others).unbind(1), strict=True)
    expected = torch.stack([channel for pair in pairs for channel in pair], dim=1)
    torch.testing.assert_close(edge(x, row), expected)


@pytest.mark.parametrize(("channels", "k"), [(8, 4), (8, 2), (12, 4)])
def test_the_shuffle_is_undone_by_one_of_the_other_groups(channels, k):
    x = torch.arange(float(channels)).view(1, -1, 1, 1).expand(1, -1, 2, 2)
    shuffled = F.channel_shuffle(x, k)
    assert sorted(shuffled[0, :, 0, 0].tolist()) == list(range(channels))
    assert not torch.equal(shuffled, x)
    assert torch.equal(F.channel_shuffle(shuffled, channels // k), x)


def test_pc_darts_with_all_channels_is_darts_with_shares_of_the_edges():
    settings = {"relaxation": {"name": "pc_darts", "k": 1, "warm_up": 0.0}}
    search, usual = _search(**settings), _search("darts")
    usual.supernet.load_state_dict(search.supernet.state_dict())
    images, _ = search.train.at(0)
    with torch.no_grad():
        for number, beta in enumerate(search.architecture.alpha[2:]):
            beta.copy_(torch.randn(5, generator=torch.Generator().manual_seed(number)))
        for alpha, other in zip(search.architecture.alpha, usual.architecture.alpha, strict=False):
            other.copy_(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)))
            alpha.copy_(other)
    beta = search.architecture.logits["beta_normal"]
    shares = torch.cat([beta[:2].softmax(0), beta[2:].softmax(0)])[:, None]
    expected = usual.architecture.probabilities()
    found = search.architecture.probabilities()
    torch.testing.assert_close(found["normal"], expected["normal"] * shares)
    for cell_type in CELL_TYPES:
        node_sums = torch.stack([t.sum() for t in found[cell_type].split([2, 3])])
        torch.testing.assert_close(node_sums, torch.ones(2))
    torch.testing.assert_close(search.supernet(images, found), usual.supernet(images, found))


def test_pc_darts_with_equal_edges_takes_the_mean_where_darts_takes_the_sum():
    search = _search({"name": "pc_darts", "k": 1})
    usual = _search("darts")
    found, expected = search.architecture.probabilities(), usual.architecture.probabilities()
    for cell_type in CELL_TYPES:
        of_nodes = zip(
            found[cell_type].split([2, 3]), expected[cell_type].split([2, 3]), strict=True
        )
        for ours, theirs in of_nodes:
            torch.testing.assert_close(ours, theirs / len(theirs))


@pytest.mark.parametrize(("k", "weights"), [(4, 299_578), (2, 671_482)])
def test_sizes_of_the_supernet_of_pc_darts(k, weights):
    with torch.device("meta"):
        assert count_weights(Supernet(SearchSpace.darts(), edge=PCDARTS(k=k).edge)) == weights


def test_beta_starts_with_the_noise_of_alpha():
    architecture = Architecture(
        SearchSpace(12), PCDARTS(), init_std=1e-3, generator=torch.Generator().manual_seed(0)
    )
    assert architecture.logits["beta_normal"].shape == (90,)
    for beta in architecture.alpha[2:]:
        assert 0.7e-3 < float(beta.detach().std()) < 1.3e-3


def test_alpha_that_rests_at_the_end_is_no_nan_in_the_record(tmp_path):
    class Every(Relaxation):
        def moves_alpha(self, moment):
            return moment.step % 4 == 0

    history = {"step": np.arange(9), "valid_loss": np.array([np.nan] * 5 + [1, np.nan, 3, np.nan])}
    assert _last_epoch(history, "valid_loss", 8, 1) == 2
    assert np.isnan(_last_epoch(history, "valid_loss", 8, 8))
    search = _search(Every())
    list(search)
    assert np.isnan(search.history["valid_loss"]).any()
    assert np.isfinite(_last_epoch({k: np.asarray(v) for k, v in search.history.items()},
                                   "valid_loss", search.steps, 1))  # fmt: skip


def test_k_has_to_divide_the_channels():
    with pytest.raises(ValueError, match="one channel of 3.*4") as error:
        _search({"name": "pc_darts", "k": 3})
    assert is_one_sentence(error.value)


def test_alpha_and_beta_of_pc_darts_rest_while_w_warms_up():
    search = _search({"name": "pc_darts", "warm_up": 0.5}, batches=6)
    for step in range(1, 7):
        search.advance()
        moved = [bool(alpha.any()) for alpha in search.architecture.alpha]
        assert moved == [step > 3] * 4


def test_pc_darts_derives_by_operation_times_edge():
    search = _search("pc_darts")
    architecture = search.architecture
    with torch.no_grad():
        architecture.logits["normal"][2:, 0] = torch.tensor([3.0, 2.0, 1.0])
        architecture.logits["beta_normal"][2:] = torch.tensor([-5.0, 0.0, 0.0])
    sources = {source for _, source in architecture.derive().normal[1]}
    assert sources == {1, 2}  # the edge from 0 has the surest operation and hardly a share

"""Methods that change the numbers which multiply the operations, or what alpha descends.

SDARTS, DrNAS, DARTS-, beta-DARTS, FairDARTS, I-DARTS, SGAS, SNAS: each against its formula, written
a second time. The contract that all methods keep is in test_methods.py.
"""

import math

import pytest
import torch
from plain import Noise
from torch.nn import functional as F

from dartslib.fast import accelerate
from dartslib.genotypes import derive
from dartslib.methods.beta_darts import BetaDARTS
from dartslib.methods.darts_minus import DARTSMinus, WithSkip
from dartslib.methods.drnas import LEAST, DrNAS, concentration
from dartslib.methods.fair_darts import FairDARTS
from dartslib.methods.i_darts import IDARTS
from dartslib.methods.sdarts import SDARTS, as_mixture, noise
from dartslib.methods.sgas import SGAS, decide, judged
from dartslib.methods.snas import SNAS
from dartslib.relaxation import Architecture, MixedOperation, Moment, Relaxation
from dartslib.runs import gap
from dartslib.runs.cost import count_weights
from dartslib.searching import Search, SearchConfig
from dartslib.space import CELL_TYPES, SearchSpace
from dartslib.supernet import Supernet

NAMES = "sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3", "skip_connect", "none"
TINY = {"nodes": 2, "layers": 2, "reductions": (1,), "channels": 4, "head": "linear"}
SPACE = SearchSpace(2, NAMES)  # five edges


def searched(relaxation, steps=4, batches=4, **settings):
    settings = TINY | {"operations": NAMES, "epochs": 1, "alpha_lr": 0.1} | settings
    config = SearchConfig(relaxation=relaxation, **settings)
    search = Search(config, Noise(batches), Noise(batches, seed=1), image_size=8)
    for _ in range(steps):
        search.advance()
    return search


def copies(search):
    return [t.detach().clone() for t in (*search.w, *search.architecture.alpha)]


def moment(step=0, steps=1, seed=0):
    return Moment(step, steps, torch.Generator().manual_seed(seed))


def tables(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return {k: scale * torch.randn(shape, generator=generator).double() for k in CELL_TYPES}


@pytest.mark.parametrize(
    "relaxation",
    [
        {"name": "sdarts", "reach_from": 0.0, "reach_to": 0.0},
        {"name": "sdarts", "reach_from": 0.0, "reach_to": 0.0, "attack": "adversarial"},
        {"name": "beta_darts", "scale": 0.0},
        {"name": "sgas", "first": 1.0, "last": 1.0, "criterion": 2},
        {"name": "darts_minus", "beta": 0.0},
    ],
    ids=lambda relaxation: "-".join(map(str, relaxation.values())),
)
def test_darts_to_the_bit(relaxation):
    # DARTS- has more first weights where an edge has the stride 2: no reduction for it.
    settings = {"reductions": ()} if relaxation["name"] == "darts_minus" else {}
    settings |= {"alpha_init_std": 1e-2, "alpha_lr": 0.3}
    usual, neutral = searched("darts", **settings), searched(relaxation, **settings)
    for one, other in zip(copies(usual), copies(neutral), strict=True):
        assert torch.equal(one, other)


# SDARTS


def brought_back(row, clean):
    """A row of numbers without what is below 0, with its old sum."""
    row = [min(max(value, 0.0), 1.0) if p > 0 else 0.0 for value, p in zip(row, clean, strict=True)]
    row = row if sum(row) else [p if p == max(clean) else 0.0 for p in clean]
    return [value * sum(clean) / sum(row) for value in row]


@pytest.mark.parametrize("reach", [0.05, 0.3, 1.0])
def test_sdarts_moves_at_random_and_stays_a_mixture(reach):
    clean = {k: a.softmax(dim=1) for k, a in tables(5, 5).items()}
    clean["normal"][3] = torch.tensor([0.0, 0, 0, 1, 0])  # closed but for one
    clean["reduction"][2] = 0.0  # closed as a whole
    relaxation = SDARTS(reach_from=reach, reach_to=reach)
    found = relaxation.mixture_for_w(clean, None, moment(seed=3))
    drawn = moment(seed=3)
    for kind, p in clean.items():
        delta = reach * (2 * torch.rand(5, 5, generator=drawn.generator).double() - 1)
        rows = zip((p + delta).tolist(), p.tolist(), strict=True)
        expected = [brought_back(row, of) if any(of) else [0.0] * 5 for row, of in rows]
        torch.testing.assert_close(found[kind], torch.tensor(expected).double())
        torch.testing.assert_close(found[kind].sum(dim=1), p.sum(dim=1))
        assert (found[kind] >= 0).all() and not found[kind][p == 0].any()
    if reach < 1:
        assert (found["normal"] != clean["normal"]).any(dim=1).sum() == 4


def test_a_row_of_which_nothing_is_left_keeps_its_largest():
    clean = torch.tensor([[0.2, 0.5, 0.3]])
    assert as_mixture(torch.tensor([[-0.1, -0.2, -0.3]]), clean).tolist() == [[0.0, 1.0, 0.0]]


def test_noise_of_sdarts_is_uniform_to_both_sides():
    drawn = noise(torch.zeros(10_000), moment())
    assert -1 <= drawn.min() < -0.99 and 0.99 < drawn.max() <= 1
    assert abs(drawn.mean()) < 0.03 and float(drawn.std()) == pytest.approx(3**-0.5, rel=0.03)


def test_the_attack_of_sdarts_goes_up_to_the_edge_of_the_ball():
    """On a linear loss seven steps of 2 reach / 7 reach the corner from wherever they start."""
    clean = {k: a.softmax(dim=1) for k, a in tables(5, 5).items()}
    slopes, seen = tables(5, 5, seed=1), []

    def loss(mixture):
        seen.append(mixture)
        return sum((mixture[k] * slopes[k]).sum() for k in CELL_TYPES)

    relaxation = SDARTS(attack="adversarial", reach_from=0.04, reach_to=0.04)
    found = relaxation.mixture_for_w(clean, loss, moment())
    assert len(seen) == 7 + 2  # and the comparison
    for kind, p in clean.items():
        rows = zip((p + 0.04 * slopes[kind].sign()).tolist(), p.tolist(), strict=True)
        expected = torch.tensor([brought_back(*row) for row in rows]).double()
        torch.testing.assert_close(found[kind], expected)
        for mixture in seen[:7]:
            assert (mixture[kind] - p).abs().max() <= 0.04 + 1e-9
    assert loss(found) > loss(clean)


def test_an_attack_that_lowers_the_loss_is_dropped():
    clean = {k: a.softmax(dim=1) for k, a in tables(5, 5).items()}

    def loss(mixture):  # largest where nothing has moved
        return -sum((mixture[k] - clean[k]).square().sum() for k in CELL_TYPES)

    found = SDARTS(attack="adversarial").mixture_for_w(clean, loss, moment())
    assert all(torch.equal(found[k], clean[k]) for k in CELL_TYPES)


@pytest.mark.parametrize("attack", ["random", "adversarial"])
def test_sdarts_perturbs_the_step_of_w_alone(attack):
    settings = {"name": "sdarts", "attack": attack, "reach_from": 0.3}
    search, usual = searched(settings, steps=1), searched("darts", steps=1)
    pairs = zip(search.architecture.alpha, usual.architecture.alpha, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not all(torch.equal(one, other) for one, other in zip(search.w, usual.w, strict=True))
    assert search.means["valid_loss"] == usual.means["valid_loss"]
    mean = "cells.0.adjust_last.2.num_batches_tracked"
    assert search.supernet.state_dict()[mean] == 1  # the attack moves no statistics


def test_the_reach_of_sdarts_grows_in_a_straight_line():
    clean = {k: torch.full((5, 5), 0.5) for k in CELL_TYPES}  # far from 0 and 1
    seen = []
    for step in range(4):
        # Before the rows are scaled to their sums the largest change is nearly the reach.
        drawn = SDARTS(reach_from=0.03, reach_to=0.3).mixture_for_w(clean, None, moment(step, 4))
        raw = noise(clean["normal"], moment(step, 4))
        ratio = drawn["normal"] / drawn["normal"][:, :1]
        seen.append(float(((ratio - 1) / (2 * (raw - ratio * raw[:, :1])))[:, 1:].mean()))
    assert seen == pytest.approx([0.03, 0.12, 0.21, 0.3], rel=1e-3)


# DrNAS


def drawn(logits, draws, relaxation=None):
    """Mixtures (draws, operations) of one row of logits."""
    rows = {k: logits.expand(draws, -1) for k in CELL_TYPES}
    return (relaxation or DrNAS()).mixture(rows, SPACE, moment())["normal"]


@pytest.mark.parametrize("logits", [[0.0] * 4, [1.5, 0.0, -1.0, -0.3]])
def test_mean_and_variance_of_drnas(logits):
    """E = c / sum c and Var = m (1 - m) / (1 + sum c); at alpha = 0 uniform on the simplex."""
    c = torch.tensor([math.exp(a) if a < 0 else a + 1 for a in logits]).double()
    found = drawn(torch.tensor(logits).double(), 40_000)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(40_000).double())
    mean = c / c.sum()
    variance = mean * (1 - mean) / (1 + c.sum())
    torch.testing.assert_close(found.mean(dim=0), mean, rtol=0, atol=0.005)
    torch.testing.assert_close(found.var(dim=0), variance, rtol=0.05, atol=0)


def test_the_gradient_of_drnas_goes_through_the_draw():
    """Of a linear function it is that of the mean, over many draws."""
    logits = torch.tensor([1.5, 0.2, -1.0, -0.3]).double().requires_grad_()
    slopes = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    (found,) = torch.autograd.grad((drawn(logits, 40_000).mean(dim=0) * slopes).sum(), logits)
    c = torch.where(logits < 0, logits.exp(), logits + 1)
    (expected,) = torch.autograd.grad((c / c.sum() * slopes).sum(), logits)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_the_other_penalty_of_drnas():
    """KL(Dir(c) || Dir(1)) = log G(C) - sum log G(c_k) - log G(n) + sum (c_k - 1)(psi(c_k) - psi(C))"""  # noqa: E501
    zero = torch.tensor(0.0)
    equal = {k: torch.zeros(5, 5) for k in CELL_TYPES}
    assert float(DrNAS(kl=1.0).alpha_loss(zero, equal, SPACE, moment())) == pytest.approx(0)
    alpha, expected = tables(5, 5), 0.0
    for row in torch.cat([*alpha.values()]):
        c = torch.where(row < 0, row.exp(), row + 1)
        psi = torch.digamma(c) - torch.digamma(c.sum())
        expected += math.lgamma(float(c.sum())) - math.lgamma(5) + float(((c - 1) * psi).sum())
        expected -= sum(math.lgamma(float(value)) for value in c)
    found = DrNAS(kl=0.5).alpha_loss(zero, alpha, SPACE, moment())
    assert float(found) == pytest.approx(0.5 * expected) and expected > 0
    assert DrNAS().alpha_loss(zero, alpha, SPACE, moment()) is zero


def test_softmax_and_mean_of_drnas_agree_below_zero():
    alpha = -tables(5, 5)["normal"].abs()
    c = concentration(alpha)
    torch.testing.assert_close(c / c.sum(dim=1, keepdim=True), alpha.softmax(dim=1))
    c = concentration(-alpha)
    assert not torch.allclose(c / c.sum(dim=1, keepdim=True), (-alpha).softmax(dim=1))


def test_very_negative_logits_of_drnas():
    logits = torch.full((6,), -30.0).requires_grad_()
    assert (concentration(logits) == LEAST).all()
    found = drawn(logits, 2_000)
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), logits)
    assert found.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2_000))


def test_drnas_draws_for_each_cell_type_and_nothing_closed():
    search = searched("drnas", steps=0)
    search.architecture.open["normal"][1, :3] = False
    search.prune()
    mixture = search.architecture.mixture(moment=moment())
    assert not torch.equal(mixture["normal"][2:], mixture["reduction"][2:])
    assert not mixture["normal"][1, :3].any()
    torch.testing.assert_close(mixture["normal"].sum(dim=1), torch.ones(5))


# DARTS-


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("names", [NAMES, NAMES[:2]])
def test_darts_minus_adds_a_skip_connection_to_every_edge(stride, names):
    edge = WithSkip(names, 4, stride, 0.8).double()
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    row = torch.rand(len(names), dtype=torch.float64, requires_grad=True)
    mixed = MixedOperation.forward(edge, x, row)
    skip = x if stride == 1 else edge.skip(x)
    found = edge(x, row, moment(1, 4))
    torch.testing.assert_close(found, mixed + 0.8 * 0.75 * skip)
    assert stride == 1 or edge.skip is not edge.operations[-1]
    # At the same gradient of the node that for alpha is DARTS's.
    by_node = torch.randn_like(found)
    gradients = [torch.autograd.grad((y * by_node).sum(), row)[0] for y in (found, mixed)]
    torch.testing.assert_close(*gradients)


def test_beta_of_darts_minus_falls_and_is_not_in_the_probabilities():
    edge = DARTSMinus().edge(NAMES, 4, 1)
    assert [edge.beta(moment(n, 4)) for n in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    alpha = tables(5, 5)
    for found, expected in zip(
        DARTSMinus().probabilities(alpha, SPACE).values(), alpha.values(), strict=True
    ):
        assert torch.equal(found, expected.softmax(dim=1))


def test_size_of_the_supernet_of_darts_minus():
    with torch.device("meta"):
        assert count_weights(Supernet(SearchSpace.darts(), edge=DARTSMinus().edge)) == 1_971_578


def test_what_is_derived_from_darts_minus_is_measured_without_its_help():
    search = searched("darts_minus")
    images = search.valid.at(0)[0]
    network = gap._Mixed(search, gap.one_hot(search)).eval()
    found, helped = network(images), network.supernet(images, network.given[0])
    for edge in (edge for cell in search.supernet.cells for edge in cell.edges):
        edge.first = 0.0
    assert torch.equal(found, network(images)) and not torch.equal(found, helped)


def test_darts_minus_in_the_fast_form():
    """Scores and all gradients, with operations and a whole edge closed."""
    found = []
    for fast in (False, True):
        search = searched("darts_minus", steps=0)
        search.supernet.double()
        search.architecture.open["normal"][0, :2] = False
        search.architecture.open["reduction"][3] = False
        search.prune()
        if fast:
            accelerate(search.supernet)
        images, labels = search.train.at(0)
        mixture = {k: a.softmax(dim=1).requires_grad_() for k, a in tables(5, 5).items()}
        scores = search.supernet(images.double(), mixture, moment(1, 4))
        loss = F.cross_entropy(scores, labels)
        inputs = [*search.w, *mixture.values()]
        gradients = torch.autograd.grad(loss, inputs, materialize_grads=True)
        found.append([scores, *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


# beta-DARTS


def test_the_penalty_of_beta_darts():
    alpha, loss = tables(5, 5), torch.tensor(2.0).double()
    rows = [row.tolist() for table in alpha.values() for row in table]
    expected = sum(math.log(sum(map(math.exp, row))) for row in rows) / 10
    for step, factor in ((0, 0.0), (1, 12.5), (3, 37.5)):
        found = BetaDARTS().alpha_loss(loss, alpha, SPACE, moment(step, 4))
        assert float(found) == pytest.approx(2 + factor * expected)
    # Its gradient pushes the large logits down most; a shift of a row is seen.
    free = {k: table.requires_grad_() for k, table in alpha.items()}
    found = BetaDARTS(scale=8.0).alpha_loss(loss, free, SPACE, moment(1, 2))
    gradients = torch.autograd.grad(found, [*free.values()])
    for gradient, table in zip(gradients, free.values(), strict=True):
        torch.testing.assert_close(gradient, 4 * table.softmax(dim=1) / 10)
    shifted = free | {"normal": free["normal"] + torch.tensor([[1.0], [0], [0], [0], [0]])}
    more = BetaDARTS(scale=8.0).alpha_loss(loss, shifted, SPACE, moment(1, 2)).detach()
    assert float(more - found.detach()) == pytest.approx(4 * 1.0 / 10)


# FairDARTS


def test_operations_of_fair_darts_do_not_compete():
    alpha = tables(5, 5)
    found = FairDARTS().probabilities(alpha, SPACE)["normal"]
    expected = [[1 / (1 + math.exp(-a)) for a in row] for row in alpha["normal"].tolist()]
    torch.testing.assert_close(found, torch.tensor(expected).double())
    alpha["normal"][1, 2] += 3.0
    changed = FairDARTS().probabilities(alpha, SPACE)["normal"] != found
    assert changed.nonzero().tolist() == [[1, 2]]


def test_the_zero_one_loss_of_fair_darts():
    loss = torch.tensor(2.0).double()

    def penalty(alpha):
        return FairDARTS().alpha_loss(loss, alpha, SPACE, moment()) - loss

    alpha = tables(5, 5)
    flat = [a for table in alpha.values() for row in table.tolist() for a in row]
    expected = -10 * sum((1 / (1 + math.exp(-a)) - 0.5) ** 2 for a in flat) / 50
    assert float(penalty(alpha)) == pytest.approx(expected)
    alpha["normal"][0] = 0.0
    free = {k: table.requires_grad_() for k, table in alpha.items()}
    gradients = torch.autograd.grad(penalty(free), [*free.values()])
    assert not gradients[0][0].any()  # at 1/2
    for gradient, table in zip(gradients, free.values(), strict=True):
        assert torch.equal((-gradient).sign(), table.detach().sign())  # outward
    sure = {k: 50 * table.detach().sign() + 50 for k, table in free.items()}
    inner, outer = float(penalty(alpha).detach()), float(penalty(sure))
    assert -2.5 <= outer < inner < 0


def test_fair_darts_may_drop_what_is_not_sure():
    table = torch.full((5, 5), 0.1)
    table[0, 1], table[1, 0] = 0.9, 0.7
    table[2, 4], table[3, 2], table[4, 3] = 0.99, 0.6, 0.5  # 4 is none
    given = dict.fromkeys(CELL_TYPES, table)
    assert FairDARTS().derive(given, SPACE) == derive(given, SPACE)
    strict = FairDARTS(least=0.85).derive(given, SPACE)
    assert strict.normal == ((("dil_conv_3x3", 0),), (("avg_pool_3x3", 1),))
    both = FairDARTS(least=0.65).derive(given, SPACE).normal[0]
    assert both == (("dil_conv_3x3", 0), ("sep_conv_3x3", 1))


# I-DARTS


def test_i_darts_has_one_softmax_per_node():
    alpha = tables(5, 5)
    found = IDARTS().probabilities(alpha, SPACE)
    for kind, table in alpha.items():
        for rows in ([0, 1], [2, 3, 4]):
            total = sum(math.exp(a) for row in rows for a in table[row].tolist())
            expected = [[math.exp(a) / total for a in table[row].tolist()] for row in rows]
            torch.testing.assert_close(found[kind][rows], torch.tensor(expected).double())
            assert float(found[kind][rows].sum()) == pytest.approx(1)
    equal = IDARTS().probabilities({k: torch.zeros(5, 5) for k in CELL_TYPES}, SPACE)["normal"]
    torch.testing.assert_close(equal[:2], torch.full((2, 5), 1 / 10))
    torch.testing.assert_close(equal[2:], torch.full((3, 5), 1 / 15))


def test_edges_compete_in_i_darts_alone():
    alpha = tables(5, 5)
    shifted = alpha | {"normal": alpha["normal"] + torch.tensor([[0.0], [0], [2], [0], [0]])}
    for relaxation, competes in ((IDARTS(), True), (Relaxation(), False)):
        before = relaxation.probabilities(alpha, SPACE)["normal"]
        after = relaxation.probabilities(shifted, SPACE)["normal"]
        torch.testing.assert_close(before[:2], after[:2])
        assert torch.allclose(before[2:], after[2:]) is not competes
    # With one edge left in each node it is DARTS.
    alone = {k: table.clone() for k, table in alpha.items()}
    for table in alone.values():
        table[[0, 2, 3]] = -torch.inf
    found = IDARTS().probabilities(alone, SPACE)["normal"][[1, 4]]
    torch.testing.assert_close(found, alpha["normal"][[1, 4]].softmax(dim=1))


def test_i_darts_may_keep_two_operations_from_one_input():
    table = torch.full((5, 5), 0.01)
    table[0, 1], table[0, 2], table[1, 3] = 0.5, 0.4, 0.3
    table[4, 0], table[2, 1], table[3, 4] = 0.3, 0.2, 0.9
    given = dict.fromkeys(CELL_TYPES, table)
    assert IDARTS().derive(given, SPACE) == derive(given, SPACE)
    pairs = IDARTS(derivation="pairs").derive(given, SPACE).normal
    assert pairs[0] == (("dil_conv_3x3", 0), ("avg_pool_3x3", 0))
    assert pairs[1] == (("sep_conv_3x3", 2), ("dil_conv_3x3", 0))


# SGAS


def by_hand(p, before=None):
    """Scores of SGAS, number by number; the last column is none."""
    q = [[value / (1 - row[-1]) for value in row[:-1]] for row in p]
    factors = [
        [1 - row[-1] for row in p],
        [1 + sum(v * math.log(v) for v in row) / math.log(len(row)) for row in q],
    ]
    if before is not None:
        common = [
            [sum(map(min, row, old)) for row, old in zip(q, table, strict=True)]
            for table in before
        ]  # fmt: skip
        factors.append([sum(edge) / len(before) for edge in zip(*common, strict=True)])
    scores = [1.0] * len(p)
    for factor in factors:
        least, width = min(factor), max(factor) - min(factor)
        scores = [s * (f - least) / width for s, f in zip(scores, factor, strict=True)]
    return scores


def test_scores_of_sgas():
    p = tables(5, 5)["normal"].softmax(dim=1)
    before = torch.stack([t.softmax(dim=1) for t in tables(5, 5, seed=1).values()])
    before[:, :, -1] = 0
    for earlier in (None, before):
        q, score = judged(p, SPACE, earlier)
        rows = None if earlier is None else [table[:, :-1].tolist() for table in earlier]
        torch.testing.assert_close(score, torch.tensor(by_hand(p.tolist(), rows)).double())
        assert ((score >= 0) & (score <= 1)).all() and not q[:, -1].any()
        torch.testing.assert_close(q.sum(dim=1), torch.ones(5).double())
    assert (judged(p[:1].expand(5, 5), SPACE, None)[1] == 0).all()  # all alike: 0, not nan
    # Without none the clearest edge counts alone.
    real = SearchSpace(2, NAMES[:4])
    q, score = judged(p[:, :4] / p[:, :4].sum(dim=1, keepdim=True), real, None)
    assert int(score.argmax()) == int(torch.special.entr(q).sum(dim=1).argmin())


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_decisions_of_sgas_leave_two_edges_per_node(nodes):
    space = SearchSpace(nodes, NAMES)
    edges = len(space.edges)
    for seed in range(5):
        p = tables(edges, 5, seed=seed, scale=2.0)["normal"].softmax(dim=1)
        q, score = judged(p, space, None)
        is_open = torch.ones(edges, 5, dtype=torch.bool)
        order = []
        for _ in range(2 * nodes):
            undecided = is_open.sum(dim=1) > 1
            decide(is_open, q, score, space)
            decided = undecided & (is_open.sum(dim=1) == 1)
            order.append(int(decided.nonzero()))
            assert score[order[-1]] == score[undecided].max()
        assert is_open[order].sum(dim=1).tolist() == [1] * 2 * nodes and is_open.sum() == 2 * nodes
        assert (is_open.int().argmax(dim=1)[order] == p[order, :-1].argmax(dim=1)).all()
        for node in range(nodes):
            assert is_open[space.edges_into(2 + node)].any(dim=1).sum() == 2
        decide(is_open, q, score, space)  # nothing is left to decide
        assert is_open.sum() == 2 * nodes


def test_sgas_decides_when_the_paper_does():
    """After epochs 9, 14, …, 44 of 50 where a cell has eight edges in the end."""
    space = SearchSpace.darts()
    found = [SGAS().decisions(step / 50, space) for step in range(51)]
    assert found == [sum(step >= 9 + 5 * n for n in range(8)) for step in range(51)]
    four = [SGAS().decisions(step / 1000, SPACE) for step in (179, 180, 413, 414, 646, 647, 880)]
    assert four == [0, 1, 1, 2, 2, 3, 4]


def test_a_decided_edge_of_sgas_runs_alone_and_its_logits_rest():
    search = searched("sgas", steps=0, batches=25, alpha_weight_decay=0.5, alpha_init_std=0.1)
    before, decided = None, []
    for step in range(1, 26):
        search.advance()
        is_open = search.architecture.open
        counts = [int((is_open[k].sum(dim=1) == 1).sum()) for k in CELL_TYPES]
        assert counts == [SGAS().decisions(step / 25, SPACE)] * 2
        if before is not None:
            for kind, (rows, logits) in before.items():
                assert torch.equal(search.architecture.logits[kind][rows], logits[rows])
                p = search.architecture.probabilities()[kind][rows]
                assert set(p.flatten().tolist()) <= {0.0, 1.0}
        before = {
            k: ((is_open[k].sum(dim=1) <= 1), search.architecture.logits[k].detach().clone())
            for k in CELL_TYPES
        }
        decided.append(counts[0])
    assert decided[-1] == 4 and not search.notes
    assert all(edge.open.count(True) <= 1 for cell in search.supernet.cells for edge in cell.edges)
    cell = search.architecture.derive()
    kept = [(name, source, 2 + n) for n, node in enumerate(cell.normal) for name, source in node]
    where = is_open["normal"].nonzero().tolist()
    assert sorted(kept) == sorted((NAMES[k], *SPACE.edges[edge]) for edge, k in where)


def test_criterion_2_of_sgas_looks_back_by_fiftieths():
    search = searched({"name": "sgas", "criterion": 2}, steps=0, batches=100)
    seen = []
    for step in range(1, 18):  # before the first decision
        search.advance()
        if step % 2 == 0:
            p = search.architecture.logits["normal"].detach().softmax(dim=1)[:, :-1]
            seen.append(p / p.sum(dim=1, keepdim=True))
    torch.testing.assert_close(search.notes["sgas_normal"][:, :, :-1], torch.stack(seen[-4:]))


# SNAS


def test_snas_mixes_by_soft_draws():
    """(log softmax + g) / tau through a softmax; tau -> 0 is one-hot, -> infinity uniform."""
    alpha = tables(5, 5)
    for tau in (0.5, 3.0):
        found = SNAS(tau_from=tau, tau_to=tau).mixture(alpha, SPACE, moment())["normal"]
        g = -torch.empty(5, 5).exponential_(generator=moment().generator).double().log()
        expected = ((alpha["normal"].softmax(dim=1).log() + g) / tau).exp()
        torch.testing.assert_close(found, expected / expected.sum(dim=1, keepdim=True))
    cold = SNAS(tau_from=1e-4).mixture(alpha, SPACE, moment())["normal"]
    torch.testing.assert_close(cold, F.one_hot(cold.argmax(dim=1), 5).double())
    warm = SNAS(tau_from=1e6).mixture(alpha, SPACE, moment())["normal"]
    torch.testing.assert_close(warm, torch.full((5, 5), 0.2).double(), rtol=0, atol=1e-4)


def test_snas_cools_in_a_straight_line_and_draws_for_each_cell_type():
    alpha = {k: torch.zeros(5, 5).double() for k in CELL_TYPES}
    seen = []
    for step in range(3):
        found = SNAS().mixture(alpha, SPACE, moment(step, 3))
        hot = SNAS(tau_from=1.0, tau_to=1.0).mixture(alpha, SPACE, moment(step, 3))
        spread = [m["normal"].log().diff(dim=1) for m in (hot, found)]
        seen.append(float((spread[0] / spread[1]).mean()))
        assert not torch.equal(found["normal"], found["reduction"])
    assert seen == pytest.approx([1.0, 0.515, 0.03])


def test_snas_may_keep_an_operation_of_every_edge():
    table = torch.full((5, 5), 0.1)
    table[0, 4], table[1, 4], table[1, 2] = 0.6, 0.5, 0.4  # none is most likely on both
    table[2, 1], table[3, 4], table[4, 3] = 0.3, 0.9, 0.6
    given = dict.fromkeys(CELL_TYPES, table)
    assert SNAS().derive(given, SPACE) == derive(given, SPACE)
    every = SNAS(derivation="every_edge").derive(given, SPACE).normal
    assert every == ((("avg_pool_3x3", 1),), (("skip_connect", 2), ("dil_conv_3x3", 0)))
    table[3] = torch.tensor([0.5, 0, 0, 0, 0])
    assert len(SNAS(derivation="every_edge").derive(given, SPACE).normal[1]) == 3


def test_the_settings_of_these_papers():
    sdarts, sgas, snas = SDARTS(), SGAS(), SNAS()
    assert (sdarts.reach_from, sdarts.reach_to, sdarts.ascents) == (0.03, 0.3, 7)
    assert (DrNAS().kl, DARTSMinus().beta, BetaDARTS().scale, FairDARTS().w01) == (0, 1, 50, 10)
    assert (sgas.criterion, sgas.first, sgas.last) == (1, 9 / 50, 44 / 50)
    assert (snas.tau_from, snas.tau_to) == (1.0, 0.03)
    assert Architecture(SPACE, FairDARTS()).probabilities()["normal"].unique().tolist() == [0.5]

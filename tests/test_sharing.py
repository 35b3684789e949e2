"""One supernet for all cells: what is drawn, what runs, and what it says of a cell."""

from collections import Counter
from math import log
from statistics import fmean

import pytest
import torch

from dartslib.data import load, split
from dartslib.data.planted import NEEDED, SEARCH, planted, planted_batches, planted_search
from dartslib.genotypes import Genotype, derive
from dartslib.methods.gdas import OneOperation
from dartslib.networks import FinalNetwork
from dartslib.relaxation import Architecture
from dartslib.rivals.controller import best_drawn, enas
from dartslib.rivals.inheriting import inherit
from dartslib.rivals.sharing import SinglePath, draw_cell
from dartslib.runs.gap import accuracy, path
from dartslib.runs.profiles import profile
from dartslib.searching import Search
from dartslib.space import SearchSpace
from dartslib.tabular.cells import SPACE, classes


def drawn_from(alpha, space, count, seed=0):
    """How often each cell comes up."""
    generator, counts = torch.Generator().manual_seed(seed), Counter()
    for _ in range(count):
        path = draw_cell(alpha, space, generator).path
        counts[repr(derive(path, space).normal)] += 1
    return counts


def test_every_cell_is_drawn_as_often():
    alpha = {n: torch.zeros(shape) for n, shape in SinglePath().parameters(SPACE).items()}
    counts = drawn_from(alpha, SPACE, 2430)
    assert len(counts) == 243
    assert max(abs(count - 10) for count in counts.values()) < 6 * 10**0.5
    first = SearchSpace(3, ("none", "skip_connect", "max_pool_3x3"))  # none comes first, elsewhere
    alpha = {n: torch.zeros(shape) for n, shape in SinglePath().parameters(first).items()}
    drawn = draw_cell(alpha, first, torch.Generator().manual_seed(0))
    assert drawn.path["normal"][:, 0].sum() == 0 and drawn.path["normal"].sum() == 6
    choices = log(1 * 3 * 6) + 6 * log(2)  # pairs of inputs, operations, uniformly
    assert float(drawn.log_probability) == pytest.approx(-2 * choices, abs=1e-5)
    assert float(drawn.entropy) == pytest.approx(2 * choices, abs=1e-5)


def test_cells_are_drawn_by_alpha():
    generator = torch.Generator().manual_seed(1)
    shapes = SinglePath().parameters(SPACE)
    alpha = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    counts = drawn_from(alpha, SPACE, 1500)
    drawn = draw_cell(alpha, SPACE, generator)
    cell = derive(drawn.path, SPACE).normal
    # By hand: the pair of node 2's inputs, and the operation on each edge that is kept.
    pairs = torch.softmax(alpha["inputs_normal"][1, :3], 0)
    of_pair = {(0, 1): 0, (0, 2): 1, (1, 2): 2}[tuple(sorted(s for _, s in cell[1]))]
    expected = float(pairs[of_pair])
    for node, edges in enumerate(cell):
        for name, source in edges:
            row = alpha["normal"][SPACE.edges.index((source, node + 2)), :3]
            expected *= float(torch.softmax(row, 0)[SPACE.operations.index(name)])
    assert counts[repr(cell)] / 1500 == pytest.approx(expected, abs=5 * (expected / 1500) ** 0.5)


def test_a_path_is_the_derived_cell():
    space = SearchSpace.report()
    architecture = Architecture(space, init_std=1.0)
    chosen = path(architecture.derive(), architecture)
    assert all(table.sum() == 6 for table in chosen.values())


def test_one_operation_per_kept_edge_runs_and_w_learns(small, monkeypatch):
    config, *batches = small
    data = load("shapes10")
    calls = []
    run = OneOperation.forward

    def counted(self, x, mixture, *rest):
        calls.append(int((mixture != 0).sum()))
        return run(self, x, mixture, *rest)

    monkeypatch.setattr(OneOperation, "forward", counted)
    search = Search(config, *batches)
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    search.advance()
    per_pass = 5 * config.layers  # edges of all cells
    assert len(calls) == per_pass and sum(calls) == 4 * config.layers
    for _ in search:
        pass
    assert any(
        not torch.equal(value, before[n]) for n, value in search.supernet.state_dict().items()
    )
    assert all((logits == 0).all() for logits in search.architecture.logits.values())  # alpha rests
    state = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    unseen = data.evaluation_batches(split(data, config.half).compare_valid.first(256))
    found = [accuracy(search, path(c, search.architecture), unseen) for c in classes()[:3]]
    assert len(found) == 3 and all(0 <= value <= 1 for value in found)
    assert all(torch.equal(value, state[n]) for n, value in search.supernet.state_dict().items())


@pytest.fixture
def small():
    data, smoke = load("shapes10"), profile("smoke").search
    config = smoke.changed(
        relaxation="single_path", nodes=2, operations=SPACE.operations, half=128, batch_size=32,
        epochs=2,
    )  # fmt: skip
    halves = split(data, config.half)
    return (config, *(data.batches(h, 32) for h in (halves.search_train, halves.search_valid)))


def test_the_controller_goes_where_the_rewards_are(small, monkeypatch):
    """Rewarded is a separable convolution from input 0 to node 1 alone."""
    search = Search(*small)

    def reward(search, path, batches, number):
        return float(path["normal"][0, SPACE.operations.index("sep_conv_3x3")])

    monkeypatch.setattr("dartslib.rivals.controller._accuracy", reward)
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    baselines = list(enas(search, steps=20, rate=0.05))
    assert search.step == search.steps and len(baselines) == search.config.epochs
    row = search.architecture.logits["normal"][0, :3].softmax(0)
    assert int(row.argmax()) == 2 and row[2] > 0.6 and baselines[-1] > 0.5
    assert best_drawn(search, small[2], count=20).normal[0][0] == ("sep_conv_3x3", 0)
    now = search.supernet.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in now.items())


def test_a_first_reward_is_no_news(small, monkeypatch):
    """The baseline begins at it: with equal rewards nothing moves but by the entropy."""
    search = Search(*small)
    monkeypatch.setattr("dartslib.rivals.controller._accuracy", lambda *_: 0.3)
    (*_, last) = enas(search, steps=5, entropy=0.0)
    assert last == pytest.approx(0.3)
    assert all((logits == 0).all() for logits in search.architecture.logits.values())


def test_a_child_has_its_parents_weights_where_it_is_like_it():
    sizes = {"channels": 4, "layers": 3, "reductions": (), "image_size": 8}
    parent = FinalNetwork(classes()[-1], **sizes)  # sep on all edges
    images = torch.randn(2, 3, 8, 8)
    twin = FinalNetwork(classes()[-1], **sizes)
    assert inherit(twin, parent) == 1.0
    assert torch.equal(twin.eval()(images), parent.eval()(images))
    nodes = classes()[-1].normal
    changed = (nodes[0], (("skip_connect", nodes[1][0][1]), nodes[1][1]))
    child = FinalNetwork(type(classes()[0])(changed, changed), **sizes)
    assert inherit(child, parent) == 1.0  # a skip has no weights: all that it has is inherited
    back = FinalNetwork(classes()[-1], **sizes)
    share = inherit(back, child)
    assert 0 < share < 1  # the convolution that the skip replaced begins anew
    with pytest.raises(ValueError, match="own sizes"):
        inherit(FinalNetwork(classes()[-1], **(sizes | {"channels": 8})), parent)


@pytest.mark.full
def test_a_shared_network_and_its_controller_know_the_planted_operation():
    """Of 49 cells those with the operation that is needed are told from the others."""
    config = SEARCH.changed(relaxation="single_path", epochs=12)
    unseen = planted_batches(planted(512, 2), 256, shuffle=False, drop_last=False)
    real = [name for name in config.operations if name != "none"]
    cells = [Genotype(node, node) for node in
             [(((one, 0), (other, 1)),) for one in real for other in real]]  # fmt: skip
    search = planted_search(config)
    for _ in search:
        pass
    seen = {c: accuracy(search, path(c, search.architecture), unseen) for c in cells}
    with_it = [value for c, value in seen.items() if NEEDED in str(c)]
    others = [value for c, value in seen.items() if NEEDED not in str(c)]
    assert NEEDED in str(max(seen, key=seen.get)) and fmean(with_it) > max(others)
    search = planted_search(config)
    rewards = list(enas(search, steps=30, rate=0.05))
    assert rewards[-1] > rewards[0] + 0.1
    assert NEEDED in str(best_drawn(search, search.valid))

"""Alpha, apart from the weights; the mixed operation; and a relaxation that is not DARTS's."""

import math

import pytest
import torch
from plain import Noise, random_tables
from torch import nn

from dartslib import genotypes
from dartslib.relaxation import Architecture, MixedOperation, Softmax
from dartslib.searching import Search, SearchConfig
from dartslib.space import CELL_TYPES, DARTS_OPERATIONS, SearchSpace
from dartslib.supernet import Supernet

TINY = {
    "nodes": 2,
    "layers": 2,
    "reductions": (1,),
    "channels": 2,
    "head": "linear",
    "epochs": 1,
}


# The space


@pytest.mark.parametrize(("space", "edges"), [(SearchSpace.report(), 9), (SearchSpace.darts(), 14)])
def test_edges_of_report_and_paper(space, edges):
    assert len(space.edges) == edges
    assert [len(space.edges_into(2 + node)) for node in range(space.nodes)] == list(
        range(2, 2 + space.nodes)
    )
    assert list(space.edges) == sorted(space.edges, key=lambda edge: (edge[1], edge[0]))
    assert all(source < target for source, target in space.edges)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 0},
        {"nodes": 1.5},
        {"operations": ()},
        {"operations": "none"},
        {"operations": ("none", "none")},
    ],
)
def test_a_space_that_cannot_be(wrong):
    with pytest.raises(ValueError):
        SearchSpace(**wrong)


# Alpha


def test_alpha_starts_at_zero_or_with_a_little_noise():
    zero = Architecture(SearchSpace.report())
    assert all(not logits.any() and logits.shape == (9, 8) for logits in zero.alpha)
    assert all((p == 1 / 8).all() for p in zero.probabilities().values())

    noisy = Architecture(SearchSpace.darts(), init_std=1e-3, generator=torch.Generator())
    values = torch.cat([logits.detach().flatten() for logits in noisy.alpha])  # 224 numbers
    assert len(values) == 2 * 14 * 8
    assert 0.8e-3 < values.std() < 1.2e-3 and abs(values.mean()) < 3e-4
    again = Architecture(SearchSpace.darts(), init_std=1e-3, generator=torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(noisy.alpha, again.alpha, strict=True))


def test_probabilities_are_a_softmax_of_every_edge():
    architecture = Architecture(SearchSpace(1), init_std=2.0, generator=torch.Generator())
    for cell_type in CELL_TYPES:
        table = architecture.logits[cell_type].tolist()
        for row, found in zip(table, architecture.probabilities()[cell_type].tolist(), strict=True):
            total = sum(math.exp(value) for value in row)
            assert found == pytest.approx([math.exp(value) / total for value in row])
    assert architecture.weights().keys() == architecture.logits.keys()


def test_no_optimizer_of_the_weights_can_move_alpha():
    space = SearchSpace(1)
    architecture = Architecture(space)
    net = Supernet(space, 2, 2, reductions=(1,))
    held = {id(p) for p in net.parameters()} | {id(b) for b in net.buffers()}
    assert not held & {id(logits) for logits in architecture.alpha}
    assert not isinstance(architecture, nn.Module)

    before = architecture.state_dict()
    optimizer = torch.optim.SGD(net.parameters(), 1.0, weight_decay=0.1)
    for _ in range(2):
        net(torch.randn(2, 3, 8, 8), architecture.weights()).sum().backward()
        assert architecture.logits["normal"].grad is not None
        optimizer.step()
    for cell_type, logits in architecture.logits.items():
        assert torch.equal(logits, before[cell_type])


def test_state_goes_back_and_forth():
    first = Architecture(SearchSpace(2), init_std=1.0, generator=torch.Generator())
    second = Architecture(SearchSpace(2))
    state = first.state_dict()
    second.load_state_dict(state)
    with torch.no_grad():
        first.logits["normal"].zero_()
    assert second.logits["normal"].any()  # copies, not the same tensors
    assert all(logits.requires_grad and logits.is_leaf for logits in second.alpha)


# The mixed operation


@pytest.mark.parametrize("stride", [1, 2])
def test_mixed_operation_is_a_weighted_sum(stride):
    mixed = MixedOperation(DARTS_OPERATIONS, 3, stride).double()
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    weights = torch.randn(8, dtype=torch.float64)
    expected = torch.zeros(2, 3, -(-7 // stride), -(-7 // stride), dtype=torch.float64)
    for k in range(8):
        expected += weights[k] * mixed.operations[k](x)
    torch.testing.assert_close(mixed(x, weights), expected)


def test_mixed_operation_wants_a_weight_for_each():
    with pytest.raises(ValueError):
        MixedOperation(("none", "skip_connect"), 2, 1)(torch.zeros(1, 2, 4, 4), torch.ones(3))


# Another relaxation: one operation an edge runs, drawn by Gumbel noise, straight through


class OneOperation(MixedOperation):
    """Runs the one operation whose weight is 1; the weight carries the gradient."""

    def forward(self, x, weights):
        chosen = int(weights.argmax())
        return weights[chosen] * self.operations[chosen](x)


class Sampled(Softmax):
    """A hard sample of every edge forward, the gradient of the softmax backward."""

    mixed_operation = OneOperation

    def weights(self, logits, space, generator=None):
        found = {}
        for cell_type, p in self.probabilities(logits, space).items():
            noise = torch.empty_like(p).exponential_(generator=generator).log().neg()
            best = (p.detach().log() + noise).argmax(dim=-1, keepdim=True)
            one = torch.zeros_like(p).scatter(-1, best, 1.0)
            found[cell_type] = one - p.detach() + p
        return found


def test_derive_asks_the_relaxation():
    """Another relaxation may mean another cell by the same probabilities."""

    class Weakest(Softmax):
        def derive(self, probabilities, space, edges_per_node=2):
            turned = {cell_type: 1 - table for cell_type, table in probabilities.items()}
            return super().derive(turned, space, edges_per_node)

    space = SearchSpace(2)
    architecture = Architecture(space, Weakest(), init_std=1.0)
    for edges in (1, 2):
        expected = architecture.derive(edges)
        assert genotypes.derive(architecture, edges_per_node=edges) == expected
        usual = genotypes.derive(architecture.probabilities(), space, edges)
        assert expected != usual and len(expected.normal[1]) == edges


def test_a_relaxation_knows_how_far_the_search_is():
    """A temperature falls with it; it is no more to be kept than the step is."""
    seen = []

    class Cooling(Softmax):
        def probabilities(self, logits, space):
            seen.append(self.progress)
            return {k: (a / (1.1 - self.progress)).softmax(dim=-1) for k, a in logits.items()}

    config = SearchConfig(nodes=1, layers=1, channels=2, head="linear", epochs=2, records=1)
    search = Search(config, Noise(2), Noise(2, seed=1), image_size=8, relaxation=Cooling())
    for _ in search.each_step():
        pass
    assert search.steps == 4 and sorted(set(seen)) == [0, 0.25, 0.5, 0.75]


def _count_calls(supernet):
    calls = []
    for cell in supernet.cells:
        for edge in cell.edges:
            for operation in edge.operations:
                operation.register_forward_hook(lambda *_: calls.append(1))
    return calls


# Forward passes a step: the method's passes for alpha, and one for w.
@pytest.mark.parametrize(
    ("method", "passes"),
    [("one_level", 1), ("first_order", 2), ("finite_difference", 5), ("exact", 3)],
)
def test_a_relaxation_that_runs_one_operation_an_edge(method, passes):
    config = SearchConfig(**TINY, method=method, alpha_lr=0.1)
    train, valid = Noise(batches=3), Noise(batches=3, seed=1)
    search = Search(config, train, valid, image_size=8, relaxation=Sampled())
    calls = _count_calls(search.supernet)
    edges = 2 * 5  # two cells of two nodes
    for record in search:
        assert len(calls) == passes * edges * record["step"]
    assert all(logits.any() for logits in search.architecture.alpha)
    assert isinstance(search.architecture.derive(), genotypes.Genotype)

    softmax = Search(config, train, valid, image_size=8)
    calls = _count_calls(softmax.supernet)
    softmax.advance()
    assert len(calls) == passes * edges * 8


def test_a_sample_is_the_same_in_all_passes_of_one_alpha_step():
    # Else the finite difference would be that of two architectures, divided by almost nothing.
    drawn = []

    class Watched(Sampled):
        def weights(self, logits, space, generator=None):
            found = super().weights(logits, space, generator)
            drawn.append({name: table.detach().argmax(-1) for name, table in found.items()})
            return found

    config = SearchConfig(**TINY, method="finite_difference")
    search = Search(config, Noise(), Noise(seed=1), image_size=8, relaxation=Watched())
    for _ in range(3):
        search.advance()

    def same(a, b):
        return all(torch.equal(a[name], b[name]) for name in CELL_TYPES)

    for step in range(3):
        first, *others, of_w = drawn[5 * step : 5 * step + 5]
        assert all(same(first, other) for other in others)
        assert not same(first, of_w)  # w meets a draw of its own
    assert not same(drawn[0], drawn[5])


def test_random_tables_of_these_tests_are_probabilities():
    for table in random_tables(SearchSpace(1)).values():
        torch.testing.assert_close(table.sum(-1), torch.ones(2, dtype=table.dtype))

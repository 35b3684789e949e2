"""Alpha, apart from the weights; the mixed operation; and a relaxation that is not DARTS's."""

import json
import math
import re

import pytest
import torch
from plain import Noise, is_one_sentence, random_tables
from torch import nn
from torch.nn import functional as F

from dartslib import genotypes
from dartslib.methods.gdas import GDAS
from dartslib.relaxation import (
    START,
    Architecture,
    MixedOperation,
    Relaxation,
    read_relaxation,
)
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
    assert architecture.mixture().keys() == architecture.logits.keys()


def test_no_optimizer_of_the_weights_can_move_alpha():
    space = SearchSpace(1)
    architecture = Architecture(space)
    net = Supernet(space, channels=2, layers=2, reductions=(1,))
    held = {id(p) for p in net.parameters()} | {id(b) for b in net.buffers()}
    assert not held & {id(logits) for logits in architecture.alpha}
    assert not isinstance(architecture, nn.Module)

    before = architecture.state_dict()
    optimizer = torch.optim.SGD(net.parameters(), 1.0, weight_decay=0.1)
    for _ in range(2):
        net(torch.randn(2, 3, 8, 8), architecture.mixture()).sum().backward()
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


# Another relaxation


def _search(**settings):
    config = SearchConfig(**TINY | settings)
    return Search(config, Noise(batches=3), Noise(batches=3, seed=1), image_size=8)


def test_derive_asks_the_relaxation():
    """Another relaxation may derive another cell from the same probabilities."""

    class Weakest(Relaxation):
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
    """For example, a temperature falls with it. It needs no state besides the step."""
    seen, between = [], []

    class Cooling(Relaxation):
        def mixture(self, alpha, space, moment):
            seen.append((moment.step, moment.progress))
            between.append(moment.between(10.0, 1.0))
            return {k: (alpha[k] / (1.1 - moment.progress)).softmax(dim=-1) for k in CELL_TYPES}

    config = SearchConfig(
        nodes=1, layers=1, channels=2, head="linear", epochs=2, records=1, relaxation=Cooling()
    )
    search = Search(config, Noise(2), Noise(2, seed=1), image_size=8)
    for _ in search.each_step():
        pass
    assert search.steps == 4
    assert sorted(set(seen)) == [(0, 0), (1, 0.25), (2, 0.5), (3, 0.75)]
    assert sorted(set(between)) == [1.0, 4.0, 7.0, 10.0]  # both ends are reached


def _count_calls(supernet):
    calls = []
    for cell in supernet.cells:
        for edge in cell.edges:
            for operation in edge.operations:
                operation.register_forward_hook(lambda *_: calls.append(1))
    return calls


# Forward passes per step: the passes for alpha, and one for w.
@pytest.mark.parametrize(
    ("gradient", "passes"),
    [("one_level", 1), ("first_order", 2), ("finite_difference", 5), ("exact", 3)],
)
def test_a_relaxation_that_runs_one_operation_an_edge(gradient, passes):
    search = _search(gradient=gradient, alpha_lr=0.1, relaxation="gdas")
    calls = _count_calls(search.supernet)
    edges = 2 * 5  # two cells of two nodes
    for record in search:
        assert len(calls) == passes * edges * record["step"]
    assert all(logits.any() for logits in search.architecture.alpha)
    assert isinstance(search.architecture.derive(), genotypes.Genotype)

    softmax = _search(gradient=gradient)
    calls = _count_calls(softmax.supernet)
    softmax.advance()
    assert len(calls) == passes * edges * 8


def test_a_sample_is_the_same_in_all_passes_of_one_alpha_step():
    # Else the finite difference would be that of two architectures, divided by almost nothing.
    drawn = []

    class Watched(GDAS):
        def mixture(self, alpha, space, moment):
            found = super().mixture(alpha, space, moment)
            drawn.append({name: table.detach().argmax(-1) for name, table in found.items()})
            return found

    search = _search(gradient="finite_difference", relaxation=Watched())
    for _ in range(3):
        search.advance()

    def same(a, b):
        return all(torch.equal(a[name], b[name]) for name in CELL_TYPES)

    for step in range(3):
        first, *others, of_w = drawn[5 * step : 5 * step + 5]
        assert all(same(first, other) for other in others)
        assert not same(first, of_w)  # w meets a draw of its own
    assert not same(drawn[0], drawn[5])


def test_edges_that_draw_see_one_draw_in_all_passes_of_an_alpha_step():
    drawn = []

    class Dropped(MixedOperation):
        def forward(self, x, mixture, moment=START):
            drawn.append(float(torch.rand(1, generator=moment.generator)))
            return drawn[-1] * super().forward(x, mixture, moment)

    class Dropping(Relaxation):
        def edge(self, names, channels, stride):
            return Dropped(names, channels, stride)

    search = _search(gradient="finite_difference", relaxation=Dropping())
    search.advance()
    edges = 2 * 5
    passes = [drawn[start : start + edges] for start in range(0, len(drawn), edges)]
    assert len(passes) == 5 and passes[0] == passes[1] == passes[2] == passes[3] != passes[4]


def test_what_w_sees_and_what_alpha_descends():
    """Only w's pass gets the detached result of mixture_for_w, which has w's loss."""
    seen = []

    class Odd(Relaxation):
        def mixture_for_w(self, mixture, loss, moment):
            assert not any(table.requires_grad for table in mixture.values())
            seen.append((loss(mixture), moment.step))
            return {k: torch.zeros_like(table) for k, table in mixture.items()}

        def alpha_loss(self, loss, alpha, space, moment):
            return loss + 7 * (1 + alpha["normal"].sum())

    usual, odd = _search(), _search(relaxation=Odd())
    for search in (usual, odd):
        search.supernet.train()
    train, valid = odd._batch(odd.train), odd._batch(odd.valid)
    odd.advance()
    usual.advance()
    (loss, step), *_ = seen
    assert step == 0 and loss.requires_grad is False
    # L_train at the mixture after alpha's step, by the weights before w's.
    fresh = _search()
    fresh.supernet.train()
    torch.testing.assert_close(
        loss, F.cross_entropy(fresh.supernet(train[0], odd.architecture.mixture()), train[1])
    )
    # Adam's first step goes by the sign: 7 outweighs the slope of any batch.
    assert (odd.architecture.logits["normal"] < 0).all()
    assert not (usual.architecture.logits["normal"] < 0).all()
    # No operation had a share in w's pass, so that the cells' convolutions were not moved by it.
    depthwise = next(p for p in odd.supernet.cells[0].edges.parameters())
    assert (
        not odd.w_optimizer.state[depthwise]["momentum_buffer"]
        .sub(odd.config.w_weight_decay * next(fresh.supernet.cells[0].edges.parameters()))
        .abs()
        .max()
        > 1e-6
    )
    assert valid is not None and odd.means["valid_loss"] == usual.means["valid_loss"]


def test_alpha_that_rests():
    class Resting(Relaxation):
        def moves_alpha(self, moment):
            return moment.step > 0

    for gradient in ("one_level", "first_order"):
        search = _search(gradient=gradient, relaxation=Resting(), alpha_lr=0.1)
        calls = _count_calls(search.supernet)
        search.advance()
        assert not any(alpha.any() for alpha in search.architecture.alpha)
        assert len(calls) == 10 * 8  # w's pass alone
        search.advance()
        assert all(alpha.any() for alpha in search.architecture.alpha)


@pytest.mark.parametrize("gradient", ["one_level", "first_order", "finite_difference"])
def test_what_alpha_descends_is_given_closed_logits_on_every_level(gradient):
    seen = []

    class Odd(Relaxation):
        def alpha_loss(self, loss, alpha, space, moment):
            seen.append(alpha["normal"].detach()[0].isinf().tolist())
            return loss + 7 * alpha["reduction"].sum()

    search = _search(gradient=gradient, relaxation=Odd(), alpha_lr=0.1)
    _closed(search)
    search.advance()
    assert seen == [[k in (0, 5) for k in range(8)]]
    assert (search.architecture.logits["reduction"] < 0).all()


def test_a_state_of_another_relaxation_is_refused():
    first, second = _search(relaxation="gdas"), _search(relaxation={"name": "gdas", "tau_to": 1.0})
    first.advance()
    state = first.state_dict()
    for other in (second, _search()):
        with pytest.raises(ValueError, match="another relaxation") as error:
            other.load_state_dict(state)
        assert is_one_sentence(error.value) and other.step == 0
    again = _search(relaxation="gdas")
    again.load_state_dict(state)
    assert again.step == 1


def test_draws_are_of_seed_and_step():
    drawn = [
        [float(torch.rand(1, generator=_search(seed=seed).moment.generator)) for _ in range(2)]
        for seed in (0, 1)
    ]
    assert drawn[0][0] == drawn[0][1] != drawn[1][0] == drawn[1][1]
    search = _search()
    first = float(torch.rand(1, generator=search.moment.generator))
    search.advance()
    assert first != float(torch.rand(1, generator=search.moment.generator))


def test_a_relaxation_after_the_last_step():
    """The gap and the size of a network are measured there, with the values of the last step."""
    search = _search(relaxation="gdas")
    for _ in search:
        pass
    assert search.moment.progress == 1 and search.moment.between(10.0, 0.1) == pytest.approx(0.1)
    with torch.no_grad():
        for alpha in search.architecture.alpha:
            alpha.zero_()[:, 3] = 8.0
    mixture = search.architecture.mixture(moment=search.moment)
    assert all((table.argmax(1) == 3).all() for table in mixture.values())


# Operations that are closed


def copies(search):
    return {name: alpha.detach().clone() for name, alpha in search.architecture.logits.items()}


def _closed(search, cell_type="normal", edge=0, operations=(0, 5)):
    search.architecture.open[cell_type][edge, list(operations)] = False
    search.prune()


def test_a_closed_operation_costs_nothing_and_has_no_share():
    search = _search(alpha_lr=0.1)
    _closed(search)
    calls = _count_calls(search.supernet)
    search.advance()
    assert len(calls) == 2 * (10 * 8 - 2)
    table = search.architecture.probabilities()["normal"][0]
    assert table[[0, 5]].tolist() == [0, 0]
    assert float(table.sum().detach()) == pytest.approx(1)
    names = search.architecture.space.operations
    with torch.no_grad():  # however large the logits of what is closed
        search.architecture.logits["normal"][0, [0, 5]] = 9.0
    kept = {name for name, source in search.architecture.derive().normal[0] if source == 0}
    assert len(kept) == 1 and not kept & {names[0], names[5]}


def test_closed_and_decided_logits_are_not_moved():
    """Not by a gradient, nor by weight decay or Adam's moments."""
    search = _search(alpha_lr=0.1, alpha_weight_decay=0.5, alpha_init_std=1.0, epochs=2)
    for _ in range(2):
        search.advance()
    _closed(search)
    _closed(search, "reduction", 3, range(1, 8))  # one is left: decided
    before = copies(search)
    for _ in range(3):
        search.advance()
    after = copies(search)
    rest = {k: torch.ones_like(table, dtype=torch.bool) for k, table in after.items()}
    rest["normal"][0, [0, 5]] = False
    rest["reduction"][3] = False
    for cell_type, table in after.items():
        assert ((table != before[cell_type]) == rest[cell_type]).all()
    assert search.architecture.probabilities()["reduction"][3].tolist() == [1] + [0] * 7


@pytest.mark.parametrize("relaxation", ["darts", "gdas", {"name": "pc_darts", "k": 2}])
def test_an_edge_that_is_closed_as_a_whole(relaxation):
    """It returns zeros, and nothing becomes nan."""
    search = _search(alpha_lr=0.1, relaxation=relaxation, gradient="finite_difference")
    _closed(search, "normal", 4, range(8))
    for _ in search:
        pass
    assert all(alpha.isfinite().all() for alpha in search.architecture.alpha)
    remembered = [t for s in search.alpha_optimizer.state.values() for t in s.values()]
    assert all(tensor.isfinite().all() for tensor in remembered)
    assert not search.architecture.probabilities()["normal"][4].any()
    assert {source for _, source in search.architecture.derive().normal[1]} == {0, 1}


def test_what_was_closed_can_be_opened_again():
    search, usual = _search(alpha_lr=0.1), _search(alpha_lr=0.1)
    _closed(search)
    search.architecture.open["normal"][:] = True
    search.prune()
    for one in (search, usual):
        for _ in one:
            pass
    for one, other in zip(search.architecture.alpha, usual.architecture.alpha, strict=True):
        assert torch.equal(one, other)


def test_what_is_closed_and_noted_is_part_of_the_state():
    class Noting(Relaxation):
        def after_step(self, search):
            assert search.step == search.notes.get("steps", 0) + 1  # the step is done
            search.notes["steps"] = torch.as_tensor(search.step)
            if search.step == 1:
                _closed(search)

    whole = _search(alpha_lr=0.1, epochs=2, relaxation=Noting())
    for _ in whole:
        pass
    first = _search(alpha_lr=0.1, epochs=2, relaxation=Noting())
    for _ in range(2):
        first.advance()
    state = first.state_dict()
    second = _search(alpha_lr=0.1, epochs=2, relaxation=Noting())
    second.load_state_dict(state)
    calls = _count_calls(second.supernet)
    second.advance()
    assert len(calls) == 2 * (10 * 8 - 2)
    for _ in second:
        pass
    assert second.notes["steps"] == whole.notes["steps"] == 6
    for one, other in zip(second.architecture.alpha, whole.architecture.alpha, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(second.w, whole.w, strict=True):
        assert torch.equal(one, other)


# Names and settings


def test_a_name_belongs_to_one_class():
    assert find("gdas") is GDAS and GDAS.name == "gdas" and Relaxation.name == "darts"

    class gdas(GDAS):  # called so, and not registered
        pass

    assert gdas.name not in ("gdas", "darts")

    with pytest.raises(ValueError, match="already") as error:

        class Other(Relaxation, name="gdas"):
            pass

    assert is_one_sentence(error.value) and find("gdas") is GDAS

    class Unnamed(GDAS):
        pass

    assert Unnamed.name != "gdas"  # or a run could go on with it that was begun without


def find(name):
    return type(read_relaxation(name))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("gdas", GDAS()),
        ({"name": "gdas", "tau_to": 0.5}, GDAS(tau_to=0.5)),
        (GDAS(tau_to=0.5), GDAS(tau_to=0.5)),
        ("darts", Relaxation()),
    ],
)
def test_settings_of_a_relaxation_go_to_json_and_back(given, expected):
    config = SearchConfig(relaxation=given)
    assert config.relaxation == expected and type(config.relaxation) is type(expected)
    again = SearchConfig(**json.loads(config.model_dump_json()))
    assert again == config and again.model_dump_json() == config.model_dump_json()
    assert config.model_dump()["relaxation"]["name"] == expected.name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gdsa", "no relaxation 'gdsa'"),
        ("os.path", "no relaxation"),
        (5, "no relaxation '5'"),
        ({"tau_to": 1}, "no relaxation 'None'"),
        ({"name": ["gdas"]}, "no relaxation"),
        ({"name": "gdas", "tau": 1}, "no setting 'tau'"),
        ({"name": "gdas", "tau_to": 0}, "greater than 0"),
        ({"name": "darts", "tau_to": 1}, "no setting 'tau_to'"),
        ({"name": "gdas", 5: 1}, "no setting '5'"),
        ({"name": "gdas", "self": 1}, "no setting 'self'"),
    ],
)
def test_a_relaxation_that_cannot_be(given, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        SearchConfig(relaxation=given)
    assert is_one_sentence(error.value)


def test_random_tables_of_these_tests_are_probabilities():
    for table in random_tables(SearchSpace(1)).values():
        torch.testing.assert_close(table.sum(-1), torch.ones(2, dtype=table.dtype))


def test_changed_settings_are_checked():
    config = SearchConfig(relaxation="gdas")
    assert config.changed(seed=3).relaxation == GDAS() and config.changed(seed=3).seed == 3
    assert config.changed(relaxation="darts") == SearchConfig()
    with pytest.raises(ValueError, match="no relaxation"):
        config.changed(relaxation="gdsa")

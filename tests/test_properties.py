"""Within the documented limits everything works, and beyond them everything is refused.

Spaces, genotypes and sizes are drawn by hypothesis: small ones, since the limits themselves
(`SearchSpace`, `Supernet`, `FinalNetwork`) need more memory than a test may take. What is drawn is
built, run forward and backward, derived from, and brought back from JSON.
"""

import json

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain import is_one_sentence
from torch.nn import functional as F

from dartslib.genotypes import Genotype, derive
from dartslib.networks import FinalNetwork
from dartslib.operations import OPERATIONS
from dartslib.relaxation import Architecture
from dartslib.searching import SearchConfig
from dartslib.space import CELL_TYPES, DARTS_OPERATIONS, MOST_NODES, REPORT_OPERATIONS, SearchSpace
from dartslib.supernet import Supernet, reduction_cells
from dartslib.training import TrainConfig

EXAMPLES = pytest.mark.parametrize("examples", [12, pytest.param(400, marks=pytest.mark.full)])
NAMES = st.sampled_from(REPORT_OPERATIONS)


@st.composite
def spaces(draw):
    """Any number of nodes, any operations in any order, but not only `none`."""
    names = draw(st.lists(NAMES, min_size=1, unique=True).filter(lambda names: names != ["none"]))
    return SearchSpace(draw(st.integers(1, 4)), tuple(names))


@st.composite
def genotypes(draw):
    """Any number of nodes, and of edges per node, even with none or twice from one input."""

    def cell():
        count = draw(st.integers(1, 4))
        edges = [
            st.lists(st.tuples(NAMES, st.integers(0, node + 1)), min_size=1, max_size=5)
            for node in range(count)
        ]
        return tuple(tuple(draw(some)) for some in edges)

    return Genotype(cell(), cell())


@st.composite
def networks(draw):
    """Sizes of a network, odd ones too, with at most as many reductions as the image allows."""
    size, layers = draw(st.integers(2, 17)), draw(st.integers(1, 4))
    cells = st.lists(st.integers(0, layers - 1), unique=True)
    reductions = draw(st.none() | cells.map(tuple))
    assume(size > 2 ** len(reduction_cells(layers, reductions)))
    return {
        "channels": draw(st.integers(1, 5)),
        "layers": layers,
        "num_classes": draw(st.integers(1, 5)),
        "head": draw(st.sampled_from(["linear", "linear", "linear", "mlp"])),
        "in_channels": draw(st.integers(1, 4)),
        "image_size": size,
        "reductions": reductions,
    }


def _batch(sizes, count):
    generator = torch.Generator().manual_seed(0)
    shape = (count, sizes["in_channels"], sizes["image_size"], sizes["image_size"])
    return torch.randn(shape, generator=generator), torch.arange(count) % sizes["num_classes"]


def _finite_gradients(loss, tensors):
    loss.backward()
    found = [tensor.grad for tensor in tensors if tensor.grad is not None]
    assert found and all(gradient.isfinite().all() for gradient in found)


@EXAMPLES
def test_every_space_and_size(examples):
    @settings(max_examples=examples)
    @given(space=spaces(), sizes=networks(), count=st.integers(1, 3), seed=st.integers(0, 99))
    def check(space, sizes, count, seed):
        torch.manual_seed(seed)
        images, labels = _batch(sizes, count)
        supernet, architecture = Supernet(space, **sizes), Architecture(space, init_std=1.0)
        scores = supernet(images, architecture.mixture())
        assert scores.shape == (count, sizes["num_classes"]) and scores.isfinite().all()
        _finite_gradients(F.cross_entropy(scores, labels), supernet.parameters())
        reducing = reduction_cells(sizes["layers"], sizes["reductions"])
        for cell_type in CELL_TYPES:  # alpha of a cell type that the network has
            used = (
                len(reducing) > 0 if cell_type == "reduction" else len(reducing) < sizes["layers"]
            )
            gradient = architecture.logits[cell_type].grad
            assert (gradient is not None) == used
            if used:
                assert gradient.shape == (len(space.edges), len(space.operations))
                assert gradient.isfinite().all()
        supernet.eval()
        assert supernet(images, architecture.mixture()).isfinite().all()

        for edges_per_node in (1, 2, 9):
            genotype = derive(architecture, edges_per_node=edges_per_node)
            for cell in (genotype.normal, genotype.reduction):
                assert [len(edges) for edges in cell] == [
                    min(edges_per_node, node + 2) for node in range(space.nodes)
                ]
                names = {name for edges in cell for name, _ in edges}
                assert names <= set(space.operations) - {"none"}
            assert Genotype.from_json(genotype.to_json()) == genotype
        _runs(genotype, sizes, count)

    check()


@EXAMPLES
def test_every_genotype_and_size(examples):
    @settings(max_examples=examples)
    @given(genotype=genotypes(), sizes=networks(), count=st.integers(1, 3), drop=st.booleans())
    def check(genotype, sizes, count, drop):
        assert Genotype.from_json(genotype.to_json()) == genotype
        assert Genotype.from_json(json.dumps(json.loads(genotype.to_json()))) == genotype
        _runs(genotype, sizes, count, drop_path=0.5 * drop)

    check()


def _runs(genotype, sizes, count, **options):
    images, labels = _batch(sizes, count)
    network = FinalNetwork(genotype, **sizes, **options)
    scores = network(images)
    assert scores.shape == (count, sizes["num_classes"]) and scores.isfinite().all()
    _finite_gradients(F.cross_entropy(scores, labels), network.parameters())
    network.eval()
    assert network(images).isfinite().all()


@EXAMPLES
def test_every_auxiliary_head(examples):
    @settings(max_examples=examples)
    @given(genotype=genotypes(), sizes=networks(), size=st.integers(7, 40), count=st.integers(2, 3))
    def check(genotype, sizes, size, count):
        sizes = sizes | {"image_size": size, "head": "linear"}
        reducing = reduction_cells(sizes["layers"], sizes["reductions"])
        assume(size > 2 ** len(reducing))
        passed = sum(cell <= 2 * sizes["layers"] // 3 for cell in reducing)
        if -(-size // 2**passed) < 8:
            _refused(lambda: FinalNetwork(genotype, **sizes, auxiliary=True))
            return
        network = FinalNetwork(genotype, **sizes, auxiliary=True)
        images, labels = _batch(sizes, count)
        scores = torch.stack(network(images))
        assert scores.shape == (2, count, sizes["num_classes"])
        loss = F.cross_entropy(scores.flatten(0, 1), labels.repeat(2))
        _finite_gradients(loss, network.parameters())

    check()


@EXAMPLES
def test_every_configuration_comes_back_from_json(examples):
    @settings(max_examples=5 * examples)
    @given(space=spaces(), sizes=networks(), seed=st.integers(0, 2**32 - 1), data=st.data())
    def check(space, sizes, seed, data):
        both = {name: sizes[name] for name in ("channels", "layers", "head", "reductions")}
        rate = data.draw(st.floats(0, exclude_min=True, allow_infinity=False))
        config = SearchConfig(
            nodes=space.nodes, operations=space.operations, w_lr=rate, seed=seed, **both
        )
        again = SearchConfig.model_validate_json(config.model_dump_json())
        assert again == config and again.space() == space
        assert again.model_dump_json() == config.model_dump_json()  # as checkpoints compare
        config = TrainConfig(lr=rate, seed=seed, **both)
        assert TrainConfig.model_validate_json(config.model_dump_json()) == config

    check()


def test_the_spaces_that_are_drawn_are_of_the_operations_that_there_are():
    assert set(REPORT_OPERATIONS) == set(DARTS_OPERATIONS) == set(OPERATIONS)


def test_the_limits_themselves():
    """What is cheap enough to be built at its limit."""
    assert len(SearchSpace(MOST_NODES).edges) == 560
    _runs(
        Genotype([[("skip_connect", 1)]] * MOST_NODES, [[("max_pool_3x3", 0)]]),
        {"channels": 1, "layers": 2, "num_classes": 2, "in_channels": 1, "image_size": 4}
        | {"reductions": (1,)},
        2,
    )


# Beyond the limits


def _refused(make):
    with pytest.raises(ValueError) as error:
        make()
    assert type(error.value) is ValueError and is_one_sentence(error.value), str(error.value)


def _outside(low, high):
    """Numbers that are no whole number from low to high."""
    return st.one_of(
        st.integers(max_value=low - 1),
        st.integers(high + 1, 10**300),
        st.floats(),
        st.none(),
    )


@EXAMPLES
@pytest.mark.parametrize("name", ["channels", "layers"])
def test_a_size_beyond_its_limits_is_refused(name, examples):
    @settings(max_examples=3 * examples)
    @given(value=_outside(1, 1000 if name == "layers" else 4096))
    def check(value):
        assume(not (isinstance(value, float) and value.is_integer()))  # 3.0 is 3
        _refused(lambda: SearchConfig(**{name: value}))
        _refused(lambda: TrainConfig(**{name: value}))

    check()


@EXAMPLES
def test_nodes_beyond_their_limits_are_refused(examples):
    @settings(max_examples=3 * examples)
    @given(nodes=_outside(1, MOST_NODES), more=st.integers(MOST_NODES + 1, 200))
    def check(nodes, more):
        _refused(lambda: SearchSpace(nodes))
        cell = [[["none", 0]]] * more
        text = json.dumps(
            {"format": "dartslib-genotype", "version": 1} | dict.fromkeys(CELL_TYPES, cell)
        )
        _refused(lambda: Genotype.from_json(text))

    check()


@EXAMPLES
def test_more_reductions_than_the_image_can_bear_are_refused(examples):
    space, genotype = SearchSpace(1, ("skip_connect",)), Genotype([[("none", 0)]], [[("none", 0)]])

    @settings(max_examples=3 * examples)
    @given(size=st.integers(2, 64), layers=st.integers(1, 12), data=st.data())
    def check(size, layers, data):
        cells = data.draw(st.sets(st.integers(0, layers - 1)))
        assume(size <= 2 ** len(cells))
        sizes = {"channels": 1, "layers": layers, "image_size": size, "reductions": tuple(cells)}
        _refused(lambda: Supernet(space, **sizes))
        _refused(lambda: FinalNetwork(genotype, **sizes))

    check()


@EXAMPLES
def test_an_unknown_operation_is_refused_wherever_it_stands(examples):
    @settings(max_examples=examples)
    @given(genotype=genotypes(), sizes=networks(), data=st.data())
    def check(genotype, sizes, data):
        name = data.draw(st.text().filter(lambda name: name not in OPERATIONS))
        cell_type = data.draw(st.sampled_from(CELL_TYPES))
        nodes = [list(edges) for edges in genotype.cell(cell_type)]
        edges = data.draw(st.sampled_from(nodes))
        edges.insert(data.draw(st.integers(0, len(edges))), (name, 0))
        cells = {kind: genotype.cell(kind) for kind in CELL_TYPES} | {cell_type: nodes}
        both = sizes | {"layers": 2, "reductions": (1,), "image_size": 8}  # cells of both types
        _refused(lambda: FinalNetwork(Genotype(**cells), **both))
        _refused(lambda: Supernet(SearchSpace(1, ("none", "skip_connect", name)), **sizes))
        _refused(lambda: SearchConfig(operations=("skip_connect", name)))

    check()

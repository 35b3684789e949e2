"""The supernet against a second forward pass, an operation at a time; its size."""

import pytest
import torch
from plain import Plain, is_one_sentence, random_tables, reducing
from torch.nn import functional as F

from dartslib.relaxation import Architecture
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.space import DARTS_OPERATIONS, SearchSpace
from dartslib.supernet import Supernet, classifier, reduction_cells

# space, channels, layers, in_channels, image size, head, reductions
CASES = {
    "report": (SearchSpace.report(), 3, 3, 3, 8, "linear", None),
    "paper, odd and grey": (SearchSpace.darts(), 2, 3, 1, 13, "linear", None),
    "report, MLP, grey": (SearchSpace.report(), 2, 2, 1, 28, "mlp", (1,)),
    "MLP, odd": (SearchSpace(1, DARTS_OPERATIONS), 2, 3, 3, 9, "mlp", (0, 2)),
    "paper, 64 pixels": (SearchSpace.darts(), 1, 2, 3, 64, "linear", (0, 1)),
    "no reduction": (SearchSpace(2), 3, 1, 3, 9, "linear", ()),
}


def _supernet(space, channels, layers, in_channels, size, head, reductions):
    torch.manual_seed(0)
    net = Supernet(
        space,
        channels=channels,
        layers=layers,
        num_classes=5,
        head=head,
        in_channels=in_channels,
        image_size=size,
        reductions=reductions,
    )
    return net.double()


def _logits(space, seed=3):
    generator = torch.Generator().manual_seed(seed)
    architecture = Architecture(space, init_std=1.0, generator=generator, dtype=torch.float64)
    return architecture


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outputs_and_gradients(case, training):
    space, _, layers, in_channels, size, _, reductions = case
    net, architecture = _supernet(*case), _logits(space)
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(2, in_channels, size, size, generator=generator, dtype=torch.float64)
    labels = torch.tensor([1, 4])
    if not training:  # running statistics of their own before they are used
        for _ in range(2):
            net(images + 0.1, architecture.mixture())
    net.train(training)
    buffers = [buffer.clone() for buffer in net.buffers()]

    scores = net(images, architecture.mixture())
    plain = Plain(net.parameters(), buffers, searching=True, training=training)
    tables = {name: alpha.softmax(-1) for name, alpha in architecture.logits.items()}
    cells = reducing(layers, reductions)
    expected = plain.supernet(images, tables, space, layers, cells)
    assert plain.finished()
    assert scores.shape == (2, 5)
    torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-10)
    statistics = plain.moved if training else buffers
    torch.testing.assert_close(list(net.buffers()), statistics, rtol=1e-10, atol=1e-10)

    inputs = [*architecture.alpha, *net.parameters()]
    ours, theirs = (
        torch.autograd.grad(F.cross_entropy(output, labels), inputs, materialize_grads=True)
        for output in (scores, expected)
    )
    for gradient, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-10, atol=1e-10)
    assert architecture.logits["normal"].shape == (len(space.edges), len(space.operations))
    # A cell type that the network lacks has no gradient, and the others have one.
    assert [bool(gradient.any()) for gradient in ours[:2]] == [len(cells) < layers, len(cells) > 0]


def test_the_papers_search_network_has_1930618_weights():
    with torch.device("meta"):
        assert count_weights(Supernet(SearchSpace.darts())) == 1_930_618


def test_weights_of_the_report_head():
    # Figure of the report: 8 cells of 3 nodes, 64 channels at the end, on 8 x 8 pixels.
    flat = 3 * 64 * 8 * 8
    sizes = [flat, 2048, 1024, 256, 10]
    mlp = sum(a * b + b for a, b in zip(sizes, sizes[1:], strict=False))
    assert mlp == 27_531_018
    with torch.device("meta"):
        net = Supernet(SearchSpace.report(), head="mlp")
        linear = Supernet(SearchSpace.report(), head="linear")
    assert count_weights(net.head) == mlp
    assert count_weights(net) - count_weights(linear) == mlp - (3 * 64 * 10 + 10)


@pytest.mark.parametrize("size", range(8, 65, 7))
@pytest.mark.parametrize("in_channels", [1, 3])
def test_every_image_size(size, in_channels):
    # Shapes only, without computing: the MLP head must meet the map it was built for.
    space = SearchSpace(1, ("skip_connect", "max_pool_3x3"))
    with torch.device("meta"):
        for head in ("linear", "mlp"):
            net = Supernet(
                space,
                channels=2,
                layers=3,
                num_classes=10,
                head=head,
                in_channels=in_channels,
                image_size=size,
            )
            tables = Architecture(space, device="meta").mixture()
            assert net(torch.zeros(2, in_channels, size, size), tables).shape == (2, 10)


@pytest.mark.parametrize(
    ("layers", "reductions", "expected"),
    [(8, None, {2, 5}), (14, None, {4, 9}), (20, None, {6, 13}), (5, None, {1, 3}), (1, None, {0})]
    + [(5, (), set()), (5, (4,), {4}), (3, (0, 1, 2), {0, 1, 2})],
)
def test_which_cells_reduce(layers, reductions, expected):
    assert reduction_cells(layers, reductions) == expected
    net = Supernet(
        SearchSpace(1, ("skip_connect",)), channels=2, layers=layers, reductions=reductions
    )
    assert {k for k, cell in enumerate(net.cells) if cell.cell_type == "reduction"} == expected


def test_only_edges_from_the_inputs_stride():
    space = SearchSpace(2, ("max_pool_3x3",))
    net = Supernet(space, channels=2, layers=1, reductions=(0,))
    strides = [edge.operations[0][0].stride for edge in net.cells[0].edges]
    assert space.edges == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert strides == [2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": 0},
        {"layers": 3, "reductions": (3,)},
        {"layers": 3, "reductions": (-1,)},
        {"head": "resnet"},
    ],
)
def test_bad_input(wrong):
    with pytest.raises(ValueError) as error, torch.device("meta"):
        Supernet(SearchSpace(1, ("skip_connect",)), channels=2, **wrong)
    assert is_one_sentence(error.value)


def test_the_mean_of_the_linear_head_takes_any_map():
    head = classifier("linear", 4, 8, 10, width=0)
    x = torch.randn(2, 4, 5, 7)
    torch.testing.assert_close(head(x), head[2](x.mean(dim=(2, 3))))


def test_multiply_adds_of_a_supernet():
    # Stem 3 x 3 from 3 to 6 channels, two 1 x 1 from 6 to 2, two edges of a dil_conv, linear.
    space = SearchSpace(1, ("dil_conv_3x3",))
    net = Supernet(space, channels=2, layers=1, reductions=(), image_size=8)
    pixels = 64
    expected = pixels * (3 * 6 * 9 + 2 * (6 * 2) + 2 * (2 * 9 + 2 * 2)) + 2 * 10
    tables = random_tables(space, dtype=torch.float32)
    assert count_multiply_adds(net, 3, 8, 8, mixture=tables) == expected

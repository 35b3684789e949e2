"""The final network against a second forward pass; its size and cost against formulas."""

import pytest
import torch
from plain import Plain, is_one_sentence, reducing
from torch import nn

from dartslib.genotypes import DARTS_V1, DARTS_V2, PUBLISHED, Genotype
from dartslib.networks import (
    AuxiliaryHead,
    DerivedCell,
    FinalNetwork,
    drop_paths,
)
from dartslib.operations import build
from dartslib.runs.cost import count_multiply_adds, count_weights
from dartslib.space import DARTS_OPERATIONS
from dartslib.supernet import Place, reduction_cells

ALL = Genotype(  # every operation, one to four edges a node, an input read twice
    normal=(
        tuple((name, k % 2) for k, name in enumerate(DARTS_OPERATIONS[:4])),
        (("sep_conv_3x3", 0), ("sep_conv_5x5", 2)),
        (("dil_conv_3x3", 3), ("dil_conv_5x5", 0), ("dil_conv_5x5", 0)),
    ),
    reduction=(
        (("skip_connect", 0), ("skip_connect", 1)),
        (("max_pool_3x3", 0), ("avg_pool_3x3", 2), ("none", 1)),
    ),
)

# genotype, channels, layers, in_channels, image size, head, reductions, auxiliary head
CASES = {
    "paper": (DARTS_V2, 2, 3, 3, 8, "linear", None, False),
    "every operation, odd and grey": (ALL, 2, 4, 1, 13, "linear", None, False),
    "MLP, odd": (ALL, 2, 3, 3, 9, "mlp", (0, 2), False),
    "no reduction": (DARTS_V1, 3, 1, 3, 10, "linear", (), False),
    "auxiliary head": (DARTS_V1, 2, 4, 3, 16, "linear", (1,), True),
    "auxiliary head, MLP, odd": (ALL, 2, 2, 3, 23, "mlp", (1,), True),
}


def _images(channels=3, size=8, images=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(images, channels, size, size, generator=generator, dtype=torch.float64)


def _uneven(network):
    """Random scales and shifts of BatchNorm, so that no mistake can hide."""
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outputs_and_gradients(case, training):
    genotype, channels, layers, in_channels, size, head, reductions, auxiliary = case
    torch.manual_seed(0)
    network = FinalNetwork(
        genotype,
        channels=channels,
        layers=layers,
        num_classes=5,
        head=head,
        auxiliary=auxiliary,
        in_channels=in_channels,
        image_size=size,
        reductions=reductions,
    )
    network = _uneven(network.double()).train(training)
    images, buffers = _images(in_channels, size), [b.clone() for b in network.buffers()]
    plain = Plain(network.parameters(), buffers, searching=False, training=training)
    expected = plain.final(
        images,
        genotype,
        layers,
        reducing(layers, reductions),
        2 * layers // 3 if auxiliary else None,
    )
    assert plain.finished()
    found = network(images)
    if auxiliary and training:
        assert found[0].shape == found[1].shape == (3, 5)
    else:  # one result without that head, and in evaluation
        found, expected = (found,), expected[:1]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    statistics = plain.moved if training else buffers
    torch.testing.assert_close(list(network.buffers()), statistics, rtol=1e-10, atol=1e-10)
    ours, theirs = (
        torch.autograd.grad(
            sum(scores.square().sum() for scores in outputs),
            list(network.parameters()),
            materialize_grads=True,  # the auxiliary head has none in evaluation
        )
        for outputs in (found, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


# Sizes, against published numbers and formulas


def _count(*arguments, **options):
    with torch.device("meta"):
        return count_weights(FinalNetwork(*arguments, **options))


def test_published_sizes():
    assert _count(DARTS_V2, channels=36, layers=20) == 3_349_342
    assert _count(DARTS_V2, channels=16, layers=14) == 478_394
    assert _count(DARTS_V2, channels=36, layers=20, auxiliary=True) - 3_349_342 == 476_426


# With 36 channels and 20 cells, as in the papers, which give it in millions; with 16 and 14.
PUBLISHED_WEIGHTS = {
    "DARTS_V1": (3_169_414, 451_962),
    "DARTS_V2": (3_349_342, 478_394),
    "P_DARTS": (3_433_798, 514_682),
    "PC_DARTS": (3_634_678, 561_978),
    "GDAS_V1": (3_368_782, 537_306),
    "SGAS_1": (3_795_166, 573_082),
    "SGAS_2": (4_094_110, 603_994),
    "SDARTS_RS": (3_606_166, 540_570),
    "SDARTS_ADV": (3_344_806, 497_146),
    "DRNAS": (4_099_294, 629_882),
    "OLES": (4_222_414, 625_146),
}


@pytest.mark.parametrize("name", PUBLISHED_WEIGHTS)
def test_published_weights(name):
    with torch.device("meta"):
        found = tuple(
            _count(PUBLISHED[name], channels=channels, layers=layers)
            for channels, layers in ((36, 20), (16, 14))
        )
    assert found == PUBLISHED_WEIGHTS[name]


def test_size_of_the_auxiliary_head():
    c = 4 * 4 * 36
    expected = c * 128 + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 768 * 10 + 10
    assert expected == 476_426
    assert count_weights(AuxiliaryHead(c, 8, 10)) == expected


def test_size_of_the_reports_head():
    # 14 cells of 3 nodes, 64 channels at the end, on 8 x 8 pixels, 4096 first.
    genotype = Genotype(DARTS_V2.normal[:3], DARTS_V2.reduction[:3])
    sizes = [3 * 64 * 64, 4096, 1024, 256, 10]
    head = sum(a * b + b for a, b in zip(sizes, sizes[1:], strict=False))
    assert head == 54_796_042
    linear = 3 * 64 * 10 + 10
    by_head = [_count(genotype, channels=16, layers=14, head=kind) for kind in ("mlp", "linear")]
    assert by_head[0] - by_head[1] == head - linear


def test_the_report_alternates_four_normal_cells_and_a_reduction():
    assert reduction_cells(14) == {4, 9}


def test_multiply_adds_of_a_cell():
    """A normal cell of 4 channels on 6 x 6 pixels, by hand."""
    nodes = ((("sep_conv_5x5", 0), ("dil_conv_3x3", 1)), (("max_pool_3x3", 2), ("skip_connect", 0)))
    cell = DerivedCell(nodes, Place(10, 8, 4, 6, False, False))
    adjusting = 10 * 4 + 8 * 4
    sep = 2 * (25 * 4 + 4 * 4)  # depthwise and pointwise, twice
    dil = 9 * 4 + 4 * 4
    last = torch.zeros(1, 8, 6, 6)
    assert count_multiply_adds(cell, 10, 6, 6, last=last) == 36 * (adjusting + sep + dil)
    assert count_weights(cell) == adjusting + sep + dil + 2 * (4 + 4 + 4 * 2 + 4)


def test_multiply_adds_of_a_reduction_cell_after_a_reduction():
    """c_{k-2} on 12 x 12, c_{k-1} on 6 x 6, result on 3 x 3."""
    nodes = ((("sep_conv_3x3", 0), ("skip_connect", 1)),)
    cell = DerivedCell(nodes, Place(10, 8, 4, 3, True, True))
    adjusting = 36 * (10 * 2 + 10 * 2 + 8 * 4)
    sep = 9 * 2 * (9 * 4 + 4 * 4)  # both halves after the stride
    skip = 9 * (4 * 2 + 4 * 2)
    last = torch.zeros(1, 8, 6, 6)
    assert count_multiply_adds(cell, 10, 12, 12, last=last) == adjusting + sep + skip


def test_multiply_adds_of_a_network():
    genotype = Genotype(((("skip_connect", 0),),), ((("max_pool_3x3", 1),),))
    network = FinalNetwork(
        genotype, channels=4, layers=3, num_classes=10, reductions=(1,), image_size=8
    )
    stem = 64 * 3 * 12 * 9
    # adjusted inputs: both from 12 on 8 x 8; then 12 and 4 on 8 x 8; then, halved, 4 and 8 on 4 x 4
    cells = 64 * 2 * 12 * 4 + 64 * (12 * 8 + 4 * 8) + 16 * (4 * 8 + 8 * 8)
    network.train()
    assert count_multiply_adds(network, 3, 8, 8) == stem + cells + 8 * 10
    assert network.training
    assert count_multiply_adds(build("max_pool_3x3", 4), 4, 8, 8) == 0  # has no weight at all


def test_the_auxiliary_head_costs_nothing_at_the_end():
    with_, without = (
        FinalNetwork(
            DARTS_V1, channels=2, layers=3, num_classes=10, auxiliary=value, reductions=(2,)
        )
        for value in (1, 0)
    )
    assert count_multiply_adds(with_, 3, 16, 16) == count_multiply_adds(without, 3, 16, 16)


# Drop path


def test_drop_path_drops_whole_samples_and_keeps_the_expectation():
    x = torch.rand(4000, 2, 3, 3, dtype=torch.float64) + 0.5
    out = drop_paths(x, 0.3, torch.Generator().manual_seed(0))
    share = (out / x).flatten(1)
    kept = share[:, 0] > 0
    assert torch.equal(share > 0, kept[:, None].expand_as(share))
    torch.testing.assert_close(share[kept], torch.full_like(share[kept], 1 / 0.7))
    assert abs(kept.double().mean() - 0.7) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert torch.equal(drop_paths(x, 0.0, None), x)


class _Mark(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full_like(x, self.value)


def test_identities_are_never_dropped():
    # A node of an identity (of ones) and of another operation (of tens).
    nodes = ((("skip_connect", 0), ("max_pool_3x3", 1)),)
    cell = DerivedCell(nodes, Place(2, 2, 2, 6, False, False))
    cell.adjust_before, cell.adjust_last = _Mark(1.0), nn.Identity()
    cell.nodes[0][1] = _Mark(10.0)
    x = torch.zeros(500, 2, 2, 2)
    out = cell(x, x, 0.5, torch.Generator().manual_seed(0))
    assert set(out.unique().tolist()) == {1.0, 1.0 + 10 / 0.5}
    assert set(cell(x, x).unique().tolist()) == {11.0}


def test_a_skip_connection_with_stride_is_dropped():
    # It has weights, so it is no identity; the paper's code drops it, too.
    nodes = ((("skip_connect", 0),),)
    cell = DerivedCell(nodes, Place(2, 2, 2, 3, True, False))
    x = torch.randn(100, 2, 4, 4)
    out = cell(x, x, 0.5, torch.Generator().manual_seed(0))
    assert 20 < (out.flatten(1).abs().sum(1) == 0).sum() < 80


def test_drop_path_is_for_training_only():
    network = FinalNetwork(
        DARTS_V1, channels=2, layers=3, num_classes=10, drop_path=0.5, reductions=(1,)
    ).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x), network(x))
    network.train()
    network.generator = torch.Generator().manual_seed(0)
    first = network(x)
    network.generator.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(network(x), first)
    assert not torch.equal(network(x), first)
    assert torch.equal(torch.get_rng_state(), state)


# The auxiliary head


@pytest.mark.parametrize("size", [8, 9, 12, 16, 32])
def test_the_auxiliary_head_on_larger_maps(size):
    head = AuxiliaryHead(4, size, 10)
    assert head(torch.randn(3, 4, size, size)).shape == (3, 10)


def test_the_auxiliary_head_on_smaller_maps():
    with pytest.raises(ValueError, match="auxiliary=0") as error:
        FinalNetwork(DARTS_V1, channels=2, layers=3, num_classes=10, auxiliary=True, image_size=28)
    assert is_one_sentence(error.value)


# What else it is told


def test_another_number_of_classes():
    # Transfer: the same cells, another head.
    ten, hundred = (
        FinalNetwork(DARTS_V2, channels=2, layers=3, num_classes=classes, reductions=(1,))
        for classes in (10, 100)
    )
    assert hundred(torch.zeros(2, 3, 8, 8)).shape == (2, 100)
    shapes = [
        {n: p.shape for n, p in net.named_parameters() if not n.startswith("head")}
        for net in (ten, hundred)
    ]
    assert shapes[0] == shapes[1]


def test_a_genotype_with_an_unknown_operation():
    with pytest.raises(ValueError, match="sep_conv_7x7") as error:
        FinalNetwork(
            Genotype([[("sep_conv_7x7", 0)]], DARTS_V1.reduction),
            channels=2,
            layers=2,
            reductions=(),
        )
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_a_drop_path_that_is_no_probability(probability):
    with pytest.raises(ValueError) as error:
        FinalNetwork(DARTS_V1, channels=2, layers=2, drop_path=probability)
    assert is_one_sentence(error.value)

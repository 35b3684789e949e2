"""Every operation against a second calculation, and the registry."""

from math import ceil

import pytest
import torch
from plain import Noise, Plain, is_one_sentence
from torch import nn
from torch.nn import functional as F

from dartslib import operations
from dartslib.genotypes import Genotype
from dartslib.networks import FinalNetwork
from dartslib.operations import FactorizedReduce, build, conv_bn, register
from dartslib.searching import Search, SearchConfig
from dartslib.space import DARTS_OPERATIONS, REPORT_OPERATIONS, SearchSpace
from dartslib.supernet import Supernet

SIZES = [(8, 8), (7, 7), (9, 6), (1, 2)]


def _maps(channels=4, size=(8, 8), images=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, channels, *size, generator=generator, dtype=torch.float64)


def _shuffled(module, seed=1):
    """With random affine parameters and running statistics, so that no mistake can hide."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
            if layer.affine:
                layer.weight.data.uniform_(0.5, 2.0, generator=generator)
                layer.bias.data.normal_(generator=generator)
    return module


def test_the_report_and_the_paper_have_the_same_operations():
    assert sorted(REPORT_OPERATIONS) == sorted(DARTS_OPERATIONS)
    assert set(DARTS_OPERATIONS) <= set(operations.OPERATIONS)


@pytest.mark.parametrize("searching", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", DARTS_OPERATIONS)
def test_operation(name, stride, searching):
    module = _shuffled(build(name, 4, stride, searching))
    for size in SIZES:
        x = _maps(4, size)
        for training in (False, True):  # training last: it moves the running statistics
            module.train(training)
            plain = Plain(module.parameters(), list(module.buffers()), searching, training)
            expected = plain.operation(name, x, stride)
            assert expected.shape == (3, 4, ceil(size[0] / stride), ceil(size[1] / stride))
            assert plain.finished()
            torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)
            if training:
                torch.testing.assert_close(list(module.buffers()), plain.moved)


@pytest.mark.parametrize("name", DARTS_OPERATIONS)
@pytest.mark.parametrize("stride", [1, 2])
def test_batch_norm_has_a_scale_only_in_the_final_network(name, stride):
    def norms(searching):
        modules = build(name, 4, stride, searching).modules()
        return [module for module in modules if isinstance(module, nn.BatchNorm2d)]

    assert not any(norm.affine for norm in norms(True))
    assert all(norm.affine for norm in norms(False))
    if "pool" in name:
        assert len(norms(True)) == 1 and not norms(False)
    for searching in (True, False):
        modules = build(name, 4, stride, searching).modules()
        assert not any(isinstance(m, nn.Conv2d) and m.bias is not None for m in modules)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("sep_conv_3x3", (9, 9)),
        ("sep_conv_5x5", (25, 25)),
        ("dil_conv_3x3", (9,)),
        ("dil_conv_5x5", (25,)),
    ],
)
def test_weights_of_convolutions(name, kernels, stride):
    c = 6
    counts = [p.numel() for p in build(name, c, stride).parameters()]
    assert counts == [n for taps in kernels for n in (taps * c, c * c)]


def test_average_pool_leaves_out_the_padding():
    # A map of ones stays one, at the border too; with counted padding a corner would be 4/9.
    pool = build("avg_pool_3x3", 2, 1, searching=False)
    assert torch.equal(pool(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 5, 5))


def test_max_pool_does_not_see_the_padding():
    pool = build("max_pool_3x3", 2, 2, searching=False)
    assert torch.equal(pool(-torch.ones(1, 2, 5, 5)), -torch.ones(1, 2, 3, 3))


@pytest.mark.parametrize("size", [(8, 8), (2, 6)])
def test_factorized_reduce_is_the_classical_one_on_even_sizes(size):
    reduce = _shuffled(FactorizedReduce(4, 6, searching=True))
    x = _maps(4, size)
    positive = F.relu(x)
    halves = [
        F.conv2d(positive, reduce.even.weight, stride=2),
        F.conv2d(positive[:, :, 1:, 1:], reduce.odd.weight, stride=2),
    ]
    expected = F.batch_norm(torch.cat(halves, dim=1), None, None, training=True)
    torch.testing.assert_close(reduce(x), expected)


@pytest.mark.parametrize("size", [(7, 7), (5, 8), (1, 1)])
def test_factorized_reduce_on_odd_sizes_and_odd_channels(size):
    reduce = FactorizedReduce(4, 5, searching=False).double().eval()
    x = _maps(4, size)
    plain = Plain(reduce.parameters(), list(reduce.buffers()), searching=False, training=False)
    torch.testing.assert_close(reduce(x), plain.factorized_reduce(x))
    assert reduce(x).shape == (3, 5, ceil(size[0] / 2), ceil(size[1] / 2))


def test_factorized_reduce_reads_two_grids():
    # Each output pixel depends on the pixels (2i, 2j) and (2i + 1, 2j + 1), and on no other.
    reduce = FactorizedReduce(1, 2, searching=True).double().eval()
    x = (_maps(1, (6, 6), images=1).abs() + 0.1).requires_grad_()
    reduce(x)[0, :, 1, 2].abs().sum().backward()
    assert {tuple(place) for place in x.grad[0, 0].nonzero().tolist()} == {(2, 4), (3, 5)}


def test_no_pointwise_convolution_has_a_stride():
    """For one, oneDNN's weight gradient writes outside its memory on AVX2, see FactorizedReduce."""
    modules = [FactorizedReduce(4, 4, searching=False), conv_bn(4, 4, 1, 2, searching=False)]
    modules += [build(name, 4, 2) for name in operations.OPERATIONS]
    convolutions = [m for top in modules for m in top.modules() if isinstance(m, nn.Conv2d)]
    pointwise = [m for m in convolutions if m.kernel_size == (1, 1)]
    assert len(pointwise) > 5 and all(m.stride == (1, 1) for m in pointwise)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_a_stride_before_a_pointwise_convolution_is_the_same(size):
    module = _shuffled(conv_bn(4, 6, 1, 2, searching=False)).eval()
    *_, convolution, norm = module
    x = _maps(4, size)
    torch.testing.assert_close(
        module(x), norm(F.conv2d(F.relu(x), convolution.weight, stride=2)), rtol=0, atol=1e-12
    )


def test_zero_passes_no_gradient_and_no_nan():
    x = torch.full((1, 2, 4, 4), float("nan"), requires_grad=True)
    assert torch.equal(build("none", 2, 2)(x), torch.zeros(1, 2, 2, 2))


# The registry


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(operations, "OPERATIONS", dict(operations.OPERATIONS))


def test_an_operation_of_ones_own(registry):
    @register("conv_1x1")
    def conv_1x1(channels, stride, searching):
        return conv_bn(channels, channels, 1, stride, searching=searching)

    config = SearchConfig(
        nodes=1,
        operations=("conv_1x1", "none"),
        layers=2,
        reductions=(1,),
        channels=2,
        head="linear",
        epochs=1,
    )
    search = Search(config, Noise(), Noise(seed=1), image_size=8)
    for _ in search:
        pass
    genotype = search.architecture.derive()
    assert genotype.normal == ((("conv_1x1", 0), ("conv_1x1", 1)),) or genotype.normal == (
        (("conv_1x1", 1), ("conv_1x1", 0)),
    )
    network = FinalNetwork(
        Genotype.from_json(genotype.to_json()), channels=2, layers=2, num_classes=10
    )
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_a_name_that_is_taken(registry):
    with pytest.raises(ValueError, match="'skip_connect'") as error:
        register("skip_connect")(lambda channels, stride, searching: nn.Identity())
    assert is_one_sentence(error.value)
    assert isinstance(build("skip_connect", 2), nn.Identity)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="sep_conv_9x9.*sep_conv_5x5") as error:
        build("sep_conv_9x9", 4)
    assert is_one_sentence(error.value)


# What an operation of one's own must keep to


class _Does(nn.Module):
    """A function as a module; the convolution gives it weights."""

    def __init__(self, function, channels=1):
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.function(x)


def _own(function):
    return lambda channels, stride, searching: _Does(function, channels)


def _convolution(*sizes, **options):
    return lambda channels, stride, searching: nn.Sequential(
        nn.ReLU(), nn.Conv2d(channels, channels, *sizes, stride=stride, **options)
    )


def _inside(channels, stride, searching):
    """A bottleneck with few channels in the middle."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, 1, 1), nn.Conv2d(4, channels, 1, stride, bias=False)
    )


INPUT = "must leave its input as it is"
WRONG = {  # channels, stride, builder, words
    "a ReLU in place": (4, 1, lambda *_: nn.ReLU(inplace=True), INPUT),
    "in place, then a convolution": (4, 2, lambda c, s, _: nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(c, c, 3, s, 1)), INPUT),
    "mul_": (4, 1, _own(lambda x: x.mul_(2)), INPUT),
    "relu_": (4, 1, _own(lambda x: F.relu_(x)), INPUT),
    "a part of it": (4, 1, _own(lambda x: x[:, :1].zero_() + x), INPUT),
    "a dropout, which does so in training alone": (4, 1, lambda *_: nn.Dropout(inplace=True),
                                                   INPUT),
    "the stride ignored": (4, 2, lambda c, s, _: nn.Conv2d(c, c, 3, 1, 1),
                           r"must return \(2, 4, 4, 4\)"),
    "the identity at a stride": (4, 2, lambda *_: nn.Identity(), "must return"),
    "rounded down": (4, 2, lambda *_: nn.AvgPool2d(2, 2), r"must return .*\(2, 4, 7, 7\)"),
    "no padding": (4, 1, lambda c, s, _: nn.Conv2d(c, c, 3), r"not \(2, 4, 6, 6\)"),
    "a gate over channels": (4, 1, _own(lambda x: x.mean((2, 3), keepdim=True)), "must return"),
    "a gate over pixels": (4, 1, _own(lambda x: x.mean(1, keepdim=True)), "must return"),
    "other channels": (4, 1, lambda c, s, _: nn.Conv2d(c, 2 * c, 1), "must return"),
    "one image": (4, 1, _own(lambda x: x[:1]), "must return"),
    "it stops": (4, 1, _own(lambda x: x @ x.new_ones(3, 3)), "cannot run on"),
    "other channels expected": (4, 1, lambda *_: nn.Conv2d(3, 3, 1), "cannot run on"),
    "no tensor": (4, 1, _own(lambda x: (x, x)), "cannot run on"),
    "a pointwise convolution": (4, 2, _convolution(1), "conv_bn"),
    "a pointwise convolution inside": (16, 2, _inside, "conv_bn"),
}  # fmt: skip
FINE = {
    "in place on what is its own": (4, 2, lambda c, s, _: nn.Sequential(
        nn.Conv2d(c, c, 3, s, 1), nn.ReLU(inplace=True))),
    "the identity": (4, 1, lambda *_: nn.Identity()),
    "a view": (4, 2, _own(lambda x: x[:, :, ::2, ::2])),
    "a gate that is applied": (4, 1, _own(lambda x: x * x.mean((2, 3), keepdim=True))),
    "many channels": (8, 2, _convolution(1)),
    "depthwise": (4, 2, _convolution(1, groups=4)),
    "no stride": (4, 1, _convolution(1)),
    "a stride before it": (4, 2, lambda c, s, _: nn.Sequential(
        nn.AvgPool2d(1, s), nn.Conv2d(c, c, 1))),
    "conv_bn": (4, 2, lambda c, s, searching: conv_bn(c, c, 1, s, searching=searching)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_operation_that_would_spoil_others_is_refused(registry, name):
    channels, stride, builder, words = WRONG[name]
    register("own")(builder)
    with pytest.raises(ValueError, match=f"The operation 'own'.*{words}") as error:
        build("own", channels, stride)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("name", FINE)
def test_an_operation_that_keeps_to_it_is_built(registry, name):
    channels, stride, builder = FINE[name]
    register("own")(builder)
    build("own", channels, stride)


def test_a_network_refuses_it_too(registry):
    register("own")(lambda *_: nn.ReLU(inplace=True))
    space = SearchSpace(1, ("own", "skip_connect"))
    with pytest.raises(ValueError, match=f"'own'.*{INPUT}"):
        Supernet(space, channels=2, layers=1, reductions=())
    cell = ((("own", 0), ("skip_connect", 1)),)
    with pytest.raises(ValueError, match=f"'own'.*{INPUT}"):
        FinalNetwork(Genotype(cell, cell), channels=2, layers=3)


class _Restless(nn.Module):
    """Draws and counts wherever it can."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(channels), nn.Dropout()
        self.generator, self.calls = torch.Generator("cpu"), 0
        self.frozen = nn.BatchNorm2d(channels).eval()

    def forward(self, x):
        self.calls += 1
        if not x.is_meta:
            x = x + torch.rand((), generator=self.generator)
        return self.frozen(self.norm(self.drop(x))) + torch.randn_like(x)


def test_the_look_at_an_operation_leaves_no_trace(registry):
    register("own")(lambda channels, stride, searching: _Restless(channels))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    module = build("own", 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert module.norm.num_batches_tracked == 0 and not module.norm.running_mean.any()
    assert module.calls == 0
    assert torch.equal(module.generator.get_state(), torch.Generator("cpu").get_state())
    assert module.training and module.norm.training and not module.frozen.training
    assert torch.is_grad_enabled() and all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    "context",
    [lambda: torch.device("meta"), torch.inference_mode, torch.no_grad],
    ids=["meta", "inference_mode", "no_grad"],
)
def test_it_is_looked_at_wherever_it_is_built(registry, context):
    register("own")(lambda channels, *_: _Restless(channels))
    register("wrong")(lambda channels, *_: nn.Sequential(nn.ReLU(inplace=True)))
    with context():
        build("own", 4)
        with pytest.raises(ValueError, match=INPUT):
            build("wrong", 4)


def test_ones_own_are_looked_at_and_no_others(registry, monkeypatch):
    seen = []
    monkeypatch.setattr(operations, "_check", lambda name, *_: seen.append(name))
    register("own")(lambda *_: nn.Identity())
    for name in operations.OPERATIONS:
        build(name, 4)
    assert seen == ["own"]

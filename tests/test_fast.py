"""The fast form against the plain one: the same numbers from the same modules."""

import copy
import statistics as of_lists
import traceback
import warnings
from functools import partial
from itertools import chain
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain import Noise, is_one_sentence, random_tables
from torch import nn
from torch.autograd import forward_ad, functional
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune
from torch.utils._python_dispatch import TorchDispatchMode

import dartslib
from dartslib.fast import accelerate, branches, cells, depthwise, normalizing, states
from dartslib.fast.branches import Opaque
from dartslib.genotypes import DARTS_V1, DARTS_V2, Genotype
from dartslib.gradients import METHODS, BatchLoss, hypergradient
from dartslib.networks import FinalNetwork
from dartslib.operations import OPERATIONS, FactorizedReduce, conv_bn
from dartslib.relaxation import Architecture, MixedOperation, Relaxation
from dartslib.runs.running import fast_form
from dartslib.searching import Search, SearchConfig
from dartslib.space import REPORT_OPERATIONS, SearchSpace
from dartslib.supernet import Supernet
from dartslib.training import TrainConfig

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
aten = torch.ops.aten
# Forward mode loads files of torch's own that torch's next version will have written anew.
loads_scripts = pytest.mark.filterwarnings("ignore:.*torch.jit.script")
runs_plain = pytest.mark.filterwarnings("ignore:Some cells run plain")

# space, channels, layers, size, head, reductions
SUPERNETS = {
    "report": (SearchSpace.report(), 3, 3, 8, "linear", None),
    "report, MLP, wide": (SearchSpace.report(), 18, 2, 8, "mlp", (1,)),
    "paper, odd": (SearchSpace.darts(), 5, 3, 13, "linear", None),
    "paper, reductions only": (SearchSpace.darts(), 2, 2, 9, "linear", (0, 1)),
    "few pixels": (SearchSpace(2), 6, 4, 9, "linear", (0, 1, 2)),
    "no reduction": (SearchSpace(3), 4, 2, 10, "linear", ()),
}
SLOW = ("report, MLP, wide", "few pixels")
CASES = [
    pytest.param(case, id=name, marks=pytest.mark.full if name in SLOW else ())
    for name, case in SUPERNETS.items()
]
SHORT = (SearchSpace.report(), 3, 2, 8, "linear", (1,))  # a cell of each type


def _supernet(space, channels, layers, size, head, reductions, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    net = Supernet(
        space,
        channels=channels,
        layers=layers,
        num_classes=5,
        head=head,
        in_channels=3,
        image_size=size,
        reductions=reductions,
    )
    return net.to(dtype)


def _batch(size, count=3, dtype=torch.float64, seed=4):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.randint(5, (count,), generator=generator)


def _pass(net, images, labels, tables=None, weights=True):
    """Scores, gradients and running statistics of one pass."""
    for parameter in net.parameters():
        parameter.requires_grad_(weights)
    leaves = {k: t.clone().requires_grad_() for k, t in (tables or {}).items()}
    scores = net(images, leaves) if leaves else net(images)
    scores = scores if isinstance(scores, tuple) else (scores,)
    loss = sum(F.cross_entropy(s, labels) for s in scores)
    inputs = [*leaves.values(), *(net.parameters() if weights else ())]
    gradients = torch.autograd.grad(loss, inputs, materialize_grads=True)
    buffers = [buffer.clone() for buffer in net.buffers()]
    return [s.detach() for s in scores], gradients, buffers


# Whole networks


@pytest.mark.parametrize(
    ("weights", "training"),
    [(True, True), (False, True), (True, False)],
    ids=["all gradients", "alpha only", "eval"],
)
@pytest.mark.parametrize("case", CASES)
def test_a_supernet_runs_the_same(case, weights, training):
    plain = _supernet(*case)
    fast = accelerate(copy.deepcopy(plain))
    tables, batch = random_tables(case[0]), _batch(case[3])
    for net in (plain, fast):  # running statistics of their own first
        net(batch[0] + 0.1, tables)
        net.train(training)
    ours, theirs = (_pass(net, *batch, tables, weights) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_fixed_alpha_gets_no_gradient_and_changes_nothing():
    case = SUPERNETS["report"]
    plain, (images, labels) = _supernet(*case), _batch(case[3])
    fast, tables = accelerate(copy.deepcopy(plain)), random_tables(case[0])
    for net in (plain, fast):
        F.cross_entropy(net(images, tables), labels).backward()
    ours, theirs = ([p.grad for p in net.parameters()] for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def _one_sided(genotype):
    """The same normal cells, and reduction cells with a stride-2 edge of every operation."""
    names = [name for name in REPORT_OPERATIONS if name != "none"]
    nodes = tuple(
        ((name, 0), (name, 1), *([(names[k - 1], 2)] if k else [])) for k, name in enumerate(names)
    )
    return Genotype(genotype.normal, nodes)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("genotype", "size", "auxiliary"),
    [(DARTS_V1, 11, False), (DARTS_V2, 32, True), (_one_sided(DARTS_V2), 14, False)],
    ids=["V1, odd", "V2, auxiliary head", "every operation"],
)
def test_a_final_network_runs_the_same(genotype, size, auxiliary, training):
    torch.manual_seed(1)
    plain = FinalNetwork(
        genotype, channels=3, layers=3, num_classes=5, auxiliary=auxiliary, image_size=size
    ).double()
    with torch.no_grad():  # BatchNorms with a scale and a shift that are seen
        for parameter in plain.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    fast, batch = accelerate(copy.deepcopy(plain)), _batch(size)
    for net in (plain, fast):
        net(batch[0] + 0.1)
        net.train(training)
    ours, theirs = (_pass(net, *batch) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_a_node_without_any_connection():
    """It returns zeros, whose shape only the plain form knows."""
    nodes = ((("none", 0), ("none", 1)), (("sep_conv_3x3", 0), ("skip_connect", 2)))
    plain = FinalNetwork(
        Genotype(nodes, nodes), channels=4, layers=3, num_classes=5, image_size=8
    ).double()
    with pytest.warns(UserWarning, match="run plain"):
        fast = accelerate(copy.deepcopy(plain))
    ours, theirs = (_pass(net, *_batch(8)) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def _by_own_momentum(net):
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # as torch's update_bn sets it: a plain mean over all batches


def _without_statistics(net):
    norm = net.cells[1].adjust_last[-1]
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None


@runs_plain
@pytest.mark.parametrize("change", [_by_own_momentum, _without_statistics])
def test_norms_that_a_reader_changes_later(change):
    plain = _supernet(*SUPERNETS["report"])
    fast = accelerate(copy.deepcopy(plain))
    for net in (plain, fast):
        change(net)
    tables = random_tables(SUPERNETS["report"][0])
    ours, theirs = (_pass(net, *_batch(8), tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def _another_operation(net):
    net.cells[0].edges[0].operations[0] = nn.Identity()


def _another_activation(net):
    net.cells[1].edges[1].operations[1][0][0] = nn.Tanh()


def _biased_reductions(net):
    for module in net.modules():
        if isinstance(module, FactorizedReduce):
            odd = module.odd
            module.odd = nn.Conv2d(odd.in_channels, odd.out_channels, 1).to(odd.weight)
            nn.init.ones_(module.odd.weight), nn.init.ones_(module.odd.bias)


def _pruned(net):
    for module in list(net.modules()):
        if isinstance(module, nn.Conv2d):
            prune.ln_structured(module, "weight", amount=0.5, n=1, dim=0)


def _pruned_for_good(net):
    _pruned(net)
    for module in list(net.modules()):
        if isinstance(module, nn.Conv2d):
            prune.remove(module, "weight")


def _parametrized(net):
    conv = net.cells[0].edges[0].operations[0][0][1]
    parametrize.register_parametrization(conv, "weight", nn.Softplus())


def _hooked(net):
    net.cells[0].edges[0].operations[0].register_forward_hook(lambda *parts: 2 * parts[-1])


@runs_plain
@pytest.mark.parametrize("first", ["changed", "accelerated"])
@pytest.mark.parametrize(
    "change",
    [
        *(_another_operation, _another_activation, _biased_reductions),
        *(_pruned, _pruned_for_good, _parametrized, _hooked),
    ],
)
def test_modules_that_a_reader_changes(change, first):
    plain = _supernet(*SHORT)
    fast = copy.deepcopy(plain)
    if first == "accelerated":
        accelerate(fast)
    for net in (plain, fast):
        change(net)
    if first == "changed":
        accelerate(fast)
    tables = random_tables(SUPERNETS["report"][0])
    with torch.no_grad():
        found = [net(_batch(8)[0], tables) for net in (fast, plain)]
    torch.testing.assert_close(*found, **CLOSE)
    found = [sum(p.grad.square().sum() for p in _with_gradients(n, tables)) for n in (fast, plain)]
    torch.testing.assert_close(*found, **CLOSE)


def _with_gradients(net, tables):
    images, labels = _batch(8)
    F.cross_entropy(net(images, tables), labels).backward()
    return [p for p in net.parameters() if p.grad is not None]


def test_one_image_of_one_pixel_is_refused_as_torch_does():
    plain = _supernet(*SUPERNETS["report"])
    fast, tables = accelerate(copy.deepcopy(plain)), random_tables(SUPERNETS["report"][0])
    image = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    for net in (plain, fast):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            net(image, tables)


@runs_plain
@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_half_precision_runs_plain(how):
    plain = _supernet(*SUPERNETS["report"], dtype=torch.float32)
    if how == "bfloat16":
        plain = plain.bfloat16()
    plain = plain.to(memory_format=torch.channels_last)
    fast, tables = accelerate(copy.deepcopy(plain)), random_tables(SUPERNETS["report"][0])
    images = _batch(8, dtype=torch.bfloat16 if how == "bfloat16" else torch.float32)[0]
    tables = {name: table.to(images.dtype) for name, table in tables.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        found = [net(images, tables) for net in (fast, plain)]
        maps = torch.ones(2, 9, 8, 8, dtype=images.dtype).cumsum(3)  # a cell by itself, in float32
        found += [net.cells[0](maps, maps, tables) for net in (fast, plain)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[2], found[3], rtol=0, atol=0)


def test_a_map_that_is_read_in_two_passes():
    """It is a leaf: each pass builds a new graph from it, so its ReLU must not be cached."""
    fast, tables = accelerate(_supernet(*SUPERNETS["report"])), random_tables(SearchSpace.report())
    x = torch.randn(2, 9, 8, 8, dtype=torch.float64, requires_grad=True)
    for _ in range(2):
        fast.cells[0](x, x, tables).sum().backward()
    assert not hasattr(x, "activated")


def test_one_value_a_channel_is_refused_as_torch_does():
    norm = nn.BatchNorm2d(3)
    norm.forward = partial(normalizing.fast_norm, norm)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(torch.ones(1, 3, 1, 1))


def test_tables_of_another_precision_or_space():
    case = SUPERNETS["report"]
    plain = _supernet(*case, dtype=torch.float32)
    fast, (images, _) = accelerate(copy.deepcopy(plain)), _batch(8, dtype=torch.float32)
    tables = random_tables(case[0])  # float64
    torch.testing.assert_close(fast(images, tables), plain(images, tables), rtol=1e-4, atol=1e-4)
    wide = {name: torch.cat([table, table], dim=1) for name, table in tables.items()}
    for net in (plain, fast):
        with pytest.raises(ValueError, match="shorter"):
            net(images, wide)


def test_options_by_name():
    torch.manual_seed(0)
    plain = FinalNetwork(DARTS_V2, channels=4, layers=3, num_classes=5, image_size=8).double()
    fast = accelerate(copy.deepcopy(plain))
    maps = torch.randn(2, 12, 8, 8, dtype=torch.float64)
    found = [net.cells[0](maps, last=maps, drop_path=0.0) for net in (fast, plain)]
    torch.testing.assert_close(*found, **CLOSE)


def test_an_operation_whose_parts_share_a_weight(monkeypatch):
    def twice(channels, stride, searching):
        strides = stride, 1
        first, second = (
            conv_bn(channels, channels, 3, s, searching=searching, padding=1) for s in strides
        )
        second[1].weight = first[1].weight
        return nn.Sequential(first, second)

    monkeypatch.setitem(OPERATIONS, "twice", twice)
    space = SearchSpace(2, ("twice", "skip_connect", "none"))
    plain = _supernet(space, 4, 2, 8, "linear", (1,))
    fast, tables = accelerate(copy.deepcopy(plain)), random_tables(space)
    ours, theirs = (_pass(net, *_batch(8), tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


@runs_plain
def test_drop_path_drops_the_same():
    torch.manual_seed(1)
    plain = FinalNetwork(
        DARTS_V2, channels=2, layers=3, num_classes=5, drop_path=0.5, image_size=8
    ).double()
    fast, batch = accelerate(copy.deepcopy(plain)), _batch(8)
    for net in (plain, fast):
        net.generator = torch.Generator().manual_seed(7)
    ours, theirs = (_pass(net, *batch) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_an_operation_of_ones_own_runs_too(monkeypatch):
    def conv_3x3(channels, stride, searching):
        return conv_bn(channels, channels, 3, stride, searching=searching, padding=1)

    monkeypatch.setitem(OPERATIONS, "conv_3x3", conv_3x3)
    space = SearchSpace(2, ("conv_3x3", "skip_connect", "sep_conv_3x3"))
    plain = _supernet(space, 3, 3, 9, "linear", None)
    fast, batch, tables = accelerate(copy.deepcopy(plain)), _batch(9), random_tables(space)
    assert any(term.kind is Opaque for term in chain(*fast.cells[0].forward.nodes))
    for weights in (True, False):
        ours, theirs = (_pass(net, *batch, tables, weights) for net in (fast, plain))
        torch.testing.assert_close(ours, theirs, **CLOSE)


def _as_final(make, channels, stride, searching):
    return make(channels, stride, False)


def test_an_operation_with_a_scale_of_its_own(monkeypatch):
    """BatchNorms of a search have no scale; with one, alpha's gradient depends on it."""
    for name in ("sep_conv_3x3", "dil_conv_3x3", "skip_connect"):
        monkeypatch.setitem(OPERATIONS, name, partial(_as_final, OPERATIONS[name]))
    space = SearchSpace(2, ("sep_conv_3x3", "dil_conv_3x3", "skip_connect"))
    plain = _supernet(space, 3, 3, 9, "linear", None)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    fast, batch, tables = accelerate(copy.deepcopy(plain)), _batch(9), random_tables(space)
    assert not any(term.kind is Opaque for term in chain(*fast.cells[0].forward.nodes))
    for weights in (True, False):
        ours, theirs = (_pass(net, *batch, tables, weights) for net in (fast, plain))
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_what_it_cannot_run_stays_plain_and_it_says_so_once():
    class Own(MixedOperation):
        pass

    net = Supernet(SearchSpace(2), channels=2, layers=2, num_classes=5, image_size=8, edge=Own)
    with pytest.warns(UserWarning, match="run plain") as told:
        accelerate(net)
    assert len(told) == 1
    assert not any("forward" in vars(cell) for cell in net.cells)


def test_a_cell_that_falls_back_later_says_so_once():
    net, tables = accelerate(_supernet(*SUPERNETS["report"])), random_tables(SearchSpace.report())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        net(_batch(8)[0], tables)
        assert not told
        _hooked(net)
        for _ in range(2):
            net(_batch(8)[0], tables)
    assert len(told) == 1 and is_one_sentence(str(told[0].message))
    net.eval()(_batch(8)[0], tables)  # where all is plain anyhow: no warning, which is an error


def test_the_forward_of_a_cell_is_all_that_changes():
    net = _supernet(*SUPERNETS["report"])
    before = list(net.state_dict())
    accelerate(net)
    assert list(net.state_dict()) == before
    assert all("forward" in vars(cell) for cell in net.cells)
    # A copy runs on its own weights.
    copied, (images, _) = copy.deepcopy(net), _batch(8)
    tables = random_tables(net.space)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert not torch.equal(net(images, tables), copied(images, tables))
    assert copied(images, tables).abs().max() == 0


def test_it_goes_back_once():
    net, (images, labels) = accelerate(_supernet(*SUPERNETS["report"])), _batch(8)
    loss = F.cross_entropy(net(images, random_tables(net.space)), labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        loss.backward()


# The hypergradient and the search


@pytest.mark.parametrize("method", [m for m in METHODS if m != "exact"])
def test_the_hypergradient_is_the_same(method):
    case = SUPERNETS["report"]
    plain = _supernet(*case)
    fast = accelerate(copy.deepcopy(plain))
    found = []
    for net in (plain, fast):
        architecture = Architecture(case[0], init_std=1.0, dtype=torch.float64,
                                    generator=torch.Generator().manual_seed(2))  # fmt: skip
        losses = [BatchLoss(net, architecture, *_batch(case[3], seed=seed)) for seed in (5, 6)]
        w, buffers = list(net.parameters()), [0.1 * p.detach() for p in net.parameters()]
        kept = [t.clone() for t in net.state_dict().values()]
        result = hypergradient(
            *losses, w, architecture.alpha, method=method, xi=0.1, momentum=0.9, buffers=buffers,
            weight_decay=1e-3, radius=1e-6,
        )  # fmt: skip
        assert all(map(torch.equal, kept, net.state_dict().values()))
        found.append(result)
    # The difference of two gradients, divided by a small R, is as exact as rounding lets it be.
    torch.testing.assert_close(found[0].direct, found[1].direct, **CLOSE)
    torch.testing.assert_close(found[0].implicit, found[1].implicit, rtol=1e-5, atol=1e-7)


def test_exact_is_refused_in_the_fast_form_and_runs_plain_in_a_search():
    case = SUPERNETS["report"]
    net, architecture = accelerate(_supernet(*case)), Architecture(case[0], dtype=torch.float64)
    losses = [BatchLoss(net, architecture, *_batch(case[3], seed=seed)) for seed in (5, 6)]
    with pytest.raises(ValueError, match="finite_difference") as refused:
        hypergradient(*losses, list(net.parameters()), architecture.alpha, method="exact", xi=0.1)
    assert is_one_sentence(str(refused.value))
    config = SearchConfig(
        nodes=1, layers=1, reductions=(), channels=2, epochs=1, head="linear", gradient="exact"
    )
    search = fast_form(Search(config, Noise(1), Noise(1, seed=1), image_size=8))
    list(search)
    assert search.step == 1


class Doubles(Noise):
    """Noise in float64."""

    def at(self, step):
        images, labels = super().at(step)
        return images.double(), labels


def _double(search):
    search.supernet.double()
    for alpha in search.architecture.alpha:
        alpha.data = alpha.data.double()
    return search


SECOND = pytest.param("finite_difference", 1, marks=pytest.mark.full)


@pytest.mark.parametrize(("method", "nodes"), [("first_order", 2), SECOND])
def test_fifty_steps_end_at_the_same_alpha(method, nodes):
    few = ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "none")  # a step has all kinds of terms
    config = SearchConfig(
        nodes=nodes, operations=few, layers=2, reductions=(1,), channels=3, epochs=50,
        head="linear", gradient=method, alpha_lr=0.02, radius=1e-4,
    )  # fmt: skip

    ends = []
    for fast in (True, False):
        search = fast_form(Search(config, Doubles(1), Doubles(1, seed=1), image_size=8), fast)
        list(_double(search))
        assert search.step == 50
        ends.append([alpha.detach() for alpha in search.architecture.alpha])
    assert all(alpha.std() > 0.03 for alpha in ends[0])  # of normal and of reduction cells
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)


class _Reads(TorchDispatchMode):
    """Records the operators that bring a tensor's value to Python; each would wait for a GPU.

    Those of torch's optimizers are not noted: their step counters lie on the CPU in any case.
    """

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        reads = aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default
        if function in reads:
            callers = [frame.filename for frame in traceback.extract_stack()]
            if not any("optim" in Path(name).parts for name in callers):
                self.found.append(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["first_order", "finite_difference"])
def test_a_fast_step_reads_no_value(method):
    config = SearchConfig(nodes=1, layers=2, channels=2, epochs=9, head="linear", gradient=method)
    search = fast_form(Search(config, Noise(1), Noise(1, seed=1), image_size=8))
    search.advance()
    with _Reads() as seen:
        search.advance()
    assert not seen.found
    with _Reads() as seen:  # which such a read would not escape
        bool(search.architecture.alpha[0].sum() > 0)
    assert seen.found


def test_fast_is_the_default_and_one_argument_turns_it_off():
    config = SearchConfig(nodes=1, layers=1, channels=2, epochs=1, head="linear")
    final = TrainConfig(layers=1, channels=2, epochs=1, head="linear")
    for fast in (True, False):
        options = {"num_classes": 10} if fast else {"num_classes": 10, "fast": False}
        search = dartslib.search((Noise(1), Noise(1, seed=1)), config=config, **options)
        training = dartslib.train((Noise(1), None), DARTS_V2, config=final, **options)
        for network in (search.supernet, training.network):
            assert ("forward" in vars(network.cells[0])) is fast


def test_a_plain_search_goes_on_fast():
    config = SearchConfig(nodes=1, layers=1, channels=2, epochs=2, head="linear")
    data = Doubles(1), Doubles(1, seed=1)
    plain = _double(Search(config, *data, image_size=8))
    plain.advance()
    fast = _double(fast_form(Search(config, *data, image_size=8)))
    fast.load_state_dict(copy.deepcopy(plain.state_dict()))
    for search in (plain, fast):
        search.advance()
    torch.testing.assert_close(plain.architecture.alpha, fast.architecture.alpha, **CLOSE)


def test_a_sampling_relaxation_with_plain_mixed_operations_is_run_fast():
    class Shifted(Relaxation):
        def mixture(self, alpha, space, moment):
            shift = torch.rand(1, generator=moment.generator)
            return {name: (logits + shift).sigmoid() for name, logits in alpha.items()}

    config = SearchConfig(
        nodes=1, layers=1, channels=2, epochs=1, head="linear", relaxation=Shifted()
    )
    ends = []
    for fast in (True, False):
        search = fast_form(Search(config, Noise(1), Noise(1, seed=1), image_size=8), fast)
        search.advance()
        ends.append(search.architecture.alpha)
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("gradient", ["one_level", "first_order", "finite_difference"])
def test_closed_operations_are_left_out_and_the_rest_is_the_same(gradient):
    config = SearchConfig(
        nodes=2, layers=3, channels=2, epochs=1, head="linear", alpha_lr=0.1, gradient=gradient,
        radius=1e-5, alpha_init_std=0.5,
    )  # fmt: skip
    data = Doubles(4), Doubles(4, seed=1)
    plain = _double(Search(config, *data, image_size=8))
    fast = _double(fast_form(Search(config, *data, image_size=8)))
    closed = [("normal", 0, [0, 5]), ("reduction", 2, [1, 2, 3, 4, 5, 6, 7]), ("normal", 3, [6])]
    again = [("normal", 0, [0])]
    for moment, (rows, is_open) in enumerate(((closed, False), (again, True), (closed, False))):
        for search in (plain, fast):
            for cell_type, edge, operations in rows:
                search.architecture.open[cell_type][edge, operations] = is_open
            search.prune()
            search.advance()
        torch.testing.assert_close(plain.architecture.alpha, fast.architecture.alpha, **CLOSE)
        torch.testing.assert_close(plain.w, fast.w, **CLOSE)
        for cell in fast.supernet.cells:
            running = sum(map(sum, (edge.open for edge in cell.edges)))
            zeros = sum(edge.open[7] for edge in cell.edges)  # no connection is no term
            assert sum(map(len, cell.forward._open_nodes())) == 2 + running - zeros, moment


def test_a_node_without_an_open_operation_runs_plain_and_says_so():
    config = SearchConfig(nodes=1, layers=1, channels=2, epochs=1, head="linear", reductions=())
    data = Doubles(1), Doubles(1, seed=1)
    plain = _double(Search(config, *data, image_size=8))
    fast = _double(fast_form(Search(config, *data, image_size=8)))
    for search in (plain, fast):
        search.architecture.open["normal"][:, :7] = False  # zeros alone
        search.prune()
    plain.advance()
    with pytest.warns(UserWarning, match="run plain"):
        fast.advance()
    torch.testing.assert_close(plain.w, fast.w, **CLOSE)


# Single precision


def _far(net, exact, batch, tables):
    """How far scores and gradients of a float32 network are from those in float64, relatively."""
    ours, theirs = _pass(net, *batch, tables), _pass(exact, batch[0].double(), batch[1], {
        name: table.double() for name, table in tables.items()
    })  # fmt: skip
    return [
        float(
            torch.stack([(a.double() - b).square().sum() for a, b in zip(x, y, strict=True)]).sum()
            / torch.stack([b.square().sum() for b in y]).sum()
        )
        ** 0.5
        for x, y in zip(ours[:2], theirs[:2], strict=True)
    ]


@pytest.mark.full
def test_float32_is_as_near_to_float64_as_the_plain_form(monkeypatch):
    for file in (branches, cells, states):
        for name, smooth in (("relu", torch.tanh), ("relu_", torch.tanh_)):
            monkeypatch.setattr(file, name, smooth, raising=False)
        monkeypatch.setattr(file, "relu_gradient", aten.tanh_backward, raising=False)
    # Smooth, since at a kink a change of 1e-6 changes a gradient by as much as it likes.
    operations = [name for name in REPORT_OPERATIONS if name != "max_pool_3x3"]
    far = {"plain": [], "fast": []}
    for seed in range(5):
        plain = _supernet(
            SearchSpace(1, operations), 8, 2, 32, "linear", (), dtype=torch.float32, seed=seed
        )
        fast = accelerate(copy.deepcopy(plain))
        for module in list(plain.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.Tanh())
        exact = copy.deepcopy(plain).double()
        batch = _batch(32, 16, torch.float32, seed)
        tables = random_tables(plain.space, seed, torch.float32)
        for name, net in (("plain", plain), ("fast", fast)):
            far[name].append(_far(net, copy.deepcopy(exact), batch, tables))
    for plain, fast in zip(*(zip(*far[name], strict=True) for name in far), strict=True):
        assert of_lists.median(fast) <= 2 * of_lists.median(plain)


BOTH = ["report", pytest.param("darts", marks=pytest.mark.full)]


@pytest.mark.parametrize("name", BOTH)
def test_float32_outputs_of_whole_networks(name):
    """With all operations, ReLU and reductions: outputs alone, since gradients jump at kinks."""
    far = {"plain": [], "fast": []}
    for seed in range(3):
        space = getattr(SearchSpace, name)()
        plain = _supernet(space, 4, 3, 16, "linear", None, dtype=torch.float32, seed=seed)
        exact = copy.deepcopy(plain).double()
        (images, _), tables = _batch(16, 8, torch.float32, seed), random_tables(space, seed)
        with torch.no_grad():
            expected = exact(images.double(), tables)
            tables = {kind: table.float() for kind, table in tables.items()}
            for form, net in (("plain", plain), ("fast", accelerate(copy.deepcopy(plain)))):
                off = (net(images, tables).double() - expected).norm() / expected.norm()
                far[form].append(float(off))
    assert of_lists.median(far["fast"]) <= 2 * of_lists.median(far["plain"])


# The parts


@given(
    channels=st.integers(1, 20),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    seed=st.integers(0, 9),
)
def test_gradients_of_depthwise_convolutions(
    channels, height, width, kernel, stride, dilation, seed
):
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    x = torch.randn(2, height, width, channels, **options).requires_grad_()
    weight = torch.randn(channels, 1, kernel, kernel, **options).requires_grad_()
    value = F.conv2d(
        x.permute(0, 3, 1, 2), weight, None, stride, dilation * (kernel // 2), dilation, channels
    ).permute(0, 2, 3, 1)
    gradient = torch.randn(value.shape, **options)
    expected = torch.autograd.grad(value, (x, weight), gradient)
    x, weight = x.detach(), weight.detach()
    torch.testing.assert_close(depthwise.convolve(x, weight, stride, dilation), value, **CLOSE)
    found = (
        depthwise.input_gradient(gradient, x, weight, stride, dilation),
        depthwise.weight_gradient(gradient, x, weight, stride, dilation),
    )
    torch.testing.assert_close(found, expected, **CLOSE)


@given(
    channels=st.integers(1, 40),
    out=st.integers(1, 40),
    size=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_pointwise_convolutions(channels, out, size, seed):
    options = {"generator": torch.Generator().manual_seed(seed), "dtype": torch.float64}
    x = torch.randn(3, size, size + 1, channels, **options)
    matrix, gradient = (
        torch.randn(out, channels, **options),
        torch.randn(3, size, size + 1, out, **options),
    )
    kernel = matrix[:, :, None, None]
    expected = (
        torch.einsum("nhwc,oc->nhwo", x, matrix),
        # From the output's gradient to the input's, as the branches ask for it.
        torch.einsum("nhwo,oc->nhwc", gradient, matrix),
        torch.einsum("nhwo,nhwc->oc", gradient, x)[:, :, None, None],
    )

    def found(x, gradient, kernel):
        value = branches.pointwise(x, kernel)
        back = branches.pointwise(gradient, kernel.transpose(0, 1))
        assert value.is_contiguous() and back.is_contiguous()
        return value, back, branches.pointwise_weight_gradient(gradient, x)

    torch.testing.assert_close(found(x, gradient, kernel), expected, **CLOSE)
    single = [part.float() for part in (x, gradient, kernel)]
    for avx512 in (False, True):  # by products, by torch's convolutions
        with patch.object(branches, "AVX512", avx512):
            again = tuple(part.double() for part in found(*single))
        torch.testing.assert_close(again, expected, rtol=1e-5, atol=1e-4)


def test_pointwise_convolutions_are_torchs_own_with_avx512(monkeypatch):
    x, matrix = torch.randn(2, 4, 4, 8), torch.randn(8, 8, 1, 1)

    def names(x, matrix):
        with torch.profiler.profile() as found:
            branches.pointwise(x, matrix)
            branches.pointwise_weight_gradient(x, x)
        return {event.key for event in found.key_averages()}

    products, convolutions = {"aten::mm", "aten::bmm"}, {"aten::convolution_backward"}
    monkeypatch.setattr(branches, "AVX512", True)
    assert names(x, matrix) >= convolutions and not names(x, matrix) & products
    # oneDNN has no code for float64.
    assert names(x.double(), matrix.double()) >= products
    monkeypatch.setattr(branches, "AVX512", False)
    assert names(x, matrix) >= products and not names(x, matrix) & convolutions


@given(
    channels=st.integers(1, 40),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    scaled=st.booleans(),
)
def test_batch_norm_taken_apart(channels, height, width, scaled):
    generator = torch.Generator().manual_seed(channels)
    options = {"generator": generator, "dtype": torch.float64}
    x = torch.randn(3, height, width, channels, **options) + 10
    x.requires_grad_()
    scale = torch.rand(channels, **options).requires_grad_() if scaled else None
    shift = torch.rand(channels, **options).requires_grad_() if scaled else None
    value = F.batch_norm(
        x.permute(0, 3, 1, 2), None, None, scale, shift, training=True, eps=1e-5
    ).permute(0, 2, 3, 1)
    gradient = torch.randn(value.shape, **options)
    inputs = (x, scale, shift) if scaled else (x,)
    expected = torch.autograd.grad(value, inputs, gradient)

    x = x.detach()
    norm = nn.BatchNorm2d(channels).double()
    affine = tuple(t.detach() for t in inputs[1:])
    # Two at once, the other one without scale and shift, times a weight.
    other = torch.randn(x.shape, **options)
    asked = [normalizing.Asked(other, norm), normalizing.Asked(x, norm, affine)]
    of_other, normalized = normalizing.normalize(asked)
    torch.testing.assert_close(normalized.value, value.detach())
    pixels = x.flatten(0, 2)
    torch.testing.assert_close(normalized.mean, pixels.mean(0))
    weight = torch.tensor(0.3, dtype=x.dtype)
    _, (parts, by_weight, by_affine) = normalizing.gradients(
        [(of_other, gradient, weight), (normalized, gradient, weight)]
    )
    found = [normalizing.by_map(x, gradient, parts), *by_affine]
    exact = {"rtol": 1e-8, "atol": 1e-8}
    torch.testing.assert_close(found, [weight * e for e in expected], **exact)
    torch.testing.assert_close(by_weight, (gradient * value.detach()).sum(), **exact)


@pytest.mark.parametrize("what", ["without a graph before", "changed in place", "inference"])
def test_an_input_that_is_read_again(what):
    """Two cells share the ReLU of a map that both read, unless the map has changed."""
    plain = _supernet(*SUPERNETS["report"])
    fast, tables, found = accelerate(copy.deepcopy(plain)), random_tables(SearchSpace.report()), []
    for net in (plain, fast):
        cell, x = net.cells[0], torch.randn(2, 9, 8, 8, generator=torch.Generator().manual_seed(1))
        x = x.double().requires_grad_(what != "inference")
        with torch.inference_mode() if what == "inference" else torch.no_grad():
            x = x.clone() if what == "inference" else x
            value = cell(x, x, tables)
            if what == "changed in place":
                x.neg_()
            again = cell(x, x, tables)
        if what != "inference":
            value = cell(x, x, tables)
            (again,) = torch.autograd.grad(value.square().sum(), x)
        found.append((value.detach(), again))
    torch.testing.assert_close(found[1], found[0], **CLOSE)


def test_an_activation_of_another_kind_runs_plain():
    net = _supernet(SearchSpace.report(), 3, 3, 8, "linear", (1,))
    halving = [module for module in net.modules() if isinstance(module, FactorizedReduce)]
    assert len(halving) == 1 + 6  # of an input, and the skips of stride 2
    for module in halving:
        module.relu = nn.SiLU()
    expected = _pass(copy.deepcopy(net), *_batch(8), random_tables(SearchSpace.report()))
    found = _pass(accelerate(net), *_batch(8), random_tables(SearchSpace.report()))
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


@runs_plain
def test_norms_of_another_kind_run_plain():
    plain, (images, labels) = _supernet(*SUPERNETS["report"]), _batch(8)
    plain.cells[0].edges[0].operations[0][0][3].momentum = 0.5
    plain.cells[1].edges[0].operations[0][0][3].eps = 0.1
    fast, tables = accelerate(copy.deepcopy(plain)), random_tables(SearchSpace.report())
    ours, theirs = (_pass(net, images, labels, tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_the_variance_of_numbers_far_from_0():
    x = torch.randn(3, 16, 16, 20, generator=torch.Generator().manual_seed(0)) + 1000
    found = normalizing.statistics([x])[2][0].double()
    expected = x.double().flatten(0, 2).var(0, correction=0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def test_running_statistics_move_as_torch_moves_them():
    theirs, ours = ([nn.BatchNorm2d(3).double() for _ in range(2)] for _ in range(2))
    maps = torch.randn(2, 2, 4, 5, 3, dtype=torch.float64) * 3 + 1
    for norm, x in zip(theirs, maps, strict=True):
        norm(x.permute(0, 3, 1, 2))
    normalizing.update(ours, *normalizing.statistics(list(maps))[1:], maps[0])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(list(one.buffers()), list(other.buffers()))


# What looks like a known operation, and is another


def _inverted_bottleneck(channels, stride, searching):
    wide = 2 * channels

    def half(c_in, c_out, stride):
        return nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False),
            nn.Conv2d(c_in, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=False),
        )

    return nn.Sequential(half(channels, wide, stride), half(wide, channels, 1))


def _strided_at_the_end(channels, stride, searching):
    module = OPERATIONS["sep_conv_3x3"](channels, 1, searching)
    module[1][1].stride = stride, stride
    return module


def _ended_in_place(channels, stride, searching):
    norm = nn.BatchNorm2d(channels)
    return nn.Sequential(nn.Conv2d(channels, channels, 3, stride, 1), norm, nn.ReLU(inplace=True))


@pytest.mark.parametrize("own", [_inverted_bottleneck, _strided_at_the_end, _ended_in_place])
def test_operations_of_a_reader(monkeypatch, own):
    plain, fast, tables = _mixed_and_fast(
        monkeypatch, ("sep_conv_3x3", "dil_conv_3x3", "own", "skip_connect"), own=own
    )
    ours, theirs = (_pass(net, *_batch(10), tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def _mixed_and_fast(monkeypatch, operations, **made):
    for name, make in made.items():
        monkeypatch.setitem(OPERATIONS, name, make)
    space = SearchSpace(2, operations)
    plain = _supernet(space, 4, 2, 10, "linear", (1,))
    return plain, accelerate(copy.deepcopy(plain)), random_tables(space)


def test_pools_of_another_window_are_not_shared(monkeypatch):
    def pool_5x5(channels, stride, searching):
        return nn.Sequential(
            nn.MaxPool2d(5, stride, padding=2), nn.BatchNorm2d(channels, affine=False)
        )

    plain, fast, tables = _mixed_and_fast(
        monkeypatch, ("max_pool_3x3", "max_pool_5x5", "skip_connect"), max_pool_5x5=pool_5x5
    )
    ours, theirs = (_pass(net, *_batch(10), tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_an_average_by_another_divisor(monkeypatch):
    def halved(channels, stride, searching):
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False, divisor_override=2)

    plain, fast, tables = _mixed_and_fast(
        monkeypatch, ("avg_pool_3x3", "halved", "skip_connect"), halved=halved
    )
    ours, theirs = (_pass(net, *_batch(10), tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("what", ["activation", "affine"])
def test_a_separable_convolution_of_unequal_halves(monkeypatch, what):
    def unequal(channels, stride, searching):
        module = OPERATIONS["sep_conv_3x3"](channels, stride, searching)
        if what == "activation":
            module[1][0] = nn.Tanh()
        else:
            module[1][3] = nn.BatchNorm2d(channels)
        return module

    plain, fast, tables = _mixed_and_fast(
        monkeypatch, ("sep_conv_3x3", "unequal", "skip_connect"), unequal=unequal
    )
    ours, theirs = (_pass(net, *_batch(10), tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


@runs_plain
def test_a_frozen_batch_norm_stays_frozen():
    plain, tables = _supernet(*SUPERNETS["report"]), random_tables(SearchSpace.report())
    fast, batch = accelerate(copy.deepcopy(plain)), _batch(8)
    for net in (plain, fast):
        net(batch[0] + 0.1, tables)
        for norm in list(net.modules()):
            if isinstance(norm, nn.BatchNorm2d):
                norm.eval()
    ours, theirs = (_pass(net, *batch, tables) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


# Second derivatives, and other ways to differentiate: right, or refused in a sentence


def _pass_of_a_kind(net, kind):
    """The loss as a function of what `kind` names, a point, and a direction."""
    (images, labels), tables = _batch(8), random_tables(SUPERNETS["report"][0])
    generator = torch.Generator().manual_seed(9)
    statistics = {name: buffer.clone() for name, buffer in net.named_buffers()}
    start = {"alpha": tables["normal"], "images": images, "w": net.stem[0].weight.detach()}[kind]
    direction = torch.randn(start.shape, generator=generator, dtype=start.dtype)

    def loss(x):
        given = {name: buffer.clone() for name, buffer in statistics.items()}
        given |= {"stem.0.weight": x} if kind == "w" else {}
        chosen = tables | ({"normal": x} if kind == "alpha" else {})
        scores = functional_call(net, given, (x if kind == "images" else images, chosen))
        return F.cross_entropy(scores, labels)

    return loss, start, direction


def _penalty(loss, x, v):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), x)[0]


def _penalty_by_backward(loss, x, v):
    x = x.clone().requires_grad_()
    loss(x).backward(create_graph=True)
    gradient, x.grad = x.grad, None
    gradient.square().sum().backward()
    return x.grad


def _product(loss, x, v):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x, create_graph=True)
    return torch.autograd.grad(gradient, x, v)[0]


def _dual(loss, x, v):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(loss(forward_ad.make_dual(x, v))).tangent


def _twice_retained(loss, x, v):
    x = x.clone().requires_grad_()
    value = loss(x)
    (first,) = torch.autograd.grad(value, x, retain_graph=True)
    return first + torch.autograd.grad(value, x)[0]


def _batch_of_gradients(loss, x, v):
    x = x.clone().requires_grad_()
    value, weights = loss(x), torch.tensor([1.0, 3.0], dtype=x.dtype)
    return torch.func.vmap(lambda weight: torch.autograd.grad(value, x, weight)[0])(weights)


def _squared(loss, x):
    return torch.func.grad(loss)(x).square().sum()


REFUSED = {
    "a penalty": _penalty,
    "a penalty by backward": _penalty_by_backward,
    "a product with the Hessian": _product,
    "torch's product with the Hessian": lambda loss, x, v: functional.hvp(loss, x, v)[1],
    "forward mode": _dual,
    "back twice": _twice_retained,
    "a batch of gradients": _batch_of_gradients,
}
RIGHT = {
    "torch.func.grad": lambda loss, x, v: torch.func.grad(loss)(x),
    "torch.func.grad of grad": lambda loss, x, v: torch.func.grad(partial(_squared, loss))(x),
    "torch.func.jvp": lambda loss, x, v: torch.func.jvp(loss, (x,), (v,))[1],
    "torch.func.vmap": lambda loss, x, v: torch.func.vmap(loss)(torch.stack([x, x + v])),
    "torch.func.jvp of grad": lambda loss, x, v: torch.func.jvp(torch.func.grad(loss), (x,), (v,))[
        1
    ],
}


@loads_scripts
@pytest.mark.parametrize("kind", ["alpha", "images", "w"])
@pytest.mark.parametrize("way", REFUSED)
def test_what_the_fast_form_cannot_differentiate_it_refuses(way, kind):
    net = accelerate(_supernet(*SHORT))
    with pytest.raises(RuntimeError, match="fast=False") as refused:
        print(REFUSED[way](*_pass_of_a_kind(net, kind)))
    assert is_one_sentence(refused.value)


@loads_scripts
@pytest.mark.parametrize("kind", ["alpha", "images", "w"])
@pytest.mark.parametrize("way", RIGHT)
def test_a_transform_of_torch_func_gives_the_numbers_of_the_plain_form(way, kind):
    plain = _supernet(*SHORT)
    if way == "torch.func.vmap":  # torch moves no running statistics of several passes at once
        plain = plain.eval()
    fast = accelerate(copy.deepcopy(plain))
    ours, theirs = (RIGHT[way](*_pass_of_a_kind(net, kind)) for net in (fast, plain))
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_the_hessian_in_alpha():
    """Only the plain form gives its largest eigenvalue, by which robust searches stop."""
    plain = _supernet(SearchSpace(1, ("sep_conv_3x3", "skip_connect", "none")), 2, 2, 8, "linear",
                      ())  # fmt: skip
    images, labels = _batch(8)
    tables = random_tables(plain.space)

    def loss(net, x):
        return F.cross_entropy(net(images, tables | {"normal": x}), labels)

    hessian = functional.hessian(partial(loss, plain), tables["normal"]).flatten(2).flatten(0, 1)
    step, rows = 1e-5, []
    for direction in torch.eye(tables["normal"].numel(), dtype=torch.float64):
        moved = [tables["normal"] + sign * step * direction.view_as(tables["normal"])
                 for sign in (1, -1)]  # fmt: skip
        fast = accelerate(copy.deepcopy(plain))
        ahead, behind = (
            torch.autograd.grad(loss(fast, x.requires_grad_()), x)[0].flatten() for x in moved
        )
        rows.append((ahead - behind) / (2 * step))
    torch.testing.assert_close(torch.stack(rows), hessian, rtol=1e-5, atol=1e-7)
    with pytest.raises(RuntimeError, match="fast=False"):
        functional.hessian(partial(loss, fast), tables["normal"])


@loads_scripts
def test_the_norm_of_a_stem_refuses_too():
    """A BatchNorm outside of cells has its own function."""
    net = accelerate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double())
    images, _ = _batch(8)

    def loss(x):
        return net(x).pow(3).sum()

    for way in ("a penalty", "torch's product with the Hessian", "forward mode"):
        with pytest.raises(RuntimeError, match="fast=False"):
            REFUSED[way](loss, images, torch.ones_like(images))
    torch.testing.assert_close(  # which can go back twice
        _twice_retained(loss, images, None), 2 * _gradient(loss, images), **CLOSE
    )


def _gradient(loss, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(x), x)[0]


def test_a_function_of_a_graph_that_nobody_differentiates_again():
    """`torch.enable_grad` around a backward pass does not mean that it is differentiated."""
    net, batch = accelerate(_supernet(*SUPERNETS["report"])), _batch(8)
    loss = F.cross_entropy(net(batch[0], random_tables(net.space)), batch[1])
    with torch.enable_grad():
        loss.backward()
    assert all(p.grad is not None for p in net.parameters())

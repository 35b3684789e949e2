"""What a GPU must not change: numbers as on the CPU, no step that waits, runs that move between."""

import copy
import json
from contextlib import nullcontext

import pytest
import torch
from plain import Noise
from test_gradients import _flat, _hypergradient, _swap, smooth  # noqa: F401 (a fixture)

import dartslib
from dartslib import gradients
from dartslib.data import DataSet
from dartslib.genotypes import DARTS_V2
from dartslib.gradients import METHODS, BatchLoss
from dartslib.relaxation import Architecture
from dartslib.runs.driving import drive
from dartslib.runs.profiles import profile
from dartslib.runs.running import fast_form, find_device, make_run
from dartslib.searching import Search, SearchConfig
from dartslib.space import SearchSpace
from dartslib.supernet import Supernet
from dartslib.training import TrainConfig, Training

pytestmark = pytest.mark.gpu
SMALL = {"nodes": 2, "layers": 2, "reductions": (1,), "channels": 3, "epochs": 10, "head": "linear"}
SMALL |= {"alpha_lr": 0.02}


class _There(Noise):
    """Noise on a device, in float64."""

    device = "cpu"

    def at(self, step):
        images, labels = super().at(step)
        return images.double().to(self.device), labels.to(self.device)


def _search(device, **changes):
    halves = [_There(5, seed=seed) for seed in (0, 1)]
    for half in halves:
        half.device = device
    search = Search(SearchConfig(**(SMALL | changes)), *halves, image_size=8, device=device)
    search.supernet.double()
    for alpha in search.architecture.alpha:
        alpha.data = alpha.data.double()
    return search


def _moved(s, device):
    """The smooth network of the tests of gradients, on another device."""
    s.net = copy.deepcopy(s.net).to(device)
    s.w = list(s.net.parameters())
    s.buffers = [buffer.to(device) for buffer in s.buffers]
    s.alpha = [alpha.detach().to(device).requires_grad_() for alpha in s.alpha]
    s.losses = [
        BatchLoss(s.net, s.architecture, *(part.to(device) for part in batch))
        for batch in s.batches
    ]
    return s


def test_a_seed_gives_the_first_weights_of_the_cpu():
    config = SearchConfig(nodes=2, layers=2, channels=4, alpha_init_std=1e-3)
    cpu, gpu = (Search(config, Noise(1), Noise(1), device=device) for device in ("cpu", "cuda"))
    for one, other in ((cpu.supernet, gpu.supernet), (cpu.architecture, gpu.architecture)):
        here, there = one.state_dict(), other.state_dict()
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name].cpu()) for name in here)
        assert all(value.is_cuda for value in there.values())


@pytest.mark.parametrize("method", METHODS)
def test_the_hypergradient_of_the_cpu(smooth, method):  # noqa: F811
    cpu = _hypergradient(smooth, method, radius=1e-4)
    gpu = _hypergradient(_moved(smooth, "cuda"), method, radius=1e-4)
    direct = _flat(gpu.direct)
    assert direct.is_cuda
    torch.testing.assert_close(direct.cpu(), _flat(cpu.direct), rtol=1e-9, atol=1e-12)
    if cpu.implicit:
        # The difference of two gradients, divided by a small R, loses some digits.
        there, here = _flat(gpu.implicit).cpu(), _flat(cpu.implicit)
        torch.testing.assert_close(there, here, rtol=1e-6, atol=1e-8)


def test_the_finite_difference_needs_whole_float32(monkeypatch):
    """Convolutions in TensorFloat-32 would round w + R v to w: then the term is noise."""
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TensorFloat-32")
    space = SearchSpace(2, ("sep_conv_3x3", "avg_pool_3x3", "skip_connect", "none"))
    torch.manual_seed(0)
    net = Supernet(space, channels=32, layers=2, reductions=(1,), image_size=16)
    _swap(net)
    generator = torch.Generator().manual_seed(1)
    architecture = Architecture(space, init_std=0.5, generator=generator)
    batches = [(torch.randn(64, 3, 16, 16), torch.arange(64) % 10) for _ in range(2)]

    def term(method, device, dtype):
        here = copy.deepcopy(net).to(device, dtype)
        alpha = [a.detach().to(device, dtype) for a in architecture.alpha]
        losses = [
            BatchLoss(here, architecture, images.to(device, dtype), labels.to(device))
            for images, labels in batches
        ]
        found = gradients.hypergradient(
            *losses, list(here.parameters()), alpha, method=method, xi=0.025
        )
        return _flat(found.implicit).double().cpu()

    exact = term("exact", "cpu", torch.float64)

    def error():
        return (
            (term("finite_difference", "cuda", torch.float32) - exact).norm() / exact.norm()
        ).item()

    whole = error()
    assert torch.backends.cudnn.allow_tf32  # as it was
    monkeypatch.setattr(gradients, "_whole_float32", lambda w: nullcontext())
    rounded = error()
    print(f"error of the term: {whole:.2e} in float32, {rounded:.2e} in TensorFloat-32")
    assert whole < 0.005 and rounded > 5 * whole


@pytest.mark.parametrize("method", ["one_level", "first_order", "finite_difference"])
def test_fifty_steps_end_at_the_alpha_of_the_cpu(method):
    ends = []
    for device in ("cpu", "cuda"):
        search = _search(device, gradient=method, radius=1e-4)
        list(search)
        assert search.step == 50
        ends.append(torch.cat(search.architecture.alpha).detach().cpu())
    assert ends[0].std() > 0.03
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)


@pytest.mark.parametrize("way", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_goes_on_on_another_device(tmp_path, way):
    class Stops(Exception):
        pass

    def stop(step):
        raise Stops

    method = {"gradient": "finite_difference", "radius": 1e-4}  # looks ahead with its momentum
    first, second, whole = (_search(device, **method) for device in (*way, "cpu"))
    at = first.train.at
    first.train.at = lambda step: at(step) if step < 20 else stop(step)
    with pytest.raises(Stops):
        drive(first, tmp_path, progress=False, every_seconds=0, device=way[0])
    stretches = drive(second, tmp_path, resume=True, progress=False, device=way[1])
    assert [stretch["machine"]["device"] for stretch in stretches] == list(way)
    assert stretches[1]["from_step"] == 20 and second.step == 50
    list(whole)
    ends = [torch.cat(run.architecture.alpha).detach().cpu() for run in (second, whole)]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)


def test_whole_runs_and_their_records(tmp_path):
    assert find_device() == "cuda"
    smoke = profile("smoke")
    search = make_run(smoke.search, tmp_path / "search", progress=False)
    training = make_run(smoke.final, tmp_path / "final", search.genotype, progress=False)
    for record in (search, training):
        (machine,) = json.loads((tmp_path / record.name / "meta.json").read_text("utf-8"))[
            "machines"
        ]
        assert machine["device"] == "cuda" and machine["gpu"] and machine["cuda"]
    assert 0 <= training.meta["result"]["test_accuracy"] <= 1


def test_both_loops_stay_plain_here():
    search = fast_form(Search(SearchConfig(**SMALL), Noise(1), Noise(1), device="cuda"))
    final = TrainConfig(layers=2, reductions=(1,), channels=2, epochs=1, head="linear")
    training = fast_form(Training(final, DARTS_V2, Noise(1), device="cuda"))
    for network in (search.supernet, training.network):
        assert not any("forward" in vars(module) for module in network.modules())


def _noise_set(count):
    images = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8).numpy()
    labels = (torch.arange(count) % 10).numpy()
    return DataSet.from_arrays(
        "noise", images, labels, images[:10], labels[:10], [str(k) for k in range(10)]
    )


def _real_search(method):
    config = SearchConfig(nodes=2, layers=3, channels=4, batch_size=8, gradient=method)
    cut = dartslib.data.split(_noise_set(80), None, 0.0)
    halves = [
        _noise_set(80).batches(half, 8, device="cuda")
        for half in (cut.search_train, cut.search_valid)
    ]
    return Search(config, *halves, device="cuda")


def _real_training(cutout):
    config = TrainConfig(
        layers=3, channels=4, batch_size=8, epochs=1, head="linear",
        cutout=cutout, drop_path=0.2, auxiliary=0.4,
    )  # fmt: skip
    cut = dartslib.data.split(_noise_set(80), None, 0.0)
    batches = _noise_set(80).batches(cut.final_train, 8, cutout=cutout, device="cuda")
    return Training(config, DARTS_V2, batches, device="cuda")


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("loop", [
    *(pytest.param((_real_search, method), id=method) for method in METHODS),
    pytest.param((_real_training, 8), id="training"),
])  # fmt: skip
def test_a_step_within_an_epoch_does_not_wait_for_the_device(loop):
    make, argument = loop
    loop = make(argument)
    loop.advance()  # the order of the epoch is copied here
    try:
        torch.cuda.set_sync_debug_mode("error")
        loop.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")

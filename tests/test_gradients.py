"""The hypergradient against formulas, a real optimizer's step, and dense derivatives."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain import Plain, is_one_sentence
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dartslib import operations
from dartslib.gradients import METHODS, BatchLoss, hypergradient
from dartslib.relaxation import Architecture
from dartslib.space import SearchSpace
from dartslib.supernet import Supernet

TWO_LEVELS = ("finite_difference", "exact")


def _double(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


# The toy problem


def _toy_train(w, alpha):
    return (w[0] - alpha[0]) ** 2


def _toy_valid(w, alpha):
    return alpha[0] * w[0] - 2 * alpha[0] + 1


@pytest.mark.parametrize("method", TWO_LEVELS)
@pytest.mark.parametrize(("xi", "gradient"), [(0, -4), (0.3, -0.4), (0.5, 2), (0.7, 4.4)])
def test_first_gradients_of_the_toy_problem(method, xi, gradient):
    found = hypergradient(_toy_train, _toy_valid, _double(-2.0), _double(2.0), method=method, xi=xi)
    assert found.gradient[0].item() == pytest.approx(gradient, abs=1e-12)
    assert found.implicit[0].item() == pytest.approx(-2 * 2.0, abs=1e-11)  # -2 v, v = alpha
    ahead = -2 - 2 * xi * (-2 - 2)
    assert found.direct[0].item() == pytest.approx(ahead - 2)
    assert found.loss.item() == pytest.approx(2 * ahead - 4 + 1)


@pytest.mark.parametrize("method", TWO_LEVELS)
def test_where_v_is_zero_so_is_the_term(method):
    # At alpha = 0, d L_val / d w = 0 and R = 0.01 / ||v|| has no value.
    found = hypergradient(_toy_train, _toy_valid, _double(-2.0), _double(0.0), method=method, xi=1)
    assert found.implicit[0].item() == 0.0
    assert found.gradient[0].item() == pytest.approx(-2 - 2 * 1 * (-2) - 2)


def test_where_v_is_no_number_neither_is_the_term():
    def broken(w, alpha):  # 0, and its slope in w is none
        return (w[0] * 0).sqrt().sum() + 0 * alpha[0].sum()

    found = hypergradient(
        _toy_train, broken, _double(-2.0), _double(1.0), method="finite_difference", xi=1
    )
    assert found.implicit[0].isnan().all() and found.gradient[0].isnan().all()


# Quadratic problems, where the term is known


def _quadratic(seed, weights, logits):
    """L_train = w'Aw/2 - w'B alpha, L_val = |w - c|^2/2 + w'D alpha, of lists of tensors."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    A, B, D, c = draw(weights, weights), draw(weights, logits), draw(weights, logits), draw(weights)
    A = A @ A.T / weights

    def joined(tensors):
        return torch.cat([t.flatten() for t in tensors])

    def train_loss(w, alpha):
        w, alpha = joined(w), joined(alpha)
        return w @ A @ w / 2 - w @ B @ alpha

    def valid_loss(w, alpha):
        w, alpha = joined(w), joined(alpha)
        return ((w - c) ** 2).sum() / 2 + w @ D @ alpha

    w, alpha, buffer = draw(weights), draw(logits), draw(weights)
    return A, B, D, c, w, alpha, buffer, train_loss, valid_loss


@given(
    seed=st.integers(0, 10**6),
    xi=st.floats(0, 1),
    momentum=st.floats(0, 0.99),
    decay=st.floats(0, 0.1),
    radius=st.sampled_from([1e-2, 1e-3, 1.0]),
)
def test_quadratic_problems(seed, xi, momentum, decay, radius):
    A, B, D, c, w, alpha, buffer, train_loss, valid_loss = _quadratic(seed, 5, 4)
    ahead = w - xi * (momentum * buffer + A @ w - B @ alpha + decay * w)
    v = ahead - c + D @ alpha
    direct = D.T @ ahead
    implicit = -B.T @ v

    for method in METHODS:
        found = hypergradient(
            train_loss,
            valid_loss,
            [w[:2].view(2, 1), w[2:]],
            [alpha[:1], alpha[1:].view(1, 3)],
            method=method,
            xi=xi,
            momentum=momentum,
            buffers=[buffer[:2].view(2, 1), buffer[2:]],
            weight_decay=decay,
            radius=radius,
        )
        assert [g.shape for g in found.gradient] == [(1,), (1, 3)]
        gradient = torch.cat([g.flatten() for g in found.gradient])
        if method == "one_level":
            expected = -B.T @ w
        elif method == "first_order":
            expected = D.T @ w
        else:
            term = torch.cat([g.flatten() for g in found.implicit])
            torch.testing.assert_close(term, implicit, rtol=1e-8, atol=1e-8)
            expected = direct - xi * implicit
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-8)


def test_missing_buffers_count_as_zero():
    _, _, _, _, w, alpha, _, train_loss, valid_loss = _quadratic(0, 4, 3)
    options = {"method": "exact", "xi": 0.1, "momentum": 0.9}
    none, missing, zero = (
        hypergradient(train_loss, valid_loss, [w], [alpha], buffers=buffers, **options)
        for buffers in (None, [None], [torch.zeros_like(w)])
    )
    assert torch.equal(none.gradient[0], zero.gradient[0])
    assert torch.equal(missing.gradient[0], zero.gradient[0])


def test_losses_that_do_not_know_alpha():
    # A hyperparameter of L_train alone (a weight of regularization, say): the direct term is 0.
    w, alpha = _double(3.0), _double(0.5)
    for method, expected in (("first_order", 0.0), ("finite_difference", -0.6), ("exact", -0.6)):
        found = hypergradient(
            lambda w, alpha: alpha[0] * w[0] ** 2 / 2,
            lambda w, alpha: w[0] - 1.0,
            w,
            alpha,
            method=method,
            xi=0.2,
        )
        assert found.gradient[0].item() == pytest.approx(expected, abs=1e-12)
    # And an L_train without alpha: no implicit term.
    for method in TWO_LEVELS:
        found = hypergradient(lambda w, alpha: w[0] * 2.0, _toy_valid, w, alpha, method=method)
        assert found.implicit[0].item() == 0.0


@pytest.mark.parametrize(
    "wrong", [{"method": "second_order"}, {"xi": -0.1}, {"xi": float("nan")}, {"xi": float("inf")}]
)
def test_bad_input(wrong):
    with pytest.raises(ValueError) as error:
        hypergradient(_toy_train, _toy_valid, _double(1.0), _double(1.0), **wrong)
    assert is_one_sentence(error.value)


# A small smooth supernet

SMOOTH = SearchSpace(2, ("sep_conv_3x3", "avg_pool_3x3", "skip_connect", "dil_conv_3x3", "none"))
XI, MOMENTUM, DECAY = 0.025, 0.9, 3e-4


@pytest.fixture
def smooth():
    """Supernet, alpha, both losses and a filled momentum buffer: float64, SiLU for ReLU."""
    torch.manual_seed(5)
    net = Supernet(
        SMOOTH, channels=2, layers=2, num_classes=3, reductions=(1,), image_size=8
    ).double()
    _swap(net)
    generator = torch.Generator().manual_seed(6)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    architecture = Architecture(SMOOTH, init_std=0.5, generator=generator, dtype=torch.float64)
    batches = [(draw(8, 3, 8, 8), torch.arange(8) % 3), (draw(8, 3, 8, 8), torch.arange(8) % 3)]
    train_loss, valid_loss = (BatchLoss(net, architecture, *batch) for batch in batches)
    w = list(net.parameters())
    return SimpleNamespace(
        net=net,
        architecture=architecture,
        batches=batches,
        losses=(train_loss, valid_loss),
        w=w,
        alpha=architecture.alpha,
        buffers=[0.1 * draw(*p.shape) for p in w],
    )


def _swap(module):
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.SiLU())
        else:
            _swap(child)


def _hypergradient(s, method, xi=XI, radius=0.01):
    return hypergradient(
        *s.losses,
        s.w,
        s.alpha,
        method=method,
        xi=xi,
        momentum=MOMENTUM,
        buffers=s.buffers,
        weight_decay=DECAY,
        radius=radius,
    )


def _flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def _plain_loss(s, batch, w, alpha):
    """The cross-entropy by the second forward pass of these tests, pure in w and in alpha."""
    images, labels = batch
    tables = {"normal": alpha[0].softmax(-1), "reduction": alpha[1].softmax(-1)}
    scores = Plain(w, activation=F.silu).supernet(images, tables, SMOOTH, 2, (1,))
    return F.cross_entropy(scores, labels)


def _by_an_optimizer_and_a_dense_derivative(s):
    """Both terms: w' by torch.optim.SGD on a copy, the mixed derivative as a matrix."""
    ahead = copy.deepcopy(s.net)
    optimizer = torch.optim.SGD(ahead.parameters(), XI, MOMENTUM, weight_decay=DECAY)
    for p, buffer in zip(ahead.parameters(), s.buffers, strict=True):
        optimizer.state[p]["momentum_buffer"] = buffer.clone()
    images, labels = s.batches[0]
    F.cross_entropy(ahead(images, s.architecture.probabilities()), labels).backward()
    optimizer.step()

    optimizer.zero_grad()
    alpha = [logits.detach().clone().requires_grad_() for logits in s.alpha]
    _plain_loss(s, s.batches[1], list(ahead.parameters()), alpha).backward()
    v = _flat([p.grad for p in ahead.parameters()])
    direct = [logits.grad for logits in alpha]

    w = [p.detach() for p in s.w]

    def weight_gradient(*alpha):
        def loss(*w):
            return _plain_loss(s, s.batches[0], w, alpha)

        gradient = torch.func.grad(loss, argnums=tuple(range(len(w))))(*w)
        return torch.cat([g.flatten() for g in gradient])

    # Forward over reverse, a column an entry of alpha: another way than dartslib's one product.
    matrices = torch.func.jacfwd(weight_gradient, argnums=(0, 1))(*[a.detach() for a in s.alpha])
    implicit = [torch.einsum("weo,w->eo", matrix, v) for matrix in matrices]
    return direct, implicit


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by jacfwd
def test_exact_second_order_is_the_dense_one(smooth):
    direct, implicit = _by_an_optimizer_and_a_dense_derivative(smooth)
    found = _hypergradient(smooth, "exact")
    for ours, theirs in ((found.direct, direct), (found.implicit, implicit)):
        assert min(t.abs().max().item() for t in theirs) > 1e-3  # else the comparison says nothing
        torch.testing.assert_close(_flat(ours), _flat(theirs), rtol=1e-8, atol=1e-10)
    expected = _flat(direct) - XI * _flat(implicit)
    torch.testing.assert_close(_flat(found.gradient), expected, rtol=1e-9, atol=1e-11)


def test_error_of_finite_differences(smooth):
    exact = _flat(_hypergradient(smooth, "exact").implicit)

    def error(radius):
        found = _flat(_hypergradient(smooth, "finite_difference", radius=radius).implicit)
        return ((found - exact).norm() / exact.norm()).item()

    errors = [error(radius) for radius in (0.01, 0.005, 0.0025)]
    assert errors[0] < 1e-2
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse / fine == pytest.approx(4, rel=0.03)  # central differences: fourfold
    assert error(1e-3) < 1e-5


@pytest.mark.parametrize("radius", [0.01, 0.3])
def test_the_step_of_the_difference_is_the_radius(radius):
    """Both passes are at w +- R v with R = radius / ||v||, over all tensors of w together."""
    _, _, _, c, w, alpha, _, train_loss, valid_loss = _quadratic(1, 6, 3)
    asked = []

    def watched(w, alpha):
        asked.append(torch.cat([t.detach().flatten() for t in w]))
        return train_loss(w, alpha)

    parts = [w[:2], w[2:].view(2, 2)]
    hypergradient(watched, valid_loss, parts, [alpha], radius=radius)  # at xi = 0: w' = w
    v = torch.autograd.grad(valid_loss(free := [w.requires_grad_()], [alpha]), free)[0]
    assert abs(v.norm() - 1) > 0.5  # else ||v|| might be left out
    _, plus, minus = asked
    torch.testing.assert_close(plus - w.detach(), radius * v / v.norm())
    torch.testing.assert_close(minus - w.detach(), -radius * v / v.norm())


def test_the_default_radius_is_the_papers(smooth):
    found = hypergradient(*smooth.losses, smooth.w, smooth.alpha, xi=XI)
    same = hypergradient(*smooth.losses, smooth.w, smooth.alpha, xi=XI, radius=0.01)
    assert torch.equal(_flat(found.gradient), _flat(same.gradient))


@pytest.mark.parametrize("method", TWO_LEVELS)
def test_as_xi_shrinks_the_difference_from_first_order_does(smooth, method):
    first = _flat(_hypergradient(smooth, "first_order").gradient)

    def difference(xi):
        return (_flat(_hypergradient(smooth, method, xi).gradient) - first).norm().item()

    base = difference(1e-3)
    assert base > 0
    for xi in (1e-5, 1e-7):
        assert difference(xi) / base == pytest.approx(xi / 1e-3, rel=0.05)
    assert difference(0.0) < 1e-15


@pytest.mark.parametrize(("method", "passes"), [("finite_difference", 4), ("exact", 2)])
@pytest.mark.parametrize("xi", [0.0, 1e-12, XI])
def test_no_branch_on_xi(smooth, method, passes, xi):
    calls = []
    first, second = smooth.losses
    smooth.losses = (
        lambda w, alpha: calls.append("train") or first(w, alpha),
        lambda w, alpha: calls.append("valid") or second(w, alpha),
    )
    _hypergradient(smooth, method, xi)
    assert len(calls) == passes and calls.count("valid") == 1


def test_first_order_and_one_level_are_plain_gradients(smooth):
    for method, batch in (("one_level", 0), ("first_order", 1)):
        alpha = [logits.detach().clone().requires_grad_() for logits in smooth.alpha]
        expected = torch.autograd.grad(
            _plain_loss(smooth, smooth.batches[batch], smooth.w, alpha), alpha
        )
        found = _hypergradient(smooth, method)
        torch.testing.assert_close(_flat(found.gradient), _flat(expected))
        assert found.implicit == []
        torch.testing.assert_close(
            found.loss, _plain_loss(smooth, smooth.batches[batch], smooth.w, smooth.alpha).detach()
        )


class _WeightGradients(TorchDispatchMode):
    """Records which backward passes of convolutions compute a gradient of the kernel."""

    def __init__(self):
        super().__init__()
        self.kernels, self.scales = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name == "convolution_backward":
            self.kernels.append(args[-1][1])
        if name == "native_batch_norm_backward":
            self.scales.append(args[-1][1] and args[2] is not None)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
def test_which_passes_compute_weight_gradients(smooth, method):
    with _WeightGradients() as seen:
        _hypergradient(smooth, method)
    assert seen.kernels  # the pass went through convolutions
    if method in ("one_level", "first_order"):
        assert not any(seen.kernels) and not any(seen.scales)
    elif method == "finite_difference":
        # Two of the four passes are for alpha alone: the two at w + R v and w - R v.
        assert any(seen.kernels)
        assert not any(seen.kernels[-len(seen.kernels) // 4 :])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_everything_is_afterwards_as_before(smooth, method, training):
    smooth.net.train(training)
    for tensor in [*smooth.w, *smooth.alpha]:
        tensor.grad = torch.randn_like(tensor)
    held = {
        **smooth.net.state_dict(),
        **{f"buffer {i}": buffer for i, buffer in enumerate(smooth.buffers)},
        **{f"alpha {i}": logits for i, logits in enumerate(smooth.alpha)},
        **{f"grad {i}": t.grad for i, t in enumerate([*smooth.w, *smooth.alpha])},
    }
    assert any("num_batches_tracked" in name for name in held)
    before = {name: tensor.detach().clone() for name, tensor in held.items()}
    state = torch.get_rng_state()
    _hypergradient(smooth, method)
    assert all(torch.equal(tensor, before[name]) for name, tensor in held.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(tensor.requires_grad and tensor.is_leaf for tensor in [*smooth.w, *smooth.alpha])


@pytest.mark.parametrize("method", METHODS)
def test_alpha_of_a_cell_type_the_network_lacks(method):
    torch.manual_seed(0)
    net = Supernet(SMOOTH, channels=2, layers=1, num_classes=3, reductions=()).double()
    architecture = Architecture(SMOOTH, dtype=torch.float64)
    batch = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    loss = BatchLoss(net, architecture, *batch)
    found = hypergradient(
        loss, loss, list(net.parameters()), architecture.alpha, method=method, xi=0.1
    )
    normal, reduction = found.gradient
    assert normal.any() and not reduction.any() and reduction.shape == (5, 5)


class _Once(torch.autograd.Function):
    """2 x with a backward pass that cannot be differentiated, as in a fused kernel."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * gradient


class _Doubled(nn.Module):
    def forward(self, x):
        return _Once.apply(x)


class _NoSecond(torch.autograd.Function):
    """2 x like those functions of torch whose backward pass has no derivative."""

    @staticmethod
    def forward(ctx, gradient):
        return 2 * gradient

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("derivative for aten::doubled_backward is not implemented")


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return _NoSecond.apply(gradient)


class _Undifferentiated(nn.Module):
    def forward(self, x):
        return _First.apply(x)


@pytest.mark.parametrize(
    ("module", "reason"),
    [(_Doubled, "once_differentiable"), (_Undifferentiated, "not implemented")],
)
def test_exact_refuses_what_cannot_be_differentiated_twice(monkeypatch, module, reason):
    monkeypatch.setattr(operations, "OPERATIONS", dict(operations.OPERATIONS))
    operations.register("once")(lambda channels, stride, searching: module())
    space = SearchSpace(1, ("sep_conv_3x3", "once"))
    net = Supernet(space, channels=2, layers=1, num_classes=3, reductions=())
    architecture = Architecture(space)
    loss = BatchLoss(net, architecture, torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))
    arguments = loss, loss, list(net.parameters()), architecture.alpha
    with pytest.raises(ValueError, match="finite_difference") as error:
        hypergradient(*arguments, method="exact", xi=0.1)
    assert is_one_sentence(error.value)
    assert reason in str(error.value)
    assert hypergradient(*arguments, method="finite_difference", xi=0.1).implicit[0].any()


def test_accuracy_of_the_last_call(smooth):
    loss = smooth.losses[0]
    loss(smooth.w, smooth.alpha)
    images, labels = smooth.batches[0]
    scores = smooth.net(images, smooth.architecture.mixture())
    right = sum(int(row.argmax()) == int(label) for row, label in zip(scores, labels, strict=True))
    assert loss.accuracy.item() == pytest.approx(right / len(labels))

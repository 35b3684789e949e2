"""The hypergradient: which way alpha should move when w follows it.

Sections 1.1 and 2.3 of the report, equations (5) to (8) of Liu et al. (2019). `hypergradient` knows
nothing of networks: it takes any two losses L_train(w, alpha) and L_val(w, alpha), functions of
lists of tensors, so that the toy problem and the supernet go through the same lines.

Because the losses are pure functions, the step ahead needs no copy of the network, and nothing has
to be restored: w, its gradients and the BatchNorm statistics never change.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dartslib.relaxation import START, Architecture, Moment, Tables

METHODS = ("one_level", "first_order", "finite_difference", "exact")
Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Hypergradient:
    """The gradient for alpha and its two terms; lists of tensors shaped like alpha.

    Attributes:
        gradient: direct - xi * implicit.
        direct: d L_val(w', alpha) / d alpha with w' held fixed.
        implicit: (d2 L_train / d alpha dw) v with v = d L_val(w', alpha) / d w'; empty in the
            methods without a second term.
        loss: the loss whose gradient `direct` is, a detached scalar.
    """

    gradient: list[Tensor]
    direct: list[Tensor]
    implicit: list[Tensor]
    loss: Tensor


def hypergradient(
    train_loss: Loss,
    valid_loss: Loss | None,
    w: Sequence[Tensor],
    alpha: Sequence[Tensor],
    *,
    method: str = "finite_difference",
    xi: float = 0.0,
    momentum: float = 0.0,
    buffers: Sequence[Tensor | None] | None = None,
    weight_decay: float = 0.0,
    radius: float = 0.01,
) -> Hypergradient:
    """The approximate gradient of L_val(w*(alpha), alpha) with respect to alpha.

    Args:
        train_loss, valid_loss: L_train and L_val, each (w, alpha) -> scalar tensor.
        w, alpha: lists of tensors; neither they nor their .grad are changed.
        method: "one_level": d L_train / d alpha, no second level (L_train then holds all data).
            "first_order": d L_val(w, alpha) / d alpha, as if w did not depend on alpha.
            "finite_difference": with the implicit term, as a difference of two gradients (equation
            8 of the paper). "exact": the same term by double backward.
        xi: learning rate of the step ahead, w' = w - xi * (momentum * buffer + gradient +
            weight_decay * w). 0 gives the first order's value at the second order's cost.
        momentum, buffers, weight_decay: those of w's optimizer, so that w' is its next step at this
            alpha, before any clipping; a missing buffer counts as 0.
        radius: the finite difference moves w by R v, where R = radius / ||v||.

    Raises:
        ValueError: an unknown method, a negative xi, a radius of 0, or "exact" with an operation
            that cannot be differentiated twice.
    """
    if method not in METHODS:
        raise ValueError(f"There is no method {method!r}: choose one of {', '.join(METHODS)}.")
    if not (0 <= xi < float("inf") and 0 < radius < float("inf")):
        raise ValueError(f"xi must be finite and not below 0, radius above 0, not {xi}, {radius}.")
    # Each pass below gets "fixed" tensors, without a gradient, and "free" ones, leaves of its own.
    fixed_w = [p.detach() for p in w]
    fixed_alpha = [a.detach() for a in alpha]

    if method in ("one_level", "first_order"):
        # Only alpha is free: backward computes no gradient of any weight.
        loss_function = train_loss if method == "one_level" else valid_loss
        free_alpha = leaves(alpha)
        loss = loss_function(fixed_w, free_alpha)
        direct = _grad(loss, free_alpha)
        return Hypergradient(direct, direct, [], loss.detach())

    # 1. g = d L_train(w, alpha) / d w. For "exact" its graph is kept, with alpha in it, because g
    # is differentiated again below.
    exact = method == "exact"
    free_w = leaves(w)
    twice_alpha = leaves(alpha) if exact else fixed_alpha
    loss = train_loss(free_w, twice_alpha)
    with _refusal() if exact else nullcontext():
        train_gradient = _grad(loss, free_w, create_graph=exact)
    # 2. w', where the optimizer's next step would take w (equation 6).
    buffers = buffers or [None] * len(fixed_w)
    with torch.no_grad():
        ahead = [
            p - xi * (g + weight_decay * p + (0.0 if b is None else momentum * b))
            for p, g, b in zip(fixed_w, train_gradient, buffers, strict=True)
        ]

    # 3. Both gradients of L_val at (w', alpha) in one pass: for alpha the direct term, for w' v.
    ahead, free_alpha = leaves(ahead), leaves(alpha)
    loss = valid_loss(ahead, free_alpha)
    both = _grad(loss, [*free_alpha, *ahead])
    direct, v = both[: len(alpha)], both[len(alpha) :]

    # 4. The implicit term, a mixed second derivative of L_train times v. It belongs to the point w
    # where the step ahead started, not to w'. The chain rule gives its sign: w' has -xi g in it.
    if exact:
        implicit = _exact_term(train_gradient, twice_alpha, v)
    else:
        implicit = _finite_difference_term(train_loss, fixed_w, alpha, v, radius)
    gradient = [d - xi * i for d, i in zip(direct, implicit, strict=True)]
    return Hypergradient(gradient, direct, implicit, loss.detach())


def leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same values as leaves of a new graph."""
    return [t.detach().requires_grad_() for t in tensors]


def _grad(loss: Tensor, inputs: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """Gradients of the loss; 0 for an input that it does not depend on.

    Such an input is alpha of a cell type that the network lacks, or a hyperparameter that only
    L_train knows.
    """
    if not loss.requires_grad:  # it depends on none of them
        return [torch.zeros_like(t) for t in inputs]
    found = torch.autograd.grad(loss, inputs, create_graph=create_graph, materialize_grads=True)
    return list(found)


def _exact_term(
    train_gradient: Sequence[Tensor], alpha: Sequence[Tensor], v: Sequence[Tensor]
) -> list[Tensor]:
    """d <d L_train / d w, v> / d alpha with v fixed: the mixed second derivative times v."""
    # The product is a scalar, so one more backward pass does, and no matrix is ever formed.
    product = sum((g * d).sum() for g, d in zip(train_gradient, v, strict=True))
    with _refusal():
        _check_whole(product)
        return _grad(product, alpha)


@contextmanager
def _refusal() -> Iterator[None]:
    """Turns torch's error into a sentence where a gradient cannot be differentiated again."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(
            "method='exact' needs a network that can be differentiated twice, and this one "
            f"cannot ({str(error).splitlines()[0]}): use method='finite_difference'."
        ) from error


def _check_whole(loss: Tensor) -> None:
    """Raises RuntimeError if the graph of a loss contains a once-differentiable function.

    Torch marks such a function by a node that raises, but disconnects it from alpha: the gradient
    for alpha never reaches that node and would be wrong without an error.
    """
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if type(node).__name__ == "Error":
            raise RuntimeError("a function of it is marked once_differentiable")
        seen.add(node)
        waiting.extend(function for function, _ in node.next_functions)


def _finite_difference_term(
    train_loss: Loss,
    w: Sequence[Tensor],
    alpha: Sequence[Tensor],
    v: Sequence[Tensor],
    radius: float,
) -> list[Tensor]:
    """[d_alpha L_train(w + R v) - d_alpha L_train(w - R v)] / 2R with R = radius / ||v||."""
    # ||v|| over all tensors together, a scalar. An `if` on it would wait for the GPU, hence
    # `where`: if it is 0, the term is 0; if it is nan, so is the term, which is what we want.
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(d) for d in v]))
    step = torch.where(norm == 0, 0.0, radius / norm)  # R
    scale = torch.where(norm == 0, 0.0, norm / (2 * radius))  # 1 / 2R

    def gradient_at(sign: int) -> list[Tensor]:
        free_alpha = leaves(alpha)
        moved = [p + sign * step * d for p, d in zip(w, v, strict=True)]
        return _grad(train_loss(moved, free_alpha), free_alpha)

    with _whole_float32(w):
        plus, minus = gradient_at(1), gradient_at(-1)
    return [(p - m) * scale for p, m in zip(plus, minus, strict=True)]


@contextmanager
def _whole_float32(w: Sequence[Tensor]) -> Iterator[None]:
    """No TensorFloat-32, torch's default on a GPU: it would round w + R v to w."""
    before = torch.backends.cudnn.allow_tf32 if w[0].is_cuda else None
    if before:
        torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if before:
            torch.backends.cudnn.allow_tf32 = True


class BatchLoss:
    """The cross-entropy of one batch as a function of (w, alpha): L_train or L_val for a supernet.

    BatchNorm runs in the mode of the supernet, on copies of its statistics.

    Args:
        supernet: called as supernet(images, mixture, moment).
        architecture: turns alpha into a mixture; its own logits are not read.
        images, labels: (N, C, H, W) and (N,).
        moment: of the search. Every call resets its generator to the state it has now, so that the
            loss is a function of w and alpha alone.

    Attributes:
        loss, accuracy: of the last call, detached scalars; the accuracy is a fraction.
    """

    def __init__(
        self,
        supernet: nn.Module,
        architecture: Architecture,
        images: Tensor,
        labels: Tensor,
        *,
        moment: Moment = START,
    ) -> None:
        self.supernet, self.architecture = supernet, architecture
        self.images, self.labels, self.moment = images, labels, moment
        self.draw = None if moment.generator is None else moment.generator.get_state()
        self.loss: Tensor | None = None
        self.accuracy: Tensor | None = None

    def __call__(self, w: Sequence[Tensor], alpha: Sequence[Tensor]) -> Tensor:
        """The mean cross-entropy, a scalar; w is ordered as supernet.parameters()."""
        if self.draw is not None:
            self.moment.generator.set_state(self.draw)
        return self.at(w, self.architecture.mixture(alpha, self.moment))

    def at(self, w: Sequence[Tensor], mixture: Tables) -> Tensor:
        """The same for a given mixture."""
        # functional_call runs the supernet with w for its parameters and copies for its buffers.
        names = (name for name, _ in self.supernet.named_parameters())
        state = dict(zip(names, w, strict=True))
        state |= {name: buffer.clone() for name, buffer in self.supernet.named_buffers()}
        scores = functional_call(self.supernet, state, (self.images, mixture, self.moment))
        loss = F.cross_entropy(scores, self.labels)
        self.loss, self.accuracy = loss.detach(), accuracy(scores, self.labels)
        return loss


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Fraction of a batch whose largest of scores (N, classes) is at its label (N,), a scalar."""
    return (scores.detach().argmax(dim=1) == labels).float().mean()

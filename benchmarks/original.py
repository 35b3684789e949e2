"""A search step as the paper's code makes it: what `benchmarks.speed` calls plain.

The same steps as `Search.advance` with methods first_order and finite_difference, on the plain
supernet; quark0/darts, cnn/train_search.py and cnn/architect.py. It differs in the work done:

1. Alpha's pass goes back to all weights, whose gradients are then dropped.
2. The pass for w goes back to alpha, whose gradient is dropped.
3. The step ahead is made on a copy of the network. The original builds a new network and loads the
   weights into it, which takes longer.
4. The finite difference moves the weights in place, there and back, which does not restore them to
   the bit; and every pass moves the running statistics of BatchNorm.

It stays a little behind the original where the lesson's modules do less: `none` is zeros without a
gradient (the original multiplies by 0), a factorized reduction slices its input and convolves
without stride, and no accuracy is counted. The first and the last make plain faster; the second is
a small part of a step.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dartslib.loops import cosine, set_lr
from dartslib.searching import Search


class OriginalSearch(Search):
    """A `Search` whose step does the work of the original's."""

    def advance(self) -> None:
        """One step: alpha, then w."""
        config = self.config
        set_lr(self.w_optimizer, cosine(config.w_lr, config.w_lr_min, self.step / self.steps))
        train, valid = self._batch(self.train), self._batch(self.valid)
        self.supernet.train()
        self.alpha_optimizer.zero_grad()
        if config.gradient == "first_order":
            self.loss(*valid).backward()
        else:
            self.look_ahead(train, valid)
        self.alpha_optimizer.step()

        self.w_optimizer.zero_grad()
        self.loss(*train).backward()
        nn.utils.clip_grad_norm_(self.w, config.clip)
        self.w_optimizer.step()
        self.step += 1

    def loss(self, images: Tensor, labels: Tensor, supernet: nn.Module | None = None) -> Tensor:
        """The mean cross-entropy; the supernet's own unless another is given."""
        scores = (supernet or self.supernet)(images, self.architecture.mixture())
        return F.cross_entropy(scores, labels)

    def look_ahead(self, train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor]) -> None:
        """Sets alpha's gradient: one step ahead, the implicit term by a finite difference."""
        config, alpha = self.config, self.architecture.alpha
        slopes = torch.autograd.grad(self.loss(*train), self.w)
        ahead = deepcopy(self.supernet)
        with torch.no_grad():
            for p, slope in zip(ahead.parameters(), slopes, strict=True):
                p -= self.xi * (slope + config.w_weight_decay * p)
            for p, own in zip(ahead.parameters(), self.w, strict=True):
                buffer = self.w_optimizer.state[own].get("momentum_buffer")
                if buffer is not None:
                    p -= self.xi * config.momentum * buffer
        self.loss(*valid, ahead).backward()

        v = [p.grad for p in ahead.parameters()]
        step = config.radius / torch.cat([d.flatten() for d in v]).norm()
        self._move(v, step)
        plus = torch.autograd.grad(self.loss(*train), alpha)
        self._move(v, -2 * step)
        minus = torch.autograd.grad(self.loss(*train), alpha)
        self._move(v, step)
        for logits, p, m in zip(alpha, plus, minus, strict=True):
            logits.grad -= self.xi * (p - m) / (2 * step)

    @torch.no_grad()
    def _move(self, direction: list[Tensor], length: Tensor) -> None:
        for p, d in zip(self.w, direction, strict=True):
            p += length * d

"""ProxylessNAS: one path runs; the gradient of alpha comes from a gate per operation.

Cai et al., "ProxylessNAS: direct neural architecture search on target task and hardware" (ICLR
2019). With p = softmax(alpha) the gate of one operation k is drawn to be 1, others are 0::

    y = o_k(x);    dL/dg_j = <dL/dy, o_j(x)>;    dL/d alpha_i = sum_j dL/dg_j p_j (1[i = j] - p_i)

That is DARTS's gradient at the y of one path. Operations other than k run without a graph. With
`paths="two"` two are drawn and compete alone; afterwards both logits are shifted by one number, so
that the probabilities of the others are as before.

Latency E (see `latency`) is in the loss, with E_0 for comparison, as
0.2 L_val (log E / log E_0)^0.3 ("log") or L_val + 0.1 (E - E_0) / E_0 ("linear").

What differs from the paper and its code (mit-han-lab/proxylessnas), on purpose:

1. Alpha rests for 0.25 of the steps (40 of 160 epochs), then moves in each fifth step, before w.
   With two paths the shift comes after w's step.
2. Logarithms are of microseconds; E_0 is what equal probabilities cost.
3. Gradients other than first_order need a graph of all paths. There is no REINFORCE.

Its settings: alpha by Adam at 1e-3, betas 0 and 0.999, no weight decay.
"""

from contextlib import nullcontext
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from dartslib.loops import step_generator
from dartslib.methods.gdas import OneOperation
from dartslib.methods.latency import Milliseconds, Priced
from dartslib.methods.pc_darts import WarmUp
from dartslib.relaxation import START, Moment, Tables
from dartslib.searching import Search
from dartslib.settings import Fraction
from dartslib.space import CELL_TYPES, SearchSpace

ASKED = 1e-30  # a gate that is 0, of an operation that runs for the gradient of the gate


class Gates(OneOperation):
    """Runs the operation whose gate is 1, and for alpha those whose gradient is asked for."""

    def forward(self, x: Tensor, mixture: Tensor, moment: Moment = START) -> Tensor:
        """As `MixedOperation.forward`; mixture holds the gates."""
        if not mixture.requires_grad:
            return super().forward(x, mixture * (mixture > ASKED), moment)
        drawn, asks = int(mixture.argmax()), mixture.detach().nonzero().flatten().tolist()
        w = [p.requires_grad for p in self.parameters()]
        graph = any(w) or not w  # w asks for a gradient, too (or is elsewhere, and may)
        found = torch.zeros_like(x[:, :, :: self.stride, :: self.stride])  # (N, C, H', W')
        for k in asks:
            with nullcontext() if graph or k == drawn else torch.no_grad():
                output = self.operations[k](x)
            found = found + mixture[k] * output
        return found


class ProxylessNAS(WarmUp, Priced, name="proxyless"):
    """Binary gates, and latency in the loss if it is given (Cai et al. 2019, 3.1 to 3.3)."""

    milliseconds: Milliseconds = {}
    """As in `Priced`; none for the loss alone."""
    paths: Literal["all", "two"] = "all"
    """How many operations compete in a step of alpha."""
    every: int = Field(5, ge=1)
    """Alpha moves in one of so many steps."""
    warm_up: Fraction = 0.25
    """Fraction of the search in which only w moves."""
    form: Literal["log", "linear"] = "log"
    """How latency enters the loss."""
    power: float = Field(0.3, ge=0)
    """Of the logarithms: how much latency weighs."""
    weight: float = Field(0.1, ge=0)
    """Of the linear form's latency."""

    edge = staticmethod(Gates)

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """The gates, with the gradient of p."""
        found = {}
        for kind in CELL_TYPES:
            chosen, p, drawn = self._draw(alpha[kind], moment)
            gates = torch.full_like(p, ASKED).scatter(1, drawn, 1.0) + (p - p.detach())
            found[kind] = torch.zeros_like(alpha[kind]).scatter(1, chosen, gates)
        return found

    def _draw(self, logits: Tensor, moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
        """Operations that compete, (edges, some); their probabilities; which of them is drawn."""
        p = logits.softmax(dim=1)
        chosen = torch.arange(p.shape[1], device=p.device).expand(p.shape)
        if self.paths == "two":
            chance = p.detach().cpu().clamp_min(1e-30)
            chosen = torch.multinomial(chance, 2, generator=moment.generator).to(p.device)
            p = logits.gather(1, chosen).softmax(dim=1)  # (edges, 2)
        drawn = torch.multinomial(p.detach().cpu(), 1, generator=moment.generator)
        return chosen, p, drawn.to(p.device)

    def alpha_loss(self, loss: Tensor, alpha: Tables, space: SearchSpace, moment: Moment) -> Tensor:
        """L_val, with the expected latency."""
        if not self.milliseconds:
            return loss
        now = self.latency(alpha, space)
        reference = self.latency({k: torch.zeros_like(a) for k, a in alpha.items()}, space)
        if self.form == "linear":
            return loss + self.weight * (now - reference) / reference
        ratio = (1000 * now).log() / (1000 * reference).log()
        return 0.2 * loss * ratio**self.power

    def moves_alpha(self, moment: Moment) -> bool:
        """After the warm-up, in the last of every few steps."""
        return super().moves_alpha(moment) and (moment.step + 1) % self.every == 0

    def after_step(self, search: Search) -> None:
        """With two paths: shifts the logits of both, and puts the others back."""
        if self.paths == "all":
            return
        architecture, notes, step = search.architecture, search.notes, search.step - 1
        moment = Moment(step, search.steps, step_generator(search.config.seed, step))
        if self.moves_alpha(moment) and notes:
            before = architecture.tables([notes[kind] for kind in CELL_TYPES])
            for kind in CELL_TYPES:
                chosen, _, _ = self._draw(before[kind], moment)  # as in that step
                old, new = (t.gather(1, chosen) for t in (notes[kind], architecture.logits[kind]))
                new = new + old.logsumexp(1, keepdim=True) - new.logsumexp(1, keepdim=True)
                architecture.logits[kind].data.copy_(notes[kind].scatter(1, chosen, new.detach()))
        for kind in CELL_TYPES:
            notes[kind] = architecture.logits[kind].detach().clone()

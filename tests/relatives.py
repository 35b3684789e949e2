"""Not tests: what became of DARTS, each in a few lines, to see that the seam carries it.

They go when `dartslib/methods/` has them: no source here, no checks, settings of a toy.
`test_methods.py` lets each make two steps on noise.
"""

import torch
from torch.nn import functional as F

from dartslib.genotypes import Genotype
from dartslib.methods.gdas import gumbel_softmax
from dartslib.operations import build
from dartslib.relaxation import START, MixedOperation, Relaxation
from dartslib.space import CELL_TYPES

BOTH = CELL_TYPES


class SDARTS(Relaxation):
    reach: float = 0.3
    ascents: int = 0

    def mixture_for_w(self, mixture, loss, moment):
        def noise(p):
            return self.reach * (2 * torch.rand(p.shape, generator=moment.generator) - 1)

        moved = {k: p + noise(p) for k, p in mixture.items()}
        for _ in range(self.ascents):
            free = {k: p.detach().requires_grad_() for k, p in moved.items()}
            up = torch.autograd.grad(loss(free), list(free.values()), materialize_grads=True)
            moved = {
                k: mixture[k] + (p + 0.1 * g.sign() - mixture[k]).clamp(-self.reach, self.reach)
                for (k, p), g in zip(free.items(), up, strict=True)
            }
        clipped = {k: p.detach().clamp(1e-6, 1) for k, p in moved.items()}
        on_edges = {k: p / p.sum(-1, keepdim=True) for k, p in clipped.items()}
        return {k: mixture[k] + (p - mixture[k]).detach() for k, p in on_edges.items()}


class DrNAS(Relaxation):
    def mixture(self, alpha, space, moment):
        found = {}
        for k in BOTH:
            drawn = torch._standard_gamma(F.elu(alpha[k]) + 1 + 1e-6, generator=moment.generator)
            found[k] = drawn / drawn.sum(-1, keepdim=True)
        return found

    def alpha_loss(self, loss, alpha, space, moment):
        return loss + 1e-3 * sum(a.square().mean() for a in alpha.values())


class WithSkip(MixedOperation):
    def __init__(self, names, channels, stride):
        super().__init__(names, channels, stride)
        self.helper = build("skip_connect", channels, stride)

    def forward(self, x, mixture, moment=START):
        return super().forward(x, mixture, moment) + (1 - moment.progress) * self.helper(x)


class DARTSMinus(Relaxation):
    def edge(self, names, channels, stride):
        return WithSkip(names, channels, stride)


class BetaDARTS(Relaxation):
    def alpha_loss(self, loss, alpha, space, moment):
        return loss + 50 * moment.progress * sum(alpha[k].logsumexp(-1).mean() for k in BOTH)


class FairDARTS(Relaxation):
    def probabilities(self, alpha, space):
        return {k: alpha[k].sigmoid() for k in BOTH}

    def alpha_loss(self, loss, alpha, space, moment):
        return loss - 10 * sum((alpha[k].sigmoid() - 0.5).square().mean() for k in BOTH)


class IDARTS(Relaxation):
    def probabilities(self, alpha, space):
        def of_node(table, edges):
            return table[edges].flatten().softmax(0).view(len(edges), -1)

        nodes = [space.edges_into(2 + node) for node in range(space.nodes)]
        return {k: torch.cat([of_node(alpha[k], edges) for edges in nodes]) for k in BOTH}


class SGAS(Relaxation):
    def after_step(self, search):
        for k, p in search.architecture.probabilities().items():
            is_open = search.architecture.open[k]
            undecided = is_open.sum(1) > 1
            if undecided.any():
                edge = int(p.max(1).values.masked_fill(~undecided, -1).argmax())
                is_open[edge] = False
                is_open[edge, p[edge].argmax()] = True
        search.prune()


class SNAS(Relaxation):
    def mixture(self, alpha, space, moment):
        tau = moment.between(1.0, 0.1)
        return {k: gumbel_softmax(alpha[k], tau, moment) for k in BOTH}


class ASAP(Relaxation):
    def mixture(self, alpha, space, moment):
        return {k: (alpha[k] / moment.between(1.3, 0.2)).softmax(-1) for k in BOTH}

    def after_step(self, search):
        for k, p in search.architecture.probabilities().items():
            keep = p >= 0.4 / search.architecture.open[k].sum(1, keepdim=True)
            search.architecture.open[k] &= keep.scatter(1, p.argmax(1, keepdim=True), True)
        search.prune()


class Odd(Relaxation, name="odd"):
    """A table of its own that scales nodes, notes, closing, a loss and a derivation of its own."""

    pull: float = 0.01

    def parameters(self, space):
        return super().parameters(space) | {"scale": (space.nodes,)}

    def mixture(self, alpha, space, moment):
        of_edge = [target - 2 for _, target in space.edges]
        noise = 1 + 0.1 * torch.rand(1, generator=moment.generator)
        scale = (alpha["scale"].exp() * noise)[of_edge][:, None]
        return {k: p * scale for k, p in self.probabilities(alpha, space).items()}

    def mixture_for_w(self, mixture, loss, moment):
        return {
            k: p + 0.01 * torch.rand(p.shape, generator=moment.generator)
            for k, p in mixture.items()
        }

    def alpha_loss(self, loss, alpha, space, moment):
        return loss + self.pull * alpha["scale"].square().sum() * (1 + moment.progress)

    def moves_alpha(self, moment):
        return moment.step != 1

    def after_step(self, search):
        search.notes["sum"] = search.notes.get("sum", torch.zeros(())) + search.step
        if search.step == 2:
            search.architecture.open["normal"][1, 2:5] = False
            search.architecture.open["reduction"][0] = False
            search.architecture.open["reduction"][0, 4] = True
            search.prune()

    def derive(self, probabilities, space, edges_per_node=2):
        cell = super().derive(probabilities, space, edges_per_node)
        return Genotype(*(tuple(node[::-1] for node in cell.cell(k)) for k in BOTH))


FOURTEEN = (
    SDARTS(), SDARTS(ascents=2), DrNAS(), DARTSMinus(), BetaDARTS(), FairDARTS(), IDARTS(), SGAS(),
    SNAS(), ASAP(),
)  # fmt: skip

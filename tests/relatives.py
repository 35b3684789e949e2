"""Not tests: what became of DARTS, each in a few lines, to see that the seam carries it.

They go when `dartslib/methods/` has them: no source here, no checks, settings of a toy.
`test_methods.py` lets each make two steps on noise.
"""

import torch
from torch.nn import functional as F

from dartslib.genotypes import Genotype
from dartslib.methods.snas import SNAS
from dartslib.relaxation import START, MixedOperation, Relaxation
from dartslib.space import CELL_TYPES

BOTH = CELL_TYPES


class DroppedSkip(MixedOperation):
    def __init__(self, names, channels, stride):
        super().__init__(names, channels, stride)
        self.skip = names.index("skip_connect")

    def forward(self, x, mixture, moment=START):
        kept = torch.rand(1, generator=moment.generator) > 0.3 * (1 - moment.progress)
        mask = torch.ones_like(mixture)
        mask[self.skip] = float(kept)
        return super().forward(x, mixture * mask, moment)


class PDARTS(Relaxation):
    def edge(self, names, channels, stride):
        return DroppedSkip(names, channels, stride)

    def after_step(self, search):  # a stage: fewer operations on each edge
        if search.step == search.steps // 2:
            for k, p in search.architecture.probabilities().items():
                best = p.topk(3, dim=1).indices
                search.architecture.open[k] = torch.zeros_like(p, dtype=torch.bool).scatter(
                    1, best, True
                )
            search.prune()


class Gated(torch.autograd.Function):
    """The drawn operation forward; backward each gate's gradient is <dL/dy, o_j(x)>."""

    @staticmethod
    def forward(ctx, y, gates, *others):
        ctx.save_for_backward(*others)
        return y.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (
            gradient,
            torch.stack([(gradient * o).sum() for o in ctx.saved_tensors]),
            *([None] * len(ctx.saved_tensors)),
        )


class Gates(MixedOperation):
    def forward(self, x, mixture, moment=START):
        drawn = int(mixture.argmax())
        y = self.operations[drawn](x)
        if not mixture.requires_grad:
            return y
        with torch.no_grad():
            others = [operation(x) for operation in self.operations]
        return Gated.apply(y, mixture, *others)


class ProxylessNAS(Relaxation):
    def edge(self, names, channels, stride):
        return Gates(names, channels, stride)

    def moves_alpha(self, moment):
        return moment.step % 5 == 0

    def mixture(self, alpha, space, moment):
        found = {}
        for k, p in self.probabilities(alpha, space).items():
            drawn = torch.multinomial(p.detach(), 1, generator=moment.generator)
            found[k] = torch.zeros_like(p).scatter(1, drawn, 1.0) - p.detach() + p
        return found


class FBNet(SNAS):
    def alpha_loss(self, loss, alpha, space, moment):
        costs = torch.arange(1.0, 1 + len(space.operations))
        latency = sum((p * costs).sum() for p in self.probabilities(alpha, space).values())
        return loss * 0.2 * latency.log() ** 0.6


class OLES(Relaxation):
    def after_step(self, search):
        valid = search._batch(search.valid)
        mixture = {k: p.detach() for k, p in search.architecture.mixture().items()}
        loss = F.cross_entropy(search.supernet(valid[0], mixture), valid[1])
        by_valid = torch.autograd.grad(loss, search.w, materialize_grads=True)
        angles = torch.stack([
            F.cosine_similarity(v.flatten(), p.grad.flatten(), dim=0) if p.grad is not None
            else torch.zeros(()) for v, p in zip(by_valid, search.w, strict=True)
        ])  # fmt: skip
        search.notes["angles"] = search.notes.get("angles", torch.zeros_like(angles)) + angles


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


OTHERS = PDARTS(), ProxylessNAS(), FBNet(), OLES(), ASAP()

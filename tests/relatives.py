"""Not tests: two relaxations that are not in the package, to see that the seam carries more."""

import torch

from dartslib.genotypes import Genotype
from dartslib.relaxation import Relaxation
from dartslib.space import CELL_TYPES

BOTH = CELL_TYPES


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


OTHERS = (ASAP(),)

"""From a discrete choice to a softmax: the mixed operation and the architecture.

Section 2.2 of the report, equation (2) of Liu et al. (2019). A relaxation says how logits become
probabilities, what the supernet multiplies by, which operations of an edge run, and how a genotype
is derived. `Softmax` is that of DARTS; another one is a class with the same four members, and
nothing else in the package needs to know of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dartslib import genotypes
from dartslib.operations import build
from dartslib.space import CELL_TYPES, SearchSpace

Tables = dict[str, Tensor]  # cell type -> (edges, operations)


class MixedOperation(nn.Module):
    """All operations of one edge, each times its weight, summed: o(x) = sum_k a_k o_k(x).

    Args:
        names: the operations, in the order of the weights.
        channels: C of input and output.
        stride: 1, or 2 next to the inputs of a reduction cell.
    """

    def __init__(self, names: Sequence[str], channels: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(build(name, channels, stride) for name in names)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x: (N, C, H, W); weights: (operations,). Returns (N, C, ceil(H/s), ceil(W/s))."""
        terms = zip(weights, self.operations, strict=True)
        return sum(weight * operation(x) for weight, operation in terms)


class Softmax:
    """The relaxation of DARTS: one softmax an edge; every operation runs.

    Another relaxation is a subclass of it, given to `Search`. Its `mixed_operation` is the module
    of an edge. A search sets `progress`, from 0 to 1, before each step: for what changes over a
    search, such as a temperature.
    """

    mixed_operation: type[nn.Module] = MixedOperation
    progress: float = 0.0

    def probabilities(self, logits: Tables, space: SearchSpace) -> Tables:
        """What is reported and derived from; each (edges, operations)."""
        return {cell_type: alpha.softmax(dim=-1) for cell_type, alpha in logits.items()}

    def weights(
        self,
        logits: Tables,
        space: SearchSpace,
        generator: torch.Generator | None = None,
    ) -> Tables:
        """What the supernet multiplies by; here the probabilities, elsewhere perhaps a sample.

        The generator is one of the CPU, on every device: draw there, and move what was drawn.
        """
        return self.probabilities(logits, space)

    def derive(
        self, probabilities: Tables, space: SearchSpace, edges_per_node: int = 2
    ) -> genotypes.Genotype:
        """The discrete architecture that the probabilities stand for."""
        return genotypes.derive(probabilities, space, edges_per_node)


class Architecture:
    """Alpha: one table of logits a cell type, apart from the weights of any network.

    It is no module, so that no optimizer of a network's weights can move it.

    Args:
        space: the search space; alpha has a row an edge and a column an operation.
        relaxation: how logits become probabilities; DARTS's softmax unless said otherwise.
        init_std: 0 starts every operation equal (the report), 1e-3 with a little noise (the paper).
        generator: draws that noise, a CPU generator; torch's global one if None.
        device, dtype: of the logits.

    Attributes:
        logits: cell type -> leaf tensor (edges, operations) that requires a gradient.
    """

    def __init__(
        self,
        space: SearchSpace,
        relaxation: Softmax | None = None,
        init_std: float = 0.0,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.space = space
        self.relaxation = relaxation or Softmax()
        shape = len(space.edges), len(space.operations)
        self.logits: Tables = {}
        for cell_type in CELL_TYPES:
            noise = torch.randn(shape, generator=generator) if init_std else torch.zeros(shape)
            self.logits[cell_type] = (init_std * noise).to(device, dtype).requires_grad_()

    @property
    def alpha(self) -> list[Tensor]:
        """The logits as a list, in the order of `CELL_TYPES`: what an optimizer is given."""
        return [self.logits[cell_type] for cell_type in CELL_TYPES]

    def _tables(self, alpha: Sequence[Tensor] | None) -> Tables:
        return self.logits if alpha is None else dict(zip(CELL_TYPES, alpha, strict=True))

    def probabilities(self, alpha: Sequence[Tensor] | None = None) -> Tables:
        """Cell type -> (edges, operations), of these logits or of others of the same shape."""
        return self.relaxation.probabilities(self._tables(alpha), self.space)

    def weights(
        self,
        alpha: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tables:
        """What the supernet is given: cell type -> (edges, operations)."""
        return self.relaxation.weights(self._tables(alpha), self.space, generator)

    def derive(self, edges_per_node: int = 2) -> genotypes.Genotype:
        """The genotype of the present probabilities."""
        return self.relaxation.derive(self.probabilities(), self.space, edges_per_node)

    def state_dict(self) -> Tables:
        """A copy of the logits."""
        return {cell_type: alpha.detach().clone() for cell_type, alpha in self.logits.items()}

    def load_state_dict(self, state: Tables) -> None:
        """Copies logits of the same shapes into these."""
        with torch.no_grad():
            for cell_type, alpha in self.logits.items():
                alpha.copy_(state[cell_type])

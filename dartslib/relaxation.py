"""From a discrete choice to numbers between 0 and 1: mixed operation, relaxation, architecture.

Section 2.2 of the report, equation (2) of Liu et al. (2019). `Relaxation` is that of DARTS. Each
later method is a subclass in `dartslib/methods/` that overrides the members it changes; nothing
else in the package needs to know about it.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dartslib import genotypes
from dartslib.operations import build
from dartslib.settings import Config
from dartslib.space import CELL_TYPES, SearchSpace

if TYPE_CHECKING:  # searching imports this file
    from dartslib.searching import Search

Tables = dict[str, Tensor]  # cell type -> (edges, operations)


class Moment(NamedTuple):
    """Where a search is: what a relaxation may depend on, besides alpha.

    Attributes:
        step, steps: steps done, and in all.
        generator: random numbers fixed by seed and step. A CPU generator on every device: draw on
            the CPU, then move the numbers. None, outside a search, means torch's global one.
    """

    step: int = 0
    steps: int = 1
    generator: torch.Generator | None = None

    @property
    def progress(self) -> float:
        """Fraction of the search that is done: below 1 in every step, 1 after the last."""
        return self.step / self.steps

    def between(self, first: float, last: float) -> float:
        """Linear interpolation: `first` in the first step, `last` in the last one."""
        return first + (last - first) * min(1.0, self.step / max(1, self.steps - 1))


START = Moment()


class MixedOperation(nn.Module):
    """The weighted sum of all operations of one edge, o(x) = sum_k a_k o_k(x).

    Args:
        names: the operations, in the order of the mixture.
        channels: C of input and output.
        stride: 1, or 2 next to the inputs of a reduction cell.

    Attributes:
        open: which operations run; `Search.prune` sets it. If none does, the edge returns zeros.
    """

    def __init__(self, names: Sequence[str], channels: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(build(name, channels, stride) for name in names)
        self.open, self.stride = (True,) * len(names), stride

    def forward(self, x: Tensor, mixture: Tensor, moment: Moment = START) -> Tensor:
        """x: (N, C, H, W); mixture: (operations,). Returns (N, C, ceil(H/s), ceil(W/s))."""
        if not any(self.open):
            return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])
        terms = zip(mixture, self.operations, self.open, strict=True)
        return sum(number * operation(x) for number, operation, is_open in terms if is_open)


class Relaxation(Config):
    """DARTS: one softmax per edge, and every operation runs. Its fields are its settings.

    A subclass overrides what it changes, and may add fields, which go into configuration, record
    and checkpoint. `class Mine(Relaxation, name="mine")` can be requested by that name, which no
    other class may have. It has no state: what a method remembers is in `Search.notes`, and which
    operations still run in `Architecture.open`.

    In all members `alpha` is a dictionary of tensors, one per name of `parameters`. Closed
    operations have the logit -inf there, except on an edge whose operations are all closed.
    """

    name: ClassVar[str] = "darts"

    def __init_subclass__(cls, *, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = name or f"{cls.__module__}.{cls.__qualname__}"
        known = RELAXATIONS.setdefault(name, cls) if name else cls
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"There is a relaxation {name!r} already: choose another name.")
        if name:
            RELAXATIONS[name] = cls  # a notebook cell that is run again replaces its class

    def edge(self, names: Sequence[str], channels: int, stride: int) -> nn.Module:
        """The module of an edge; it is called with (x, its row of the mixture, moment)."""
        return MixedOperation(names, channels, stride)

    def parameters(self, space: SearchSpace) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each tensor of alpha; the tables of the cell types come first."""
        return dict.fromkeys(CELL_TYPES, (len(space.edges), len(space.operations)))

    def probabilities(self, alpha: Tables, space: SearchSpace) -> Tables:
        """What is recorded, and what cells are derived from: cell type -> (edges, operations)."""
        return {cell_type: alpha[cell_type].softmax(dim=-1) for cell_type in CELL_TYPES}

    def mixture(self, alpha: Tables, space: SearchSpace, moment: Moment) -> Tables:
        """What multiplies the operations: here the probabilities, in other methods a sample."""
        return self.probabilities(alpha, space)

    def mixture_for_w(
        self, mixture: Tables, loss: Callable[[Tables], Tensor], moment: Moment
    ) -> Tables:
        """The mixture of w's step.

        `loss` is the loss of w's batch as a function of the mixture; each call draws new random
        numbers. With one level alpha learns through the result, so keep the mixture's graph.
        """
        return mixture

    def alpha_loss(self, loss: Tensor, alpha: Tables, space: SearchSpace, moment: Moment) -> Tensor:
        """What alpha minimizes: L_val, perhaps with a penalty. With one level w does so, too."""
        return loss

    def moves_alpha(self, moment: Moment) -> bool:
        """Whether alpha moves in this step."""
        return True

    def after_step(self, search: "Search") -> None:
        """Called after each step, to close operations or to take notes."""

    def derive(
        self, probabilities: Tables, space: SearchSpace, edges_per_node: int = 2
    ) -> genotypes.Genotype:
        """The discrete architecture for these probabilities."""
        return genotypes.derive(probabilities, space, edges_per_node)


RELAXATIONS: dict[str, type[Relaxation]] = {"darts": Relaxation}


def read_relaxation(value: Any) -> Relaxation:
    """A relaxation from its name or from {"name": …, its settings}; a relaxation stays as it is.

    Raises:
        ValueError: an unknown name, or an unknown or wrong setting.
    """
    if isinstance(value, Relaxation):
        return value
    given = value if isinstance(value, dict) else {"name": value}
    settings = {str(key): setting for key, setting in given.items()}
    name = str(settings.pop("name", None))
    import_module("dartslib.methods")  # registers all methods
    if name not in RELAXATIONS:
        known = ", ".join(sorted(RELAXATIONS))
        raise ValueError(f"There is no relaxation {name!r:.40}: choose one of {known}.")
    return RELAXATIONS[name](**settings)


class Architecture:
    """Alpha: tables of logits. It is no module, so no optimizer of a network's weights moves it.

    Args:
        space: the search space; a table has one row per edge and one column per operation.
        relaxation: how logits become a mixture; by default that of DARTS.
        init_std: 0 starts all operations equal (the report), 1e-3 with a little noise (the paper).
        generator: draws that noise, a CPU generator; torch's global one if None.
        device, dtype: of the logits.

    Attributes:
        logits: name -> leaf tensor that requires a gradient; (edges, operations) per cell type,
            and whatever else the relaxation has.
        open: cell type -> bool (edges, operations), the operations that still run. Closed ones
            have probability 0 and are multiplied by 0.
    """

    def __init__(
        self,
        space: SearchSpace,
        relaxation: Relaxation | None = None,
        *,
        init_std: float = 0.0,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.space = space
        self.relaxation = relaxation or Relaxation()
        self.logits: Tables = {}
        for name, shape in self.relaxation.parameters(space).items():
            noise = torch.randn(shape, generator=generator) if init_std else torch.zeros(shape)
            self.logits[name] = (init_std * noise).to(device, dtype).requires_grad_()
        self.open: Tables = {k: torch.ones_like(self.logits[k], dtype=bool) for k in CELL_TYPES}
        self.pruned = False  # whether anything is closed; a plain bool, so no wait for the device

    @property
    def alpha(self) -> list[Tensor]:
        """The logits as a list, for an optimizer."""
        return list(self.logits.values())

    def tables(self, alpha: Sequence[Tensor] | None = None) -> Tables:
        """The logits, or others of the same shapes, by name; closed operations at -inf."""
        tables = dict(zip(self.logits, self.alpha if alpha is None else alpha, strict=True))
        if self.pruned:
            for cell_type, is_open in self.open.items():
                # Not on an edge that is wholly closed: a softmax of -inf alone would be nan.
                closed = ~is_open & is_open.any(dim=1, keepdim=True)
                tables[cell_type] = tables[cell_type].masked_fill(closed, -torch.inf)
        return tables

    def probabilities(self, alpha: Sequence[Tensor] | None = None) -> Tables:
        """Cell type -> (edges, operations)."""
        return self._closed(self.relaxation.probabilities(self.tables(alpha), self.space))

    def mixture(self, alpha: Sequence[Tensor] | None = None, moment: Moment = START) -> Tables:
        """What the supernet is given: cell type -> (edges, operations)."""
        return self._closed(self.relaxation.mixture(self.tables(alpha), self.space, moment))

    def _closed(self, tables: Tables) -> Tables:
        """The tables (edges, operations) with 0 where an operation is closed."""
        if not self.pruned:
            return tables
        return {k: table.masked_fill(~self.open[k], 0.0) for k, table in tables.items()}

    def undecided(self) -> Tables:
        """Name -> bool, the logits that may move: of open operations that are not alone."""
        free = {name: torch.ones_like(a, dtype=torch.bool) for name, a in self.logits.items()}
        return free | {k: row & (row.sum(1, keepdim=True) > 1) for k, row in self.open.items()}

    def derive(self, edges_per_node: int = 2) -> genotypes.Genotype:
        """The genotype of the present probabilities."""
        return self.relaxation.derive(self.probabilities(), self.space, edges_per_node)

    def state_dict(self) -> Tables:
        """Copies of the logits and of `open`."""
        state = self.logits | {f"open_{cell_type}": table for cell_type, table in self.open.items()}
        return {name: tensor.detach().clone() for name, tensor in state.items()}

    def load_state_dict(self, state: Tables) -> None:
        """Copies the state's values into logits and `open` (old states lack the latter)."""
        with torch.no_grad():
            for name, logits in self.logits.items():
                logits.copy_(state[name])
            for cell_type, is_open in self.open.items():
                is_open.copy_(state.get(f"open_{cell_type}", is_open))
        self.pruned = not all(bool(is_open.all()) for is_open in self.open.values())

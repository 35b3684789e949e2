"""The search: an alpha step, then a w step, again and again.

Algorithm 1 of Liu et al. (2019), section 4.2 ("Training details") of the report. `dartslib.search`
makes a `Search` whose cells run in the fast form where possible.

What differs from the paper's code, on purpose:

1. The learning rate of w falls per step, not per epoch: short runs have few epochs.
2. xi is read from w's optimizer at each step, so it is the rate that the next step will use.
3. Passes for alpha compute no unneeded gradient of w, and do not move BatchNorm's running
   statistics.
4. Images that do not fill a batch are left out of an epoch: 390 steps, not 391.
5. Both halves are shuffled in each epoch, and all randomness in a step is fixed by the seed and
   the number of the step alone.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator
from torch import Tensor
from torch.nn import functional as F

from dartslib.genotypes import as_array, choices, entropy
from dartslib.gradients import METHODS, BatchLoss, accuracy, hypergradient
from dartslib.loops import BatchSource, Loop, LoopConfig, cosine, seeded, set_lr, step_generator
from dartslib.operations import check_name
from dartslib.relaxation import Architecture, Moment, Relaxation, Tables, read_relaxation
from dartslib.settings import Fraction
from dartslib.space import CELL_TYPES, MOST_NODES, REPORT_OPERATIONS, SearchSpace
from dartslib.supernet import Supernet, reduction_cells

# Steps x rate in the report's search, 40 epochs of 390 steps at 3e-4: how far Adam can move alpha.
REPORT_ALPHA_TRAVEL = 40 * 390 * 3e-4
NO_STEP_AHEAD = ("one_level", "first_order")


class SearchConfig(LoopConfig):
    """All settings of a search; the defaults are the report's."""

    half: int | None = Field(None, ge=1)
    """Images per half; None for as many as there are."""
    nodes: int = Field(3, ge=1, le=MOST_NODES)
    """Intermediate nodes of a cell."""
    operations: tuple[str, ...] = REPORT_OPERATIONS
    """Operations that compete on each edge."""
    layers: int = Field(8, ge=1, le=1000)
    """Cells of the supernet."""
    gradient: Literal[METHODS] = "first_order"
    """How alpha's gradient is computed, see `hypergradient`."""
    xi: float | None = Field(None, ge=0)
    """Rate of the step ahead, for gradients that make one; None for w's rate at that step."""
    relaxation: Annotated[
        Relaxation,
        BeforeValidator(read_relaxation),
        PlainSerializer(lambda relaxation: {"name": relaxation.name, **relaxation.model_dump()}),
    ] = Relaxation()
    """How a choice becomes numbers: a name such as "gdas", or {"name": "gdas", its settings}."""
    epochs: int = Field(40, ge=1)
    """Passes over a half."""
    batch_size: int = Field(64, ge=1)
    """Images per batch, of w and of alpha."""
    w_lr: float = Field(0.025, gt=0)
    """First learning rate of w (SGD), falling along a cosine."""
    w_lr_min: float = Field(0.0, ge=0)
    """Last learning rate of w."""
    w_weight_decay: float = Field(3e-4, ge=0)
    alpha_lr: float | None = Field(3e-4, gt=0)
    """Learning rate of alpha (Adam); None for 4.68 / steps, as steps x rate is in the report."""
    alpha_betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    alpha_weight_decay: float = Field(1e-3, ge=0)
    alpha_init_std: float = Field(0.0, ge=0)
    """Noise of the first alpha; 0 starts all operations equal, the paper has 1e-3."""
    radius: float = Field(0.01, gt=0)
    """R = radius / ||v|| in the finite difference."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "SearchConfig":
        for name in self.space().operations:
            check_name(name)
        if self.xi and self.gradient in NO_STEP_AHEAD:
            raise ValueError(f"xi is for gradient=finite_difference or exact, not {self.gradient}.")
        reduction_cells(self.layers, self.reductions)
        return self

    def space(self) -> SearchSpace:
        """The space of these nodes and operations."""
        return SearchSpace(self.nodes, self.operations)


class Search(Loop):
    """A search in progress; iterate it for its records.

    Args:
        config: the settings.
        train, valid: batches of the two halves, such as `dartslib.data.Batches`.
        device: where it runs, and where the batches are.
        sizes: num_classes, in_channels, image_size of the data set; 10, 3 and 32 if left out.

    Attributes:
        supernet, architecture: w and alpha.
        notes: what a relaxation remembers, name -> tensor on alpha's device; part of the state.
        step, steps, seconds, history: as in `Loop`.
    """

    stateful = ("supernet", "architecture", "w_optimizer", "alpha_optimizer")
    advice = "try a smaller learning rate of w (w_lr)"
    hypergradient = staticmethod(hypergradient)  # `methods.ablations` puts another in its place

    def __init__(
        self,
        config: SearchConfig,
        train: BatchSource,
        valid: BatchSource,
        *,
        device: torch.device | str = "cpu",
        **sizes: int,
    ) -> None:
        super().__init__(config, config.epochs * min(len(train), len(valid)), device)
        self.owner = config.model_dump_json(include={"relaxation"})
        self.train, self.valid = train, valid
        self.notes: dict[str, Tensor] = {}
        space, relaxation, std = config.space(), config.relaxation, config.alpha_init_std
        sizes |= config.model_dump(include={"channels", "layers", "head", "reductions"})
        with seeded(config.seed):
            supernet = Supernet(space, edge=relaxation.edge, **sizes)
            self.architecture = Architecture(space, relaxation, init_std=std, device=device)
        self.supernet = supernet.to(device, memory_format=self.memory_format)
        self.w = list(self.supernet.parameters())
        self.w_optimizer = torch.optim.SGD(
            self.w, config.w_lr, config.momentum, weight_decay=config.w_weight_decay
        )
        self.alpha_optimizer = torch.optim.Adam(
            self.architecture.alpha,
            config.alpha_lr or REPORT_ALPHA_TRAVEL / self.steps,
            config.alpha_betas,
            weight_decay=config.alpha_weight_decay,
        )

    @property
    def moment(self) -> Moment:
        """Where the search is, with the generator of its next step."""
        return Moment(self.step, self.steps, step_generator(self.config.seed, self.step))

    def advance(self) -> None:
        """One step: alpha by its hypergradient, then w by its gradient at the new alpha.

        With one level both move by the gradients of one pass.
        """
        config, moment, relaxation = self.config, self.moment, self.config.relaxation
        # w's rate comes first: alpha's step ahead reads xi from it.
        set_lr(self.w_optimizer, cosine(config.w_lr, config.w_lr_min, moment.progress))
        train, valid = self._batch(self.train), self._batch(self.valid)
        one_level, moves = config.gradient == "one_level", relaxation.moves_alpha(moment)
        self.supernet.train()
        if one_level:
            # One level: w and alpha share one batch, of images from both halves.
            train = [torch.cat(pair) for pair in zip(train, valid, strict=True)]  # (2 N, …) each
        elif moves:
            self._alpha_step(train, valid, moment)

        # The mixture of w's step, a draw of its own; with one level its gradient reaches alpha.
        mixture = self.architecture.mixture(moment=moment)
        if not one_level:
            mixture = {cell_type: table.detach() for cell_type, table in mixture.items()}

        def loss_at(mixture: Tables) -> Tensor:
            of_batch = BatchLoss(self.supernet, self.architecture, *train, moment=moment)
            return of_batch.at([p.detach() for p in self.w], mixture)

        mixture = relaxation.mixture_for_w(mixture, loss_at, moment)

        # A plain step of SGD on w's batch, here with BatchNorm's statistics moving.
        images, labels = train
        scores = self.supernet(images, mixture, moment)
        loss = descended = F.cross_entropy(scores, labels)
        if one_level:
            descended = self._alpha_loss(loss, self.architecture.alpha, moment)
        self.w_optimizer.zero_grad()
        self.alpha_optimizer.zero_grad()
        descended.backward()
        if one_level and moves:
            self._move_alpha()  # by the gradient that the same pass left in alpha.grad
        torch.nn.utils.clip_grad_norm_(self.w, config.clip)
        self.w_optimizer.step()
        self.means.add(train_loss=loss, train_accuracy=accuracy(scores, labels))
        self.step += 1
        relaxation.after_step(self)

    def _alpha_step(
        self, train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor], moment: Moment
    ) -> None:
        """Moves alpha by its hypergradient, from a batch of w's half and one of alpha's."""
        config, alpha = self.config, self.architecture.alpha
        train_loss = BatchLoss(self.supernet, self.architecture, *train, moment=moment)
        valid_loss = BatchLoss(self.supernet, self.architecture, *valid, moment=moment)
        result = self.hypergradient(
            train_loss,
            lambda w, alpha: self._alpha_loss(valid_loss(w, alpha), alpha, moment),
            self.w,
            alpha,
            method=config.gradient,
            xi=self.xi,
            momentum=config.momentum,
            buffers=[self.w_optimizer.state[p].get("momentum_buffer") for p in self.w],
            weight_decay=config.w_weight_decay,
            radius=config.radius,
        )
        for logits, gradient in zip(alpha, result.gradient, strict=True):
            logits.grad = gradient  # where Adam looks for it
        self._move_alpha()
        self.means.add(valid_loss=valid_loss.loss, valid_accuracy=valid_loss.accuracy)

    def _alpha_loss(self, loss: Tensor, alpha: Sequence[Tensor], moment: Moment) -> Tensor:
        tables, space = self.architecture.tables(alpha), self.architecture.space
        return self.architecture.relaxation.alpha_loss(loss, tables, space, moment)

    def _move_alpha(self) -> None:
        """A step of Adam, which leaves closed and decided logits where they were."""
        architecture = self.architecture
        before = [alpha.detach().clone() for alpha in architecture.alpha]
        self.alpha_optimizer.step()
        # Weight decay and Adam's moments move logits without a gradient, too: put those back.
        if architecture.pruned:
            free = architecture.undecided().values()
            for alpha, kept, moved in zip(architecture.alpha, before, free, strict=True):
                alpha.data.copy_(torch.where(moved, alpha, kept))

    def prune(self) -> None:
        """Makes exactly the operations run that are open in `architecture.open`."""
        architecture = self.architecture
        rows = {name: table.tolist() for name, table in architecture.open.items()}
        architecture.pruned = not all(all(map(all, table)) for table in rows.values())
        for cell in self.supernet.cells:
            for edge, row in zip(cell.edges, rows[cell.cell_type], strict=True):
                edge.open = tuple(row)

    def state_dict(self) -> dict[str, Any]:
        """That of any `Loop`, and the notes."""
        notes = {name: torch.as_tensor(note).clone() for name, note in self.notes.items()}
        return {"notes": notes} | super().state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of a search with the same configuration."""
        super().load_state_dict(state)
        self.notes = {k: note.to(self.w[0].device) for k, note in state["notes"].items()}
        self.prune()

    @property
    def xi(self) -> float:
        """The rate of the step ahead now; 0 for gradients without one."""
        if self.config.gradient in NO_STEP_AHEAD:
            return 0.0
        rate = self.w_optimizer.param_groups[0]["lr"]
        return rate if self.config.xi is None else self.config.xi

    def each_step(self) -> Iterator[dict[str, Any] | None]:
        """As in `Loop`, but yields a record of step 0 first."""
        if not self.history:
            yield self._record()
        yield from super().each_step()

    def _record(self) -> dict[str, Any]:
        nothing = dict.fromkeys(  # at step 0, and of alpha while it rests
            ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy"), float("nan")
        )
        w_lr = self.w_optimizer.param_groups[0]["lr"]
        record = {"step": self.step, "seconds": self.seconds, "xi": self.xi, "w_lr": w_lr}
        record |= nothing | self.means.take()
        probabilities = self.architecture.probabilities()
        found = choices(probabilities, self.architecture.space)
        for name, logits in self.architecture.logits.items():
            record[f"logits_{name}"] = as_array(logits)
        for cell_type in CELL_TYPES:
            table = as_array(probabilities[cell_type])  # (edges, operations)
            record[f"probabilities_{cell_type}"] = table
            record[f"entropy_{cell_type}"] = entropy(table)
            margins = {c.edge: c.operation_margin for c in found if c.cell_type == cell_type}
            record[f"margin_{cell_type}"] = as_array([margins[edge] for edge in sorted(margins)])
        return self._keep(record)

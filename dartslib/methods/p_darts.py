"""P-DARTS: three searches, each deeper than the one before and with fewer operations.

Chen et al., "Progressive differentiable architecture search" (ICCV 2019). After a stage the least
probable operations of each edge are closed; weights and alpha begin anew. Identities have a
dropout, lest skips win an early race; with u the progress its rate is::

    rate (1 - u) while alpha rests, u < 0.4;    then rate exp(-5 (u - 0.4))

At the end the normal cell keeps at most two skips: the least probable one is closed, the node
chooses again, and so on.

What differs from the paper and its code (chenxin061/pdarts), on purpose:

1. The rate falls per step. As in the code it jumps up again when alpha begins to move.
2. A skip without which its node would have too few inputs stays, even if it is one too many.
3. The limit is a setting; the code prints a cell for each limit from 8 to 0.
4. All stages have the same seed: their first weights and their batches are the same.

Its settings: stages of 25 epochs, batches of 96; w from 0.025 to 0; alpha by Adam at 6e-4, weight
decay 1e-3; dropout as below in the paper, 0.1 / 0.4 / 0.7 in the code's README.
"""

from collections.abc import Callable
from math import exp
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from dartslib.genotypes import Genotype, as_array
from dartslib.methods.pc_darts import WarmUp
from dartslib.methods.stages import Around, Stages
from dartslib.relaxation import START, MixedOperation, Moment, Tables
from dartslib.searching import SearchConfig
from dartslib.settings import Fraction
from dartslib.space import SearchSpace

SKIP = "skip_connect"


class DroppedSkip(MixedOperation):
    """A mixed operation whose identity loses a part of its output, as `rate` says."""

    def __init__(
        self, names: tuple[str, ...], channels: int, stride: int, rate: Callable[[Moment], float]
    ) -> None:
        super().__init__(names, channels, stride)
        self.skip, self.rate = names.index(SKIP), rate

    def forward(self, x: Tensor, mixture: Tensor, moment: Moment = START) -> Tensor:
        """As `MixedOperation.forward`."""
        found = super().forward(x, mixture, moment)  # (N, C, H', W')
        if not (self.training and self.stride == 1 and self.open[self.skip]):
            return found
        rate = self.rate(moment)
        kept = torch.rand(x.shape, generator=moment.generator) >= rate
        return found + mixture[self.skip] * x * (kept.to(x) / (1 - rate) - 1)


class PDARTS(WarmUp, name="p_darts"):
    """One stage: dropout on identities, and at most so many skips (Chen et al. 2019, 3.3)."""

    dropout: Fraction = 0.0
    """Rate at which outputs of identities are dropped, at first."""
    warm_up: Fraction = 0.4
    """Fraction of the search in which only w moves."""
    most_skips: int | None = Field(2, ge=0)
    """How many skips the derived normal cell may have; None for any number."""

    def rate(self, moment: Moment) -> float:
        """The rate of the dropout now."""
        u = moment.progress
        return self.dropout * (1 - u if u < self.warm_up else exp(-5 * (u - self.warm_up)))

    def edge(self, names: tuple[str, ...], channels: int, stride: int) -> MixedOperation:
        """With a dropout if there is one and something to drop."""
        if self.dropout and SKIP in names:
            return DroppedSkip(names, channels, stride, self.rate)
        return super().edge(names, channels, stride)

    def derive(
        self, probabilities: Tables, space: SearchSpace, edges_per_node: int = 2
    ) -> Genotype:
        """By DARTS's rule; then without the least probable skip, until few enough are left."""
        if self.most_skips is None or SKIP not in space.operations:
            return super().derive(probabilities, space, edges_per_node)
        tables = {kind: as_array(table).copy() for kind, table in probabilities.items()}
        normal, skip, weakened = tables["normal"], space.operations.index(SKIP), set()
        while True:
            found = super().derive(tables, space, edges_per_node)
            skips = {
                space.edges.index((source, target))
                for target, node in enumerate(found.normal, start=2)
                for name, source in node
                if name == SKIP
            }
            if len(skips) <= self.most_skips or skips <= weakened:
                normal[list(skips & weakened), skip] *= 1e100  # they stay, as strong as they were
                return super().derive(tables, space, edges_per_node)
            weakest = min(skips - weakened, key=lambda edge: normal[edge, skip])
            weakened.add(weakest)
            normal[weakest, skip] *= 1e-100  # kept only where its node has nothing else


class Progressive(Around, name="p_darts"):
    """The stages (Chen et al. 2019, 3.2); the run's relaxation, if it is a `PDARTS`, is theirs."""

    stages: tuple[tuple[int, Annotated[int, Field(ge=2)], Fraction], ...] = (
        (5, 8, 0.0), (11, 5, 0.4), (17, 3, 0.7),
    )  # fmt: skip
    """Of each: cells, operations per edge (the first has all that there are), dropout."""

    def configs(self, config: SearchConfig) -> list[SearchConfig]:
        """One per stage."""
        stage = config.relaxation if isinstance(config.relaxation, PDARTS) else PDARTS()
        return [
            config.changed(layers=layers, relaxation=stage.changed(dropout=dropout))
            for layers, _, dropout in self.stages
        ]

    def share(self, steps: int) -> int:
        """All stages are as long as each other."""
        return steps // len(self.stages)

    def begin(self, loop: Stages) -> None:
        """Opens what was most probable in the stage before."""
        before, search = loop.searches[loop.stage - 1 : loop.stage + 1]
        for kind, p in before.architecture.probabilities().items():
            best = p.topk(min(self.stages[loop.stage][1], p.shape[1]), dim=1).indices
            search.architecture.open[kind].zero_().scatter_(1, best, True)
        search.prune()

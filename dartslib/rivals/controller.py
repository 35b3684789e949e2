"""ENAS: a controller learns which paths of a supernet do well, while the supernet learns on them.

Pham et al., Efficient Neural Architecture Search via Parameter Sharing, ICML 2018. Differences:
(1) the controller is a softmax per choice, without an LSTM; (2) w draws one cell per batch for all
of them, as theirs does, and the controller's optimizer, entropy and baseline are theirs; (3) two
things of their code help it and are not in the paper, and are not here: a baseline that begins at
0, so that every reward is good news for hundreds of steps (ours begins at the first reward), and
logits that favor separable convolutions from the start (ours are 0); (4) BatchNorm takes its
statistics from the batch that rewards; (5) logits are not squashed by c tanh(l / T); (6) runs are
shorter: a caller chooses steps and rate.
"""

from collections.abc import Iterator

import torch

from dartslib.genotypes import Genotype, derive
from dartslib.gradients import BatchLoss
from dartslib.loops import BatchSource
from dartslib.relaxation import Tables
from dartslib.rivals.sharing import Drawn, draw_cell
from dartslib.searching import Search

DECAY = 0.99  # of the baseline, a running mean of the rewards
CHILDREN = 10  # cells drawn per step of the controller
DRAWN = 100  # cells that the last one is the best of


def enas(
    search: Search,
    *,
    steps: int = 30,
    children: int = CHILDREN,
    rate: float = 0.0035,
    entropy: float = 1e-4,
    seed: int = 0,
) -> Iterator[float]:
    """Runs a search of the relaxation single_path; after each epoch of w the controller learns.

    Args:
        search: at its beginning; its `valid` rewards.
        steps: of the controller per epoch.
        children: cells drawn per step.
        rate: of Adam, for the controller's logits, which are the search's alpha.
        entropy: how much entropy is worth beside accuracy.
        seed: of the draws.

    Yields:
        The baseline after each epoch.
    """
    optimizer = torch.optim.Adam(search.architecture.alpha, rate, betas=(0.0, 0.999), eps=1e-3)
    generator, baseline, asked = torch.Generator().manual_seed(seed), None, 0
    epoch = len(search.train)
    while search.step < search.steps:
        search.advance()
        if search.step % epoch:
            continue
        for _ in range(steps):
            loss = torch.zeros(())
            for _ in range(children):
                drawn = _draw(search, generator)
                reward = _accuracy(search, drawn.path, search.valid, asked)
                reward += entropy * drawn.entropy.item()
                baseline = reward if baseline is None else baseline
                baseline = DECAY * baseline + (1 - DECAY) * reward
                loss = loss - (reward - baseline) * drawn.log_probability / children
                asked += 1
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield baseline


def best_drawn(
    search: Search, unseen: BatchSource, *, count: int = DRAWN, seed: int = 1
) -> Genotype:
    """Draws cells by what the controller has learned; the best on one batch each, the same one."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [_draw(search, generator).path for _ in range(count)]
    best = max(drawn, key=lambda path: _accuracy(search, path, unseen, 0))
    return derive(best, search.architecture.space)


def _draw(search: Search, generator: torch.Generator) -> Drawn:
    architecture = search.architecture
    return draw_cell(architecture.tables(), architecture.space, generator)


@torch.no_grad()
def _accuracy(search: Search, path: Tables, batches: BatchSource, number: int) -> float:
    """Of one path on one batch, with that batch's statistics; w's buffers stay as they are."""
    search.supernet.train()
    of_batch = BatchLoss(search.supernet, search.architecture, *batches.at(number))
    of_batch.at(search.w, path)
    return float(of_batch.accuracy)

"""REINFORCE: a table of probabilities that learns from what the drawn cells were worth.

Williams, 1992; Zoph and Le, Neural Architecture Search with Reinforcement Learning, ICLR 2017.
Differences from Zoph and Le: (1) one softmax per choice instead of an LSTM that writes the cell
down; (2) the reward is the accuracy, less a running mean, over a running deviation, instead of its
cube less a mean; (3) the first ten cells are drawn uniformly, as all rivals do, and set mean and
deviation.
"""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from dartslib.rivals.asking import FIRST, Ask, Found, rival
from dartslib.rivals.coding import Code

TRAVEL = 3.0  # how far Adam can carry a logit in the whole budget: steps x rate
DECAY = 0.9  # of the running mean and deviation of rewards


def probabilities(logits: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A softmax per choice."""
    grown = [np.exp(one - one.max()) for one in logits]
    return [one / one.sum() for one in grown]


def score_gradient(logits: Sequence[np.ndarray], code: Code) -> list[np.ndarray]:
    """d log(probability of the cell) / d logits: one-hot less probability, choice by choice."""
    return [np.eye(len(p))[value] - p for p, value in zip(probabilities(logits), code, strict=True)]


@rival
def reinforce(ask: Ask) -> Iterator[Found]:
    """Draws a cell from the table, asks, and raises its logits where it was better than usual."""
    values = [value for _, value in (yield from ask.first())]
    mean, variance = np.mean(values), np.var(values)
    # Adam by hand, in numpy: as many steps as the rest of the budget pays for.
    rate = TRAVEL / max(1.0, (ask.budget - ask.spent) / (ask.spent / FIRST))
    flat, slopes, squares = np.zeros((3, sum(ask.coding.sizes)))  # all choices in a row
    ends = np.cumsum(ask.coding.sizes)[:-1]
    for step in count(1):
        logits = np.split(flat, ends)
        code = tuple(int(ask.generator.choice(len(p), p=p)) for p in probabilities(logits))
        reward = yield from ask(code)
        up = (
            (reward - mean)
            / max(variance**0.5, 1e-8)
            * np.concatenate(score_gradient(logits, code))
        )
        mean = DECAY * mean + (1 - DECAY) * reward
        variance = DECAY * variance + (1 - DECAY) * (reward - mean) ** 2
        slopes = 0.9 * slopes + 0.1 * up
        squares = 0.999 * squares + 0.001 * up**2
        scale = np.sqrt(squares / (1 - 0.999**step)) + 1e-8
        flat = flat + rate * (slopes / (1 - 0.9**step)) / scale

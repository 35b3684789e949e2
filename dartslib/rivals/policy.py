"""REINFORCE: a table of probabilities that learns from what the drawn cells were worth.

Williams, 1992; Zoph and Le, Neural Architecture Search with Reinforcement Learning, ICLR 2017.
Differences from Zoph and Le: (1) one softmax per choice instead of an LSTM that writes the cell
down; (2) the reward is the accuracy, less a running mean, over a running deviation, instead of its
cube less a mean; (3) the first ten cells are drawn uniformly, as all rivals do, and set mean and
deviation.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dartslib.rivals.asking import FIRST, Ask, Found, first, rival
from dartslib.rivals.coding import Code, Coding

TRAVEL = 3.0  # how far Adam can carry a logit in the whole budget: steps x rate


def probabilities(logits: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A softmax per choice."""
    grown = [np.exp(one - one.max()) for one in logits]
    return [one / one.sum() for one in grown]


def score_gradient(logits: Sequence[np.ndarray], code: Code) -> list[np.ndarray]:
    """d log(probability of the cell) / d logits: one-hot less probability, choice by choice."""
    return [np.eye(len(p))[value] - p for p, value in zip(probabilities(logits), code, strict=True)]


@rival
def reinforce(
    ask: Ask, coding: Coding, generator: np.random.Generator, *, decay: float = 0.9
) -> Iterator[Found]:
    """Draws a cell from the table, asks, and raises its logits where it was better than usual.

    Args:
        ask, coding, generator: as `rival` gives them.
        decay: of the running mean and deviation of rewards.
    """
    values = [value for _, value in (yield from first(ask, coding, generator))]
    mean, variance = np.mean(values), np.var(values)
    # Adam by hand, in numpy: as many steps as the rest of the budget pays for.
    steps = max(1.0, (ask.budget - ask.spent) / (ask.spent / FIRST))
    rate = TRAVEL / steps
    logits = [np.zeros(size) for size in coding.sizes]
    first_moment, second_moment = ([np.zeros(size) for size in coding.sizes] for _ in range(2))
    step = 0
    while True:
        code = tuple(int(generator.choice(len(p), p=p)) for p in probabilities(logits))
        reward = yield from ask(code)
        advantage = (reward - mean) / max(variance**0.5, 1e-8)
        mean = decay * mean + (1 - decay) * reward
        variance = decay * variance + (1 - decay) * (reward - mean) ** 2
        step += 1
        for place, gradient in enumerate(score_gradient(logits, code)):
            up = advantage * gradient
            first_moment[place] = 0.9 * first_moment[place] + 0.1 * up
            second_moment[place] = 0.999 * second_moment[place] + 0.001 * up**2
            corrected = first_moment[place] / (1 - 0.9**step)
            scale = np.sqrt(second_moment[place] / (1 - 0.999**step)) + 1e-8
            logits[place] = logits[place] + rate * corrected / scale

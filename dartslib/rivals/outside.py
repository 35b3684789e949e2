"""A baseline from outside: Optuna's tree-structured Parzen estimator, run by the same loop.

Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011. Needs `pip install
optuna`. Differences from its defaults: its first ten cells are those of all rivals.
"""

from collections.abc import Iterator

import numpy as np

from dartslib.rivals.asking import FIRST, Ask, Found, rival
from dartslib.rivals.coding import Coding


@rival
def optuna_tpe(ask: Ask, coding: Coding, generator: np.random.Generator) -> Iterator[Found]:
    """Optuna chooses every number of a row.

    Args:
        ask, coding, generator: as `rival` gives them.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    codes = [coding.draw(generator) for _ in range(FIRST)]
    sampler = optuna.samplers.TPESampler(
        seed=int(generator.integers(2**31)), n_startup_trials=FIRST
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    kinds = {
        str(place): optuna.distributions.CategoricalDistribution(range(size))
        for place, size in enumerate(coding.sizes)
    }
    for code in codes:
        study.enqueue_trial({str(place): value for place, value in enumerate(code)})
    while True:
        trial = study.ask(kinds)
        value = yield from ask(tuple(trial.params[str(k)] for k in range(len(coding.sizes))))
        study.tell(trial, value)

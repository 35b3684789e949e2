"""A baseline from outside: Optuna's tree-structured Parzen estimator, run by the same loop.

Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011. Needs `pip install
optuna`. Differences from its defaults: its first ten cells are those of all rivals.
"""

from collections.abc import Iterator

from dartslib.rivals.asking import FIRST, Ask, Found, rival


@rival
def optuna_tpe(ask: Ask) -> Iterator[Found]:
    """Optuna chooses every number of a row."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    codes = [ask.draw() for _ in range(FIRST)]
    seed = int(ask.generator.integers(2**31))
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    kinds = {
        str(place): optuna.distributions.CategoricalDistribution(range(size))
        for place, size in enumerate(ask.coding.sizes)
    }
    for code in codes:
        study.enqueue_trial({str(place): value for place, value in enumerate(code)})
    while True:
        trial = study.ask(kinds)
        value = yield from ask(tuple(trial.params[place] for place in kinds))
        study.tell(trial, value)

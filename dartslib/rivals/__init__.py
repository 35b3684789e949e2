"""Other ways to search, on anything that answers "how good is this cell, at what price?".

    search = rivals.aging_evolution(evaluate, space, budget, seed)
    for genotype, value, cost in search: ...

`evaluate(genotype, epochs=None)` returns a value, more is better, and the cost of this answer;
with `epochs` the value after so many, of a training that a later question goes on with. The search
ends when the cost of all answers passes the budget. `rivals.ALL` has them by name.
"""

from dartslib.rivals.counts import counting
from dartslib.rivals.evolution import aging_evolution
from dartslib.rivals.halving import successive_halving
from dartslib.rivals.neighbors import local_search
from dartslib.rivals.policy import reinforce
from dartslib.rivals.prediction import predictor
from dartslib.rivals.random_cells import random_search

ALL = {
    search.__name__: search
    for search in (
        random_search,
        counting,
        successive_halving,
        aging_evolution,
        reinforce,
        predictor,
        local_search,
    )
}
__all__ = ["ALL", *ALL]

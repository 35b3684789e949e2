"""Other ways to search, on anything that answers "how good is this cell, at what price?".

    search = rivals.aging_evolution(evaluate, space, budget, seed)
    for genotype, value, cost in search: ...

`evaluate(genotype, epochs=None)` returns a value, more is better, and the cost of this answer;
with `epochs` the value after so many, of a training that a later question goes on with. The search
ends when the cost of all answers passes the budget. `rivals.ALL` has them by name.
"""

from dartslib.rivals.counts import counting, random_search
from dartslib.rivals.evolution import aging_evolution, local_search
from dartslib.rivals.halving import successive_halving
from dartslib.rivals.policy import reinforce
from dartslib.rivals.prediction import predictor

_IN_ORDER = random_search, counting, successive_halving, aging_evolution, reinforce, predictor
ALL = {search.__name__: search for search in (*_IN_ORDER, local_search)}
__all__ = ["ALL", *ALL]

"""Counting: train the cells with the most separable convolutions first. The baseline to beat.

Counting costs nothing, so this is what a search without any method would do.
"""

from collections.abc import Callable, Iterator

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.rivals.asking import Ask, Found, first, rival
from dartslib.rivals.coding import Coding


def convolutions(genotype: Genotype) -> float:
    """How many edges of the normal cell have a convolution."""
    return float(sum("conv" in name for node in genotype.normal for name, _ in node))


@rival
def counting(
    ask: Ask,
    coding: Coding,
    generator: np.random.Generator,
    *,
    score: Callable[[Genotype], float] = convolutions,
    drawn: int = 1000,
    at_once: bool = False,
) -> Iterator[Found]:
    """Asks the first cells as all do, then those with the highest score, each once.

    Args:
        ask, coding, generator: as `rival` gives them.
        score: genotype -> a number that costs nothing, such as `convolutions` or a number of
            weights; ties in random order.
        drawn: as many cells are scored, drawn without the same twice; all where there are fewer.
        at_once: leave out the first cells, which are drawn by chance.
    """
    asked = set()
    if not at_once:
        asked = {code for code, _ in (yield from first(ask, coding, generator))}
    scored = {coding.draw(generator) for _ in range(drawn)} - asked
    order = {code: (-score(coding.genotype(code)), generator.random()) for code in sorted(scored)}
    for code in sorted(order, key=order.__getitem__):
        yield from ask(code)

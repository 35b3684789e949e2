"""What every other way has to beat: random search, and counting convolutions.

Counting costs nothing, so to train the cells with the most separable convolutions first is what a
search without any method would do.
"""

from collections.abc import Callable, Iterator

from dartslib.genotypes import Genotype
from dartslib.rivals.asking import Ask, Found, rival


@rival
def random_search(ask: Ask) -> Iterator[Found]:
    """Each cell drawn uniformly and independently; one that comes up twice is trained twice."""
    while True:
        yield from ask(ask.draw())


def convolutions(genotype: Genotype) -> float:
    """How many edges of the normal cell have a convolution."""
    return float(sum("conv" in name for node in genotype.normal for name, _ in node))


@rival
def counting(
    ask: Ask, *, score: Callable[[Genotype], float] = convolutions, at_once: bool = False
) -> Iterator[Found]:
    """Asks the first cells as all do, then those with the highest score, each once.

    Args:
        score: genotype -> a number that costs nothing, such as `convolutions` or a number of
            weights; ties in random order.
        at_once: leave out the first cells, which are drawn by chance.
    """
    asked = set() if at_once else {code for code, _ in (yield from ask.first())}
    left, genotype = sorted(ask.pool() - asked), ask.coding.genotype
    order = {code: (-score(genotype(code)), ask.generator.random()) for code in left}
    for code in sorted(order, key=order.__getitem__):
        yield from ask(code)

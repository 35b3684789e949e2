"""Three implementations of the implicit term; one of them has a mistake that was copied for years.

Notebook 05 finds it by measuring, so do not read on before you have. All three take the gradients
for alpha at w + R v and at w - R v, and R; the source is in the reference of that notebook.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

SUSPECTS: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], list[Tensor]]] = {
    "A": lambda p, n, R: [(x - y) / (2 * R) for x, y in zip(p, n, strict=True)],
    "B": lambda p, n, R: [(x - y) / 2.0 * R for x, y in zip(p, n, strict=True)],
    "C": lambda p, n, R: [0.5 * (x - y) / R for x, y in zip(p, n, strict=True)],
}

"""Pictures of the whole: neural architecture search, and the networks that cells make up.

Figures 1, 4 and 9 of the report. Drawn with matplotlib, so that they look the same everywhere;
coordinates are inches from the lower left.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from dartslib.show.pictures import Picture, picture
from dartslib.show.style import BLACK, GREY, INPUT, NODE, OUTPUT, WIDTH, StateLook, styled
from dartslib.space import reduction_cells

DARTS_BLUE = "#00507D"  # readable on the fills
PLAIN = StateLook(GREY, "#F2F2F2", "box")
HEADS = {"linear": "average\npool,\nlinear", "mlp": "MLP\nhead"}


@styled
def nas_picture() -> Picture:
    """How architecture search goes in general, and what DARTS puts in each place (Figure 1)."""
    axes, x, y, low, wide, tall = _canvas(3.8), (1.31, 4.8, 8.29), 2.75, 0.52, 2.42, 1.9
    parts = (
        (INPUT, "Search space", "which architectures\nthere are",
         "a cell: a mixed\noperation per edge"),
        (NODE, "Search strategy", "which of them\nto try next", "gradient steps\non alpha"),
        (OUTPUT, "Performance\nestimation", "how good\neach one is",
         "validation loss of one\nshared supernet"),
    )  # fmt: skip
    for center, (look, name, does, in_darts) in zip(x, parts, strict=True):
        _box(axes, center, y, wide, tall, look)
        _words(axes, center, y + 0.61, name, size=14, weight="bold")
        _words(axes, center, y + 0.06, does)
        _words(axes, center, y - 0.58, in_darts, color=DARTS_BLUE)
    left, right = x[1] + wide / 2, x[2] - wide / 2
    _arrow(axes, (x[0] + wide / 2, y), (x[1] - wide / 2, y))
    _arrow(axes, (left, y + 0.3), (right, y + 0.3))
    _arrow(axes, (right, y - 0.3), (left, y - 0.3))
    _words(axes, (left + right) / 2, y + 0.46, "candidates")
    _words(axes, (left + right) / 2, y - 0.47, "ranking")

    bottom = y - tall / 2
    _box(axes, x[0], low, wide, 0.8, PLAIN, "Operations\nchosen beforehand")
    _arrow(axes, (x[0], low + 0.4), (x[0], bottom))
    _box(axes, x[2], low, wide, 0.8, PLAIN, "Final network\ntrained and evaluated")
    axes.plot([x[1], x[1]], [bottom, low], color=BLACK, lw=2, zorder=2)
    _arrow(axes, (x[1] - 0.01, low), (x[2] - wide / 2, low))
    ends = "search ends: the most\npromising architecture"
    _words(axes, x[1] + 0.1, (low + bottom) / 2 + 0.12, ends, ha="left")
    _words(axes, x[1] - 0.15, low, "in blue: DARTS", ha="right", color=DARTS_BLUE)
    return picture(
        axes.figure,
        "Neural architecture search: a set of operations makes up a search space; from it a search "
        "strategy proposes candidate architectures; performance estimation trains and ranks them; "
        "the ranking goes back to the strategy. When the search ends, the most promising "
        "architecture becomes the final network, trained and evaluated. In DARTS the space is a "
        "cell with a mixed operation on every edge, the strategy is gradient steps on alpha, and "
        "the estimate is the validation loss of one supernet whose weights all candidates share.",
    )


def search_network(layers: int = 8, *, channels: int = 16, head: str = "mlp") -> Picture:
    """The network of the search: a stack of cells that all share alpha (Figure 4).

    Args:
        layers: number of cells; those at one and two thirds of the depth reduce.
        channels: of a node in the first cells.
        head: "mlp" (the report's) or "linear".

    Raises:
        ValueError: no cell, or an unknown head.
    """
    shared = " All normal cells share one alpha, all reduction cells another."
    what = "Network of the search", "mixed operations on all edges", shared
    return _network(what, layers, channels, head)


def final_network(layers: int = 14, *, channels: int = 16, head: str = "mlp") -> Picture:
    """The final network: the learned cells, stacked higher and trained from scratch (Figure 9).

    Arguments and errors are those of `search_network`.
    """
    what = "Final network", "one learned operation on each kept edge", ""
    return _network(what, layers, channels, head)


@styled
def _network(what: tuple[str, str, str], layers: int, channels: int, head: str) -> Picture:
    """what: name, kind of cells, last sentence of the description."""
    if layers < 1 or head not in HEADS:
        raise ValueError(
            f"A network has layers >= 1 and a head of {', '.join(HEADS)}, not {layers}, {head!r}."
        )
    reducing = reduction_cells(layers)
    cells = "1 cell" if layers == 1 else f"{layers} cells"
    height, y, size = 3.2, 1.5, 32
    axes = _canvas(height)
    _words(axes, WIDTH / 2, height - 0.22, f"{what[0]}: {cells}, {what[1]}", size=14)

    step = min(1.15, (WIDTH - 3.7) / layers)
    wide, first = min(0.62, 0.7 * step), (WIDTH - step * layers) / 2
    x = [first - 0.42, *(first + step * (cell + 0.5) for cell in range(layers))]  # stem, cells
    right = first + step * layers + 0.45
    _box(axes, x[0] - 0.9, y, 0.82, 0.68, PLAIN, "image\n32 x 32")
    _box(axes, x[0], y, 0.4, 1.5, PLAIN, "stem 3x3", rotation=90)
    _box(axes, right, y, 0.8, 1.0, OUTPUT, HEADS[head])
    _words(axes, right + 0.45, y, "class\nscores", ha="left")
    tall, stages = [1.5], {}  # of stem and cells; (pixels, channels) -> places of the cells
    for place in range(1, layers + 1):
        name, look = "normal", NODE
        if place - 1 in reducing:
            name, look, size, channels = "reduction", INPUT, (size + 1) // 2, 2 * channels
        stages.setdefault((size, channels), []).append(place)
        tall.append(max(0.95, {32: 1.5, 16: 1.23}.get(size, 0)))
        _box(axes, x[place], y, wide, tall[-1], look, name, rotation=90)
        _words(axes, x[place], y - 0.88, str(place - 1), size=12)

    # c_{k-1}: from box to box; c_{k-2}: over the cell between.
    ends = [x[0] - 0.49, *x, right]
    half = [0, 0.2, *[wide / 2] * layers, 0.4]
    for k in range(len(ends) - 1):
        _arrow(axes, (ends[k] + half[k], y), (ends[k + 1] - half[k + 1], y))
    for k in range(layers - 1):
        start, tip = (x[k] + 0.06, y + tall[k] / 2), (x[k + 2] - 0.06, y + tall[k + 2] / 2 + 0.01)
        _arrow(axes, start, tip, connectionstyle="arc3,rad=-0.42", color=GREY, lw=1.5)
    for (pixels, c), places in stages.items():  # a bracket under each
        left, end = x[places[0]] - 0.42 * step, x[places[-1]] + 0.42 * step
        axes.plot([left, left, end, end], [0.53, 0.46, 0.46, 0.53], color=GREY, lw=1.5)
        _words(axes, (left + end) / 2, 0.22, f"{pixels} x {pixels}\nC = {c}", size=12)

    which = ", ".join(map(str, sorted(reducing)))
    kinds = f"Reduction cells: {which}; the others are normal cells."
    sizes = ", ".join(f"{pixels} x {pixels}" for pixels, _ in stages)
    return picture(
        axes.figure,
        f"{what[0]}. From left to right: image, stem, {cells} numbered from 0, {head} head, class "
        f"scores. {kinds if reducing else 'All are normal cells.'} The maps are of size {sizes}, "
        f"with {', '.join(str(c) for _, c in stages)} channels per node. Every cell reads the two "
        f"before it; the first reads the stem twice.{what[2]}",
    )


def _canvas(height: float) -> Axes:
    figure = Figure(figsize=(WIDTH, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    return axes


def _words(axes: Axes, x: float, y: float, text: str, **letters: object) -> None:
    look = {"ha": "center", "va": "center", "size": 12.5, "linespacing": 1.1, "zorder": 4}
    axes.text(x, y, text, **(look | letters))


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, look: StateLook, text: str = "",
    **letters: object,
) -> None:  # fmt: skip
    """A box with its center at (x, y)."""
    corner, shape = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.06"
    pen = {"fc": look.fill, "ec": look.color, "lw": 2, "boxstyle": shape, "zorder": 3}
    axes.add_patch(FancyBboxPatch(corner, width, height, **pen))
    _words(axes, x, y, text, **letters)


def _arrow(
    axes: Axes, start: tuple[float, float], tip: tuple[float, float], **look: object
) -> None:
    pen = {"color": BLACK, "lw": 2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
    pen |= {"arrowstyle": "-|>,head_length=0.5,head_width=0.25"} | look
    axes.annotate("", tip, start, arrowprops=pen, zorder=2)

"""Pictures of the whole: neural architecture search, and the networks that cells make up.

Figures 1, 4 and 9 of the report. Drawn with matplotlib, so that they look the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

from dartslib.show.pictures import Picture, picture
from dartslib.show.style import BLACK, GREY, INPUT, NODE, OUTPUT, WIDTH, StateLook, styled

STEM, SLOPE = 1.5, 0.135  # height of the stem; how much a reduction cell loses on each side
THIRD_LINE = 0.2  # inches
DARTS_BLUE = "#00507D"  # readable on the fills
PLAIN = StateLook(GREY, "#F2F2F2", "box")
HEADS = {"linear": "average\npool,\nlinear", "mlp": "MLP\nhead"}


def nas_picture() -> Picture:
    """How architecture search goes in general, and what DARTS puts in each place (Figure 1)."""
    return picture(
        _nas_figure(),
        "Neural architecture search: a set of operations makes up a search space; from it a search "
        "strategy proposes candidate architectures; performance estimation trains and ranks them; "
        "the ranking goes back to the strategy. When the search ends, the most promising "
        "architecture becomes the final network, trained and evaluated. In DARTS the space is a "
        "cell with a mixed operation on every edge, the strategy is gradient steps on alpha, and "
        "the estimate is the validation loss of one supernet whose weights all candidates share.",
    )


def search_network(
    layers: int = 8,
    reductions: Sequence[int] | None = None,
    *,
    channels: int = 16,
    image_size: int = 32,
    head: str = "mlp",
    num_classes: int = 10,
) -> Picture:
    """The network of the search: a stack of cells that all share alpha (Figure 4).

    Args:
        layers: number of cells.
        reductions: which cells reduce, from 0; None means those at one and two thirds.
        channels: of a node in the first cells.
        image_size: side of the image in pixels.
        head: "mlp" (the report's) or "linear".
        num_classes: class scores that come out.

    Raises:
        ValueError: no cell, a reduction that is none of the cells, or an unknown head.
    """
    network = _Network(
        layers, _reductions(layers, reductions), channels, image_size, head, num_classes
    )
    title = f"Network of the search: {_cells(layers)}, mixed operations on all edges"
    shared = "All normal cells share one alpha, all reduction cells another."
    return picture(_network_figure(network, title), f"Network of the search. {network} {shared}")


def final_network(
    layers: int = 14,
    reductions: Sequence[int] | None = None,
    *,
    channels: int = 16,
    image_size: int = 32,
    head: str = "mlp",
    num_classes: int = 10,
    auxiliary: bool = False,
) -> Picture:
    """The final network: the learned cells, stacked higher and trained from scratch (Figure 9).

    Args:
        auxiliary: draw the second head that helps training, after the cell at two thirds.
        layers, reductions, channels, image_size, head, num_classes: as for `search_network`.

    Raises:
        ValueError: as for `search_network`.
    """
    reducing, extra = _reductions(layers, reductions), 2 * layers // 3 if auxiliary else None
    network = _Network(layers, reducing, channels, image_size, head, num_classes, extra)
    title = f"Final network: {_cells(layers)}, one learned operation on each kept edge"
    return picture(_network_figure(network, title), f"Final network. {network}")


@dataclass(frozen=True)
class _Network:
    """What there is to draw; its text is the description."""

    layers: int
    reductions: tuple[int, ...]
    channels: int
    image_size: int
    head: str
    num_classes: int
    auxiliary: int | None = None  # the cell it follows

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"head is one of {', '.join(HEADS)}, not {self.head!r}.")

    @property
    def stages(self) -> list[tuple[list[int], int, int]]:
        """(cells, side of their output in pixels, channels of a node), a new one at a reduction."""
        found, size, channels = (
            [([], self.image_size, self.channels)],
            self.image_size,
            self.channels,
        )
        for cell in range(self.layers):
            if cell in self.reductions:
                size, channels = (size + 1) // 2, 2 * channels
                found.append(([], size, channels))
            found[-1][0].append(cell)
        return [stage for stage in found if stage[0]]

    def __str__(self) -> str:
        sizes = ", ".join(f"{size} x {size}" for _, size, _ in self.stages)
        channels = ", ".join(str(channels) for _, _, channels in self.stages)
        kinds, extra = "All are normal cells.", ""
        if self.reductions:
            which = ", ".join(map(str, self.reductions))
            kinds = f"Reduction cells: {which}; the others are normal cells."
        if self.auxiliary is not None:
            extra = f" An auxiliary head follows cell {self.auxiliary}."
        return (
            f"From left to right: image, stem, {_cells(self.layers)} numbered from 0, "
            f"{self.head} head, {self.num_classes} class scores. {kinds} The maps are of size "
            f"{sizes}, with {channels} channels a node. Every cell reads the two before it; the "
            f"first reads the stem twice.{extra}"
        )


def _reductions(layers: int, reductions: Sequence[int] | None) -> tuple[int, ...]:
    """The rule of `Supernet`, here without torch."""
    if layers < 1:
        raise ValueError(f"A network needs at least one cell: set layers >= 1, not {layers}.")
    found = (layers // 3, 2 * layers // 3) if reductions is None else tuple(reductions)
    if any(not 0 <= cell < layers for cell in found):
        raise ValueError(f"reductions {found} must name cells from 0 to {layers - 1}.")
    return tuple(sorted(set(found)))


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _canvas(height: float) -> tuple[Figure, Axes]:
    """A figure whose coordinates are inches from the lower left."""
    figure = Figure(figsize=(WIDTH, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, style: StateLook, text: str = "",
    **letters: object,
) -> None:  # fmt: skip
    """A box with its center at (x, y)."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, fc=style.fill, ec=style.color, lw=2,
            boxstyle="round,pad=0,rounding_size=0.06", zorder=3,
        )
    )  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", zorder=4, **({"size": 12.5} | letters))


def _arrow(
    axes: Axes, start: tuple[float, float], tip: tuple[float, float], bend: float = 0.0,
    color: str = BLACK, width: float = 2.0,
) -> None:  # fmt: skip
    pen = {"color": color, "lw": width, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
    shape = {"arrowstyle": "-|>,head_length=0.5,head_width=0.25"}
    shape["connectionstyle"] = f"arc3,rad={bend}"
    axes.annotate("", tip, start, arrowprops=pen | shape, zorder=2)


@styled
def _nas_figure() -> Figure:
    figure, axes = _canvas(3.8)
    wide, tall, x, y = 2.42, 1.9, (1.31, 4.8, 8.29), 2.75
    words = (
        (INPUT, "Search space", "which architectures\nthere are",
         "a cell: a mixed\noperation an edge"),
        (NODE, "Search strategy", "which of them\nto try next", "gradient steps\non alpha"),
        (OUTPUT, "Performance\nestimation", "how good\neach one is",
         "validation loss of one\nshared supernet"),
    )  # fmt: skip
    for center, (style, name, does, darts) in zip(x, words, strict=True):
        _box(axes, center, y, wide, tall, style)
        top = y + tall / 2 - 0.1
        letters = {"ha": "center", "va": "top", "size": 12.5, "zorder": 4}
        axes.text(center, top, name, **letters | {"size": 14, "weight": "bold"})
        axes.text(center, top - 0.27 * (name.count("\n") + 1), does, **letters)
        letters |= {"va": "bottom", "color": DARTS_BLUE}
        axes.text(center, y - tall / 2 + 0.1, darts, **letters)
    _arrow(axes, (x[0] + wide / 2, y), (x[1] - wide / 2, y))
    left, right = x[1] + wide / 2, x[2] - wide / 2
    _arrow(axes, (left, y + 0.3), (right, y + 0.3))
    _arrow(axes, (right, y - 0.3), (left, y - 0.3))
    axes.text((left + right) / 2, y + 0.38, "candidates", ha="center", va="bottom", size=12.5)
    axes.text((left + right) / 2, y - 0.38, "ranking", ha="center", va="top", size=12.5)

    low, bottom = 0.52, y - tall / 2
    _box(axes, x[0], low, wide, 0.8, PLAIN, "Operations\nchosen beforehand")
    _arrow(axes, (x[0], low + 0.4), (x[0], bottom))
    _box(axes, x[2], low, wide, 0.8, PLAIN, "Final network\ntrained and evaluated")
    axes.plot([x[1], x[1]], [bottom, low], color=BLACK, lw=2, zorder=2)
    _arrow(axes, (x[1] - 0.01, low), (x[2] - wide / 2, low))
    words = "search ends: the most\npromising architecture"
    axes.text(x[1] + 0.1, (low + bottom) / 2 + 0.12, words, va="center", size=12.5)
    axes.text(
        x[1] - 0.15, low, "in blue: DARTS", ha="right", va="center", size=12.5, color=DARTS_BLUE
    )
    return figure


@styled
def _network_figure(network: _Network, title: str) -> Figure:
    extra = network.auxiliary is not None
    figure, axes = _canvas(3.75 if extra else 3.2)
    axes.text(WIDTH / 2, axes.get_ylim()[1] - 0.1, title, ha="center", va="top", size=14)
    y, room = 1.5, WIDTH - 3.7  # what image, stem, head and scores leave
    step = min(1.15, room / network.layers)
    first = 1.83 + (room - step * network.layers) / 2
    x = [first + step * (cell + 0.5) for cell in range(network.layers)]
    wide = min(0.62, 0.7 * step)
    x_image, x_stem, x_head = first - 1.32, first - 0.42, first + step * network.layers + 0.45

    _box(axes, x_image, y, 0.82, 0.68, PLAIN, f"image\n{network.image_size} x {network.image_size}")
    _box(axes, x_stem, y, 0.4, STEM, PLAIN, "stem 3x3", rotation=90)
    _arrow(axes, (x_image + 0.41, y), (x_stem - 0.2, y))
    _box(axes, x_head, y, 0.8, 1.0, OUTPUT, HEADS[network.head])
    axes.text(x_head + 0.66, y, f"{network.num_classes}\nscores", va="center", size=12.5)
    _arrow(axes, (x_head + 0.4, y), (x_head + 0.64, y))
    heights = {}
    for depth, (cells, _, _) in enumerate(network.stages, start=0 in network.reductions):
        heights |= dict.fromkeys(cells, max(0.95, STEM - 0.27 * depth))
    for cell, center in enumerate(x):
        _draw_cell(axes, center, y, wide, heights[cell], cell in network.reductions)
        axes.text(center, y - 0.8, str(cell), ha="center", va="top", size=12)
        _arrow(axes, (x[cell - 1] + wide / 2 if cell else x_stem + 0.2, y), (center - wide / 2, y))
    tops = {cell: _top(network, cell, heights[cell]) for cell in heights}
    for cell, source in zip(range(1, network.layers), range(-1, network.layers), strict=False):
        # c_{k-2}: over the cell between
        start = (x_stem, y + STEM / 2) if source < 0 else (x[source] + 0.06, y + tops[source])
        _arrow(axes, start, (x[cell] - 0.06, y + tops[cell] + 0.01), -0.42, GREY, 1.5)
    _arrow(axes, (x[-1] + wide / 2, y), (x_head - 0.4, y))
    _draw_stages(axes, network, x, step)
    if extra:
        place = x[network.auxiliary]
        _arrow(axes, (place, y + tops[network.auxiliary]), (place, y + 1.27))
        _box(axes, place, y + 1.45, 1.55, 0.36, OUTPUT, "auxiliary head")
    return figure


def _top(network: _Network, cell: int, height: float) -> float:
    """How far the middle of a cell's upper side is above the cell's center."""
    return height / 2 + (SLOPE / 2 if cell in network.reductions else 0)


def _draw_cell(
    axes: Axes, x: float, y: float, width: float, height: float, reduction: bool
) -> None:
    """A normal cell is a box; a reduction cell gets lower to the right, and red."""
    style = INPUT if reduction else NODE
    high = height / 2 + (SLOPE if reduction else 0)
    corners = [
        (-width / 2, -high),
        (width / 2, -height / 2),
        (width / 2, height / 2),
        (-width / 2, high),
    ]
    axes.add_patch(
        Polygon(
            [(x + dx, y + dy) for dx, dy in corners], fc=style.fill, ec=style.color, lw=2, zorder=3
        )
    )
    name = "reduction" if reduction else "normal"
    axes.text(x, y, name, rotation=90, ha="center", va="center", size=12.5, zorder=4)


def _draw_stages(axes: Axes, network: _Network, x: Sequence[float], step: float) -> None:
    """Under the cells: a bracket a stage, with the size of its maps."""
    spans = [
        (x[cells[0]] - 0.42 * step, x[cells[-1]] + 0.42 * step) for cells, _, _ in network.stages
    ]
    # Where a stage is narrow, its words would meet its neighbor's: then they take a third line.
    narrow = min(right - left for left, right in spans) <= 1.45
    if narrow:
        _, top = axes.get_ylim()
        axes.set_ylim(-THIRD_LINE, top)
        axes.figure.set_figheight(top + THIRD_LINE)
    unit = "channels\na node" if narrow else "channels a node"
    low, high = 0.46, 0.53
    for (left, right), (_, size, channels) in zip(spans, network.stages, strict=True):
        axes.plot([left, left, right, right], [high, low, low, high], color=GREY, lw=1.5)
        words = f"{size} x {size}\n{channels} {unit}"
        axes.text(
            (left + right) / 2, low - 0.05, words, ha="center", va="top", size=12, linespacing=1.1
        )

"""What several explorers move: a cell drawn with matplotlib alone, and the map of alpha."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from dartslib.genotypes import Choice
from dartslib.show.style import BLACK, KEPT, SHADES, Look, edge_names, ink, state_look, state_math
from dartslib.space import SearchSpace

APART = 0.13  # neighboring edges at a state
RADIUS = 0.27  # of a state
TOP = 0.5  # probability of the darkest color: the same in every map, so that two compare


@dataclass(frozen=True)
class Wire:
    """An edge of a drawn cell: from state to state, with its operation and pen."""

    source: int
    target: int
    operation: str = ""
    pen: Look = Look(BLACK, "")
    width: float = 2.0  # points


def draw_cell(
    axes: Axes, nodes: int, edges: Sequence[tuple[int, int]]
) -> tuple[list[Line2D], list[Artist]]:
    """Draws a cell to be moved: all of it is `animated`.

    Args:
        axes: empty; theirs is all the room.
        nodes: how many intermediate nodes it has.
        edges: (source state, target state) of each.

    Returns:
        The edges' lines, one per edge, to be colored; and the states, which lie on them.
    """
    axes.axis("off")
    axes.set(xlim=(-0.75, nodes + 1.05), ylim=(0.45 - nodes, 1.3), aspect="equal")
    place = {0: (-0.35, 0.8), 1: (-0.35, -0.35)}
    place |= {state: (state - 1.0, 2.0 - state) for state in range(2, nodes + 2)}
    wires, states, t = [], [], np.linspace(0, 1, 24)[:, None]
    for edge, (source, target) in enumerate(edges):
        # Side by side where they arrive and where they leave, so that none hides another.
        arriving = sorted((s, k) for k, (s, t) in enumerate(edges) if t == target)
        leaving = sorted((t, k) for k, (s, t) in enumerate(edges) if s == source)
        right = APART * ((len(arriving) - 1) / 2 - arriving.index((source, edge)))
        up = APART * (nodes / 2 - 1 - leaving.index((target, edge)))
        start, end = np.array([place[source], place[target]]) + [(0, up), (right, 0)]
        # A quadratic curve that leaves to the right and arrives from above; where node 2 would lie
        # on it, it leaves downward and arrives from the left.
        below = source == 1 and target > 3
        if below:
            start, end = np.array([place[source], place[target]]) + [(-up, 0), (0, 0)]
        corner = np.array([start[0], end[1]] if below else [end[0], start[1]])
        bow = (1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end  # (24, 2)
        wires += axes.plot(*bow.T, animated=True, solid_capstyle="butt")
    for state, (x, y) in place.items():
        style = state_look(state, nodes)
        disc = Circle((x, y), RADIUS, fc=style.fill, ec=style.color, lw=2, animated=True, zorder=3)
        name = {"ha": "center", "va": "center", "size": 12, "animated": True, "zorder": 4}
        states += [axes.add_patch(disc), axes.text(x, y, state_math(state), **name)]
    return wires, states


class AlphaMap:
    """The softmax of alpha as colors that move: what would be kept is outlined, the best numbered.

    Args:
        axes: empty.
        space: whose edges and operations are its columns and rows.

    Attributes:
        artists: all that moves, `animated`.
    """

    def __init__(self, axes: Axes, space: SearchSpace) -> None:
        self.space, (edges, operations) = space, (space.edges, space.operations)
        pen = {"cmap": SHADES, "vmin": 0, "vmax": TOP, "edgecolors": "white", "linewidth": 0.5}
        empty = np.zeros((len(operations), len(edges)))
        self._mesh = axes.pcolormesh(empty, animated=True, **pen)
        axes.set(xlim=(0, len(edges)), ylim=(len(operations), 0))
        axes.set_xticks(np.arange(len(edges)) + 0.5, edge_names(space, "\n"), fontsize=10)
        axes.set_yticks(np.arange(len(operations)) + 0.5, operations, fontsize=10)
        axes.tick_params(length=0)
        axes.grid(False)
        pen = {"fill": False, "ec": KEPT, "lw": 2.5, "animated": True}
        self._frames = [axes.add_patch(Rectangle((0, 0), 1, 1, **pen)) for _ in edges]
        pen = {"ha": "center", "va": "center", "size": 9, "animated": True}
        self._numbers = [axes.text(0, 0, "", **pen) for _ in edges]
        self.artists = [self._mesh, *self._frames, *self._numbers]

    def show(self, table: np.ndarray, found: Iterable[Choice]) -> None:
        """Colors from (edges, operations); frames and numbers of what was found, if anything."""
        self._mesh.set_array(table.T)
        for artist in self.artists[1:]:
            artist.set_visible(False)
        for c in found:
            row, frame, number = (
                self.space.operations.index(c.operation),
                self._frames[c.edge],
                self._numbers[c.edge],
            )
            frame.set(xy=(c.edge, row), visible=c.kept)
            number.set(x=c.edge + 0.5, y=row + 0.5, text=f"{c.probability:.2f}".lstrip("0"))
            number.set(color=ink(SHADES(min(1.0, c.probability / TOP))), visible=True)

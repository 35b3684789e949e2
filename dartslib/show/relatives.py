"""Notebook 07's pictures: the family of methods, and the contest's searches record by record."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dartslib.show.explorers import WIDE
from dartslib.show.moments import SearchExplorer
from dartslib.show.pictures import Picture, picture
from dartslib.show.style import BLUE, WIDTH, styled
from dartslib.space import CELL_TYPES, SearchSpace

if TYPE_CHECKING:  # it loads torch
    from dartslib.rivals.contested import Searched


@styled
def family(changed: Mapping[str, Sequence[str]], members: Sequence[str]) -> Picture:
    """A row per method, a column per member of the seam, and a mark where it changes that.

    Args:
        changed: method -> the members that it changes.
        members: all of them, in order.
    """
    rows = sorted(changed, key=lambda name: [members.index(m) for m in changed[name]])
    figure = Figure(figsize=(WIDTH, 0.36 * len(rows) + 1.5))
    axes = figure.subplots()
    for row, name in enumerate(rows):
        places = [members.index(member) for member in changed[name]]
        axes.plot(places, [row] * len(places), "s", ms=13, color=BLUE)
    axes.set(xlim=(-0.5, len(members) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(members)), members, rotation=30, ha="left")
    axes.set_yticks(range(len(rows)), rows)
    said = "; ".join(f"{name}: {', '.join(changed[name])}" for name in rows)
    return picture(figure, f"Which members of the seam each method changes. {said}.")


class ContestExplorer(SearchExplorer):
    """The contest's searches, record by record: alpha, the cell, and its place in the table.

    As notebook 03's, but the line below alpha is the place of the cell that would be derived then.

    Args:
        searches: the records.
        places: name of each class -> the share of all cells that are worse, 0 to 1.
        space: with all operations; a search without one of them has zeros there.

    Attributes:
        method, run: menus of methods, and of the chosen method's searches.
    """

    def __init__(
        self, searches: Sequence["Searched"], places: Mapping[str, float], space: SearchSpace
    ) -> None:
        histories, self._places = {}, places
        for one in searches:
            table = np.zeros((len(one.at), len(space.edges), len(space.operations)))
            table[..., [space.operations.index(n) for n in one.operations]] = one.probabilities
            name = f"{one.arm}: {one.group}, seed {one.seed}"
            histories[name] = {"step": one.at, "cells": one.cells}
            histories[name] |= {f"probabilities_{kind}": table for kind in CELL_TYPES}
        super().__init__(histories, space)
        arms = dict.fromkeys(one.arm for one in searches)
        self.method = widgets.Dropdown(options=[*arms], description="method", **WIDE)
        self.children[0].children = self.method, self.run  # there is one type of cell
        self.method.observe(self._other_method, "value")
        self._other_method({})

    def _other_method(self, _: dict) -> None:
        mine = [name for name in self._histories if name.startswith(f"{self.method.value}: ")]
        self.run.options = mine

    def _ground(self) -> None:
        """As it is there, with the place of the cell where the entropy stands."""
        super()._ground()
        cells = self._histories[self.run.value]["cells"]
        self._entropy = np.array([self._places[name] for name in cells])
        axes = self._now.axes
        axes.lines[0].set_ydata(self._entropy)
        axes.set(ylim=(-0.15, 1.1))
        axes.set_ylabel("cells that\nare worse", fontsize=11)
        axes.yaxis.set_major_formatter(PercentFormatter(1))

    def _words(self) -> str:
        """The search, its step, the cell, and its place."""
        t, history = self.moment.index, self._histories[self.run.value]
        return (
            f"{self.run.value}, step {history['step'][t]} of {history['step'][-1]}: "
            f"{history['cells'][t]}, better than {self._entropy[t]:.0%} of all cells."
        )

"""The planted problem: its images, and what many searches made of it.

Notebook 02 uses these. Every function takes arrays and returns a matplotlib figure as wide as a
notebook's column.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dartslib.show.curves import RUNS
from dartslib.show.style import BLACK, WIDTH, styled


@styled
def planted_images(images: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> Figure:
    """Images by class, a row a class; light is a dot.

    Args:
        images: (N, 1, H, W), numbers of any range; arrays or tensors.
        labels: (N,), of each image's class.
        names: of the classes.
    """
    images, labels = np.asarray(images)[:, 0], np.asarray(labels)
    columns = min(np.bincount(labels, minlength=len(names)))
    figure = Figure(figsize=(WIDTH, 0.3 + WIDTH / columns * len(names)))
    panels = figure.subplots(len(names), columns, squeeze=False)
    look = {"cmap": "gray", "vmin": images.min(), "vmax": images.max()}
    for label, (name, row) in enumerate(zip(names, panels, strict=True)):
        for axes, image in zip(row, images[labels == label], strict=False):
            axes.imshow(image, **look)
            axes.grid(visible=False)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    panels[-1, columns // 2].set_xlabel(f"{images.shape[2]} x {images.shape[1]} pixels each")
    return figure


@styled
def planted_searches(steps: Sequence[int], probabilities: Mapping[str, np.ndarray]) -> Figure:
    """One probability over the steps in many searches: a panel a kind of search, a line a seed.

    Args:
        steps: (T,).
        probabilities: title of a panel -> (seeds, T), for instance of the needed operation on its
            better edge. Dotted is the mean at the first step.
    """
    figure = Figure(figsize=(WIDTH, 4.2))
    panels = figure.subplots(1, len(probabilities), sharey=True, squeeze=False)[0]
    for axes, (title, table), (color, marker) in zip(
        panels, probabilities.items(), cycle(RUNS), strict=False
    ):
        axes.plot(
            steps, np.asarray(table).T, color=color, lw=1.4, marker=marker, ms=8, mec="white",
            markevery=[len(steps) - 1],
        )  # fmt: skip
        axes.axhline(np.mean(table, axis=0)[0], color=BLACK, lw=0.9, ls=(0, (1, 2)))
        axes.set(title=title, xlabel="step", ylim=(0, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    panels[0].set_ylabel("probability (softmax of α)")
    return figure

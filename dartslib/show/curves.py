"""Loss and accuracy of searches over the steps, and the looks of runs; notebook 02 uses these."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dartslib.show.drawings import every
from dartslib.show.figures import HISTORY, arrays
from dartslib.show.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION, WIDTH, looks, styled

RUNS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (BLACK, "P"))
# Fill and hatch of bars: okabe-ito colors, lightened.
BARS = (
    ("#9CC7E3", ""),
    ("#F5D08A", "///"),
    ("#8FD3BC", "..."),
    ("#E6B9D1", "xx"),
    ("#D9D9D9", "\\\\"),
)


@styled
def search_curves(histories: Mapping[str, HISTORY], title: str | None = None) -> Figure:
    """Loss and accuracy of the supernet over the steps, on the weights' and on alpha's batches.

    Args:
        histories: label -> history of a search.
        title: above both panels.
    """
    figure = Figure(figsize=(WIDTH, 4.4 + 0.28 * len(histories)))
    panels = figure.subplots(1, 2)
    for label, pen in looks(list(histories)).items():
        history = arrays(histories[label])
        for part, dashes in (("train", "-"), ("valid", "--")):
            for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
                axes.plot(
                    history["step"], history[f"{part}_{name}"], dashes, color=pen.color,
                    marker=pen.marker, markevery=every(len(history["step"])), lw=1.7, mec="white",
                    label=f"{label}, {part}",
                )  # fmt: skip
    panels[0].set(title="Loss", xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, None))
    panels[1].set(title="Accuracy", xlabel="step", ylabel="accuracy")
    panels[1].yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    if title:
        figure.suptitle(title)
    return figure

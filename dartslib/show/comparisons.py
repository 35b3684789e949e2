"""How exact a finite difference is: notebook 05 uses it."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from dartslib.show.style import BLACK, WIDTH, looks, styled


@styled
def difference_errors(errors: Mapping[str, Mapping[float, float]]) -> Figure:
    """How far a finite difference is from the exact term, over the length of its step.

    Args:
        errors: network -> {length of the step: error divided by the exact term's norm}.
    """
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    pens = looks(list(errors))
    for label, found in errors.items():
        radii = sorted(found)
        axes.plot(
            radii, [found[radius] for radius in radii], color=pens[label].color,
            marker=pens[label].marker, mec="white", label=label,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    axes.axhline(1, color=BLACK, ls=":", lw=1.8)
    axes.annotate(
        "error as large as the term", (0.02, 1), xycoords=("axes fraction", "data"),
        xytext=(0, 5), textcoords="offset points", fontsize=12,
    )  # fmt: skip
    axes.set(
        ylim=(min(low, 0.5), max(high, 4)),
        xlabel="length of the step, R ‖v‖",
        ylabel="error of the implicit term / term",
    )
    figure.legend(loc="outside lower center", ncols=max(1, len(errors)))
    return figure

"""The figures of notebook 02: what is drawn is what was given."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from dartslib import show
from dartslib.space import CELL_TYPES, REPORT_OPERATIONS

SECONDS = {
    "recorded": {"one_level": 3.0, "first_order": 2.0, "finite_difference": 5.0, "exact": 9.0},
    "report": {"first_order": 1.07, "finite_difference": 2.3},
}


def search(seed):
    """The last record of a made-up search, in a list as a live run keeps it."""
    rng = np.random.default_rng(seed)
    return {f"probabilities_{kind}": [rng.dirichlet(np.ones(8), 9)] for kind in CELL_TYPES}


PAIR = search(0), search(1)
FIGURES = {
    "choice": lambda: show.choice_over_time(
        range(20), np.random.default_rng(0).dirichlet(np.ones(8), 20), REPORT_OPERATIONS
    ),
    "costs": lambda: show.step_costs(SECONDS),
    "alphas": lambda: show.alphas_compared({"live": PAIR, "recorded": PAIR}),
    "one pair": lambda: show.alphas_compared({"recorded": PAIR}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_labeled_and_readable(name):
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    assert isinstance(figure, Figure) and dict(matplotlib.rcParams) == before
    assert all(axes.get_xlabel() for axes in figure.axes)
    assert show.picture(figure, "what it shows").width == 864
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) >= 11.9  # 11 points on the page


def test_costs_are_multiples_of_first_order():
    bars = show.step_costs(SECONDS).axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([1.5, 1, 2.5, 4.5, 1, 2.3 / 1.07])


def test_alphas_lie_across_and_upward_on_one_scale():
    live, recorded = show.alphas_compared({"live": PAIR, "recorded": (search(2), search(2))}).axes
    np.testing.assert_allclose(
        live.lines[0].get_xydata().T, [h["probabilities_normal"][0].ravel() for h in PAIR]
    )
    assert live.get_xlim() == live.get_ylim() == recorded.get_xlim() == recorded.get_ylim()
    x, y = recorded.lines[1].get_xydata().T
    np.testing.assert_array_equal(x, y)  # a search against itself

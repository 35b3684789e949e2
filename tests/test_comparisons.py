"""How exact a finite difference is, as notebook 05 draws it: what is drawn is what was given."""

import matplotlib
import numpy as np

from dartslib import show

ERRORS = {"smooth": {1e-2: 4e-4, 1e-1: 4e-2}, "kinks": {1e-2: 2.0, 1e-1: 0.6}}


def test_errors_are_drawn_by_length_of_the_step():
    before = dict(matplotlib.rcParams)
    figure = show.difference_errors(ERRORS)
    assert dict(matplotlib.rcParams) == before
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() and axes.get_ylabel()
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1e-2, 4e-4], [1e-1, 4e-2]])
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) >= 11.9  # 11 points on the page
    assert show.picture(figure, "what it shows").width == 864

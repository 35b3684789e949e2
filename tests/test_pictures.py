"""Figures of the toy and the pictures made of them."""

import base64
import io
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dartslib import show, toy

RUNS = [toy.descend(xi) for xi in (0, 0.3, 0.5, 0.7)]
FIGURES = {
    "map": lambda: show.toy_map(),
    "lookahead": lambda: show.toy_lookahead([0, 0.3, 0.5, 0.7]),
    "start": lambda: show.toy_start(RUNS),
    "paths": lambda: show.toy_paths(RUNS),
    "one path": lambda: show.toy_paths(RUNS[:1]),
    "three paths": lambda: show.toy_paths(RUNS[:3]),
    "losses": lambda: show.toy_losses(RUNS),
    "distances": lambda: show.toy_distances([toy.descend(49), toy.descend(51)], ["a", "b"]),
    "fixed points": lambda: show.toy_fixed_points([toy.descend(x, curvature=4) for x in (0, 0.25)]),
    "times": lambda: show.toy_times({"one way": {0: 1e-6, 0.5: 2e-6}, "another": {0.5: 1e-3}}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_labeled_and_change_no_settings(name):
    before = dict(matplotlib.rcParams)
    open_figures = plt.get_fignums()
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == open_figures  # so that no notebook shows it a second time
    labels = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes if axes.get_visible()]
    assert all(labels) or name.endswith("paths")  # inner panels share their neighbors' labels
    picture = show.picture(figure, "what it shows")
    image = Image.open(io.BytesIO(picture.png))
    assert image.size[0] == pytest.approx(figure.get_figwidth() * 144, abs=1)
    assert len(picture.png) < 150_000  # notebooks are kept in git


def test_paths_show_start_end_optimum_fixed_point_and_the_feasible_line():
    figure = show.toy_paths(RUNS)
    names = set(figure.axes[0].get_legend_handles_labels()[1])
    assert {"start", "end of the run", "fixed point", "optimum (1, 1)"} <= names
    assert any("feasible" in name for name in names)
    assert [axes.get_title() for axes in figure.axes] == [
        f"ξ = {run.xi:g}: settled after {run.steps} steps" for run in RUNS
    ]


def test_a_picture_is_html_with_a_description():
    picture = show.picture(show.toy_map(), 'a "map" & more')
    assert repr(picture) == 'a "map" & more'
    found = re.fullmatch(
        r'<img alt="a &quot;map&quot; &amp; more" width="\d+" style="[^"]+" '
        r'src="data:image/png;base64,([A-Za-z0-9+/=]+)">',
        picture._repr_html_(),
    )
    assert base64.b64decode(found[1]) == picture.png


def test_a_picture_of_png_bytes_keeps_them():
    buffer = io.BytesIO()
    Image.new("RGB", (288, 10)).save(buffer, "png")
    picture = show.picture(buffer.getvalue(), "black")
    assert picture.png == buffer.getvalue()
    assert picture.width == 180  # 288 pixels at 144 an inch are 2 inches, 90 on the page each
    assert show.picture(buffer.getvalue(), "black", width=50).width == 50


def test_a_picture_shows_the_figures_colors():
    figure = Figure(figsize=(1, 1))
    figure.patch.set_facecolor("#0072B2")
    image = Image.open(io.BytesIO(show.picture(figure, "blue").png)).convert("RGB")
    assert np.abs(np.asarray(image).mean((0, 1)) - (0x00, 0x72, 0xB2)).max() < 2


def test_a_pyplot_figure_is_closed():
    figure = plt.figure()
    show.picture(figure, "nothing on it")
    assert not plt.fignum_exists(figure.number)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match=r"^A picture needs a description: .*\.$"):
        show.picture(Figure(), " ")
    with pytest.raises(TypeError, match=r"^picture\(\) takes .*, not str\.$"):
        show.picture("figure.png", "a file's name")


def test_names_load_on_first_use():
    assert show.picture.__name__ == "picture"  # the function, no submodule of that name
    assert set(show.NAMES) <= set(dir(show))
    with pytest.raises(AttributeError, match="no attribute 'sculpture'"):
        show.sculpture  # noqa: B018

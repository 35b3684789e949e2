"""Figures of the toy and the pictures made of them."""

import base64
import io
import re
from itertools import pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dartslib import show, toy
from dartslib.show import drawings
from dartslib.show import toy as toy_file

RUNS = [toy.descend(xi) for xi in (0, 0.3, 0.5, 0.7)]
LOSSES = {
    f"ξ = {run.xi:g}": (range(run.steps + 1), toy.valid_loss(run.w, run.alpha)) for run in RUNS
}
FIGURES = {
    "map": lambda: show.toy_map(),
    "start": lambda: show.toy_map(RUNS, first=60),
    "paths": lambda: show.toy_map(RUNS),
    "one path": lambda: show.toy_map(RUNS[:1]),
    "three paths": lambda: show.toy_map(RUNS[:3]),
    "lines": lambda: show.lines({"A loss": LOSSES}, x="steps", y="loss", levels={"here": 0}),
    "two scales": lambda: show.lines({"A": LOSSES, "B": LOSSES}, x="steps", y=["loss", "gain"]),
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures of which pictures are made."""
    figures, make = [], show.picture
    for file in (drawings, toy_file):
        monkeypatch.setattr(file, "picture", lambda *a: figures.append(a[0]) or make(*a))
    return figures


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_labeled_and_change_no_settings(name, drawn):
    before = dict(matplotlib.rcParams)
    open_figures = plt.get_fignums()
    picture = FIGURES[name]()
    (figure,) = drawn
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == open_figures  # so that no notebook shows it a second time
    labels = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes if axes.get_visible()]
    assert all(labels) or name.endswith("paths")  # inner panels share their neighbors' labels
    image = Image.open(io.BytesIO(picture.png))
    assert image.size[0] == pytest.approx(figure.get_figwidth() * 144, abs=1)
    assert len(picture.png) < 150_000  # notebooks are kept in git


def _points(axes, label):
    """The (x, y) of the one line of a label."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return np.stack(line.get_data())


def test_the_map_of_a_run_has_its_way_its_ends_and_its_fixed_point(drawn):
    runs = [*RUNS, toy.descend(0.9, curvature=1.0, start=(-1.0, 3.0))]
    said = show.toy_map(runs).description
    (figure,) = drawn
    for axes, run in zip(figure.axes, runs, strict=False):
        assert axes.get_title() == f"ξ = {run.xi:g}: settled after {run.steps} steps"
        way = _points(axes, "a marker every 50 steps")
        assert (way == [run.alpha, run.w]).all()
        assert (_points(axes, "start") == way[:, :1]).all()
        assert (_points(axes, "end of the run") == way[:, -1:]).all()
        assert (_points(axes, "fixed point") == toy.fixed_point(run.xi, run.curvature)).all()
        assert (_points(axes, "optimum (1, 1)") == 1).all()
        assert np.ptp(_points(axes, "feasible: w = α"), axis=0).max() == 0
        assert f"ξ = {run.xi:g} goes to ({run.end[0]:.2f}, {run.end[1]:.2f})" in said
    assert not figure.axes[5].get_visible()


def test_the_first_steps_of_all_runs_stand_on_one_map(drawn):
    said = show.toy_map(RUNS, first=60).description
    (axes,) = drawn[0].axes
    for run in RUNS:
        assert (_points(axes, f"ξ = {run.xi:g}") == [run.alpha[:61], run.w[:61]]).all()
    assert "end of the run" not in axes.get_legend_handles_labels()[1]
    assert f"ξ = 0 goes to ({RUNS[0].alpha[60]:.2f}, {RUNS[0].w[60]:.2f}) in 60 steps" in said


def test_an_xi_looks_the_same_in_every_figure(drawn):
    show.toy_map(RUNS, first=9)
    show.lines({"": {"ξ = 0.5, alone": ([0, 1], [1, 2]), "to compare": ([0, 1], [1, 1])}},
               x="x", y="y", dashed=["to compare"])  # fmt: skip
    show.toy_map([RUNS[0], RUNS[2]])
    lines = [[line for axes in figure.axes for line in axes.lines] for figure in drawn]
    colors = [{line.get_label().split(",")[0]: line.get_color() for line in row} for row in lines]
    assert colors[0]["ξ = 0.5"] == colors[1]["ξ = 0.5"] == colors[2]["a marker every 50 steps"]
    assert len({colors[0][f"ξ = {run.xi:g}"] for run in RUNS}) == 4
    compared = lines[1][-1]
    assert compared.is_dashed() and compared.get_color() == "#000000"


def test_panels_that_share_a_scale_hold_the_lines_of_all(drawn):
    show.lines({"low": {"a": ([0, 1], [0, 1])}, "high": {"a": ([0, 1], [-9, 9])}}, x="x", y="y")
    show.lines(
        {"low": {"a": ([0, 1], [0, 1])}, "high": {"a": ([0, 1], [2, 9])}}, x="x", y="y", low=0
    )
    for figure, least in zip(drawn, (-9, 0), strict=True):
        for axes in figure.axes:
            low, high = axes.get_ylim()
            assert low <= least and high >= 9
    assert low == 0


def test_upright_lines_stand_where_they_are_put_and_are_said(drawn):
    told = show.lines({"A": LOSSES, "B": LOSSES}, x="x", y="y", uprights={"here": 7})
    for axes in drawn[0].axes:
        (line,) = (line for line in axes.lines if line.get_linestyle() == ":")
        assert list(line.get_xdata()) == [7, 7] and axes.texts[-1].get_text() == "here"
    assert told.description.endswith("Dotted: here.")


def test_a_band_lies_around_its_line_and_is_said(drawn):
    line = {"a": ([1, 2], [3.0, 4.0]), "b": ([1, 2], [5.0, 6.0])}
    told = show.lines(
        {"A": line, "B": line}, x="x", y="y", bands={"B": {"a": ([2.0, 3.0], [4.5, 4.9])}}
    )
    left, right = drawn[0].axes
    (band,) = right.collections
    assert not left.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices}
    assert corners == {(1, 2), (2, 3), (1, 4.5), (2, 4.9)}
    assert told.description.endswith("A band around: a.")


def test_the_lightest_color_is_that_of_the_lowest_value(drawn):
    table = [[0.5, 0.6]]
    names = {"rows": ["r"], "columns": ["a", "b"], "color": "share"}
    for low in (0.0, 0.5):
        show.heatmap({"A": table}, low=low, **names)
    first, second = (figure.axes[0].collections[0] for figure in drawn)
    assert first.get_clim() == (0.0, 0.6) and second.get_clim() == (0.5, 0.6)


@pytest.mark.parametrize("draw", [show.rows, show.points, show.lines])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_no_name_of_an_axis_runs_into_its_neighbors(draw, count, drawn):
    one = 1.0 if draw is show.rows else ([1.0, 2.0], [3.0, 4.0])
    panels = {f"panel {k}": {"ten shared networks": one, "b": one} for k in range(count)}
    for name in ("share", "accuracy in the table (percent)"):
        draw(panels, x=name, **{} if draw is show.rows else {"y": "y"})
        figure = drawn.pop()
        figure.draw_without_rendering()
        words = [axes.xaxis.label for axes in figure.axes]
        assert {word.get_text().replace("\n", " ") for word in words} == {name}
        boxes = [word.get_window_extent() for word in words]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
        assert boxes[-1].x1 <= figure.bbox.width
        assert words[0].get_text() == name or count > 2  # two lines only where one is too long


def test_the_scale_of_counts_has_no_halves(drawn):
    names = {"rows": ["r"], "columns": ["a", "b"], "color": "convolutions"}
    for table in ([[0, 1]], [[0.2, 1.0]]):
        show.heatmap({"A": table}, **names)
    counts, others = (figure.axes[-1].get_yticks() for figure in drawn)
    assert set(counts) >= {0, 1} and not (counts % 1).any() and (others % 1).any()


def test_panels_of_rows_share_a_scale_without_ticks_below_the_numbers(drawn):
    panels = {"A": {"x": [10, 20]}, "B": {"x": [60, 80]}}
    show.rows(panels, x="percent", shared=True)
    show.rows(panels, x="percent")
    together, apart = ([axes.get_xlim() for axes in figure.axes] for figure in drawn)
    assert together[0] == together[1] and together[0][0] < 10 and together[0][1] > 80
    assert apart[0][1] < apart[1][0]
    assert all(max(axes.get_xticks()) <= 85 < axes.get_xlim()[1] for axes in drawn[0].axes)


def test_a_picture_is_html_with_a_description():
    picture = show.picture(Figure(), 'a "map" & more')
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

"""Cells, diagrams and the figures of a search: what is drawn is what there is."""

import io
import re
import subprocess
import sys
from unittest.mock import patch

import graphviz
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image

from dartslib import show
from dartslib.genotypes import DARTS_V1, DARTS_V2, PUBLISHED, Genotype, choices, entropy
from dartslib.show import cells, decisions, drawings, style
from dartslib.show.parts import RADIUS, Wire, draw_cell
from dartslib.show.pictures import Picture, picture
from dartslib.space import CELL_TYPES, SearchSpace

SPACES = {"report": SearchSpace.report(), "paper": SearchSpace.darts()}
DOT = pytest.param("dot", marks=pytest.mark.skipif(not cells.shutil.which("dot"), reason="no dot"))


@pytest.fixture(params=[DOT, "matplotlib"])
def engine(request, monkeypatch):
    """Both ways to draw a cell: with the program dot, and on a machine that has none."""
    if request.param == "matplotlib":
        monkeypatch.setattr(cells.shutil, "which", lambda _: None)
    return request.param


# Three edges into one node, one into another, and two operations between the same two states.
ODD = Genotype(
    normal=(
        (("sep_conv_3x3", 0), ("dil_conv_5x5", 0), ("max_pool_3x3", 1)),
        (("skip_connect", 2),),
    ),
    reduction=((("mine", 0), ("avg_pool_3x3", 1)), (("mine", 2), ("yours", 1))),
)


def history(space, records=30, seed=0):
    """A made-up search: alpha drifts from uniform, losses fall."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, records)
    made = {"step": np.linspace(0, 600, records).astype(int), "seconds": 60 * time}
    for cell_type in CELL_TYPES:
        goal = rng.normal(0, 0.7, (len(space.edges), len(space.operations)))
        p = np.exp(goal * time[:, None, None] + np.cumsum(rng.normal(0, 0.02, goal.shape), 0))
        p[0] = 1.0
        p /= p.sum(-1, keepdims=True)
        real = [k for k, name in enumerate(space.operations) if name != "none"]
        best = np.sort(p[:, :, real], axis=-1)
        made[f"probabilities_{cell_type}"] = p
        made[f"entropy_{cell_type}"] = entropy(p)
        made[f"margin_{cell_type}"] = best[:, :, -1] - best[:, :, -2]
    for part in ("train", "valid"):
        made[f"{part}_loss"] = 1 + np.exp(-3 * time)
        made[f"{part}_accuracy"] = 0.6 - 0.5 * np.exp(-3 * time)
        made[f"{part}_loss"][0] = made[f"{part}_accuracy"][0] = np.nan
    return made


def last(space, seed=0):
    """The probabilities at the end of a made-up search."""
    made = history(space, seed=seed)
    return {kind: made[f"probabilities_{kind}"][-1] for kind in CELL_TYPES}


def behind(draw, *given, **named):
    """The matplotlib figure of a drawing, and its picture."""
    caught = []

    def catch(figure, words):
        caught.append(figure)
        return picture(figure, words)

    with patch.object(drawings, "picture", catch), patch.object(decisions, "picture", catch):
        drawn = draw(*given, **named)
    return caught[-1], drawn


def drawn_edges(source):
    """(source, target, operation or None) of a DOT text, its labels on the way taken together.

    Dashed edges, the concatenation, come second.
    """
    labels = dict(re.findall(r'^\s*(label\d+) \[label="?([^"\s\\]+)', source, re.M))
    solid, dashed, arrives, leaves = [], [], {}, {}
    for start, end, pen in re.findall(r"^\s*(\w+)(?::e)? -> (\w+)(?::w)? \[(.*)\]", source, re.M):
        if "invis" in pen:
            continue
        if "dashed" in pen:
            dashed.append((int(start), int(end)))
        elif end in labels:
            arrives[end] = int(start)
        elif start in labels:
            leaves[start] = int(end)
        else:
            solid.append((int(start), int(end), None))
    assert arrives.keys() == leaves.keys() == labels.keys()
    solid += [(arrives[label], leaves[label], labels[label]) for label in labels]
    return sorted(solid, key=str), dashed


@pytest.mark.parametrize("genotype", [DARTS_V1, DARTS_V2, ODD], ids=["V1", "V2", "odd"])
@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_the_graph_has_the_edges_of_the_genotype(genotype, cell_type):
    nodes = genotype.cell(cell_type)
    source = cells.cell_graph("a cell", len(nodes), cells._wires(nodes)).source
    solid, dashed = drawn_edges(source)
    expected = [(s, t, name) for t, edges in enumerate(nodes, start=2) for name, s in edges]
    assert solid == sorted(expected, key=str)
    assert dashed == [(state, len(nodes) + 2) for state in range(2, len(nodes) + 2)]


@pytest.mark.parametrize("genotype", [DARTS_V2, ODD], ids=["V2", "odd"])
@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_the_plain_drawing_has_a_wire_for_every_edge(genotype, cell_type):
    nodes = genotype.cell(cell_type)
    wires = cells._wires(nodes)
    figure = cells.plain_cell("a cell", len(nodes), wires)
    (axes,), (legend,) = figure.axes, figure.legends
    drawn, dashed = axes.lines[: len(wires)], axes.lines[len(wires) :]
    assert len(dashed) == len(nodes)  # the concatenation
    keys = zip(legend.get_texts(), legend.get_lines(), strict=True)
    named = {text.get_text(): line for text, line in keys}
    assert set(named) == {operation for edges in nodes for operation, _ in edges}
    for wire, line in zip(wires, drawn, strict=True):
        assert line.get_color() == named[wire.operation].get_color() == wire.pen.color
        (x, y), (x_end, y_end) = line.get_xydata()[[0, -1]]
        states = [text.get_position() for text in axes.texts]
        for (a, b), state in (((x, y), wire.source), ((x_end, y_end), wire.target)):
            assert np.hypot(a - states[state][0], b - states[state][1]) < RADIUS
    ends = {tuple(line.get_xydata()[-1]) for line in drawn}
    assert len(ends) == len(wires)  # none hides another
    words = [text.get_text() for text in axes.texts]
    assert {"$c_{k{-}2}$", "$c_{k{-}1}$", "$c_k$", "1"} <= set(words)
    figure.draw_without_rendering()  # nothing leaves the page
    boxes = [text.get_window_extent() for text in (*axes.texts, *legend.get_texts())]
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.width for box in boxes)


@pytest.mark.parametrize("nodes", range(1, 7))
def test_no_drawn_edge_passes_behind_a_state_that_it_does_not_join(nodes):
    """Seen as two edges, into that state and out of it."""
    edges = [(source, target) for target in range(2, nodes + 2) for source in range(target)]
    lines, artists = draw_cell(Figure().add_subplot(), nodes, edges)
    discs = [artist for artist in artists if isinstance(artist, Circle)]
    for line, ends in zip(lines, edges, strict=True):
        points = line.get_xydata()
        points = np.concatenate([points, (points[1:] + points[:-1]) / 2])
        for state, disc in enumerate(discs):
            if state not in ends:
                assert np.hypot(*(points - disc.center).T).min() > RADIUS + 0.03


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_a_cell_is_a_picture_that_is_described(engine, cell_type):
    picture = show.cell(DARTS_V2, cell_type)
    image = Image.open(io.BytesIO(picture.png))
    assert image.size[0] == round(9.6 * 144) and picture.width == 864
    assert len(np.unique(np.asarray(image.convert("L")))) > 10  # not blank
    assert picture.description.startswith(f"{cell_type.capitalize()} cell: node 1 adds ")
    assert len(picture.png) < 150_000


def test_what_a_notebook_compares_does_not_depend_on_the_engine(monkeypatch):
    def text():
        return re.sub('base64,[^"]*', "", show.genotype_cells(ODD)._repr_html_())

    with_dot = text()
    monkeypatch.setattr(cells.shutil, "which", lambda _: None)
    assert text() == with_dot


def test_nodes_draw_like_their_genotype():
    nodes = DARTS_V2.reduction
    assert show.cell(nodes, "reduction") == show.cell(DARTS_V2, "reduction")
    assert show.cell([[["skip_connect", 0]]]).description.startswith("Normal")


def test_the_description_says_what_every_node_adds():
    words = show.cell(DARTS_V2).description
    assert words == (
        "Normal cell: node 1 adds sep_conv_3x3 of c_{k-2} and sep_conv_3x3 of c_{k-1}; node 2 adds "
        "sep_conv_3x3 of c_{k-2} and sep_conv_3x3 of c_{k-1}; node 3 adds sep_conv_3x3 of c_{k-1} "
        "and skip_connect of c_{k-2}; node 4 adds skip_connect of c_{k-2} and dil_conv_3x3 of "
        "node 1. The output c_k concatenates nodes 1 to 4 (dashed)."
    )
    odd = show.cell(ODD).description
    assert "sep_conv_3x3 of c_{k-2}, dil_conv_5x5 of c_{k-2} and max_pool_3x3 of c_{k-1}" in odd
    assert "node 2 is skip_connect of node 1" in odd
    assert "stride 2" in show.cell(ODD, "reduction").description


def test_a_dot_that_cannot_draw_is_as_good_as_none(monkeypatch):
    def fail(*_, **__):
        raise subprocess.CalledProcessError(1, "dot")

    monkeypatch.setattr(cells.shutil, "which", lambda _: None)
    without = show.cell(DARTS_V2)
    monkeypatch.setattr(cells.shutil, "which", lambda _: "/somewhere/dot")
    monkeypatch.setattr(graphviz.Digraph, "pipe", fail)
    assert show.cell(DARTS_V2) == without


def test_a_wrong_cell_type_is_named():
    with pytest.raises(ValueError, match="both"):
        show.cell(DARTS_V2, "both")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_search_cell_joins_every_earlier_state(space, engine):
    wires = [Wire(*edge) for edge in space.edges]
    solid, dashed = drawn_edges(cells.cell_graph("", space.nodes, wires).source)
    assert sorted(solid) == sorted((s, t, None) for s, t in space.edges)
    assert len(dashed) == space.nodes
    assert f"{len(space.edges)} solid lines" in show.search_cell(space).description


def test_edges_that_another_cell_has_are_thick(engine):
    """By operation and source, of the same node."""
    one = (("sep_conv_3x3", 0), ("max_pool_3x3", 1))
    other = (("max_pool_3x3", 1), ("skip_connect", 0))
    first, second = Genotype((one, one), (one, one)), Genotype((one, other), (other[:1], one))
    drawn = show.genotype_cells(first, title="first", beside=second)
    assert "Thick: 3 of 4 edges." in drawn.description
    assert "Thick: 3 of 4 edges." in drawn.description.split("Reduction cell")[1]
    wires = cells._wires(first.normal, second.normal)
    assert [wire.width == cells.THICK for wire in wires] == [True, True, False, True]
    assert all(wire.width == cells.THIN for wire in cells._wires(first.normal))
    assert "Thick" not in show.genotype_cells(first).description


def test_tensors_are_taken_too():
    torch = pytest.importorskip("torch")
    space = SearchSpace(1)
    tables = last(space)
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in tables.items()}
    for draw in (show.margins, lambda t, s: show.alpha_heatmap({"t": t}, s)):
        assert draw(tensors, space) == draw(tables, space)


def test_probabilities_of_another_space_are_refused():
    for draw in (show.margins, lambda t, s: show.alpha_heatmap({"t": t}, s)):
        with pytest.raises(ValueError, match=r"14 edges x 8 operations .*\(9, 8\)"):
            draw(last(SPACES["report"]), SPACES["paper"])


def test_operations_are_told_apart_and_added_ones_have_looks():
    looks = [style.look(name) for name in SPACES["report"].operations]
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == 8
    added = ["mine", "yours", "max_pool_3x3"]
    assert style.look("mine", added) != style.look("yours", added)
    assert style.look("mine") == style.look("mine")
    shapes = {(style.state_look(s, 3).shape, style.state_look(s, 3).borders) for s in range(6)}
    assert len(shapes) == 3  # inputs, nodes, output: without color, too


def test_diagrams_say_where_cells_reduce():
    words = show.search_network().description
    assert "8 cells" in words and "Reduction cells: 2, 5;" in words and "mlp head" in words
    assert "32 x 32, 16 x 16, 8 x 8, with 16, 32, 64 channels" in words
    words = show.final_network(20, channels=36, head="linear").description
    assert "Reduction cells: 6, 13;" in words and "36, 72, 144" in words
    assert "Reduction cells: 4, 9;" in show.final_network().description
    for word in ("search space", "search strategy", "performance estimation", "final network"):
        assert word in show.nas_picture().description


@pytest.mark.parametrize("layers", [1, 2, 20])
def test_networks_of_any_depth_fit_the_page(layers):
    for drawn in (show.search_network(layers), show.final_network(layers)):
        assert drawn.width == 864 and len(drawn.png) < 150_000


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"layers": 0}, "layers"), ({"head": "big"}, "big")],
)
def test_networks_that_cannot_be_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        show.search_network(**arguments)


FIGURES = {}
for _name, _space in {"one node": SearchSpace(1), "paper": SPACES["paper"]}.items():
    FIGURES |= {
        f"heatmap, {_name}": lambda s=_space: behind(show.alpha_heatmap, {"t": last(s)}, s)[0],
        f"two maps, {_name}": lambda s=_space: behind(
            show.alpha_heatmap, {"a": last(s), "b": last(s, 1)}, s
        )[0],
        f"choices, {_name}": lambda s=_space: behind(show.choices_over_time, history(s), s, "t")[0],
        f"margins, {_name}": lambda s=_space: behind(show.margins, last(s), s, "title")[0],
    }


EACH_FIGURE = [
    pytest.param(name, marks=pytest.mark.full if "paper" in name else ()) for name in FIGURES
]


@pytest.mark.parametrize("name", EACH_FIGURE)
def test_figures_are_labeled_readable_and_leave_nothing_behind(name):
    before, open_figures = dict(matplotlib.rcParams), plt.get_fignums()
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == open_figures
    for axes in figure.axes:
        assert any([axes.get_title(), axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()])
    assert any(axes.get_xlabel() for axes in figure.axes)
    picture = show.picture(figure, "what it shows")
    assert picture.width == 864 and len(picture.png) < 150_000
    assert plt.get_fignums() == open_figures
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) >= 11.9  # 11 points on the page


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_heatmap_has_every_number_and_outlines_what_is_kept(space):
    tables = last(space)
    figure, _ = behind(show.alpha_heatmap, {"mine": tables}, space)
    for axes, cell_type in zip(figure.axes, CELL_TYPES, strict=False):
        numbers = [float(text.get_text()) for text in axes.texts]
        np.testing.assert_allclose(numbers, tables[cell_type].T.ravel(), atol=5.1e-4)
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert names[:2] == ["$c_{k{-}2}$\n→ 1", "$c_{k{-}1}$\n→ 1"] and len(names) == len(
            space.edges
        )
        assert [t.get_text() for t in axes.get_yticklabels()] == list(space.operations)
        outlined = {frame.get_xy() for frame in axes.patches}
        kept = [c for c in choices(tables, space) if c.kept and c.cell_type == cell_type]
        assert outlined == {(c.edge, space.operations.index(c.operation)) for c in kept}
        assert axes.collections[0].get_clim() == (0, 0.5)  # the same in every map


def contrast(one, other):
    """Contrast of two colors after WCAG 2.1."""

    def luminance(color):
        c = np.asarray(color)
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_heatmap_numbers_stand_out_at_every_probability():
    space = SPACES["report"]
    table = np.linspace(0, 1, 72).reshape(9, 8)
    figure, _ = behind(show.alpha_heatmap, {"t": {"normal": table, "reduction": table}}, space)
    axes = figure.axes[0]
    shades = axes.collections[0].to_rgba(table.T.ravel())
    for text, shade in zip(axes.texts, shades, strict=True):
        assert contrast(matplotlib.colors.to_rgb(text.get_color()), shade[:3]) >= 4.5


def test_equal_points_of_a_row_do_not_hide_one_another():
    figure, _ = behind(show.rows, {"t": {"one": [4, 4, 8], "other": [1, 1, 1]}}, x="count")
    points = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None")]
    places = [tuple(at) for line in points for at in line.get_xydata()]
    assert len(set(places)) == 6
    assert [x for x, _ in places] == [4, 4, 8, 1, 1, 1]
    np.testing.assert_allclose([np.mean(line.get_ydata()) for line in points], [0, 1])
    picture = show.rows({"t": {"one": [4.0, np.nan, np.nan], "other": [1.0, 1.0, 2.0]}}, x="count")
    assert picture.png  # a value that is missing hides none
    figure, _ = behind(show.rows, {"t": {"ten": [1.0] * 10, "one": [1.0]}}, x="count")
    (ten, one) = (line.get_ydata() for line in figure.axes[0].lines if line.get_marker() != "None")
    assert len(set(ten)) == 10 and max(ten) < 0.5 < min(one)


def test_a_scale_may_end_at_zero():
    options = {"rows": ["r"], "columns": ["a", "b"], "low": -3.0, "top": 0.0, "color": "a number"}
    figure, _ = behind(show.heatmap, {"t": [[-2.0, -1.0]]}, **options)
    assert figure.axes[0].collections[0].get_clim() == (-3.0, 0.0)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_margins_fill_what_is_kept_and_band_what_was_close(space):
    tables = last(space)
    figure, drawn = behind(show.margins, tables, space, numbers=True)
    for axes, cell_type in zip(figure.axes, CELL_TYPES, strict=True):
        mine = [c for c in choices(tables, space) if c.cell_type == cell_type]
        large = [line for line in axes.lines if line.get_markersize() == 9]
        places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in large]
        np.testing.assert_allclose(places, [(c.probability, c.edge - decisions.UP) for c in mine])
        assert [line.get_markerfacecolor() != "white" for line in large] == [c.kept for c in mine]
        margins = {c.node: c.edge_margin for c in mine if not np.isnan(c.edge_margin)}
        np.testing.assert_allclose([p.get_width() for p in axes.patches], list(margins.values()))
        leads = [f"+{c.operation_margin:.3f}" for c in mine if c.kept]
        assert [t.get_text() for t in axes.texts] == leads + [f"{m:.3f}" for m in margins.values()]
        # Nothing is hidden: the other operations stand lower than every best one.
        small = [line.get_ydata()[0] for line in axes.lines if line.get_marker() in (".", "|")]
        assert len(small) == len(mine) * (len(space.operations) - 1)
        np.testing.assert_allclose(np.mod(small, 1), decisions.DOWN)
    narrow = min((c for c in choices(tables, space) if c.kept), key=lambda c: c.operation_margin)
    assert f"by {narrow.operation_margin:.4f}" in drawn.description
    bold = [t.get_text() for a in figure.axes for t in a.texts if t.get_weight() == "bold"]
    assert bold == [f"+{narrow.operation_margin:.3f}"]


def test_nodes_stand_at_the_same_places_whatever_the_cell():
    if not cells.shutil.which("dot"):
        pytest.skip("no dot")
    inputs_only = ((("max_pool_3x3", 0), ("skip_connect", 1)),) * 3
    seen = []
    for name in ("REPORT_FIRST", "REPORT_SECOND"):
        for nodes in (PUBLISHED[name].normal, PUBLISHED[name].reduction, inputs_only):
            graph = cells.cell_graph("", 3, cells._wires(nodes))
            plain = graph.pipe("plain", encoding="utf-8")  # one line a node: node NAME X Y …
            x = {n: float(at) for n, at in re.findall(r"^node (\d+) (\S+)", plain, re.M)}
            assert x["1"] < x["2"] < x["3"] < x["4"] < x["5"]
            seen.append([x[state] - x["1"] for state in "2345"])
    assert np.ptp(seen, axis=0).max() < 0.1  # inches


def test_a_live_runs_lists_are_taken_as_well():
    space = SPACES["report"]
    live = {name: list(values) for name, values in history(space, 2).items()}
    assert isinstance(show.choices_over_time(live, space), Picture)
    only = {name: values[:1] for name, values in live.items()}  # before the first step
    assert isinstance(show.choices_over_time(only, space), Picture)


def flipping():
    """Five records of one node: uniform, then sep 3x3, at last sep 5x5 on the second edge."""
    space = SearchSpace(1, ("sep_conv_3x3", "sep_conv_5x5", "none"))
    first, second = np.array([0.6, 0.3, 0.1]), np.array([0.3, 0.6, 0.1])
    rows = [
        [first * 0 + 1 / 3] * 2,
        [first, first],
        [first, first],
        [first, second],
        [first, second],
    ]
    made = {"step": np.arange(5) * 10, "probabilities_normal": np.array(rows)}
    made["probabilities_reduction"] = np.array(rows[:2] + [rows[1]] * 3)
    return made, space


def test_what_changes_is_drawn_and_named():
    made, space = flipping()
    figure, _ = behind(show.choices_over_time, made, space)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["sep 3x3", "sep 3x3", "sep 5x5"]


def test_what_changes_at_the_last_record_is_drawn():
    """For that is the cell that is derived."""
    made, space = flipping()
    table = made["probabilities_normal"]
    made["probabilities_normal"] = np.concatenate([table[:2], [table[1]] * 2, table[4:]])
    axes = behind(show.choices_over_time, made, space)[0].axes[0]
    boxes = [path.get_extents() for bars in axes.collections for path in bars.get_paths()]
    late = [box for box in boxes if box.x0 == made["step"][-1]]
    assert late and all(box.x1 == box.x0 + 10 for box in late)
    assert axes.get_xlim()[1] == made["step"][-1] + 10


@pytest.mark.full
def test_descriptions_of_live_runs_say_nothing_of_what_came_out():
    space = SPACES["report"]
    tables = last(space)
    told = show.alpha_heatmap({"mine": tables}, space).description
    assert "8 rows by 9 columns" in told and "Outlined: kept by derivation." in told
    for drawn in (
        show.alpha_heatmap({"mine": tables}, space),
        show.margins(tables, space),
        show.choices_over_time(history(space), space),
    ):
        assert not re.search(r"\.\d|conv", drawn.description)


def test_show_loads_no_torch_and_its_names_are_functions():
    code = (
        "import sys; from dartslib import show; from dartslib.genotypes import DARTS_V2;"
        "show.cell(DARTS_V2); show.nas_picture();"
        "assert all(callable(getattr(show, name)) for name in show.NAMES if name[0] != 'x');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

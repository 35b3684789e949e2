"""The explorers, driven by code: what moves, what it says, how fast."""

import asyncio
import re
import statistics
import time

import ipywidgets as widgets
import numpy as np
import pytest
from made_up import made_up_table

from dartslib import show, toy
from dartslib.genotypes import derive
from dartslib.show import style
from dartslib.show.microscope import angle, sizes_and_angles
from dartslib.show.pictures import image_tag
from dartslib.space import SearchSpace

SPACE = SearchSpace(2, ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "none"))
STEPS, ENTRIES, XIS = 12, 10, np.linspace(0, 0.1, 5)


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _history(seed=0, steps=STEPS):
    rng = np.random.default_rng(seed)
    logits = {k: rng.normal(0, 0.3, (steps, 5, 4)).cumsum(axis=0) for k in ("normal", "reduction")}
    tables = {f"probabilities_{k}": _softmax(a) for k, a in logits.items()}
    for table in tables.values():
        table[0] = 1 / 4  # where every search begins
    return {"step": np.arange(steps) * 3, **tables}


def _curves(epochs=5, evaluations=2):
    steps = np.arange(1, epochs + 1) * 10
    watched = steps[-1] * np.arange(1, evaluations + 1) // evaluations
    return {
        "step": steps,
        "train_accuracy": np.linspace(0.1, 0.5, epochs),
        "train_loss": np.linspace(2.3, 1.1, epochs),
        "evaluation_step": watched,
        "valid_accuracy": np.linspace(0.2, 0.4, evaluations),
        "valid_loss": np.linspace(2.1, 1.4, evaluations),
    }


def _gradients(probes=2):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(probes, ENTRIES))
    moved = XIS[:, None] * rng.normal(size=(probes, len(XIS), ENTRIES))
    return {
        "step": np.array([0, 20]),
        "xi": XIS,
        "first_order": first,
        "other_batches": rng.normal(size=(probes, 3, ENTRIES)),
        "direct": first[:, None] + moved,
        "implicit": rng.normal(size=(probes, len(XIS), ENTRIES)),
        "difference": rng.normal(size=(probes, len(XIS), ENTRIES)),
    }


def _maps():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(8, 8)) for name in SPACE.operations}


def _runs():
    return {
        "compared": {"ξ = 0": [_curves(), _curves()], "at random": [_curves()]},
        "search": {"ξ = 0": [_curves(7)]},
    }


def _table():
    def value(cell):
        return 0.5 + 0.02 * str(cell.normal).count("sep") + 1e-5 * sum(map(ord, str(cell.normal)))

    return made_up_table(value, noise=0.005)


MAKE = {  # explorer: how to make it, and its main control with values for it
    "xi": (show.XiExplorer, lambda e: (e.slider, "value", (0.3, 0.7, 1.2))),
    "mixture": (
        lambda: show.MixtureExplorer(np.zeros((8, 8)), _maps()),
        lambda e: (e.alpha["max_pool_3x3"], "value", (1.0, 2.0, -3.0)),
    ),
    "search": (
        lambda: show.SearchExplorer({"one": _history(), "two": _history(1, 9)}, SPACE),
        lambda e: (e.moment, "index", (0, 3, 7)),
    ),
    "curves": (
        lambda: show.CurveExplorer(_runs()),
        lambda e: (e.switches["at random"], "value", (False, True, False)),
    ),
    "hypergradient": (
        lambda: show.HypergradientExplorer(_gradients()),
        lambda e: (e.slider, "index", (0, 2, 4)),
    ),
    "cell": (
        lambda: show.CellExplorer(_table()),
        lambda e: (e.operations[3], "index", (1, 2)),
    ),
}


def _source(explorer):
    return re.search(r'src="([^"]+)"', explorer.picture.value)[1]


def _controls(explorer):
    """Everything that a reader can move."""
    found, waiting = [], list(explorer.children)
    while waiting:
        widget = waiting.pop()
        if isinstance(widget, widgets.Box):
            waiting.extend(widget.children)
        elif not isinstance(widget, widgets.HTML):
            found.append(widget)
    return found


@pytest.fixture(params=MAKE)
def each(request):
    make, main = MAKE[request.param]
    explorer = make()
    return explorer, main(explorer)


# What all have in common


def test_the_main_control_moves_picture_and_words(each):
    explorer, (control, what, values) = each
    begin = getattr(control, what)
    seen = {_source(explorer): explorer.status.value}
    for value in values:
        setattr(control, what, value)
        seen[_source(explorer)] = explorer.status.value
    assert len(seen) >= 2 and len(set(seen.values())) == len(seen)
    setattr(control, what, begin)
    first = next(iter(seen))
    assert _source(explorer) == first  # the ground is put back whole: nothing else is left
    assert explorer.status.value == seen[first]


def test_the_picture_is_described_and_the_numbers_are_announced(each):
    explorer, _ = each
    alt = re.match(r'<img alt="([^"]+)"', explorer.picture.value)[1]
    assert f'<span role="status">{alt}</span>' == explorer.status.value
    assert alt.endswith(".") and "nan" not in alt


def test_every_control_takes_the_keyboard_and_says_what_it_moves(each):
    # ipywidgets' own controls do, as long as they are enabled.
    explorer, _ = each
    controls = _controls(explorer)
    assert len(controls) >= 2
    for control in controls:
        assert control.description and not control.disabled


@pytest.mark.parametrize("name", ["xi", "search", "hypergradient"])
def test_play_and_pause(name):
    play = MAKE[name][0]().play
    seen = []
    play.moved.observe(lambda change: seen.append(change["new"]), "value")
    play.interval = 0.0

    async def pressed_twice():
        for _ in range(2):
            play.value = not play.value
            await asyncio.sleep(0)

    async def pressed_once():
        play.value = True
        async with asyncio.timeout(60):
            while play.value:
                await asyncio.sleep(0.01)

    play.moved.value = play.last
    seen.clear()
    asyncio.run(pressed_twice())
    assert seen == [0] and not play.value and play.description == "play"
    asyncio.run(pressed_once())
    assert seen[-1] == play.last and seen == sorted(seen)


def test_all_of_it_stands_in_one_box(each):
    explorer, (control, _, _) = each
    assert {explorer.picture, explorer.status} <= set(explorer.children)
    assert control in _controls(explorer)


def test_the_picture_follows_at_once(each):
    explorer, (control, what, values) = each
    taken = []
    for value in values * 3:
        begin = time.process_time()  # not the clock: tests run beside others
        setattr(control, what, value)
        taken.append(1000 * (time.process_time() - begin))
    # Measured on a quiet machine: 4 to 13 ms, where the issue asks for 50.
    assert statistics.median(taken) < 100


# The toy problem


@pytest.fixture
def explorer():
    return show.XiExplorer()


def test_it_begins_with_the_report_and_the_optimum(explorer):
    assert explorer.run.steps == toy.descend(0.5).steps
    assert explorer.status.value == (
        '<span role="status">ξ = 0.50, learning rate 0.01, start (2, -2): settled after 296 steps '
        "at α = 1.0025, w = 1.0074, 0.0078 from the fixed point 1; (α − 1)² = 6.4e-06 there.</span>"
    )


def test_the_run_is_that_of_the_toy(explorer):
    explorer.slider.value = 0.3
    assert explorer.run.steps == toy.descend(0.3).steps
    assert f"after {explorer.run.steps} steps" in explorer.status.value
    explorer.curvature.value = 3
    assert explorer.run.end == toy.descend(0.3, curvature=3).end
    assert "curvature 3" in explorer.status.value
    assert f"fixed point {toy.fixed_point(0.3, 3):.5g}" in explorer.status.value


def test_what_changes_the_axes_follows_too(explorer):
    first = _source(explorer)
    seen, taken, before = {first}, [], {}
    for control, value in (
        (explorer.lr, 1e-3),
        (explorer.curvature, 1.0),
        (explorer.start_alpha, -1.0),
        (explorer.start_w, 3.0),
    ):
        before[control] = control.value
        begin = time.process_time()
        control.value = value
        taken.append(1000 * (time.process_time() - begin))
        assert _source(explorer) not in seen
        seen.add(_source(explorer))
    ours = toy.descend(0.5, lr=1e-3, curvature=1.0, start=(-1.0, 3.0))
    assert explorer.run.end == ours.end
    assert statistics.median(taken) < 600  # measured on a slow machine: 130 to 200; asked: 300
    for control, value in before.items():
        control.value = value
    assert _source(explorer) == first  # nothing of what was drawn before has stayed


def test_the_report_has_its_buttons(explorer):
    assert [button.description for button in explorer.report] == [
        "ξ = 0", "ξ = 0.3", "ξ = 0.5", "ξ = 0.7",
    ]  # fmt: skip
    explorer.report[1].click()
    assert explorer.slider.value == 0.3 and explorer.run.steps == 411


def test_a_run_can_be_shown_in_part(explorer):
    whole = _source(explorer)
    explorer.shown.value = 25
    run = toy.descend(0.5)
    alpha, w = run.alpha[74], run.w[74]
    assert f"after 74 of 296 steps at α = {alpha:.5g}, w = {w:.5g}" in explorer.status.value
    assert f"L_val {toy.valid_loss(w, alpha):.3g}" in explorer.status.value
    assert _source(explorer) != whole
    assert explorer.play.last == explorer.shown.max


def test_it_says_when_a_run_is_far_from_its_fixed_point_or_gone(explorer):
    explorer.slider.value = 0
    explorer.lr.value = 1e-5
    assert "settled after 1 steps" in explorer.status.value
    assert "4 from the fixed point 2" in explorer.status.value
    explorer.slider.value = 1.5
    explorer.lr.value = 0.8
    assert "diverged" in explorer.status.value


def _lines(explorer):
    """What stands in the lines of a picture, of those that are shown."""
    return [
        np.array(line.get_data(), dtype=float)
        for axes in explorer.figure.axes
        for line in axes.lines
        if line.get_visible()
    ]


def _drawn(explorer, x, y):
    return any(a.shape == (2, len(x)) and np.allclose(a, [x, y]) for a in _lines(explorer))


def test_what_is_drawn_is_the_run(explorer):
    explorer.slider.value = 0.3
    explorer.shown.value = 50
    run, part = toy.descend(0.3), np.linspace(0, 100, 412)
    alpha, w, part = run.alpha[:207], run.w[:207], part[:207]  # half of 411 steps, rounded
    assert _drawn(explorer, alpha, w)
    assert _drawn(explorer, part, toy.train_loss(w, alpha))
    assert _drawn(explorer, part, toy.valid_loss(w, alpha))
    assert _drawn(explorer, [0.3], [run.alpha[-1]]) and _drawn(explorer, [0.3], [2 / 1.6])
    (arrows,) = (c for a in explorer.figure.axes for c in a.collections if hasattr(c, "U"))
    down = -toy.alpha_gradient(arrows.Y, arrows.X, 0.3), -2 * (arrows.Y - arrows.X)
    size = np.maximum(np.hypot(*down), 1e-9)
    assert np.allclose(arrows.U, np.ravel(down[0] / size))
    assert np.allclose(arrows.V, np.ravel(down[1] / size))


# The mixed operation


def test_the_mixture_is_the_sum_that_the_softmax_weighs():
    maps = _maps()
    explorer = show.MixtureExplorer(np.zeros((8, 8)), maps)
    assert np.allclose(explorer.probabilities, 1 / 4)
    explorer.alpha["none"].value = 1.5
    expected = _softmax(np.array([0, 0, 0, 1.5]))
    assert np.allclose(explorer.probabilities, expected)
    by_hand = sum(p * m for p, m in zip(expected, maps.values(), strict=True))
    assert np.allclose(explorer.mixture, by_hand)
    assert f"none {expected[3]:.3f}" in explorer.status.value
    heights = [bar.get_height() for axes in explorer.figure.axes for bar in axes.patches]
    assert np.allclose(heights, expected)
    images = [image.get_array() for axes in explorer.figure.axes for image in axes.images]
    assert sum(image.shape == (8, 8) and np.allclose(image, by_hand) for image in images) == 1
    explorer.zero.click()
    assert "All 4 operations have the probability 0.250." in explorer.status.value
    still = explorer.still("A map.")
    assert still.description == "A map. All 4 operations have the probability 0.250."
    assert still.width == 864 and _source(explorer) in image_tag(still.png, "")


# A search, moment by moment


def test_the_search_explorer_shows_what_would_be_derived():
    history = _history()
    explorer = show.SearchExplorer({"one": history}, SPACE)
    cells = []
    for t in range(1, STEPS):
        explorer.moment.index = t
        tables = {k: history[f"probabilities_{k}"][t] for k in ("normal", "reduction")}
        cells.append({node: set(edges) for node, edges in enumerate(derive(tables, SPACE).normal)})
        for node, edges in cells[-1].items():
            said = re.search(rf"node {node + 1}: ([^;.<]+)", explorer.status.value)[1]
            assert {part.split(" of ")[0] for part in said.split(" and ")} == {o for o, _ in edges}
    changed = [t for t in range(2, STEPS) if cells[t - 1] != cells[t - 2]]
    assert explorer.flips == changed and changed
    explorer.moment.index = changed[0]
    assert "New at this moment" in explorer.status.value
    explorer.moment.index = 0
    assert "nothing is decided" in explorer.status.value


@pytest.mark.parametrize("t", [1, 5, STEPS - 1])
def test_what_is_drawn_is_the_moment(t):
    """Map, outlines, numbers; cursor; edges as wide as they are probable, grey where cut."""
    history = _history()
    explorer = show.SearchExplorer({"one": history}, SPACE)
    explorer.moment.index = t
    tables = {kind: history[f"probabilities_{kind}"][t] for kind in ("normal", "reduction")}
    table, (on_map, over_time, cell) = tables["normal"], explorer.figure.axes
    (mesh,) = on_map.collections
    assert np.allclose(mesh.get_array().reshape(4, 5), table.T)

    kept = {  # (edge, row of the map)
        (SPACE.edges.index((source, node + 2)), SPACE.operations.index(name))
        for node, edges in enumerate(derive(tables, SPACE).normal)
        for name, source in edges
    }
    assert {patch.get_xy() for patch in on_map.patches if patch.get_visible()} == kept
    best = table[:, :-1].max(axis=1)  # none is the last
    assert [float(text.get_text()) for text in on_map.texts] == [round(p, 2) for p in best]
    cursor, dot = (line.get_xdata()[0] for line in over_time.lines[-2:])
    assert cursor == dot == history["step"][t]

    widths = np.array([wire.get_linewidth() for wire in cell.lines])
    assert np.allclose(widths / widths[0], best / best[0])
    colors = [wire.get_color() for wire in cell.lines]
    for edge, color in enumerate(colors):
        assert (color == "#B3B3B3") == (edge not in {edge for edge, _ in kept})
    # A wire that is cut lies under those that are kept, so it is drawn before them.
    drawn = [wire for wire in explorer.moving if wire in cell.lines]
    grey = [wire.get_color() == "#B3B3B3" for wire in drawn]
    assert len(drawn) == len(cell.lines) and grey == sorted(grey, reverse=True) and any(grey)


def test_another_search_and_another_cell():
    explorer = show.SearchExplorer({"one": _history(), "two": _history(1, 9)}, SPACE)
    seen = {_source(explorer)}
    explorer.cell_type.value = "reduction"
    assert "reduction cell" in explorer.status.value
    seen.add(_source(explorer))
    explorer.run.value = "two"
    assert explorer.status.value.startswith('<span role="status">two, reduction cell, step 24')
    assert explorer.moment.index == 8 and explorer.play.last == 8
    alone = show.SearchExplorer({"two": _history(1, 9)}, SPACE)
    alone.cell_type.value = "reduction"
    assert explorer.status.value == alone.status.value and _source(explorer) == _source(alone)
    seen.add(_source(explorer))
    assert len(seen) == 3
    explorer.run.value = "one"  # which is longer
    assert "one, reduction cell, step 33" in explorer.status.value
    assert explorer.moment.index == 11 and explorer.play.last == 11
    assert _source(explorer) in seen


def test_no_search_and_no_run():
    with pytest.raises(ValueError, match="at least one search"):
        show.SearchExplorer({}, SPACE)
    with pytest.raises(ValueError, match="at least one run"):
        show.CurveExplorer({"compared": {}})


# Curves


def test_a_run_that_has_no_validation():
    """One level has no half for alpha alone: its record holds nothing but nan there."""
    record = _curves() | {"valid_accuracy": np.full(5, np.nan), "valid_loss": np.full(5, np.nan)}
    del record["evaluation_step"]
    explorer = show.CurveExplorer({"search": {"one level": [record]}})
    assert "one level 50.0%" in explorer.status.value and len(_lines(explorer)) == 1


def test_eleven_labels_of_a_figure_look_different():
    pens = style.looks([*"abcdefghijk"])
    assert len(set(pens.values())) == len({pen.color for pen in pens.values()}) == 11
    ways = ["ξ = 0", "ξ > 0", "at random", *"abcde"]
    assert len({pen.color for pen in style.looks(ways).values()}) == 8


def test_a_way_to_search_keeps_its_look_when_others_are_not_there():
    groups = {"ξ = 0": [_curves()], "at random": [_curves()]}
    explorer = show.CurveExplorer({"compared": groups, "search": {"at random": [_curves()]}})
    found = [switch.description for switch in explorer.switches.values()]
    assert found == ["ξ = 0 (1)", "at random (1)"]
    pens = style.looks(list(groups))
    assert {line.get_color() for line in explorer.moving} == {pen.color for pen in pens.values()}
    explorer.kind.value = "search"
    assert {line.get_color() for line in explorer.moving} == {pens["at random"].color}
    assert "at random 40.0%" in explorer.status.value


def test_few_operations_are_all_named():
    maps = dict(list(_maps().items())[:3])
    explorer = show.MixtureExplorer(np.zeros((8, 8)), maps)
    explorer.alpha["skip_connect"].value = 1.0
    assert "other" not in explorer.status.value


def test_switches_take_runs_away():
    explorer = show.CurveExplorer(_runs())
    assert "ξ = 0 40.0%, 40.0%; at random 40.0%" in explorer.status.value
    assert len(_lines(explorer)) == 6  # three runs, trained on and held out
    explorer.switches["ξ = 0"].value = False
    assert "ξ = 0" not in explorer.status.value
    assert len(_lines(explorer)) == 2
    explorer.switches["at random"].value = False
    assert "no run is switched on" in explorer.status.value
    explorer.kind.value = "search"
    assert list(explorer.switches) == ["ξ = 0"]
    explorer.quantity.value = "loss"
    assert "last record of loss: ξ = 0 1.400" in explorer.status.value


# The hypergradient


def test_sizes_and_angles_against_one_vector_at_a_time():
    record = _gradients()
    found, k = sizes_and_angles(record, 1), 3
    first, direct = record["first_order"][1], record["direct"][1, k]
    implicit = XIS[k] * record["implicit"][1, k]
    whole = direct - implicit
    length = np.linalg.norm(first)
    assert found["implicit"][k] == pytest.approx(np.linalg.norm(implicit) / length)
    assert found["direct_change"][k] == pytest.approx(np.linalg.norm(direct - first) / length)
    for name, a, b in (
        ("angle_whole", whole, first),
        ("angle_direct", direct, first),
        ("angle_implicit", whole, direct),
    ):
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert np.cos(np.radians(found[name][k])) == pytest.approx(cosine)
    assert found["angle_whole"][0] == pytest.approx(0, abs=1e-5)  # xi = 0
    assert len(found["angle_other"]) == 3


def test_angle():
    assert angle([1, 0], [0, 2]) == pytest.approx(90)
    assert angle([[1, 1], [1, 0]], [1, 0]) == pytest.approx([45, 0])


@pytest.mark.parametrize("k", [0, 3])
def test_arrows_have_the_sizes_and_angles_of_the_record(k):
    """In the plane of first order, 1 long and across, and of the whole gradient."""
    record = _gradients()
    explorer = show.HypergradientExplorer(record)
    explorer.slider.index = k
    first, direct = record["first_order"][0], record["direct"][0, k]
    whole, unit = direct - XIS[k] * record["implicit"][0, k], np.linalg.norm(first)
    ends = [a[:, -1] for a in _lines(explorer) if a.shape == (2, 2) and not a[:, 0].any()]
    found = [(np.hypot(*end), abs(np.arctan2(*end[::-1]))) for end in ends]
    expected = np.linalg.norm(whole) / unit, np.radians(angle(first, whole))
    assert any(np.allclose(pair, expected, atol=1e-6) for pair in found)
    assert any(np.isclose(end[0], direct @ first / unit**2) for end in ends)  # projected


def test_at_xi_zero_all_arrows_are_the_first():
    """A record has single precision, and rounding has no direction."""
    record = {name: values.astype(np.float32) for name, values in _gradients().items()}
    record["direct"][:, 0] = np.nextafter(record["direct"][:, 0], np.float32(np.inf))
    explorer = show.HypergradientExplorer(record)
    for moment in (0, 1):
        explorer.moment.value, explorer.slider.index = moment, 0
        ends = [a[:, -1] for a in _lines(explorer) if a.shape == (2, 2) and not a[:, 0].any()]
        assert len(ends) > 2 and np.allclose(ends, [1, 0], atol=1e-4)


def test_another_moment():
    explorer = show.HypergradientExplorer(_gradients())
    before = _source(explorer)
    explorer.moment.value = 1
    assert "Step 20, ξ = 0.025" in explorer.status.value and _source(explorer) != before


# A cell of the table


def test_a_cell_is_shown_only_after_the_guess_is_locked():
    table = _table()
    explorer = show.CellExplorer(table)
    explorer.guess.value = 50
    axes = explorer.figure.axes[1]
    guess = next(line for line in axes.lines if line.get_label() == "your guess")
    assert list(guess.get_xdata()) == [50, 50]
    places = [line for line in axes.lines if line.get_label() in ("neighbors", "its trainings")]
    assert not any(line.get_visible() for line in places)
    assert "rank 50 of 207, not locked yet." in explorer.status.value
    assert "%" not in explorer.status.value
    explorer.lock.click()
    rank = table.rank(explorer.genotype)
    assert explorer.guess.disabled and explorer.lock.disabled
    assert f"rank 50 of 207; it has rank {rank}, off by {abs(rank - 50)}." in explorer.status.value
    values = [table.query(explorer.genotype, run).valid for run in range(3)]
    near, runs = places
    assert runs.get_visible() and np.allclose(runs.get_data(), [[rank] * 3, values])
    truths = [table.truth(cell) for cell in table.classes]
    for value in values:
        alone = 1 + sum(truth > value for truth in truths)
        assert f"{value:.1%} (rank {alone})" in explorer.status.value
    explorer.inputs.index = 2  # another cell: hidden, and to be guessed anew
    assert not explorer.locked and not explorer.guess.disabled and not explorer.lock.disabled
    assert "not locked yet" in explorer.status.value
    assert not any(line.get_visible() for line in places)


def test_neighbors_differ_in_one_choice():
    table = _table()
    explorer = show.CellExplorer(table)
    for menu, name in zip(explorer.operations, ("sep", "max", "skip", "sep"), strict=True):
        menu.value = next(option for option in menu.options if option.startswith(name))
    explorer.inputs.index = 1
    assert table.name(explorer.genotype) == "sep0 max1 | skip0 sep2"
    near = explorer.neighbors
    assert {"max0 max1 | skip0 sep2", "sep0 max1 | skip0 max2", "sep0 max1 | skip1 sep2"} < {*near}
    assert len(near) == 10 and "sep0 max1 | skip0 sep2" not in near
    explorer.lock.click()
    (drawn,) = (x for x in explorer.figure.axes[1].lines if x.get_label() == "neighbors")
    expected = {(table.rank(cell), table.truth(cell)) for cell in near.values()}
    assert set(zip(*drawn.get_data(), strict=True)) == expected
    ranks = ", ".join(str(rank) for rank, _ in sorted(expected))
    assert f"Its 10 neighbors have the ranks {ranks}." in explorer.status.value
    for menu in (*explorer.operations, explorer.inputs):
        menu.index = 0
    assert len(explorer.neighbors) == 6  # of two equal nodes either may change


def test_wires_are_those_of_the_cell():
    explorer = show.CellExplorer(_table())
    explorer.operations[2].value, explorer.inputs.index = "sep_conv_3x3", 2
    wires = explorer.figure.axes[0].lines
    shown = {edge: wire.get_color() for edge, wire in zip(SPACE.edges, wires, strict=True)
             if wire.get_visible()}  # fmt: skip
    pool, convolution = (style.look(name).color for name in ("max_pool_3x3", "sep_conv_3x3"))
    assert shown == {(0, 2): pool, (1, 2): pool, (1, 3): convolution, (2, 3): pool}

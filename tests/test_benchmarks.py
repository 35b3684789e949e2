"""The speed benchmark: its forms do the same work, its tables say what was measured. No times."""

import copy
import json
import re
import sys
from functools import cache

import numpy as np
import pytest
import torch

from benchmarks import (
    forms,
    gpu,
    methods,
    microscope,
    operators,
    side_by_side,
    speed,
    tables,
    without,
)
from dartslib.relaxation import RELAXATIONS
from dartslib.rivals import contest
from dartslib.runs.profiles import profile

TINY = profile("smoke").search.model_copy(update={"nodes": 1, "batch_size": 2})
ONCE = speed.Effort(discarded=0, counted=1)


def double(loop):
    """A search in float64, on noise in float64."""
    loop.supernet.double()
    for logits in loop.architecture.alpha:
        logits.data = logits.data.double()
    at = forms.Noise.at
    for half in (loop.train, loop.valid):
        half.at = lambda step, half=half: (lambda x, y: (x.double(), y))(*at(half, step))
    return loop


def after(loop, steps=2):
    """Alpha and w after some steps."""
    for _ in range(steps):
        loop.advance()
    return [*loop.architecture.alpha, *loop.w]


BOTH = ["first_order", pytest.param("finite_difference", marks=pytest.mark.full)]


@pytest.mark.parametrize("method", BOTH)
def test_all_forms_make_the_same_steps(method):
    config = TINY.model_copy(update={"gradient": method})
    begin = [*forms.search(config, "plain").architecture.alpha]
    plain, last, ours = (after(double(forms.search(config, form))) for form in forms.FORMS)
    assert (plain[0] - begin[0]).abs().max() > 1e-3
    for other in (last, ours):
        for a, b in zip(plain, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_the_plain_form_computes_the_gradients_it_drops():
    seen = []
    for form in ("plain", "ours"):
        loop = forms.search(TINY, form)
        loop.alpha_optimizer.step = lambda loop=loop: seen.append(loop.w[0].grad is not None)
        loop.advance()
    assert seen == [True, False]


@pytest.mark.parametrize("technique", without.TECHNIQUES)
def test_without_a_technique_the_same_comes_out(technique):
    ours = after(double(forms.search(TINY, "ours")), 1)
    with without.taken_out(technique):
        other = after(double(forms.search(TINY, "ours")), 1)
    for a, b in zip(ours, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("technique", "place"),
    [(name, place) for name, places in without.TECHNIQUES.items() for place in places],
)
def test_what_is_taken_out_is_used(technique, place, monkeypatch):
    def refuse(*_, **__):
        raise ZeroDivisionError

    places = without.TECHNIQUES[technique]
    monkeypatch.setitem(without.TECHNIQUES, technique, places | {place: refuse})
    with pytest.raises(ZeroDivisionError), without.taken_out(technique):
        forms.search(TINY, "ours").advance()


@cache
def _calls(technique):
    config = TINY.model_copy(update={"layers": 1, "reductions": ()})
    with without.taken_out(technique):
        return operators.look(forms.search(config, "ours").advance)["calls"]


@pytest.mark.full
@pytest.mark.parametrize(
    "technique",
    [
        "alpha's pass asks for alpha's gradient",
        "ReLU and pools once a state",
        "the BatchNorms of a node together",
    ],
)
def test_without_what_saves_calls_there_are_more(technique):
    assert _calls(technique) > 1.01 * _calls(without.COMPLETE)  # counts, not times


@pytest.mark.parametrize("name", speed.CASES)
def test_each_case_runs(name):
    case = speed.CASES[name]
    small = {"channels": 4, "layers": 2, "reductions": (1,), "head": "linear", "batch_size": 2}
    if case.make is not forms.training_steps:
        small["nodes"] = 1
    small = speed.Case(case.config.model_copy(update=small), case.make)
    row, first = speed.measure_case(small, ONCE)
    assert list(row) == ["plain_s", "channels_last_s", "ours_s", "ratio"]
    assert all(value > 0 for value in row.values())
    assert row["ratio"] == pytest.approx(row["plain_s"] / row["ours_s"], rel=1e-3)
    assert [len(times) for times in first.values()] == [0, 0, 0]


def test_the_cases_are_those_of_the_papers():
    cases = {name: case.config for name, case in speed.CASES.items()}
    assert {cases[name].batch_size for name in cases if name != "final_network_step"} == {64}
    paper = cases["first_order_step"]
    assert (paper.nodes, paper.layers, paper.channels, paper.head) == (4, 8, 16, "linear")
    head = forms.search(cases["report_first_order_step"], "plain").supernet.head
    assert round(sum(p.numel() for p in head.parameters()) / 1e5) == 275


def test_peak_memory_is_measured(monkeypatch):
    monkeypatch.setitem(speed.CASES, "first_order_step", speed.Case(TINY, forms.search_steps))
    before = speed.peak("ours", ONCE)
    held = torch.ones(2**26)  # 0.25 GiB
    assert speed.peak("ours", ONCE) > min(before, held.nbytes / 2**30)


def test_loading_is_measured():
    assert speed.measure_loading(ONCE) > 0


def test_what_is_timed_on_a_gpu():
    cases = gpu.cases(gpu.PROFILES)
    steps = {name: gpu.steps_of(config) for name, config in cases.items()}
    # 50 epochs over halves of 25,000 images, 64 a batch; 600 over 50,000, 96 a batch.
    assert steps["darts search first_order"] == 50 * 390 and steps["darts final"] == 600 * 520
    assert steps["lesson search finite_difference"] == 1_248 and len(cases) == 9
    config = TINY.model_copy(update={"layers": 2, "reductions": (1,), "channels": 2})
    row = gpu.measure(config, "cpu")
    assert list(row) == ["plain_s", "ours_s", "steps"] and all(value > 0 for value in row.values())


def test_the_kinds_of_work():
    images, small, wide, one = [2, 8, 9, 9], [8, 1, 3, 3], [8, 1, 5, 3], [16, 8, 1, 1]
    assert operators.kind("aten::mkldnn_convolution", [images, small]) == operators.DEPTHWISE
    back = operators.kind("aten::convolution_backward", [images, images, wide])
    assert back == operators.DEPTHWISE_BACK
    assert operators.kind("aten::mkldnn_convolution", [images, one]) == operators.POINTWISE
    assert operators.kind("aten::mkldnn_convolution", [images, [8, 3, 3, 3]]) == operators.REST
    assert operators.kind("aten::bmm", [images, images]) == operators.POINTWISE
    assert operators.kind("aten::no_such_operator", []) == operators.REST


def test_what_counts_as_a_call():
    x = torch.rand(3, 4)
    found = operators.look(lambda: torch.relu((x @ x.t()).view(-1).expand(2, 9)).sum())
    assert found["calls"] == 3  # a product, a ReLU, a sum; what looks in another way is none
    assert found["calls_in_all"] >= 7
    copied = operators.look(lambda: x.t().contiguous())
    assert copied["calls"] == 1


@pytest.mark.parametrize("form", ["plain", "ours"])
def test_the_profile_of_a_step(form):
    config = TINY.model_copy(update={"layers": 1, "reductions": ()})
    found = operators.look(forms.search(config, form).advance)
    assert sum(found["shares"].values()) == pytest.approx(1, abs=0.01)
    needed = {operators.DEPTHWISE, operators.DEPTHWISE_BACK, operators.POINTWISE, operators.NORM}
    assert needed <= {name for name, share in found["shares"].items() if share}


@pytest.mark.parametrize(
    "wrong",
    [["--record", "--quick"], ["--record", "--isa", "avx2"], ["--record", "--cases"]],
)
def test_only_a_whole_run_is_recorded(wrong, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["speed", *wrong])
    with pytest.raises(SystemExit):
        speed.main()
    assert "--record takes a full run" in capsys.readouterr().err


@pytest.fixture
def asked(monkeypatch):
    """The processes that a benchmark would start, and what they are asked; none is started."""
    seen, here = [], {"machine": {"processor": "one"}, "versions": {}, "commit": "c", "rounds": {}}

    def ask(*options, effort, isa="native"):
        seen.append((isa, *options))
        if options == ("--about",):
            return dict(here)
        value = {"loading": 9.0, "memory": {"ours_gib": 1.0}}.get(options[1])
        row = {"plain_s": 2.0, "ours_s": 1.0}
        return value or (options[1] if options[1] not in speed.CASES else [row, {"plain": [3.0]}])

    monkeypatch.setattr(speed, "ask", ask)
    return seen, here


def test_a_stopped_benchmark_goes_on(asked, tmp_path, monkeypatch):
    seen, here = asked
    ask = speed.ask

    def killed(*options, effort, isa="native"):
        if options == ("--part", "memory"):
            raise MemoryError
        return ask(*options, effort=effort, isa=isa)

    monkeypatch.setattr(speed, "ask", killed)
    with pytest.raises(MemoryError):
        speed.measure(speed.FULL, "native", tmp_path)
    done = [part for _, *part in seen if part[0] == "--part"]
    assert [name for _, name in done] == list(speed.CASES)
    monkeypatch.setattr(speed, "ask", ask)
    seen.clear()
    found = speed.measure(speed.FULL, "native", tmp_path)
    rest = [part[1] for _, *part in seen if part[0] == "--part"]
    assert rest == ["memory", "loading", "growth", "techniques", "operators", "float32_errors"]
    assert set(found) == {*speed.parts(speed.FULL, "native"), "about"}
    here["commit"] = "another"  # other code: everything is measured again
    seen.clear()
    speed.measure(speed.FULL, "native", tmp_path)
    assert len(seen) == 1 + len(speed.parts(speed.FULL, "native"))
    here["commit"] = "another+changes"  # any two changes look alike: nothing of it is taken again
    for _ in range(2):
        seen.clear()
        speed.measure(speed.FULL, "native", tmp_path)
        assert len(seen) == 1 + len(speed.parts(speed.FULL, "native"))


@pytest.mark.parametrize(
    ("instructions", "measured"),
    [("AVX512", ["native", "avx2"]), ("AVX2", ["native"]), ("DEFAULT", ["native"])],
)
def test_a_record_is_of_narrower_instructions_too(monkeypatch, capsys, instructions, measured):
    seen = []
    monkeypatch.setattr(sys, "argv", ["speed", "--record"])
    monkeypatch.setattr(speed, "machine", lambda: {"instructions": instructions})
    monkeypatch.setattr(speed, "measure", lambda effort, isa, kept: seen.append(isa))
    monkeypatch.setattr(speed, "together", lambda effort, found: {"isa": [*found]})
    written = []
    monkeypatch.setattr(speed, "record", written.append)
    speed.main()
    assert seen == measured and written == [{"isa": measured}]


@pytest.mark.full
def test_each_form_is_profiled_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setitem(speed.CASES, "first_order_step", speed.Case(TINY, forms.search_steps))
    seen = []

    def ask(*options, effort):
        seen.append(options)
        return speed.look(options[1], effort)

    monkeypatch.setattr(speed, "ask", ask)
    found = speed.look_inside(ONCE)
    every = [*forms.FORMS, forms.ON_A_GPU]
    assert seen == [("--look", form) for form in every] and list(found) == every
    calls = {form: looked["calls"] for form, looked in found.items()}
    # A GPU runs the plain modules, but nobody asks for gradients that are dropped.
    assert calls[forms.ON_A_GPU] < calls["plain"] != calls["ours"]


def _row(**changes):
    row = {"plain_s": 2.0, "channels_last_s": 3.0, "ours_s": 1.0, "ratio": 2.0}
    return row | changes


MEMORY = {"plain_gib": 4.0, "channels_last_gib": 4.0, "ours_gib": 1.0, "ratio": 0.25}


@pytest.mark.parametrize("options", [[], ["--quick"], ["--isa", "native", "avx2"]])
def test_the_cases_alone(monkeypatch, capsys, options):
    seen = []

    def ask(*words, effort, isa="native"):
        seen.append((isa, *words[1:]))
        if words == ("--about",):
            return {"commit": "c"}
        return MEMORY | {"ours_gib": 2.0} if words[1] == "memory" else [_row(plain_s=3.0), {}]

    before = {"cases": dict.fromkeys(speed.CASES, _row()) | {"memory": MEMORY}}
    monkeypatch.setattr(speed, "ask", ask)
    monkeypatch.setattr(tables, "load", lambda: before)
    monkeypatch.setattr(speed, "record", lambda results: pytest.fail("nothing is written"))
    monkeypatch.setattr(sys, "argv", ["speed", "--cases", *options])
    speed.main()
    effort = speed.QUICK if options == ["--quick"] else speed.FULL
    sets = options[1:] or ["native"]
    sets = ["native"] if options == ["--quick"] else sets
    expected = [(isa, *part) for isa in sets for part in [(), *([x] for x in effort.cases),
                                                          ("memory",)]]  # fmt: skip
    assert seen == expected  # no techniques, no growth, no digits, no operators
    head, *lines = capsys.readouterr().out.splitlines()
    native = lines[: len(effort.cases) + 1]
    assert [line.split(":")[0] for line in native] == [*effort.cases, "memory"]
    if effort == speed.QUICK:  # of smaller batches than what was recorded
        assert head.startswith("native, now; ") and "%" not in "".join(native)
        return
    assert head.startswith("native, before (results.json) / now; ")
    assert native[0].endswith(
        ": plain 2 / 3 (+50%), channels_last 3 / 3 (+0%), ours 1 / 1 (+0%), ratio 2 / 2 (+0%)"
    )
    assert "ours 1 / 2 (+100%)" in native[-1]
    if "avx2" in sets:  # nothing was measured there before
        assert lines[len(native)].startswith("avx2, now; ")
        assert lines[-1] == "memory: plain 4, channels_last 4, ours 2, ratio 0.25"


@pytest.mark.full
def test_float32_errors_are_those_of_the_forms():
    found = speed.measure_float32_errors(ONCE)
    assert list(found) == [*forms.FORMS]
    assert all(1e-9 < error < 1e-4 for error in found.values())
    assert found["ours"] < found["channels_last"]


def test_a_straight_line_through_what_was_measured():
    assert tables.line({"16": 2.6, "32": 4.2, "64": 7.4}) == pytest.approx((1.0, 0.1))


def test_the_parts_come_together(asked):
    found = {isa: speed.measure(speed.FULL, isa) for isa in ("native", "avx2")}
    results = speed.together(speed.FULL, found)
    assert set(results["cases"]) == set(results["avx2_cases"]) == {*speed.CASES, "memory"}
    assert results["images_per_second"]["final_training_ours"] == 96
    assert results["avx2_machine"] == {"processor": "one"} and results["commit"] == "c"
    assert {"growth", "techniques", "operators", "float32_errors", "first_rounds_s"} <= set(results)
    assert ("avx2", "--part", "growth") not in asked[0]


# The file and the pages

FORM_KEYS = ["plain_s", "channels_last_s", "ours_s", "ratio"]


@pytest.fixture
def results():
    found = tables.load()
    if found is None:
        pytest.skip("benchmarks/results.json is not there: python -m benchmarks.speed --record")
    return found


@pytest.mark.parametrize("key", ["cases", "avx2_cases"])
def test_the_recorded_cases(results, key):
    if key not in results:
        pytest.skip("recorded on a machine without wider instructions, or with --isa native")
    cases = results[key]
    assert set(cases) == set(speed.CASES) | {"memory"} == set(tables.CASES)
    memory = cases.pop("memory")
    assert memory["ratio"] == pytest.approx(memory["ours_gib"] / memory["plain_gib"], rel=1e-3)
    for name, row in cases.items():
        assert list(row) == FORM_KEYS, name
        assert row["ratio"] == pytest.approx(row["plain_s"] / row["ours_s"], rel=1e-3), name


def test_the_rest_of_the_record(results):
    assert {"processor", "cores", "threads", "instructions"} <= set(results["machine"])
    assert "torch" in results["versions"]
    assert results["rounds"]["discarded"] >= 3 and results["rounds"]["counted"] >= 5
    assert set(results["images_per_second"]) >= {"loading", "final_training_ours"}
    if "avx2_machine" in results:
        assert results["avx2_machine"]["instructions"] == "AVX2"
    assert list(results["techniques"]) == [*speed.TAKEN_APART]
    for found in results["techniques"].values():
        assert list(found) == [*without.TECHNIQUES]
    assert list(results["operators"]) == [*forms.FORMS, forms.ON_A_GPU]
    assert set(results["float32_errors"]) == set(forms.FORMS)


def made_up():
    """Results of the right shape, no two numbers alike."""
    numbers = iter(range(101, 999))

    def row(*keys):
        return {key: float(next(numbers)) for key in keys}

    cases = {name: row(*FORM_KEYS) for name in speed.CASES}
    cases["memory"] = row("plain_gib", "channels_last_gib", "ours_gib", "ratio")
    machine = {"processor": "P", "instructions": "AVX512", "threads": 2}
    return {
        "machine": machine,
        "avx2_machine": machine | {"instructions": "AVX2"},
        "versions": {"torch": "2"},
        "rounds": {"discarded": 3, "counted": 5},
        "cases": cases,
        "avx2_cases": copy.deepcopy(cases),
        "images_per_second": row("loading", "final_training_plain", "final_training_ours"),
        "first_rounds_s": {form: [float(next(numbers))] * 3 for form in forms.FORMS},
        "growth": {
            "at": {"channels": 16, "layers": 8, "batch_size": 16},
            "batch": row("16", "32", "64"),
            "cells": row("8", "14", "20"),
        },
        "techniques": {name: row(*without.TECHNIQUES) for name in speed.TAKEN_APART},
        "operators": {
            form: {"calls": next(numbers), "shares": {"pools": 0.25, "ReLU": 0.75}}
            for form in (*forms.FORMS, forms.ON_A_GPU)
        },
        "float32_errors": row(*forms.FORMS),
    }


def test_tables_show_every_case():
    text = tables.text(made_up())
    for row in made_up()["cases"].values():
        assert all(f"{value:.3g}" in text for value in row.values())
    assert json.loads(json.dumps(made_up())) == made_up()


def test_tables_show_what_else_is_measured():
    results = made_up()
    text = tables.text(results)
    calls = {form: found["calls"] for form, found in results["operators"].items()}
    there = calls[forms.ON_A_GPU]
    assert (
        f"{there:,} operator calls" in text and f"{there / calls['plain']:.2f} of plain's" in text
    )
    for found in results["techniques"].values():
        assert all(f"{times:.2f}" in text for times in found.values())
    errors = results["float32_errors"]
    assert f"{errors['ours'] / errors['plain']:.1f}" in text
    price, each = tables.line(results["growth"]["batch"])
    assert f"8 cells; the line nearest to the three: {price:.2f} s" in text
    assert "16 images a batch; the line nearest" in text and f"{1000 * each:.0f} ms" in text


def test_two_searches_at_once():
    threads = torch.get_num_threads()
    try:
        assert side_by_side.steps_a_second("smoke", 1, 0.0, 1, 1) > 0
    finally:
        torch.set_num_threads(threads)
    found = {"side_by_side": [1.5, 9.0, 1.4], "one_by_one": [1.0, 1.1, 0.2]}
    record = {"steps_a_second": found, "profile": "lesson"}
    text = side_by_side.sentence(record | {"machine": made_up()["machine"]})
    assert "1.50 times" in text and "AVX512" in text  # of the medians


def test_a_page_whose_numbers_are_old_is_seen():
    page = "a\n<!-- speed: cases -->\nold\n<!-- end of speed -->\nb"
    made = tables.with_tables(page, made_up())
    assert made != page and tables.with_tables(made, made_up()) == made
    changed = made_up()
    changed["cases"]["alpha_only"]["ours_s"] *= 2
    assert tables.with_tables(made, changed) != made


def test_a_processor_without_avx512_needs_no_second_table():
    page = "<!-- speed: avx2_cases -->\nold\n<!-- end of speed -->"
    results = made_up()
    del results["avx2_cases"], results["avx2_machine"]
    assert tables.MISSING.format("speed") in tables.with_tables(page, results)
    results["machine"]["instructions"] = "AVX2"
    assert tables.NO_WIDER in tables.with_tables(page, results)


def test_every_technique_that_is_taken_out_is_explained_in_that_order():
    page = (tables.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    part = page[page.index("## What helps") : page.index("## What was tried")]
    rows = [line for line in part.splitlines() if re.match(r"\| \d+ \| \*\*", line)]
    named = [name for row in rows for name in re.findall(r"\*\*(.+?)\*\*", row)]
    # The memory format comes before them, which is in the first table, and last comes all at once.
    assert named[1:] == [*without.TECHNIQUES][:-1]


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.parent.name)
def test_the_pages_show_what_was_measured(page):
    text = page.read_text(encoding="utf-8")
    assert "<!-- speed: cases -->" in text
    assert tables.with_tables(text, tables.load()) == text, "run python -m benchmarks.speed --table"


# The hypergradient, taken apart


def _stopped(steps=2):
    search = double(forms.search(TINY, "plain"))
    for _ in range(steps):
        search.advance()
    return search


def test_the_terms_of_every_xi_are_those_of_the_hypergradient():
    probe, close = microscope.Probe(_stopped(), double=True), {"rtol": 1e-9, "atol": 1e-12}
    xis = (0.0, 0.025, 0.1)
    for xi, terms in zip(xis, microscope.all_terms(probe, xis, (0.01,)), strict=True):
        exact = probe.terms("exact", xi)
        np.testing.assert_allclose(terms.direct, microscope.flat(exact.direct), **close)
        np.testing.assert_allclose(terms.implicit, microscope.flat(exact.implicit), **close)
        difference = microscope.flat(probe.terms("finite_difference", xi).implicit)
        np.testing.assert_allclose(terms.difference, difference, **close)
        error = np.linalg.norm(difference - terms.implicit) / np.linalg.norm(terms.implicit)
        assert terms.errors == pytest.approx([error])


def test_the_step_ahead_is_taken_apart():
    probe = microscope.Probe(_stopped(), double=True)
    momentum, gradient, decay = probe.ahead()
    step = [m + g + d for m, g, d in zip(momentum, gradient, decay, strict=True)]
    ahead = [p - s for p, s in zip(probe.w, step, strict=True)]
    direct = microscope.all_terms(probe, (probe.xi,))[0].direct
    at = [a.requires_grad_() for a in probe.alpha]
    by_hand = torch.autograd.grad(probe.losses[1](ahead, at), at)
    np.testing.assert_allclose(direct, microscope.flat(by_hand), rtol=1e-9, atol=1e-12)
    assert min(map(microscope.size, (momentum, gradient, decay))) > 0


def test_a_moment_of_a_search_as_the_record_has_it():
    search, plain = forms.search(TINY, "ours"), forms.search(TINY, "plain")
    search.advance()
    row = microscope.taken_apart(search, plain, (0.0, 0.025))
    assert row["step"] == 1 and search.step == 2
    entries = sum(a.numel() for a in search.architecture.alpha)
    assert np.shape(row["implicit"]) == np.shape(row["difference"]) == (2, entries)
    # At xi = 0 nothing has moved.
    np.testing.assert_allclose(row["direct"][0], row["first_order"], rtol=1e-4, atol=1e-7)
    assert len(row["other_batches"]) == microscope.OTHERS
    assert not np.allclose(row["other_batches"][0], row["first_order"])
    assert row["missed"] < row["missed_bare"]  # with momentum it comes nearer to the next w


# Methods


def test_every_method_has_its_price_of_a_step():
    arms = [contest.arms()[name] for name in methods.names()[1:]]
    measured = {arm.get("relaxation", {}).get("name") for arm in arms}
    built = {name for name, kind in RELAXATIONS.items() if ".methods." in kind.__module__}
    assert built - measured == {"p_darts"}  # stages of other sizes: a matter of whole runs
    gradients = {"look_ahead", "finite_difference", "exact", "placebo"}
    assert {"darts", methods.FAST} | gradients <= set(methods.names())


def test_a_step_of_each_method_is_timed_from_begin_to_end(monkeypatch):
    tiny = methods.config("table").changed(channels=4, layers=1, batch_size=4)
    monkeypatch.setattr(methods, "config", lambda size: tiny)
    chosen = ["darts", methods.FAST, "sgas", "proxyless", "fbnet", "placebo"]
    found = methods.measure("table", chosen, memory=lambda name, size: 100 + len(name))
    assert list(found) == chosen and all(row["seconds"] > 0 for row in found.values())
    darts, sgas = found["darts"], found["sgas"]
    assert (darts["of_darts"], darts["memory_of_darts"]) == (1.0, 1.0)
    assert sgas["of_darts"] == pytest.approx(sgas["seconds"] / darts["seconds"], rel=2e-3)
    assert sgas["memory_of_darts"] == pytest.approx(104 / 105, abs=1e-3)
    loop = methods.begin("sgas", "table", 12)
    assert loop.steps == 12 and len(list(loop.each_step())) == 13  # and all decisions are made
    assert loop.architecture.pruned
    assert methods.peak("darts", "table") >= 0


def test_the_table_of_methods():
    row = {"seconds": 0.25, "of_darts": 0.333, "mib": 1234, "memory_of_darts": 0.5}
    results = {
        "sizes": {size: {"darts": row, "pc_darts": row} for size in ("paper", "table")},
        "machine": {"processor": "P", "instructions": "AVX2"}, "versions": {"torch": "2"},
        "steps_counted": 10, "steps_discarded": 2,
    }  # fmt: skip
    shown = tables.methods({"methods": results})
    assert "| pc darts | 0.25 s | 0.33 | 1,234 MiB | 0.50 | 0.25 s | 0.33 |" in shown
    assert "mean of 10 steps after 2 discarded" in shown
    missing = tables.with_tables("<!-- speed: methods -->x<!-- end of speed -->", None)
    assert "python -m benchmarks.methods --record" in missing

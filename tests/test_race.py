"""The account that a search has with the table, and the race on it."""

import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from made_up import made_up_table
from scipy import stats

from dartslib import rivals
from dartslib.rivals import measuring, race, recording
from dartslib.rivals.account import FromTable, mean_price
from dartslib.rivals.outside import optuna_tpe
from dartslib.runs.results import bar
from dartslib.tabular import controls, making
from dartslib.tabular import table as tables
from dartslib.tabular.cells import SPACE, classes, name


def convolutions(cell):
    return str(cell.normal).count("sep_conv")


@pytest.fixture(scope="module")
def table():
    return made_up_table(lambda cell: 0.5 + 0.02 * convolutions(cell), noise=0.005)


def test_an_answer_is_one_training_and_is_paid_each_time(table):
    cell, evaluate = table.classes[40], FromTable(table, 0)
    runs = {run: table.query(cell, run).valid for run in range(3)}
    first, cost = evaluate(cell)
    second, _ = evaluate(cell)
    third, paid = evaluate(cell)
    assert cost == paid == 60.0 and first != second and third == first
    assert {first, second} < set(runs.values())
    (kept,) = set(runs.values()) - {first, second}
    assert evaluate.truth(cell) == kept
    untouched = FromTable(table, 0)
    assert untouched.truth(cell) == pytest.approx(np.mean(list(runs.values())))
    value, _ = untouched(cell)
    others = [v for v in runs.values() if v != value]
    assert untouched.truth(cell) == pytest.approx(np.mean(others))
    paid = FromTable(table, 0)
    table.prices[table.name(cell)]["forward_64_ms"] = 6.4  # 0.1 ms per image
    assert paid(cell)[1] == pytest.approx(60.0 + 20_000 * 1e-4)  # all that judge
    assert paid(cell, 2)[1] == pytest.approx(15.0 + 2_000 * 1e-4)  # some, before the end
    table.prices[table.name(cell)]["forward_64_ms"] = 0.0
    seen = {FromTable(table, seed)(cell)[0] for seed in range(30)}
    assert seen == set(runs.values())  # any may come first, so any may be kept


def test_early_answers_go_on_with_one_training(table):
    cell, evaluate = table.classes[7], FromTable(table, 3)
    two, cost_2 = evaluate(cell, 2)
    four, cost_4 = evaluate(cell, 4)
    end, cost_8 = evaluate(cell)
    assert (cost_2, cost_4, cost_8) == (15.0, 15.0, 30.0)
    assert two == pytest.approx(end / 4) and four == pytest.approx(end / 2)
    again, cost = evaluate(cell, 2)  # another training begins
    assert cost == 15.0 and again != two
    on, cost = evaluate(cell, 4)
    assert cost == 15.0 and on == pytest.approx(2 * again)
    _, cost = evaluate(cell, 4)  # not for more epochs: from the beginning
    assert cost == 30.0


def test_the_race_says_what_the_kept_trainings_say(table):
    """On a table without noise the truth of a way's cell is its best answer so far."""
    plain = made_up_table(lambda cell: 0.5 + 0.02 * convolutions(cell) + 1e-4 * len(str(cell)))
    minutes = np.array([5.5, 30.0, 60.0])
    for search in (rivals.random_search, rivals.aging_evolution):
        found = race.followed(lambda e, b, s, s_=search: s_(e, SPACE, b, s), plain, 3, minutes)
        for seed in range(3):
            answers = list(search(FromTable(plain, seed), SPACE, 3600.0, seed))
            for k, minute in enumerate(minutes):
                best = max(value for _, value, cost in answers if cost <= 60 * minute)
                assert found[seed, k] == pytest.approx(best)


def test_a_part_of_a_training_is_no_network_yet(table):
    """Two epochs of ten cells took less than one training, and counted as ten candidates."""
    way = race.entrants({}, table)["successive_halving"]
    minutes = np.array([1.0, 4.0, 60.0])  # a training takes one minute, two epochs a quarter of it
    asked = list(way(FromTable(table, 0), 239.0, 0))
    assert len(asked) >= 10 and not any(FromTable(table, 0).trained(cell) for cell, *_ in asked)
    (found,) = race.followed(way, table, repeats=1, minutes=minutes)
    evaluate, ends = FromTable(table, 0), []
    for cell, _, cost in way(evaluate, 3600.0, 0):
        if evaluate.trained(cell):
            ends.append(cost)
    assert np.isnan(found[minutes * 60 < ends[0]]).all()
    assert not np.isnan(found[minutes * 60 >= ends[0]]).any()


def test_a_way_that_ends_with_a_name_pays_for_one_training_more(table):
    names = [name(cell.normal) for cell in classes()]
    values = {cell: float(k) for k, cell in enumerate(names)}
    # A step of a training of a minute is 60 / 1248 s; an image takes 1e-5 s, judging 0.2.
    price = {"step_seconds": 0.05, "forward_64_ms": 0.64}
    table = made_up_table(lambda cell: 0.5 + 0.02 * convolutions(cell), noise=0.005)
    for known in table.prices.values():
        known |= price
    row = {"values": values, "steps": 2000, "asked": 100_000}  # 100 s, and 1 s per question
    enas = {"cell": names[3], "steps": 6000, "asked": 20_000_000}
    scores = {"ntk_condition": 1.0, "linear_regions": 2.0}
    rows = [  # where they were made a step took four times as long as in the quiet pass
        {"cell": cell, "scores": dict.fromkeys(scores, [k, -k]), "step_seconds": 0.2,
         "score_seconds": {way: 4 * seconds for way, seconds in scores.items()}}
        for k, cell in enumerate(names)
    ]  # fmt: skip
    measured = {"single_path": [row] * 10, "enas": [enas] * 10, "score": rows}
    ways = race.entrants(measured, table)
    others = {"counting_at_once", "te_nas", "single_path", "random_sharing", "enas"}
    assert set(ways) == {*rivals.ALL, *scores, *others}
    first = next(ways["counting_at_once"](FromTable(table, 0), 1e4, 0))
    assert convolutions(first[0]) == 4 and first[2] == 60.2
    (found,) = ways["enas"](FromTable(table, 0), 1e4, 0)
    assert name(found[0].normal) == names[3] and found[2] == pytest.approx(560.2)
    assert list(ways["enas"](FromTable(table, 0), 560.0, 0)) == []
    (found,) = ways["random_sharing"](FromTable(table, 0), 1e4, 0)
    drawn = {name(found[0].normal)}
    assert found[2] == pytest.approx(100 + 100 + 60.2) and drawn <= set(names)
    found = list(ways["single_path"](FromTable(table, 0), 100 + 243 + 181, 0))
    assert [name(cell.normal) for cell, *_ in found] == names[:-4:-1]  # in the order of the score
    assert [cost for *_, cost in found] == pytest.approx([403.2, 463.4, 523.6])
    first = next(ways["te_nas"](FromTable(table, 0), 1e4, 0))
    assert name(first[0].normal) == names[-1] and first[2] == pytest.approx(243 * 1.5 + 60.2)
    first = next(ways["te_nas"](FromTable(table, 1), 1e4, 1))  # the other first weights
    assert name(first[0].normal) == names[0]
    for way in ways.values():
        assert next(iter(way(FromTable(table, 0), 1e4, 0)), None) is not None


def test_a_race_is_recorded_with_its_bands(table, monkeypatch):
    monkeypatch.setattr(race, "REPEATS", 4)
    ways = {k: v for k, v in race.entrants({}, table).items() if k in ("random_search", "counting")}
    found = race.run(table, ways)["curves"]
    for curve in found.values():
        low, mean, high = (np.array(curve[key]) for key in ("low", "mean", "high"))
        assert (low <= mean + 1e-5).all() and (mean <= high + 1e-5).all()
        assert set(curve["marks"]) == {"5", "20", "60", "120", "180"} and curve["trials"] == 0
        at = curve["minutes"].index(60.0)
        assert np.mean(curve["marks"]["60"]) == pytest.approx(mean[at], abs=2e-5)
    # Counting knows at once what is worth most here.
    assert np.mean(found["counting"]["marks"]["20"]) > np.mean(
        found["random_search"]["marks"]["20"]
    )


def test_a_mean_price_is_that_of_all_cells():
    """Of 243, not of the classes: a class of two cells is drawn twice as often."""

    def price(cell):  # dearer where node 2 reads both inputs, as cells that equal another do
        return 60.0 + 30 * all(state < 2 for _, state in cell.normal[1])

    table = made_up_table(convolutions, price=price)
    found = mean_price(table, lambda known: float(known["train_seconds"]))
    assert found == pytest.approx(np.mean([price(cell) for cell in table.cells]))
    assert found > 1 + np.mean([price(cell) for cell in table.classes])


def test_repeats_that_share_a_supernet_count_once():
    values = np.arange(40.0).reshape(20, 2)  # repeats 0 and 10 share one, and so on
    found = race.per_supernet(values)
    assert found.shape == (10, 2)
    assert found[3].tolist() == [(6 + 26) / 2, (7 + 27) / 2]
    ten = [{"cell": name(c.normal), "steps": 1, "asked": 1} for c in classes()[:10]]
    table = made_up_table(convolutions)
    ways = race.entrants({"enas": ten}, table)
    cells = [next(ways["enas"](FromTable(table, k), 1e4, k))[0] for k in (3, 13)]
    assert cells[0] == cells[1]  # by the number of the repeat


def test_all_ways_are_held_against_the_counting_that_they_have_to_beat():
    generator = np.random.default_rng(0)

    def curve(mean, marks=("60",)):
        return {"marks": {m: (mean + 0.01 * generator.normal(size=200)).tolist() for m in marks}}

    curves = {"counting": curve(0.60, ("20", "60")), "counting_at_once": curve(0.62)}
    curves |= {f"way {k}": curve(0.62) for k in range(12)}  # by luck one of twelve is ahead
    curves |= {"random_search": curve(0.60), "reinforce": curve(0.62), "synflow": curve(0.60)}
    found = race.ahead(curves, 60)
    assert set(found) == {*curves} - {"counting", "counting_at_once"}
    assert {way for way, one in found.items() if one.told_apart} == {"reinforce", "synflow"}
    assert found["reinforce"].mean == pytest.approx(0.02, abs=0.005)  # it has the ten cells, too
    assert found["synflow"].mean == pytest.approx(-0.02, abs=0.005)  # and this one has not
    one, other = (
        race.per_supernet(curves[w]["marks"]["60"]) for w in ("synflow", "counting_at_once")
    )
    p = stats.ttest_ind(one, other, equal_var=False).pvalue
    assert p < found["synflow"].p <= 15 * p and found["synflow"].bar == bar(one, other)
    assert not race.ahead({"counting": curves["counting"]}, 20)
    # Where most repeats still have the cell that counting has, there is nothing to compare.
    shared = np.array(curves["counting"]["marks"]["60"])
    for share, compared in ((0.4, True), (0.6, False)):
        mine = np.where(np.arange(200) < 200 * share, shared, shared + 0.01)
        found = race.ahead(curves | {"reinforce": {"marks": {"60": mine.tolist()}}}, 60)
        assert ("reinforce" in found) == compared and "synflow" in found


def test_a_rate_that_follows_from_the_budget_is_that_of_each_moment(table, monkeypatch):
    """What REINFORCE knows after five minutes is not the beginning of what three hours teach."""
    way, seen = race.entrants({}, table)["reinforce"], []

    def watched(evaluate, budget, seed):
        seen.append(budget)
        return way(evaluate, budget, seed)

    minutes = np.array([15.0, 30.0])
    found = race.followed(watched, table, 2, minutes, by_budget=True)
    assert seen == [900.0, 900.0, 1800.0, 1800.0] and found.shape == (2, 2)
    assert (found[:, 0] == race.followed(way, table, 2, minutes[:1])[:, 0]).all()
    told = {}

    def follow(way, table, repeats, by_budget):
        told[way] = by_budget
        return np.full((4, len(race.MINUTES)), 0.5)

    monkeypatch.setattr(race, "followed", follow)
    race.run(table, {"reinforce": "one", "aging_evolution": "other"})
    assert told == {"one": True, "other": False}


def test_shared_networks_that_are_missing_are_told(table):
    rows = [{"cell": "a", "steps": 1, "asked": 1}] * 3
    with pytest.raises(ValueError, match="enas.json has not 10 rows: finish them first"):
        race.entrants({"enas": rows}, table)
    with pytest.raises(ValueError, match="score.json has not 207 rows"):
        race.entrants({"score": rows}, table)


def test_no_race_where_one_training_would_answer_and_judge():
    with pytest.raises(ValueError, match="two trainings of every class: run tabular --make first"):
        race.run(made_up_table(lambda cell: 0.5, runs=1), {})


def test_what_is_recorded_is_read_without_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(race, "FOLDER", tmp_path)
    assert race.recorded() == {}
    (tmp_path / "enas.json").write_text('[{"cell": "a"}]', encoding="utf-8")
    assert race.recorded() == {"enas": [{"cell": "a"}]}
    code = "import sys, dartslib.rivals.race, dartslib.tabular.landscape; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout.split()


@pytest.mark.skipif(not (tables.ROWS.exists() and (race.FOLDER / "race.json").exists()),
                    reason="the table and its race are not recorded yet")  # fmt: skip
def test_the_recorded_race_is_that_of_the_table():
    """A few repeats of each way, run anew."""
    measured = race.recorded()
    curves, real = measured.pop("race")["curves"], tables.load()
    ways = race.entrants(measured, real)
    assert {*ways, "optuna_tpe"} == set(curves)
    for way, search in ways.items():
        marks, anew = np.array(race.MARKS, float), way in race.BY_BUDGET
        again = race.followed(search, real, 3, marks, by_budget=anew)
        for k, mark in enumerate(race.MARKS):
            values = curves[way]["marks"].get(str(mark))
            if values is None:  # not every repeat has a cell by then
                continue
            assert again[:, k] == pytest.approx(values[:3], abs=1e-5), (way, mark)
        at = curves[way]["minutes"].index(180.0)
        kept = curves[way]["marks"]["180"]
        assert curves[way]["mean"][at] == pytest.approx(np.mean(kept), abs=2e-5)
        assert curves[way]["low"][at] == pytest.approx(np.quantile(kept, 0.1), abs=2e-5)


def test_every_job_has_one_list():
    plan = recording.plan()
    assert len(plan) == len(set(plan))
    assert plan == making.plan() + controls.plan() + measuring.plan()
    kinds = {job.split("-")[0] for job in plan}
    assert {"short", "long", "twin", "pools", "hand", "score", "single_path", "enas"} < kinds


def test_an_outside_sampler_runs_by_the_same_loop(table):
    pytest.importorskip("optuna")
    ten = list(rivals.random_search(FromTable(table, 0), SPACE, 600.0, 0))
    found = list(optuna_tpe(FromTable(table, 0), SPACE, 1500.0, 0))
    assert len(found) == 25 and found[:10] == ten
    assert max(value for _, value, _ in found) > 0.57


def test_optuna_finds_the_best_of_a_planted_table():
    pytest.importorskip("optuna")
    plain = made_up_table(lambda cell: 0.5 + 0.02 * convolutions(cell))
    for seed in range(2):
        found = optuna_tpe(FromTable(plain, seed), SPACE, 60.0 * 90, seed)
        assert max(value for _, value, _ in found) == pytest.approx(0.58)


def test_all_ways_are_asked_for_both_kinds_of_answers():
    """Whatever a rival asks, the account can answer: every cell, every number of epochs."""
    table = made_up_table(convolutions)
    evaluate = FromTable(table, 0)
    for cell, epochs in product(table.classes[::40], (1, 8, None)):
        value, cost = evaluate(cell, epochs)
        assert np.isfinite(value) and cost > 0


def test_rows_go_into_the_files_of_their_kinds(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(race, "FOLDER", tmp_path)
    monkeypatch.setattr(recording, "collect_table", kept.extend)
    rows = [
        {"recipe": "short", "epochs": [0.1]}, {"recipe": "hand", "epochs": [0.2]},
        {"recipe": "enas", "cell": "a"}, {"recipe": "score", "cell": "b"},
        {"recipe": "enas", "cell": "c"},
    ]  # fmt: skip
    recording.collect(rows)
    assert kept == rows[:2]  # trainings, the table's and its controls'
    files = {path.stem: json.loads(path.read_text("utf-8")) for path in tmp_path.glob("*.json")}
    assert files == {"enas": [rows[2], rows[4]], "score": [rows[3]]}
    with pytest.raises(FileExistsError, match="enas.json has 2 rows, and here are 1: it stays"):
        recording.collect(rows[:4])
    assert json.loads((tmp_path / "enas.json").read_text("utf-8")) == files["enas"]

"""The contest: its plan against its methods, its jobs in small, its statistics."""

import json
import subprocess
from collections import Counter

import numpy as np
import pytest
import torch
from made_up import made_up_contest, made_up_table, noise_images
from scipy import stats

from dartslib.methods import early_stopping
from dartslib.methods.stages import AROUND
from dartslib.relaxation import RELAXATIONS
from dartslib.rivals import contest, standings
from dartslib.runs import records
from dartslib.tabular.cells import SPACE, classes, name
from dartslib.tabular.making import RECIPE
from dartslib.tabular.table import PRICES, read_rows

ROOT = contest.PLAN.parents[2]
NAMES = {name(cell.normal) for cell in classes()}


@pytest.fixture
def images():
    return noise_images(192)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The plan with tiny networks, and its files elsewhere."""
    plan = json.loads(json.dumps(contest.settings()))
    plan["search"] |= {"channels": 4, "layers": 2, "batch_size": 8, "records": 3}
    plan["arms"]["p_darts"]["around"]["stages"] = [[2, 4, 0.0], [2, 3, 0.4], [2, 2, 0.7]]
    plan["budget"]["steps"] = 6
    monkeypatch.setattr(contest, "settings", lambda: plan)
    monkeypatch.setattr(contest, "FOLDER", tmp_path)
    _give_prices({})
    _write("rate", {"w_lr": 0.05})
    found = {"milliseconds": {"normal": [[0.1, 0.0, 0.5, 0.0]] * 5}, "rest": 0.4}
    _write("latency", found)


def _give_prices(other):
    prices = {arm: {"once": 0.0, "per_step": 1.0} for arm in contest.arms()} | other
    _write("prices", {"plain": prices})


def _write(name, content):
    text = json.dumps(content | {"digest": contest.digest()})
    (contest.FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


@pytest.fixture
def one_logit(monkeypatch):
    """The eigenvalue of one logit alone: in small searches the Hessian is most of the work."""
    whole = early_stopping.hypergradient

    def first(loss, valid_loss, w, alpha, **options):
        found = whole(loss, valid_loss, w, alpha, **options)
        for gradient in found.direct:
            gradient.flatten()[1:] = 0.0
        return found

    monkeypatch.setattr(early_stopping, "hypergradient", first)


def test_every_method_enters_or_is_named_elsewhere():
    used = {arm.get("relaxation", {}).get("name", "darts") for arm in contest.arms().values()}
    around = {arm["around"]["name"] for arm in contest.arms().values() if "around" in arm}
    built = {name for name, kind in RELAXATIONS.items() if ".methods." in kind.__module__}
    assert built <= used and set(AROUND) == around


def test_the_plan_is_whole(small):
    plan, all_of = contest.plan(), contest.settings()
    assert len(plan) == len(set(plan))
    counts = Counter(job.split("-")[1] for job in plan)
    arms = len(all_of["arms"])
    assert counts["budget"] == 10 * arms and counts["equal_steps"] == 60
    assert counts["travel0"] == counts["travel1"] == counts["travel2"] == 3 * arms
    assert counts["long"] == 21 and counts["collapse"] == 12
    assert [counts[f"latency{k}"] for k in range(7)] == [3] * 6 + [0]
    seeds = {job.split("-")[2] for job in plan if "travel" in job}
    assert seeds == {"10", "11", "12"}  # of its own
    assert set(all_of["long"]["arms"]) <= set(all_of["arms"])
    assert set(all_of["collapse"]["arms"]) <= set(contest.arms())
    assert contest.arms()["exact"]["travel"] == contest.arms()["darts"]["travel"]
    for arm in contest.arms():
        config = contest.config_of(arm, 0.1, 3)
        assert set(config.operations) >= set(SPACE.operations) - {"none"} and config.seed == 3


def test_a_search_has_the_sizes_of_the_tables_trainings():
    config = contest.config_of("darts", 0.1, 3)
    for key in ("layers", "channels", "reductions", "head", "held_out", "crop"):
        assert getattr(config, key) == getattr(RECIPE, key)


@pytest.mark.parametrize("arm", ["darts", "gdas", "fair_darts", "p_darts"])
def test_a_search_of_the_contest(arm, small, images):
    job = f"{arm}-budget-1"
    row = contest.make(job, images)
    assert row["digest"] == contest.digest() and row["steps"] == 6 and row["seed"] == 1
    assert len(row["at"]) == len(row["cells"]) == len(row["probabilities"]) >= 3
    assert set(row["cells"]) <= NAMES and row["at"] == sorted(row["at"])
    again = contest.make(job, images)
    np.testing.assert_equal(again | {"seconds": 0}, row | {"seconds": 0})  # nan, too


def test_latency_is_weighed_by_the_power_of_its_group(small, images, monkeypatch):
    seen = []
    begin = contest.begin

    def watch(*given, **options):
        seen.append(begin(*given, **options))
        return seen[-1]

    monkeypatch.setattr(contest, "begin", watch)
    for number in (0, 5):
        contest.make(f"fbnet-latency{number}-1", images)
    none, most = (search.config.relaxation for search in seen)
    assert (none.power, most.power, most.rest) == (0.0, 9.6, 0.4)
    assert most.milliseconds["normal"][4] == (0.1, 0.0, 0.5)  # none is not to be had
    # Where alpha is 0 a cell takes 1.4 ms, and the factor is the paper's, whatever the power.
    log = np.log(1000 * (0.4 + 5 * 0.6 / 3))
    assert none.scale == pytest.approx(0.2 * log**0.6) == most.scale * log**9.6


def test_darts_in_the_collapse_keeps_its_eigenvalues(small, images, one_logit):
    row = contest.make("watched-collapse-0", images)
    assert row["steps"] == 30 == row["at"][-1]  # it is never stopped
    assert len(row["eigenvalues"]) >= 2 and np.isfinite(row["eigenvalues"]).all()


def test_collapse_keeps_alphas_rate(small, images, monkeypatch, one_logit):
    """Five times the steps at a fifth of the rate would be DARTS slowed down."""
    seen, begin = [], contest.begin

    def watch(*given, **options):
        seen.append(begin(*given, **options))
        return seen[-1]

    monkeypatch.setattr(contest, "begin", watch)
    contest.make("watched-collapse-0", images)
    longer, times = seen.pop(), contest.settings()["collapse"]["times"]
    usual = begin("darts", images, w_lr=0.05, seed=0, steps=longer.steps // times)
    assert longer.config.alpha_lr == pytest.approx(usual.config.alpha_lr)


def test_sums_of_milliseconds_explain_what_is_a_sum(monkeypatch):
    config = contest.config_of("darts", 0.1, 0)
    rng = np.random.default_rng(0)
    table = rng.uniform(0, 1, (5, 4))
    rows = []
    for cell in classes():
        whole = 0.7
        for target, node in enumerate(cell.normal, start=2):
            for operation, source in node:
                edge = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)].index((source, target))
                whole += table[edge, config.operations.index(operation)]
        rows.append({"cell": name(cell.normal), "forward_1_ms": str(whole)})
    milliseconds = {"normal": tuple(map(tuple, table.tolist()))}
    monkeypatch.setattr(contest.latency, "measure", lambda config, size: milliseconds)
    monkeypatch.setattr(contest, "read_rows", lambda path: rows)
    found = contest.price_operations(config, 16)
    assert found["rest"] == pytest.approx(0.7) and found["explained"] == pytest.approx(1.0)
    # On a machine that is three times as slow the milliseconds are still those of the table.
    slow = {"normal": tuple(map(tuple, (3 * table).tolist()))}
    monkeypatch.setattr(contest.latency, "measure", lambda config, size: slow)
    found = contest.price_operations(config, 16)
    assert found["rest"] == pytest.approx(0.7) and found["slope"] == pytest.approx(1 / 3)
    assert np.array(found["milliseconds"]["normal"]) == pytest.approx(table)
    rows[0]["forward_1_ms"] = "90"
    assert contest.price_operations(config, 16)["explained"] < 0.5


def test_classes_in_which_three_searches_end_are_trained_again():
    cells = [name(classes()[number].normal) for number in (3, 3, 3, 5, 5)]
    rows = [{"cells": [cells[0], cell], "error": ""} for cell in cells]
    assert contest.fresh(rows) == ["short-3-4"]  # 0 to 2 are the table's, 3 that of its controls
    rows[0]["error"] = "The loss is not finite."
    assert not contest.fresh(rows)  # it found nothing


def test_a_search_that_fails_is_a_row_with_its_error(small, images):
    """Else the list ends there, and again at each restart."""
    _write("rate", {"w_lr": 1e30})
    row = contest.make("darts-budget-1", images)
    assert " loss is not finite by step " in row["error"]
    kept = len(row["at"])
    assert 1 <= kept == len(row["cells"]) == len(row["curves"]) == len(row["probabilities"]) < 4
    assert contest.make("rate-1e30-0", images)["train_loss"] == np.inf


def test_a_fault_of_the_machine_is_no_result(small, images, monkeypatch):
    def fail(self):
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(contest.Search, "advance", fail)
    with pytest.raises(RuntimeError, match="allocate"):
        contest.make("darts-budget-1", images)

    def mistaken(self):
        raise ValueError("too many values to unpack")

    monkeypatch.setattr(contest.Search, "advance", mistaken)
    with pytest.raises(ValueError, match="unpack"):  # nor is a fault of the code
        contest.make("darts-budget-1", images)

    def spoil(self):
        self.w[0].data.fill_(np.nan)
        raise RuntimeError("probability tensor contains nan")  # as torch.multinomial says it

    monkeypatch.setattr(contest.Search, "advance", spoil)
    row = contest.make("proxyless-budget-1", images)
    assert "contains nan" in row["error"] and row["at"] == [0]


def test_every_record_is_kept_with_losses_rates_and_what_is_frozen(small, images):
    contest.arms()["oles"]["relaxation"] |= {"window": 1, "threshold": 1.0}  # freezes everything
    row = contest.make("oles-budget-0", images)
    curves = dict(zip(contest.CURVES, np.array(row["curves"]).T, strict=True))
    assert np.isnan(curves["train_loss"][0]) and np.isfinite(curves["valid_loss"][1:]).all()
    assert (np.diff(curves["w_lr"][1:]) < 0).all() and row["w_lr"] == 0.05
    assert np.isnan(curves["frozen"][0]) and 0.5 < curves["frozen"][-1] < 1  # but stem and head
    assert row["price"] == {"once": 0.0, "per_step": 1.0}
    assert row["config"]["relaxation"]["name"] == "oles" and row["config"]["channels"] == 4
    assert row["alpha_lr"] * 6 == pytest.approx(5.9)
    softmax = torch.tensor(row["logits"]).softmax(dim=-1).numpy()
    assert softmax == pytest.approx(np.array(row["probabilities"]), abs=1e-3)
    assert contest.make("placebo-equal_steps-0", images)["price"] is None


def test_what_an_early_stop_returns_is_what_it_found(small, images, monkeypatch):
    given = iter([1.0, 9.0, 9.0, 9.0])
    monkeypatch.setattr(early_stopping, "hessian", lambda search: torch.tensor([[next(given)]]))
    contest.arms()["early_stopping"]["around"] |= {"back": 1, "window": 1, "earliest": 0.0}
    row = contest.make("early_stopping-budget-0", images)
    assert row["at"] == [0, 2, 6] and row["steps"] == 6  # stopped at step 2, returned that of 0
    assert row["probabilities"][2] == row["probabilities"][0] != row["probabilities"][1]
    assert row["cells"][2] == row["cells"][0] and row["eigenvalues"] == [[0, 1.0], [2, 9.0]]


def test_collapse_on_two_operations_where_it_did_not_come(small, images, one_logit):
    cells = {True: "skip0 skip1 | skip0 sep2", False: "skip0 sep1 | skip0 sep2"}  # as in the table
    rows = [
        {"arm": "watched", "group": "collapse", "cells": ["", cells[k < 1]], "error": ""}
        for k in range(3)
    ]
    rows += [rows[0] | {"arm": "early_stopping"}] * 3  # the cures do not count
    jobs = contest.fallback(rows)
    assert len(jobs) == 12 and "watched_darts_minus-narrow-2" in jobs
    assert not contest.fallback(rows[1:])  # one is not there yet
    rows[1]["cells"] = rows[0]["cells"]
    assert not contest.fallback(rows)  # two of three
    rows[1]["error"] = "The loss is not finite."
    assert len(contest.fallback(rows)) == 12  # a search that failed has not collapsed
    row = contest.make("watched_sdarts-narrow-0", images)
    assert row["operations"] == ["skip_connect", "sep_conv_3x3"] and row["steps"] == 30
    assert "max" not in "".join(row["cells"]) and row["eigenvalues"]
    assert cells[True] in NAMES and cells[False] in NAMES


def test_a_price_is_that_of_the_plain_form(small, images):
    """A cell that runs fast has a forward of its own."""
    for fast in (True, False):
        loop = contest.begin("darts", images, w_lr=0.1, seed=0, steps=6, fast=fast)
        assert all(("forward" in vars(cell)) == fast for cell in loop.supernet.cells)


def test_the_jitter_is_darts_with_a_millionth_of_noise(small, images):
    options = {"w_lr": 0.1, "seed": 0, "steps": 6}
    one, other = (contest.begin(arm, images, **options) for arm in ("darts", "jitter"))
    apart = one.architecture.logits["normal"] - other.architecture.logits["normal"]
    assert 1e-8 < float(apart.detach().abs().max()) < 1e-5
    assert one.config == other.config.changed(alpha_init_std=0.0)


def test_prices_are_medians_of_rounds_of_the_plain_form(small, images, monkeypatch):
    """A slow first run, a slow round, and a search that stops early do not spoil them."""
    told = []

    def follow(arm):
        told.append(arm)
        slow = 50.0 if len(told) < 3 else 9.0 if 50 < len(told) < 60 else 0.0
        return {"error": "", "seconds": 2.0 + (0.25 if arm[2] else 0.5) * arm[1] + slow}

    def quiet(cell, images, recipe):
        row = next(row for row in read_rows(PRICES) if row["cell"] == name(cell.normal))
        return {"step_seconds": 1.5 * float(row["step_seconds"])}

    monkeypatch.setattr(contest.pricing, "price", quiet)
    monkeypatch.setattr(contest, "price_operations", lambda *_: {"milliseconds": {}})
    monkeypatch.setattr(contest, "begin", lambda arm, images, steps, fast, **_: (arm, steps, fast))
    monkeypatch.setattr(contest, "follow", follow)
    (contest.FOLDER / "prices.json").unlink()
    contest.price_all(images)
    prices = contest.kept("prices")
    gradients = {"look_ahead", "finite_difference", "exact", "placebo"}
    assert set(prices["plain"]) == {*contest.settings()["arms"], "fbnet"} | gradients
    for one in prices["plain"].values():
        assert one == pytest.approx({"per_step": 0.5, "once": 2.0})
    assert prices["fast"] == {"darts": pytest.approx({"per_step": 0.25, "once": 2.0})}
    assert prices["machine"] and prices["commit"] and prices["versions"]
    assert prices["pace"] == pytest.approx(1.5) and contest.kept("latency")["machine"]
    longest = {arm for arm, steps, _ in told if steps == contest.LONGER[1]}
    assert longest == {"watched", "perturbation"}
    arms = [arm for arm, _, _ in told]
    assert "early_stopping" not in arms and arms.count("watched") == 2 * contest.ROUNDS
    with pytest.raises(FileExistsError, match="they stay"):  # a search may have them
        contest.price_all(images)
    (contest.FOLDER / "prices.json").unlink()
    monkeypatch.setattr(contest, "follow", lambda arm: follow(arm) | {"error": "not finite"})
    with pytest.raises(ValueError, match="to give darts its price failed: not finite"):
        contest.price_all(images)


def test_alpha_travels_as_far_as_it_may(small, images):
    """Rate times the steps in which alpha moves, however long the run and the warm-up."""
    for arm, times in (("darts", 1.0), ("pc_darts", 3.0), ("proxyless", 1.0)):
        loop = contest.begin(arm, images, w_lr=0.1, seed=0, steps=40, times=times)
        moves = sum(
            loop.config.relaxation.moves_alpha(loop.moment._replace(step=k)) for k in range(40)
        )
        assert 0 < moves <= 40 and loop.steps == 40
        rate = loop.alpha_optimizer.param_groups[0]["lr"]
        assert rate * moves == pytest.approx(times * contest.arms()[arm]["travel"])


def test_stages_share_the_steps_and_tuning_comes_on_top(small, images):
    options = {"w_lr": 0.1, "seed": 0, "steps": 42}
    loop = contest.begin("p_darts", images, **options)
    assert [search.steps for search in loop.searches] == [14, 14, 14] and loop.steps == 42
    search, tuning = contest.begin("perturbation", images, **options).searches
    assert search.steps == 42 and tuning.steps == 5 * 4 + 1  # six decisions, 0.1 of 42 apart


def test_equal_seconds_are_steps_by_price(small):
    _give_prices({"gdas": {"once": 0.0, "per_step": 0.25}, "sgas": {"once": 3.0, "per_step": 1.0}})
    assert contest.steps_of("gdas", "budget") == 24 and contest.steps_of("sgas", "budget") == 3
    assert contest.steps_of("gdas", "long") == 96 and contest.steps_of("sgas", "long") == 21
    assert contest.steps_of("exact", "equal_steps") == 6
    assert contest.steps_of("darts", "collapse") == 30
    (contest.FOLDER / "prices.json").unlink()
    with pytest.raises(FileNotFoundError, match="run contest --price, on a quiet machine"):
        contest.steps_of("darts", "budget")


def test_the_rate_is_that_of_the_lowest_loss(small, images):
    rows = [contest.make(job, images) for job in contest.rates()[:2]]
    assert all(row["w_lr"] == 0.025 and np.isfinite(row["train_loss"]) for row in rows)
    rows = [{"w_lr": r, "train_loss": loss} for r, loss in ((0.1, 3.0), (0.1, 1.0), (0.2, 1.9))]
    with pytest.raises(ValueError, match="another rate than 0.2"):  # searches may have it
        contest.choose_rate(rows)
    (contest.FOLDER / "rate.json").unlink()
    for _ in range(2):  # the second time it is there
        assert (
            contest.choose_rate(rows) == 0.2 == contest.kept("rate")["w_lr"]
        )  # 2.0 on average, against 1.9


def test_another_plan_is_not_mixed_in(small, monkeypatch):
    rows = {"rate-0.1-0": {"digest": contest.digest()}, "gdas-budget-0": {"digest": "other"}}
    contest.check_plan({"rate-0.1-0": rows["rate-0.1-0"]})
    with pytest.raises(ValueError, match="1 were made with another contest.toml, gdas-budget-0"):
        contest.check_plan(rows)
    monkeypatch.setattr(contest, "digest", lambda: "other")
    with pytest.raises(ValueError, match="prices.json first"):
        contest.kept("prices")


def _row(arm, seed):
    return {
        "arm": arm, "group": "budget", "seed": seed, "steps": 2, "seconds": 1.0, "at": [0, 2],
        "cells": [name(cell.normal) for cell in classes()[:2]], "commit": "c",
        "probabilities": [[[0.25] * 4] * 5] * 2,
        "curves": [[np.nan] * 6, [seed] * 6], "logits": [[[0.5] * 4] * 5] * 2,
        "operations": ["skip_connect"], "error": "",
        "price": {"once": 0.0, "per_step": 1.0}, "w_lr": 0.1, "alpha_lr": 0.01, "eigenvalues": [],
        "digest": "d", "config": {}, "around": {}, "data": "x", "machine": {"cores": 2},
        "versions": {},
    }  # fmt: skip


def test_a_record_per_arm(small):
    failed = _row("gdas", 2) | {"error": "The train loss is not finite."}
    failed |= {key: failed[key][:1] for key in contest.KEPT}
    contest.collect([*(_row("gdas", seed) for seed in range(2)), failed])
    record = records.load("gdas", contest.FOLDER)
    (made,) = record.meta["made"]
    assert made["data"] == "x" and [one["made"] for one in record.meta["searches"]] == [0, 0, 0]
    arrays = {key: record.history[f"budget-{key}"] for key in contest.KEPT}
    assert arrays["probabilities"].shape == arrays["logits"].shape == (3, 2, 5, 4)
    assert arrays["curves"][1, 1].tolist() == [1.0] * 6
    assert arrays["at"].tolist() == [[0, 2], [0, 2], [0, -1]]
    assert arrays["cells"].tolist() == [[0, 1], [0, 1], [0, -1]]
    assert np.isnan(arrays["probabilities"][2, 1]).all()


def test_the_machine_of_a_search_is_known(small):
    other = _row("gdas", 1) | {"machine": {"cores": 64}}
    contest.collect([_row("gdas", 0), other, _row("gdas", 2)])
    meta = records.load("gdas", contest.FOLDER).meta
    cores = [meta["made"][one["made"]]["machine"]["cores"] for one in meta["searches"]]
    assert cores == [2, 64, 2]


def test_fewer_searches_do_not_take_the_place_of_more(small):
    rows = [_row(arm, seed) for arm in ("darts", "gdas") for seed in range(2)]
    contest.collect(rows, [{"cell": "a"}])
    for left, trained in ((rows[:3], [{}]), (rows[:2], [{}]), (rows, [])):
        with pytest.raises(FileExistsError, match="it stays as it is"):
            contest.collect(left, trained)
        assert len(records.load("gdas", contest.FOLDER).meta["searches"]) == 2
        assert contest.kept("fresh") == [{"cell": "a"}]


@pytest.mark.full
def test_records_are_small_enough_for_what_is_kept_in_all(monkeypatch, tmp_path):
    """Of 5 MB; alpha walks at random here, which hardly compresses."""
    monkeypatch.setattr(contest, "FOLDER", tmp_path)
    made_up_contest(records=contest.settings()["search"]["records"] + 1)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 2.2e6


def test_the_plan_is_older_than_every_result():
    """The commit that last changed contest.toml is an ancestor of each record's."""
    found = sorted((ROOT / "data" / "recorded" / "contest").glob("*/meta.json"))
    if not found:
        pytest.skip("no search of the contest is recorded yet")
    last = _git("log", "-1", "--format=%H", "--", str(contest.PLAN))
    for path in found:
        meta = json.loads(path.read_text(encoding="utf-8"))
        for search in meta["searches"]:
            assert search["digest"] == contest.digest()
            commit = meta["made"][search["made"]]["commit"].removesuffix("+changes")
            assert _git("merge-base", last, commit) == last


def _git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


# Statistics


def test_chance_is_a_half():
    table = made_up_table(lambda cell: 0.001 * len(str(cell)), noise=0.001)
    found = standings.percentiles(table)
    assert set(found) == NAMES
    assert np.mean([found[table.name(cell)] for cell in table.cells]) == pytest.approx(0.5)
    best = max(NAMES, key=lambda n: found[n])
    assert found[best] > 0.99
    # Of n cells drawn at random the best one has the mean percentile n / (n + 1).
    generator, values = (
        np.random.default_rng(0),
        np.array([found[table.name(c)] for c in table.cells]),
    )
    drawn = values[generator.integers(243, size=(4000, 4))].max(axis=1).mean()
    assert standings.worth_random(drawn) == pytest.approx(4, rel=0.1)
    assert standings.worth_random(1.0) == np.inf


def test_holm_by_hand():
    found = standings.holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert found == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert standings.holm({"a": 0.6, "b": 0.9})["b"] == 1.0


def test_differences_are_told_apart_only_where_they_are():
    generator = np.random.default_rng(0)
    base = 0.2 * generator.random(10)
    found = standings.differences(
        {"darts": base, "same": base, "better": base + 0.3 + 0.01 * generator.random(10),
         "noise": 0.2 * generator.random(10)}, resamples=2000,
    )  # fmt: skip
    assert set(found) == {"same", "better", "noise"}
    assert found["better"].told_apart and 0.3 < found["better"].low < found["better"].high < 0.32
    assert not found["same"].told_apart and found["same"].p == 1.0
    assert not found["noise"].told_apart and found["noise"].low < 0 < found["noise"].high
    # One seed of ten with the other sign is not the end of it: pairs could not be told apart then.
    ten = np.linspace(0.75, 0.95, 10)
    some = {f"method {k}": generator.random(10) for k in range(16)}
    others = np.append(np.linspace(0.2, 0.6, 9), 0.96)  # above the last of ten
    found = standings.differences({"darts": others, "better": ten} | some)
    assert (ten < others).sum() == 1 and found["better"].told_apart
    assert found["better"].p == pytest.approx(
        17 * stats.permutation_test(
            (ten, others), lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True,
            permutation_type="independent", n_resamples=10**5, rng=1,
        ).pvalue, abs=0.02,
    )  # fmt: skip


def test_a_method_is_held_against_its_own_reference():
    generator = np.random.default_rng(0)
    low, high = (list(0.1 * generator.random(10) + level) for level in (0.3, 0.7))
    found = {"darts": low, "darts_without_none": high, "fair_darts": list(high), "gdas": list(low)}
    against = contest.settings()["statistics"]["against"]
    apart = standings.differences(found, against=against, resamples=999)
    assert apart["fair_darts"].mean == 0 and not apart["fair_darts"].told_apart
    assert apart["gdas"].mean == 0 and apart["darts_without_none"].told_apart
    assert standings.differences(found, resamples=999)["fair_darts"].told_apart


def test_too_often_by_chance_is_rare():
    """Twelve methods that are DARTS: any is told apart in one contest of twenty, not in seven."""
    wrong = 0
    for trial in range(40):
        generator = np.random.default_rng(trial)
        found = {f"method {k}": generator.random(10) for k in range(12)}
        found["darts"] = generator.random(10)
        wrong += any(d.told_apart for d in standings.differences(found, resamples=1100).values())
    assert wrong <= 5  # of 40; 2 are expected

"""The planted problem: a search gives the operation that is needed the largest alpha.

Three kinds of search: by first order, by the finite difference, and the control, which lacks that
operation. `data/recorded/planted` holds ten of each, which are looked at here. One of the first and
one of the last kind run here, too, and all others under the mark `full`.
"""

import numpy as np
import pytest
import torch

from benchmarks import planted as benchmark
from benchmarks.planted import found
from dartslib.data import planted
from dartslib.data.planted import NEEDED, SEARCH, planted_accuracy, planted_search
from dartslib.rivals import contest
from dartslib.runs import records
from dartslib.searching import SearchConfig

METHODS = ("first_order", "finite_difference")
CHANCE = 0.5
NEAR_CHANCE, CLEARLY_BETTER = 0.06, 0.65  # 2,048 unseen images: one standard deviation is 0.011


def test_found_sees_what_it_looks_for():
    five = list(SEARCH.operations).index(NEEDED)
    table = np.full((3, 2, 8), 0.125)
    table[0, 0, five], table[1, 1, five], table[2, :, five - 1] = 0.2, 0.2, 0.2
    assert found(table, SEARCH.operations).tolist() == [True, True, False]


# --- the recorded searches -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def record():
    return records.load("planted")


def test_the_record_is_of_the_present_settings(record):
    settings = SEARCH.model_dump(mode="json")
    assert record.meta["config"].items() <= settings.items()
    later = {"crop", "flip", "image_size"}  # settings that have their defaults
    differs = {"gradient", "operations", "relaxation", "seed"}
    assert settings.keys() - record.meta["config"].keys() == later | differs
    assert SEARCH.model_dump(include=later) == SearchConfig().model_dump(include=later)
    assert record.meta["seeds"] == list(range(10)) and record.meta["needed"] == NEEDED
    searches = record.meta["searches"]
    assert {kind: search["gradient"] for kind, search in searches.items()} == {
        "first_order": "first_order",
        "finite_difference": "finite_difference",
        "control": "first_order",
    }
    for method in METHODS:
        assert searches[method]["operations"] == list(SEARCH.operations)
    others = [name for name in SEARCH.operations if name != NEEDED]
    assert searches["control"]["operations"] == others
    assert not [code for code in record.meta["commits"] if "changes" in code or code == "unknown"]


def test_recorded_histories_are_whole(record):
    steps = record.history["step"]
    assert steps[0] == 0 and steps[-1] == SEARCH.epochs * SEARCH.half // SEARCH.batch_size
    for kind, search in record.meta["searches"].items():
        table = record.history[f"{kind}_probabilities"]
        assert table.shape == (10, len(steps), 2, len(search["operations"]))
        np.testing.assert_allclose(table.sum(axis=-1), 1, rtol=1e-5)
        np.testing.assert_allclose(table[:, 0], 1 / table.shape[-1], rtol=1e-6)
        assert len(np.unique(table[:, -1], axis=0)) == 10  # ten searches, not one ten times


@pytest.mark.parametrize("method", METHODS)
def test_at_least_nine_of_ten_recorded_searches_find_it(record, method):
    last = record.history[f"{method}_probabilities"][:, -1]  # (seeds, edges, operations)
    operations = record.meta["searches"][method]["operations"]
    assert found(last, operations).sum() >= 9
    assert (record.history[f"{method}_unseen_accuracy"] > CLEARLY_BETTER).sum() >= 9


def test_without_it_the_recorded_accuracy_stays_at_chance(record):
    for name in ("unseen_accuracy", "valid_accuracy"):
        assert np.abs(record.history[f"control_{name}"] - CHANCE).max() < NEAR_CHANCE


# --- live ----------------------------------------------------------------------------------------


def searched(kind, seed):
    """A finished search of a kind, and its accuracy on unseen images."""
    search = planted_search(benchmark.settings(kind, seed))
    for _ in search:
        pass
    accuracy = planted_accuracy(search)
    best = search.history["probabilities_normal"][-1].max()
    print(f"{kind}, seed {seed}: accuracy {accuracy:.3f}, largest probability {best:.2f}")
    return search, accuracy


def test_every_seed_that_settings_allow_makes_a_search():
    planted_search(benchmark.settings("first_order", 2**32 - 1))


# One seed in `make test`, the other nine under the mark `full`, as are all ten by the finite
# difference, which takes three times as long.
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.full) for seed in (0, *range(2, 10)))]


@pytest.mark.parametrize(
    "method", ["first_order", pytest.param("finite_difference", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_search_finds_it(method, seed):
    search, accuracy = searched(method, seed)
    assert found(search.history["probabilities_normal"][-1], SEARCH.operations)
    assert accuracy > CLEARLY_BETTER  # so the control below is able to fail


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
def test_a_search_without_it_stays_at_chance(seed):
    search, accuracy = searched("control", seed)
    assert NEEDED not in search.config.operations
    assert abs(accuracy - CHANCE) < NEAR_CHANCE


def test_every_arm_of_the_contest_can_be_tried():
    """It enters by these searches: a method that is not there could not."""
    tried = {kind: benchmark.settings(kind, 3) for kind in benchmark.METHODS}
    relaxations = {config.relaxation.name for config in tried.values()}
    arms = [contest.arms()[name] for name in contest.settings()["arms"]]
    assert {arm.get("relaxation", {}).get("name", "darts") for arm in arms} <= relaxations
    arounds = {benchmark.around(kind).name for kind in tried}
    wanted = {arm["around"]["name"] for arm in arms if "around" in arm}
    assert wanted - arounds <= {"p_darts"}  # tried as one stage: its cells and operations are few
    for arm, name in {"drnas": "drnas", "fair_darts": "fair_darts_10", "fbnet": "fbnet"}.items():
        searched = contest.arms()[arm].get("operations", contest.settings()["search"]["operations"])
        assert ("none" in tried[name].operations) == ("none" in searched)


def test_every_seed_has_images_of_its_own():
    subsets = []
    for seed in (0, 1):
        search = planted_search(SEARCH.model_copy(update={"seed": seed, "half": 64}))
        subsets += [search.train.subset, search.valid.subset, planted.planted(64, 3 * seed + 2)]
    images = torch.stack([subset.images for subset in subsets]).flatten(1)
    assert len(torch.unique(images, dim=0)) == 6


# --- the command ---------------------------------------------------------------------------------


def test_a_search_that_was_stopped_goes_on_by_seed(tmp_path, monkeypatch):
    tiny = SEARCH.model_copy(update={"half": 64, "epochs": 1, "channels": 2, "records": 1})
    monkeypatch.setattr(benchmark, "SEARCH", tiny)
    monkeypatch.setattr(benchmark, "KEPT", tmp_path)
    first = benchmark.kept_or_searched("control", 3, "abc")
    monkeypatch.setattr(benchmark, "searched", lambda *_: pytest.fail("it is there already"))
    again = benchmark.kept_or_searched("control", 3, "abc")
    assert again.meta == first.meta and (again.meta["commit"], again.name) == ("abc", "control-3")
    np.testing.assert_array_equal(again.history["probabilities"], first.history["probabilities"])


@pytest.mark.parametrize("other", ["commit", "settings"])
def test_a_search_of_other_code_or_settings_is_made_anew(tmp_path, monkeypatch, other):
    tiny = SEARCH.model_copy(update={"half": 64, "epochs": 1, "channels": 2, "records": 1})
    monkeypatch.setattr(benchmark, "KEPT", tmp_path)
    monkeypatch.setattr(benchmark, "SEARCH", tiny)
    benchmark.kept_or_searched("control", 3, "abc")
    if other == "settings":
        monkeypatch.setattr(benchmark, "SEARCH", tiny.model_copy(update={"w_lr": 0.01}))
    code = "abc" if other == "settings" else "def"
    anew = benchmark.kept_or_searched("control", 3, code)
    assert anew.meta["commit"] == code and anew.meta["config"]["w_lr"] == benchmark.SEARCH.w_lr

"""What is said of the table, on tables whose answer is known."""

from itertools import combinations

import numpy as np
import pytest
from made_up import made_up_table
from scipy import stats

from dartslib.tabular import landscape
from dartslib.tabular.cells import cells, classes, name


def convolutions(cell):
    return str(cell.normal).count("sep_conv")


def test_noise_and_spread_are_told_apart():
    table = made_up_table(lambda cell: 0.5 + 0.02 * convolutions(cell), noise=0.01, seed=1)
    runs = landscape.values(table)
    assert runs.shape == (207, 3)
    true = np.std([0.02 * convolutions(cell) for cell in classes()], ddof=1)
    noise, spread = landscape.spread(runs)
    assert noise == pytest.approx(0.01, rel=0.1) and spread == pytest.approx(true, rel=0.05)
    only_noise = made_up_table(lambda cell: 0.5, noise=0.01)
    assert landscape.spread(landscape.values(only_noise)).cells < 0.003


def test_a_table_that_is_still_being_made_has_as_many_runs_as_every_class():
    third = {"recipe": "short", "cell": name(classes()[7].normal), "run": 2, "epochs": "0.5 " * 8}
    third |= dict.fromkeys(("valid", "test", "train"), 0.5)
    table = made_up_table(lambda cell: 0.5, noise=0.01, runs=2, more=[third])
    assert len(table.query(classes()[7]).runs) == 3 and landscape.values(table).shape == (207, 2)


def test_correlations_are_scipys():
    generator = np.random.default_rng(0)
    runs = generator.normal(size=(50, 3)) + generator.normal(size=(50, 1))
    matrix = stats.spearmanr(runs).statistic
    assert landscape.agreement(runs) == pytest.approx(matrix[np.triu_indices(3, 1)].mean())
    # The best by the others are no better by their own luck.
    noise = generator.normal(size=(4000, 3))
    assert abs(landscape.agreement_of_the_best(noise)) < 0.15
    for run, best in enumerate(landscape.held_back(noise, 0.1)):
        assert best.sum() == 400 and abs(noise[best, run].mean()) < 0.2


def test_the_best_has_ties_and_no_luck():
    table = made_up_table(lambda cell: 0.5 + 0.1 * (convolutions(cell) == 4), noise=0.005)
    found = landscape.best(landscape.values(table))
    four = [k for k, cell in enumerate(classes()) if convolutions(cell) == 4]
    assert sorted(found.ties) == four and found.place in four
    assert found.value == pytest.approx(0.6, abs=0.01)
    assert found.bar == pytest.approx(1.96 * 0.005 / 3**0.5, rel=0.1)  # of three trainings
    noise = made_up_table(lambda cell: 0.5, noise=0.01, seed=2)
    found = landscape.best(landscape.values(noise))
    assert len(found.ties) > 180 and abs(found.value - 0.5) < 0.02
    assert landscape.values(noise).mean(axis=1).max() > 0.51  # which its own mean overstates


def test_a_fit_explains_what_it_can():
    def sum_of_choices(cell):
        return 0.5 + 0.02 * convolutions(cell) + 0.01 * (cell.normal[1][0][1] == 1)

    assert landscape.convolutions(classes()).tolist() == [*map(convolutions, classes())]

    table = made_up_table(sum_of_choices, noise=0.002)
    found = landscape.fit(classes(), landscape.values(table))
    assert found.main > 0.97 and found.count < found.main and found.pairs > 0.97
    with_pairs = made_up_table(
        lambda cell: 0.1 * (cell.normal[0][0][0] == cell.normal[1][0][0] == "sep_conv_3x3")
    )
    found = landscape.fit(classes(), landscape.values(with_pairs) + 1e-6)
    assert found.pairs == pytest.approx(1, abs=1e-6) and found.main < 0.9


def test_a_number_of_convolutions_has_a_value_of_its_own():
    table = made_up_table(lambda cell: 0.6 - 0.1 * (convolutions(cell) in (0, 3)))
    runs = landscape.values(table)
    assert landscape.fit(classes(), runs).count == pytest.approx(1)
    few = [k for k, cell in enumerate(classes()) if convolutions(cell) in (1, 2, 3)]
    found = landscape.fit([classes()[k] for k in few], runs[few])
    assert found.count == pytest.approx(1) and found.main < 0.95


def test_a_rank_correlation_has_its_interval():
    generator = np.random.default_rng(0)
    worth = generator.normal(size=80)
    scores = np.round(worth + generator.normal(size=80))  # with ties
    found = landscape.correlation(scores, worth)
    pairs = list(combinations(range(80), 2))
    alike = [np.sign((scores[a] - scores[b]) * (worth[a] - worth[b])) for a, b in pairs]
    assert found.tau == pytest.approx(np.mean(alike))
    assert found.tau < stats.kendalltau(scores, worth).statistic - 0.02  # tau-b forgives ties
    assert landscape.kendall(worth, -worth) == -1.0  # without ties it is scipy's
    lowest = np.where(worth == worth.min(), -np.inf, worth)  # as a determinant's logarithm may be
    assert landscape.kendall(lowest, worth) == 1.0
    noisy = worth + generator.normal(size=80)
    assert landscape.kendall(noisy, worth) == pytest.approx(stats.kendalltau(noisy, worth)[0])
    assert found.low < found.tau < found.high
    width = found.high - found.low
    assert 0.1 < width < 0.4
    half = landscape.correlation(np.tile(scores, 4), np.tile(worth, 4))
    assert half.high - half.low == pytest.approx(width / 2, rel=0.25)  # by four times the cells


def test_one_score_is_held_against_another_cell_by_cell():
    """Two scores that err alike differ by less than either interval says."""
    generator = np.random.default_rng(1)
    worth = generator.normal(size=100)
    one = worth + generator.normal(size=100)
    other = one + 0.1 * generator.normal(size=100)
    apart = landscape.correlation(one, worth, less=other)
    alone = landscape.correlation(one, worth)
    assert apart.tau == landscape.kendall(one, worth) - landscape.kendall(other, worth)
    assert apart.low < 0 < apart.high and apart.high - apart.low < (alone.high - alone.low) / 3
    found = landscape.correlation(worth, worth, less=generator.normal(size=100))
    assert found.low > 0.7


def test_the_same_cells_trained_otherwise():
    some = [classes()[k] for k in (3, 50, 120)]
    row = {"recipe": "long", "run": 0, "test": 0, "train": 0, "epochs": "0.1"}
    rows = [row | {"cell": name(cell.normal), "valid": k} for k, cell in enumerate(some)]
    table = made_up_table(lambda cell: 0.1 * convolutions(cell), more=rows[::-1])
    runs, other = landscape.trained_otherwise(table, "long")
    assert other.tolist() == [0, 1, 2]
    assert runs[:, 0] == pytest.approx([0.1 * convolutions(cell) for cell in some])
    assert landscape.costs(table, "train_seconds").tolist() == [60.0] * 207


def test_choices_tell_cells_apart():
    rows = landscape.choices(cells())
    assert rows.shape == (243, 15) and len(np.unique(rows, axis=0)) == 243


def test_the_front_is_what_no_other_beats():
    costs, worth = np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.5, 0.1, 0.4, 0.3])
    assert landscape.front(costs, worth).tolist() == [1, 2, 0]
    generator = np.random.default_rng(0)
    costs, worth = generator.random((2, 60))
    places = set(landscape.front(costs, worth))
    for k in range(60):
        beaten = any((costs[j] <= costs[k]) and (worth[j] > worth[k]) for j in range(60))
        assert (k in places) == (not beaten)


@pytest.mark.parametrize("agreement", [0.3, 0.6, 0.9])
def test_what_is_degraded_agrees_as_well_and_prefers_no_kind(agreement):
    """Also where a kind lies far below the others: noise that is small beside it leaves it."""
    generator = np.random.default_rng(0)
    worth = generator.normal(size=207)
    kind = generator.random(207) < 0.2
    seen, like_it = worth + np.sqrt(agreement**-2 - 1) * generator.normal(size=207), []
    for _ in range(100):
        found = landscape.degraded(worth, seen, generator)
        like_it.append((stats.spearmanr(found, worth)[0], found[kind].mean()))
    reached, level = np.mean(like_it, axis=0)
    assert reached == pytest.approx(stats.spearmanr(seen, worth)[0], abs=0.005)
    assert level == pytest.approx(worth[kind].mean(), abs=0.15 / agreement)
    apart = np.where(kind, worth - 100, worth)
    found = landscape.degraded(apart, apart + 0.5 * generator.normal(size=207), generator)
    assert found[kind].max() < found[~kind].min()

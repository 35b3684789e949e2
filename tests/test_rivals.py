"""Other ways to search: one contract for all, and what each is known by."""

from inspect import signature
from itertools import islice

import numpy as np
import pytest

from dartslib import rivals
from dartslib.genotypes import derive
from dartslib.rivals.asking import FIRST, POOL, Ask
from dartslib.rivals.coding import Coding
from dartslib.rivals.policy import probabilities, score_gradient
from dartslib.rivals.prediction import features
from dartslib.space import CELL_TYPES, SearchSpace
from dartslib.tabular.cells import SPACE, cells

CODING = Coding(SPACE)


def planted(genotype, epochs=None):
    """Convolutions are good, and best where node 2 reads node 1; a price of 1 per 8 epochs."""
    edges = [edge for node in genotype.normal for edge in node]
    value = sum({"sep_conv_3x3": 1.0, "skip_connect": 0.3}.get(name, 0.0) for name, _ in edges)
    value += 0.5 * any(source == 2 for _, source in edges)
    return value * (1 if epochs is None else epochs / 8), (epochs or 8) / 8


def noise(seed):
    """Answers that say nothing about the cell."""
    generator = np.random.default_rng([seed, 7])
    return lambda genotype, epochs=None: (generator.normal(), (epochs or 8) / 8)


def test_a_code_is_a_cell_and_every_cell_has_one():
    assert sorted(map(repr, map(CODING.genotype, CODING.all()))) == sorted(map(repr, cells()))
    for code in CODING.all()[::17]:
        near = CODING.neighbors(code)
        assert len(set(near)) == len(near) == 2 + 4 * 2
        assert all(sum(a != b for a, b in zip(code, n, strict=True)) == 1 for n in near)
    larger = Coding(SearchSpace.report())
    cell = larger.genotype(larger.draw(np.random.default_rng(0)))
    assert len(cell.normal) == 3 and cell.normal == cell.reduction
    tables = dict.fromkeys(CELL_TYPES, np.random.default_rng(0).random((5, 4)))
    assert len(derive(tables, SPACE).normal) == 2


@pytest.mark.parametrize("search", rivals.ALL.values(), ids=rivals.ALL)
def test_a_search_keeps_account_and_ends_in_time(search):
    found = list(search(planted, SPACE, 40.0, 0))
    costs = [cost for *_, cost in found]
    assert costs == sorted(costs) and 39 <= costs[-1] <= 40
    assert all(genotype in cells() for genotype, *_ in found)
    again = list(search(planted, SPACE, 40.0, 0))
    assert found == again != list(search(planted, SPACE, 40.0, 1))
    # All begin with the same cells, and so does a smaller budget.
    begun = [genotype for genotype, *_ in islice(found, FIRST)]
    random = rivals.random_search(planted, SPACE, 40.0, 0)
    assert begun == [genotype for genotype, *_ in islice(random, FIRST)]
    assert list(search(planted, SPACE, 0.1, 0)) == []


@pytest.mark.parametrize("search", rivals.ALL.values(), ids=rivals.ALL)
def test_it_finds_the_best_of_a_planted_table(search):
    best = max(planted(cell)[0] for cell in cells())
    budget = 3000.0 if search is rivals.random_search else 600.0
    assert max(value for _, value, _ in search(planted, SPACE, budget, 0)) == best


def test_help_shows_how_a_rival_is_called():
    given = ["evaluate", "space", "budget", "seed"]
    assert list(signature(rivals.aging_evolution).parameters)[:4] == given
    assert list(signature(rivals.counting).parameters) == [*given, "score", "at_once"]


def test_a_small_space_is_asked_whole():
    """Each cell once, not those that a thousand draws happen to find."""
    assert Ask(planted, SPACE, 1.0, 0).pool() == set(CODING.all())
    assert 0.9 * POOL < len(Ask(planted, SearchSpace.report(), 1.0, 0).pool()) <= POOL
    for search in (rivals.counting, rivals.predictor):
        assert len({genotype for genotype, *_ in search(planted, SPACE, 300.0, 0)}) == 243


@pytest.mark.parametrize("search", rivals.ALL.values(), ids=rivals.ALL)
def test_nothing_beats_a_table_of_noise(search):
    """Chosen by answers that mean nothing, the cell's place by another table is anywhere."""
    places = []
    for seed in range(80):
        truth = dict(zip(cells(), np.random.default_rng([seed, 8]).permutation(243), strict=True))
        chosen, *_ = max(search(noise(seed), SPACE, 30.0, seed), key=lambda found: found[1])
        places.append(truth[chosen] / 242)
    assert abs(np.mean(places) - 0.5) < 4 * np.sqrt(1 / 12 / len(places))


def test_ways_that_learn_beat_random_search_on_the_planted_table():
    def mean_best(search):
        found = [max(v for _, v, _ in search(planted, SPACE, 25.0, seed)) for seed in range(30)]
        return np.mean(found)

    random = mean_best(rivals.random_search)
    for search in (rivals.counting, rivals.aging_evolution, rivals.predictor, rivals.local_search):
        assert mean_best(search) > random


def test_a_child_differs_from_one_of_the_last_ten_in_one_number():
    asked = []

    def evaluate(genotype, epochs=None):
        asked.append(genotype)
        return planted(genotype)

    list(rivals.aging_evolution(evaluate, SPACE, 60.0, 0))
    codes = {repr(CODING.genotype(code)): code for code in CODING.all()}
    rows = np.array([codes[repr(genotype)] for genotype in asked])
    for k in range(FIRST, len(rows)):  # the oldest has left: only the last ten can be parents
        assert ((rows[k - FIRST : k] != rows[k]).sum(axis=1) == 1).any()


def test_the_mean_gradient_is_that_of_the_expectation():
    """REINFORCE on two choices of five: all 25 outcomes enumerated."""
    generator = np.random.default_rng(0)
    logits = [generator.normal(size=5) for _ in range(2)]
    rewards = generator.normal(size=(5, 5))

    def expected(logits):
        p, q = probabilities(logits)
        return p @ rewards @ q

    p, q = probabilities(logits)
    mean = [np.zeros(5), np.zeros(5)]
    for a, b in np.ndindex(5, 5):
        for k, gradient in enumerate(score_gradient(logits, (a, b))):
            mean[k] += p[a] * q[b] * rewards[a, b] * gradient
    for k, j in np.ndindex(2, 5):
        moved = [[one.copy() for one in logits] for _ in range(2)]
        moved[0][k][j] += 1e-5
        moved[1][k][j] -= 1e-5
        assert np.isclose(mean[k][j], (expected(moved[0]) - expected(moved[1])) / 2e-5, atol=1e-8)
    # A baseline changes nothing: the score has mean zero.
    zero = sum(p[a] * score_gradient(logits, (a, 0))[0] for a in range(5))
    assert np.allclose(zero, 0)


def test_the_predictor_sees_choices_and_pairs():
    codes = CODING.all()
    table = features(CODING, codes)
    one = sum(size for size in CODING.sizes if size > 1)
    assert table.shape == (243, one + one * (one - 1) // 2)
    values = np.array([planted(CODING.genotype(code))[0] for code in codes])
    fit, *_ = np.linalg.lstsq(table, values - values.mean(), rcond=None)
    assert np.allclose(table @ fit, values - values.mean())

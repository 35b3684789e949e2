"""Every hypothesis of the contest is decided as contest.toml says: on searches that are made up."""

import json
import re

import numpy as np
import pytest
from made_up import made_up_table

from dartslib.rivals import contest, hypotheses, standings
from dartslib.rivals.contested import Searched
from dartslib.tabular.cells import classes, name

ARMS = [*contest.settings()["arms"]]
NAMES = [name(cell.normal) for cell in classes()]
PLACE = dict(zip(NAMES, np.arange(207) / 207, strict=True))  # a cell's worth is its number


def searched(arm, group, seed, cell, error="", far=0.0):
    """`far`: by how much the probabilities of every edge vary from those of the others."""
    probabilities = np.full((1, 5, 4), 0.25) + far * np.array([1, -1, 0, 0])
    rest = (np.zeros(1), (cell,), probabilities, (), np.zeros((0, 2)))
    return Searched(arm, group, seed, *rest, error)


@pytest.fixture(scope="module")
def table():
    made = made_up_table(lambda cell: 0.4 + PLACE[name(cell.normal)] / 10)
    slow = {cell: str(1.0 + 0.01 * k) for k, cell in enumerate(NAMES)}  # the better the slower
    made.prices = {cell: {"train_seconds": "60", "forward_1_ms": slow[cell]} for cell in NAMES}
    return made


@pytest.fixture(autouse=True)
def prices(tmp_path, monkeypatch):
    monkeypatch.setitem(contest.settings()["statistics"], "resamples", 999)  # quick
    monkeypatch.setattr(contest, "FOLDER", tmp_path)
    # 600 seconds on a machine half as fast as the table's: five trainings.
    fast, known = {"darts": {"once": 40.0, "per_step": 0.56}}, {"digest": contest.digest()}
    text = json.dumps({"fast": fast, "pace": 2.0} | known)
    (tmp_path / "prices.json").write_text(text, encoding="utf-8")


def decide(table, number, *searches, middle=120):
    """One decision, where all arms end about the middle but for these searches."""
    generator, found = np.random.default_rng(0), {}
    for arm in ARMS:
        for seed in range(10):
            cell = NAMES[int(middle + generator.integers(-15, 16))]
            found[arm, "budget", seed] = searched(arm, "budget", seed, cell)
    for arm in contest.settings()["equal_steps"]["arms"]:
        for seed in range(10):  # as DARTS, cell by cell
            cell = found["darts", "budget", seed].cells[-1]
            found[arm, "equal_steps", seed] = searched(arm, "equal_steps", seed, cell)
    for seed in range(3):
        found["watched", "collapse", seed] = searched("watched", "collapse", seed, NAMES[0])
        for k in range(6):
            cell = NAMES[150 - 20 * k + seed]
            found["fbnet", f"latency{k}", seed] = searched("fbnet", f"latency{k}", seed, cell)
    found |= {(one.arm, one.group, one.seed): one for one in searches}
    return hypotheses.decide(list(found.values()), table)[number]


def test_all_are_decided_that_were_written_down(table):
    assert list(hypotheses.RULES) == list(contest.settings()["hypotheses"])
    assert decide(table, "2") == (True, "told apart below: none")


def ten(arm, group, number, spread=5):
    return [searched(arm, group, seed, NAMES[number + spread * seed % 20]) for seed in range(10)]


def test_pairs_want_the_same_seeds(table):
    lacking = [searched(arm, "budget", 0, NAMES[0]) for arm in ARMS]
    lacking += [searched(arm, "budget", arm == "gdas", NAMES[0]) for arm in ARMS]
    with pytest.raises(ValueError, match="Searches of 'budget' are missing"):
        hypotheses.decide(lacking, table)


def test_1_above_chance(table):
    assert decide(table, "1", middle=170).holds and not decide(table, "1", middle=75).holds
    hardly = decide(table, "1", middle=92)
    assert float(hardly.says.split()[2][:-1]) > 0.5 and not hardly.holds  # the interval counts
    failed = [searched("darts", "budget", seed, NAMES[200], "not finite") for seed in range(10)]
    assert not decide(table, "1", *failed, middle=170).holds  # a failure is chance


def test_2_and_3_told_apart_from_darts(table):
    low, high = ten("gdas", "budget", 20), ten("gdas", "budget", 180)
    assert decide(table, "2", *low) == (False, "told apart below: gdas")
    assert decide(table, "2", *high).holds and not decide(table, "3", *low).holds
    assert decide(table, "3", *high) == (True, "told apart above: gdas")
    no_method = ten("darts_without_none", "budget", 180)
    assert not decide(table, "3", *no_method).holds


def test_4_exact_against_first_order(table):
    assert decide(table, "4").holds
    assert not decide(table, "4", *ten("exact", "equal_steps", 180)).holds
    assert "p 0.0" in decide(table, "4", *ten("exact", "equal_steps", 180)).says


def others(arm, count):
    """So many of ten searches end in a cell of their own."""
    own = NAMES[60 + len(arm)]  # another for each arm
    return [searched(arm, "equal_steps", seed, own) for seed in range(count)]


def moved(arm, far, spread=0.01):
    """Ten searches whose alpha ends about so far from that of the others."""
    ends = far + spread * np.random.default_rng(len(arm)).normal(size=10)
    return [searched(arm, "equal_steps", s, NAMES[120], far=ends[s]) for s in range(10)]


def test_5_the_placebo_moves_alpha_as_far(table):
    near = moved("jitter", 0.01, 0.001)
    found = decide(table, "5", *moved("exact", 0.15), *moved("placebo", 0.15), *near)
    assert found.holds and "alpha moved by 0.15" in found.says
    assert decide(table, "5", *moved("exact", 0.2), *moved("placebo", 0.1), *near).holds is False
    assert decide(table, "5", *moved("exact", 0.1), *moved("placebo", 0.2), *near).holds is False
    # Where chance alone moves it as far, nothing can be said.
    far = moved("jitter", 0.24)
    assert decide(table, "5", *moved("exact", 0.2), *moved("placebo", 0.1), *far).holds is None
    # The term is against look-ahead, not against the first order.
    ahead = [one._replace(arm="look_ahead") for one in moved("exact", 0.2)]
    found = decide(table, "5", *moved("exact", 0.2), *ahead, *moved("placebo", 0.1), *near)
    assert "alpha moved by 0.000, 0.098" in found.says and found.holds is False


def test_5_says_how_many_cells_changed_and_leaves_failures_out(table):
    found = decide(table, "5", *others("exact", 7), *others("placebo", 6), *others("jitter", 1))
    assert "term 70%, the placebo 60%, chance 10%" in found.says
    failed = [searched("exact", "equal_steps", seed, NAMES[0], "nan") for seed in range(5)]
    assert "term 0%" in decide(table, "5", *failed).says
    failed = [searched("exact", "equal_steps", seed, NAMES[0], "nan") for seed in range(10)]
    assert decide(table, "5", *failed).holds is None


def test_6_worth_its_price(table):
    # The seconds pay five trainings: their best has the place 5 / 6 on average.
    assert decide(table, "6", middle=120).holds
    assert "best of 5.0 random cells 0.83" in decide(table, "6").says
    assert not decide(table, "6", middle=190).holds


def test_7_more_skips(table):
    skips = [cell for cell in NAMES if cell.count("skip") == 4]
    few = [searched("darts", "budget", seed, NAMES[-1]) for seed in range(3)]
    long = [searched("watched", "collapse", seed, skips[0]) for seed in range(3)]
    assert decide(table, "7", *few, *long).holds
    many = [searched("darts", "budget", seed, skips[0]) for seed in range(3)]
    assert not decide(table, "7", *many, *long).holds
    assert (
        "4.0 skips of 4 after the long searches, 4.0 before"
        in decide(table, "7", *many, *long).says
    )


def test_8_never_slower(table):
    assert decide(table, "8").holds  # a larger power, a quicker cell
    late = [searched("fbnet", "latency5", seed, NAMES[200]) for seed in range(3)]
    assert not decide(table, "8", *late).holds
    little = [searched("fbnet", "latency5", seed, NAMES[75]) for seed in range(3)]
    assert decide(table, "8", *little).holds  # slower by less than a tenth
    failed = [searched("fbnet", "latency5", seed, NAMES[200], "nan") for seed in range(3)]
    assert decide(table, "8", *failed).holds
    assert len(re.findall(r"\d\.\d\d", decide(table, "8").says)) == 6


def test_9_better_than_those_as_quick(table):
    says = "{} of {} classes are better than the mean of those as quick, by chance {}, p {}"
    prices = table.prices

    def with_ms(value):
        table.prices = {
            cell: row | {"forward_1_ms": str(value(k))}
            for k, (cell, row) in enumerate(prices.items())
        }

    def from_(number, *powers, step=1):
        """Searches that end in classes with numbers from this one on, or in it alone."""
        return [
            searched("fbnet", f"latency{k}", s, NAMES[number + step * (3 * k + s)])
            for k in powers
            for s in range(3)
        ]

    def decided(*searches):
        return decide(table, "9", *searches)

    try:
        with_ms(lambda k: 2.0)  # all as quick: a cell above the middle is better than the mean
        assert decided(*from_(150, *range(6))) == (True, says.format(15, 15, "50%", "0.00"))
        zero = from_(150, 0) + from_(10, *range(1, 6))  # power 0 is no price
        assert decided(*zero) == (False, says.format(0, 15, "50%", "1.00"))
        most = from_(150, 1, 2, 3) + from_(10, 4, 5)  # chance can do that
        assert decided(*most) == (False, says.format(9, 15, "50%", "0.31"))
        same = from_(150, *range(6), step=0)  # 15 searches, but one class
        assert decided(*same) == (False, says.format(1, 1, "50%", "0.50"))
        with_ms(lambda k: 2.0 if k < 160 else 1.5**k)  # some have no cell that is as quick
        alone = from_(150, 1, 2) + from_(180, *range(3, 6))
        assert decided(*alone) == (True, says.format(6, 6, "50%", "0.02"))
        assert decided(*from_(180, *range(6))).holds is None
        with_ms(lambda k: 1.5 ** (k // 4))  # two of four as quick are better than the others
        assert "by chance 50%" in decided(*from_(152, *range(6))).says
    finally:
        table.prices = prices


def test_interval_and_chance_are_scipys():
    generator = np.random.default_rng(0)
    values = generator.normal(size=10)
    low, high = standings.interval(values)
    half = 1.96 * values.std(ddof=1) / 10**0.5
    assert low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.25 * half)
    assert standings.interval([0.3] * 4) == (0.3, 0.3)
    alike = [0.7 - 0.3, 0.8 - 0.4] * 5  # but for rounding
    assert standings.interval(alike) == pytest.approx((0.4, 0.4))
    assert standings.chance(values, values + 3) < 0.01 < 0.9 < standings.chance(values, values)

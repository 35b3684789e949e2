"""What is read of the contest's records, and how it is shown: on a contest that is made up."""

import numpy as np
import pytest
from made_up import FAILED, made_up_contest, made_up_table

from dartslib import show
from dartslib.relaxation import RELAXATIONS
from dartslib.rivals import contest, contested, standings
from dartslib.runs import records
from dartslib.tabular.cells import SPACE, name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        made = tmp_path_factory.mktemp("contest")
        patch.setattr(contest, "FOLDER", made)
        made_up_contest(records=4)
        yield made


@pytest.fixture(scope="module")
def found(folder):
    return contested.searches()


@pytest.fixture(scope="module")
def places():
    table = made_up_table(lambda cell: 0.001 * len(str(cell)), noise=0.001)
    return standings.percentiles(table)


def test_all_searches_are_there_with_their_alpha(found, folder):
    assert {f"{s.arm}-{s.group}-{s.seed}" for s in found} == set(contest.plan())
    assert list(dict.fromkeys(s.arm for s in found)) == list(contest.arms())
    assert contest.kept("prices")["plain"]["darts"]["once"] == 1.0
    for one in found:
        failed = f"{one.arm}-{one.group}-{one.seed}" in FAILED
        count = 1 if failed else 4  # records
        assert one.probabilities.shape == (count, 5, len(one.operations))
        watched = one.arm.startswith(("early_stopping", "watched"))
        assert len(one.eigenvalues) == count * watched and len(one.cells) == count
        record = records.load(one.arm, contest.FOLDER)
        every = [row for row in record.meta["searches"] if row["group"] == one.group]
        place = [row["seed"] for row in every].index(one.seed)
        logits, curves = (
            record.history[f"{one.group}-{kind}"][place] for kind in ("logits", "curves")
        )
        assert np.isfinite(logits[:count]).all() and np.isnan(logits[count:]).all()
        assert record.meta["curves"] == [*contest.CURVES] and curves.shape == (4, 6)
        seen = [1, 1 / 2, 1 / 3, 1 / 4]
        assert curves[:count, 0].tolist() == pytest.approx(seen[:count], rel=1e-3)
        assert bool(one.error) == failed
        assert one.place({one.cells[-1]: 0.7}) == (0.5 if failed else 0.7)  # 0.5 is chance
    plain = next(s for s in found if (s.arm, s.group, s.seed) == ("darts", "budget", 3))
    tables = dict.fromkeys(("normal", "reduction"), plain.probabilities[-1])
    assert name(RELAXATIONS["darts"]().derive(tables, SPACE).normal) == plain.cells[-1]


def test_values_by_arm_are_in_the_order_of_seeds(found):
    seeds = contested.by_arm(found[::-1], "budget", lambda one: one.seed)
    assert set(seeds) == set(contest.settings()["arms"])
    assert all(values == list(range(10)) for values in seeds.values())
    assert set(contested.by_arm(found, "long", lambda one: 0.0)) == set(
        contest.settings()["long"]["arms"]
    )


def test_no_contest_no_searches(monkeypatch, tmp_path):
    monkeypatch.setattr(contest, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="run contest --make"):
        contested.searches()


# Shown


def test_a_search_is_shown_record_by_record(found, places):
    explorer = show.ContestExplorer(found, places, SPACE)
    assert explorer.status.value.count("darts: budget, seed 0, step 1000 of 1000") == 1
    explorer.method.value = "drnas"  # without none
    one = next(s for s in found if s.arm == "drnas")
    assert all(option.startswith("drnas: ") for option in explorer.run.options)
    assert len(explorer.run.options) == sum(s.arm == "drnas" for s in found)
    for t in (3, 1):
        explorer.moment.index = t
        said = f"{one.cells[t]}, better than {places[one.cells[t]]:.0%} of all cells."
        assert f"drnas: budget, seed 0, step {one.at[t]} of" in explorer.status.value
        assert said in explorer.status.value
    (curve,) = (line for line in explorer.figure.axes[1].lines if len(line.get_xdata()) == 4)
    assert np.allclose(curve.get_ydata(), [places[cell] for cell in one.cells])
    explorer.run.index = 1
    assert "drnas: budget, seed 1" in explorer.status.value
    assert not np.allclose(explorer.figure.axes[1].lines[0].get_ydata(), curve.get_ydata())


def test_the_methods_picture_has_a_mark_per_member():
    picture = show.family({"one": ["b"], "other": ["a", "b"]}, ["a", "b"])
    assert picture.description.endswith("other: a, b; one: b.")  # by their first member

"""Notebook 07 on a contest that is made up: it runs to its end, and says what was made.

It stands in notebooks/ once the contest is recorded, until then in runs/nb07.patch.
"""

import re

import pytest
from drafts import draft, is_short, run_all
from made_up import made_up_contest, made_up_table

from dartslib import tabular
from dartslib.methods.stages import AROUND
from dartslib.rivals import contest, race
from dartslib.tabular.table import PRICES, read_rows

CURVE = {"minutes": [1, 5, 20, 60, 180], "mean": [0.50, 0.52, 0.53, 0.54, 0.55]}
WAYS = ("random_search", "counting_at_once", "aging_evolution")
CELLS = draft("07")
CODE = {name: source for name, (source, kind) in CELLS.items() if kind == "code"}


def test_it_is_as_short_as_it_may_be():
    is_short(CELLS)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What each cell ends on, and what all cells print."""
    known = set(AROUND)
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("contest")
        patch.setattr(contest, "FOLDER", folder)
        made_up_contest(records=4, better=("gdas",))
        table = made_up_table(lambda cell: 0.5 + 0.02 * str(cell).count("sep"), noise=0.005)
        table.prices = {row["cell"]: row for row in read_rows(PRICES)}
        patch.setattr(tabular, "load", lambda: table)
        patch.setattr(race, "recorded", lambda: {"race": {"curves": dict.fromkeys(WAYS, CURVE)}})
        yield run_all(CODE)
    for name in AROUND.keys() - known:  # of the reader
        del AROUND[name]


@pytest.mark.full
def test_what_the_reader_writes_is_dartslibs(shown):
    _, said = shown
    methods = re.findall(r"your(?:s| loss) is dartslib's ([\w-]+)(?:'s)?: (\w+)", said)
    assert len(methods) == 9 and {answer for _, answer in methods} == {"True"}
    assert "I-DARTS is DARTS: False" in said


@pytest.mark.full
def test_it_says_what_was_made(shown):
    values, said = shown
    table = said.split("p (Holm)")[1]
    rows = re.findall(r"^(\w+) .* to [+-]\d\.\d+ +\d\.\d+  (told apart)?$", table, re.M)
    assert len(rows) == 17 and [arm for arm, apart in rows if apart] == ["gdas"] == [rows[0][0]]
    (better,) = (line for line in values["table"].data.splitlines() if "**better**" in line)
    assert "| gdas | `edge`, `mixture`, `derive` |" in better
    assert "placebo" in values["placebo-figure"].description
    explorer = values["explorer"]
    explorer.method.value = "gdas"
    assert "gdas: budget, seed 0, step" in explorer.status.value

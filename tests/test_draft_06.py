"""Notebook 06 on a table and a race that are made up: it runs to its end, and says what was made.

It stands in notebooks/ once the table is whole, until then in runs/nb06.patch.
"""

import re

import numpy as np
import pytest
from drafts import draft, is_short, run_all
from made_up import made_up_table

from dartslib import tabular
from dartslib.rivals import race
from dartslib.tabular import controls
from dartslib.tabular.cells import classes, name
from dartslib.tabular.table import PRICES, read_rows

CELLS = draft("06")
CODE = {cell: source for cell, (source, kind) in CELLS.items() if kind == "code"}
SCORES = ("gradient_norm", "synflow", "naswot", "ntk_condition", "linear_regions")


def test_it_is_as_short_as_it_may_be():
    is_short(CELLS)


def convolutions(cell):
    return str(cell.normal).count("sep")


def made_up_race(generator):
    """All that `race.recorded` gives: single path is ahead after an hour, synflow knows all."""
    every, names = classes(), [name(cell.normal) for cell in classes()]
    worth = np.array([convolutions(cell) for cell in every], float)
    rows = [
        {"cell": names[k], "score_seconds": dict.fromkeys(SCORES, 3.0), "step_seconds": 0.1,
         "scores": {way: (generator.normal(size=3) + (100 * worth[k] + k / 2) * (way == "synflow")
                          ).tolist() for way in SCORES}} for k in range(207)
    ]  # fmt: skip
    shared = [
        {"values": dict(zip(names, 0.1 * generator.random(207), strict=True))} for _ in range(10)
    ]
    children = [
        {"cell": cell, "valid": 0.5, "alone": 0.4, "alone_longer": 0.5} for cell in names[::40]
    ]

    def curve(way):
        ahead = 0.02 * (way == "single_path")
        found = {str(m): (0.6 + ahead + 0.002 * generator.normal(size=200)) for m in race.MARKS}
        begins = {"enas": 180, "single_path": 60}.get(way, 0)  # when its supernet is trained
        found = {m: values.tolist() for m, values in found.items() if int(m) >= begins}
        line = {key: np.full(len(race.MINUTES), 0.6).tolist() for key in ("mean", "low", "high")}
        return line | {"minutes": race.MINUTES.tolist(), "marks": found, "trials": 0}

    asked = {"steps": 1, "asked": 1}
    entered = {way: [asked] * 10 for way in ("single_path", "enas")} | {"score": rows}
    return {
        "score": rows, "single_path": shared, "family": [{"children": children}] * 4,
        "race": {"curves": {way: curve(way) for way in [*race.entrants(
            entered | {"single_path": [row | asked for row in shared]},
            made_up_table(convolutions)), "optuna_tpe"]}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def shown():
    """What each cell ends on, and what all cells print."""
    generator = np.random.default_rng(0)
    others = [("twin", controls.twins()), ("pools", classes()[::20]), ("long", classes()[::9])]
    more = [
        {"recipe": kind, "cell": name(cell.normal), "run": 3, "valid": 0.1 * generator.random(),
         "test": 0.5, "train": 0.5, "epochs": "0.5"} for kind, cells in others for cell in cells
    ]  # fmt: skip
    by_hand = {"recipe": "hand", "cell": "hand", "test": 0, "train": 0, "epochs": "0.5"}
    more += [by_hand | {"run": k, "valid": 0.5 + 0.01 * k} for k in range(3)]
    place = {cell: k / 20_000 for k, cell in enumerate(classes())}  # what synflow knows besides
    table = made_up_table(
        lambda cell: 0.5 + 0.02 * convolutions(cell) + place[cell],
        noise=0.005, more=more, price=lambda cell: 61.7,
    )  # fmt: skip
    table.prices = {row["cell"]: row for row in read_rows(PRICES)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabular, "load", lambda: table)
        measured = made_up_race(generator)
        patch.setattr(race, "recorded", lambda: measured)
        return run_all(CODE)


@pytest.mark.full
def test_what_the_reader_writes_is_dartslibs(shown):
    _, said = shown
    assert re.findall(r"the same as dartslib's: (\w+)", said) == ["True", "True"]


@pytest.mark.full
def test_it_says_what_was_made(shown):
    values, said = shown
    table = said.split("points ahead of counting")[1].split("\n\n")[0]
    assert table.splitlines()[0].split() == ["5", "min", "20", "min", "60", "min", "120", "min",
                                             "180", "min", "trials"]  # fmt: skip
    rows = {line[:24].strip(): line[24:] for line in table.splitlines()[1:] if line.strip()}
    assert "counting" not in rows and rows["single path"].count("*") == 3
    assert sum(line.count("*") for line in rows.values()) <= 5  # by luck one or two
    assert rows["enas"].count("-  ") == 4 and all(line.endswith(" 0") for line in rows.values())
    (apart,) = re.findall(r"synflow +τ less counting's: \+(\S+)", said)
    assert float(apart) > 0.1  # counting has ties, and made-up truth breaks them by chance alone
    assert "equal cells:" in said and "by hand, rate 0.15, better than" in said
    assert "all classes" in values["shared"].description

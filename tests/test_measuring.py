"""Shared supernets, children and scores, each job in small."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_up import noise_images

from dartslib.rivals import measuring, recording
from dartslib.rivals.controller import best_drawn, enas
from dartslib.tabular import making
from dartslib.tabular.cells import classes, name

NAMES = {name(cell.normal) for cell in classes()}


@pytest.fixture
def small(monkeypatch):
    """The jobs with tiny networks, on images of noise."""
    recipe = making.RECIPE.changed(epochs=2, batch_size=16, channels=2, layers=2)
    shared = measuring.SHARED.changed(batch_size=16, channels=2, layers=2)
    for key, value in {
        "RECIPE": recipe, "SHARED": shared, "INITS": 2, "BATCH": 16, "KERNEL": 8, "POINTS": 20,
        "CHILDREN": 2, "CHILD_EPOCHS": (1, 2), "classes": lambda: classes()[100:106],
        "ASKED": 32, "STEPS": 8, "CONTROLLER_STEPS": 2, "ENAS_CHILDREN": 2, "DRAWN": 5,
        "enas": partial(enas, children=2), "best_drawn": partial(best_drawn, count=5),
    }.items():  # fmt: skip
        monkeypatch.setattr(measuring, key, value)
    return noise_images(192)


def test_every_kind_of_job_is_made(small):
    kinds = {}
    for job in ("score-3", "family-1", "single_path-2", "enas-0"):
        row = measuring.make(job, small)
        kinds[job] = row
        assert job in recording.plan()
    scores = kinds["score-3"]
    assert scores["cell"] == name(classes()[103].normal)
    assert set(scores["scores"]) == set(scores["score_seconds"]) and len(scores["scores"]) == 5
    assert np.isfinite(list(scores["scores"].values())).all() and scores["step_seconds"] > 0
    assert all(len(values) == 2 for values in scores["scores"].values())
    family = kinds["family-1"]
    children = family["children"]
    assert len(children) == 2 and {child["cell"] for child in children} <= NAMES
    assert all(0 < child["inherited"] <= 1 for child in children)
    known = ("valid", "alone", "alone_longer")
    assert all(0 <= child[key] <= 1 for child in children for key in known)
    assert family["parent"] not in {child["cell"] for child in children} and family["seconds"] > 0
    shared = kinds["single_path-2"]
    assert set(shared["values"]) == {name(cell.normal) for cell in classes()[100:106]}
    assert (shared["steps"], shared["asked"]) == (8, 4 * 16 + 32)
    enas_row = kinds["enas-0"]
    assert enas_row["cell"] in NAMES and len(enas_row["rewards"]) == 2  # 4 steps are an epoch
    assert enas_row["asked"] == 16 * (2 * 2 * 2 + 5)


def test_a_seed_decides(small):
    one, again, other = (measuring.shared(seed, small)["values"] for seed in (0, 0, 1))
    assert one == again and one != other


def marks(images):
    return {tuple(map(int, image.flatten()[:40])) for image in images}


def test_a_shared_network_is_asked_on_images_that_it_does_not_learn(small):
    search = measuring.shared_network(0, small)
    learned, asked = marks(search.train.subset.images), marks(search.valid.subset.images)
    assert len(learned) == 64 and len(asked) == 32 and not learned & asked
    assert not (learned | asked) & marks(small.x_train[96:])  # those that judge
    images, _ = search.valid.at(0)
    again, _ = search.valid.at(len(search.valid))
    assert torch.equal(images, again)  # not augmented


def test_a_controller_travels_as_far_as_in_its_paper(monkeypatch):
    """4,500 steps at 0.0035, by Adam as theirs; 15 steps after each epoch of w, of which 44 fit."""
    told, built = {}, []

    class Loop(SimpleNamespace):
        step = steps = measuring.STEPS
        train = range(140)

    monkeypatch.setattr(measuring, "shared_network", lambda seed, images: Loop(valid=[]))
    monkeypatch.setattr(measuring, "enas", lambda search, **options: told.update(options) or [0.1])
    monkeypatch.setattr(measuring, "best_drawn", lambda *given, **options: classes()[0])
    measuring.controlled(0, None)
    assert measuring.STEPS == 5 * 8 * 156 and told["steps"] == 15
    assert told["rate"] * 15 * 44 == pytest.approx(0.0035 * 4500)
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **o: built.append(o) or adam(*a, **o))
    search = SimpleNamespace(architecture=SimpleNamespace(alpha=[torch.zeros(1)]), step=1, steps=1,
                             train=[1])  # fmt: skip
    assert list(enas(search)) == []
    assert built == [{"betas": (0.0, 0.999), "eps": 1e-3}]


def test_children_are_of_different_classes(monkeypatch):
    """Two neighbors that are the same network were trained alike, and counted as two."""
    told = []

    def trained(cell, config, images, parent=None):
        told.append((name(cell.normal), config.epochs, config.seed, parent is not None))
        return "a training", 0.5, 0.5

    monkeypatch.setattr(measuring, "_trained", trained)
    for number in range(4):
        told.clear()
        row = measuring.family(number, None)
        cells = [child["cell"] for child in row["children"]]
        assert len(set(cells)) == 5 and row["parent"] not in cells
        assert told[0] == (row["parent"], 8, number, False) and len(told) == 1 + 3 * 5
        for k, cell in enumerate(cells):  # helped, alone for as long, alone for twice as long
            called, epochs, seeds, helped = zip(*told[1 + 3 * k : 4 + 3 * k], strict=True)
            assert {*called} == {cell} and len({*seeds}) == 1
            assert (epochs, helped) == ((2, 2, 4), (True, False, False))


def test_a_search_of_the_table_never_sees_what_judges(small):
    search = measuring.new_search(measuring.SHARED, small)
    used = marks(search.train.subset.images) | marks(search.valid.subset.images)
    assert len(used) == 96 and not used & marks(small.x_train[96:])

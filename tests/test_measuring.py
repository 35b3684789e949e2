"""Shared supernets, children and scores, each job in small."""

from functools import partial

import numpy as np
import pytest
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
    shared = measuring.SHARED.changed(epochs=1, batch_size=16, channels=2, layers=2)
    for key, value in {
        "RECIPE": recipe, "SHARED": shared, "INITS": 2, "BATCH": 16, "KERNEL": 8, "POINTS": 20,
        "CHILDREN": 2, "CHILD_EPOCHS": 1, "classes": lambda: classes()[100:106],
        "enas": partial(enas, steps=2, children=2), "best_drawn": partial(best_drawn, count=5),
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
    assert np.isfinite(list(scores["scores"].values())).all()
    assert all(len(values) == 2 for values in scores["scores"].values())
    family = kinds["family-1"]
    children = family["children"]
    assert len(children) == 2 and {child["cell"] for child in children} <= NAMES
    assert all(0 < child["inherited"] <= 1 for child in children)
    assert all(0 <= child[key] <= 1 for child in children for key in ("valid", "alone"))
    shared = kinds["single_path-2"]
    assert set(shared["values"]) == {name(cell.normal) for cell in classes()[100:106]}
    assert shared["train_seconds"] > 0 and shared["ask_seconds"] > 0
    assert kinds["enas-0"]["cell"] in NAMES and len(kinds["enas-0"]["rewards"]) == 1


def test_a_seed_decides(small):
    one, again, other = (measuring.shared(seed, small)["values"] for seed in (0, 0, 1))
    assert one == again and one != other


def test_a_search_of_the_table_never_sees_what_judges(small):
    search = measuring.new_search(measuring.SHARED, small)
    used = {tuple(map(int, image.flatten()[:40])) for half in (search.train, search.valid)
            for image in half.subset.images}  # fmt: skip
    judging = {tuple(map(int, image.flatten()[:40])) for image in small.x_train[96:]}
    assert len(used) == 96 and not used & judging

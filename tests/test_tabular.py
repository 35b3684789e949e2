"""The small space that is to be trained whole: its cells, and one training of one."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from dartslib.data import DataSet
from dartslib.genotypes import derive
from dartslib.networks import FinalNetwork
from dartslib.space import CELL_TYPES
from dartslib.tabular import making
from dartslib.tabular.cells import OPERATIONS, SPACE, cells, classes, name, representative


def test_cells_and_classes():
    assert len(cells()) == len(set(cells())) == 3**2 * 3 * 3**2 == 243
    assert len(classes()) == 207 and set(classes()) <= set(cells())
    names = {name(cell.normal) for cell in classes()}
    assert len(names) == 207 == len({representative(cell.normal) for cell in cells()})
    for cell in cells():
        assert representative(representative(cell.normal)) == representative(cell.normal)
        assert name(cell.normal) in names
    # Two different nodes that both read the inputs can change places.
    other = [cell for cell in cells() if cell not in classes()]
    assert len(other) == 36 == len(list(combinations(range(9), 2)))
    assert all({s for _, s in cell.normal[1]} == {0, 1} for cell in other)


def test_whatever_a_search_finds_is_a_cell_of_the_space():
    generator = np.random.default_rng(0)
    known = {representative(cell.normal) for cell in classes()}
    for _ in range(50):
        tables = dict.fromkeys(CELL_TYPES, generator.random((5, 4)))
        assert representative(derive(tables, SPACE).normal) in known
    assert set(SPACE.operations) - {"none"} == set(OPERATIONS)


def test_equal_cells_are_the_same_network():
    """Up to the order of its channels, and of the weights that read them."""
    cell = next(c for c in classes() if name(c.normal) == "max0 sep1 | sep0 skip1")
    for order in permutations((0, 1)):
        nodes = tuple(cell.normal[k] for k in order)
        assert name(nodes) == name(cell.normal)
    first, second = cell.normal
    torch.manual_seed(0)
    options = {"channels": 2, "layers": 1, "reductions": (), "image_size": 8}
    one = FinalNetwork(cell, **options)
    other = FinalNetwork(type(cell)((second, first), (second, first)), **options)
    state = one.state_dict()
    for key in list(state):
        if ".nodes." in key:
            node = int(key.split(".nodes.")[1][0])
            state[key.replace(f".nodes.{node}", f".nodes.{1 - node}")] = one.state_dict()[key]
    state = {key: state[key] for key in other.state_dict()}
    state["head.2.weight"] = state["head.2.weight"].roll(2, dims=1)  # two nodes of two channels
    other.load_state_dict(state)
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(one(images), other(images))


def test_each_training_has_a_seed_of_its_own():
    seeds = {making.seed_of(cell, run) for cell in classes() for run in range(3)}
    assert len(seeds) == 3 * 207


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8) for count in (96, 24)]
    labels = [generator.integers(0, 3, len(array)) for array in arrays]
    return DataSet.from_arrays("noise", arrays[0], labels[0], arrays[1], labels[1], list("abc"))


def test_a_training_is_measured_and_can_be_made_again(images):
    recipe = making.RECIPE.changed(epochs=2, batch_size=16, channels=2, layers=2)
    row, again, other = (making.train(classes()[100], run, recipe, images) for run in (0, 0, 1))
    assert row["cell"] == name(classes()[100].normal) and row["run"] == 0
    assert len(row["epochs"]) == 2
    assert all(0 <= row[key] <= 1 for key in ("valid", "test", "train"))
    assert 0 < row["train_seconds"] < row["seconds"]
    seconds = {"train_seconds", "seconds"}
    assert {k: v for k, v in row.items() if k not in seconds} == {
        k: v for k, v in again.items() if k not in seconds
    }
    assert row["seed"] != other["seed"] == making.seed_of(classes()[100], 1)


def test_small_images_are_means_of_four_pixels(monkeypatch):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    large = DataSet.from_arrays("cifar10", x, np.arange(8) % 2, x[:4], np.arange(4) % 2, ["a", "b"])
    monkeypatch.setattr(making, "load", lambda name, folder: large)
    monkeypatch.setattr(making, "IMAGES", 6)
    small = making.small_images()
    assert small.x_train.shape == (6, 3, 16, 16) and small.x_test.shape == (4, 3, 16, 16)
    four = large.x_train[5, 1, 10:12, 4:6].double().mean()
    assert abs(float(small.x_train[5, 1, 5, 2]) - float(four)) <= 0.5
    assert torch.equal(small.y_train, large.y_train[:6])

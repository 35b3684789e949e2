"""Data sets, their subsets, and batches: nothing here needs a network or the real CIFAR."""

import errno
import io
import os
import re
import time
import urllib.error

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dartslib.data import Batches, DataSet, Subset, load, sets, split
from dartslib.data.checking import hash_order

PLAIN = {"crop": 0, "flip": False, "shuffle": False, "drop_last": False}


def _arrays(train=40, test=12, size=8, channels=3, classes=4, seed=0):
    draw = np.random.default_rng(seed)
    shape = (size, size, channels) if channels else (size, size)
    return {
        "x_train": draw.integers(0, 256, (train, *shape), dtype=np.uint8),
        "y_train": np.arange(train) % classes,
        "x_test": draw.integers(0, 256, (test, *shape), dtype=np.uint8),
        "y_test": np.arange(test) % classes,
        "class_names": np.array([f"class {c}" for c in range(classes)]),
    }


def _subset(count=40, size=8, channels=1, name="some"):
    """Image i is filled with the byte i, its label is i."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Subset(images.expand(count, channels, size, size), torch.arange(count), name)


def _batches(subset, batch_size=8, **options):
    channels = subset.images.shape[1]
    return Batches(
        subset, batch_size, **{"mean": [0.0] * channels, "std": [1 / 255] * channels}, **options
    )


def _rows(images):
    return [row.numpy().tobytes() for row in images]


def _epoch(batches, number=0):
    return [batches.at(number * len(batches) + k) for k in range(len(batches))]


# --- where a data set comes from ---------------------------------------------------------------


def test_alternating_mirrors_each_image_in_every_second_epoch():
    images = torch.randint(0, 256, (64, 1, 4, 4), dtype=torch.uint8)
    options = {"mean": [0.0], "std": [1.0], "crop": 0, "flip": "alternate", "seed": 3}
    batches = Batches(Subset(images, torch.arange(64)), 16, **options)
    mirrored = torch.zeros(4, 64, dtype=torch.bool)
    for epoch in range(4):
        for found, labels in _epoch(batches, epoch):
            plain = images[labels].float() / 255
            for image, mine, label in zip(found, plain, labels, strict=True):
                mirrored[epoch, label] = not torch.allclose(image, mine)
                assert torch.allclose(image.flip(2) if mirrored[epoch, label] else image, mine)
    assert torch.equal(mirrored[0], ~mirrored[1]) and torch.equal(mirrored[::2][0], mirrored[2])
    assert 16 < int(mirrored[0].sum()) < 48 and torch.equal(mirrored[1], mirrored[3])


def test_npz_comes_back(tmp_path):
    arrays = _arrays()
    np.savez(tmp_path / "mine.npz", **arrays)
    dataset = load("mine", tmp_path)
    assert (dataset.name, dataset.num_classes, dataset.in_channels, dataset.image_size) == (
        "mine",
        4,
        3,
        8,
    )
    assert dataset.class_names == ("class 0", "class 1", "class 2", "class 3")
    for which in ("train", "test"):
        images, labels = getattr(dataset, f"x_{which}"), getattr(dataset, f"y_{which}")
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        given = {
            image.transpose(2, 0, 1).tobytes(): label
            for image, label in zip(arrays[f"x_{which}"], arrays[f"y_{which}"], strict=True)
        }
        assert dict(zip(_rows(images), labels.tolist(), strict=True)) == given


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_every_source_gives_the_same_split(seed, count):
    arrays = _arrays(train=count, test=count)
    # equal images with different labels, and some that are equal altogether
    arrays["x_train"][: count // 2] = arrays["x_train"][0]
    shuffled = dict(arrays)
    for which in ("train", "test"):
        order = np.random.default_rng(seed).permutation(count)
        for letter in "xy":
            shuffled[f"{letter}_{which}"] = arrays[f"{letter}_{which}"][order]
    one, other = (DataSet.from_arrays("mine", **source) for source in (arrays, shuffled))
    for key in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(one, key), getattr(other, key))


def test_hash_order_is_the_same_forever():
    images = np.arange(8 * 3 * 64, dtype=np.uint8).reshape(8, 3, 8, 8)
    images[:, 0, 0, 0] = np.arange(8)
    assert hash_order(images, np.zeros(8, dtype=np.int64)).tolist() == [7, 0, 5, 3, 4, 2, 1, 6]


def test_grey_images_need_no_channel_axis(tmp_path):
    flat = _arrays(channels=0)
    deep = {key: array[..., None] if key[0] == "x" else array for key, array in flat.items()}
    one, other = (DataSet.from_arrays("mine", **source) for source in (flat, deep))
    assert one.in_channels == 1
    assert torch.equal(one.x_train, other.x_train)


WRONG = {
    "missing": ({"y_test": None}, "has no y_test: save all of"),
    "float images": ({"x_train": np.zeros((40, 8, 8, 3))}, "x_train is float64: give uint8"),
    "channels first": (
        {"x_train": np.zeros((40, 3, 8, 8), np.uint8)},
        "x_train has the shape (40, 3, 8, 8): give square images",
    ),
    "not square": (
        {"x_test": np.zeros((12, 8, 9, 3), np.uint8)},
        "x_test has the shape (12, 8, 9, 3)",
    ),
    "flat images": ({"x_train": np.zeros((40, 192), np.uint8)}, "x_train has the shape (40, 192)"),
    "too small": (
        {"x_train": np.zeros((40, 7, 7, 3), np.uint8)},
        "7 pixels per side: bring them to 8",
    ),
    "too large": (
        {"x_train": np.zeros((40, 65, 65, 3), np.uint8)},
        "65 pixels per side: bring them to",
    ),
    "no images": ({"x_test": np.zeros((0, 8, 8, 3), np.uint8)}, "x_test is empty"),
    "other size": (
        {"x_test": np.zeros((12, 9, 9, 1), np.uint8)},
        "x_train has images of (3, 8, 8), x_test of (1, 9, 9) (channels, height, width):",
    ),
    "float labels": ({"y_train": np.zeros(40)}, "y_train is float64: give whole numbers"),
    "too few labels": ({"y_train": np.zeros(39, int)}, "y_train has the shape (39,): give (40,)"),
    "label too large": (
        {"y_test": np.full(12, 4)},
        "y_test has labels from 4 to 4 for 4 class_names",
    ),
    "label below 0": ({"y_train": np.arange(40) % 4 - 1}, "y_train has labels from -1 to 2"),
    "one name": ({"class_names": np.array("cat")}, "class_names is <U3 of the shape ()"),
    "names are numbers": ({"class_names": np.arange(4)}, "class_names is int64 of the shape (4,)"),
    "objects": ({"class_names": np.array(["a", 1], dtype=object)}, "holds Python objects"),
}


@pytest.mark.parametrize(("change", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_gets_a_sentence(tmp_path, change, sentence):
    arrays = {key: array for key, array in (_arrays() | change).items() if array is not None}
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        load("mine", tmp_path)
    assert str(tmp_path / "mine.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def _npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def _torn(cut):
    file = io.BytesIO()
    np.savez_compressed(file, **_arrays())
    data = bytearray(file.getvalue())
    if cut:
        return bytes(data[: len(data) // 2])
    data[200:400] = bytes(200)  # inside the first array
    return bytes(data)


@pytest.mark.parametrize("content", [b"", b"hello", _npy(), _torn(True), _torn(False)])
def test_a_broken_file_gets_a_sentence(tmp_path, content):
    (tmp_path / "cifar10.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is not a whole npz archive: write it"):
        load("cifar10", tmp_path)


class _Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_a_file_with_objects_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([_Harmful()], dtype=object)
    np.savez(tmp_path / "mine.npz", **_arrays() | {"class_names": objects})
    with pytest.raises(ValueError, match="Python objects"):
        load("mine", tmp_path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["cifar11", "a/b", "../data/cifar10", ""])
def test_an_unknown_name_gets_a_sentence(tmp_path, name):
    with pytest.raises(
        ValueError,
        match="There is no data set 'cifar11': choose shapes10|no file and no folder|is no name of",
    ):
        load(name, tmp_path)


def _source(data, targets, calls, missing=True):
    """Stands in for a data set of torchvision."""

    class Source:
        classes = ["0 - zero", "1 - one"]

        def __init__(self, root, train, download):
            calls.append((root, train, download))
            if not download and missing:
                raise RuntimeError("Dataset not found or corrupted")
            self.data, self.targets = data, targets

    return Source


def test_download(tmp_path, monkeypatch):
    from torchvision import datasets

    calls = []
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    tensors = torch.from_numpy(images), torch.tensor([0, 1] * 3)
    monkeypatch.setattr(datasets, "MNIST", _source(*tensors, calls))
    color = np.stack([images[:, :8, :8]] * 3, axis=-1)
    monkeypatch.setattr(datasets, "CIFAR10", _source(color, [0, 1] * 3, calls))

    digits = load("mnist", tmp_path)
    assert calls[1:] == [(str(tmp_path), True, True), (str(tmp_path), False, True)]
    assert digits.x_train.shape == (6, 1, 28, 28) and digits.class_names[1] == "1 - one"
    assert load("cifar10", tmp_path).x_test.shape == (6, 3, 8, 8)


def _color(count=6):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_what_is_there_is_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    """Data that several users share: no lock, no folder made, no download."""
    from torchvision import datasets

    def refuses(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", ".cifar10.lock")

    calls = []
    monkeypatch.setattr(sets.FileLock, "acquire", refuses)
    monkeypatch.setattr(sets.Path, "mkdir", refuses)
    monkeypatch.setattr(datasets, "CIFAR10", _source(_color(), [0, 1] * 3, calls, missing=False))
    assert len(load("cifar10", tmp_path).y_train) == 6
    assert [download for *_, download in calls] == [False, False]
    assert not list(tmp_path.iterdir())
    # What is not there cannot be had in such a place, and a sentence says so.
    monkeypatch.setattr(datasets, "CIFAR10", _source(_color(), [0, 1] * 3, calls))
    with pytest.raises(FileNotFoundError, match="cifar10 could not be downloaded .*Permission"):
        load("cifar10", tmp_path)


def test_digits_that_are_not_whole_get_a_sentence(tmp_path, monkeypatch):
    """torchvision knows no checksums of these, and reads what another process has half unpacked."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]))
    with pytest.raises(FileNotFoundError, match="mnist could not be downloaded .*put mnist.npz"):
        load("mnist", tmp_path)


def test_a_data_set_is_found_wherever_the_kernel_stands(tmp_path, monkeypatch):
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    for folder in (checkout / "data", checkout / "notebooks", elsewhere):
        folder.mkdir(parents=True)
    np.savez(checkout / "data" / "noise.npz", **_arrays())
    monkeypatch.setattr(sets, "CHECKOUT", checkout)
    for place in (checkout / "notebooks", elsewhere):
        monkeypatch.chdir(place)
        with pytest.raises(ValueError, match="no data set 'noise'"):
            load("noise")  # an installed dartslib has no data beside it
    (checkout / "pyproject.toml").touch()
    for place in (checkout, checkout / "notebooks", elsewhere):
        monkeypatch.chdir(place)
        assert len(load("noise").y_train) == 40
    with pytest.raises(ValueError, match="no data set 'noise'"):
        load("noise", "nowhere")
    (elsewhere / "data").mkdir()  # one's own folder goes before
    with pytest.raises(ValueError, match="write data/noise.npz"):
        load("noise")


def test_a_file_goes_before_a_download(tmp_path, monkeypatch):
    from torchvision import datasets

    monkeypatch.delattr(datasets, "CIFAR10")
    np.savez(tmp_path / "cifar10.npz", **_arrays())
    assert len(load("cifar10", tmp_path).y_train) == 40


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        TimeoutError(),
        RuntimeError("File not found or corrupted."),
    ],
)
def test_without_network_and_file_there_is_a_sentence(tmp_path, monkeypatch, error):
    from torchvision import datasets

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    with pytest.raises(
        FileNotFoundError, match="^cifar10 could not be downloaded .* run with shapes10"
    ) as caught:
        load("cifar10", tmp_path)
    assert str(tmp_path / "cifar10.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


# --- statistics --------------------------------------------------------------------------------


def test_statistics_are_measured_exactly():
    dataset = DataSet.from_arrays("mine", **_arrays())
    pixels = dataset.x_train.double() / 255
    mean, std = dataset.statistics()
    torch.testing.assert_close(
        torch.tensor(mean).double(), pixels.mean((0, 2, 3)), rtol=0, atol=1e-7
    )
    spread = pixels.transpose(0, 1).flatten(1).std(1, correction=0)
    torch.testing.assert_close(torch.tensor(std).double(), spread, rtol=0, atol=1e-7)


def test_statistics_are_quoted_for_cifar_and_safe_without_contrast():
    cifar = DataSet.from_arrays("cifar10", **_arrays())
    assert cifar.statistics() == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    cifar = DataSet.from_arrays("cifar100", **_arrays())
    assert cifar.statistics() == ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    black = _arrays()
    black["x_train"][..., 1] = 7
    mean, std = DataSet.from_arrays("mine", **black).statistics()
    assert (mean[1], std[1]) == (7 / 255, 1.0)


def test_batches_of_a_data_set_are_normalized():
    dataset = DataSet.from_arrays("mine", **_arrays(train=64))
    everything = split(dataset).final_train
    images, labels = dataset.evaluation_batches(everything).at(0)
    assert torch.equal(labels, dataset.y_train)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)


def test_digits_are_not_mirrored():
    for name, flip in (("mnist", False), ("mine", True)):
        dataset = DataSet.from_arrays(name, **_arrays())
        assert dataset.batches(split(dataset).final_train, 4).flip is flip


# --- subsets -------------------------------------------------------------------------------------


def _numbered(count, test=5):
    """Image i of the training images holds the number i."""
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count) % 256
    images[:, 0, 0, 1] = torch.arange(count) // 256
    labels = torch.zeros(count, dtype=torch.int64)
    return DataSet("numbers", images, labels, images[:test] + 100, labels[:test], ("a", "b"))


def _numbers(subset):
    return set((subset.images[:, 0, 0, 0].int() + 256 * subset.images[:, 0, 0, 1].int()).tolist())


@given(st.integers(30, 700), st.sampled_from([0.0, 0.1, 0.25, 0.5]), st.data())
def test_subsets_do_not_overlap(count, held_out, data):
    largest = (count - round(count * held_out)) // 2
    half = data.draw(st.none() | st.integers(1, largest))
    p = split(_numbered(count), half, held_out)
    train, valid = _numbers(p.search_train), _numbers(p.search_valid)
    compare_train, compare_valid = _numbers(p.compare_train), _numbers(p.compare_valid)
    assert len(train) == len(valid) == (half or largest)
    assert not train & valid
    assert not compare_train & compare_valid
    assert _numbers(p.final_train) == set(range(count))
    if held_out:  # what cells are compared on took part in no search
        assert train | valid <= compare_train
        assert compare_train | compare_valid == set(range(count))
        assert len(compare_valid) == round(count * held_out)
    else:  # the published split
        assert train <= compare_train and valid <= compare_valid
        assert len(compare_train) == len(compare_valid) == count // 2
    if half:  # a smaller half is the beginning of a larger one
        assert torch.equal(
            p.search_valid.images,
            split(_numbered(count), None, held_out).search_valid.images[:half],
        )


def test_test_images_are_only_in_test():
    dataset = DataSet.from_arrays("mine", **_arrays())
    p = split(dataset)
    assert torch.equal(p.test.images, dataset.x_test) and torch.equal(p.test.labels, dataset.y_test)
    assert not set(_rows(p.test.images)) & set(_rows(p.final_train.images))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"half": 46},
            "half=46 is not possible: 90 training images of numbers are not held out",
        ),
        ({"half": 51, "held_out": 0}, "choose 1 to 50"),
        ({"half": 0}, "half=0 is not possible"),
        ({"half": 2.5}, "half=2.5 is not possible"),
        ({"held_out": 0.99}, "held_out=0.99 of 100 training images holds out 99 and leaves 1"),
        ({"held_out": 1.0}, "held_out must be a fraction from 0 to below 1, not 1.0"),
        ({"held_out": -0.1}, "held_out must be a fraction from 0 to below 1, not -0.1"),
        ({"held_out": 1e-3}, "holds out 0 and leaves 100: choose a fraction"),
    ],
)
def test_subsets_that_cannot_be_had(options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        split(_numbered(100), **options)


# --- batches: the order of the images ----------------------------------------------------------


@given(st.integers(1, 100), st.integers(1, 100), st.integers(0, 2**40), st.booleans())
def test_an_epoch_shows_every_image_once(count, batch_size, seed, drop_last):
    batch_size = min(batch_size, count)
    batches = _batches(_subset(count), batch_size, seed=seed, drop_last=drop_last)
    for epoch in (0, 3):
        seen = torch.cat([labels for _, labels in _epoch(batches, epoch)]).tolist()
        assert len(seen) == len(set(seen))
        assert len(seen) == (count - count % batch_size if drop_last else count)


def test_two_steps_differ_and_two_epochs_differ():
    batches = _batches(_subset(), 8)
    labels = [batches.at(step)[1].tolist() for step in range(2 * len(batches))]
    assert len({tuple(sorted(batch)) for batch in labels}) == len(labels)  # no fixed batch
    assert labels[: len(batches)] != labels[len(batches) :]


def test_a_batch_depends_on_seed_and_step_alone():
    state = torch.get_rng_state()
    subset, steps = _subset(), [0, 7, 3, 12, 3, 0]
    one, other = (_batches(subset, seed=5, cutout=4) for _ in range(2))
    first = {step: one.at(step) for step in steps}
    for step in sorted(first, reverse=True):
        again = other.at(step)
        assert torch.equal(first[step][0], again[0]) and torch.equal(first[step][1], again[1])
    assert torch.equal(torch.get_rng_state(), state)  # no global generator is touched
    torch.manual_seed(1)  # nor asked
    assert torch.equal(one.at(7)[0], first[7][0])


def test_streams_are_not_identical():
    """Not for two seeds, two subsets with one seed, or two steps."""
    images = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 3, 2] = 255  # where it lies tells crop and flip
    labels = torch.arange(8)
    one = _batches(Subset(images, labels, "search_train"), shuffle=False)
    valid = _batches(Subset(images, labels, "search_valid"), shuffle=False)
    seed = _batches(Subset(images, labels, "search_train"), shuffle=False, seed=1)
    seen = [one.at(0), one.at(1), valid.at(0), seed.at(0)]
    assert len({batch[0].numpy().tobytes() for batch in seen}) == len(seen)
    orders = [
        _batches(_subset(name=name), seed=seed).indices(0) for name in "ab" for seed in (0, 1)
    ]
    assert len({tuple(order.tolist()) for order in orders}) == len(orders)


@pytest.mark.parametrize("options", [{"crop": 0}, {"crop": 0, "flip": False}])
def test_labels_stay_with_their_images(options):
    for images, labels in _epoch(_batches(_subset(), 8, **options), 1):  # image i is filled with i
        assert images[:, 0, 0, 0].round().long().tolist() == labels.tolist()
        assert labels.tolist() != sorted(labels.tolist())


def test_a_pass_over_batches_is_the_first_epoch():
    batches = _batches(_subset(5), 2, **PLAIN | {"shuffle": True})
    found = [labels.tolist() for _, labels in batches]  # as torch's update_bn goes through them
    assert found == [batches.at(step)[1].tolist() for step in range(3)]
    assert sorted(sum(found, [])) == [0, 1, 2, 3, 4]


def test_unshuffled_batches_are_in_order():
    batches = _batches(_subset(10), 4, **PLAIN)
    assert [labels.tolist() for _, labels in _epoch(batches)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    assert batches.at(4)[1].tolist() == [4, 5, 6, 7]
    images = torch.cat([images for images, _ in _epoch(batches)])
    torch.testing.assert_close(images, batches.subset.images.float())


# --- batches: what happens to an image ---------------------------------------------------------


def _augmented(channels=3, size=8, crop=2, count=3000, **options):
    """One image in many random versions, and that image."""
    image = np.random.default_rng(0).integers(1, 256, (channels, size, size), dtype=np.uint8)
    images = torch.from_numpy(image).expand(count, -1, -1, -1)
    subset = Subset(images, torch.zeros(count, dtype=torch.int64))
    return _batches(subset, count, crop=crop, **options).at(0)[0].round().byte().numpy(), image


def test_crop_and_flip_are_those_of_a_loop():
    """Every version is a window of the padded image, perhaps mirrored, and all of them occur."""
    seen, image = _augmented()
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
    possible = {}
    for row in range(5):
        for column in range(5):
            window = padded[:, row : row + 8, column : column + 8]
            possible[window.tobytes()] = (row, column, False)
            possible[window[:, :, ::-1].tobytes()] = (row, column, True)
    counts = dict.fromkeys(possible.values(), 0)
    for version in seen:
        counts[possible[version.tobytes()]] += 1
    assert len(counts) == 50
    assert 30 <= min(counts.values()) and max(counts.values()) <= 95  # 60 on average


def test_crop_alone_and_flip_alone():
    seen, image = _augmented(flip=False, count=200)
    assert len({version.tobytes() for version in seen}) == 25
    seen, image = _augmented(crop=0, count=200)
    assert {version.tobytes() for version in seen} == {image.tobytes(), image[:, :, ::-1].tobytes()}


@pytest.mark.parametrize("cutout", [1, 3, 4, 8])
def test_cutout(cutout):
    """A square of zeros around a center anywhere in the image, the same in all channels."""
    seen, image = _augmented(crop=0, flip=False, cutout=cutout, count=1000)
    centers = set()
    for version in seen:
        zero = version == 0
        assert (zero == zero[:1]).all()
        assert (version[~zero] == image[~zero]).all()
        rows, columns = np.flatnonzero(zero[0].any(1)), np.flatnonzero(zero[0].any(0))
        assert zero[0].sum() == len(rows) * len(columns)
        for side in (rows, columns):
            assert (np.diff(side) == 1).all()
            whole = 0 < side[0] and side[-1] < 7
            assert len(side) == cutout if whole else 0 < len(side) <= cutout
        centers.add((tuple(rows), tuple(columns)))
    assert len(centers) == len({c[0] for c in centers}) * len({c[1] for c in centers}) == 64


def test_cutout_is_the_mean_color_and_the_border_is_black():
    """Cutout zeroes after normalization; padding is black before it."""
    subset = Subset(torch.full((50, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(50).long())
    batches = Batches(subset, 50, mean=(0.4,), std=(0.2,), crop=4, cutout=3)
    values = batches.at(0)[0].unique()
    torch.testing.assert_close(values, torch.tensor([-2.0, 0.0, 3.0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "options", "sentence"),
    [
        (41, {}, "A batch of 41 images is larger than the 40 images of the subset 'some'"),
        (0, {}, "batch_size must be a whole number from 1, not 0"),
        (float("nan"), {}, "batch_size must be a whole number from 1, not nan"),
        (8, {"crop": 9}, "crop=9 does not fit images of 8 x 8 pixels"),
        (8, {"cutout": -1}, "cutout=-1 does not fit"),
    ],
)
def test_batches_that_cannot_be_had(batch_size, options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Batches(_subset(), batch_size, **({"mean": (0.0,), "std": (1.0,)} | options))


def test_the_last_batch_may_be_small():
    images, labels = _batches(_subset(40), 100, drop_last=False).at(0)
    assert len(images) == len(labels) == 40


def test_wrong_parts_and_steps():
    with pytest.raises(ValueError, match="There is no step -1"):
        _batches(_subset()).at(-1)
    with pytest.raises(ValueError, match="must be a uint8 tensor"):
        Subset(torch.zeros(2, 1, 8, 8), torch.zeros(2).long())
    with pytest.raises(ValueError, match="one label for each image"):
        Subset(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(3).long())


def test_a_pass_is_quick():
    """50,000 images of CIFAR's size in at most 5 s on one core; here a fifth of them."""
    subset = Subset(torch.zeros(10_000, 3, 32, 32, dtype=torch.uint8), torch.zeros(10_000).long())
    batches = _batches(subset, 64, cutout=16)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(3):  # other processes may be in the way
            start = time.process_time()
            for step in range(len(batches)):
                batches.at(step)
            if (seconds := time.process_time() - start) <= 1:
                return
    finally:
        torch.set_num_threads(threads)
    pytest.fail(f"a fifth of a pass took {seconds:.1f} s")


@pytest.mark.gpu
def test_the_same_batches_on_a_gpu():
    subset = split(DataSet.from_arrays("mine", **_arrays())).final_train
    for options in ({"cutout": 4}, PLAIN):
        cpu, gpu = (_batches(subset, device=device, **options) for device in ("cpu", "cuda"))
        for step in (0, 3, 11):
            images, labels = gpu.at(step)
            assert images.is_cuda and labels.is_cuda
            assert torch.equal(labels.cpu(), cpu.at(step)[1])
            torch.testing.assert_close(images.cpu(), cpu.at(step)[0], rtol=1e-6, atol=1e-6)


def test_embedded_names_are_never_read_from_a_file(tmp_path, monkeypatch):
    arrays = tuple(_arrays().values())
    monkeypatch.setattr(sets.shapes, "draw", lambda name: arrays)
    (tmp_path / "shapes10.npz").write_bytes(b"")
    assert len(load("shapes10", tmp_path).y_train) == 40


# What names a data set


def test_a_digest_names_what_a_run_is_given():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8), np.arange(30) % 3
    names = ["a", "b", "c"]

    def digest(name="mine", images=images, labels=labels, names=names):
        return DataSet.from_arrays(name, images, labels, images[:9], labels[:9], names).digest()

    known = digest()
    assert re.fullmatch("[0-9a-f]{32}", known) and digest() == known
    assert digest("another") == known  # the name is a setting
    assert digest(names=["a", "c", "b"]) != known
    assert digest(names=["a", "bc", "b"]) != known
    assert digest(labels=(labels + 1) % 3) != known
    assert digest(images=images[:, ::-1]) != known
    assert digest("cifar10") != known  # it is normalized by other numbers

"""The front door: every form of data from a search to a prediction, and what it refuses."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import noise_images
from PIL import Image
from plain import Noise, is_one_sentence
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

import dartslib
from dartslib import DataSet, Genotype, SearchConfig, TrainConfig, api, tabular
from dartslib.__main__ import app
from dartslib.data import folders, load, locate, remarks, split
from dartslib.data.folders import load_folder, open_picture
from dartslib.data.loaders import Loader
from dartslib.genotypes import DARTS_V2
from dartslib.methods.beta_darts import BetaDARTS
from dartslib.operations import OPERATIONS
from dartslib.runs import driving, importing, records
from dartslib.runs.running import cell_name, find_genotype, fitted
from dartslib.runs.study import Study
from dartslib.runs.trained import load_trained
from dartslib.runs.usual_text import read_usual
from dartslib.tabular import pricing
from dartslib.tabular.cells import classes
from dartslib.tabular.making import RECIPE

ROOT = Path(__file__).resolve().parent.parent
# The smoke profile, made as small as can be.
SEARCH = {"nodes": 1, "channels": 2, "batch_size": 8, "half": 16}
TRAIN = {"channels": 2, "layers": 2, "batch_size": 16, "lr": 0.05}
FEW = {"channels": 2, "layers": 2}  # of a training
CELL = Genotype([[("skip_connect", 0), ("sep_conv_3x3", 1)]], [[("max_pool_3x3", 0)]])


def _arrays(count=80, classes=2, channels=3, side=8, seed=0):
    rng = np.random.default_rng(seed)
    shape = (count, side, side, channels) if channels > 1 else (count, side, side)
    return rng.integers(0, 256, shape, dtype=np.uint8), np.arange(count) % classes


def _loaders(count=32, classes=2, size=8, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, channels, size, size, generator=generator)
    data = TensorDataset(images, torch.arange(count) % classes)
    return DataLoader(data, 8, shuffle=True, generator=generator)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty pictures of two classes, 20 x 12 pixels, none of them a square."""
    folder = tmp_path_factory.mktemp("some where") / "flowers"
    rng = np.random.default_rng(0)
    for name in ("rose", "tulip"):
        (folder / name).mkdir(parents=True)
        for k in range(20):
            pixels = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [*importing.IMPORTED]:
        monkeypatch.delitem(importing.IMPORTED, name)
    yield tmp_path
    importing.IMPORTED.clear()


# The README


@pytest.mark.full
def test_the_block_of_the_readme_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    lines = [line for line in code.splitlines() if line]
    assert len(lines) == 7
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = os.times().children_user - began.children_user  # some 25 where that is 1
    steps = re.findall(r"(\d+) steps, about \d+ (?:seconds|minutes); in runs", done.stdout)
    assert len(steps) == 2 and len(done.stdout.splitlines()) == 5
    assert sum(map(int, steps)) < 200
    assert seconds < 60 * max(1, _slowness())


def _slowness():
    """How many times as long as on the machine of the quiet pass a training step takes here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = pricing.price(classes()[0], noise_images(1024), RECIPE)
    finally:
        torch.set_num_threads(threads)
    return found["step_seconds"] / float(tabular.load().prices[found["cell"]]["step_seconds"])


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 1800


# Forms of data


def test_from_arrays_to_a_prediction(here, capsys):
    """All of it, at the smallest size; the folder has what the command line leaves."""
    images, labels = _arrays()
    search = dartslib.search((images, labels), **SEARCH)
    assert (search.dataset.num_classes, search.dataset.image_size) == (2, 8)
    record = search.run("found")
    said = r"2 steps; measuring .*\n2 steps, about \d+ seconds; in found\.\n"
    assert re.fullmatch(said, capsys.readouterr().out)
    assert record.genotype == search.derive() == find_genotype("found")
    assert record.meta["profile"] == "smoke" and record.meta["overridden"] == SEARCH
    training = dartslib.train((images, labels), search.derive(), class_names=["a", "b"], **TRAIN)
    meta = training.run("trained", progress=False).meta
    assert records.load("trained").meta == json.loads(json.dumps(meta))
    # What is judged on is the fifth that was kept, by hash: the test images of the same data set.
    whole = DataSet.from_arrays("again", images, labels, None, None, ["a", "b"])
    assert len(whole.y_test) == 16 and len(whole.y_train) == 64
    assert not {x.tobytes() for x in whole.x_test.numpy()} & {
        x.tobytes() for x in whole.x_train.numpy()
    }
    np.testing.assert_allclose(
        dartslib.predict("trained", images[0])[1], dartslib.predict("trained", images[:1])[1]
    )
    names, probabilities = dartslib.predict("trained", whole.x_test)
    right = probabilities.argmax(1) == whole.y_test.numpy()
    assert names == ("a", "b") and right.mean() == meta["result"]["test_accuracy"]
    shares = [right[whole.y_test.numpy() == k].mean() for k in (0, 1)]
    assert list(meta["class_accuracy"].values()) == pytest.approx(shares)
    assert meta["largest_class"] == max(whole.y_test.bincount()).item() / 16
    # A network in memory says the same, and so do arrays as they came.
    for run, given in ((training, images[:5]), ("trained", images[:5])):
        again = dartslib.predict(run, given)[1]
        np.testing.assert_allclose(again, dartslib.predict("trained", given)[1], atol=1e-6)
        np.testing.assert_allclose(again.sum(1), 1, atol=1e-5)
    loss, accuracy = training.evaluate((images, labels))
    assert 0 <= accuracy <= 1 and loss > 0
    assert accuracy == pytest.approx(
        (dartslib.predict(training, images)[1].argmax(1) == labels).mean()
    )


def test_a_prediction_normalizes_as_the_training_did():
    """By a second calculation: pixels, mean, deviation, network, softmax."""
    images, labels = _arrays(seed=3)
    training = dartslib.train((images, labels), CELL, **TRAIN)
    mean, std = training.dataset.statistics()
    x = images[:6].transpose(0, 3, 1, 2) / 255
    x = (x - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    network = training.network.eval()
    with torch.no_grad():
        scores = network(torch.from_numpy(x).float()).double().numpy()
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(dartslib.predict(training, images[:6])[1], expected, atol=1e-5)


def test_what_run_says_before_it_starts_changes_nothing(here):
    """The steps that are made to measure their time are taken back, to the bit."""
    data = _arrays()
    said, silent = (dartslib.search(data, seed=4, **SEARCH) for _ in "12")
    said.run("said")
    silent.run("silent", progress=False)
    for one, other in zip(
        [*said.w, *said.architecture.alpha], [*silent.w, *silent.architecture.alpha], strict=True
    ):
        assert torch.equal(one, other)
    for name, values in said.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(values, silent.history[name])


def test_a_stopped_run_goes_on_from_python(here, monkeypatch):
    data, whole = _arrays(), dartslib.search(_arrays(), **SEARCH)
    whole.run("whole", progress=False)
    search, advance = dartslib.search(data, **SEARCH), api.Search.advance

    def interrupted(self):
        if self.step == 1:
            raise KeyboardInterrupt
        advance(self)

    with monkeypatch.context() as stopped:
        stopped.setattr(api.Search, "advance", interrupted)
        stopped.setattr("dartslib.runs.driving.EVERY_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            search.run("run", progress=False)
    with pytest.raises(FileExistsError, match="resume=True"):
        dartslib.search(data, **SEARCH).run("run", progress=False)
    again = dartslib.search(data, **SEARCH)
    assert again.run("run", resume=True).genotype == whole.derive()
    assert torch.equal(again.architecture.alpha[0], whole.architecture.alpha[0])
    with pytest.raises(ValueError, match="This run is over"):
        again.run("other")


def test_a_folder_of_pictures(here, pictures):
    """Read as a second calculation reads it, and predicted from its files."""
    data = load_folder(pictures, 8)
    assert data.class_names == ("rose", "tulip") and data.x_train.shape == (32, 3, 8, 8)
    assert len(data.y_test) == 8 and data.name == "flowers"
    rows = {x.numpy().tobytes() for x in [*data.x_train, *data.x_test]}
    for path in list(pictures.glob("*/*.png"))[:4]:
        small = Image.open(path).resize((13, 8), Image.Resampling.BILINEAR)
        middle = np.asarray(small)[:, 2:10].transpose(2, 0, 1)
        assert np.ascontiguousarray(middle).tobytes() in rows
    dartslib.search(pictures, image_size=8, **SEARCH | {"half": 8}).advance()
    training = dartslib.train(pictures, CELL, image_size=8, **TRAIN)
    training.run("trained", progress=False)
    paths = sorted(pictures.glob("rose/*.png"))[:3]
    names, probabilities = dartslib.predict("trained", paths)
    pixels = np.stack([open_picture(path, 8) for path in paths]).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(probabilities, dartslib.predict(training, pixels)[1], atol=1e-6)
    done = CliRunner().invoke(app, ["predict", "trained", *map(str, paths)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[0].startswith(f"{paths[0]}: ")
    best = probabilities[0].argmax()
    assert f": {names[best]} {probabilities[0, best]:.3f}, {names[1 - best]} " in lines[0]


def test_a_folder_with_train_and_test(tmp_path, pictures):
    for part, count in (("train", 6), ("test", 3)):
        for name in ("rose", "tulip"):
            (tmp_path / "mine" / part / name).mkdir(parents=True)
            for k in range(count):
                path = sorted((pictures / name).glob("*.png"))[k + 10 * (part == "test")]
                (tmp_path / "mine" / part / name / path.name).write_bytes(path.read_bytes())
    data = load("mine", tmp_path, 16)  # by name, too
    assert (len(data.y_train), len(data.y_test), data.image_size) == (12, 6, 16)
    assert data.y_test.bincount().tolist() == [3, 3]
    (tmp_path / "mine" / "test" / "tulip").rename(tmp_path / "mine" / "test" / "lily")
    with pytest.raises(ValueError, match="give both the same"):
        load("mine", tmp_path)


def test_pictures_larger_than_the_memory_are_read_from_a_file(pictures, monkeypatch):
    made, file = [], folders._file
    monkeypatch.setattr(folders, "_file", lambda shape: made.append(file(shape)) or made[-1])
    data = load_folder(pictures, 8)
    assert isinstance(made[1], np.memmap) and data.x_train.data_ptr() == made[1].ctypes.data


def test_data_loaders(here):
    search = dartslib.search((_loaders(), _loaders(seed=1)), num_classes=2, nodes=1, channels=2)
    assert next(search.supernet.parameters()).shape[1] == 1  # gray, as the images are
    record = search.run("found", progress=False)
    assert record.meta["dataset"] == "loaders" and record.meta["steps"] == 4
    judge = _loaders(seed=2)
    training = dartslib.train(
        (_loaders(), judge), search.derive(), class_names=["a", "b"], layers=2, channels=2
    )
    meta = training.run("trained", progress=False).meta
    assert 0 <= meta["result"]["test_accuracy"] <= 1 and set(meta["class_accuracy"]) == {"a", "b"}
    x = judge.dataset.tensors[0]
    names, probabilities = dartslib.predict("trained", x)
    with torch.no_grad():
        expected = training.network.eval()(x).softmax(1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert training.evaluate(judge)[1] == pytest.approx(
        (probabilities.argmax(1) == judge.dataset.tensors[1].numpy()).mean()
    )


def test_a_record_says_of_data_loaders_what_was_done(here):
    """Their batches are taken as they come: whatever the profile cuts or mirrors is not done."""
    judge = _loaders(seed=2)
    config = TrainConfig(part="compare", layers=2, channels=2, epochs=1, head="linear", cutout=4)
    training = dartslib.train((_loaders(), judge), CELL, num_classes=2, config=config)
    meta = training.run("trained", progress=False).meta  # with "compare" it ended in a KeyError
    assert 0 <= meta["result"]["test_accuracy"] <= 1
    done = {name: meta["config"][name] for name in ("cutout", "crop", "flip", "batch_size")}
    assert done == {"cutout": 0, "crop": 0, "flip": False, "batch_size": 8}
    assert meta["profile"] == "custom" and training.kept["overridden"] == {}
    named = dartslib.train((_loaders(), judge), CELL, class_names=np.array(["a", "b"]), **FEW)
    assert named.dataset.class_names == ("a", "b")


def test_a_run_is_kept_whatever_its_settings_are(here):
    """Objects and numbers of numpy are settings, too; the record was lost after the last step."""
    settings = {"relaxation": BetaDARTS(), "seed": np.int64(3), "w_lr": np.float32(0.05)}
    record = dartslib.search(_arrays(), **SEARCH | settings).run("found", progress=False)
    assert records.load("found").meta["overridden"]["relaxation"]["name"] == "beta_darts"
    assert record.meta["overridden"]["seed"] == 3
    trained = dartslib.train(_arrays(), Path("found"), **FEW)
    assert trained.genotype == record.genotype and trained.kept["genotype_name"] == "found"
    done = trained.run("trained", progress=False)
    assert done.meta["cell"] == "found"
    with pytest.raises(ValueError, match="This run is over"):
        trained.run("elsewhere", resume=True)  # its record would not know where it was made
    config = trained.config
    assert dartslib.train(_arrays(), CELL, config=config).run(progress=False).meta["profile"] == (
        "custom"
    )


def test_a_class_that_is_only_in_the_test_images():
    images, labels = _arrays()
    with pytest.warns(UserWarning, match="Class '1' .it has 0 of 80 training images"):
        found = dartslib.search((images, labels * 0, 255 - images, labels), **SEARCH)
    assert found.dataset.num_classes == 2


def test_what_a_terminal_cannot_show_does_not_stop_a_run(here, monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", narrow)
    dartslib.search(_arrays(), **SEARCH).run("运行")
    narrow.flush()
    assert b"\\u8fd0\\u884c" in narrow.buffer.getvalue()
    assert Path("运行", "meta.json").exists()


def test_a_notebook_is_shown_a_bar(here, monkeypatch):
    """It is no terminal, for which tqdm would leave the bar out."""
    made = []
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", stream)
    real = driving.tqdm
    monkeypatch.setattr(driving, "tqdm", lambda **o: made.append(o["disable"]) or real(**o))
    monkeypatch.setattr(driving.tqdm, "format_interval", real.format_interval, raising=False)
    dartslib.search(_arrays(), **SEARCH).run("found")
    assert made == [False]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_data_loaders_that_resume_say_so_wherever_they_stopped(here, stop, monkeypatch):
    def begin():
        return dartslib.search((_loaders(), _loaders()), num_classes=2, nodes=1, channels=2)

    search, advance = begin(), api.Search.advance
    monkeypatch.setattr(api, "_forecast", lambda *_: "")

    def stopped(self):
        advance(self)
        if self.step == stop:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(api.Search, "advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        search.run("found")
    monkeypatch.setattr(api.Search, "advance", advance)
    with pytest.warns(UserWarning, match="The DataLoader begins anew"):
        begin().run("found", resume=True)


def test_a_data_loader_is_read_in_order_and_says_when_it_cannot_be():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 8)
    source = DataLoader(TensorDataset(images, torch.zeros(6, dtype=torch.int64)), 2)
    loader = Loader(source, ("a", "b"))
    seen = [float(loader.at(step)[0][0, 0, 0, 0]) for step in (0, 1, 0, 1, 2, 3, 4)]
    assert seen == [0, 2, 0, 2, 4, 0, 2]
    with pytest.warns(UserWarning, match="begins anew") as said:
        loader.at(7)
    assert is_one_sentence(str(said[0].message))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [float(loader.at(step)[0][0, 0, 0, 0]) for step in (0, 1)] == [0, 2]


# Settings


@pytest.mark.parametrize("flip", [None, True, False])
def test_flip_and_crop_are_settings(flip):
    changed = {} if flip is None else {"flip": flip, "crop": 1}
    search = dartslib.search(_arrays(), **SEARCH, **changed)
    training = dartslib.train(_arrays(), CELL, **TRAIN, **changed)
    for batches in (search.train, search.valid, training.batches):
        assert (batches.flip, batches.crop) == ((True, 4) if flip is None else (flip, 1))
    assert search.config.flip is flip


def test_half_is_the_profiles_or_what_there_is():
    data = _arrays(100)
    assert dartslib.search(data, batch_size=8, nodes=1).config.half == 36  # (80 - 8) / 2
    assert dartslib.search(data, batch_size=8, nodes=1, half=20).config.half == 20
    with pytest.raises(ValueError, match="half=50 is not possible.*choose 1 to 36"):
        dartslib.search(data, batch_size=8, half=50)
    dataset = DataSet.from_arrays("mine", *data, None, None, ["a", "b"])
    assert fitted(SearchConfig(half=None), dataset).half is None


def _training(data=None, **options):
    return dartslib.train(_arrays() if data is None else data, CELL, **FEW | options)


REFUSED = {
    "cutout in a search": (lambda: dartslib.search(_arrays(), cutout=4), "no setting 'cutout'"),
    "num_classes of arrays": (lambda: dartslib.search(_arrays(), num_classes=3), "num_classes"),
    "a size of arrays": (lambda: dartslib.train(_arrays(), CELL, image_size=16), "image_size"),
    "a data set in the settings": (lambda: dartslib.search(_arrays(), dataset="x"), "dataset"),
    "batches of loaders": (
        lambda: dartslib.search((_loaders(), _loaders()), num_classes=2, batch_size=3),
        "batch_size would change nothing",
    ),
    "config and settings": (
        lambda: dartslib.search(_arrays(), config=SearchConfig(), epochs=3), "config has all",
    ),
    "config and a profile": (
        lambda: dartslib.search(_arrays(), config=SearchConfig(), profile="darts"), "profile would",
    ),
    "classes of arrays that have names": (
        lambda: dartslib.train(_arrays(), CELL, num_classes=7, class_names=["a", "b"]),
        "num_classes would",
    ),
    "two numbers of classes": (
        lambda: dartslib.train((_loaders(), None), CELL, num_classes=3, class_names=["a", "b"]),
        "has 2 names and num_classes is 3",
    ),
    "a data set to evaluate on": (
        lambda: _training().evaluate(_training().dataset), "Which images",
    ),
    "images of another size to evaluate on": (
        lambda: _training().evaluate(_arrays(side=9)), "make them alike",
    ),
    "gray images to evaluate on": (
        lambda: _training().evaluate(_arrays(channels=1)), "make them alike",
    ),
    "arrays after loaders": (
        lambda: _training((_loaders(), None), num_classes=2).evaluate(_arrays()), "give one to",
    ),
    "fractions to predict": (
        lambda: dartslib.predict(_training(), torch.rand(2, 3, 8, 8)), "give pixels from 0 to 255",
    ),
    "pixels after loaders": (
        lambda: dartslib.predict(_training((_loaders(), None), num_classes=2), _arrays()[0]),
        "as they do",
    ),
    "a picture after loaders": (
        lambda: dartslib.predict(_training((_loaders(), None), num_classes=2), "p.png"),
        "as they do",
    ),
    "loaders without classes": (lambda: dartslib.search((_loaders(), _loaders())), "num_classes"),
    "one loader for a search": (
        lambda: dartslib.search((_loaders(), None), num_classes=2), "a search needs two",
    ),
    "too few classes": (
        lambda: dartslib.search((_loaders(classes=4), _loaders()), num_classes=2), "labels from 0",
    ),
    "one class": (lambda: dartslib.search(_arrays(classes=1)), "class_names"),
    "a label without a name": (
        lambda: dartslib.train(_arrays(), CELL, class_names=["a"]), "class_names",
    ),
    "channels first": (
        lambda: dartslib.search((np.zeros((9, 3, 8, 8), np.uint8), np.arange(9) % 2)), "square",
    ),
    "a loader itself": (lambda: dartslib.search(_loaders(), num_classes=2), "two DataLoaders"),
    "four loaders": (
        lambda: dartslib.train((_loaders(),) * 4, CELL, num_classes=2), "DataLoaders do not say",
    ),
    "an array itself": (lambda: dartslib.search(_arrays()[0]), "data is a name"),
    "no data set": (lambda: dartslib.search("nowhere/at/all"), "no file and no folder"),
    "no profile": (lambda: dartslib.search(_arrays(), profile="huge"), "no profile 'huge'"),
    "no method": (lambda: dartslib.search(_arrays(), relaxation="gdass"), "no relaxation"),
    "no genotype": (lambda: dartslib.train(_arrays(), "DARTS_V3"), "no genotype"),
    "a genotype as a dictionary": (lambda: dartslib.train(_arrays(), {}), "genotype is a"),
    "settings of another kind": (
        lambda: dartslib.search(_arrays(), config=TrainConfig()), "to be a SearchConfig",
    ),
    "loaders of other images": (
        lambda: dartslib.search((_loaders(), _loaders(size=9)), num_classes=2), "make them alike",
    ),
    "a prediction by a search": (
        lambda: dartslib.predict(dartslib.search(_arrays(), **SEARCH), []), "or a training",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call, says):
    with pytest.raises(ValueError, match=says) as error:
        call()
    assert is_one_sentence(str(error.value)), error.value


def _pairs(*pairs):
    return DataLoader(list(pairs), batch_size=None)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ((torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long()), "float tensor"),
        ((torch.zeros(4, 1, 8, 9), torch.zeros(4).long()), "side, side"),
        ((torch.zeros(4, 64), torch.zeros(4).long()), "side, side"),
        ({"images": torch.zeros(4, 1, 8, 8)}, "pairs"),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(4)), "whole number"),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(3).long()), "whole number"),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(4).long() - 1), "labels from -1 to -1"),
    ],
)
def test_what_a_data_loader_must_give(batch, says):
    with pytest.raises(ValueError, match=says) as error:
        Loader(_pairs(batch), ("a", "b"))
    assert is_one_sentence(str(error.value)), error.value


def test_a_data_loader_without_a_length():
    with pytest.raises(ValueError, match="needs a length"):
        Loader(iter([]), ("a", "b"))


# Data of one's own: classes, copies, rates, paths


def test_a_class_that_a_half_lacks_and_images_that_are_in_both_are_said():
    images, _ = _arrays(40)
    found = set()
    for start in range(39):  # two of class 1, wherever their hashes place them
        labels = np.isin(np.arange(40), (start, start + 1)).astype(int)
        data = DataSet.from_arrays("mine", images, labels, images[:7], labels[:7], ["cat", "dog"])
        cut = split(data, held_out=0.0)
        said = remarks(data, cut.search_train, cut.search_valid)
        lacking = [int(s.labels.sum()) for s in (cut.search_train, cut.search_valid)].count(0)
        found.add(lacking)
        assert len(said) == 1 + lacking and all(map(is_one_sentence, said))
        assert said[-1].startswith("Among the training images are 7 of the test images, byte by")
        if lacking:
            assert "Class 'dog' (it has 2 of 40 training images)" in said[0]
    assert found == {0, 1}
    none = DataSet.from_arrays("mine", images, labels * 0, *_arrays(9, seed=1), ["cat", "dog"])
    (sentence,) = remarks(none, split(none).search_train)
    assert "Class 'dog' (it has 0 of 40 training images) is not among the 18" in sentence
    published = DataSet.from_arrays("cifar10", images, labels * 0, images, labels, ["cat", "dog"])
    assert remarks(published, split(published).search_train) == []
    with pytest.warns(UserWarning, match="Class 'dog'"):
        dartslib.search(none, **SEARCH)


def test_a_rate_of_alpha_that_cannot_be_meant_is_said():
    with pytest.warns(UserWarning, match="so 2.3 in 2 steps") as said:
        dartslib.search(_arrays(), **SEARCH, alpha_lr=None)
    assert is_one_sentence(str(said[0].message))
    dartslib.search(_arrays(), **SEARCH, alpha_lr=None, epochs=10)  # 0.23, without a word


def test_a_data_set_given_as_a_path(here, pictures):
    np.savez("mine.npz", a=1)
    Path("shapes10").mkdir()
    assert locate("mine.npz") == ("mine", Path("mine.npz").resolve())
    assert locate(pictures) == ("flowers", pictures)
    assert locate("shapes10", "data") == ("shapes10", "data")  # a name, whatever lies here
    assert locate("cifar11", "data") == ("cifar11", "data")
    with pytest.raises(ValueError, match=r"write \S*data/other\.npz with"):
        load("other.npz")


def test_a_path_is_that_data_set_and_no_other(here, pictures):
    """Paths that end in a known name gave that set instead; usual names of folders were refused."""
    few = SEARCH | {"half": 8}
    for name in ("shapes10", "cifar10"):
        shutil.copytree(pictures, f"mine/{name}")
        with pytest.raises(ValueError, match=f"has the name of another data set, {name}") as error:
            dartslib.search(f"mine/{name}")
        assert is_one_sentence(error.value)
    assert sorted(path.name for path in Path("mine").iterdir()) == ["cifar10", "shapes10"]
    np.savez("mine/birds.npz", **_npz())
    shutil.copytree(pictures, "mine/birds")
    assert dartslib.search("mine/birds", image_size=8, **few).dataset.class_names[0] == "rose"
    assert dartslib.search("mine/birds.npz", **few).dataset.image_size == 8
    for name in ("flowers (1)", "rose, tulip", "anna's", "blu\u0308te", ".hidden"):
        shutil.copytree(pictures, f"mine/{name}")
        found = dartslib.search(Path("mine") / name, image_size=8, **few)
        assert found.dataset.name == found.config.dataset == name
    for given in ("mine/none", "./none", "mine\\none"):
        with pytest.raises(ValueError, match="no file and no folder") as error:
            dartslib.search(given)
        assert is_one_sentence(error.value)
    done = CliRunner().invoke(app, ["study", "--data", "mine/none", "--list"])
    assert done.exit_code == 2 and "no file and no folder" in " ".join(done.output.split())


def test_folders_of_pictures_in_another_form_are_refused(tmp_path, pictures):
    for names in (("train", "val"), ("train",), ("Train", "Test"), ("training", "validation")):
        folder = tmp_path / "-".join(names)
        for name in names:
            shutil.copytree(pictures, folder / name)
        with pytest.raises(ValueError, match="has folders and no pictures") as error:
            load_folder(folder, 8)
        assert is_one_sentence(error.value)
    folder = tmp_path / "plain"
    shutil.copytree(pictures, folder)
    (folder / ".ipynb_checkpoints").mkdir()
    assert load_folder(folder, 8).class_names == ("rose", "tulip")


def test_a_picture_is_read_as_it_is_seen_or_refused(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255  # the upper edge
    turned = Image.Exif()
    turned[0x0112] = 6  # held upright: its left edge is the upper one
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "phone.png", exif=turned)
    np.testing.assert_array_equal(
        open_picture(tmp_path / "phone.png", 8), pixels.transpose(2, 0, 1)
    )
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "float.tiff")
    for name in ("deep.png", "float.tiff"):
        with pytest.raises(ValueError, match="not 8 bits a channel") as error:
            open_picture(tmp_path / name, 8)
        assert is_one_sentence(error.value)


def test_no_room_for_the_pictures_is_said(pictures, monkeypatch):
    """Without it a full disk ends the process by a signal, some pictures later."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders.os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="no room for .* MiB of pictures .*: set TMPDIR") as error:
        load_folder(pictures, 8)
    assert is_one_sentence(error.value)


def test_a_size_that_nothing_is_brought_to_is_refused(here):
    np.savez("tiny.npz", **_npz())
    with pytest.raises(ValueError, match="tiny has 8 pixels per side: leave it out"):
        dartslib.search("tiny.npz", image_size=16)
    dartslib.search("tiny.npz", image_size=8, **SEARCH)
    done = _search("--set", "image_size=16")
    assert done.exit_code == 2 and is_one_sentence(done.output.strip())


def test_a_cell_named_by_the_folder_one_stands_in(here, monkeypatch):
    (here / "found").mkdir()
    (here / "found" / "genotype.json").write_text(CELL.to_json(), "utf-8")
    monkeypatch.chdir(here / "found")
    assert find_genotype(".") == CELL
    assert cell_name(".") == cell_name("genotype.json") == "found"


def test_gray_images_in_a_file_called_cifar10():
    images, labels = _arrays(channels=1)
    data = DataSet.from_arrays("cifar10", images, labels, images, labels, ["a", "b"])
    assert len(data.statistics()[0]) == 1
    assert data.statistics()[0][0] == pytest.approx(data.x_train.double().mean().item() / 255)


# A trained network


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    settings = TRAIN | {"auxiliary": 0.0}
    dartslib.train(_arrays(), CELL, **settings).run(folder, progress=False)
    return folder


@pytest.mark.full
def test_an_export_takes_any_number_of_images(trained, tmp_path):
    dartslib.export(trained, tmp_path / "net.pt2")
    program = torch.export.load(tmp_path / "net.pt2").module()
    images = _arrays(5)[0]
    for count in (1, 5):
        pixels = torch.from_numpy(images[:count].transpose(0, 3, 1, 2).astype(np.float32))
        found = program(pixels).detach()
        np.testing.assert_allclose(found, dartslib.predict(trained, images[:count])[1], atol=1e-5)


def test_the_weights_are_plain_tensors(trained):
    state = load_file(trained / "weights.safetensors")
    network = load_trained(trained).network
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_what_cannot_be_predicted(trained, tmp_path, here):
    kept = tmp_path / "kept"
    records.save(records.load(trained), kept)
    with pytest.raises(FileNotFoundError, match="a kept record is without") as error:
        dartslib.predict(kept, _arrays(2)[0])
    assert is_one_sentence(str(error.value)), error.value
    cases = {
        "bring the arrays": lambda: dartslib.predict(trained, _arrays(2, side=9)[0]),
        "no record": lambda: dartslib.predict("nowhere", _arrays(2)[0]),
        "cannot be read as a picture": lambda: dartslib.predict(trained, __file__),
        "not finished": lambda: dartslib.predict(tmp_path / "half", _arrays(2)[0]),
        "damaged": lambda: dartslib.predict(kept, _arrays(2)[0]),
    }
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "checkpoint.pt").write_bytes(b"")
    (kept / "weights.safetensors").write_bytes(b"torn")
    for says, call in cases.items():
        with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
            call()
        assert is_one_sentence(str(error.value)), error.value
    done = CliRunner().invoke(app, ["predict", "nowhere", "a.png"])
    assert done.exit_code == 2 and is_one_sentence(done.stderr.strip())


# Operations and cells of one's own

MINE = """
from dartslib.operations import conv_bn, register

@register("{name}")
def mine(channels, stride, searching):
    return conv_bn(channels, channels, 3, stride, searching=searching, padding=1)
"""


@pytest.fixture
def my_ops(here):
    """A file with an operation; what it registers and imports is taken back."""
    known = set(OPERATIONS)
    Path("my_ops.py").write_text(MINE.format(name="conv_of_mine"), "utf-8")
    np.savez("tiny.npz", **_npz())
    yield here / "my_ops.py"
    sys.modules.pop("my_ops", None)
    for name in set(OPERATIONS) - known:
        del OPERATIONS[name]


def _npz():
    images, labels = _arrays()
    test, test_labels = _arrays(20, seed=1)
    return {
        "x_train": images, "y_train": labels, "x_test": test, "y_test": test_labels,
        "class_names": ["a", "b"],
    }  # fmt: skip


def _search(*words):
    small = [word for name, value in SEARCH.items() for word in ("--set", f"{name}={value}")]
    return CliRunner().invoke(app, ["search", "--data", "tiny.npz", *small, *words])


OWN = ["--import", "my_ops.py", "--set", 'operations=["skip_connect", "conv_of_mine"]']


def test_an_operation_of_ones_own_on_the_command_line(my_ops):
    done = _search(*OWN, "--out", "run")
    assert done.exit_code == 0, done.output
    assert "(the largest class alone: 0.5" in done.stdout
    record = records.load("run")
    assert list(record.meta["imports"]) == ["my_ops.py"]
    assert record.meta["config"]["operations"] == ["skip_connect", "conv_of_mine"]
    # A file that has changed is another one, also where it is known by its name.
    my_ops.write_text(my_ops.read_text("utf-8") + "\n# changed\n", "utf-8")
    again = _search(*OWN, "--out", "run", "--resume")
    assert again.exit_code == 2 and "start anew if it has changed" in again.output
    importing.IMPORTED["my_ops.py"] = importing.digest(my_ops)
    again = _search(*OWN, "--out", "run", "--resume")
    assert again.exit_code == 2 and "other files of --import" in again.output
    assert is_one_sentence(again.output.strip())


def test_a_network_of_operations_that_have_changed_predicts_nothing(my_ops, monkeypatch):
    importing.import_files([my_ops])
    cell = Genotype([[("conv_of_mine", 0)]], [[("skip_connect", 0)]])
    dartslib.train(_arrays(), cell, **FEW).run("trained", progress=False)
    assert dartslib.predict("trained", _arrays()[0])[1].shape == (80, 2)
    monkeypatch.setitem(importing.IMPORTED, "my_ops.py", "another digest")
    with pytest.raises(ValueError, match="have changed since: give --import my_ops.py") as error:
        dartslib.predict("trained", _arrays()[0])
    assert is_one_sentence(error.value)


def test_no_record_is_kept_where_there_is_no_checkout(here, monkeypatch):
    """From a wheel it would have been written among the installed packages, after the run."""
    monkeypatch.setattr(records, "CHECKOUT", here)
    np.savez("tiny.npz", **_npz())
    done = _search("--record", "mine", "--out", "run")
    assert done.exit_code == 2 and "dartslib is not in one" in " ".join(done.output.split())
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no file"), ("1 / 0", "ZeroDivisionError"), ("(", "SyntaxError")]
)
def test_a_file_that_cannot_be_imported(my_ops, content, says):
    path = my_ops.with_name("my_faulty_ops.py")
    if content:
        path.write_text(content, "utf-8")
    done = _search("--import", "my_faulty_ops.py")
    assert done.exit_code == 2 and says in done.output and is_one_sentence(done.output.strip())
    assert "my_faulty_ops" not in sys.modules


@pytest.mark.full
def test_the_project_of_the_instructor_can_be_done_as_written(my_ops):
    """A study with an operation of one's own on data of one's own, in worker processes."""
    from dartslib.runs.study import execute

    changes = SEARCH | {"operations": ["skip_connect", "conv_of_mine"], "dataset": "tiny"}
    changes |= {"layers": 2, "reductions": [1]}
    plan = Study(
        "smoke", 1, Path("study"), None, imports=importing.import_files([my_ops]), changes=changes
    )
    made = {run.name for run in execute(plan, data=".", workers=2)}
    assert made == {run.name for run in plan} and not any("transfer" in name for name in made)
    record = records.load("study/search-tiny-first_order-0")
    assert record.meta["config"]["operations"] == ["skip_connect", "conv_of_mine"]
    assert "--import my_ops.py" in record.meta["command"]


def test_what_a_study_can_be_told(here):
    plan = Study("smoke", 1, Path("s"), changes={"flip": False, "dataset": "tiny", "half": 20})
    assert all(run.config.flip is False and run.config.dataset == "tiny" for run in plan)
    assert {run.kind for run in plan} == {"search", "compare", "final"}
    assert all(run.changed["flip"] is False for run in plan)
    search = plan.searches[0]
    assert search.config.half == 20 and "half" not in plan.compared["random"][0].changed
    # A half may be smaller than the profile's on one's own images alone, where there are fewer.
    for data, same in (("tiny", True), ("shapes10", False)):
        run = Study("smoke", 1, Path("s"), changes={"dataset": data}).searches[0]
        meta = {"config": run.config.model_dump(mode="json") | {"half": 7}}
        assert run.made(records.Record("a", meta, {}, None)) is same
    with pytest.raises(
        ValueError, match="no setting 'flap' to change: choose another, such as flip"
    ):
        Study("smoke", 1, Path("s"), changes={"flap": 1})
    with pytest.raises(ValueError, match="no setting 'seed' to change"):
        Study("smoke", 1, Path("s"), changes={"seed": 1})


USUAL = """DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0),
('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1),
('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2),
('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"""


def test_a_genotype_as_the_papers_code_prints_it(here):
    assert read_usual(USUAL) == DARTS_V2
    positional = re.sub(r"\w+=(?=[\[r])", "", USUAL)
    assert "normal" not in positional and read_usual(positional) == DARTS_V2
    Path("cell.txt").write_text(USUAL, "utf-8")
    assert find_genotype("cell.txt") == DARTS_V2
    # As people have it: in a log, assigned, twice the same, from an editor or from PowerShell.
    log = f"03/23 10:11:12 PM gpu = 0 (it is)\n03/23 10:11:12 PM genotype = {USUAL}\nepoch 1"
    for text in (log, f"DARTS = {USUAL}", f"{log}\n{log}", f"from x import Genotype\n{USUAL})"):
        assert read_usual(text) == DARTS_V2
        for encoding in ("utf-8-sig", "utf-16"):
            Path("cell.txt").write_text(text, encoding)
            assert find_genotype("cell.txt") == DARTS_V2
    with pytest.raises(ValueError, match="There are 2 genotypes") as error:
        read_usual(f"A = {USUAL}\nB = {USUAL.replace('skip_connect', 'max_pool_3x3')}")
    assert is_one_sentence(error.value)
    assert read_usual("Genotype(" + "()" * 10**6) is None  # soon


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[2, 3, 4, 5]", "[4, 5]", r"normal_concat is \[4, 5\]: cells here give out all"),
        ("range(2, 6)", "range(10**30)", "reduce_concat"),
        ("range(2, 6)", "__import__('os').mkdir('harm')", "reduce_concat is missing or is no"),
        (", reduce_concat=range(2, 6)", "", "reduce_concat is missing"),
        ("('skip_connect', 0), ('dil", "('dil", "two per node"),
    ],
)
def test_a_usual_text_that_is_none(here, old, new, says):
    assert USUAL.count(old) == 1
    with pytest.raises(ValueError, match=says) as error:
        read_usual(USUAL.replace(old, new))
    assert is_one_sentence(str(error.value)), error.value
    assert not Path("harm").exists()


# The package


def test_names_of_the_package():
    for name in (
        "SearchSpace, Architecture, Supernet, hypergradient, Genotype, FinalNetwork, DataSet, "
        "SearchConfig, TrainConfig, Relaxation, search, train, predict, export"
    ).split(", "):
        assert callable(getattr(dartslib, name)) and name in dartslib.__all__
    source = (ROOT / "dartslib" / "__init__.py").read_text("utf-8")
    lines = re.findall(r"^    from [\w.]+ import (.*)$", source, re.MULTILINE)
    shown = {name for line in lines for name in line.split(", ")}
    assert shown == set(dartslib.__all__) - {"__version__"}, "an editor sees other names"


def test_numbered_batches_come_in_as_they_are():
    found = dartslib.search((Noise(2), Noise(2, seed=1)), num_classes=10, nodes=1, channels=2)
    found.advance()
    assert found.train.source.asked == [0, 0]  # once for the sizes


@pytest.mark.full
def test_a_wheel_works_without_the_checkout(tmp_path):
    def run(*words, **options):
        done = subprocess.run(words, capture_output=True, text=True, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python = sys.executable
    pip = [python, "-m", "pip", "--disable-pip-version-check", "-q"]
    pytest.importorskip("setuptools", minversion="77")  # the build takes what is here
    source = tmp_path / "source"  # pip leaves traces where it builds
    shutil.copytree(ROOT / "dartslib", source / "dartslib")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "wheels")]
    run(*pip, *build, str(source))
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    run(*pip, "install", "--no-deps", "--target", str(tmp_path / "there"), str(wheel))
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "there"), "OMP_NUM_THREADS": "1"}
    where = run(
        python, "-c", "import dartslib; print(dartslib.__file__)", cwd=empty, env=environment
    )
    assert str(tmp_path / "there") in where
    small = [w for n, v in (SEARCH | {"half": 320}).items() for w in ("--set", f"{n}={v}")]
    run(python, "-m", "dartslib", "search", "--out", "run", *small, cwd=empty, env=environment)
    assert (empty / "run" / "meta.json").is_file()
    if (ROOT / "dartslib" / "tabular" / "table.csv").exists():
        code = "from dartslib.tabular import load; print(len(load().cells))"
        assert run(python, "-c", code, cwd=empty, env=environment).strip() == "243"

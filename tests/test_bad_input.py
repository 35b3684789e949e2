"""Bad input: one sentence that says what is wrong and what to do, and nothing half-written.

The table CASES is to be read: what is given, and the words of the answer that decide. Each case is
run from the command line and from Python where it can be given in both ways. Below it: what looks
bad and is not; and that no file can run code.
"""

import ast
import io
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import urllib.request
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import is_one_sentence
from test_command_line import SMALL_SEARCH, SMALL_TRAIN, _checkpoint_after_every_step, _load, _tiny
from typer.testing import CliRunner

from dartslib.__main__ import app
from dartslib.data import Batches, load, planted, split
from dartslib.genotypes import DARTS_V2, PUBLISHED, Genotype, derive
from dartslib.gradients import hypergradient
from dartslib.networks import FinalNetwork
from dartslib.operations import build
from dartslib.relaxation import Architecture
from dartslib.runs import driving, machine, records, running
from dartslib.runs.profiles import profile
from dartslib.runs.running import find_device, find_genotype
from dartslib.searching import Search, SearchConfig
from dartslib.space import SearchSpace
from dartslib.supernet import Supernet
from dartslib.training import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
SPACE = SearchSpace(1, ("skip_connect", "none"))


def _cell(**changes):
    """A genotype as a JSON text, with changes."""
    data = json.loads(DARTS_V2.to_json()) | changes
    return json.dumps(data)


def _files():
    """What a clumsy user has lying in the folder, besides data/: name -> content."""
    return {
        "empty.json": "",
        "words.json": "a cell",
        "bytes.json": bytes(range(128, 256)),
        "cut.json": _cell()[:100],
        "list.json": "[1, 2]",
        "deep.json": "[" * 10_000 + "]" * 10_000,
        "deep_inside.json": '{"a":' * 10_000 + "0" + "}" * 10_000,
        "unknown.json": _cell(normal=[[["conv_9x9", 0]]]),
        "long.json": _cell(normal=[[["conv_" + "9" * 100_000, 0]]]),
        "later.json": _cell(normal=[[["none", 3]], [["none", 0]]]),
        "no_input.json": _cell(normal=[[["none", 0]], []]),
        "no_nodes.json": _cell(normal=[]),
        "many_nodes.json": _cell(normal=[[["skip_connect", 0]]] * 33),
        "huge_input.json": _cell(normal=[[["none", 10**1000]]]),
    }


def _data_files():
    """Files data/NAME.npz that are wrong: name -> what differs from a good one, or its bytes."""
    good = _tiny(side=8)
    images, labels = good["x_train"], good["y_train"]
    archive = _archive(good)
    return {
        "tiny": {},
        "torn": archive[: len(archive) // 2],
        "text": b"no archive",
        "lying": _archive(good | {"x_train": _lying_header()}),
        "endless": _archive(good | {"x_train": _lying_header((10**13, 8, 8, 3))}),
        "pickled": {"class_names": np.array(["cat", {"a": "dog"}], dtype=object)},
        "no_test": {"x_test": None, "y_test": None},
        "floats": {"x_train": images / 255},
        "nans": {"x_train": np.full(images.shape, np.nan)},
        "flat": {"x_train": images.reshape(100, -1)},
        "small": {"x_train": images[:, :3, :3], "x_test": images[:, :3, :3]},
        "label_2": {"y_train": labels + 1},
        "label_minus": {"y_test": labels - 1},
        "float_labels": {"y_train": labels / 1},
        "one_class": {"y_train": labels * 0, "y_test": labels * 0, "class_names": ["cat"]},
        "few_labels": {"y_train": labels[:99]},
        "one_image": {"x_train": images[:1], "y_train": labels[:1]},
    }


def _archive(arrays):
    """An npz as bytes; an array may be given as the bytes of its npy."""
    file = io.BytesIO()
    np.savez(file, **{key: a for key, a in arrays.items() if not isinstance(a, bytes)})
    with zipfile.ZipFile(file, "a") as archive:
        for key, array in arrays.items():
            if isinstance(array, bytes):
                archive.writestr(f"{key}.npy", array)
    return file.getvalue()


def _lying_header(shape=(1000, 8, 8, 3)):
    """An npy whose header promises more than follows."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + b"few"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The folder with all of that; every case leaves it as it was."""
    folder = tmp_path_factory.mktemp("given")
    for name, content in _files().items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "data").mkdir()
    for name, change in _data_files().items():
        if not isinstance(change, bytes):
            arrays = _tiny(side=8) | change
            change = _archive({key: array for key, array in arrays.items() if array is not None})
        (folder / "data" / f"{name}.npz").write_bytes(change)
    (folder / "data" / "folder.npz").mkdir()
    (folder / "folder.json").mkdir()
    torch.save({"format": driving.FORMAT}, _made(folder / "no_state" / "checkpoint.pt"))
    torch.save({"format": "dartslib-checkpoint-0"}, _made(folder / "older" / "checkpoint.pt"))
    _made(folder / "noise" / "checkpoint.pt").write_bytes(os.urandom(5000))
    for name, meta in {"mine": "{", "deep": "[" * 10_000, "list": "[]", "big": " " * 10**7}.items():
        _made(folder / "recorded" / name / "meta.json").write_text(meta, "utf-8")
    _made(folder / "recorded" / "torn" / "meta.json").write_text("{}", "utf-8")
    (folder / "recorded" / "torn" / "history.npz").write_bytes(b"PK torn")
    return folder


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def there(given, monkeypatch):
    """Stand in that folder, without a network, with a few images of noise for shapes10."""
    monkeypatch.chdir(given)
    monkeypatch.setattr(records, "RECORDED", given / "recorded")
    monkeypatch.setattr(running, "load", _load)

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    return given


def _tree(folder):
    """All that is in a folder: path -> size and time of the last change, of a file.

    Not of a folder, nor the lock in it, which a run takes before it looks at anything else.
    """
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def _said(*words):
    """What the command line answers, without the usage that stands before typer's own."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.output
    text = result.stderr
    if "Usage:" in text:
        text = text.split("Error: ")[-1].strip().rstrip(".") + "."
    return text.strip()


def _search(**changes):
    return SearchConfig(**changes)


def _net(nodes=1, **sizes):
    sizes = {"channels": 1, "layers": 3} | sizes
    return Supernet(SPACE, **sizes), FinalNetwork(DARTS_V2, **sizes)


def _batches(count=8, **options):
    subset = planted.planted(count)
    return Batches(subset, **({"batch_size": 4, "mean": (0.0,), "std": (1.0,)} | options))


# What is wrong | the words that decide | the command line | from Python. SEARCH and TRAIN stand for
# the smoke profile, made smaller.
SEARCH = "search " + shlex.join(SMALL_SEARCH)
TRAIN = "train --genotype DARTS_V2 " + shlex.join(SMALL_TRAIN)
# fmt: off
CASES = [
    # Names
    ("an unknown data set", "no data set 'cifar11': choose",
     "search --data cifar11", lambda: load("cifar11")),
    ("a path as data set", "no file and no folder '../secret'",
     "search --data ../secret", lambda: load("../secret")),
    ("a data set without a name", "'' is no name of a data set",
     "search --data ''", lambda: load("")),
    ("an unknown profile", "'huge'.*smoke.*lesson.*report.*darts",
     "search --profile huge", lambda: profile("huge")),
    ("an unknown method", "'second_order'",
     "search --method second_order", lambda: _search(gradient="second_order")),
    ("an unknown method of hypergradient", "no method 'second_order': choose",
     None, lambda: hypergradient(None, None, [], [], method="second_order", xi=0.1)),
    ("an unknown operation", "no operation 'conv_9x9': choose",
     """search --set operations='["conv_9x9"]'""", lambda: build("conv_9x9", 4)),
    ("an unknown operation in a space", "no operation 'conv_9x9': choose",
     None, lambda: Supernet(SearchSpace(1, ("conv_9x9",)))),
    ("an operation named twice", "'dil_conv_3x3' twice",
     """search --set operations='["dil_conv_3x3", "dil_conv_3x3"]'""",
     lambda: SearchSpace(1, ("dil_conv_3x3", "dil_conv_3x3"))),
    ("no operation", "at least one operation",
     "search --set operations=[]", lambda: SearchSpace(1, ())),
    ("only none to choose from", "at least one operation other than none",
     """search --set operations='["none"]'""", lambda: SearchSpace(1, ("none",))),
    ("an operation that is a number", "operation",
     "search --set operations=[3]", lambda: Supernet(SearchSpace(1, (3,)))),
    ("an unknown part", "part: .*'compare' or 'final'",
     "train --genotype DARTS_V2 --set part=test", lambda: TrainConfig(part="test")),
    ("an unknown head", "head: .*'linear' or 'mlp'",
     "search --set head=resnet", lambda: _search(head="resnet")),
    ("a head of another kind in a network", '"linear" or "mlp"',
     None, lambda: _net(head="resnet")),
    ("an unknown device", "no device 'toaster' here: choose",
     "search --device toaster", lambda: find_device("toaster")),
    ("a GPU that is not there", "no device 'cuda:99' here: choose",
     "search --device cuda:99", lambda: find_device("cuda:99")),
    ("a device that computes nothing", "no device 'meta' here: choose",
     "search --device meta", lambda: find_device("meta")),
    ("a record named by a path", "'../x' cannot name a record",
     "search --record ../x", lambda: records.check_name("../x")),
    ("a record without a name", "'' cannot name a record",
     "search --record ''", lambda: records.check_name("")),
    ("a record with a hidden name", "'.x' cannot name a record",
     f"{TRAIN} --record .x", lambda: records.check_name(".x")),
    ("an unknown record", "no record 'toy_auto': choose one of .*such as toy_autograd",
     None, lambda: records.load("toy_auto")),

    # Settings
    ("a setting that is none", "no setting 'epoch'.*epochs",
     "search --set epoch=3", lambda: _search(epoch=3)),
    ("a setting without a name", "no setting ''", "search --set =3", None),
    ("a setting without a value", "NAME=VALUE.*'epochs'", "search --set epochs", None),
    ("a word for a number", "epochs: .*integer.*'many'",
     "search --set epochs=many", lambda: _search(epochs="many")),
    ("half an epoch", "epochs: .*integer", "search --set epochs=0.5", lambda: _search(epochs=0.5)),
    ("a nested value", "epochs: .*integer",
     f"search --set epochs={'[' * 900 + ']' * 900}", lambda: _search(epochs=_nested(100_000))),
    ("a value nested 10,000 deep", "epochs: .*integer",
     f"search --set epochs={'[' * 10_000}", None),
    ("zero epochs", "epochs: .*greater", "search --set epochs=0", lambda: _search(epochs=0)),
    ("xi below 0", "xi: .*greater", "search --set xi=-0.1", lambda: _search(xi=-0.1)),
    ("xi that is not finite", "xi: .*finite",
     "search --set xi=Infinity", lambda: _search(xi=float("inf"))),
    ("xi without a step ahead", "xi is for gradient=finite_difference .*first_order",
     "search --set xi=0.1", lambda: _search(xi=0.1)),
    ("no radius in hypergradient", "radius above 0, not 1.0, 0.0",
     None, lambda: hypergradient(None, None, [], [], method="exact", xi=1.0, radius=0.0)),
    ("xi below 0 in hypergradient", "xi must be finite and not below 0.*, not -1.0",
     None, lambda: hypergradient(None, None, [], [], method="exact", xi=-1.0)),
    ("a learning rate below 0", "w_lr: .*greater",
     "search --set w_lr=-1", lambda: _search(w_lr=-1)),
    ("a learning rate that is no number", "w_lr: .*finite",
     "search --set w_lr=NaN", lambda: _search(w_lr=float("nan"))),
    ("a learning rate beyond all numbers", "lr: .*finite",
     "train --genotype DARTS_V2 --set lr=1e999", lambda: TrainConfig(lr=float("inf"))),
    ("a beta of 1", "alpha_betas.1: .*less than 1",
     "search --set alpha_betas=[0.5,1]", lambda: _search(alpha_betas=(0.5, 1.0))),
    ("drop path above 1", "drop_path: .*less than 1",
     f"{TRAIN} --set drop_path=1.5", lambda: TrainConfig(drop_path=1.5)),
    ("a seed below 0", "--seed.*greater than or equal to 0",
     "search --seed -1", None),
    ("a seed below 0 by --set", "seed: .*greater",
     "search --set seed=-1", lambda: _search(seed=-1)),
    ("a huge seed", "seed: .*less than 4294967296",
     f"search --seed {10**30}", lambda: _search(seed=10**30)),
    ("a seed of 5,000 digits", "seed", f"search --set seed={'9' * 5000}", None),

    # Sizes
    ("no node", "nodes: .*greater", "search --set nodes=0", lambda: _search(nodes=0)),
    ("a space without a node", "nodes must be a whole number from 1 to 32, not 0",
     None, lambda: SearchSpace(0)),
    ("nodes that are no number", "nodes must be a whole number.*nan",
     None, lambda: SearchSpace(float("nan"))),
    ("nodes without end", "nodes: .*less than or equal to 32",
     "search --set nodes=1000000", lambda: _search(nodes=10**6)),
    ("no channel", "channels: .*greater", "search --set channels=0", lambda: _search(channels=0)),
    ("channels without end", "channels: .*less than or equal to 4096",
     f"{TRAIN} --set channels=1000000000", lambda: TrainConfig(channels=10**9)),
    ("no layer", "layers: .*greater", "search --set layers=0", lambda: _search(layers=0)),
    ("a reduction that is no cell", "reductions must name cells from 0 to 1, not .7",
     "search --set reductions=[7]", lambda: _search(layers=2, reductions=(7,))),
    ("half a reduction", "reductions must name cells from 0 to 2, not .0.5",
     None, lambda: Supernet(SearchSpace(1), layers=3, reductions=(0.5,))),
    ("images too small for two reductions", "3 pixels .* too small for 2 reductions: use 1",
     None, lambda: _net(image_size=3)),
    ("images too small for four reductions", "8 pixels .* too small for 4 reductions: use 2",
     f"{SEARCH} --data tiny --set layers=4 --set reductions=[0,1,2,3]",
     lambda: _net(image_size=8, layers=4, reductions=(0, 1, 2, 3))),
    ("an auxiliary head on a small map", "needs 8 x 8 pixels, not .*auxiliary=0",
     "train --genotype DARTS_V2 --data tiny --set auxiliary=0.4",
     lambda: FinalNetwork(DARTS_V2, channels=2, layers=3, auxiliary=True, image_size=8)),
    ("an auxiliary head and batches of one", "batch_size=2 or more.*auxiliary=0",
     f"{TRAIN} --set auxiliary=0.4 --set batch_size=1",
     lambda: TrainConfig(auxiliary=0.4, batch_size=1)),
    ("a batch larger than the data", "4000 images is larger than",
     f"{SEARCH} --set batch_size=4000", lambda: _batches(batch_size=4000)),
    ("an empty batch", "batch_size: .*greater",
     "search --set batch_size=0", lambda: _search(batch_size=0)),
    ("a batch of half an image", "whole number from 1, not 0.5",
     None, lambda: _batches(batch_size=0.5)),
    ("a cutout larger than the image", "cutout=99 does not fit",
     f"{TRAIN} --set cutout=99", lambda: _batches(cutout=99)),
    ("halves of more images than there are", "half=100000 is not possible.*choose 1 to",
     "search --set half=100000", lambda: split(load("tiny"), half=100_000)),
    ("all images held out", "held_out=0.999.*leaves 0",
     f"{TRAIN} --data tiny --set held_out=0.999", lambda: split(load("tiny"), held_out=0.999)),
    ("no edge to keep", "1 edge or more",
     None, lambda: derive(Architecture(SearchSpace(2)), edges_per_node=0)),
    ("probabilities of another space", "5 edges x 8 operations",
     None, lambda: derive(Architecture(SearchSpace(1)).probabilities(), SearchSpace(2))),

    # Data sets
    ("no network and no data", "cifar10 could not be downloaded .*shapes10",
     "search --data cifar10 --data-folder nowhere", lambda: load("cifar10", "nowhere")),
    ("no network and no digits", "mnist could not be downloaded .*put mnist.npz",
     "search --data mnist --data-folder nowhere", lambda: load("mnist", "nowhere")),
    ("a file for the data folder", "words.json is a file: give the folder",
     "search --data cifar10 --data-folder words.json", lambda: load("cifar10", "words.json")),
    ("a torn npz", "torn.npz is not a whole npz archive: .*fetch it again",
     "search --data torn", lambda: load("torn")),
    ("a text for an npz", "text.npz is not a whole npz",
     "search --data text", lambda: load("text")),
    ("a folder for an npz", "folder.npz is not a whole npz",
     "search --data folder", lambda: load("folder")),
    ("an npz that promises more than it has", "lying.npz is not a whole npz",
     "search --data lying", lambda: load("lying")),
    ("an npz that promises more than fits the memory", "endless.npz is not a whole npz",
     "search --data endless", lambda: load("endless")),
    ("an npz with Python objects", "holds Python objects as class_names, which are not read",
     "search --data pickled", lambda: load("pickled")),
    ("an npz without test images", "no_test.npz has no x_test, y_test: save all",
     "search --data no_test", lambda: load("no_test")),
    ("pixels from 0 to 1", "x_train is float64: give uint8",
     "search --data floats", lambda: load("floats")),
    ("pixels that are no numbers", "x_train is float64: give uint8",
     "search --data nans", lambda: load("nans")),
    ("flat images", "x_train has the shape .100, 192.: give square images",
     "search --data flat", lambda: load("flat")),
    ("images of 3 pixels", "3 pixels per side: bring them to 8",
     "search --data small", lambda: load("small")),
    ("labels from 1", "labels from 1 to 2 for 2 class_names: number",
     "search --data label_2", lambda: load("label_2")),
    ("labels below 0", "labels from -1 to 0 for 2 class_names: number",
     "search --data label_minus", lambda: load("label_minus")),
    ("labels with a point", "y_train is float64: give whole numbers",
     "search --data float_labels", lambda: load("float_labels")),
    ("one class", "class_names .*two or more",
     "search --data one_class", lambda: load("one_class")),
    ("fewer labels than images", r"y_train has the shape \(99,\): give \(100,\)",
     "search --data few_labels", lambda: load("few_labels")),
    ("a single image", "of 1 training images",
     f"{SEARCH} --data one_image", lambda: split(load("one_image"))),

    # Genotypes
    ("no such genotype", "no genotype 'no.json': give a file",
     "train --genotype no.json", lambda: find_genotype("no.json")),
    ("a genotype with a name too long", "no genotype '9999.*: give a file",
     f"train --genotype {'9' * 5000}", lambda: find_genotype("9" * 5000)),
    ("a folder for a genotype", "no genotype 'folder.json': give a file",
     "train --genotype folder.json", lambda: find_genotype("folder.json")),
    *((f"a genotype file: {name}", says, f"transfer --genotype {name}.json",
       lambda name=name: find_genotype(f"{name}.json"))
      for name, says in {
          "empty": "not valid JSON",
          "words": "not valid JSON",
          "bytes": "not valid JSON",
          "cut": "not valid JSON",
          "list": "not a genotype: it lacks",
          "deep": "not valid JSON",
          "deep_inside": "not valid JSON",
          "later": "edge of node 1 of the normal cell .*state from 0 to 1.*'none', 3",
          "no_input": "node 2 of the normal cell has no input: give it",
          "no_nodes": "normal cell is a list of 1 to 32 nodes",
          "many_nodes": "normal cell is a list of 1 to 32 nodes",
          "huge_input": "edge of node 1 of the normal cell .*state from 0 to 1.*'none', 1000",
      }.items()),
    ("a genotype with an unknown operation", "no operation 'conv_9x9': choose",
     "train --genotype unknown.json",
     lambda: FinalNetwork(find_genotype("unknown.json"), channels=2, layers=3)),
    ("a genotype with an operation of 100,000 letters", "no operation 'conv_9999.*: choose",
     "train --genotype long.json", lambda: FinalNetwork(find_genotype("long.json"), layers=3)),
    ("a path for the text of a genotype", "not valid JSON",
     None, lambda: Genotype.from_json(Path("words.json"))),

    # Runs and records
    ("a file for the run's folder", "words.json", f"{SEARCH} --out words.json", None),
    ("a folder that cannot be named", "cannot be",
     f"{SEARCH} --out {'9' * 5000}", None),
    ("noise for a checkpoint", "noise.checkpoint.pt.* is not a checkpoint",
     f"{SEARCH} --out noise --resume", None),
    ("a checkpoint of another format", "older.checkpoint.pt.* is not a checkpoint",
     f"{SEARCH} --out older --resume", None),
    ("a checkpoint and no --resume", "older holds a run already: go on with --resume",
     f"{SEARCH} --out older", None),
    *((f"a damaged record: {name}", f"{file} is damaged", None,
       lambda name=name: records.load(f"recorded/{name}"))
      for name, file in {"mine": "meta.json", "deep": "meta.json", "list": "meta.json",
                         "big": "meta.json", "torn": "history.npz"}.items()),
]
# fmt: on


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_the_table_is_long_enough_and_names_are_told_apart():
    names = [name for name, *_ in CASES]
    assert len(set(names)) == len(names) >= 30
    assert all(command or call for _, _, command, call in CASES)


@pytest.mark.parametrize(
    ("says", "command"),
    [pytest.param(says, command, id=name) for name, says, command, _ in CASES if command],
)
def test_from_the_command_line(there, says, command):
    before = _tree(there)
    said = _said(*shlex.split(command))
    assert re.search(says, said), said
    assert is_one_sentence(said), said
    assert _tree(there) == before


@pytest.mark.parametrize(
    ("says", "call"), [pytest.param(says, call, id=name) for name, says, _, call in CASES if call]
)
def test_from_python(there, says, call):
    before = _tree(there)
    with pytest.raises((ValueError, OSError)) as error:
        call()
    said = str(error.value)
    assert re.search(says, said), said
    assert is_one_sentence(said), said
    assert _tree(there) == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory(there, monkeypatch, error):
    def advance(self):
        raise error

    monkeypatch.setattr(Search, "advance", advance)
    said = _said(*shlex.split(SEARCH), "--out", there / f"too_large_{type(error).__name__}")
    assert is_one_sentence(said) and "smaller batch_size" in said


def test_an_error_that_speaks_of_memory_is_not_for_that_a_lack_of_it(there, monkeypatch):
    def advance(self):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Search, "advance", advance)
    result = CliRunner().invoke(app, [*shlex.split(SEARCH), "--out", str(there / "illegal")])
    assert isinstance(result.exception, RuntimeError) and "batch_size" not in result.output


@pytest.mark.parametrize("words", [["train"], ["transfer", "--genotype"], ["serach"]])
def test_what_typer_refuses(there, words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "Error" in result.stderr


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("train --genotype deep.json", "The genotype is not valid JSON"),
        ("doctor --seed 3", "No such option"),
    ],
)
def test_a_process_of_its_own_shows_no_traceback(there, command, says):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = _tree(there)
    done = subprocess.run(
        [sys.executable, "-m", "dartslib", *command.split()],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr and "Traceback" not in done.stderr
    assert _tree(there) == before


# What a terminal, a log or GitHub's runner may ask for.
TERMINALS = [
    {},
    {"GITHUB_ACTIONS": "true"},
    {"FORCE_COLOR": "1"},
    {"CLICOLOR_FORCE": "1", "PY_COLORS": "1"},
    {"NO_COLOR": "1", "TERM": "dumb"},
    {"COLUMNS": "40"},
    {"COLUMNS": "300", "LINES": "3"},
    {"GITHUB_ACTIONS": "true", "FORCE_COLOR": "1", "COLUMNS": "40"},
]
ANSWERS = {
    "search --seed x": (
        "Usage: python -m dartslib search [OPTIONS]\n"
        "Try 'python -m dartslib search --help' for help.\n\n"
        "Error: Invalid value for '--seed': Input should be a valid integer, unable to parse "
        "string as an integer\n"
    ),
    "train --genotype nowhere/at/all/where/a/long/name/is/broken": (
        "There is no genotype 'nowhere/at/a...ame/is/broken': give a file, the folder of a "
        f"finished search, a recorded run, or one of {', '.join(PUBLISHED)}.\n"
    ),
    "doctor --help": (
        "Usage: python -m dartslib doctor [OPTIONS]\n\n"
        "  Say what this machine has, and what to do about what is missing.\n\n"
        "Options:\n"
        "  --data-folder <path>  Where data sets lie or are downloaded to.  [default:\n"
        "                        data]\n"
        "  --help                Show this message and exit.\n"
    ),
}


@pytest.mark.parametrize("columns", ["40", "80", "300"])
@pytest.mark.parametrize("command", ANSWERS)
def test_the_words_of_an_answer(there, monkeypatch, capsys, command, columns):
    monkeypatch.setenv("COLUMNS", columns)  # a CliRunner has a width of its own
    with pytest.raises(SystemExit):
        app(command.split(), prog_name="python -m dartslib")
    assert "".join(capsys.readouterr()) == ANSWERS[command]


@pytest.mark.parametrize("asked", TERMINALS, ids=" ".join)
def test_the_words_are_the_same_in_every_terminal(tmp_path, asked):
    known = {name for names in TERMINALS for name in names}
    environment = {name: value for name, value in os.environ.items() if name not in known}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | asked
    # What is asked of a terminal is read on import. Without the command that loads torch: seconds.
    answers = {words: answer for words, answer in ANSWERS.items() if "train" not in words}
    commands = [command.split() for command in answers]
    code = (
        "import sys\nfrom dartslib.__main__ import app\n"
        f"for words in {commands}:\n"
        "    try:\n        app(words, prog_name='python -m dartslib')\n"
        "    except SystemExit:\n        print('---', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.stdout.split("---\n") == [*answers.values(), ""]


# What looks bad and is not


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_genotype_in_what_an_editor_makes_of_it(tmp_path, encoding):
    """As Windows' Notepad and its shell write it; Genotype.to_json() itself is plain ASCII."""
    path = tmp_path / "cell.json"
    path.write_text(DARTS_V2.to_json(), encoding=encoding, newline="\r\n")
    assert find_genotype(str(path)) == DARTS_V2


@pytest.mark.parametrize(("file", "marked"), [
    ("dartslib/__init__.py", True), ("benchmarks/autopsy.py", True),
    ("benchmarks/autopsy.json", False), ("docs/page.md", False),
])  # fmt: skip
def test_a_record_tells_of_code_that_no_commit_has(tmp_path, monkeypatch, file, marked):
    """Also of a benchmark's; what one of them has measured is no code."""
    places = ["dartslib/runs/machine.py", "dartslib/__init__.py", "docs/page.md"]
    for place in [*places, "benchmarks/autopsy.py", "benchmarks/autopsy.json"]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("", encoding="utf-8")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    clean = machine.commit.__wrapped__()
    assert len(clean) == 40
    (tmp_path / file).write_text("other", encoding="utf-8")
    assert machine.commit.__wrapped__() == clean + "+changes" * marked


def test_another_commit_machine_and_version_go_on_and_are_recorded(there, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "drive", _checkpoint_after_every_step())
    command = ["search", "--out", str(tmp_path / "run"), *SMALL_SEARCH]
    advance = Search.advance

    def interrupted(self):
        if self.step == 1:
            raise KeyboardInterrupt
        advance(self)

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(Search, "advance", interrupted)
        elsewhere.setattr(driving, "commit", lambda: "0" * 40)
        elsewhere.setattr(driving, "machine", lambda device: {"processor": "abacus"})
        elsewhere.setattr(driving, "versions", lambda: {"torch": "1.0"})
        assert CliRunner().invoke(app, command).exit_code != 0
    done = CliRunner().invoke(app, [*command, "--resume"])
    assert done.exit_code == 0, done.output
    meta = records.load(tmp_path / "run").meta
    assert meta["from_steps"] == [0, 1]
    assert meta["commits"][0] == "0" * 40 != meta["commits"][1]
    assert [machine["processor"] == "abacus" for machine in meta["machines"]] == [True, False]
    assert meta["versions"][0] == {"torch": "1.0"}
    assert meta["versions"][1] == driving.versions()


def test_resuming_in_an_empty_folder_begins(there, tmp_path):
    done = CliRunner().invoke(app, ["search", "--out", str(tmp_path), "--resume", *SMALL_SEARCH])
    assert done.exit_code == 0, done.output
    assert records.load(tmp_path).meta["from_steps"] == [0]


# No genotype, configuration, checkpoint or record can run code


class _Harm:
    """Whoever unpickles it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


CODE = "__import__('os').mkdir('harm')"
TAG = "!!python/object/apply:os.mkdir [harm]"  # what a careless YAML loader would run


def _pickled():
    return pickle.dumps({"format": driving.FORMAT, "loop": _Harm()}, protocol=2)


def _checkpoint(new):
    file = io.BytesIO()
    state = {"format": driving.FORMAT, "config": "{}", "stretches": "[]", "loop": _Harm()}
    torch.save(state, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def _objects():
    return np.array([_Harm()] * 100, dtype=object)


# fmt: off
# what the file is | where it lies | its content | who reads it
HARMFUL = [
    ("a genotype that is a pickle", "cell.json", _pickled,
     lambda: find_genotype("cell.json")),
    ("a genotype that is Python", "cell.json", CODE.encode,
     lambda: find_genotype("cell.json")),
    ("a genotype that is YAML", "cell.json", TAG.encode,
     lambda: find_genotype("cell.json")),
    ("an operation that is Python", "cell.json", lambda: _cell(normal=[[[CODE, 0]]]).encode(),
     lambda: FinalNetwork(find_genotype("cell.json"))),
    ("a data set that is a pickle", "data/mine.npz", _pickled, lambda: load("mine")),
    ("images that are objects", "data/mine.npz",
     lambda: _archive(_tiny() | {"x_train": _objects()}), lambda: load("mine")),
    ("names that are objects", "data/mine.npz",
     lambda: _archive(_tiny() | {"class_names": _objects()}), lambda: load("mine")),
    ("a pickle in an npz", "data/mine.npz",
     lambda: _archive(_tiny() | {"y_test": _pickled()}), lambda: load("mine")),
    ("a checkpoint of today", "run/checkpoint.pt", lambda: _checkpoint(True),
     lambda: _said(*shlex.split(SEARCH), "--out", "run", "--resume")),
    ("a checkpoint of old", "run/checkpoint.pt", lambda: _checkpoint(False),
     lambda: _said(*shlex.split(SEARCH), "--out", "run", "--resume")),
    ("a checkpoint that is a pickle", "run/checkpoint.pt", _pickled,
     lambda: _said(*shlex.split(SEARCH), "--out", "run", "--resume")),
    ("a record's meta that is a pickle", "mine/meta.json", _pickled,
     lambda: records.load("mine")),
    ("a record's meta that is Python", "mine/meta.json", CODE.encode,
     lambda: records.load("mine")),
    ("a record's history of objects", "mine/history.npz",
     lambda: _archive({"step": _objects()}), lambda: records.load("mine")),
    ("a record's history that is a pickle", "mine/history.npz", _pickled,
     lambda: records.load("mine")),
    ("a record's genotype that is a pickle", "mine/genotype.json", _pickled,
     lambda: records.load("mine")),
    ("a setting that is Python", "none", bytes,
     lambda: _said("search", "--set", f"epochs={CODE}")),
    ("a setting that is YAML", "none", bytes, lambda: _said("search", "--set", f"epochs={TAG}")),
    ("a data set named in Python", "none", bytes, lambda: _said("search", "--data", CODE)),
    ("a configuration that is a pickle", "config.json", _pickled,
     lambda: SearchConfig.model_validate_json(Path("config.json").read_bytes())),
]
# fmt: on


def test_the_harm_is_one(tmp_path, monkeypatch):
    """Read carelessly, each of these files does make the folder that is looked for below."""
    monkeypatch.chdir(tmp_path)
    checkpoints = (_checkpoint(True), _checkpoint(False))
    for careless in (
        lambda: pickle.loads(_pickled()),
        lambda: eval(CODE),
        *(lambda c=c: torch.load(io.BytesIO(c), weights_only=False) for c in checkpoints),
        lambda: np.load(io.BytesIO(_archive({"a": _objects()[:1]})), allow_pickle=True)["a"],
    ):
        careless()
        Path("harm").rmdir()


@pytest.mark.parametrize(
    ("path", "content", "read"), [pytest.param(*case, id=name) for name, *case in HARMFUL]
)
def test_no_file_runs_code(tmp_path, monkeypatch, path, content, read):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "load", _load)
    _made(tmp_path / "mine" / "meta.json").write_text("{}", "utf-8")
    _made(tmp_path / path).write_bytes(content())
    with suppress(ValueError):
        read()
        assert path in ("run/checkpoint.pt", "none"), "it was taken for a good file"
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("path", sorted(ROOT.glob("dartslib/**/*.py")), ids=lambda path: path.stem)
def test_nothing_in_the_package_could(path):
    """No eval, no pickle, no YAML, and the two readers that could unpickle are told not to."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            # joblib hands functions to processes of its own; it reads no file here.
            hands_on = {"joblib", "Parallel", "cpu_count", "delayed", "parallel_config"}
            unsafe = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
            fine = names == {"pickle", "UnpicklingError"} or names <= hands_on
            assert not names & unsafe or fine
            assert not names & {"yaml", "code", "codeop", "runpy"}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__", "pickle.load"}, called
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called == "torch.load":
                assert options["weights_only"] == "True"
            if called == "np.load":
                assert options["allow_pickle"] == "False"

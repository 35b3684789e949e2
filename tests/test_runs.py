"""Profiles, checkpoints, records: what stands around the two loops."""

import dataclasses
import errno
import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from plain import Noise, is_one_sentence
from test_searching import _same

from dartslib.data import DataSet, split
from dartslib.genotypes import DARTS_V1, DARTS_V2, Genotype
from dartslib.gradients import METHODS
from dartslib.runs import driving, files, records, running
from dartslib.runs.driving import drive
from dartslib.runs.profiles import PROFILES, profile
from dartslib.runs.records import Record
from dartslib.runs.running import find_device, find_genotype, make_run
from dartslib.searching import Search, SearchConfig
from dartslib.training import TrainConfig, Training

CELL = Genotype(
    ((("sep_conv_3x3", 0), ("skip_connect", 1)),), ((("max_pool_3x3", 0), ("skip_connect", 1)),)
)
TINY_SEARCH = {
    "nodes": 1,
    "operations": ("sep_conv_3x3", "max_pool_3x3", "none"),
    "layers": 2,
    "reductions": (1,),
    "channels": 2,
    "head": "linear",
    "epochs": 3,
    "batch_size": 4,
    "alpha_lr": 0.05,
    "records": 5,
}
TINY_TRAIN = {
    "layers": 2,
    "reductions": (1,),
    "channels": 2,
    "head": "linear",
    "epochs": 2,
    "batch_size": 8,
}


def _noise_set(name="noise", count=40, side=8, classes=2, test=20):
    """Random images of a shape, as a data set."""
    rng = np.random.default_rng(0)

    def draw(count):
        return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)

    names = [str(k) for k in range(classes)]
    labels = np.arange(count) % classes, np.arange(test) % classes
    return DataSet.from_arrays(name, draw(count), labels[0], draw(test), labels[1], names)


@pytest.fixture
def noise(monkeypatch):
    """The data set `noise`, whatever the folder."""
    monkeypatch.setattr(running, "load", lambda name, *_: _noise_set(name))


def _search(**changes):
    config = SearchConfig(**(TINY_SEARCH | changes))
    return Search(config, Noise(3, images=4), Noise(3, images=4, seed=1), image_size=8)


# Profiles


def test_report_profile():
    """Section 4 of the report, as the facts have it."""
    report = profile("report")
    s, f, t = report.search, report.final, report.transfer
    assert (s.nodes, s.layers, s.channels, s.head) == (3, 8, 16, "mlp")
    assert (s.batch_size, s.epochs, s.w_lr, s.w_lr_min) == (64, 40, 0.025, 0.0)
    assert (s.momentum, s.w_weight_decay) == (0.9, 3e-4)
    assert (s.alpha_lr, s.alpha_betas, s.alpha_weight_decay) == (3e-4, (0.5, 0.999), 1e-3)
    assert (f.layers, f.channels, f.head, f.epochs, f.batch_size) == (14, 16, "mlp", 600, 128)
    assert (f.cutout, f.drop_path, f.auxiliary, f.part) == (0, 0, 0, "final")
    assert (t.dataset, t.epochs, t.batch_size) == ("cifar100", 300, 64)
    assert report.compare.epochs == 100 and report.compare.layers == 8


def test_darts_profile():
    """Liu et al., as the facts have them."""
    paper = profile("darts")
    s, f, t = paper.search, paper.final, paper.transfer
    assert (s.nodes, s.layers, s.channels, s.head) == (4, 8, 16, "linear")
    assert (s.batch_size, s.epochs, s.w_lr, s.w_lr_min, s.clip) == (64, 50, 0.025, 0.001, 5)
    assert (s.alpha_lr, s.alpha_weight_decay, s.alpha_init_std) == (3e-4, 1e-3, 1e-3)
    assert (f.layers, f.channels, f.epochs, f.batch_size, f.lr) == (20, 36, 600, 96, 0.025)
    assert (f.cutout, f.drop_path, f.auxiliary, f.clip) == (16, 0.2, 0.4, 5)
    assert (t.dataset, t.layers, t.channels) == ("cifar100", 20, 36)


def test_the_published_halves_are_kept_where_they_were_published():
    for name in ("report", "darts"):
        for config in dataclasses.astuple(profile(name))[:2]:
            assert config.held_out == 0
    half = profile("lesson").search.half
    assert half == 10_000 and profile("lesson").search.held_out == 0.1


def test_lesson_profile_keeps_steps_times_rate():
    s = profile("lesson").search
    assert s.epochs * (s.half // s.batch_size) == 1_248 and s.alpha_lr is None
    assert (s.nodes, s.layers, s.channels, s.head) == (3, 5, 8, "linear")
    f = profile("lesson").final
    assert (f.layers, f.channels, f.head, f.part) == (14, 16, "linear", "final")


def test_smoke_profile_needs_nothing_from_the_network():
    smoke = profile("smoke")
    names = [c.dataset for c in (smoke.search, smoke.compare, smoke.final, smoke.transfer)]
    assert names == ["shapes10", "shapes10", "shapes10", "shapes100"]
    assert smoke.search.half // smoke.search.batch_size * smoke.search.epochs == 20


@pytest.mark.parametrize("name", PROFILES)
def test_parts_of_a_profile(name):
    found = profile(name)
    assert [found.compare.part, found.final.part, found.transfer.part] == [
        "compare",
        "final",
        "final",
    ]
    final, transfer = (c.model_dump() for c in (found.final, found.transfer))
    same = {"layers", "channels", "head", "reductions", "cutout", "drop_path", "auxiliary"}
    assert all(final[key] == transfer[key] for key in same)


def test_an_unknown_profile():
    with pytest.raises(ValueError) as error:
        profile("paper")
    assert is_one_sentence(error.value)


# One step at real sizes


def _one_step_of_search(name, method, batch, device="cpu"):
    config = profile(name).search.model_copy(
        update={"gradient": method, "batch_size": batch, "epochs": 1}
    )
    dataset = _noise_set("cifar10", 2 * batch, 32, 10, 1)
    cut = split(dataset, config.half, config.held_out)
    search = Search(
        config,
        dataset.batches(cut.search_train, batch, device=device),
        dataset.batches(cut.search_valid, batch, device=device),
        device=device,
    )
    alpha = [logits.detach().clone() for logits in search.architecture.alpha]
    w = [p.detach().clone() for p in search.w]
    (record,) = [record for record in search if record["step"]]
    assert search.steps == 1 and np.isfinite(record["train_loss"])
    # Adam's first step is its rate, whatever the gradient.
    for before, after in zip(alpha, search.architecture.alpha, strict=True):
        moved = (after - before).abs().mean().item()
        assert moved == pytest.approx(3e-4, rel=0.3)
    assert any(not torch.equal(a, b) for a, b in zip(w, search.w, strict=True))
    search.architecture.derive()


def _one_step_of_training(name, kind, batch, device="cpu"):
    config = getattr(profile(name), kind).model_copy(update={"batch_size": batch, "epochs": 1})
    classes = 100 if config.dataset == "cifar100" else 10
    dataset = _noise_set(config.dataset, batch, 32, classes, 1)
    batches = dataset.batches(
        split(dataset, held_out=0.0).final_train, batch, cutout=config.cutout, device=device
    )
    cell = DARTS_V2 if name == "darts" else Genotype(DARTS_V2.normal[:3], DARTS_V1.reduction[:3])
    training = Training(config, cell, batches, num_classes=classes, device=device)
    w = [p.detach().clone() for p in training.network.parameters()]
    (record,) = training
    assert training.steps == 1 and np.isfinite(record["train_loss"])
    moved = [not torch.equal(a, b) for a, b in zip(w, training.network.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.full
@pytest.mark.parametrize("method", ["first_order", "finite_difference"])
@pytest.mark.parametrize("name", ["report", "darts"])
def test_one_step_of_search_at_real_size(name, method):
    _one_step_of_search(name, method, 2)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["final", "transfer"])
@pytest.mark.parametrize("name", ["report", "darts"])
def test_one_step_of_training_at_real_size(name, kind):
    _one_step_of_training(name, kind, 4)


# A batch of 64 takes up to 9.4 GiB here; without them the machine would begin to swap. So each test
# has a process of its own, which gives all of it back, and they take turns.
ENOUGH_MEMORY = pytest.mark.skipif(
    not hasattr(os, "sysconf")
    or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 11 * 2**30,
    reason="needs a machine with 11 GiB of memory",
)
ALONE = pytest.mark.xdist_group("memory")


@pytest.fixture(scope="module")
def apart():
    """Calls a function in a new process."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


@ENOUGH_MEMORY
@ALONE
@pytest.mark.full
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["report", "darts"])
def test_one_step_of_search_with_the_full_batch(name, method, apart):
    # One level takes both halves at once, 64 images together here. Double backward holds several
    # times as much as a plain pass, and gets a quarter.
    batch = profile(name).search.batch_size // {"one_level": 2, "exact": 4}.get(method, 1)
    apart(_one_step_of_search, name, method, batch)


@ENOUGH_MEMORY
@ALONE
@pytest.mark.full
@pytest.mark.parametrize("kind", ["compare", "final", "transfer"])
@pytest.mark.parametrize("name", ["report", "darts"])
def test_one_step_of_training_with_the_full_batch(name, kind, apart):
    apart(_one_step_of_training, name, kind, getattr(profile(name), kind).batch_size)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["report", "darts"])
def test_one_step_at_real_size_on_a_gpu(name):
    for method in METHODS:
        _one_step_of_search(name, method, 4, "cuda")
    _one_step_of_training(name, "final", 4, "cuda")


# Files that are whole


def test_a_failure_in_the_middle_of_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.bin"
    files.write_whole(path, b"old")

    def fail(descriptor):
        os.truncate(descriptor, 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space.*free some space") as error:
            files.write_whole(path, b"new")
    assert is_one_sentence(error.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    files.write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_text_is_utf8_with_plain_line_ends(tmp_path):
    files.write_text(tmp_path / "a.txt", "α = 1\n")
    assert (tmp_path / "a.txt").read_bytes() == "α = 1\n".encode()


# Checkpoints


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    with pytest.raises(_Stops):
        drive(_stop_at(_search(epochs=1), 2), tmp_path, progress=False, every_seconds=0)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def fail(part, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        drive(_search(epochs=1), tmp_path, resume=True, progress=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


class _Stops(Exception):
    pass


def _stop_at(loop, step):
    """Makes a loop fail when it asks for the batch of a step."""
    source = loop.train if isinstance(loop, Search) else loop.batches
    at = source.at

    def failing(asked):
        if asked == step:
            raise _Stops
        return at(asked)

    source.at = failing
    return loop


def _training():
    config = TrainConfig(**TINY_TRAIN, drop_path=0.3)
    return Training(config, CELL, Noise(4), Noise(2, seed=3), image_size=8)


@pytest.mark.parametrize("make", [_search, _training], ids=["search", "training"])
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(tmp_path, make, stop):
    whole = make()
    drive(whole, tmp_path / "whole", progress=False)

    with pytest.raises(_Stops):
        drive(_stop_at(make(), stop), tmp_path / "run", progress=False, every_seconds=0)
    resumed = make()
    stretches = drive(resumed, tmp_path / "run", resume=True, progress=False)
    assert [stretch["from_step"] for stretch in stretches] == [0, stop]
    assert _same(whole.state_dict(), resumed.state_dict())
    for name, values in whole.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(np.asarray(values), np.asarray(resumed.history[name]))


def test_a_finished_run_can_be_resumed_and_does_nothing(tmp_path):
    first, second = _search(), _search()
    drive(first, tmp_path, progress=False)
    stretches = drive(_stop_at(second, 0), tmp_path, resume=True, progress=False)
    assert len(stretches) == 1
    assert _same(first.state_dict(), second.state_dict())


def test_a_checkpoint_at_least_every_five_minutes(tmp_path, monkeypatch):
    # A slow machine: a step takes a minute, and a record is due only at the end.
    clock, saved = [0.0], []
    monkeypatch.setattr(driving, "monotonic", lambda: clock[0])
    write = driving._write
    monkeypatch.setattr(driving, "_write", lambda *a: (saved.append(clock[0]), write(*a)))
    loop = _search(epochs=5, records=1)
    advance = loop.advance
    loop.advance = lambda: (advance(), clock.__setitem__(0, clock[0] + 60.0))
    drive(loop, tmp_path, progress=False)
    assert clock[0] == 15 * 60
    assert max(np.diff([0.0, *saved])) <= 300
    assert len(saved) < 15


def test_a_checkpoint_is_data_and_no_code(tmp_path):
    drive(_search(epochs=1), tmp_path, progress=False)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["format"] == "dartslib-checkpoint-3"
    assert json.loads(state["config"])["epochs"] == 1
    (stretch,) = json.loads(state["stretches"])
    assert stretch["from_step"] == 0 and stretch["cpu_seconds"] > 0


class _Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def _not_a_checkpoint(path, kind):
    if kind == "code":
        torch.save({"format": driving.FORMAT, "loop": _Harmful()}, path)
    elif kind == "cut off":
        drive(_search(epochs=1), path.parent, progress=False)
        os.truncate(path, 2000)
    elif kind == "text":
        path.write_text("no checkpoint\n", "utf-8")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "a tensor":
        torch.save(torch.zeros(3), path)
    else:
        torch.save({"format": "something else"}, path)


@pytest.mark.parametrize("kind", ["code", "cut off", "text", "empty", "a tensor", "other"])
def test_what_is_no_checkpoint(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run" / "checkpoint.pt"
    path.parent.mkdir()
    _not_a_checkpoint(path, kind)
    with pytest.raises(ValueError, match="checkpoint") as error:
        drive(_search(epochs=1), path.parent, resume=True, progress=False)
    assert is_one_sentence(error.value)
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = {"format": "dartslib-checkpoint-3", "config": "", "loop": _Harmful()}
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError):
        drive(_search(epochs=1), tmp_path, resume=True, progress=False)
    assert not (tmp_path / "harm").exists()


def test_a_folder_in_use(tmp_path):
    drive(_search(epochs=1), tmp_path, progress=False)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(FileExistsError, match="--resume") as error:
        drive(_search(epochs=1), tmp_path, progress=False)
    assert is_one_sentence(error.value)
    with pytest.raises(ValueError, match="other settings") as error:
        drive(_search(epochs=1, seed=5), tmp_path, resume=True, progress=False)
    assert is_one_sentence(error.value)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_resuming_what_never_began(tmp_path):
    loop = _search(epochs=1)
    stretches = drive(loop, tmp_path / "new", resume=True, progress=False)
    assert loop.step == loop.steps and len(stretches) == 1


# Records


def test_a_record_goes_to_disk_and_back(tmp_path):
    history = {"step": np.arange(3), "train_loss": np.array([np.nan, 1.5, 1 / 3])}
    meta = {"kind": "search", "result": {"valid_accuracy": 0.5}}
    record = Record("one", meta, history, DARTS_V1)
    records.save(record, tmp_path / "one")
    found = records.load("one", tmp_path)
    by_path = records.load(tmp_path / "one")
    for back in (found, by_path):
        assert (back.name, back.meta, back.genotype) == ("one", meta, DARTS_V1)
        np.testing.assert_allclose(back.history["train_loss"], history["train_loss"], rtol=1e-6)
        assert back.history["step"].tolist() == [0, 1, 2]
        assert back.history["step"].dtype == np.int64

    records.save(Record("two", {"kind": "measurement"}, {}, None), tmp_path / "two")
    (tmp_path / "unfinished").mkdir()
    assert records.names(tmp_path) == ["one", "two"]
    assert records.load("two", tmp_path).genotype is None
    assert records.names(tmp_path / "nothing here") == []


def test_a_record_is_finished_with_its_meta(tmp_path, monkeypatch):
    monkeypatch.setattr(records.json, "dumps", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        records.save(Record("one", {}, {"step": np.arange(3)}, None), tmp_path / "one")
    with pytest.raises(FileNotFoundError, match="'one'") as error:
        records.load("one", tmp_path)
    assert is_one_sentence(error.value)


def test_meta_is_written_last(tmp_path, monkeypatch):
    # Whatever fails before, a record that is not whole does not count as one.
    record = Record("one", {}, {"step": np.arange(3)}, DARTS_V1)
    replace = os.replace
    for last in ("history.npz", "genotype.json", "meta.json"):
        with monkeypatch.context() as patch, pytest.raises(_Stops):
            patch.setattr(
                os,
                "replace",
                lambda part, path, n=last: (_stops if path.name == n else replace)(part, path),
            )
            records.save(record, tmp_path)
        assert not (tmp_path / "meta.json").exists()
        assert (tmp_path / "history.npz").exists() == (last != "history.npz")
    records.save(record, tmp_path)
    assert (tmp_path / "meta.json").exists()


def _stops(path, *_):
    raise _Stops(path)


def test_no_pickled_objects_in_a_history(tmp_path):
    (tmp_path / "meta.json").write_text("{}", "utf-8")
    np.savez(tmp_path / "history.npz", step=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="damaged") as error:
        records.load(tmp_path)
    assert is_one_sentence(error.value) and "allow_pickle" in str(error.value.__cause__)


# Whole runs

OF_EVERY_RECORD = set(
    "kind dataset profile seed config overridden commits machines versions seconds "
    "seconds_per_iteration weights multiply_adds result".split()
)


@pytest.mark.parametrize("method", ["one_level", "first_order"])
def test_a_search_and_its_record(tmp_path, noise, method):
    config = SearchConfig(**TINY_SEARCH, dataset="noise", gradient=method, held_out=0.2)
    overridden = {"epochs": 3}
    done = make_run(config, tmp_path / "run", profile="smoke", overridden=overridden, device="cpu")
    found = records.load(tmp_path / "run")
    assert found.meta == done.meta == json.loads(json.dumps(done.meta))
    text = (tmp_path / "run" / "meta.json").read_text("utf-8")
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))

    meta = found.meta
    assert OF_EVERY_RECORD <= set(meta)
    assert (meta["kind"], meta["dataset"], meta["profile"]) == ("search", "noise", "smoke")
    assert (meta["gradient"], meta["seed"], meta["overridden"]) == (method, 0, overridden)
    assert SearchConfig(**meta["config"]) == config
    assert len(meta["commits"]) == len(meta["machines"]) == len(meta["versions"]) == 1
    assert meta["steps"] == 3 * 4 and meta["from_steps"] == [0]
    assert meta["seconds_per_iteration"] == pytest.approx(meta["seconds"] / 12)
    assert meta["weights"] > 0 and meta["multiply_adds"] > 0
    assert str(tmp_path) not in text and str(running.records.RECORDED.parents[1]) not in text

    history = found.history
    assert history["step"].tolist() == list(range(0, 13, 2))
    last = history["step"] > 8  # the last of three epochs: records of two steps at 10 and 12
    names = {"train_accuracy"} | ({"valid_accuracy"} if method != "one_level" else set())
    assert set(meta["result"]) == names
    for name in names:
        assert meta["result"][name] == pytest.approx(history[name][last].mean(), abs=1e-6)
    search_again = find_genotype(str(tmp_path / "run"))
    assert search_again == found.genotype == done.genotype


def test_what_a_search_is_given(tmp_path, noise, monkeypatch):
    """Both halves, distinct, of the size asked for, without the held-out images, and augmented."""
    given = []
    init = Search.__init__

    def watching(self, config, train, valid, **options):
        given.extend([train, valid])
        init(self, config, train, valid, **options)

    monkeypatch.setattr(Search, "__init__", watching)
    config = SearchConfig(**TINY_SEARCH, dataset="noise", half=12, held_out=0.2, seed=5)
    make_run(config, tmp_path, device="cpu")
    train, valid = given
    expected = split(_noise_set(), 12, 0.2)
    for batches, subset in ((train, expected.search_train), (valid, expected.search_valid)):
        assert batches.subset.name == subset.name
        assert torch.equal(batches.subset.images, subset.images)
        assert torch.equal(batches.subset.labels, subset.labels)
        assert (batches.shuffle, batches.crop, batches.flip) == (True, 4, True)
        assert (batches.cutout, batches.batch_size, batches.seed) == (0, 4, 5)
    apart = [
        {image.tobytes() for image in subset.images.numpy()}
        for subset in (train.subset, valid.subset, expected.compare_valid)
    ]
    assert [len(images) for images in apart] == [12, 12, 8]
    assert len(set.union(*apart)) == 12 + 12 + 8


def test_a_training_and_its_record(tmp_path, noise, monkeypatch):
    seen = []
    init = Training.__init__

    def watching(self, config, genotype, batches, watched=None, **options):
        seen.append((batches, watched))
        init(self, config, genotype, batches, watched, **options)

    monkeypatch.setattr(Training, "__init__", watching)
    for kind in ("final", "compare"):
        config = TrainConfig(**TINY_TRAIN, dataset="noise", part=kind, held_out=0.2, cutout=3)
        make_run(config, tmp_path / kind, CELL, genotype_name="CELL", device="cpu")
    (final, none), (compare, watched) = seen
    assert none is None
    assert (len(final.subset), len(compare.subset), len(watched.subset)) == (40, 32, 8)
    assert final.subset.name == "final_train" and watched.subset.name == "compare_valid"
    for batches in (final, compare):
        assert (batches.cutout, batches.flip, batches.crop, batches.shuffle) == (3, True, 4, True)
    assert (watched.cutout, watched.flip, watched.crop) == (0, False, 0)

    final, compare = (records.load(tmp_path / kind) for kind in ("final", "compare"))
    for found in (final, compare):
        assert OF_EVERY_RECORD <= set(found.meta)
        assert found.meta["kind"] == "train" and found.meta["cell"] == "CELL"
        assert found.genotype == CELL
        assert TrainConfig(**found.meta["config"]).dataset == "noise"
    assert set(final.meta["result"]) == {"train_accuracy", "test_loss", "test_accuracy"}
    assert "valid_accuracy" not in final.history
    assert set(compare.meta["result"]) == {"train_accuracy", "valid_accuracy"}
    assert compare.history["evaluation_step"].tolist() == [4, 8]
    # The last epoch's, not the best one's.
    last = compare.history["valid_accuracy"][-1]
    assert compare.meta["result"]["valid_accuracy"] == pytest.approx(last)
    assert 0 <= final.meta["result"]["test_accuracy"] <= 1


def test_the_last_accuracy_is_reported_not_the_best(tmp_path, noise, monkeypatch):
    figures, evaluate = iter([(1.0, 0.25), (0.5, 0.75), (0.8, 0.5)]), Training.evaluate
    monkeypatch.setattr(
        Training, "evaluate", lambda self, batches: next(figures, None) or evaluate(self, batches)
    )
    config = TrainConfig(**TINY_TRAIN | {"epochs": 3}, dataset="noise", part="compare")
    found = make_run(config, tmp_path, CELL, device="cpu")
    assert found.history["valid_accuracy"].tolist() == [0.25, 0.75, 0.5]
    assert found.meta["result"]["valid_accuracy"] == 0.5


def test_test_images_are_used_once(tmp_path, noise, monkeypatch):
    asked = []
    evaluation_batches = DataSet.evaluation_batches

    def watching(self, subset, *arguments, **options):
        asked.append(subset.name)
        return evaluation_batches(self, subset, *arguments, **options)

    monkeypatch.setattr(DataSet, "evaluation_batches", watching)
    evaluate, evaluated = Training.evaluate, []
    monkeypatch.setattr(
        Training, "evaluate", lambda self, b: evaluated.append(self.step) or evaluate(self, b)
    )
    config = TrainConfig(**TINY_TRAIN, dataset="noise")
    make_run(config, tmp_path, CELL, device="cpu")
    assert asked == ["test"] and evaluated == [10]


def test_a_run_stopped_twice_names_every_stretch(tmp_path, noise, monkeypatch):
    config = SearchConfig(**TINY_SEARCH, dataset="noise")
    whole = make_run(config, tmp_path / "whole", device="cpu")
    for name in ("commit", "machine", "versions"):  # another one in each stretch
        count = itertools.count(1)
        monkeypatch.setattr(
            driving, name, lambda *_, name=name, count=count: f"{name} {next(count)}"
        )
    monkeypatch.setattr(driving, "EVERY_SECONDS", 0.0)
    drive_often = running.drive
    monkeypatch.setattr(running, "drive", lambda *a, **k: drive_often(*a, **k, every_seconds=0.0))
    advance = Search.advance
    for stop in (4, 9):

        def failing(self, stop=stop):
            if self.step == stop:
                raise _Stops
            advance(self)

        monkeypatch.setattr(Search, "advance", failing)
        with pytest.raises(_Stops):
            make_run(config, tmp_path / "run", resume=True, device="cpu")
        assert not (tmp_path / "run" / "meta.json").exists()  # a checkpoint is no record
    monkeypatch.setattr(Search, "advance", advance)
    done = make_run(config, tmp_path / "run", resume=True, device="cpu")
    assert done.meta["from_steps"] == [0, 4, 9]
    for name in ("commits", "machines", "versions"):
        assert [entry[-1] for entry in done.meta[name]] == ["1", "2", "3"]
    assert done.genotype == whole.genotype
    assert done.meta["result"] == whole.meta["result"]
    for name, values in whole.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(values, done.history[name])


# The data that a run began with


def _stop_in(monkeypatch, kind, folder, dataset):
    """Begins a run of a kind on a data set and stops it half-way; returns what resumes it."""
    loop = {"search": Search, "train": Training}[kind]
    drive_often, advance = driving.drive, loop.advance
    monkeypatch.setattr(running, "drive", lambda *a, **k: drive_often(*a, **k, every_seconds=0.0))

    def run(dataset):
        monkeypatch.setattr(running, "load", lambda name, *_: dataset)
        if kind == "search":
            config = SearchConfig(**TINY_SEARCH, dataset="noise")
            return make_run(config, folder, resume=True, device="cpu")
        config = TrainConfig(**TINY_TRAIN, dataset="noise")
        return make_run(config, folder, CELL, resume=True, device="cpu")

    def failing(self):
        if self.step == 3:
            raise _Stops
        advance(self)

    with monkeypatch.context() as stopped:
        stopped.setattr(loop, "advance", failing)
        with pytest.raises(_Stops):
            run(dataset)
    return run


def _changed(kind):
    """The images of `_noise_set` with a change."""
    rng = np.random.default_rng(0)
    images, test = (rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8) for n in (40, 20))
    labels, test_labels, names = np.arange(40) % 2, np.arange(20) % 2, ["0", "1"]
    if kind == "a pixel":
        images[7, 0, 0, 0] ^= 1
    elif kind == "a pixel to test":
        test[7, 0, 0, 0] ^= 1
    elif kind == "a label":
        labels[7] ^= 1
    elif kind == "names permuted":
        names = ["1", "0"]
    elif kind == "one more to test":
        test, test_labels = np.concatenate([test, 255 - images[:1]]), np.append(test_labels, 0)
    elif kind == "another order":
        order = rng.permutation(40)
        images, labels, test, test_labels = (
            images[order], labels[order], test[::-1], test_labels[::-1]
        )  # fmt: skip
    return DataSet.from_arrays("noise", images, labels, test, test_labels, names)


OTHER = ["a pixel", "a pixel to test", "a label", "names permuted", "one more to test"]


@pytest.mark.parametrize("kind", ["search", "train"])
def test_a_run_does_not_go_on_with_other_data(tmp_path, monkeypatch, kind):
    run = _stop_in(monkeypatch, kind, tmp_path, _noise_set())
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for change in OTHER:
        with pytest.raises(ValueError, match="other data") as error:
            run(_changed(change))
        assert is_one_sentence(str(error.value).replace(str(tmp_path), "run"))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    done = run(_changed("another order"))  # which is the same data
    assert done.meta["from_steps"] == [0, 3]
    assert done.meta["data"] == _noise_set().digest()
    with pytest.raises(ValueError, match="other data"):  # a finished run, too
        run(_changed("a label"))


def test_devices():
    assert find_device() in ("cpu", "cuda") and find_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="toaster") as error:
        find_device("toaster")
    assert is_one_sentence(error.value)


def test_where_a_genotype_can_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORDED", tmp_path / "recorded")
    files.write_text(tmp_path / "cell.json", CELL.to_json())
    files.write_text(tmp_path / "run" / "genotype.json", CELL.to_json())
    files.write_text(tmp_path / "recorded" / "mine" / "genotype.json", CELL.to_json())
    assert find_genotype("DARTS_V1") == DARTS_V1
    for name in (tmp_path / "cell.json", tmp_path / "run", "mine"):
        assert find_genotype(str(name)) == CELL
    with pytest.raises(ValueError, match="DARTS_V2") as error:
        find_genotype("DARTS_V3")
    assert is_one_sentence(error.value)
    files.write_text(tmp_path / "bad.json", "no JSON")
    with pytest.raises(ValueError, match="JSON"):
        find_genotype(str(tmp_path / "bad.json"))


# Names of before version 0.2


def test_records_of_before_are_read_with_todays_names():
    """The present records were written with `method`, and are not touched."""
    path = records.RECORDED / "study" / "search-cifar10-finite_difference-0"
    old = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    assert old["method"] == old["config"]["method"] == old["overridden"]["method"]
    meta = records.load(path).meta
    assert "method" not in meta and meta["gradient"] == "finite_difference"
    assert meta["overridden"] == {"gradient": "finite_difference", "seed": 0}
    config = SearchConfig(**meta["config"])
    assert config.gradient == "finite_difference" and config.relaxation.name == "darts"

    trained = records.load(records.RECORDED / "study" / "compare-cifar10-random-3").meta
    assert trained["cell"] == "random-3" and "method" not in trained
    planted = records.load("planted").meta
    assert planted["searches"]["control"]["gradient"] == "first_order"


def test_settings_of_a_relaxation_keep_their_names(tmp_path):
    """A method may use an old name for a new setting."""
    relaxation = {"name": "mine", "method": "own"}
    meta = {"kind": "search", "method": "exact", "config": {"relaxation": relaxation}}
    records.save(records.Record("one", meta, {}, None), tmp_path / "one")
    found = records.load(tmp_path / "one").meta
    assert found["gradient"] == "exact" and found["config"]["relaxation"] == relaxation

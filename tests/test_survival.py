"""Runs survive kill -9, damage, full disks, second processes, Ctrl-C and losses that are nan.

Fifty random moments by hand: `python -m tests.survival 50`.
"""

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import is_one_sentence
from survival import CASES, Unbroken, draw, survive
from test_command_line import SMALL_SEARCH, run  # noqa: F401
from test_runs import _search, _stop_at, _Stops, _training
from test_searching import _same

from dartslib.genotypes import DARTS_V1
from dartslib.runs import driving, files, records
from dartslib.runs.driving import drive
from dartslib.runs.records import Record
from dartslib.searching import Search

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX systems")


# Kill -9


@POSIX
@pytest.mark.parametrize(
    ("case", "every", "kill"),
    [
        pytest.param("first_order", 2, ("alpha has moved, w has not", 4), marks=pytest.mark.full),
        ("training", 3, ("half of checkpoint.pt is written", 4)),
    ],
)
def test_a_killed_run_ends_like_the_unbroken_one(case, every, kill, tmp_path):
    whole = Unbroken(CASES[case], tmp_path / "whole", "forkserver")
    story = survive(whole, tmp_path / "run", every, [kill])
    print(story)
    assert "resumed at step 0" not in story  # beginning again would be equal, too


@POSIX
@pytest.mark.full
@pytest.mark.parametrize(("case", "count"), list(zip(CASES, (3, 4, 3), strict=True)))
def test_ten_random_moments(case, count, tmp_path):
    whole = Unbroken(CASES[case], tmp_path / "whole")
    done = tried = 0
    while done < count:
        plan = draw(whole, f"{case}/{tried}")
        story = survive(whole, tmp_path / str(tried), *plan)
        print(f"{case}/{tried}: {story}")
        done += story is not None  # else it was over before the moment came
        tried += 1


@pytest.mark.parametrize("make", [_search, _training], ids=["search", "training"])
def test_what_a_resumed_run_holds_is_what_the_stopped_one_held(make, tmp_path):
    """Including memory formats: with another one, sums would have another order."""
    stopped = make()
    with pytest.raises(_Stops):
        drive(_stop_at(stopped, 4), tmp_path, progress=False, every_seconds=0)
    resumed = make()
    drive(_nothing_more(resumed), tmp_path, resume=True, progress=False)

    def layout(state):
        if isinstance(state, torch.Tensor):
            return state.stride()
        if isinstance(state, dict):
            return {key: layout(value) for key, value in state.items() if key != "history"}
        return [layout(value) for value in state] if isinstance(state, list) else None

    assert resumed.step == stopped.step == 4
    assert layout(resumed.state_dict()) == layout(stopped.state_dict())
    nets = [getattr(loop, "supernet", None) or loop.network for loop in (stopped, resumed)]
    strides = [[p.stride() for p in net.parameters()] for net in nets]
    assert strides[0] == strides[1]
    assert any(p.is_contiguous(memory_format=torch.channels_last) for p in nets[0].parameters())
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["loop"]
    assert _same(kept, resumed.state_dict())


def _nothing_more(loop):
    loop.each_step = lambda: iter(())
    return loop


def test_no_step_draws_from_the_global_generators():
    """They are in no checkpoint, so nothing may depend on them."""
    for make in (_search, _training):
        loops = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            loops.append(make())
            for _ in loops[-1]:
                pass
        assert _same(*(loop.state_dict() for loop in loops))


# Five minutes


class _Slow:
    """A loop whose steps have given durations, by its own clock."""

    def __init__(self, durations):
        self.durations, self.steps, self.step, self.now = durations, len(durations), 0, 0.0

    def each_step(self):
        for duration in self.durations:
            self.now += duration
            self.step += 1
            yield None


@pytest.mark.parametrize(
    "durations",
    [[0.5] * 2000, [60] * 30, [100] * 20, [170] * 9, [239] * 9, [1, 55] * 20, [20] * 30 + [70] * 9],
    ids=lambda durations: f"{durations[0]} to {durations[-1]} s",
)
def test_at_most_five_minutes_are_lost(durations, tmp_path, monkeypatch):
    loop, saved = _Slow(durations), []
    monkeypatch.setattr(driving, "monotonic", lambda: loop.now)
    monkeypatch.setattr(driving, "_write", lambda *_: saved.append(loop.now))
    drive(loop, tmp_path, progress=False)
    assert saved[0] == 0 and saved[-1] == sum(durations)
    assert max(np.diff(saved)) <= 300
    assert max(durations) > 100 or len(saved) < len(durations)


def test_where_a_step_takes_longer_than_that_only_it_is_lost(tmp_path, monkeypatch):
    loop, saved = _Slow([400.0] * 5), []
    monkeypatch.setattr(driving, "monotonic", lambda: loop.now)
    monkeypatch.setattr(driving, "_write", lambda *_: saved.append(loop.step))
    drive(loop, tmp_path, progress=False)
    assert saved == [0, 1, 2, 3, 4, 5]


def test_after_one_slow_step_checkpoints_are_as_rare_as_before(tmp_path, monkeypatch):
    loop, saved = _Slow([200.0] + [1.0] * 1000), []
    monkeypatch.setattr(driving, "monotonic", lambda: loop.now)
    monkeypatch.setattr(driving, "_write", lambda *_: saved.append(loop.step))
    drive(loop, tmp_path, progress=False)
    assert len(saved) < 10


# Half-written and damaged files


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, c=call: (order.append(n), c(*a)))
    files.write_whole(tmp_path / "a", b"content")
    assert order == ["fsync", "replace"]


def _record(value):
    history = {"step": np.arange(3), "train_loss": np.full(3, value)}
    return Record("one", {"kind": "search", "value": value}, history, DARTS_V1)


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("number", range(8))
def test_a_record_is_never_of_two_generations(tmp_path, monkeypatch, call, number):
    """If writing a second record fails at any point, readers find one whole record or no record."""
    folder = tmp_path / "one"
    records.save(_record(1.0), folder)
    owner, left = (Path if call == "unlink" else os), [number]
    function = getattr(owner, call)

    def breaks_off(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            raise _Stops
        return function(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(owner, call, breaks_off)
        try:
            records.save(_record(2.0), folder)
            expected = {2.0}
        except _Stops:
            expected = {1.0, 2.0, None}
    try:
        found = records.load(folder)
        value = found.meta["value"]
        assert found.history["train_loss"].tolist() == [value] * 3
    except FileNotFoundError:
        value = None
    assert value in expected
    records.save(_record(3.0), folder)
    assert records.load(folder).meta["value"] == 3.0


def _damaged(content, count):
    """The content cut off at, or with one bit changed at, random places."""
    rng = random.Random(0)
    for _ in range(count):
        place = rng.randrange(len(content))
        yield content[:place]
        yield (
            content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        )


def test_a_damaged_checkpoint_is_refused_or_as_it_was(tmp_path):
    whole = _search(epochs=1)
    drive(whole, tmp_path, progress=False)
    path = tmp_path / "checkpoint.pt"
    loop, refused = _search(epochs=1), 0
    for content in _damaged(path.read_bytes(), 60):
        path.write_bytes(content)
        try:
            driving._read(path, loop)
        except ValueError as error:
            assert is_one_sentence(error)
            refused += 1
        else:  # a bit of the archive that means nothing
            assert _same(loop.state_dict(), whole.state_dict())
    assert refused > 80


@pytest.mark.parametrize("name", ["meta.json", "history.npz", "genotype.json"])
def test_a_damaged_record_is_refused_or_as_it_was(tmp_path, name):
    records.save(_record(1.0), tmp_path)
    path, refused, whole = tmp_path / name, 0, records.load(tmp_path)
    before = path.read_bytes()
    for content in _damaged(before, 60):
        path.write_bytes(content)
        try:
            found = records.load(tmp_path)
        except ValueError as error:
            assert is_one_sentence(error) and name in str(error)
            refused += 1
        else:
            # Letters of a text may change unseen, and a bit of the archive's list of contents can
            # hide an array; no checksum covers those. What is read is as it was.
            for key, values in found.history.items():
                np.testing.assert_array_equal(values, whole.history[key])
            assert len(content) >= len(before.rstrip())  # what was cut off is refused
    assert refused > (60 if name == "meta.json" else 50)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    drive(_search(epochs=1), tmp_path, progress=False)
    (tmp_path / ".checkpoint.pt.part123").write_bytes(b"half")
    (tmp_path / ".meta.json.part123").write_bytes(b"{")
    with files.alone(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "checkpoint.pt"}


# A full disk, a folder that takes nothing


def _stopped_search(run, monkeypatch):  # noqa: F811
    """A search that Ctrl-C stopped after its first step."""
    with monkeypatch.context() as patched:
        _interrupt(patched, 1)
        stopped = run("search", "--out", "run", SMALL_SEARCH)
    assert stopped.exit_code == 130, stopped.output
    return Path("run/checkpoint.pt").read_bytes()


def _limited(monkeypatch, owner, name, limit):
    """While the function runs, the system lets no file grow beyond a limit in bytes."""
    import resource

    function, (soft, hard) = getattr(owner, name), resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            return function(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(owner, name, limited)


@POSIX
def test_a_full_disk(run, monkeypatch):  # noqa: F811
    """The system refuses a write half-way, as with a full disk."""
    before = _stopped_search(run, monkeypatch)
    words = ["search", "--out", "run", "--resume", SMALL_SEARCH]

    def refused(owner, name, limit):
        with monkeypatch.context() as patched:
            _limited(patched, owner, name, limit)
            found = run(*words)
        assert found.exit_code == 2, found.output
        assert is_one_sentence(found.output.strip()) and "free some space" in found.output
        assert not list(Path("run").glob(".*part*"))

    refused(driving, "write_whole", len(before) // 2)
    assert Path("run/checkpoint.pt").read_bytes() == before
    assert run(*words).exit_code == 0
    kept = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    refused(records, "write_together", 1000)  # the run is at its end: only the record is written
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == kept


@pytest.mark.parametrize("place", ["run", "run/deeper"])
def test_a_file_where_the_folder_should_be(run, place):  # noqa: F811
    Path("run").write_text("a file", "utf-8")
    found = run("search", "--out", place, SMALL_SEARCH)
    assert found.exit_code == 2 and is_one_sentence(found.output.strip())
    assert "folder that can be written to" in found.output


def test_a_folder_that_may_not_be_written_to(run, monkeypatch):  # noqa: F811
    """As on a read-only file system. (File modes do not stop the superuser.)"""
    before = _stopped_search(run, monkeypatch)
    open_ = Path.open

    def refuses(path, mode="r", *arguments, **options):
        if "w" in mode and path.parent.name == "run":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return open_(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuses)
    steps = []

    def advance(search):
        search.step += 1
        steps.append(search.step)

    monkeypatch.setattr(Search, "advance", advance)
    found = run("search", "--out", "run", "--resume", SMALL_SEARCH)
    assert found.exit_code == 2 and is_one_sentence(found.output.strip())
    assert "Read-only" in found.output and "folder that can be written to" in found.output
    assert Path("run/checkpoint.pt").read_bytes() == before
    assert not steps  # found before any work is done


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="modes bind users only")
def test_a_read_only_folder(run):  # noqa: F811
    Path("run").mkdir(mode=0o500)
    found = run("search", "--out", "run", SMALL_SEARCH)
    assert found.exit_code == 2 and is_one_sentence(found.output.strip())
    assert "folder that can be written to" in found.output


# Two processes


def test_one_process_a_folder(run, tmp_path):  # noqa: F811
    code = """
import sys, time
from pathlib import Path
from dartslib.runs.files import alone
with alone(Path(sys.argv[1])):
    print("mine", flush=True)
    sys.stdin.read()
"""
    root = str(Path(__file__).resolve().parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    ) as other:
        assert other.stdout.readline() == "mine\n"
        for words in ([], ["--resume"]):
            found = run("search", "--out", "run", SMALL_SEARCH, words)
            assert found.exit_code == 2 and is_one_sentence(found.output.strip())
            assert "Another process" in found.output
        assert [path.name for path in Path("run").iterdir()] == [".lock"]
        other.kill()
    found = run("search", "--out", "run", SMALL_SEARCH)  # a killed process holds nothing
    assert found.exit_code == 0, found.output


def test_a_finished_run_without_its_checkpoint_is_not_written_over(run):  # noqa: F811
    assert run("search", "--out", "run", SMALL_SEARCH).exit_code == 0
    Path("run/checkpoint.pt").unlink()
    before = Path("run/meta.json").read_bytes()
    for words in ([], ["--resume"]):
        found = run("search", "--out", "run", SMALL_SEARCH, words)
        assert found.exit_code == 2 and is_one_sentence(found.output.strip())
    assert Path("run/meta.json").read_bytes() == before


# Ctrl-C


def _interrupt(monkeypatch, step, times=1, number=signal.SIGINT):
    """Sends a signal in the middle of a step, between alpha and w."""
    monkeypatch.setattr(Search, "advance", _Interrupted(Search.advance, step, times, number))


class _Interrupted:
    def __init__(self, advance, step, times, number):
        self.advance, self.step, self.times, self.number = advance, step, times, number

    def __get__(self, search, owner):
        def advance():
            alpha_step = search.alpha_optimizer.step

            def interrupted():
                alpha_step()
                if search.step + 1 == self.step:
                    for _ in range(self.times):
                        os.kill(os.getpid(), self.number)

            search.alpha_optimizer.step = interrupted
            try:
                self.advance(search)
            finally:
                search.alpha_optimizer.step = alpha_step

        return advance


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_ctrl_c_saves_the_step_it_came_in(run, monkeypatch, number):  # noqa: F811
    """SIGTERM, by which a cluster ends a job, does so, too."""
    words = ["search", "--set", "epochs=3", SMALL_SEARCH]
    with monkeypatch.context() as patched:
        _interrupt(patched, 3, number=number)
        stopped = run(*words, "--out", "run")
    assert stopped.exit_code == 130 and is_one_sentence(stopped.output.strip())
    assert "after step 3 of 6" in stopped.output and "--resume" in stopped.output
    state = torch.load("run/checkpoint.pt", weights_only=True)
    assert state["loop"]["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    assert run(*words, "--out", "run", "--resume").exit_code == 0
    assert run(*words, "--out", "whole").exit_code == 0
    states = [
        torch.load(f"{name}/checkpoint.pt", weights_only=True)["loop"] for name in ("run", "whole")
    ]
    assert records.load("run").meta["from_steps"] == [0, 3]
    assert _same(*states)


@POSIX
def test_a_second_ctrl_c_does_not_wait(run, monkeypatch):  # noqa: F811
    _interrupt(monkeypatch, 2, times=2)
    stopped = run("search", "--out", "run", SMALL_SEARCH)
    assert stopped.exit_code == 130 and is_one_sentence(stopped.output.strip())
    assert torch.load("run/checkpoint.pt", weights_only=True)["loop"]["step"] == 0


@POSIX
def test_ctrl_c_that_is_ignored_stays_ignored(tmp_path, monkeypatch):
    """As under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _interrupt(monkeypatch, 2)
    loop = _search(epochs=1)
    try:
        drive(loop, tmp_path, progress=False)
    except KeyboardInterrupt:
        pytest.fail("it was taken")
    assert loop.step == loop.steps and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


# A loss that is not finite


def _broken_at(loop, step, half="train"):
    """Puts a nan into the images of a step, counted from 1."""
    source = getattr(loop, half) if isinstance(loop, Search) else loop.batches
    at = source.at

    def broken(asked):
        images, labels = at(asked)
        return (images * float("nan") if asked == step - 1 else images), labels

    source.at = broken
    return loop


def _with_one_record(loop):
    """Making a record checks the loss, too; this leaves only the check under test."""
    loop.config = loop.config.model_copy(update={"records": 1})
    return loop


def _finite_checkpoint(folder):
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["loop"]
    state.pop("history")  # its first record has no loss yet
    assert driving._finite(state)
    return state["step"]


@pytest.mark.parametrize("every", [0, 1e9], ids=["a checkpoint every step", "one at first"])
@pytest.mark.parametrize("make", [_search, _training], ids=["search", "training"])
def test_a_loss_that_is_not_finite_stops_at_its_step(tmp_path, make, every):
    loop = _with_one_record(_broken_at(make(), 4))
    with pytest.raises(
        FloatingPointError, match="train loss is not finite by step 4: .*learning rate"
    ) as error:
        drive(loop, tmp_path, progress=False, every_seconds=every)
    assert is_one_sentence(error.value) and loop.step == 4
    kept = 0 if every else 3
    assert _finite_checkpoint(tmp_path) == kept and f"after step {kept}" in str(error.value)
    assert "checkpoint.pt" in str(error.value)


def test_so_does_one_on_the_half_of_alpha(tmp_path):
    loop = _broken_at(_search(records=1), 4, "valid")
    with pytest.raises(FloatingPointError, match="valid loss is not finite by step 4"):
        drive(loop, tmp_path, progress=False, every_seconds=0)
    assert _finite_checkpoint(tmp_path) == 3


@pytest.mark.parametrize("make", [_search, _training], ids=["search", "training"])
def test_on_a_gpu_no_step_waits_and_the_next_look_sees_it(tmp_path, make, monkeypatch):
    """Checking the loss waits for the device, so only records and checkpoints may do it."""
    loop = make()
    loop.on_cpu, looks = False, []
    check = type(loop).check
    loop.check = lambda: (looks.append(loop.step), check(loop))
    records_ = [record["step"] for record in loop]
    assert set(looks) <= set(records_) and loop.step == loop.steps

    loop = _with_one_record(_broken_at(make(), 4))
    loop.on_cpu = False
    # A checkpoint is due one step later, before the end.
    monkeypatch.setattr(driving, "monotonic", lambda: 1e9 * (loop.step > 4))
    with pytest.raises(FloatingPointError, match="loss is not finite by step 5") as error:
        drive(loop, tmp_path, progress=False)
    assert loop.step == 5 < loop.steps and "after step 0" in str(error.value)
    assert _finite_checkpoint(tmp_path) == 0


@pytest.mark.parametrize("make", [_search, _training], ids=["search", "training"])
def test_broken_weights_are_never_saved(tmp_path, make):
    """A gradient may overflow with a finite loss; the next loss would show it, but too late."""
    loop = make()
    optimizer = loop.w_optimizer if isinstance(loop, Search) else loop.optimizer
    step = optimizer.step

    def overflows():
        step()
        if loop.step == 3:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].fill_(float("inf"))

    optimizer.step = overflows
    with pytest.raises(FloatingPointError, match="weights after step 4 ") as error:
        drive(loop, tmp_path, progress=False, every_seconds=0)
    assert is_one_sentence(error.value)
    assert _finite_checkpoint(tmp_path) == 3


def test_a_resumed_run_sees_it_too(tmp_path):
    with pytest.raises(_Stops):
        drive(_stop_at(_search(records=1), 2), tmp_path, progress=False, every_seconds=0)
    loop = _broken_at(_search(records=1), 5)
    with pytest.raises(FloatingPointError, match="loss is not finite by step 5"):
        drive(loop, tmp_path, resume=True, progress=False)


def test_the_command_line_says_so(run, monkeypatch):  # noqa: F811
    words = ["--set", "w_lr=1e30", "--set", "clip=1e30"]
    found = run("search", "--out", "run", SMALL_SEARCH, words)
    assert found.exit_code == 2 and is_one_sentence(found.output.strip())
    assert "not finite" in found.output and "smaller learning rate" in found.output
    assert _finite_checkpoint(Path("run")) in (0, 1)
    assert not Path("run/meta.json").exists()

"""The first minute: threads, GPUs, logs and names, as they are on other people's machines."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from plain import is_one_sentence
from test_command_line import SMALL_SEARCH, SMALL_TRAIN, run  # noqa: F401
from test_runs import _search

from dartslib.runs import driving, machine, many, records
from dartslib.runs.driving import drive
from dartslib.runs.running import find_device

ROOT = Path(__file__).resolve().parent.parent


# Threads


class _Clock:
    """Convolutions that take a time by the number of threads."""

    def __init__(self, monkeypatch, threads, seconds):
        self.now, self.threads = 0.0, threads
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.threads)
        monkeypatch.setattr(
            torch, "set_num_threads", lambda number: vars(self).update(threads=number)
        )
        monkeypatch.setattr(machine, "perf_counter", lambda: self.now)

        def convolve(*_):
            self.now += seconds[self.threads]

        monkeypatch.setattr(torch, "conv2d", convolve)


@pytest.mark.parametrize(
    ("set_to", "threads", "seconds", "right"),
    [
        (None, 2, {1: 1e-3, 2: 6e-4}, 2),  # a quiet machine
        (None, 2, {1: 2e-3, 2: 0.05}, 1),  # beside other programs
        (None, 8, {1: 2e-3, 8: 5e-3}, 1),
        ("2", 2, {1: 2e-3, 2: 0.05}, 2),  # as the user wants it
        (None, 1, {1: 1e-3}, 1),
    ],
)
def test_as_many_threads_as_are_faster(monkeypatch, set_to, threads, seconds, right):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_to:
        monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    clock = _Clock(monkeypatch, threads, seconds)
    said = machine.choose_threads()
    assert clock.threads == right
    assert (f"OMP_NUM_THREADS={threads}" in said) is (right < threads)
    assert is_one_sentence(said) or right == threads
    assert clock.now < 1.5  # where steps are slow, the look is no longer


def test_only_the_command_line_chooses(run, monkeypatch):  # noqa: F811
    """Neither an import (test_house.py) nor a test that calls a command."""
    monkeypatch.setattr(machine, "choose_threads", lambda: pytest.fail("it chose"))
    assert run("search", SMALL_SEARCH).exit_code == 0


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "right"),
    [(8, 2, 8, 4), (8, 2, 1, 1), (8, 2, 3, 3), (2, 4, 2, 1), (1, 1, 1, 1)],
)
def test_the_smaller_limit_holds_in_workers(monkeypatch, cores, workers, threads, right):
    """Their share of the cores, or what OMP_NUM_THREADS or the command line left the parent."""
    given = []

    @contextmanager
    def config(*_, **options):
        given.append(options)
        yield

    monkeypatch.setattr(many, "parallel_config", config)
    monkeypatch.setattr(many, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with many._engine(workers, None, None):
        assert given == [{"n_jobs": workers, "inner_max_num_threads": right}]


def _threads(_):
    return torch.get_num_threads()


@pytest.mark.full
def test_a_worker_has_as_many(monkeypatch):
    found = many.make_each(_threads, range(2))
    assert max(found) <= min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) // 2))


@pytest.mark.full
def test_a_smoke_search_beside_busy_programs(tmp_path):
    """With torch's own choice of threads it did not get beyond step 3 in a minute."""
    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    unset = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "TQDM_DISABLE")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dartslib", "search", "--out", str(tmp_path / "run")],
            env=unset | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=400,  # 20 s with nothing else on the machine; it never ended
        )
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.returncode == 0, done.stderr
    assert "step 0 of 20\nstep 1 of 20, 0" in done.stderr
    (where,) = records.load(tmp_path / "run").meta["machines"]
    assert where["threads"] == 1 and ("One thread: " in done.stderr or len(busy) == 1)


# A log, where no bar can be drawn


def test_in_a_log_a_line_now_and_then(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE")
    now = iter(range(0, 1000, 25))
    monkeypatch.setattr(driving, "monotonic", lambda: next(now))
    drive(_search(), tmp_path / "a", every_seconds=1e9)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 0 of 9"
    assert [int(re.fullmatch(r"step (\d) of 9, 00:00 left", line)[1]) for line in lines[1:]] == [
        1, 4, 7,
    ]  # fmt: skip
    drive(_search(), tmp_path / "b", progress=False)
    assert capsys.readouterr() == ("", "")


# A GPU that cannot be used


class _OnGpu:
    device = torch.device("cuda")


def _refuses(error):
    def refuses(*_, **__):
        raise RuntimeError(error)

    return refuses


@pytest.mark.parametrize(
    "error",
    [
        "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors",
        "CUDA out of memory. Tried to allocate 2.00 MiB.",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    ],
)
@pytest.mark.parametrize("kind", ["search", "train", "transfer", "study"])
def test_a_gpu_that_cannot_be_used(run, tmp_path, monkeypatch, error, kind):  # noqa: F811
    """One that this torch has no code for, or too small a one: found before anything is written."""
    words = [kind, "--device", "cuda", "--out", "run"]
    words += {"search": SMALL_SEARCH, "study": ["--only", "search-shapes10-first_order-0"]}.get(
        kind, ["--genotype", "DARTS_V2", *SMALL_TRAIN]
    )
    monkeypatch.setattr(torch, "empty", lambda *_, **__: _OnGpu())
    monkeypatch.setattr(torch, "ones", _refuses(error))
    done = run(*words)
    said = done.output.strip()
    assert done.exit_code == 2 and is_one_sentence(said), said
    assert "--device cpu" in said and error.splitlines()[0].rstrip(".") in said
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_torch_sees_and_cannot_use_is_not_passed_over(monkeypatch):
    """Left to itself, a run would take weeks on the processor without a word."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: _OnGpu())
    monkeypatch.setattr(torch, "conv2d", lambda *_: torch.zeros(1))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: 0)
    assert find_device() == "cuda"
    monkeypatch.setattr(torch, "ones", _refuses("CUDA error: no kernel image"))
    with pytest.raises(ValueError, match="--device cpu"):
        find_device()

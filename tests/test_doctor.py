"""What the doctor finds, and what it says about what is missing."""

import builtins
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from importlib import metadata, util

import numpy as np
import pytest
from typer.testing import CliRunner

from dartslib.__main__ import app
from dartslib.runs import doctor as module
from dartslib.runs.doctor import doctor, print_findings


def _find(findings, what):
    (finding,) = [finding for finding in findings if finding.what == what]
    return finding


def test_this_machine_can_run_it(tmp_path, capsys):
    findings = doctor(tmp_path)
    assert print_findings(findings) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("\n\ndartslib can run here.\n")
    assert printed.err == ""
    for what in ("Python", "packages", "processor", "torch", "GPU", "dot", "disk"):
        assert _find(findings, what).found in printed.out
    assert _find(findings, "torch").found.startswith(__import__("torch").__version__)
    assert _find(findings, "packages").found.startswith("all ")


# Data


def _mnist(folder):
    """The files of MNIST as torchvision unpacks them, with one image each."""
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind, shape in (("images-idx3", (1, 28, 28)), ("labels-idx1", (1,))):
            sizes = b"".join(size.to_bytes(4, "big") for size in shape)
            content = bytes([0, 0, 8, len(shape)]) + sizes + bytes(np.prod(shape))
            (folder / "MNIST" / "raw" / f"{part}-{kind}-ubyte").write_bytes(content)


def test_data_sets(tmp_path):
    from dartslib.data.sets import DOWNLOADED

    assert all(kind == name.upper() for name, kind in DOWNLOADED.items())
    np.savez(tmp_path / "cifar10.npz", x_train=np.zeros(3_000_000, np.uint8))
    (tmp_path / "mine.npz").write_bytes(b"")
    _mnist(tmp_path)
    findings = doctor(tmp_path)
    assert {finding.what for finding in findings} >= {*DOWNLOADED, "mine"}
    assert _find(findings, "cifar10").found == f"{tmp_path / 'cifar10.npz'}, 3 MB"
    assert not _find(findings, "cifar10").advice
    assert _find(findings, "mine").found == f"{tmp_path / 'mine.npz'}, 0 MB"
    assert "no whole npz" in _find(findings, "mine").advice
    assert _find(findings, "mnist") == ("mnist", f"downloaded to {tmp_path}", "", False)
    cifar100 = _find(findings, "cifar100")
    assert cifar100.found.startswith("not here") and "cifar100.npz" in cifar100.advice
    assert not cifar100.required


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_what_a_failed_download_leaves_is_no_data(tmp_path, name):
    from torchvision import datasets

    _mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    for kind in (datasets.CIFAR10, datasets.CIFAR100):
        (tmp_path / kind.base_folder).mkdir()
        for file, _ in (*kind.train_list, *kind.test_list):
            (tmp_path / kind.base_folder / file).write_bytes(b"half")
    finding = _find(doctor(tmp_path), name)
    assert finding.found.startswith("not here") and finding.advice


def test_recorded_runs(tmp_path):
    assert _find(doctor(tmp_path), "recorded runs").advice
    for name in ("a", "b"):
        (tmp_path / "recorded" / name).mkdir(parents=True)
        (tmp_path / "recorded" / name / "meta.json").touch()
    finding = _find(doctor(tmp_path), "recorded runs")
    assert finding.found.startswith("2 in") and not finding.advice


@pytest.mark.parametrize("kind", ["a file", "not to be written to"])
def test_a_folder_that_takes_nothing(tmp_path, monkeypatch, kind):
    if kind == "a file":
        (tmp_path / "data").touch()
    monkeypatch.setattr(os, "access", lambda *_: kind == "a file")  # root may write anywhere
    advice = _find(doctor(tmp_path / "data"), "disk").advice
    assert "is a file or cannot be written to" in advice  # what lies there can be read


def test_little_disk(monkeypatch, tmp_path):
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1e9))
    finding = _find(doctor(tmp_path / "not" / "yet"), "disk")
    assert finding.found.startswith("1.0 GB free") and "make room" in finding.advice


# Python and packages


def test_without_torch_it_still_looks_at_the_rest(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise OSError("libtorch.so: cannot open\nmore")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    findings = doctor(tmp_path)
    torch = _find(findings, "torch")
    assert torch.required and "libtorch.so: cannot open" in torch.found
    assert "\n" not in torch.found
    assert "cores" in _find(findings, "processor").found
    assert _find(findings, "disk")
    assert print_findings(findings) == 1
    assert "cannot run yet: see torch above" in capsys.readouterr().out


def test_the_command_line_reaches_it_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')", "utf-8")
    command = [sys.executable, "-m", "dartslib", "doctor", "--data-folder", "数据"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "cannot be loaded" in done.stdout and "no torch here" in done.stdout, done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("what", ["seaborn", "dartslib"])
def test_missing_packages_are_named(monkeypatch, tmp_path, what):
    real = metadata.distributions
    monkeypatch.setattr(
        metadata, "distributions", lambda name: () if name == what else real(name=name)
    )
    finding = _find(doctor(tmp_path), "packages")
    if what == "seaborn":
        assert finding.found == "not installed: seaborn" and finding.required
        assert "pip install seaborn`" in finding.advice
    else:  # runs from the checkout
        assert "pip install -e .`" in finding.advice and not finding.required


def test_an_old_python_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert next(module._installed()).required


# What is there


@pytest.mark.parametrize("state", ["two", "none", "too new"])
def test_gpu(monkeypatch, state):
    import torch

    Properties = namedtuple("Properties", ["name", "total_memory"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: Properties(f"GPU {index}", 8 * 2**30)
    )

    def ones(*size, device):
        if state != "two":
            raise RuntimeError(f"CUDA error: {state}\nmore")
        return torch.zeros(size)

    monkeypatch.setattr(torch, "ones", ones)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    finding = _find(module._torch(), "GPU")
    assert not finding.required
    if state == "two":
        assert finding.found == "GPU 0, 8 GiB; GPU 1, 8 GiB" and not finding.advice
    else:  # also one whose architecture this torch has no code for
        assert finding.found.startswith("none that torch can use") and state in finding.found
        assert "smoke and lesson" in finding.advice and "\n" not in finding.found
        assert "--device cpu" in finding.advice and "sm_80 sm_90" in finding.advice


def test_dot_missing_or_broken(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "matplotlib draws" in _find(module._installed(), "dot").advice
    broken = tmp_path / "dot"
    broken.write_text("#!/bin/sh\nexit 3\n", "utf-8")
    broken.chmod(0o755)
    finding = _find(module._installed(), "dot")
    assert finding.found.startswith("does not run") and "CalledProcessError" in finding.found


@pytest.mark.parametrize(
    ("load", "set_to", "busy"),
    [(0.1, "", False), (1.9, "", False), (2.0, "", True), (500.0, "4", True), (500.0, "1", False),
     (None, "", False)],
)  # fmt: skip
def test_other_work(monkeypatch, load, set_to, busy):
    monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    if load is None:  # Windows
        monkeypatch.delattr(os, "sysconf")
        findings = [finding.what for finding in module._installed()]
        assert "processor" in findings and "other work" not in findings
    else:
        finding = _find(module._installed(), "other work")
        assert ("OMP_NUM_THREADS=1" in finding.advice) is busy and not finding.required


@pytest.mark.parametrize("lacks", ["nbval", "the part of pytest", "nothing"])
def test_what_compares_the_notebooks(monkeypatch, lacks):
    real = metadata.distributions
    if lacks == "nbval":
        without = lambda name: () if name == "nbval" else real(name=name)  # noqa: E731
        monkeypatch.setattr(metadata, "distributions", without)
    elif lacks != "nothing":
        monkeypatch.setattr(util, "find_spec", lambda name: None)
    finding = _find(module._installed(), "nbval")
    assert f"pytest {metadata.version('pytest')}" in finding.found and not finding.required
    assert ("tests/README.md" in finding.advice) is (lacks != "nothing")


@pytest.mark.parametrize("kind", ["to be written to", "not to be written to"])
def test_home(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda *_: kind == "to be written to")
    finding = _find(doctor(tmp_path), "home")
    assert finding.found == str(tmp_path / "home")
    assert ("set HOME" in finding.advice) is (kind != "to be written to")


def test_from_another_folder_it_finds_the_checkouts_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["doctor"]).output
    assert re.search(r"ok +recorded runs +[1-9]\d* in ", said), said

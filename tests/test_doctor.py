"""What the doctor finds, and what it says about what is missing."""

import builtins
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

from dartslib.runs import doctor as module
from dartslib.runs.doctor import Finding, doctor, print_findings


def _find(findings, what):
    (finding,) = [finding for finding in findings if finding.what == what]
    return finding


def test_this_machine_can_run_it(tmp_path, capsys):
    findings = doctor(tmp_path)
    assert print_findings(findings) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("\n\ndartslib can run here.\n")
    assert printed.err == ""
    for what in ("Python", "packages", "torch", "processor", "GPU", "dot", "disk"):
        assert _find(findings, what).found in printed.out
    assert _find(findings, "torch").found.startswith(__import__("torch").__version__)
    assert not _find(findings, "packages").required


def test_data_sets(tmp_path):
    from dartslib.data import sets

    assert module.EMBEDDED == sets.EMBEDDED
    assert module.DOWNLOADED.keys() == sets.DOWNLOADED.keys()
    np.savez(tmp_path / "cifar10.npz", x_train=np.zeros(3_000_000, np.uint8))
    (tmp_path / "mine.npz").write_bytes(b"")
    (tmp_path / "cifar-100-python").mkdir()
    for name in ("train", "test", "meta"):
        (tmp_path / "cifar-100-python" / name).touch()
    findings = doctor(tmp_path)
    assert _find(findings, "shapes100") == Finding("shapes100", "drawn by code")
    assert _find(findings, "cifar10").found == f"{tmp_path / 'cifar10.npz'}, 3 MB"
    assert not _find(findings, "cifar10").advice
    assert _find(findings, "mine").found == f"{tmp_path / 'mine.npz'}, 0 MB"
    assert "no whole npz" in _find(findings, "mine").advice
    assert _find(findings, "cifar100").found == f"downloaded to {tmp_path / 'cifar-100-python'}"
    mnist = _find(findings, "mnist")
    assert mnist.found.startswith("not here") and "mnist.npz" in mnist.advice
    assert not mnist.required


@pytest.mark.parametrize("name", module.DOWNLOADED)
def test_what_a_failed_download_leaves_is_no_data(tmp_path, name):
    unpacked, needed, _ = module.DOWNLOADED[name]
    (tmp_path / unpacked).mkdir(parents=True)
    finding = _find(doctor(tmp_path), name)
    assert finding.found.startswith("not here") and finding.advice
    for file in needed:
        finding = _find(doctor(tmp_path), name)
        assert finding.found.startswith("not ") and finding.advice
        (tmp_path / unpacked / file).touch()
    finding = _find(doctor(tmp_path), name)
    assert finding.found.startswith("downloaded to") and not finding.advice


def test_where_torchvision_unpacks():
    from torchvision import datasets

    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        unpacked, needed, _ = module.DOWNLOADED[name]
        assert unpacked == kind.base_folder
        files = [file for file, _ in (*kind.train_list, *kind.test_list)]
        assert sorted(needed) == sorted([*files, kind.meta["filename"]])
    assert module.DOWNLOADED["mnist"][0] == "MNIST/raw"
    packed = [file for file, _ in datasets.MNIST.resources]
    assert sorted(module.DOWNLOADED["mnist"][1]) == sorted(f.removesuffix(".gz") for f in packed)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "data").touch()
    disk = _find(doctor(tmp_path / "data"), "disk")
    assert "is a file" in disk.found and disk.advice


def test_recorded_runs(tmp_path):
    assert _find(doctor(tmp_path), "recorded runs").advice
    for name in ("a", "b"):
        (tmp_path / "recorded" / name).mkdir(parents=True)
        (tmp_path / "recorded" / name / "meta.json").touch()
    finding = _find(doctor(tmp_path), "recorded runs")
    assert finding.found.startswith("2 in") and not finding.advice


def test_without_torch_it_still_looks_at_the_rest(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name.split(".")[0] == "torch":
            raise OSError("libtorch.so: cannot open\nmore")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    findings = doctor(tmp_path)
    torch = _find(findings, "torch")
    assert torch.required and torch.found == "cannot be loaded: libtorch.so: cannot open"
    assert "cores" in _find(findings, "processor").found
    assert print_findings(findings) == 1
    assert "cannot run yet: see torch above" in capsys.readouterr().out


def test_the_command_line_reaches_it_without_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    command = [sys.executable, "-m", "dartslib", "doctor"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "cannot be loaded: no torch here" in done.stdout, done.stderr
    assert done.returncode == 1


def test_importing_the_doctor_needs_no_torch():
    code = "import sys, dartslib.runs.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    real = importlib.metadata.version

    def version(name):
        if name == "seaborn":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    findings = doctor(tmp_path)
    assert _find(findings, "seaborn") == Finding(
        "seaborn", "not installed", "run `pip install seaborn`", required=True
    )
    count, total = _find(findings, "packages").found.split()[0::2][:2]
    assert int(count) == int(total) - 1


def test_not_installed_at_all(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    (finding,) = module._packages()
    assert "pip install -e ." in finding.advice and not finding.required


def test_an_old_python_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert module._python().required


@pytest.mark.parametrize("available", [True, False])
def test_gpu(monkeypatch, available):
    import torch

    Properties = namedtuple("Properties", ["name", "total_memory"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: Properties(f"GPU {index}", 8 * 2**30)
    )
    finding = module._gpu()
    assert not finding.required
    if available:
        assert finding.found == "GPU 0, 8 GiB; GPU 1, 8 GiB" and not finding.advice
    else:
        assert finding.found.startswith("none") and "smoke and lesson" in finding.advice


def test_dot_missing_or_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "matplotlib draws" in module._dot().advice
    broken = tmp_path / "dot"
    broken.write_text("#!/bin/sh\necho no layout >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(broken))
    assert module._dot().found == "fails: no layout"
    broken.write_text("not a program")
    broken.chmod(0o644)
    assert module._dot().found.startswith("does not run")


def test_little_disk(monkeypatch, tmp_path):
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1e9))
    finding = module._disk(tmp_path / "not" / "yet")
    assert finding.found.startswith("1.0 GB free") and "make room" in finding.advice


@pytest.mark.parametrize(
    ("load", "busy"), [(0.1, False), (1.9, False), (2.0, True), (500.0, True), (None, False)]
)
def test_other_work(tmp_path, monkeypatch, load, busy):
    monkeypatch.setattr(module, "_cores", lambda: 4)
    if load is None:  # Windows
        monkeypatch.delattr(module.os, "getloadavg")
    else:
        monkeypatch.setattr(module.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    finding = _find(doctor(tmp_path), "other work")
    assert ("OMP_NUM_THREADS=1" in finding.advice) is busy and not finding.required

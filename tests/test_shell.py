"""The shell's lines, in the Makefile and elsewhere, and names with spaces and worse."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dartslib.runs import running

ROOT = Path(__file__).resolve().parent.parent
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
NAMES = ["notebooks copy", "data old", "two\nlines", "it's", 'a "quote"', "-rf", "$HOME", "*"]
CACHES = ["__pycache__", ".ipynb_checkpoints"]


def _make(folder, *words, **environment):
    """What make says in a folder; it must succeed."""
    ours = ("VENV", "ONLY", "MAKEFLAGS", "MAKELEVEL")  # these may be run by `make test`
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        ["make", *words], cwd=folder, env=kept | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("here\n", encoding="utf-8")
    return path


@pytest.fixture(params=["project", "my first project"])
def project(request, tmp_path):
    """The Makefile and .ci/run in a folder of their own."""
    folder = tmp_path / request.param
    (folder / ".ci").mkdir(parents=True)
    for name in ("Makefile", ".ci/run", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@needs_make
@pytest.mark.parametrize("venv", [".venv", "my env", "Anna's env"])
def test_clean_removes_caches_and_nothing_else(project, venv):
    stays = [_file(project / "notebooks" / "01.ipynb"), _file(project / "data" / "mine.npz")]
    stays += [_file(project / venv / "lib" / "__pycache__" / "x.pyc")]
    # An environment of another name, which VENV does not say.
    stays += [_file(project / "second env" / "pyvenv.cfg")]
    stays += [_file(project / "second env" / "lib" / "__pycache__" / "x.pyc")]
    stays += [_file(project / name / "kept") for name in NAMES]
    stays += [_file(project / "a file" / "__pycache__")]
    goes = [project / ".pytest_cache", project / "-x.egg-info", project / "dartslib.egg-info"]
    goes += [project / name / cache for name in [*NAMES, ".", "data", "notebooks"]
             for cache in CACHES]  # fmt: skip
    for cache in goes:
        _file(cache / "x")
    _make(project, "clean", f"VENV={venv}")
    assert [path for path in goes if path.exists()] == []
    assert [path for path in stays if not path.exists()] == []


@needs_make
@pytest.mark.parametrize("venv", [".venv", "my env"])
@pytest.mark.parametrize("target", ["test", "lab", "notebooks", "site", "bench", "recorded"])
def test_an_environment_is_one_word(project, venv, target):
    """What is to be run begins with a program of the environment, and nothing is made first."""
    ready = _file(project / venv / ".ready")
    os.utime(project / "pyproject.toml", (0, 0))
    said = _make(project, "-n", target, f"VENV={venv}", "ONLY=01 03").replace("\\\n", "")
    lines = [line for line in said.splitlines() if "bin" in line]
    assert lines
    for line in lines:
        words = [word for word in shlex.split(line) if "=" not in word]
        assert words[0].startswith(f"{venv}/bin/"), line
    assert ready.exists()
    if target == "notebooks":
        assert words[-2:] == ["01", "03"]  # ONLY is a list of words


@needs_make
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", {"ip": ["127.0.0.1"], "root_dir": ["."], "default_url": ["/lab/tree/notebooks"]}),
        ("--ip=0.0.0.0 --no-browser", {"ip": ["0.0.0.0"], "root_dir": ["."]}),
        ("--ServerApp.ip=:: --port=9000", {"ip": ["::"], "port": ["9000"]}),
        ("--notebook-dir=/a.b/c", {"notebook-dir": ["/a.b/c"], "root_dir": []}),
        ("--LabApp.default_url=/lab --ServerApp.base_url=/user/me/", {"default_url": ["/lab"]}),
    ],
)
def test_jupyter_is_told_nothing_twice(project, given, told):
    """It refuses an option that comes twice: what a container or a hub gives takes our place."""
    _file(project / ".venv" / ".ready")
    os.utime(project / "pyproject.toml", (0, 0))
    said = _make(project, "-n", "lab", f"LAB={given}").replace("\\\n", "")
    words = shlex.split(said.splitlines()[-1].replace("$(", "").replace(")", ""))
    options = [word.partition("=") for word in words if word.startswith("--")]
    for name, values in told.items():
        last = [value for option, _, value in options if re.split(r"--|\.", option)[-1] == name]
        assert last == values


@needs_make
def test_an_environment_with_a_space_is_made_and_filled(project):
    """By a Python that only notes what it is asked for."""
    seen = project / "seen"
    python = project / "python"
    # As `python -m venv` does, it leaves another of its kind in the folder that it is given.
    python.write_text(
        f"#!{sys.executable}\nimport os, shutil, sys\n"
        f"print(sys.argv[1:], file=open({str(seen)!r}, 'a'))\n"
        "if sys.argv[1:3] == ['-m', 'venv']:\n"
        "    os.makedirs(sys.argv[3] + '/bin')\n"
        "    shutil.copy(sys.argv[0], sys.argv[3] + '/bin/python')\n",
        encoding="utf-8",
    )
    python.chmod(0o755)
    said = _make(project, "PYTHON=./python", "VENV=my env", "my env/.ready")
    assert re.search(
        "creating my env: takes minutes.*installing what my env lacks", said, re.DOTALL
    )
    _, made, filled = seen.read_text(encoding="utf-8").splitlines()  # first its version
    assert made == "['-m', 'venv', 'my env']"
    assert filled == "['-m', 'pip', 'install', '-e', '.[dev]']"
    assert (project / "my env" / ".ready").exists()


@needs_make
def test_where_pip_cannot_install_it_is_said_what_may_be_wrong(project):
    pip = _file(project / ".venv" / "bin" / "python")
    for path in (pip, pip.with_name("pip")):
        path.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        path.chmod(0o755)
    done = subprocess.run(["make", ".venv/.ready"], cwd=project, capture_output=True, text=True)
    assert done.returncode and "too new" in done.stderr and "docs/installing.md" in done.stderr
    assert "remove .venv, then try make PYTHON=" in done.stderr
    assert not (project / ".venv" / ".ready").exists()


@needs_make
def test_help_in_any_folder(project):
    said = _make(project, "help")
    assert re.findall(r"^make ([a-z-]+) ", said, re.MULTILINE) == re.findall(
        r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )


@pytest.mark.parametrize("venv", ["", "my env"])
def test_the_check_finds_its_folder_and_its_environment(project, venv, tmp_path):
    """.ci/run, with programs that only note how they are called."""
    seen, programs = tmp_path / "seen", tmp_path / "programs"
    script = f'#!/bin/sh\necho "$PWD: $0 $*" >> {shlex.quote(str(seen))}\n'
    found = [programs / name for name in ("make", "dot", "chromium")]
    found.append(project / (venv or ".venv") / "bin" / "pytest")
    for path in found:
        _file(path).write_text(script, encoding="utf-8")
        path.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "VENV"}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}"} | ({"VENV": venv} if venv else {})
    subprocess.run([project / ".ci" / "run"], cwd=tmp_path, env=environment, check=True)
    made, tested = seen.read_text(encoding="utf-8").splitlines()
    assert made == f"{project}: {programs}/make test"
    assert tested.startswith(f"{project}: {venv or '.venv'}/bin/pytest -m full or browser")


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["train", "--genotype", "/my runs/found"], ["train", "--genotype", "found"]),
        (["train", "--genotype", "my runs/the best"], ["train", "--genotype", "the best"]),
        (["train", "--genotype=it's/genotype.json"], ["train", "--genotype", "it's"]),
        (["search", "--out", "my run", "--data-folder=my data", "--data", "x"],
         ["search", "--data", "x"]),
        (["search", "--record", "a; rm -rf b"], ["search", "--record", "a; rm -rf b"]),
        (["search", "--set", "name=two words"], ["search", "--set", "name=two words"]),
    ],
)  # fmt: skip
def test_a_recorded_command_can_be_pasted(words, kept, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "dartslib" / "__main__.py"), *words])
    assert shlex.split(running._command()) == ["python", "-m", "dartslib", *kept]

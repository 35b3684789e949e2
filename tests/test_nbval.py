"""Strict `pytest --nbval`: what it sees, what it lives on, and the plugin that could replace it.

README.md here says how to change over to nbval_again.py.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
import pytest
from _pytest.config import default_plugins
from nbformat.v4 import new_code_cell, new_notebook, new_output
from test_run_notebooks import BAR, PICTURE, SLIDER

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NBVAL = ["--nbval"]
# Without the part of pytest that nbval lives on, too.
AGAIN = ["-p", "no:nbval", "-p", "no:legacypath", "-p", "tests.nbval_again", "--nbval"]


def _shown(value, kind="text/plain"):
    return new_output("execute_result", {kind: value}, execution_count=1)


def _said(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def _failed(value):
    return new_output("error", ename="ZeroDivisionError", evalue=value, traceback=["long ago"])


VIEW = {
    "text/plain": "VBox(children=(FloatSlider(value=0.0, description='xi'), HTML(value='')))",
    "application/vnd.jupyter.widget-view+json": {"model_id": "another"},
}
WRONG = {"tags": ["raises-exception"]}
# source | outputs as they are stored | metadata | what comes of it
CELLS = [
    ("1 + 1", [_shown("2")], {}, "passed"),
    ("1 + 1", [_shown("3")], {}, "failed"),
    (BAR, [_said("a bar, or none\n")], {}, "passed"),
    (SLIDER, [new_output("execute_result", VIEW, execution_count=1)], {}, "passed"),
    ("slider.value = 50\ntext.value", [_shown("'xi = 50.0'")], {}, "passed"),
    (PICTURE, [_shown('<img alt="a line" src="data:image/png;base64,AAAA">', "text/html")], {},
     "failed"),  # without the text/plain that belongs to it
    (PICTURE + ";", [], {}, "failed"),  # the semicolon does not silence it
    ("print('new')", [], {}, "failed"),
    ("x = 1", [_said("gone\n")], {}, "failed"),
    ("print(1)\nprint(2)", [_said("1\n"), _said("2\n")], {}, "passed"),
    ("print(1)", [_said("1\n", "stderr")], {}, "failed"),
    ("1 / 0", [_failed("division by zero")], WRONG, "passed"),
    ("1 / 0", [_failed("another")], WRONG, "failed"),
    ("1 / 0", [_failed("division by zero")], {}, "failed"),
    ("1 / 0", [_failed("division by zero")], {"tags": ["nbval-raises-exception"]}, "passed"),
    ("1 / 0", [], {"tags": ["nbval-skip"]}, "skipped"),
    ("# NBVAL_IGNORE_OUTPUT\nos.urandom(3)", [_shown("b'before'")], {}, "passed"),
    ("2 + 2", [], {"never run": True}, "passed"),
    ("2 + 2", [_shown("4")], {"never run": True}, "failed"),
    ("import matplotlib.pyplot", [], {}, "passed"),  # which has nothing to say: see `project`
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of its own with the real options, CELLS, and the notebooks of the checkout."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("tests", "tools", "notebooks"):
        (folder / name).mkdir()
    files = "pyproject.toml conftest.py tests/nbval_sanitize.cfg tests/nbval_again.py"
    files += " tools/__init__.py tools/run_notebooks.py"
    for name in (*files.split(), *(f"notebooks/{path.name}" for path in NOTEBOOKS)):
        shutil.copy(ROOT / name, folder / name)
    cells = []
    for source, outputs, metadata, _ in CELLS:
        cells.append(new_code_cell(source, outputs=outputs, metadata=metadata))
        cells[-1].execution_count = None if metadata == {"never run": True} else 1
    nbformat.write(new_notebook(cells=cells), folder / "notebooks" / "00.ipynb")
    return folder


def _pytest(project, *words):
    """Runs pytest in the folder of the notebooks: what it says, and what became of each cell.

    In a home that cannot be written to, of which matplotlib would tell each kernel.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPLCONFIGDIR"))}
    home, paths = str(project / "pyproject.toml" / "home"), [str(project), str(ROOT)]
    kept |= {"HOME": home, "USERPROFILE": home, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [f"--junitxml={project / 'report.xml'}", *words],
        cwd=project / "notebooks",
        env=kept,
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )
    found = []
    for cell in ElementTree.parse(project / "report.xml").iter("testcase"):
        found.append(f"{cell.get('name')} {cell[0].tag if len(cell) else 'passed'}")
    return done.stdout, found


def _passed(name):
    """What becomes of a notebook that agrees with its outputs."""
    cells = nbformat.read(ROOT / "notebooks" / name, 4).cells
    return [f"Cell {k} passed" for k in range(sum(cell.cell_type == "code" for cell in cells))]


@pytest.mark.full
@pytest.mark.parametrize("how", [NBVAL, AGAIN], ids=["nbval", "nbclient"])
def test_both_see_the_same(project, how):
    """And by nbclient the first notebook passes, too, cell by cell, as it does in `make test`."""
    names = ["00.ipynb"] if how == NBVAL else ["00.ipynb", NOTEBOOKS[0].name]
    said, found = _pytest(project, *how, *names)
    words = {"passed": "passed", "failed": "failure", "skipped": "skipped"}
    seen = [f"Cell {number} {words[end]}" for number, (*_, end) in enumerate(CELLS)]
    assert found == seen + (_passed(NOTEBOOKS[0].name) if how == AGAIN else []), said


@pytest.mark.full
@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS[1:]])
def test_notebooks_pass_by_nbclient_too(project, name):
    """And in a folder that is not the checkout's."""
    said, found = _pytest(project, *AGAIN, name)
    assert found == _passed(name), said


def test_nbval_lives_on_a_part_of_pytest_that_may_go():
    """Where this fails, go over to nbval_again.py, as README.md here says."""
    assert "legacypath" in default_plugins


@pytest.mark.full
def test_without_it_nbval_reads_no_notebook(project):
    """Where this fails, nbval has been mended, and nbval_again.py can go."""
    said, _ = _pytest(project, "-p", "no:legacypath", *NBVAL, "00.ipynb")
    assert "has no attribute 'fspath'" in said

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


SLIDER = """import ipywidgets as widgets
slider = widgets.FloatSlider(description="xi")
text = widgets.HTML()
slider.observe(lambda change: setattr(text, "value", f"xi = {change.new}"), "value")
widgets.VBox([slider, text])"""
BAR = """import sys
from tqdm import tqdm
print("a bar, or none")
for _ in tqdm(range(3)): pass"""
PICTURE = """import os
from base64 import b64encode
from IPython.display import HTML
bytes_that_differ = b64encode(os.urandom(50)).decode()
HTML(f'<img alt="a line" src="data:image/png;base64,{bytes_that_differ}">')"""
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
    """The real options in a project of its own, and a home that cannot be written to."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("tests", "tools", "notebooks"):
        (folder / name).mkdir()
    files = "pyproject.toml conftest.py tests/nbval_sanitize.cfg tests/nbval_again.py"
    for name in (*files.split(), "tools/__init__.py", "tools/run_notebooks.py"):
        shutil.copy(ROOT / name, folder / name)
    cells = []
    for source, outputs, metadata, _ in CELLS:
        count = None if metadata == {"never run": True} else 1
        cells.append(new_code_cell(source, outputs=outputs, metadata=metadata))
        cells[-1].execution_count = count
    nbformat.write(new_notebook(cells=cells), folder / "notebooks" / "01.ipynb")
    return folder


def _pytest(root, report, *words, **environment):
    """Runs pytest in a checkout: what it says, and name of a cell -> what became of it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPLCONFIGDIR"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        + [*words],
        cwd=root / "notebooks",
        env=kept | environment | {"PYTHONPATH": str(root)},
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )
    cells = ElementTree.parse(report).iter("testcase")
    found = {f"{c.get('classname')} {c.get('name')}": [e.tag for e in c] for c in cells}
    return done.stdout, {name: tags[0] if tags else "passed" for name, tags in found.items()}


@pytest.mark.parametrize("how", [NBVAL, AGAIN], ids=["nbval", "nbclient"])
def test_what_strict_nbval_sees(project, tmp_path, how):
    """By both, from the notebooks' folder, in a home that cannot be written to."""
    home = str(project / "pyproject.toml" / "home")
    said, found = _pytest(project, tmp_path / "report", *how, HOME=home, USERPROFILE=home)
    words = {"passed": "passed", "failed": "failure", "skipped": "skipped"}
    expected = [f"Cell {number} {words[end]}" for number, (*_, end) in enumerate(CELLS)]
    assert [f"{cell[cell.index('Cell') :]} {end}" for cell, end in found.items()] == expected, said


def test_nbval_lives_on_a_part_of_pytest_that_may_go(project, tmp_path):
    """If the first fails, go over to nbval_again.py, as README.md says; if the second does, nbval
    has been mended, and nbval_again.py can go."""
    assert "legacypath" in default_plugins
    off = ["-p", "no:legacypath", "--collect-only"]
    said, _ = _pytest(project, tmp_path / "report", *off, *NBVAL)
    assert "has no attribute 'fspath'" in said


@pytest.mark.parametrize(
    "name",
    [pytest.param(path.name, marks=[] if path == NOTEBOOKS[0] else pytest.mark.full)
     for path in NOTEBOOKS],
)  # fmt: skip
def test_notebooks_pass_by_nbclient_too(tmp_path, name):
    """Cell by cell, as they do by nbval in `make test`; the shortest one is quick."""
    said, found = _pytest(ROOT, tmp_path / "report", *AGAIN, name)
    assert set(found.values()) == {"passed"}, said
    code = [cell for cell in nbformat.read(ROOT / "notebooks" / name, 4).cells
            if cell.cell_type == "code"]  # fmt: skip
    assert len(found) == len(code)

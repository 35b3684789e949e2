"""`make notebooks`, on small notebooks made here."""

import json

import nbformat
import pytest

from tools.run_notebooks import find, main

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


def _write(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["language_info"] = {"name": "python", "version": "3.99"}
    nbformat.write(notebook, path)


def _cells(path):
    return json.loads(path.read_text("utf-8"))["cells"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a notebook that was run."""
    folder = tmp_path_factory.mktemp("notebooks")
    _write(
        folder / "01_sample.ipynb", "1 + 1", BAR, SLIDER, "slider.value = 50\ntext.value", PICTURE
    )
    assert main([], folder) == 0
    return folder


def test_outputs_and_counts_are_written(written):
    cells = _cells(written / "01_sample.ipynb")
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4, 5]
    assert cells[0]["outputs"][0]["data"] == {"text/plain": ["2"]}
    assert [output["name"] for output in cells[1]["outputs"]] == ["stdout"]  # no bar on stderr
    assert cells[3]["outputs"][0]["data"] == {"text/plain": ["'xi = 50.0'"]}
    assert [path.name for path in written.iterdir()] == ["01_sample.ipynb"]


def test_nothing_of_the_machine_is_left(written):
    notebook = json.loads((written / "01_sample.ipynb").read_text("utf-8"))
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert notebook["metadata"]["kernelspec"]["display_name"] == "Python 3"
    (widgets,) = notebook["metadata"]["widgets"].values()
    assert list(widgets["state"]) == [f"{n:032x}" for n in range(len(widgets["state"]))]
    shown = notebook["cells"][2]["outputs"][0]["data"]["application/vnd.jupyter.widget-view+json"]
    assert widgets["state"][shown["model_id"]]["model_name"] == "VBoxModel"


def test_a_failing_notebook_stays_as_it_was(tmp_path, capsys):
    path = tmp_path / "02_failing.ipynb"
    _write(path, "1 + 1", "1 / 0", "3")
    _write(tmp_path / "03_never.ipynb", "1")
    before = path.read_bytes()
    assert main([], tmp_path) == 1
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
    printed = capsys.readouterr()
    assert "02_failing failed and is as it was before" in printed.err
    assert "ZeroDivisionError" in printed.err
    assert "\x1b" not in printed.err
    assert "03_never" not in printed.out


def test_names(tmp_path, capsys):
    for name in ("01_toy", "02_cells", "02_cells_again"):
        _write(tmp_path / f"{name}.ipynb")
    stems = [path.stem for path in find(["02_cells", "01"], tmp_path)]
    assert stems == ["01_toy", "02_cells"]
    assert [path.stem for path in find(["notebooks/01_toy.ipynb"], tmp_path)] == ["01_toy"]
    assert len(find([], tmp_path)) == 3
    assert main(["03"], tmp_path) == 2
    assert "'03' names no notebook: choose one of 01_toy, " in capsys.readouterr().err
    assert main(["02"], tmp_path) == 2
    assert "'02' names several notebooks" in capsys.readouterr().err

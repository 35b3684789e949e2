"""What strict nbval does not see: whether a notebook was run, how it reads, what it gives away.

nbval compares outputs with outputs. A notebook without any passes, and so does a picture without
a description.
"""

import ast
import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_house import broken_links, machine_traces

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_LINES, MOST_CELLS = 20, 100
MOST_UNCHECKED = 2
MOST_BYTES = 1_000_000
UNCHECKED = {"nbval-ignore-output", "nbval-skip"}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
DATA_ADDRESS = r"data:image/[a-z+.-]+;base64,[A-Za-z0-9+/=]+"


def faults(notebook):
    """What is wrong with a notebook, a sentence each; empty if nothing is."""
    return [
        *_run_faults(notebook),
        *_output_faults(notebook),
        *_shape_faults(notebook),
        *_picture_faults(notebook),
        *_metadata_faults(notebook),
    ]


def _source(cell):
    return "".join(cell["source"])


def _code(notebook):
    """Code cells, numbered from 1."""
    return enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), start=1)


def _tags(cell):
    comments = re.findall(r"^\s*#\s*(NBVAL_[A-Z_]+)\s*$", _source(cell), re.MULTILINE)
    return {*cell["metadata"].get("tags", []), *(c.lower().replace("_", "-") for c in comments)}


def _texts(output):
    """(type, text) of all that an output shows as text, pictures blanked."""
    shown = {"text/plain": output.get("text", "")} | output.get("data", {})
    shown["traceback"] = output.get("traceback", "")
    for kind, value in shown.items():
        if kind.startswith("text/") or kind == "traceback":
            yield kind, re.sub(DATA_ADDRESS, "", "".join(value))


def _run_faults(notebook):
    for number, cell in _code(notebook):
        count = cell["execution_count"]
        if not _source(cell).strip():
            yield f"code cell {number} is empty"
        elif count != number:
            yield f"code cell {number} has execution count {count}: run `make notebooks`"
        elif _must_show(_source(cell)) and not cell["outputs"]:
            yield f"code cell {number} must show something and has no output"


def _must_show(source):
    """Whether a cell ends on a value, or on a call of which it is known."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    try:
        body = ast.parse("\n".join(lines)).body
    except SyntaxError:  # the cell may be there to show one
        return False
    if not body or not isinstance(body[-1], ast.Expr) or source.rstrip().endswith(";"):
        return False
    value = body[-1].value
    if isinstance(value, ast.Constant) and value.value is None:
        return False
    if not isinstance(value, ast.Call):
        return True
    called = value.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in {"print", "display", "picture", "Image", "HTML"}


def _output_faults(notebook):
    unchecked = 0
    for number, cell in _code(notebook):
        tags = _tags(cell)
        unchecked += bool(tags & UNCHECKED)
        raises = bool(tags & {"raises-exception", "nbval-raises-exception"})
        for output in cell["outputs"]:
            if output["output_type"] == "error" and not raises:
                yield f"code cell {number} ends in an error and has no tag raises-exception"
            if output.get("name") == "stderr":
                yield f"code cell {number} writes to stderr"
            for _, text in _texts(output):
                for trace in machine_traces(text):
                    yield f"code cell {number} shows {trace}, which is of one machine"
                if re.search(r"\bat 0x[0-9a-f]{6,}", text):
                    yield f"code cell {number} shows an address in memory"
    if unchecked > MOST_UNCHECKED:
        yield f"{unchecked} cells are not checked, {MOST_UNCHECKED} may be"


def _shape_faults(notebook):
    for number, cell in _code(notebook):
        size = sum(1 for line in _source(cell).splitlines() if line.strip())
        if size > MOST_LINES:
            yield f"code cell {number} has {size} lines, {MOST_LINES} are the most"
    if len(notebook["cells"]) > MOST_CELLS:
        yield f"{len(notebook['cells'])} cells, {MOST_CELLS} are the most: make it two notebooks"
    if notebook["cells"] and not _source(notebook["cells"][0]).startswith("# "):
        yield "the first cell is not a title"


class _Images(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.without_alt = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "img" and not (dict(attrs).get("alt") or "").strip():
            self.without_alt += 1


def _picture_faults(notebook):
    for number, cell in enumerate(notebook["cells"], start=1):
        html = [_source(cell)] if cell["cell_type"] == "markdown" else []
        for output in cell.get("outputs", []):
            html += [text for kind, text in _texts(output) if kind == "text/html"]
            if any(kind.startswith("image/") for kind in output.get("data", {})):
                yield f"cell {number} shows an image that cannot have an alternative text"
        if any(_Images(text).without_alt or re.search(r"!\[\s*\]\(", text) for text in html):
            yield f"cell {number} has an image without an alternative text"
    for name, widget in _widgets(notebook).items():
        value = widget.get("state", {}).get("value")
        if isinstance(value, str) and _Images(value).without_alt:
            yield f"widget {name} has an image without an alternative text"


def _widgets(notebook):
    return notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})


def _metadata_faults(notebook):
    if "widgets" in notebook["metadata"] and not _widgets(notebook):
        yield "metadata.widgets has no state: GitHub refuses such a notebook"
    if notebook["metadata"].get("language_info", {}).keys() - {"name"}:
        yield "the metadata hold a version of Python: run `make notebooks`"
    if any("execution" in cell["metadata"] for cell in notebook["cells"]):
        yield "cells hold times of execution: run `make notebooks`"
    ids = [cell.get("id") for cell in notebook["cells"]]
    if None in ids or len(set(ids)) < len(ids):
        yield "cells have no ids, or one twice: run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path):
    assert faults(json.loads(path.read_text(encoding="utf-8"))) == []
    assert path.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_in_notebook(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join(_source(cell) for cell in cells if cell["cell_type"] == "markdown")
    assert broken_links(text, path.parent) == []


# The rules themselves: a good notebook, and one that is broken in one way.

GOOD = {
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title"]},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "execution_count": 1,
            "source": ["1 + 1"],
            "outputs": [
                {
                    "output_type": "execute_result",
                    "execution_count": 1,
                    "metadata": {},
                    "data": {"text/plain": ["2"], "text/html": ['<img alt="a" src="x">']},
                }
            ],
        },
    ],
    "metadata": {"language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_a_good_notebook_has_no_faults():
    assert faults(GOOD) == []


def _html(value):
    return lambda nb: nb["cells"][1]["outputs"][0]["data"].update({"text/html": [value]})


def _text(value):
    return lambda nb: nb["cells"][1]["outputs"][0]["data"].update({"text/plain": [value]})


def _set(index, **values):
    return lambda nb: nb["cells"][index].update(values)


def _metadata(**values):
    return lambda nb: nb["metadata"].update(values)


STDERR = {"output_type": "stream", "name": "stderr", "text": ["a warning"]}
ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
WIDGET = {WIDGET_STATE: {"state": {"0": {"state": {"value": "<img src='x'>"}}}}}


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (_set(1, execution_count=None), "execution count None"),
        (_set(1, execution_count=2), "execution count 2"),
        (_set(1, outputs=[]), "must show something"),
        (_set(1, source=["print(1)"], outputs=[]), "must show something"),
        (_set(1, source=["f = 1\n", "show.picture(f)"], outputs=[]), "must show something"),
        (_set(1, source=[" "]), "is empty"),
        (_set(1, outputs=[ERROR]), "ends in an error"),
        (_set(1, outputs=[STDERR]), "writes to stderr"),
        (_text("saved in /home/me"), "of one machine"),
        (_text("<object at 0x7f0203040506>"), "address in memory"),
        (_set(1, source=["x = 1\n"] * 21), "21 lines"),
        (
            lambda nb: nb["cells"].extend([{**nb["cells"][0], "id": str(n)} for n in range(99)]),
            "101 cells",
        ),
        (_set(0, source=["no title"]), "not a title"),
        (_html("<img src='x'>"), "without an alternative text"),
        (_html("<img alt=' ' src='x'>"), "without an alternative text"),
        (_set(0, source=["# Title\n", "![](x.png)"]), "without an alternative text"),
        (
            lambda nb: nb["cells"][1]["outputs"][0]["data"].update({"image/png": "x"}),
            "cannot have an alternative text",
        ),
        (_metadata(widgets=WIDGET), "widget 0 has an image"),
        (_metadata(widgets={WIDGET_STATE: {}}), "has no state"),
        (_metadata(language_info={"name": "python", "version": "3.11.7"}), "version of Python"),
        (_set(0, metadata={"execution": {}}), "times of execution"),
        (_set(0, id="b"), "one twice"),
    ],
)
def test_each_fault_is_seen(spoil, fault):
    notebook = copy.deepcopy(GOOD)
    spoil(notebook)
    assert fault in faults(notebook)[0]


def test_two_cells_may_go_unchecked():
    notebook = copy.deepcopy(GOOD)
    code = notebook["cells"][1]
    kinds = [{"tags": ["nbval-skip"]}, {"tags": ["nbval-ignore-output"]}, {}]
    sources = ["1", "1", "# NBVAL_IGNORE_OUTPUT\n1"]
    notebook["cells"][1:] = [
        code | {"id": str(n), "execution_count": n + 1, "metadata": kinds[n], "source": sources[n]}
        for n in range(3)
    ]
    assert faults(notebook) == ["3 cells are not checked, 2 may be"]
    del notebook["cells"][3]
    assert faults(notebook) == []


def test_a_tagged_error_is_fine_and_a_last_line_may_be_silent():
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][1]["metadata"]["tags"] = ["raises-exception"]
    notebook["cells"][1]["outputs"] = [ERROR]
    assert faults(notebook) == []
    for source in ("x = 1", "f(x)", "1 + 1;", "None", "%matplotlib inline", "this is no Python"):
        quiet = copy.deepcopy(GOOD)
        quiet["cells"][1].update(source=[source], outputs=[])
        assert faults(quiet) == [], source

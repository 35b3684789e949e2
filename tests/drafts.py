"""A notebook that waits for its records in runs/nbNN.patch, and its cells run without a kernel."""

import ast
import json
import shutil
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
MOST_WORDS, MOST_CELLS, MOST_LINES = 4500, 100, 20


def draft(number):
    """Id of each cell -> its source and kind: of the notebook with its patch, if there is one."""
    patch = ROOT / "runs" / f"nb{number}.patch"
    with TemporaryDirectory() as folder:
        there = Path(folder) / "notebooks"
        there.mkdir()
        for path in (ROOT / "notebooks").glob(f"{number}*.ipynb"):
            shutil.copy(path, there)
        if patch.exists():
            only = f"--include=notebooks/{number}*"
            subprocess.run(["git", "apply", only, str(patch)], cwd=folder, check=True)
        (path,) = there.glob("*.ipynb")
        cells = json.loads(path.read_text("utf-8"))["cells"]
    return {cell["id"]: ("".join(cell["source"]), cell["cell_type"]) for cell in cells}


def is_short(cells):
    """As short as notebooks 04, 06 and 07 may be."""
    words = sum(len(source.split()) for source, kind in cells.values() if kind == "markdown")
    assert words <= MOST_WORDS and len(cells) <= MOST_CELLS
    for name, (source, kind) in cells.items():
        lines = sum(bool(line.strip()) for line in source.splitlines())
        assert kind != "code" or lines <= MOST_LINES, name


def run_all(code):
    """Runs cells (id -> source) one after the other: what each ends on, and what all print.

    But for exercises, whose checks come with the notebook.
    """
    printed, names = StringIO(), {}
    with redirect_stdout(printed):
        values = {
            cell: last_value(source, names)
            for cell, source in code.items()
            if not cell.startswith("exercise")
        }
    return values, printed.getvalue()


def last_value(source, names):
    """Runs a cell among these names; what it ends on."""
    tree, value = ast.parse(source), None
    if isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
        exec(compile(tree, "cell", "exec"), names)  # our own notebook
        value = eval(compile(last, "cell", "eval"), names)
    else:
        exec(compile(tree, "cell", "exec"), names)
    return value

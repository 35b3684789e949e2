"""Run notebooks from top to bottom, each in a fresh kernel, and write their outputs.

    python tools/run_notebooks.py                    every notebook in notebooks/, in order
    python tools/run_notebooks.py 01_toy_bilevel 03  these; the beginning of a name is enough

Outputs come from here and from nowhere else, so that strict nbval compares like with like.
A notebook is written whole once all its cells have run, or stays as it was when one fails.
What differs between runs or machines is left out: times, versions, random names of widgets.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  # makes its cache here, not in a kernel: it says so
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CELL_TIMEOUT = 600  # seconds; nbval allows half of it

# What a kernel's environment needs so that outputs can be compared. conftest.py gives the same to
# the kernels of nbval.
KERNEL_ENVIRONMENT = {
    "TQDM_DISABLE": "1",  # a progress bar never prints the same twice
}

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def find(names: list[str], folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks that the names begin, in order; all of them if there are none.

    ValueError: a name that fits no notebook, or several.
    """
    every = sorted(folder.glob("*.ipynb"))
    if not names:
        return every
    found = set()
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        fits = [path for path in every if path.stem == stem] or [
            path for path in every if path.stem.startswith(stem)
        ]
        if len(fits) != 1:
            which = "several notebooks" if fits else "no notebook"
            choice = ", ".join(path.stem for path in fits or every)
            raise ValueError(f"{name!r} names {which}: choose one of {choice}.")
        found.add(fits[0])
    return sorted(found)


def run(path: Path, on_cell=lambda number: None) -> None:
    """Run one notebook in a fresh kernel of this Python and write it whole.

    on_cell: called with the number of cells done after each.
    nbclient.exceptions.CellExecutionError: a cell failed; the file is as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    _clear(notebook)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        startup_timeout=120,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # not that its loopback connection is plain text
        record_timing=False,
        coalesce_streams=True,  # otherwise chunks of stdout follow the machine's mood
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_complete=lambda cell, cell_index: on_cell(cell_index + 1),
    )
    client.execute(env=os.environ | KERNEL_ENVIRONMENT)
    _leave_out_the_machine(notebook)
    _number_widgets(notebook)
    _write_whole(path, nbformat.writes(notebook))


def _clear(notebook) -> None:
    """As if never run, with a name for each cell."""
    notebook.nbformat_minor = max(notebook.nbformat_minor, 5)  # from 5 on cells have ids
    taken = {cell.get("id") for cell in notebook.cells}
    for number, cell in enumerate(notebook.cells):
        if not cell.get("id"):
            name = f"cell-{number:03d}"
            cell["id"] = name if name not in taken else f"{name}-b"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)


def _leave_out_the_machine(notebook) -> None:
    """Notebook metadata that says no more than what is true everywhere."""
    widgets = notebook.metadata.get("widgets", {})
    notebook.metadata = type(notebook.metadata)(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    models = widgets.get(WIDGET_STATE, {}).get("state")
    if models:  # without a state GitHub refuses the notebook
        for model in models.values():  # what is None is so by default; a layout has forty of them
            model["state"] = {k: value for k, value in model["state"].items() if value is not None}
        notebook.metadata["widgets"] = widgets


def _number_widgets(notebook) -> None:
    """Widgets named by number instead of at random, so that two runs differ where results do."""
    names = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    text = json.dumps(notebook)
    for number, name in enumerate(names):  # in the order in which they were made
        text = text.replace(name, f"{number:032x}")
    notebook.update(nbformat.from_dict(json.loads(text)))


def _write_whole(path: Path, text: str) -> None:
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text.rstrip("\n") + "\n")
        os.chmod(scratch, path.stat().st_mode)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


def main(arguments: list[str] | None = None, folder: Path = NOTEBOOKS) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a notebook, or how its name begins"
    )
    try:
        paths = find(parser.parse_args(arguments).names, folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not paths:
        print(f"There are no notebooks in {folder.name}/.", file=sys.stderr)
        return 2
    began = time.perf_counter()
    for path in paths:
        start = time.perf_counter()
        cells = len(nbformat.read(path, as_version=4).cells)
        # disable=None: a bar on a terminal, nothing in a log file
        with tqdm(total=cells, desc=path.stem, unit="cell", leave=False, disable=None) as bar:
            try:
                run(path, on_cell=lambda done, bar=bar: bar.update(done - bar.n))
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                bar.close()
                reason = str(error)
                if not sys.stderr.isatty():  # no colors in a log file
                    reason = re.sub(r"\x1b\[[\d;]*m", "", reason)
                print(f"{path.stem} failed and is as it was before.\n\n{reason}", file=sys.stderr)
                return 1
        print(f"{path.stem}: {cells} cells, {time.perf_counter() - start:.1f} s", flush=True)
    if len(paths) > 1:
        print(f"all: {time.perf_counter() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

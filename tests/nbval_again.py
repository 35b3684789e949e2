"""`pytest --nbval` without nbval: the same comparison, on nbclient. Not a test but a plugin.

The way out that is kept ready, since nbval lives on a part of pytest that may go. README.md says
how to change over; test_nbval.py shows that both agree. The options and the names of cells are
nbval's. Compared is every output but pictures, views of widgets and counts.
"""

import re
from collections import defaultdict
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

LEFT_OUT = set("metadata traceback output_type execution_count data image/png image/jpeg".split())
LEFT_OUT.add("application/vnd.jupyter.widget-view+json")  # names that are random


def pytest_addoption(parser):
    group = parser.getgroup("nbval", "notebooks, compared with their outputs")
    group.addoption("--nbval", action="store_true", help="run notebooks, compare their outputs")
    group.addoption("--nbval-current-env", action="store_true", help="always so")
    group.addoption("--nbval-sanitize-with", help="file of pairs of lines, regex: and replace:")
    group.addoption("--nbval-cell-timeout", type=float, default=2000, help="seconds")


def pytest_collect_file(file_path, parent):
    if parent.config.option.nbval and file_path.suffix == ".ipynb":
        return Notebook.from_parent(parent, path=file_path)


class Notebook(pytest.File):
    def collect(self):
        self.notebook = nbformat.read(self.path, as_version=4)
        code = [k for k, cell in enumerate(self.notebook.cells) if cell.cell_type == "code"]
        for number, place in enumerate(code):
            yield Cell.from_parent(self, name=f"Cell {number}", place=place)

    def setup(self):
        option, self.stopped = self.config.option, False
        file = option.nbval_sanitize_with
        text = Path(file).read_text(encoding="utf-8") if file else ""
        self.patterns = re.findall(r"^regex: (.*)\nreplace: (.*)$", text, re.MULTILINE)
        self.client = NotebookClient(
            deepcopy(self.notebook),
            timeout=int(option.nbval_cell_timeout),
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": str(self.path.parent)}},
        )
        self.kernel = self.client.setup_kernel()
        self.kernel.__enter__()

    def teardown(self):
        self.kernel.__exit__(None, None, None)

    def fields(self, outputs):
        """Name of a field -> its values in all outputs, in order; streams are joined."""
        found = defaultdict(list)
        for output in outputs:
            stream = output.output_type == "stream"
            fields = {output.name: output.text} if stream else output | output.get("data", {})
            for name in fields.keys() - LEFT_OUT:
                value = fields[name]
                for pattern, instead in self.patterns if isinstance(value, str) else ():
                    value = re.sub(pattern, instead, value)
                found[name] = ["".join(found[name]) + value] if stream else [*found[name], value]
        return found


class Cell(pytest.Item):
    """A code cell: it has to show what it showed when its outputs were written."""

    def __init__(self, *, place, **options):
        super().__init__(**options)
        self.place, self.cell = place, self.parent.notebook.cells[place]

    def runtest(self):
        notes = re.findall(r"^\s*#+\s*(NBVAL_\w+)\s*$", self.cell.source, re.MULTILINE)
        tags = {*self.cell.metadata.get("tags", ()), *(n.lower().replace("_", "-") for n in notes)}
        if "nbval-skip" in tags:
            pytest.skip()
        if self.parent.stopped:
            pytest.xfail("an earlier cell stopped the kernel")
        new, failed = deepcopy(self.cell), ""
        try:
            self.parent.client.execute_cell(new, self.place, store_history=False)
        except (CellTimeoutError, DeadKernelError) as error:
            self.parent.stopped, failed = True, str(error)
        except CellExecutionError as error:
            failed = "" if "nbval-raises-exception" in tags else str(error)
        before, now = self.parent.fields(self.cell.outputs), self.parent.fields(new.outputs)
        asked = "nbval-ignore-output" not in tags and before != now
        if self.cell.outputs if self.cell.execution_count is None else asked:
            failed = failed or f"it showed {dict(before)}\n\nit shows {dict(now)}"
        if failed:
            pytest.fail(f"{self.cell.source}\n\n{failed}", pytrace=False)

"""Write the exercises into the notebooks, below the heading "## Exercises".

    python tools/write_exercises.py

Their texts stand in dartslib/course/exercises.toml alone; a test compares the notebooks with it.
Afterwards `make notebooks` writes the outputs. A notebook without the heading is left as it is.
"""

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from dartslib.course.texts import load, text
from dartslib.runs.files import write_text

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
HEADING, PREFIX = "## Exercises", "exercise-"


def cells(notebook: str) -> list[NotebookNode]:
    """The cells of a notebook's exercises, two each."""
    found = []
    for k, exercise in enumerate((e for e in load() if e.notebook == notebook), start=1):
        number, name = f"{int(notebook[:2])}.{k}", PREFIX + exercise.name.replace("_", "-")
        found.append(new_markdown_cell(text(exercise, number), id=name))
        found.append(new_code_cell(exercise.code, id=f"{name}-code"))
    return found


def with_exercises(node: NotebookNode, notebook: str) -> NotebookNode:
    """The notebook with its exercises as they are now."""
    kept = [cell for cell in node.cells if not cell.id.startswith(PREFIX)]
    places = [k for k, cell in enumerate(kept) if cell.source.startswith(HEADING)]
    if places:
        before = {cell.id: cell for cell in node.cells}
        new = cells(notebook)
        for cell in new:  # an unchanged cell keeps its output
            old = before.get(cell.id)
            if cell.cell_type == "code" and old is not None and old.source == cell.source:
                cell.outputs, cell.execution_count = old.outputs, old.execution_count
        kept[places[0] + 1 : places[0] + 1] = new
    node.cells = kept
    return node


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        node = with_exercises(nbformat.read(path, 4), path.stem)
        write_text(path, nbformat.writes(node) + "\n")

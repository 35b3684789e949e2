"""Write the tables of docs/instructor.md: how long each section takes, what each exercise tests.

    python tools/write_instructor.py

Both come from the notebooks and from dartslib/course/exercises.toml; a test compares.
"""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dartslib.course.texts import load
from dartslib.runs.files import write_text

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "instructor.md"
NOTEBOOKS = ROOT / "notebooks"
WORDS, LINE, FIGURE = 200, 0.1, 0.5  # words a minute; minutes a line of code, minutes a figure
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
BEFORE = "Promise and set-up"


def reading_minutes(node: NotebookNode) -> dict[str, float]:
    """Minutes of reading of each section of a notebook, by its heading."""
    minutes, section = {BEFORE: 0.0}, BEFORE
    for cell in node.cells:
        if cell.cell_type == "code":
            lines = sum(1 for line in cell.source.splitlines() if line.strip())
            pictures = sum("text/html" in output.get("data", {}) for output in cell.outputs)
            minutes[section] += lines * LINE + pictures * FIGURE
            continue
        text, *rest = HEADING.split(cell.source)
        minutes[section] += len(text.split()) / WORDS
        for heading, body in zip(rest[::2], rest[1::2], strict=True):
            section = heading
            minutes[section] = minutes.get(section, 0.0) + len(body.split()) / WORDS
    return minutes


def sections() -> str:
    """The table of the sections that are numbered; the rest of a notebook in one row."""
    rows = ["| notebook | section | minutes |", "|---|---|---|"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        minutes = reading_minutes(nbformat.read(path, 4))
        numbered = {name: m for name, m in minutes.items() if name[0].isdigit()}
        rest = sum(minutes.values()) - sum(numbered.values())
        rows.append(f"| **{path.stem[:2]}** | *all of it* | **{sum(minutes.values()):.0f}** |")
        rows += [f"| | {name} | {m:.0f} |" for name, m in numbered.items()]
        rows.append(f"| | everything around them | {rest:.0f} |")
    return "\n".join(rows)


def exercises() -> str:
    """The table of the exercises: stars, minutes, and what each tests."""
    rows = ["| | exercise | | minutes | what it tests |", "|---|---|---|---|---|"]
    counts: dict[str, int] = {}
    for exercise in load():
        counts[exercise.notebook] = counts.get(exercise.notebook, 0) + 1
        number = f"{int(exercise.notebook[:2])}.{counts[exercise.notebook]}"
        rows.append(
            f"| {number} | {exercise.title} | {'★' * exercise.stars} | {exercise.minutes} | "
            f"{exercise.about} |"
        )
    return "\n".join(rows)


def with_tables(page: str) -> str:
    """The page with its tables as they are now."""
    for name, table in (("sections", sections()), ("exercises", exercises())):
        begin, end = f"<!-- {name}: tools/write_instructor.py -->\n", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}{table}\n{end}{rest.split(end, 1)[1]}"
    return page


if __name__ == "__main__":
    write_text(PAGE, with_tables(PAGE.read_text(encoding="utf-8")))

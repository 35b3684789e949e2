"""The exercises: every solution is right, wrong answers are told why, notebooks have both."""

import ast
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from plain import is_one_sentence

from dartslib import course
from dartslib.course import checks, checks_01, texts
from tools import write_exercises

EXERCISES = {exercise.name: exercise for exercise in texts.load()}
NOT_YET = "not yet: write your answer where the dots are\n"
WRONG = [(name, k) for name, e in EXERCISES.items() for k in range(len(e.wrong))]


def _before(exercise):
    """The notebook's first code cell, and the one that the exercise needs, if any."""
    node = nbformat.read(write_exercises.NOTEBOOKS / f"{exercise.notebook}.ipynb", 4)
    first = next(cell.source for cell in node.cells if cell.cell_type == "code")
    needed = [cell.source for cell in node.cells if cell.id == exercise.needs]
    assert len(needed) == bool(exercise.needs)
    return "\n".join([first, *needed])


def _run(exercise, code):
    names = {"course": course}
    with redirect_stdout(StringIO()):
        exec(_before(exercise), names)  # our own notebook
    exec(code, names)


def test_every_exercise_has_a_check():
    assert list(EXERCISES) == list(checks.CHECKS)
    assert 10 <= len(EXERCISES) <= 20
    assert {exercise.stars for exercise in EXERCISES.values()} == {1, 2, 3}


@pytest.mark.parametrize("name", EXERCISES)
def test_as_shipped(name, capsys):
    _run(EXERCISES[name], EXERCISES[name].code)
    assert capsys.readouterr().out == NOT_YET


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_right(name, capsys):
    _run(EXERCISES[name], EXERCISES[name].solution)
    assert capsys.readouterr().out == "right\n"


@pytest.mark.parametrize(("name", "k"), WRONG, ids=[f"{name}-{k}" for name, k in WRONG])
def test_a_wrong_answer_is_told_why(name, k, capsys):
    wrong = EXERCISES[name].wrong[k]
    _run(EXERCISES[name], wrong.code)
    said = capsys.readouterr().out
    assert said.startswith("not quite, because ") and wrong.says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", EXERCISES)
def test_every_wrong_answer_is_named(name):
    assert EXERCISES[name].wrong, "an exercise knows at least one answer that readers give"


@pytest.mark.full
@pytest.mark.parametrize(
    "path", sorted(write_exercises.NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem
)
def test_a_notebook_with_every_solution_put_in(path):
    node = nbformat.read(path, 4)
    solutions = {e.code: e.solution for e in EXERCISES.values() if e.notebook == path.stem}
    solved = [cell for cell in node.cells if cell.source in solutions]
    if not solved:
        pytest.skip("this notebook has no exercises yet")
    for cell in solved:
        cell.source = solutions[cell.source]
    NotebookClient(node, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    said = ["".join(output.text for output in cell.outputs) for cell in solved]
    assert said == ["right\n"] * len(solutions)


def test_code_that_stops_is_an_answer(capsys):
    course.check("two_steps", lambda w, alpha, xi: 1 / 0)
    course.check("predict", "up", 3)
    course.check("derive_by_hand", 7)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("not quite, because ") for line in lines) and len(lines) == 3
    assert "ZeroDivisionError" in lines[0] and '"grows" or "shrinks"' in lines[1]


def test_an_unknown_exercise():
    with pytest.raises(ValueError, match="such as predict") as error:
        course.check("predicted", 1)
    assert is_one_sentence(error.value)


def test_notebooks_have_the_exercises_of_today():
    for path in write_exercises.NOTEBOOKS.glob("*.ipynb"):
        node = nbformat.read(path, 4)
        before = [(cell.id, cell.cell_type, cell.source) for cell in node.cells]
        after = write_exercises.with_exercises(node, path.stem).cells
        assert [(cell.id, cell.cell_type, cell.source) for cell in after] == before


def test_the_checks_of_01_need_math_and_the_toys_formulas_alone():
    """So that a page can run them where there is neither numpy nor Python's library."""
    source = Path(checks_01.__file__).read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(source)))
    imports = {ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)}
    assert imports == {"from math import isclose", "from dartslib import toy"}
    used = {n.attr for n in nodes if ast.unparse(n).startswith("toy.") and hasattr(n, "attr")}
    assert used == {"alpha_gradient", "fixed_point", "valid_loss"}
    keywords = {k.arg for n in nodes if isinstance(n, ast.Call) for k in n.keywords}
    assert keywords == {"abs_tol"}

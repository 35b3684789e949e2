"""Broken on purpose: each mistake of mistakes.toml, put into dartslib, makes its test fail."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache

import pytest
from broken import COMPARISON, MISTAKES, README, ROOT, broken_source, with_table

# Two that `make test` runs, the same way as all the others: one found in public code, one not.
A_FEW = ("divided_by_two_times_eps", "held_out_images_in_the_search")
REST = [pytest.param(name, marks=pytest.mark.full) for name in MISTAKES if name not in A_FEW]


@pytest.fixture(scope="module")
def put_in():
    """Puts a mistake in and runs its test; all in forks of one process that has loaded torch."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork, which Windows lacks")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    with subprocess.Popen(
        [sys.executable, "tests/broken.py", "-"],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask(mistake):
            print(json.dumps(asdict(mistake)), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.mark.parametrize("name", [*A_FEW, *REST])
def test_a_mistake_is_seen(put_in, name):
    found = put_in(MISTAKES[name])
    assert found["code"] == pytest.ExitCode.TESTS_FAILED, found["output"]
    assert found["seen"], f"by {found['raised']}, not by a comparison:\n{found['output']}"


@cache
def _functions(file):
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def _source_and_tree(file):
    source = (ROOT / "dartslib" / file).read_text(encoding="utf-8")
    return source, ast.dump(ast.parse(source))


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_row_of_the_table(mistake):
    source, tree = _source_and_tree(mistake.file)
    broken = broken_source(mistake, source)
    assert ast.dump(ast.parse(broken)) != tree  # code that can run, and not a comment alone
    file, test = mistake.test.split("::")
    function = _functions(file)[test]
    marks = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
    assert "mark.full" not in marks and "mark.gpu" not in marks  # `make test` runs it, as it is
    assert mistake.mistake.endswith(".") and "\n" not in mistake.mistake
    assert mistake.raises not in COMPARISON


def test_text_that_is_not_there_once_is_an_error():
    mistake = MISTAKES["divided_by_two_times_eps"]
    ((right, _),) = mistake.changes
    for source in ("", f"{right}\n{right}\n"):
        with pytest.raises(ValueError, match="write the row anew"):
            broken_source(mistake, source)


def test_a_change_of_nothing_is_not_seen(put_in):
    found = put_in(replace(MISTAKES["held_out_images_in_the_search"], changes=[]))
    assert found["code"] == pytest.ExitCode.OK and not found["seen"], found["output"]


def test_the_readme_has_todays_table():
    readme = README.read_text(encoding="utf-8")
    assert with_table(readme) == readme, "run python tests/broken.py table"


def test_the_readme_names_every_test_file():
    readme = README.read_text(encoding="utf-8")
    missing = [path.name for path in ROOT.glob("tests/test_*.py") if f"({path.name})" not in readme]
    assert not missing, f"tests/README.md does not say what {', '.join(missing)} show"

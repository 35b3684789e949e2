"""Puts a known mistake into dartslib and runs the test that must see it.

    python tests/broken.py NAME ...    runs these rows of tests/mistakes.toml
    python tests/broken.py all         runs every row
    python tests/broken.py table       writes the table in tests/README.md

A mistake is a change of the source: when dartslib's module is first imported, some text of its file
is replaced by other text. Nothing in dartslib knows of it, and no file on the disk changes. Each
mistake gets a process of its own, forked from one that has loaded torch, so that it costs the time
of its test.
"""

import functools
import gc
import importlib
import json
import os
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).resolve().parent.parent
TABLE, README = ROOT / "tests" / "mistakes.toml", ROOT / "tests" / "README.md"
BEGIN, END = "<!-- mistakes: python tests/broken.py table -->", "<!-- end of mistakes -->"

# By a failed comparison, or by an exception that did not come: not by a patch that cannot run.
COMPARISON = ("AssertionError", "Failed")


@dataclass(frozen=True)
class Mistake:
    """A row of mistakes.toml, whose head says what the fields are."""

    name: str
    mistake: str
    file: str
    changes: list[list[str]]
    test: str
    seen_in: str = ""
    raises: str = ""

    @property
    def module(self) -> str:
        """The dotted name of the file."""
        name = self.file.removesuffix(".py").removesuffix("/__init__")
        return "dartslib." + name.replace("/", ".")


MISTAKES = {
    name: Mistake(name, **row)
    for name, row in tomllib.loads(TABLE.read_text(encoding="utf-8")).items()
}


def broken_source(mistake: Mistake, source: str) -> str:
    """The source of a module with the mistake in it.

    Raises:
        ValueError: the text to be replaced is not there, or is there twice.
    """
    for right, wrong in mistake.changes:
        count = source.count(right)
        if count != 1:
            raise ValueError(
                f"{mistake.name}: dartslib/{mistake.file} has {right!r} {count} times, not once; "
                "write the row anew in tests/mistakes.toml."
            )
        source = source.replace(right, wrong)
    return source


class _Loader(SourceFileLoader):
    def __init__(self, mistake, *arguments):
        super().__init__(*arguments)
        self.mistake = mistake

    def get_code(self, fullname):
        # Not the usual way over the compiled file: it holds the right code, and is to keep it.
        return compile(broken_source(self.mistake, self.get_source(fullname)), self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, mistake):
        self.mistake = mistake

    def find_spec(self, name, path, target=None):
        if name != self.mistake.module:
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = _Loader(self.mistake, name, spec.origin)
        return spec


class _Watch:
    """Remembers what a test raised; the first failing example is enough, not the smallest."""

    raised = None

    def pytest_sessionstart(self):
        quick = {"phases": (Phase.explicit, Phase.generate), "report_multiple_bugs": False}
        settings.register_profile("broken", settings.get_profile("dartslib"), **quick)
        settings.load_profile("broken")

    def pytest_exception_interact(self, call):
        self.raised = call.excinfo.typename


def run(mistake: Mistake) -> tuple[int, str | None]:
    """Runs the named test with the mistake, in this process, which must not be used afterwards.

    Returns:
        pytest's exit code, and the type of what the test raised.
    """
    if mistake.module in sys.modules:
        raise RuntimeError(f"{mistake.module} is loaded already: the mistake would come too late.")
    sys.meta_path.insert(0, _Finder(mistake))
    watch = _Watch()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each costs its time in each process
    options = ["-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-p", "nbval.plugin"]
    code = pytest.main([*options, f"tests/{mistake.test}"], plugins=[watch])
    return int(code), watch.raised


def run_in_a_fork(mistake: Mistake) -> dict:
    """The same in a process of its own.

    Returns:
        code and raised as of `run`, seen: whether the test failed as it must, output: all of
        what it printed.
    """
    text = functools.partial(tempfile.TemporaryFile, "w+", encoding="utf-8")
    with text() as output, text() as result:
        child = os.fork()
        if child == 0:
            try:
                for stream in (1, 2):
                    os.dup2(output.fileno(), stream)
                result.write(json.dumps(run(mistake)))
                result.flush()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        output.seek(0), result.seek(0)
        code, raised = json.loads(result.read() or "[null, null]")
        expected = (mistake.raises,) if mistake.raises else COMPARISON
        seen = code == pytest.ExitCode.TESTS_FAILED and raised in expected
        return {"code": code, "raised": raised, "seen": seen, "output": output.read()}


def load_what_every_test_needs() -> None:
    """Libraries that take seconds to load; nothing of dartslib, and no thread of torch's."""
    for name in ("torch._dynamo", "matplotlib", "nbformat", "nbval.kernel"):
        importlib.import_module(name)
    gc.freeze()  # else each process would search all of it for garbage


def with_table(readme: str) -> str:
    """tests/README.md with the table of today's mistakes."""
    rows = ["| mistake | seen in | test that sees it |", "|---|---|---|"]
    for m in MISTAKES.values():
        file, test = m.test.split("::")
        rows.append(f"| {m.mistake} | {m.seen_in} | [{file}]({file}) `{test}` |")
    head, rest = readme.split(BEGIN)
    return head + BEGIN + "\n" + "\n".join(rows) + "\n" + END + rest.split(END)[1]


def main(words: list[str]) -> int:
    """The three commands above; "-" reads rows as lines of JSON, and answers each with one."""
    os.chdir(ROOT)
    if words == ["table"]:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    load_what_every_test_needs()
    if words == ["-"]:
        for line in sys.stdin:
            print(json.dumps(run_in_a_fork(Mistake(**json.loads(line)))), flush=True)
        return 0
    unknown = [name for name in words if name not in MISTAKES and name != "all"]
    if unknown or not words:
        print(
            f"Name a row of tests/mistakes.toml, all, or table; not {' '.join(unknown) or 'none'}."
        )
        return 2
    missed = 0
    for name in MISTAKES if words == ["all"] else words:
        found = run_in_a_fork(MISTAKES[name])
        missed += not found["seen"]
        print(f"{name}: {'seen' if found['seen'] else 'NOT SEEN'} ({found['raised']})", flush=True)
        if len(words) == 1 and words != ["all"]:
            print(found["output"])
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

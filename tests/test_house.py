"""The house rules that no linter knows: packages, imports, sizes, names, links."""

import ast
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dartslib"
CORE = """toy space operations relaxation supernet gradients settings loops searching genotypes
    networks training""".split()


# Packages


def _bounds(requirements):
    return dict(re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in requirements)


def test_conda_and_pip_name_the_same_packages():
    conda_names = {"torch": "pytorch", "graphviz": "python-graphviz"}
    only_conda = {"python", "pip", "graphviz"}  # this graphviz is the program dot

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pip = _bounds(project["dependencies"] + project["optional-dependencies"]["dev"])
    pip = {conda_names.get(name, name): bound for name, bound in pip.items()}

    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    listed = [line for line in environment["dependencies"] if isinstance(line, str)]
    (by_pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert by_pip[-1] == "-e ."
    listed += by_pip[:-1]
    conda = _bounds(listed)
    assert len(listed) == len(conda), "a package is listed twice"
    assert conda["python"] == project["requires-python"]
    assert {n: b for n, b in conda.items() if n not in only_conda} == pip
    assert only_conda <= conda.keys()
    assert environment["channels"] == ["conda-forge"]


def test_binder_takes_its_packages_from_the_environment():
    files = [yaml.safe_load((ROOT / name).read_text("utf-8")) for name in
             ("binder/environment.yml", "environment.yml")]  # fmt: skip
    few, all_of_them = ([x for x in f["dependencies"] if isinstance(x, str)] for f in files)
    assert set(few) <= set(all_of_them)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {"torch": "pytorch", "graphviz": "python-graphviz"}
    needed = {names.get(name, name) for name in _bounds(project["dependencies"])}
    assert needed <= set(_bounds(few))


def test_versions_agree():
    import dartslib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert dartslib.__version__ == project["version"] == str(citation["version"])


def test_citation_names_the_report_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    names = [reference["authors"][0]["family-names"] for reference in citation["references"]]
    assert names == ["Voronkova", "Liu"]


# Imports


def _run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["dartslib", "dartslib.toy", "dartslib.show", "dartslib.show.toy"])
def test_light_parts_load_no_torch(name):
    done = _run(f"import {name}, sys; print('torch' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def _modules():
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__main__"
    )


def test_nothing_happens_on_import():
    done = _run(f"""
import random, numpy, torch
before = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
from importlib import import_module
for name in {_modules()}:
    import_module(name)
after = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
assert before == after, "a global generator was moved"
assert threads == torch.get_num_threads() and dtype == torch.get_default_dtype()
assert not torch.cuda.is_initialized()
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _imports(path):
    """Parts of dartslib that a file imports, anywhere in it: ("gradients",), ("data", "sets")."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "dartslib" and rest:
                found.add(tuple(rest))
    return found


# The rows of the house, upper ones first: a row may import rows above it, never below.
ROWS = (
    *CORE, "methods", "data", "fast", "runs", "api", "tabular", "rivals", "show", "course",
    "__main__",
)  # fmt: skip


def _row(part):
    """The core is one row: its files may import each other as long as nothing goes in a circle."""
    return ROWS.index("training" if part in CORE else part)


def _importers():
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for target in sorted(_imports(path)):
            yield path.relative_to(ROOT).as_posix(), part, target


def test_every_part_of_the_package_has_a_row():
    parts = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")}
    assert parts - {"__init__"} == set(ROWS)


def test_imports_go_up_the_rows_and_never_down():
    wrong = [
        f"{path} imports {'.'.join(target)}"
        for path, part, target in _importers()
        if part != "__init__" and target[0] in ROWS and _row(target[0]) > _row(part)
    ]
    assert not wrong


def test_the_command_line_offers_every_gradient():
    from dartslib.__main__ import Gradient
    from dartslib.gradients import METHODS

    assert get_args(Gradient) == METHODS


# Text files


def texts_by_locale(source):
    """Lines that read or write a text in whatever encoding the machine has."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        plain = isinstance(node.func, ast.Name)
        name = node.func.id if plain else getattr(node.func, "attr", "")
        given = [ast.unparse(argument) for argument in node.args]
        mode = given[1:2] or ["'r'"] if plain else given[:1]
        texts = {"read_text": not given, "write_text": len(given) == 1}
        if texts.get(name, name == "open" and mode in (["'r'"], ["'w'"], ["'a'"])):
            yield node.lineno


def test_every_text_file_says_its_encoding():
    source = "a.read_text()\nb.write_text(x)\nopen(c)\nopen(d, 'w')\ne.open('w')"
    assert [*texts_by_locale(source)] == [1, 2, 3, 4, 5]
    assert not [*texts_by_locale("a.read_text('utf-8')\nopen(d, 'rb')\nopen(c, encoding='utf-8')")]
    paths = [p for part in ("dartslib", "tests", "tools", "benchmarks", "docs")
             for p in sorted((ROOT / part).rglob("*.py"))]  # fmt: skip
    found = {path.name: [*texts_by_locale(path.read_text("utf-8"))] for path in paths}
    assert {name: lines for name, lines in found.items() if lines} == {}


# Sizes and names


def _lines_of_code(path):
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    prose = set()
    for node in ast.walk(tree):  # a string that stands alone says something to the reader
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose |= set(range(node.lineno, node.end_lineno + 1))
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = set()
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type not in layout and token.type != tokenize.ENDMARKER:
                lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - prose)


def test_the_core_stays_small():
    sizes = {name: _lines_of_code(PACKAGE / f"{name}.py") for name in CORE}
    print(sizes)
    assert sum(sizes.values()) <= 1300, f"the core is to be read in an afternoon: {sizes}"


def test_the_package_stays_within_its_size():
    sizes = Counter()
    for path in PACKAGE.rglob("*.py"):
        sizes[path.relative_to(PACKAGE).parts[0]] += _lines_of_code(path)
    print(sizes)
    assert sizes.total() <= 12_500, f"one person is to know all of it: {sizes}"


# In show/ as it is now, in the fast form (whose signatures are autograd's) and on the command line,
# where each argument is an option, there are more.
FEW_POSITIONAL = [
    path for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in ("show", "fast", "__main__.py")
]  # fmt: skip


@pytest.mark.parametrize(
    "path", FEW_POSITIONAL, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_more_than_four_arguments_are_given_by_name(path):
    usual = {"from_arrays": 6}  # the four arrays of a data set, as everywhere
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if public or getattr(node, "name", "") == "__init__":
            names = [a.arg for a in node.args.args if a.arg not in ("self", "cls")]
            assert len(names) <= usual.get(node.name, 4), node.name


def _packages():
    return [name for name in _modules() if (ROOT / name.replace(".", "/")).is_dir()]


@pytest.mark.parametrize("package", _packages())
def test_no_file_bears_a_public_name(package):
    # `package.name` would be the function at first and the module once something imported that.
    # With names that load on first use, which of the two it is depends on who came before.
    module = import_module(package)
    files = {path.stem for path in Path(module.__file__).parent.glob("*.py")}
    both = files & set(getattr(module, "__all__", ()))
    assert not both, f"{package}: rename the file, not the function"


@pytest.mark.parametrize("package", ["dartslib", "dartslib.show"])
def test_every_public_name_can_be_had(package):
    module = import_module(package)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018


# Pages


def _targets():
    return set(
        re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    )


def test_readme_commands_are_in_the_makefile():
    readme = (ROOT / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, re.DOTALL))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code))
    assert {"lab", "test"} <= named <= _targets()


def test_every_target_is_phony_and_explained():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    assert phony == _targets()
    assert _targets() == set(re.findall(r"^([a-z-]+):.*## \w", makefile, re.MULTILINE))


def _pages():
    names = "data", "notebooks", "benchmarks", "docs", "tests"
    folders = [ROOT, *(ROOT / name for name in names)]
    return sorted(path for folder in folders for path in folder.glob("*.md"))


@pytest.mark.parametrize("page", _pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_to_files_resolve(page):
    assert broken_links(page.read_text("utf-8"), page.parent) == []


@pytest.mark.parametrize("page", _pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_name_no_machine(page):
    assert machine_traces(page.read_text("utf-8")) == []


def broken_links(markdown, folder):
    """Local files that a text links to and that are not there."""
    markdown = re.sub(r"```.*?```|`[^`\n]*`|<!--.*?-->", "", markdown, flags=re.DOTALL)
    links = re.findall(r"\]\(\s*<?([^)\s>]+)", markdown)
    links += re.findall(r"""\b(?:src|href)=["']([^"']+)""", markdown)
    local = [re.sub(r"[#?].*", "", link) for link in links if not re.match(r"[a-z]+:|#", link)]
    return [link for link in local if not (folder / link).exists()]


def machine_traces(text):
    """Paths and addresses that are true on one machine only."""
    patterns = (
        r"(?<![\w.~-])/(?:work|home|root|tmp|Users)/[\w.-]*",
        r"\b[A-Z]:\\\w+",
        r"\b(?:localhost|127\.0\.0\.1):\d+",
    )
    return [found[0] for pattern in patterns for found in re.finditer(pattern, text)]


def test_the_page_checks_see_what_they_look_for():
    assert broken_links("[a](no.md) ![b](no.png 't') <img src='no.svg'>", ROOT) == [
        "no.md",
        "no.png",
        "no.svg",
    ]
    fine = "[a](LICENSE) [b](LICENSE#top) [c](#here) [d](https://example.org) `[e](no.md)`"
    assert broken_links(fine, ROOT) == []
    assert machine_traces("in /home/me/x, C:\\Users, at 127.0.0.1:8888") == [
        "/home/me",
        "C:\\Users",
        "127.0.0.1:8888",
    ]
    assert machine_traces("data/home/x, https://example.org/home/x, A: b") == []


def test_the_results_on_the_pages_are_those_of_the_records():
    from tools.write_readme import BEGIN, END, PAGES, with_results

    for name, write in PAGES.items():
        page = (ROOT / name).read_text(encoding="utf-8")
        assert BEGIN in page and END in page
        assert with_results(page, write) == page, "run python tools/write_readme.py"

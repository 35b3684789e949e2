"""The pages beside the notebooks: names exist, tables are up to date; and what the site adds."""

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from plain import Noise

from dartslib import data, toy
from dartslib.course.texts import load
from dartslib.methods.perturbation import Perturbation
from dartslib.methods.stages import Around, Stages
from dartslib.runs import running
from dartslib.runs.running import begin_search, fast_form, make_run
from dartslib.searching import Search, SearchConfig
from dartslib.show.toy_explorer import describe_run
from tools import write_instructor

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(DOCS))

import equations  # noqa: E402  # they stand in docs/
import live  # noqa: E402

EXERCISES = [e.name.replace("_", "-") for e in load() if e.notebook == live.NOTEBOOK]


def _rows(text):
    """The last column of each row of the tables of symbols in a text."""
    for table in re.split(r"\n\s*\n", text):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        if lines and re.search(r"symbol\b.*name in the code", lines[0], re.IGNORECASE):
            yield from (line.strip("|").split("|")[-1] for line in lines[2:])


def _names(text):
    """The dotted names between backticks."""
    for quoted in re.findall(r"`([^`]+)`", text):
        found = re.match(r"[A-Za-z_][\w.]*", quoted)
        if found:
            yield found[0].rstrip(".")


def _is_there(dotted):
    """Whether a full name is a module's, a class's, or a field or attribute of a class."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
            break
        except ModuleNotFoundError:
            continue
    else:
        return False
    for name in parts[cut:]:
        if inspect.isclass(thing) and not hasattr(thing, name):
            annotated = any(name in getattr(base, "__annotations__", {}) for base in thing.__mro__)
            return annotated or f"self.{name} = " in inspect.getsource(thing)
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def test_how_names_are_looked_up():
    assert _is_there("dartslib.toy.descend") and _is_there(
        "dartslib.gradients.Hypergradient.direct"
    )
    assert _is_there("dartslib.searching.SearchConfig.radius")
    assert not _is_there("dartslib.toy.ascend") and not _is_there("dartslib.gradients.Hyper.direct")
    assert not _is_there("dartslib.searching.SearchConfig.radios")


def test_the_glossary_names_what_is_there():
    names = [
        name for row in _rows((DOCS / "glossary.md").read_text("utf-8")) for name in _names(row)
    ]
    assert len(names) >= 20
    assert [name for name in names if not _is_there(name)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_symbol_tables_of_notebooks_name_what_is_there(path):
    node = nbformat.read(path, 4)
    source = "\n".join(file.read_text("utf-8") for file in (ROOT / "dartslib").rglob("*.py"))
    source += "\n".join(cell.source for cell in node.cells if cell.cell_type == "code")
    known = set(re.findall(r"\w+", source))
    rows = [row for c in node.cells if c.cell_type == "markdown" for row in _rows(c.source)]
    names = {part for row in rows for name in _names(row) for part in name.split(".")}
    assert len(rows) >= 5
    assert names - known == set()


def test_every_word_of_the_glossary_stands_in_its_notebook():
    text = {path.stem[:2]: path.read_text("utf-8").lower() for path in NOTEBOOKS}
    words = (DOCS / "glossary.md").read_text("utf-8").split("## Symbols")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([\d, ]+) \|$", words, re.MULTILINE)
    assert len(rows) >= 25
    for word, places in rows:
        names = [part.strip(" $").split(" cell")[0] for part in word.split(",")]
        for place in places.split(","):
            assert any(name.lower() in text[place.strip()] for name in names), (word, place)


def test_the_tables_of_the_instructor_are_up_to_date():
    page = write_instructor.PAGE.read_text(encoding="utf-8")
    assert write_instructor.with_tables(page) == page, "run python tools/write_instructor.py"
    assert write_instructor.exercises().count("\n") == len(load()) + 1


def test_reading_minutes():
    node = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Title\n\n" + "word " * 98),
            nbformat.v4.new_code_cell("a = 1\n\nb = 2"),
            nbformat.v4.new_markdown_cell("so\n\n## 1 · First\n\n" + "word " * 400),
            nbformat.v4.new_code_cell(
                "a", outputs=[nbformat.v4.new_output("display_data", {"text/html": "<img>"})]
            ),
        ]
    )
    minutes = write_instructor.reading_minutes(node)
    assert minutes == {"Promise and set-up": pytest.approx(0.705), "1 · First": pytest.approx(2.6)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_minutes_at_the_top_of_a_notebook(path):
    node = nbformat.read(path, 4)
    (found,) = re.findall(r"reading (\d+) minutes", node.cells[0].source)
    assert int(found) == round(sum(write_instructor.reading_minutes(node).values()))
    for exercises in re.findall(r"exercises (\d+) minutes", node.cells[0].source):
        assert int(exercises) == sum(e.minutes for e in load() if e.notebook == path.stem)


def test_the_instructor_points_to_sections_that_exist():
    page = write_instructor.PAGE.read_text(encoding="utf-8")
    there = {
        path.stem[:2]: {
            int(number)
            for cell in nbformat.read(path, 4).cells
            for number in re.findall(r"^## (\d+) · ", cell.source, re.MULTILINE)
        }
        for path in NOTEBOOKS
    }
    found = re.findall(r"\b(0\d), sections? (\d+)(?:(?: to | and )(\d+))?", page)
    assert len(found) >= 20
    for notebook, first, last in found:
        assert {int(first), int(last or first)} <= there[notebook], (notebook, first, last)


# What the site adds


@pytest.mark.parametrize(
    "settings",
    [{}, {"xi": 0.3}, {"lr": 1e-3, "curvature": 0.5}, {"lr": 0.8, "curvature": 4.0}, {"shown": 20}],
    ids=str,
)
def test_the_page_shows_what_the_toy_computes(settings):
    found = live.answers.run(**live.DEFAULTS | settings)
    given = {name: value for name, value in settings.items() if name not in ("xi", "shown")}
    run = toy.descend(settings.get("xi", 0.5), **given)
    now = round(run.steps * settings.get("shown", 100) / 100)
    assert found["words"].startswith(describe_run(run, settings.get("lr", 1e-2), now))
    assert (found["steps"], found["rest"]) == (run.steps, toy.fixed_point(run.xi, run.curvature))
    rows = found["rows"]
    assert rows[0][:3] == [0, 2, -2] and rows[-1][0] == now
    for k, alpha, w, train, valid in rows:
        assert (alpha, w) == pytest.approx((run.alpha[k], run.w[k]), abs=1e-5)
        place = run.w[k], run.alpha[k]
        losses = toy.train_loss(*place, run.curvature), toy.valid_loss(*place)
        assert (train, valid) == pytest.approx(losses, abs=1e-5)
    rates = [complex(*pair) for pair in found["rates"]]
    assert rates == pytest.approx(toy.eigenvalues(run.xi, run.curvature), abs=1e-5)
    assert (
        found["curves"][15] == live.answers.run(**live.DEFAULTS | settings | {"xi": 0.3})["rates"]
    )


def test_stored_runs_and_contours_of_the_page():
    data = live.data(None)
    steps = [toy.descend(xi).steps for xi in live.answers.XIS]
    assert [run["steps"] for run in data["stored"]] == steps
    for contour in data["contours"]:
        values = [toy.valid_loss(w, alpha) for alpha, w in contour["path"]]
        assert values == pytest.approx([contour["level"]] * len(values), abs=0.05)


def test_the_page_stands_below_the_explorer_and_the_exercises():
    cells = nbformat.read(NOTEBOOKS[0], 4).cells
    for kind, count in {"live": 1 + len(EXERCISES), "stored": 1}.items():
        names = [cell.id for cell in live.with_page(cells, kind)]
        assert len(names) == len(cells) + count
        assert names[names.index("explorer") + 1] == "toy-page"
    names = [cell.id for cell in live.with_page(cells, "live")]
    for name in EXERCISES:
        assert names[names.index(f"exercise-{name}-code") + 1] == f"answer-{name}"


def test_the_package_of_the_page_is_the_one_that_was_tried(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(live, "STORE", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert live.archive() is None
    assert "shows stored runs, since npm is not installed" in capsys.readouterr().err
    (tmp_path / f"{live.PACKAGE.split('/')[-1]}.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not the package that docs/live.py names"):
        live.archive()


def test_equations_are_drawn_with_their_words():
    svg = equations.drawn(r"\xi \lt 1", True)
    assert svg.startswith('<svg role="img" aria-label="\\xi \\lt 1"') and "vertical-align" in svg
    with pytest.raises(ValueError, match="cannot be drawn"):
        equations.drawn(r"\frac{1", False)


@pytest.mark.full
@pytest.mark.xdist_group("browser")  # both write docs/notebooks: not at once
def test_the_site_builds_without_a_warning(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    pages = {page.stem for page in tmp_path.rglob("*.html")}
    assert {path.stem for path in NOTEBOOKS} | {"instructor", "glossary", "api"} <= pages
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"', text)
        assert [address for address in loaded if "canonical" not in address] == [], page.name


def test_the_relaxation_on_the_page_runs():
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    code, _ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, {"__name__": "page"})  # our own page
    config = SearchConfig(
        nodes=2, layers=2, reductions=(1,), channels=2, head="linear", epochs=6, alpha_lr=0.3,
        relaxation={"name": "annealed", "last": 0.1, "least": 0.05},
    )  # fmt: skip
    search = fast_form(Search(config, Noise(2), Noise(2, seed=1), image_size=8))
    for _ in search.each_step():
        for k, p in search.architecture.probabilities().items():
            is_open = search.architecture.open[k]
            assert (p[~is_open] == 0).all() and (p[is_open] > 0).all()
    closed = [not is_open for edge in search.supernet.cells[0].edges for is_open in edge.open]
    assert any(closed) and not all(closed)
    assert closed == (~search.architecture.open["normal"]).flatten().tolist()
    assert all("forward" in vars(cell) for cell in search.supernet.cells)  # the fast form
    assert all(alpha.abs().max() > 0 for alpha in search.architecture.alpha)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 15


def test_what_goes_around_a_search_is_given_as_the_page_says(monkeypatch):
    """The lines as they stand, but for the search itself, which takes minutes."""
    told = []
    monkeypatch.setattr(running, "make_run", lambda *given, **more: told.append((given, more)))
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    _, code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    usual = inspect.signature(make_run)
    exec(code, {"__name__": "page"})  # our own page
    ((given, more),) = told
    bound = usual.bind(*given, **more).arguments
    config, around = bound["config"], bound["around"]
    search = begin_search(config, data.load("shapes10"), around=around)[0]
    assert isinstance(search, Stages) and isinstance(around, Perturbation)
    for other in re.findall(r"# or (.*)", code)[0].split(", "):
        module, name = other.split(".")
        assert issubclass(
            getattr(importlib.import_module(f"dartslib.methods.{module}"), name), Around
        )


def test_what_the_promises_name_is_there():
    page = (ROOT / "docs" / "promises.md").read_text("utf-8")
    named = re.findall(r"\]\((\.\./[^)#]+|[a-z-]+\.md)", page)
    assert len(named) > 12
    for path in named:
        assert (ROOT / "docs" / path).is_file(), path


def test_the_wheel_has_the_exercises():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["dartslib"]
    assert any(Path("course/exercises.toml").match(pattern) for pattern in patterns)

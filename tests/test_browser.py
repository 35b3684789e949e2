"""The notebooks and the site as a person has them: a real JupyterLab, a real Chromium, a keyboard.

    make test-browser

Needs the system's Chromium and npm (apt install chromium npm). Screenshots are left in the ignored
folder _browser. Latencies are printed, not tested: this is no place for times. (Only the live page
has a limit, far from what it takes.)
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from filelock import FileLock

from dartslib import toy
from dartslib.course import texts

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import live  # noqa: E402  # it stands in docs/
from live import answers  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOTS = ROOT / "_browser"
TOKEN = "only-for-this-test"
# Containers run as root, and have little shared memory.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
MINUTE = 60_000  # milliseconds, as Playwright counts
TRACKER = "@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
FAILED = (
    "[data-mime-type='application/vnd.jupyter.error'], "
    "[data-mime-type='application/vnd.jupyter.stderr']"
)
# ipywidgets #2650: the handles of its sliders have a role and values, but no name of their own.
NAMELESS_HANDLES = "aria-input-field-name"

# One process has all of them, and its one JupyterLab.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail("Chromium is not installed: apt install chromium")
    SHOTS.mkdir(exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab on copies of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    for part in ("notebooks", "data/recorded"):  # as they lie in the checkout
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns(".*"))
    settings = folder / ".settings"
    (settings / TRACKER).parent.mkdir(parents=True)
    # All cells in the page, also those that are scrolled away.
    (settings / TRACKER).write_text(json.dumps({"windowingMode": "none"}), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "IdentityProvider.token": TOKEN,
        "LabApp.user_settings_dir": settings,
        "LabApp.workspaces_dir": folder / ".workspaces",
        "LabApp.expose_app_in_browser": True,
        "LabApp.extension_manager": "readonly",
        "LabApp.news_url": "",
        "ServerApp.root_dir": folder,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.allow_root": True,
    }
    command = [f"--{name}={value}" for name, value in options.items()]
    log = (folder / "log").open("w", encoding="utf-8")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", *command],
        stdout=log,
        stderr=log,
        env=os.environ | {"TQDM_DISABLE": "1"},
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=1).close()
            break
        except OSError:
            assert server.poll() is None, (folder / "log").read_text("utf-8")
            time.sleep(0.1)
    yield address
    server.terminate()
    server.wait(30)
    log.close()


def _quiet_page(chromium, width=1400):
    """A page, and the list in which its errors gather."""
    page, errors = chromium.new_page(viewport={"width": width, "height": 1000}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    return page, errors


def _serious(page, *places):
    """What axe finds serious within some places of a page, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for place in places:
        if page.locator(place).count():
            # preload would fetch the style sheets, which a page opened as a file may not.
            found_here = Axe().run(page, context=place, options={"preload": False}).response
            for violation in found_here["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    nodes = [node["target"] for node in violation["nodes"]]
                    found.append(f"{violation['id']}: {violation['help']} {nodes[:3]}")
    return found


def _shown(explorer):
    return explorer.locator("[role=status]").inner_text(), explorer.locator("img").get_attribute(
        "src"
    )


def _wait_for_another(page, explorer, picture, timeout):
    """Until the explorer's picture is another one, in milliseconds."""
    box = explorer.element_handle()  # its picture is another element after each change
    change = "([box, src]) => box.querySelector('img').getAttribute('src') != src"
    page.wait_for_function(change, arg=[box, picture], timeout=timeout, polling=5)


def _press(page, explorer, handle):
    """Moves a slider by a key, back if it is at its end; milliseconds until the picture is new."""
    from playwright.sync_api import TimeoutError

    for key in ("ArrowRight", "ArrowLeft"):
        before = _shown(explorer)
        handle.focus()
        begin = time.perf_counter()
        page.keyboard.press(key)
        try:
            _wait_for_another(page, explorer, before[1], 3000)
        except TimeoutError:  # the slider was at its end
            continue
        taken = 1000 * (time.perf_counter() - begin)
        page.wait_for_timeout(50)
        assert _shown(explorer)[0] != before[0], "the picture changed, and the words did not"
        return taken
    raise AssertionError("no key moves this slider")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_in_jupyterlab(path, lab, chromium, capsys):
    page, errors = _quiet_page(chromium)
    page.goto(f"{lab}/lab/tree/notebooks/{path.name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=MINUTE)
    page.wait_for_function("window.jupyterapp !== undefined", timeout=MINUTE)
    kernel = page.locator(".jp-Toolbar-kernelName")
    for _ in range(MINUTE // 500):
        if page.locator(".jp-Dialog").count():  # it asks which kernel
            page.locator(".jp-Dialog button.jp-mod-accept").click()
        elif kernel.count() and "Python 3" in kernel.first.inner_text():
            break
        page.wait_for_timeout(500)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=MINUTE)
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.wait_for_function("!/\\d/.test(document.querySelector('.jp-InputPrompt').textContent)")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(
        "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every("
        "prompt => /\\[\\d+\\]/.test(prompt.textContent)) || "
        f'document.querySelector("{FAILED}") !== null',
        timeout=5 * MINUTE,
    )
    assert page.locator(FAILED).all_inner_texts() == []
    explorers = page.locator(".widget-vbox").filter(has=page.locator("[role=status]"))
    explorers.first.wait_for()
    for number in range(explorers.count()):
        explorer = explorers.nth(number)
        explorer.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        explorer.screenshot(path=SHOTS / f"{path.stem}-{number}.png")
        handles = explorer.locator(".noUi-handle")
        taken = []
        for place in range(handles.count()):
            taken.append(_press(page, explorer, handles.nth(place)))
        if handles.count():
            main = [_press(page, explorer, handles.first) for _ in range(7)]
            with capsys.disabled():
                print(
                    f"\n{path.stem}: {handles.count()} sliders; from key to picture "
                    f"{statistics.median(main):.0f} ms for the first, "
                    f"{max(taken):.0f} ms for the slowest"
                )
        switches = explorer.locator("input[type=checkbox]")
        for place in range(switches.count()):
            before = _shown(explorer)
            switches.nth(place).focus()
            page.keyboard.press("Space")
            page.wait_for_timeout(500)
            assert _shown(explorer) != before
        assert handles.count() + switches.count() > 0
        lock = explorer.get_by_role("button", name="lock my guess")
        if lock.count():
            lock.focus()
            page.keyboard.press("Enter")
            explorer.locator("[role=status]").filter(has_text="it has rank").wait_for(timeout=5000)
        menus = explorer.locator("select")
        for place in range(menus.count()):
            before = _shown(explorer)
            menus.nth(place).focus()
            at_the_end = menus.nth(place).evaluate("menu => menu.selectedIndex === menu.length - 1")
            # JupyterLab takes the arrow keys for itself, until the menu is open.
            for key in ("Space", "ArrowUp" if at_the_end else "ArrowDown", "Enter"):
                page.keyboard.press(key)
            _wait_for_another(page, explorer, before[1], 10_000)
        if lock.count():  # another cell has hidden what was shown
            assert "not locked yet" in _shown(explorer)[0]
    # Only what is ours: the outputs, not JupyterLab around them.
    found = _serious(page, ".widget-vbox", ".jp-RenderedHTML", ".jp-RenderedMarkdown")
    assert [line for line in found if not line.startswith(NAMELESS_HANDLES)] == []
    assert errors == []
    page.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site, whose page of notebook 01 is alive."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "docs", folder]
    lock = tmp_path_factory.getbasetemp().parent / "site.lock"
    with FileLock(lock):  # a build writes docs/notebooks: one at a time
        subprocess.run(command, check=True)
    page = (folder / "notebooks" / f"{live.NOTEBOOK}.html").read_text(encoding="utf-8")
    assert 'data-kind="live"' in page, "the page shows stored runs: apt install npm, and a network"
    return folder


@pytest.fixture
def toy_page(site, chromium):
    """Opens a page as a file, so wide; in the end nothing was fetched and nothing failed."""
    page, errors = _quiet_page(chromium)
    page.on("console", lambda said: said.type == "error" and errors.append(said.text))
    page.on(
        "request", lambda request: request.url.startswith("http") and errors.append(request.url)
    )

    def opened(width, address=site / "notebooks" / f"{live.NOTEBOOK}.html"):
        page.set_viewport_size({"width": width, "height": 1000})
        page.goto(address.as_uri())
        page.locator("#toy-words").filter(has_text="settled after 296 steps").wait_for()
        return page

    yield opened
    assert errors == []
    page.close()


def _says(page, **settings):
    """Waits until the page says what Python says here of a run with these settings."""
    expected = answers.run(**live.DEFAULTS | settings)["words"]
    page.locator("#toy-words").filter(has_text=expected).wait_for(timeout=5000)


# From a key to the drawing that follows, by the page's own clock.
WATCH = """() => {
  window.taken = [];
  let pressed;
  addEventListener("keydown", () => { pressed = performance.now(); }, true);
  new MutationObserver(() => {
    const began = pressed; // of the key that this answers: the next may come before the frame
    pressed = undefined;
    if (began) requestAnimationFrame(() => window.taken.push(performance.now() - began));
  }).observe(document.getElementById("toy-words"), { childList: true });
}"""


@pytest.mark.parametrize("width", [1400, 420])
def test_the_live_page_computes(width, toy_page, capsys):
    page = toy_page(width)
    for xi, steps in {0: 659, 0.3: 411, 0.7: 335, 0.5: 296}.items():  # Table 1 of the report
        page.locator("#toy-xi").fill(str(answers.XIS.index(xi)))
        assert toy.descend(xi).steps == steps
        _says(page, xi=xi)
    for name, values, value in (
        ("lr", live.RATES, 0.3),
        ("lr", live.RATES, 1e-3),
        ("curvature", live.CURVATURES, 0.5),
        ("shown", range(101), 20),
    ):
        page.locator(f"#toy-{name}").fill(str(list(values).index(value)))
    _says(page, lr=1e-3, curvature=0.5, shown=20)
    page.reload()
    _says(page)
    page.evaluate(WATCH)
    page.locator("#toy-xi").focus()
    for k in range(1, 6):
        page.keyboard.press("ArrowLeft")
        _says(page, xi=answers.XIS[10 - k])
    page.wait_for_function("window.taken.length >= 5")
    taken = page.evaluate("window.taken")
    with capsys.disabled():
        print(f"\nlive page, {width} pixels wide: {statistics.median(taken):.0f} ms a key")
    assert len(taken) == 5 and min(taken) < 100  # the fastest: other programs may take the time
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
    page.locator("#toy").screenshot(path=SHOTS / f"site-live-{width}.png")
    assert _serious(page, "#toy", ".toy-answer") == []


def test_the_start_is_dragged_and_moved_by_keys(toy_page):
    page = toy_page(1400)
    start = page.locator(".toy-start")
    start.scroll_into_view_if_needed()
    frame = page.locator(".toy-map .toy-ground").bounding_box()
    unit = frame["width"] / (2 * live.SIDE)
    box = page.locator(".toy-start rect").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 2 * unit, y + unit / 2)
    page.mouse.move(x - 3 * unit, y + unit / 2)
    page.mouse.up()
    _says(page, start=(-1.0, -2.5))
    page.mouse.move(x, y)  # let go
    start.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    _says(page, start=(-0.8, -2.0))
    assert start.get_attribute("aria-valuetext") == "α = -0.8, w = -2"
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    _says(page, start=(-0.8, -3.0))
    points = page.locator(".toy-path").get_attribute("points").split()
    rows = answers.run(**live.DEFAULTS | {"start": (-0.8, -3.0)})["rows"]
    assert len(points) == len(rows)


def _checked(page, name, answer, text):
    """Enters an answer to an exercise and presses its button; what is said, which has the text."""
    place = page.locator(f"[data-exercise={name}]")
    says = place.locator("[role=status]")
    says.evaluate("element => { element.textContent = ''; }")
    place.locator("textarea").fill(answer)
    place.locator("button").click()
    says.filter(has_text=text).wait_for(timeout=3000)
    return says.inner_text()


def test_exercises_are_checked_in_the_page(toy_page):
    page = toy_page(1400)
    exercises = [exercise for exercise in texts.load() if exercise.notebook == live.NOTEBOOK]
    assert page.locator(".toy-answer").count() == len(exercises) >= 3
    for exercise in exercises:
        name, place = exercise.name, page.locator(f"[data-exercise={exercise.name}]")
        assert place.locator("textarea").input_value() == exercise.code
        assert _checked(page, name, exercise.code, "not yet").startswith(
            "not yet: write your answer"
        )
        for wrong in exercise.wrong:
            assert _checked(page, name, wrong.code, wrong.says).startswith("not quite, because ")
        assert _checked(page, name, exercise.solution, "right") == "right"
        place.screenshot(path=SHOTS / f"site-exercise-{name}.png")
    assert _checked(page, name, "print(toy.descend(0.5).end)", "1.0") == str(toy.descend(0.5).end)
    _checked(
        page, name, "print(toy.descend(0.5, lr=1e-4).steps)", str(toy.descend(0.5, lr=1e-4).steps)
    )
    _checked(page, name, "toy.descend(0.5, start=(1, 2, 3))", "ValueError: start must be a pair")
    _checked(page, name, "rests_at = = 2", "not quite, because your code stops with SyntaxError")
    _checked(page, name, "rests_at = two", "not quite, because your code stops with NameError")


def test_an_endless_loop_does_not_stop_the_page(toy_page):
    page = toy_page(1400)
    place = page.locator(".toy-answer").first
    place.locator("textarea").fill("while True:\n    pass")
    place.locator("textarea").press("Shift+Enter")
    place.locator("[role=status]").filter(has_text="more than 5 seconds").wait_for(timeout=15000)
    page.locator("#toy-xi").fill("6")
    _says(page, xi=0.3)


def test_without_npm_the_page_shows_stored_runs(toy_page, tmp_path):
    for name in ("toy_page.js", "site.css"):
        (tmp_path / "_static").mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / "static" / name, tmp_path / "_static" / name)
    live.write(live.data(None), tmp_path / "_static")
    address = tmp_path / "notebooks" / "page.html"
    address.parent.mkdir()
    address.write_text(f"<!doctype html><meta charset=utf-8>{live.box('stored')}", encoding="utf-8")
    page = toy_page(420, address)
    page.locator("#toy-xi").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    _says(page, xi=0.3)
    assert page.locator(".toy-start[tabindex], #toy-lr").count() == 0


@pytest.mark.parametrize("width", [1400, 420])
def test_the_pages_of_the_site(width, site, chromium):
    page, errors = _quiet_page(chromium, width)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    names = ["index", "instructor", "glossary", "api", "elsewhere"]
    for name in [*names, *(f"notebooks/{path.stem}" for path in NOTEBOOKS)]:
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_timeout(300)
        page.screenshot(path=SHOTS / f"site-{Path(name).stem}-{width}.png")
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the page"
        assert _serious(page, "article") == [], name
    assert [url for url in asked if url.startswith("http")] == []
    assert errors == []
    page.close()

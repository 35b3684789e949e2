"""The notebooks and the site as a person has them: a real JupyterLab, a real Chromium, a keyboard.

    make test-browser

Needs the system's Chromium (apt install chromium). Screenshots are left in the ignored folder
_browser. Latencies are printed, not tested: this is no place for times.
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

ROOT = Path(__file__).resolve().parent.parent
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
    (settings / TRACKER).write_text(json.dumps({"windowingMode": "none"}))
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
    log = (folder / "log").open("w")
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
            assert server.poll() is None, (folder / "log").read_text()
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
            for violation in Axe().run(page, context=place).response["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    nodes = [node["target"] for node in violation["nodes"]]
                    found.append(f"{violation['id']}: {violation['help']} {nodes[:3]}")
    return found


def _shown(explorer):
    return explorer.locator("[role=status]").inner_text(), explorer.locator("img").get_attribute(
        "src"
    )


def _press(page, explorer, handle):
    """Moves a slider by a key, back if it is at its end; milliseconds until the picture is new."""
    from playwright.sync_api import TimeoutError

    box = explorer.element_handle()  # its picture is another element after each change
    for key in ("ArrowRight", "ArrowLeft"):
        before = _shown(explorer)
        handle.focus()
        begin = time.perf_counter()
        page.keyboard.press(key)
        try:
            page.wait_for_function(
                "([box, src]) => box.querySelector('img').getAttribute('src') != src",
                arg=[box, before[1]],
                timeout=3000,
                polling=5,
            )
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
    # Only what is ours: the outputs, not JupyterLab around them.
    found = _serious(page, ".widget-vbox", ".jp-RenderedHTML", ".jp-RenderedMarkdown")
    assert [line for line in found if not line.startswith(NAMELESS_HANDLES)] == []
    assert errors == []
    page.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "docs", folder]
    subprocess.run(command, check=True)
    return folder


@pytest.mark.parametrize("width", [1400, 420])
def test_the_slider_of_the_static_page(width, site, chromium, capsys):
    page, errors = _quiet_page(chromium, width)
    page.goto((site / "notebooks" / "01_toy_bilevel.html").as_uri())
    slider, words = page.locator("#xi-range"), page.locator("#xi-words")
    assert "ξ = 0.50" in words.inner_text() and "settled after 296 steps" in words.inner_text()
    slider.scroll_into_view_if_needed()
    slider.focus()
    path = page.locator(".xi-path").get_attribute("points")
    begin = time.perf_counter()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert "ξ = 0.30" in words.inner_text() and "settled after 411 steps" in words.inner_text()
    taken = 250 * (time.perf_counter() - begin)
    assert page.locator(".xi-path").get_attribute("points") != path
    page.locator("#xi-slider").screenshot(path=SHOTS / f"site-slider-{width}.png")
    assert _serious(page, "#xi-slider") == [] and errors == []
    with capsys.disabled():
        print(f"\nstatic page, {width} pixels wide: {taken:.0f} ms a key")
    page.close()


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

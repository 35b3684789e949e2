"""Notebook 01's page, where there is no kernel: it runs dartslib/toy.py and the checks itself.

The browser's Python is MicroPython, fetched by npm when the site is built. Without npm the page
shows runs that were made here, and its exercises are answered in the notebook.
"""

import base64
import hashlib
import inspect
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import fields
from io import BytesIO
from pathlib import Path

import contourpy
import nbformat
import numpy as np
from nbformat.v4 import new_markdown_cell

from dartslib import toy
from dartslib.course.texts import Exercise, load
from dartslib.show import style
from dartslib.show.toy_explorer import RATES, describe_run

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "inside"))

import answers  # noqa: E402  # stands in inside/

# The one place for its version and digest. Nothing of it is committed.
PACKAGE = "@micropython/micropython-webassembly-pyscript@1.27.0"  # MIT license
SHA256 = "303919763c8ebfe5923b9da66226c20dce44ad72b604b225fb39338ea15367af"
STORE = HERE.parent / "_engine"
NOTEBOOK = "01_toy_bilevel"
CURVATURES = np.arange(0.5, 4.1, 0.25).tolist()
SIDE = 4  # the map shows alpha and w from -4 to 4; the start goes to 3
COLORS = {name: getattr(style, name) for name in ("BLACK", "BLUE", "VERMILION", "GREY")}
DEFAULTS = {name: p.default for name, p in inspect.signature(toy.descend).parameters.items()}
DEFAULTS |= {"xi": 0.5, "shown": 100}
BOX = """
<div id="toy" class="toy" data-kind="{kind}" style="{colors}"></div>
<script defer src="../_static/toy_data.js"></script>
<script defer src="../_static/toy_page.js"></script>
"""


def archive() -> bytes | None:
    """The package as npm brings it, checked; None, and a sentence, where npm does not.

    Raises:
        ValueError: it is not the one whose digest stands above.
    """
    file = STORE / f"{PACKAGE.split('/')[-1]}.tgz"
    if not file.exists() and not _fetch(file):
        return None
    found = file.read_bytes()
    if hashlib.sha256(found).hexdigest() != SHA256:
        raise ValueError(f"{file.name} is not the package that docs/live.py names: delete it.")
    return found


def _fetch(file: Path) -> bool:
    npm, why = shutil.which("npm"), "npm is not installed"
    if npm is not None:
        file.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", folder]
            done = subprocess.run(command, capture_output=True, text=True)
            for brought in Path(folder).glob("*.tgz"):
                brought.replace(file)
                return True
        why = f"npm could not bring {PACKAGE}: {done.stderr.strip() or done.stdout.strip()}"
    print(f"The page of notebook 01 shows stored runs, since {why}.", file=sys.stderr)
    return False


def data(package: bytes | None) -> dict:
    """All that the page needs: controls, map, and Python to ask, or stored runs."""
    found = {
        "defaults": DEFAULTS,
        "controls": [{"name": "xi", "label": "ξ", "values": answers.XIS}],
        "side": SIDE,
        "contours": _contours(),
        "optimum": toy.OPTIMUM,
    }
    if package is None:
        return found | {"stored": [answers.run(**DEFAULTS | {"xi": xi}) for xi in answers.XIS]}
    found["controls"] += [
        {"name": "lr", "label": "learning rate", "values": RATES},
        {"name": "curvature", "label": "curvature", "values": CURVATURES},
        {"name": "shown", "label": "shown, %", "values": list(range(101))},
    ]
    exercises = {e.name: {"title": e.title, "code": e.code} for e in _exercises()}
    with tarfile.open(fileobj=BytesIO(package)) as tar:
        loader, wasm = (
            tar.extractfile(f"package/micropython.{ending}").read() for ending in ("mjs", "wasm")
        )
    address = "data:application/wasm;base64," + base64.b64encode(wasm).decode()
    return found | {
        "exercises": exercises,
        "loader": _as_script(loader.decode()),
        "inside": {"wasm": address, "files": files()},
        "worker": (HERE / "inside" / "worker.js").read_text("utf-8"),
    }


def _exercises() -> list[Exercise]:
    return [exercise for exercise in load() if exercise.notebook == NOTEBOOK]


def _as_script(module: str) -> str:
    """MicroPython's module as a script: Chromium starts no module from a page that is a file."""
    for text, other in {
        "export default _createMicroPythonModule;": "",
        "export async function loadMicroPython": "async function loadMicroPython",
        "import.meta.url": "self.location.href",
    }.items():
        assert text in module, f"MicroPython's module has no {text!r}: it is another version"
        module = module.replace(text, other)
    return module


def files() -> dict[str, str]:
    """The Python files within the page, by path: dartslib's own, and what they stand on there."""
    package = Path(toy.__file__).parent
    names = [field.name for field in fields(toy.Trajectory)]
    found = {
        "/fields.py": f"FIELDS = {{'Trajectory': {names}}}\n",
        "/dartslib/__init__.py": "",
        "/dartslib/show/__init__.py": "",
        "/dartslib/show/toy_explorer.py": "from dartslib import toy\n\n\n"
        + inspect.getsource(describe_run),
        "/dartslib/course/__init__.py": "from dartslib.course.checks import beside, check\n",
    }
    for name in ("stand_ins.py", "answers.py"):
        found[f"/{name}"] = (HERE / "inside" / name).read_text("utf-8")
    for name in ("toy.py", "course/checks.py", "course/checks_01.py"):
        found[f"/dartslib/{name}"] = (package / name).read_text("utf-8")
    return found


def _contours() -> list[dict]:
    """Contours of L_val: lines of (alpha, w)."""
    along = np.linspace(-SIDE, SIDE, 81)
    alpha, w = np.meshgrid(along, along)
    lines = contourpy.contour_generator(alpha, w, toy.valid_loss(w, alpha))
    return [
        {"level": level, "path": piece.round(2).tolist()}
        for level in range(-12, 24, 4)
        for piece in lines.lines(level)
    ]


def build(folder: Path, static: Path) -> None:
    """Puts the page's part into the copy of the notebook, and what it loads beside it.

    Args:
        folder: of the notebooks' copies.
        static: where the page's scripts lie.
    """
    page = data(archive())
    write(page, static)
    path = folder / f"{NOTEBOOK}.ipynb"
    node = nbformat.read(path, 4)
    node.cells = with_page(node.cells, "stored" if "stored" in page else "live")
    nbformat.write(node, path)


def write(page: dict, static: Path) -> None:
    """Writes what `data` returns, as a script: a page that is opened as a file may not fetch."""
    text = json.dumps(page, separators=(",", ":"), ensure_ascii=False)
    (static / "toy_data.js").write_text(f"const TOY = {text};\n", encoding="utf-8")


def box(kind: str) -> str:
    """The place of the page's part, in HTML, and its scripts; kind is live or stored."""
    colors = ";".join(f"--{name}:{value}" for name, value in COLORS.items())
    return BOX.format(kind=kind, colors=colors)


def with_page(cells: list, kind: str) -> list:
    """The notebook's cells, and after its explorer and its exercises what needs no kernel.

    Args:
        cells: of notebook 01.
        kind: live or stored.
    """
    says = {
        "live": "*The explorer above needs a kernel. This one does not: your browser runs "
        "`dartslib/toy.py` itself. Drag the start (■), or move it with the arrow keys.*",
        "stored": "*The explorer above needs a kernel. This one does not: it shows the run of each "
        "ξ with the report's learning rate and start.*",
    }[kind]
    after = {"explorer": new_markdown_cell(f"{says}\n{box(kind)}", id="toy-page")}
    for exercise in _exercises() if kind == "live" else ():
        name = exercise.name.replace("_", "-")
        place = f'<div class="toy-answer" data-exercise="{exercise.name}"></div>'
        after[f"exercise-{name}-code"] = new_markdown_cell(place, id=f"answer-{name}")
    found = []
    for cell in cells:
        found += [cell, after[cell.id]] if cell.id in after else [cell]
    return found

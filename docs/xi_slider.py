"""The xi slider of notebook 01 on its static page, where there is no kernel.

The browser computes nothing: it shows one of the runs that dartslib made when the page was built,
and the sentence that the notebook's explorer would say.
"""

import json
from pathlib import Path

import nbformat
import numpy as np
from matplotlib.figure import Figure
from nbformat.v4 import new_markdown_cell

from dartslib import toy
from dartslib.show.toy import MAP, draw_map
from dartslib.show.toy_explorer import XI_TO, describe_run

XIS = np.arange(0, XI_TO + 0.025, 0.05)
START_AT = 10  # of XIS: 0.5
POINTS = 160  # of a path, at most
BOX = """
<div class="xi-slider" id="xi-slider">
<p><label for="xi-range">ξ</label>
<input type="range" id="xi-range" min="0" max="{last}" step="1" value="{value}"
 aria-describedby="xi-words"><output id="xi-value" for="xi-range"></output></p>
<svg id="xi-map" viewBox="0 0 640 460" role="img" aria-labelledby="xi-words"></svg>
<p id="xi-words" role="status"></p>
</div>
<script src="../_static/xi_runs.js"></script>
<script src="../_static/xi_slider.js"></script>
"""


def data() -> dict:
    """All that the page shows: the map, and a run for each xi."""
    runs = []
    for xi in XIS:
        run = toy.descend(float(round(xi, 2)))
        kept = np.unique(np.linspace(0, run.steps, POINTS).round().astype(int))
        path = np.stack([run.alpha[kept], run.w[kept]], axis=1).round(4)
        runs.append(
            {
                "xi": run.xi,
                "path": path.tolist(),
                "rest": round(toy.fixed_point(run.xi), 4),
                "words": describe_run(run),
            }
        )
    return {"view": MAP, "contours": _contours(), "optimum": toy.OPTIMUM, "runs": runs}


def _contours() -> list[dict]:
    """The lines of the notebook's map, as matplotlib finds them."""
    axes = Figure().subplots()
    draw_map(axes)
    (lines,) = (
        c for c in axes.collections if type(c).__name__ == "QuadContourSet" and not c.filled
    )
    return [
        {"level": float(level), "path": np.asarray(piece).round(3).tolist()}
        for level, pieces in zip(lines.levels, lines.allsegs, strict=True)
        for piece in pieces
    ]


def write(path: Path) -> None:
    """Writes the data as a script: a page that is opened as a file may not fetch one."""
    path.write_text(f"const XI_RUNS = {json.dumps(data(), separators=(',', ':'))};\n")


def put_below(cell_id: str, notebook: Path) -> None:
    """Puts the slider below a cell of the notebook's copy, in place of what needs a kernel."""
    node = nbformat.read(notebook, 4)
    place = next(k for k, cell in enumerate(node.cells) if cell.id == cell_id)
    text = (
        "*The explorer above needs a kernel. This one does not: it shows the run of each ξ with "
        "the report's learning rate and start.*\n"
    )
    box = BOX.format(last=len(XIS) - 1, value=START_AT)
    node.cells.insert(place + 1, new_markdown_cell(text + box, id="xi-slider"))
    nbformat.write(node, notebook)

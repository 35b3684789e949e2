"""Cells as pictures: learned ones (Figures 7 and 8 of the report) and the search's own (Figure 3).

Graphviz draws where its program dot is installed, matplotlib elsewhere. The description in words
is the same for both, and so is the width on the page.
"""

import io
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import graphviz
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from dartslib.genotypes import Genotype
from dartslib.show.parts import Wire, draw_cell
from dartslib.show.pictures import DPI, Picture, picture, small_png
from dartslib.show.style import GREY, WIDTH, edges_words, look, state_look, state_name, styled
from dartslib.space import CELL_TYPES, SearchSpace

THIN, THICK = 1.8, 4.5  # points of a wire that is one cell's own, and of one that two share


def cell(nodes_or_genotype: Any, cell_type: str = "normal", *, title: str = "") -> Picture:
    """A learned cell; its description says in words what every node adds.

    Args:
        nodes_or_genotype: a `Genotype`, or the nodes of one cell in a genotype's form.
        cell_type: which cell of a genotype; for nodes, what the title calls them.
        title: above the cell, in place of the cell type.

    Raises:
        ValueError: not a cell, or an unknown cell type.
    """
    genotype = nodes_or_genotype
    if not isinstance(genotype, Genotype):
        genotype = Genotype(nodes_or_genotype, nodes_or_genotype)
    nodes = genotype.cell(cell_type)
    png = _draw(title or f"{cell_type} cell", len(nodes), _wires(nodes))
    return picture(png, _described(nodes, cell_type))


def genotype_cells(
    genotype: Genotype, *, title: str = "", beside: Genotype | None = None
) -> Picture:
    """Both cells of a genotype, the normal one above the reduction cell.

    Nodes and labels stand at the same distances from the left in every cell, so that two compare.

    Args:
        genotype: what a search found.
        title: begins the title of each cell, for instance "recorded, ξ > 0".
        beside: another genotype; edges that it has as well are drawn thick.
    """
    pngs, words = [], []
    for cell_type in CELL_TYPES:
        nodes = genotype.cell(cell_type)
        name = f"{title}: {cell_type} cell" if title else f"{cell_type} cell"
        other = beside.cell(cell_type) if beside else ()
        wires = _wires(nodes, other, genotype)
        pngs.append(_draw(name, len(nodes), wires))
        words.append(_described(nodes, cell_type))
        if beside is not None:
            words.append(f"Thick: {sum(w.width == THICK for w in wires)} of {len(wires)} edges.")
    return picture(_stack(pngs), " ".join(words))


def search_cell(space: SearchSpace) -> Picture:
    """The cell during the search: a mixed operation on every edge (Figure 3 of the report)."""
    wires = [Wire(source, target) for source, target in space.edges]
    title = "cell of the search: solid = mixed operation, dashed = concatenation"
    words = (
        f"Cell of the search: inputs c_{{k-2}} and c_{{k-1}}, {space.nodes} intermediate nodes. "
        f"Every node adds a mixed operation of each earlier state: {len(wires)} solid lines. "
        f"{_output(space.nodes)}"
    )
    return picture(_draw(title, space.nodes, wires), words)


def cell_graph(title: str, nodes: int, wires: Sequence[Wire]) -> graphviz.Digraph:
    """A cell as a Graphviz graph; `.source` is its text. States bear their numbers as names.

    The nodes stand from left to right in their order, and the labels of a node's edges right
    before it, so that two cells compare.
    """
    letters = {"fontname": "DejaVu Sans,Helvetica,Arial", "fontsize": "13"}
    near, far = ("0.16", "0.26") if any(wire.operation for wire in wires) else ("0.4", "0.8")
    graph = graphviz.Digraph(
        graph_attr=letters
        | {"rankdir": "LR", "label": title, "labelloc": "t", "fontsize": "14", "dpi": str(DPI)}
        | {"size": f"{WIDTH - 0.1},9", "pad": "0.05", "nodesep": near, "ranksep": far}
        | {"outputorder": "edgesfirst"},
        node_attr=letters | {"style": "filled", "penwidth": "2", "margin": "0.06,0.03"},
        edge_attr={"arrowsize": "0.8"},
    )
    for state in range(nodes + 3):
        graph.node(str(state), **_state(state, nodes))
    with graph.subgraph(graph_attr={"rank": "same"}) as inputs:
        inputs.edge("0", "1", style="invis")  # c_{k-2} stands above c_{k-1}
    for number, wire in enumerate(wires):
        pen = {"color": wire.pen.color, "penwidth": f"{wire.width:.1f}"}
        source, target = str(wire.source), str(wire.target)
        if not wire.operation:
            graph.edge(source, target, **pen)
            continue
        # The label is a node on the way: so dot leads every other edge around it.
        label, frame = f"label{number}", {"shape": "box", "style": "rounded,filled"}
        frame |= {"fillcolor": "white", "color": wire.pen.color, "penwidth": "1.5"}
        graph.node(label, wire.operation, height="0.3", width="1.42", **frame)
        graph.edge(source, f"{label}:w", arrowhead="none", **pen)
        graph.edge(f"{label}:e", target, weight="3", **pen)
        if wire.target > max(2, wire.source + 1):  # not before the node before
            graph.edge(str(wire.target - 1), label, style="invis", weight="0")
    for state in range(2, nodes + 2):
        graph.edge(str(state), str(nodes + 2), style="dashed", color=GREY, penwidth="1.6")
        if state > 2:
            graph.edge(str(state - 1), str(state), style="invis", weight="10")
    return graph


@styled
def plain_cell(title: str, nodes: int, wires: Sequence[Wire]) -> Figure:
    """The drawing of a whole cell, as wide as a notebook's column: a legend names the operations.

    Args:
        title: stands above the cell.
        nodes: how many intermediate nodes it has.
        wires: its edges; states are numbered as in `SearchSpace`.
    """
    figure = Figure(figsize=(WIDTH, nodes + 1.9))
    axes = figure.add_subplot(title=title)
    lines, states = draw_cell(axes, nodes, [(wire.source, wire.target) for wire in wires])
    named = {}
    for line, wire in zip(lines, wires, strict=True):
        line.set(color=wire.pen.color, ls=wire.pen.dashes, lw=wire.width + 1)
        named[wire.operation] = Line2D([], [], color=wire.pen.color, ls=wire.pen.dashes, lw=3)
    output = nodes + 1.5, (1 - nodes) / 2
    axes.set_xlim(right=output[0] + 0.4)
    for state in range(1, nodes + 1):  # the concatenation
        ends = (state, output[0]), (1 - state, output[1])
        axes.plot(*ends, "--", color=GREY, lw=1.6, zorder=1)
    look, name = state_look(nodes + 2, nodes), {"ha": "center", "va": "center", "size": 13}
    axes.text(*output, "$c_k$", bbox={"fc": look.fill, "ec": look.color, "lw": 2}, **name)
    for artist in (*lines, *states):
        artist.set_animated(False)
    if any(named):
        figure.legend(named.values(), named, loc="outside lower center", ncols=4)
    return figure


def _state(state: int, nodes: int) -> dict[str, str]:
    """How Graphviz draws a state; the index of c_{k-2} is set low."""
    style = state_look(state, nodes)
    name = "c_{k}" if state == nodes + 2 else state_name(state)
    if "_" in name:
        name = f"<{name.replace('_{', '<SUB>').replace('}', '</SUB>')}>"
    size = {"width": "0.58" if style.shape == "box" else "0.46", "height": "0.46"}
    pen = {"color": style.color, "fillcolor": style.fill, "peripheries": str(style.borders)}
    return {"label": name, "shape": style.shape, "fixedsize": "true"} | pen | size


def _draw(title: str, nodes: int, wires: Sequence[Wire]) -> bytes:
    """The PNG of a cell, always WIDTH inches wide."""
    if shutil.which("dot"):
        with suppress(subprocess.CalledProcessError):  # a dot that cannot draw a PNG
            return _stack([cell_graph(title, nodes, wires).pipe("png", quiet=True)])
    return picture(plain_cell(title, nodes, wires), title).png


def _stack(pngs: Sequence[bytes]) -> bytes:
    """One PNG of several, each centered on a canvas as wide as every cell's.

    So the size on the page is the same for all cells, engines and machines.
    """
    images = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    width, gap = round(WIDTH * DPI), round(0.15 * DPI)
    height = sum(image.height for image in images) + gap * (len(images) - 1)
    canvas, top = Image.new("RGB", (width, height), "white"), 0
    for image in images:
        if image.width > width:
            image = image.resize((width, round(image.height * width / image.width)))
        canvas.paste(image, ((width - image.width) // 2, top))
        top += image.height + gap
    return small_png(np.asarray(canvas))


def _wires(nodes: Sequence, other: Sequence = (), shown: Genotype | None = None) -> list[Wire]:
    """The edges of a learned cell, each in the color of its operation among all that are shown.

    Those that `other`, the nodes of another cell, has as well are thick.
    """
    every = shown.normal + shown.reduction if shown else nodes
    names = list(dict.fromkeys(operation for edges in every for operation, _ in edges))
    wires = []
    for place, edges in enumerate(nodes):
        also = other[place] if place < len(other) else ()
        for operation, source in edges:
            width = THICK if (operation, source) in also else THIN
            wires.append(Wire(source, place + 2, operation, look(operation, names), width))
    return wires


def _described(nodes: Sequence, cell_type: str) -> str:
    """A learned cell in words: what every node adds, and what the output is."""
    parts = [
        f"node {number} {'is' if len(edges) == 1 else 'adds'} {edges_words(edges)}"
        for number, edges in enumerate(nodes, start=1)
    ]
    stride = " Operations on the inputs have stride 2." if cell_type == "reduction" else ""
    words = f"{cell_type.capitalize()} cell: {'; '.join(parts)}."
    return f"{words} {_output(len(nodes))}{stride}"


def _output(nodes: int) -> str:
    joined = "is node 1" if nodes == 1 else f"concatenates nodes 1 to {nodes}"
    return f"The output c_k {joined} (dashed)."

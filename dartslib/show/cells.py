"""Cells as pictures: learned ones (Figures 7 and 8 of the report) and the search's own (Figure 3).

Graphviz draws where its program dot is installed, matplotlib elsewhere (`staircase`). The
description in words is the same for both, and so is the size on the page.
"""

import io
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import graphviz
import numpy as np
from PIL import Image

from dartslib.genotypes import Choice, Genotype, as_array, choices
from dartslib.show.pictures import DPI, Picture, picture
from dartslib.show.staircase import Wire, draw_staircase
from dartslib.show.style import GREY, WIDTH, look, state_look, state_name
from dartslib.space import CELL_TYPES, SearchSpace

Engine = Literal["auto", "dot", "matplotlib"]
ENGINES = ("auto", "dot", "matplotlib")
FULL = 9.0  # points of a wire whose operation has probability 1
CUT = "#B3B3B3"


def cell(
    nodes_or_genotype: Any,
    cell_type: str = "normal",
    engine: Engine = "auto",
    *,
    title: str | None = None,
    description: str | None = None,
) -> Picture:
    """A learned cell; its description says in words what every node adds.

    Args:
        nodes_or_genotype: a `Genotype`, or the nodes of one cell in a genotype's form.
        cell_type: which cell of a genotype; for nodes, what the title calls them.
        engine: "dot" (Graphviz), "matplotlib", or "auto": Graphviz where it is installed.
        title: above the cell; the cell type if None.
        description: in place of the words made from the cell. A live search finds another cell on
            another machine: there, say only what is drawn.

    Raises:
        ValueError: not a cell, or an unknown cell type or engine.
        FileNotFoundError: engine is "dot" and the program is not installed.
    """
    nodes = _nodes(nodes_or_genotype, cell_type)
    png = _draw(title or f"{cell_type} cell", len(nodes), _wires(nodes), engine)
    return picture(png, description or describe_cell(nodes, cell_type))


def genotype_cells(
    genotype: Genotype,
    engine: Engine = "auto",
    *,
    title: str = "",
    description: str | None = None,
) -> Picture:
    """Both cells of a genotype, the normal one above the reduction cell.

    Args:
        genotype: what a search found.
        engine, description: as for `cell`.
        title: begins the title of each cell, for instance "recorded, ξ > 0".
    """
    pngs = []
    for cell_type in CELL_TYPES:
        nodes = _nodes(genotype, cell_type)
        name = f"{title}: {cell_type} cell" if title else f"{cell_type} cell"
        wires = _wires(nodes, genotype.normal + genotype.reduction)
        pngs.append(_draw(name, len(nodes), wires, engine))
    words = " ".join(describe_cell(genotype.cell(cell_type), cell_type) for cell_type in CELL_TYPES)
    return picture(_stack(pngs), description or words)


def search_cell(
    space: SearchSpace,
    probabilities: Mapping[str, Any] | Any | None = None,
    cell_type: str = "normal",
    engine: Engine = "auto",
    *,
    title: str | None = None,
    description: str | None = None,
) -> Picture:
    """The cell during the search: a mixed operation on every edge (Figure 3 of the report).

    Solid lines are mixed operations, dashed lines the concatenation. With probabilities it is the
    cell at that moment: a line is as wide as its best operation other than none is probable, and
    bears that number; edges that would be kept have the operation's color and name, others are
    grey.

    Args:
        space: its nodes and edges.
        probabilities: cell type -> (edges, operations), or the rows of this cell alone;
            arrays or tensors.
        cell_type: which cell the probabilities are taken from.
        engine, title, description: as for `cell`.
    """
    _check(cell_type)
    if probabilities is None:
        wires = [Wire(source, target) for source, target in space.edges]
        words = describe_search_cell(space)
        name = "cell of the search: solid = mixed operation, dashed = concatenation"
    else:
        decided = _decided(probabilities, space, cell_type)
        wires = [_decided_wire(choice, space) for choice in decided]
        words = describe_search_cell(space, probabilities, cell_type)
        name = f"{cell_type} cell: width = probability, grey = would be cut"
    png = _draw(title or name, space.nodes, wires, engine)
    return picture(png, description or words)


def describe_cell(nodes: Sequence, cell_type: str = "") -> str:
    """A learned cell in words: what every node adds, and what the output is.

    Args:
        nodes: one cell in a genotype's form.
        cell_type: begins the description, if given.
    """
    nodes = _nodes(nodes, cell_type or CELL_TYPES[0])
    parts = []
    for number, edges in enumerate(nodes, start=1):
        terms = [f"{operation} of {_in_words(source)}" for operation, source in edges]
        parts.append(f"node {number} {'is' if len(terms) == 1 else 'adds'} {_listed(terms)}")
    name = f"{cell_type} cell".strip().capitalize()
    return f"{name}: {'; '.join(parts)}. {_output(len(nodes), cell_type)}"


def describe_search_cell(
    space: SearchSpace,
    probabilities: Mapping[str, Any] | Any | None = None,
    cell_type: str = "normal",
) -> str:
    """The search's cell in words; with probabilities, what each node would keep and cut."""
    if probabilities is None:
        return (
            f"Cell of the search: inputs c_{{k-2}} and c_{{k-1}}, {space.nodes} intermediate "
            f"nodes. Every node adds a mixed operation of each earlier state: "
            f"{len(space.edges)} solid lines. {_output(space.nodes)}"
        )
    parts = []
    for node in range(space.nodes):
        mine = [c for c in _decided(probabilities, space, cell_type) if c.node == node]
        kept = [
            f"{c.operation} of {_in_words(c.source)} ({c.probability:.2f})" for c in mine if c.kept
        ]
        cut = [f"{_in_words(c.source)} ({c.probability:.2f})" for c in mine if not c.kept]
        rest = f", and cut {_listed(cut)}" if cut else ""
        parts.append(f"node {node + 1} would keep {_listed(kept)}{rest}")
    name = f"{cell_type.capitalize()} cell during the search"
    return f"{name}: {'; '.join(parts)}. {_output(space.nodes, cell_type)}"


def cell_graph(title: str, nodes: int, wires: Sequence[Wire]) -> graphviz.Digraph:
    """A cell as a Graphviz graph; `.source` is its text. States bear their numbers as names.

    The nodes stand from left to right in their order, so that two cells compare.
    """
    letters = {"fontname": "DejaVu Sans,Helvetica,Arial", "fontsize": "13"}
    near, far = ("0.12", "0.33") if any(wire.text for wire in wires) else ("0.4", "0.8")
    tidy = all(wire.text for wire in wires)  # wires enter labels at the side; with many, they curl
    graph = graphviz.Digraph(
        graph_attr=letters
        | {"rankdir": "LR", "label": title, "labelloc": "t", "fontsize": "14", "dpi": str(DPI)}
        | {"size": f"{WIDTH - 0.1},9", "pad": "0.05", "nodesep": near, "ranksep": far}
        | {"outputorder": "edgesfirst"},
        node_attr=letters | {"style": "filled", "penwidth": "2", "margin": "0.06,0.03"},
        edge_attr={"arrowsize": "0.8"},
    )
    with graph.subgraph(graph_attr={"rank": "same"}) as inputs:
        for state in (0, 1):
            inputs.node(str(state), **_state(state, nodes))
        inputs.edge("0", "1", style="invis")  # c_{k-2} stands above c_{k-1}
    for state in range(2, nodes + 3):
        graph.node(str(state), **_state(state, nodes))
    for number, wire in enumerate(wires):
        pen = {"color": wire.color, "penwidth": f"{wire.width:.2f}"}
        ends = str(wire.source), str(wire.target)
        if not (wire.text or wire.note):
            graph.edge(*ends, **pen)
            continue
        # The label is a node on the way: so dot leads every other edge around it.
        label, text = f"label{number}", "\n".join(filter(None, (wire.text, wire.note)))
        frame = {"shape": "box", "fillcolor": "white", "height": "0.3"}
        frame["style"] = "rounded,filled" if tidy else "filled"
        graph.node(label, text, **frame, color=wire.color, penwidth="1.5")
        west, east = (":w", ":e") if tidy else ("", "")
        graph.edge(ends[0], label + west, arrowhead="none", **pen)
        graph.edge(label + east, ends[1], **pen)
    for state in range(2, nodes + 2):
        graph.edge(str(state), str(nodes + 2), style="dashed", color=GREY, penwidth="1.6")
        if state > 2:
            graph.edge(str(state - 1), str(state), style="invis", weight="10")
    return graph


def _state(state: int, nodes: int) -> dict[str, str]:
    """How Graphviz draws a state."""
    style, output = state_look(state, nodes), state == nodes + 2
    return {
        "label": _markup("c_{k}" if output else state_name(state)),
        "shape": style.shape,
        "color": style.color,
        "fillcolor": style.fill,
        "peripheries": str(style.borders),
        "fixedsize": "true",
        "width": "0.58" if style.shape == "box" else "0.46",
        "height": "0.46",
    }


def _draw(title: str, nodes: int, wires: Sequence[Wire], engine: str) -> bytes:
    """The PNG of a cell, always WIDTH inches wide."""
    if engine not in ENGINES:
        raise ValueError(f"engine is one of {', '.join(ENGINES)}, not {engine!r}.")
    if engine == "dot" and not shutil.which("dot"):
        raise FileNotFoundError(
            "The program dot is not installed: install graphviz (apt install graphviz, "
            "conda install graphviz), or draw with engine='matplotlib'."
        )
    if engine == "dot" or (engine == "auto" and shutil.which("dot")):
        try:
            png = cell_graph(title, nodes, wires).pipe("png", quiet=True)
            return _stack([png])
        except (graphviz.ExecutableNotFound, subprocess.CalledProcessError):
            if engine == "dot":  # a dot that cannot draw a PNG; "auto" draws without it
                raise
    return picture(draw_staircase(title, nodes, wires), title).png


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
    buffer = io.BytesIO()
    few = canvas.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _check(cell_type: str) -> None:
    if cell_type not in CELL_TYPES:
        raise ValueError(f"A cell is one of {', '.join(CELL_TYPES)}, not {cell_type!r}.")


def _nodes(nodes_or_genotype: Any, cell_type: str) -> Sequence:
    """The nodes of one cell, checked."""
    if isinstance(nodes_or_genotype, Genotype):
        return nodes_or_genotype.cell(cell_type)
    return Genotype(nodes_or_genotype, nodes_or_genotype).cell(cell_type)


def _wires(nodes: Sequence, shown: Sequence | None = None) -> list[Wire]:
    """The edges of a learned cell, each in the color of its operation among all that are shown."""
    names = list(dict.fromkeys(operation for edges in shown or nodes for operation, _ in edges))
    return [
        Wire(source, target, operation, color=look(operation, names).color)
        for target, edges in enumerate(nodes, start=2)
        for operation, source in edges
    ]


def _decided(probabilities: Any, space: SearchSpace, cell_type: str) -> list[Choice]:
    """What derivation would decide on every edge of one cell."""
    _check(cell_type)
    if isinstance(probabilities, Mapping):
        rows = as_array(probabilities[cell_type])
    else:
        rows = as_array(probabilities)
    if rows.shape != (len(space.edges), len(space.operations)):
        raise ValueError(
            f"The probabilities have shape {rows.shape}; this space needs "
            f"({len(space.edges)}, {len(space.operations)}): edges, operations."
        )
    found = choices(dict.fromkeys(CELL_TYPES, rows), space)
    return [choice for choice in found if choice.cell_type == cell_type]


def _decided_wire(choice: Choice, space: SearchSpace) -> Wire:
    width = max(0.5, FULL * float(np.clip(choice.probability, 0, 1)))
    note = f"{choice.probability:.2f}"
    if not choice.kept:
        return Wire(choice.source, choice.node + 2, "", note, CUT, width, kept=False)
    color = look(choice.operation, space.operations).color
    return Wire(choice.source, choice.node + 2, choice.operation, note, color, width)


def _in_words(state: int) -> str:
    return state_name(state) if state < 2 else f"node {state_name(state)}"


def _output(nodes: int, cell_type: str = "") -> str:
    stride = " Operations on the inputs have stride 2." if cell_type == "reduction" else ""
    joined = "is node 1" if nodes == 1 else f"concatenates nodes 1 to {nodes}"
    return f"The output c_k {joined} (dashed).{stride}"


def _listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "nothing"


def _markup(name: str) -> str:
    """c_{k-2} as Graphviz markup, with the index set low; a number as it is."""
    if "_" not in name:
        return name
    letter, index = name.rstrip("}").split("_{")
    return f"<{letter}<SUB>{index}</SUB>>"

"""Derivation against a brute-force one; the genotype as JSON, good and bad; the published cells."""

import itertools
import json
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import is_one_sentence

from dartslib import genotypes
from dartslib.genotypes import DARTS_V1, DARTS_V2, Genotype, choices, derive, entropy
from dartslib.relaxation import Architecture
from dartslib.runs import results
from dartslib.space import CELL_TYPES, REPORT_OPERATIONS, SearchSpace

SPACES = [
    SearchSpace.report(),
    SearchSpace.darts(),
    SearchSpace(1),
    SearchSpace(2, ("none", "skip_connect")),
    SearchSpace(3, ("sep_conv_3x3", "max_pool_3x3", "skip_connect")),  # no none at all
]


# Derivation


def _softmax(row):
    total = math.fsum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def _brute_force(logits, space):
    """For each node the best of all pairs of an edge and an operation, one edge at most once."""
    nodes, edge = [], 0
    for node in range(space.nodes):
        pairs = []
        for source in range(node + 2):
            for name, p in zip(space.operations, _softmax(logits[edge]), strict=True):
                if name != "none":
                    pairs.append((p, name, source))
            edge += 1
        best = max(
            (pair for pair in itertools.permutations(pairs, 2) if pair[0][2] != pair[1][2]),
            key=lambda pair: (pair[0][0], pair[1][0]),
        )
        nodes.append(tuple((name, source) for _, name, source in best))
    return tuple(nodes)


@given(data=st.data(), space=st.sampled_from(SPACES))
def test_derivation_is_the_brute_force_one(data, space):
    edges, operations = len(space.edges), len(space.operations)
    # All values of a cell type differ, so that nothing depends on how ties are broken.
    seed = data.draw(st.integers(0, 2**32 - 1))
    scale = data.draw(st.sampled_from([1e-3, 1.0, 5.0]))
    rng = np.random.default_rng(seed)
    logits = {name: scale * rng.standard_normal((edges, operations)) for name in CELL_TYPES}
    probabilities = {
        name: np.array([_softmax(row) for row in table.tolist()]) for name, table in logits.items()
    }
    found = derive(probabilities, space)
    for cell_type in CELL_TYPES:
        assert found.cell(cell_type) == _brute_force(logits[cell_type].tolist(), space)
        for edges_of_node in found.cell(cell_type):
            sources = [source for _, source in edges_of_node]
            assert len(set(sources)) == len(sources) == 2

    architecture = Architecture(space, dtype=torch.float64)
    architecture.load_state_dict({name: torch.from_numpy(t) for name, t in logits.items()})
    assert derive(architecture) == architecture.derive() == found


def test_edges_are_ranked_after_the_softmax_with_none():
    # The trap of ranking by raw logits: skip_connect has the largest one, and none takes it all.
    space = SearchSpace(2, ("none", "skip_connect", "max_pool_3x3"))
    table = np.zeros((5, 3))
    table[2] = [9.0, 5.0, 0.0]  # state 0 to node 2: skip_connect has 0.018
    table[3] = [0.0, 2.0, 0.0]  # state 1: 0.79
    table[4] = [0.0, 0.0, 1.0]  # state 2: 0.58
    probabilities = {name: np.array([_softmax(row) for row in table]) for name in CELL_TYPES}
    node = derive(probabilities, space).normal[1]
    assert node == (("skip_connect", 1), ("max_pool_3x3", 2))


def test_where_none_is_strongest_the_edge_can_still_be_kept():
    space = SearchSpace(1, ("skip_connect", "none"))
    table = np.array([[0.1, 0.9], [0.2, 0.8]])
    found = derive(dict.fromkeys(CELL_TYPES, table), space)
    assert found.normal == ((("skip_connect", 1), ("skip_connect", 0)),)


def test_ties_go_to_the_first_edge_and_operation():
    # At the start of a search all are equal; the paper's code breaks ties the same way.
    found = derive(Architecture(SearchSpace.report()))
    assert found.normal == ((("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),) * 3
    found = derive(Architecture(SearchSpace.darts()))
    assert found.reduction == ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 4


def test_any_number_of_edges_a_node():
    found = derive(Architecture(SearchSpace(3)), edges_per_node=3)
    assert [len(edges) for edges in found.normal] == [2, 3, 3]


def test_only_none():
    with pytest.raises(ValueError) as error:
        derive(Architecture(SearchSpace(1, ("none",))))
    assert is_one_sentence(error.value)


@given(seed=st.integers(0, 2**32 - 1), space=st.sampled_from(SPACES))
def test_choices_and_their_margins(seed, space):
    rng = np.random.default_rng(seed)
    shape = len(space.edges), len(space.operations)
    table = rng.dirichlet(np.ones(shape[1]), shape[0])
    tables = {"normal": table, "reduction": table[::-1]}
    found = choices(tables, space)
    genotype = derive(tables, space)
    assert len(found) == 2 * shape[0]
    for choice in found:
        row = tables[choice.cell_type][choice.edge]
        real = sorted(
            (p for name, p in zip(space.operations, row, strict=True) if name != "none"),
            reverse=True,
        )
        assert choice.probability == real[0] == row[space.operations.index(choice.operation)]
        if len(real) > 1:
            assert choice.operation_margin == pytest.approx(real[0] - real[1], abs=1e-15)
        else:
            assert math.isnan(choice.operation_margin)
        assert space.edges[choice.edge] == (choice.source, choice.node + 2)
        kept = (choice.operation, choice.source) in genotype.cell(choice.cell_type)[choice.node]
        assert choice.kept == kept
        same = [c for c in found if (c.cell_type, c.node) == (choice.cell_type, choice.node)]
        strengths = sorted((c.probability for c in same), reverse=True)
        if len(strengths) > 2:
            assert choice.edge_margin == pytest.approx(strengths[1] - strengths[2], abs=1e-15)
        else:
            assert math.isnan(choice.edge_margin)


def test_entropy():
    assert entropy(np.full((2, 8), 1 / 8)) == pytest.approx([math.log(8)] * 2)
    assert entropy([[1.0, 0.0]]).tolist() == [0.0]
    assert entropy(torch.tensor([[0.25, 0.75]]))[0] == pytest.approx(0.5623351)


# The published cells


def _short(cell):
    """A cell as the facts write it: sep3 1, sep3 0 | skip 0, sep3 1."""
    names = {"sep_conv_3x3": "sep3", "sep_conv_5x5": "sep5", "dil_conv_3x3": "dil3"}
    names |= {"dil_conv_5x5": "dil5", "max_pool_3x3": "max", "avg_pool_3x3": "avg"}
    names |= {"skip_connect": "skip"}
    return " | ".join(", ".join(f"{names[name]} {k}" for name, k in edges) for edges in cell)


# As the authors' code has them: operation and input, two per node; weights in test_networks.py.
PUBLISHED = {
    "DARTS_V1": (
        "sep3 1, sep3 0 | skip 0, sep3 1 | skip 0, sep3 1 | sep3 0, skip 2",
        "max 0, max 1 | skip 2, max 0 | max 0, skip 2 | skip 2, avg 0",
    ),
    "DARTS_V2": (
        "sep3 0, sep3 1 | sep3 0, sep3 1 | sep3 1, skip 0 | skip 0, dil3 2",
        "max 0, max 1 | skip 2, max 1 | max 0, skip 2 | skip 2, max 1",
    ),
    "REPORT_FIRST": (
        "sep3 1, dil5 0 | sep3 1, dil5 2 | sep5 1, sep5 2",
        "sep3 0, skip 1 | dil3 1, sep3 2 | skip 1, sep3 3",
    ),
    "REPORT_SECOND": (
        "sep5 0, dil3 1 | sep3 2, sep5 1 | sep3 2, max 3",
        "max 1, sep5 0 | sep5 0, skip 1 | sep5 2, sep3 1",
    ),
    "P_DARTS": (
        "skip 0, dil3 1 | skip 0, sep3 1 | sep3 1, sep3 3 | sep3 0, dil5 4",
        "avg 0, sep5 1 | sep3 0, dil5 2 | max 0, dil3 1 | dil3 1, dil5 3",
    ),
    "PC_DARTS": (
        "sep3 1, skip 0 | sep3 0, dil3 1 | sep5 0, sep3 1 | avg 0, dil3 1",
        "sep5 1, max 0 | sep5 1, sep5 2 | sep3 0, sep3 3 | sep3 1, sep3 2",
    ),
    "GDAS_V1": (
        "skip 0, skip 1 | skip 0, sep5 2 | sep3 3, skip 0 | sep5 4, sep3 3",
        "sep5 0, sep3 1 | sep5 2, sep5 1 | dil5 2, sep3 1 | sep5 0, sep5 1",
    ),
    "SGAS_1": (
        "sep3 0, dil3 1 | sep3 0, sep3 1 | sep5 1, sep5 3 | skip 0, dil5 2",
        "max 0, dil5 1 | sep3 0, skip 2 | sep3 1, skip 2 | max 0, max 1",
    ),
    "SGAS_2": (
        "sep3 0, sep3 1 | sep3 0, sep3 2 | max 0, sep3 3 | sep3 2, sep3 3",
        "sep3 0, max 1 | dil3 0, max 1 | max 0, sep3 2 | max 0, sep5 2",
    ),
    "SDARTS_RS": (
        "sep3 1, sep3 0 | sep5 1, skip 0 | sep3 3, skip 1 | sep3 1, dil3 2",
        "max 0, sep3 1 | skip 2, max 0 | dil5 3, max 0 | sep3 2, sep5 3",
    ),
    "SDARTS_ADV": (
        "sep3 0, sep3 1 | sep3 1, skip 0 | sep5 0, dil3 3 | dil3 4, skip 0",
        "max 0, sep5 1 | skip 2, max 0 | skip 3, skip 2 | skip 2, sep5 4",
    ),
    "DRNAS": (
        "sep3 0, sep5 1 | sep3 1, sep3 2 | skip 0, sep3 1 | sep3 2, dil5 3",
        "max 0, sep5 1 | dil5 2, sep5 1 | sep5 1, dil5 3 | skip 4, sep5 1",
    ),
    "OLES": (
        "sep3 1, sep3 0 | sep5 0, sep3 1 | sep3 0, sep5 1 | sep3 0, dil3 1",
        "max 0, sep3 1 | avg 0, skip 2 | skip 2, avg 0 | skip 2, skip 3",
    ),
}


def test_published_cells():
    found = {
        name: (_short(g.normal), _short(g.reduction)) for name, g in genotypes.PUBLISHED.items()
    }
    assert found == PUBLISHED
    assert genotypes.PUBLISHED["DARTS_V1"] is DARTS_V1
    assert genotypes.PUBLISHED["DARTS_V2"] is DARTS_V2


def test_every_published_cell_has_a_source():
    text = Path(genotypes.__file__).with_name("published.toml").read_text(encoding="utf-8")
    cells = tomllib.loads(text)
    assert all(set(cell) == {"source", "normal", "reduction"} for cell in cells.values())
    assert all(re.search(r"(19|20)\d\d|the report", cell["source"]) for cell in cells.values())


@pytest.mark.parametrize("name", ["REPORT_FIRST", "REPORT_SECOND"])
def test_the_reports_tables_give_the_reports_cells(name):
    """Figures 5 and 6 derived are Figures 7 and 8."""
    printed = tomllib.loads(
        Path(results.__file__).with_name("report_tables.toml").read_text("utf-8")
    )
    space, tables = SearchSpace.report(), results.REPORT_TABLES[name]
    assert tuple(printed["operations"]) == space.operations
    for kind, table in tables.items():
        assert table.shape == (9, 8) and np.allclose(table.sum(axis=1), 1, atol=0.021)
        # The report sorts its edges by source, the space by target.
        for edge, row in zip(space.edges, table, strict=True):
            place = printed["edges"].index(list(edge))
            assert row.tolist() == [line[place] for line in printed[name][kind]]
    assert derive(tables, space) == genotypes.PUBLISHED[name]


# JSON

NAMES = st.one_of(st.sampled_from(REPORT_OPERATIONS), st.text(min_size=1))


@st.composite
def _cells(draw):
    count = draw(st.integers(1, 5))
    return tuple(
        tuple(draw(st.lists(st.tuples(NAMES, st.integers(0, node + 1)), min_size=1, max_size=4)))
        for node in range(count)
    )


@settings(max_examples=40)
@given(normal=_cells(), reduction=_cells())
def test_json_goes_back_and_forth(normal, reduction):
    genotype = Genotype(normal, reduction)
    text = genotype.to_json()
    assert Genotype.from_json(text) == genotype
    assert Genotype.from_json(json.dumps(json.loads(text))) == genotype
    assert hash(Genotype.from_json(text)) == hash(genotype)


def test_the_documented_form():
    data = json.loads(DARTS_V2.to_json())
    assert list(data) == ["format", "version", "normal", "reduction"]
    assert (data["format"], data["version"]) == ("dartslib-genotype", 1)
    assert data["normal"][0] == [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]]
    for cell_type in CELL_TYPES:
        assert [[tuple(e) for e in node] for node in data[cell_type]] == [
            list(node) for node in DARTS_V2.cell(cell_type)
        ]
    with pytest.raises(ValueError):
        DARTS_V2.cell("recurrent")


GOOD = [[["skip_connect", 0], ["sep_conv_3x3", 1]], [["max_pool_3x3", 2]]]


def _document(**changes):
    data = {"format": "dartslib-genotype", "version": 1, "normal": GOOD, "reduction": GOOD}
    return json.dumps({k: v for k, v in (data | changes).items() if v is not Ellipsis})


MALFORMED = {
    "empty": "",
    "no JSON": "Genotype(normal=[('skip_connect', 0)])",
    "cut off": _document()[:-5],
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "another format": _document(format="nni"),
    "no format": _document(format=...),
    "a list as format": _document(format=[[[]]]),
    "another version": _document(version=2),
    "a long version": _document(version="9" * 500 + "\n" * 50),
    "no version": _document(version=...),
    "no normal cell": _document(normal=...),
    "no reduction cell": _document(reduction=...),
    "a cell that is null": _document(normal=None),
    "a cell that is a string": _document(normal="sep_conv_3x3"),
    "a cell that is an object": _document(normal={"0": GOOD[0]}),
    "no nodes": _document(normal=[]),
    "a node without edges": _document(normal=[[]]),
    "a node that is a number": _document(normal=[3]),
    "a node that is an object": _document(normal=[{"skip_connect": 0}]),
    "an edge of one": _document(normal=[[["skip_connect"]]]),
    "an edge of three": _document(normal=[[["skip_connect", 0, 0.5]]]),
    "an edge that is a string": _document(normal=[["ab"]]),
    "an edge with line ends": _document(normal=[["skip\nconnect\n"]]),
    "an edge the other way round": _document(normal=[[[0, "skip_connect"]]]),
    "an operation that is null": _document(normal=[[[None, 0]]]),
    "an input that is a fraction": _document(normal=[[["skip_connect", 0.0]]]),
    "an input that is true": _document(normal=[[["skip_connect", True]]]),
    "an input that is a string": _document(normal=[[["skip_connect", "0"]]]),
    "an input below 0": _document(normal=[[["skip_connect", -1]]]),
    "a node that reads itself": _document(normal=[[["skip_connect", 2]]]),
    "a node that reads a later one": _document(normal=[[["skip_connect", 3]], [["none", 0]]]),
    "a huge input": _document(normal=[[["skip_connect", 10**1000]]]),
    "a number beyond Python's limit": '{"format": ' + "9" * 5000 + "}",
    "an infinite input": _document(normal=[[["skip_connect", math.inf]]]),
    "an input that is no number": _document(normal=[[["skip_connect", math.nan]]]),
    "deeply nested": "[" * 100_000,
    "deeply nested in an edge": _document(normal=[[["skip_connect", "x"]]]).replace(
        '"x"', "[" * 900 + "]" * 900
    ),
    "a lone byte": b"\xff\xfe{",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_genotype_is_answered_in_one_sentence(text):
    with pytest.raises(ValueError) as error:
        Genotype.from_json(text)
    assert is_one_sentence(error.value), str(error.value)
    assert type(error.value) is ValueError


def test_a_genotype_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not valid JSON"):
        Genotype.from_json("__import__('os').mkdir('harm') or int('x')")
    assert not (tmp_path / "harm").exists()


def test_what_a_genotype_may_hold_beyond_the_usual():
    # Any number of edges a node, the same input twice, another number of nodes in each cell.
    genotype = Genotype([[("a", 0)] * 3], [[["b", 1]], [["c", 2]]])
    assert genotype.normal == ((("a", 0),) * 3,)
    assert genotype.reduction == ((("b", 1),), (("c", 2),))
    commented = json.loads(genotype.to_json()) | {"comment": "by hand"}
    assert Genotype.from_json(json.dumps(commented)) == genotype

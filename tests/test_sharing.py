"""One supernet for all cells: what is drawn, what runs, and what it says of a cell."""

import torch

from dartslib import search as new_search
from dartslib.data import load, split
from dartslib.methods.gdas import OneOperation
from dartslib.relaxation import Architecture
from dartslib.rivals.sharing import draw_path, shared_accuracies
from dartslib.runs.gap import path
from dartslib.runs.profiles import profile
from dartslib.space import SearchSpace
from dartslib.tabular.cells import SPACE, classes


def test_every_cell_is_drawn_as_often():
    generator, space = torch.Generator().manual_seed(0), SPACE
    table, counts = torch.zeros(5, 4), {}
    for _ in range(24_300):
        drawn = draw_path(table, space, generator)
        assert drawn.sum() == 4 and (drawn[:, 3] == 0).all()  # two nodes of two edges, never none
        key = tuple(drawn.flatten().nonzero().flatten().tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 243
    assert max(abs(count - 100) for count in counts.values()) < 6 * 10
    first = SearchSpace(3, ("none", "skip_connect", "max_pool_3x3"))  # none comes first, elsewhere
    assert draw_path(torch.zeros(9, 3), first, generator)[:, 0].sum() == 0


def test_a_path_is_the_derived_cell():
    space = SearchSpace.report()
    architecture = Architecture(space, init_std=1.0)
    chosen = path(architecture.derive(), architecture)
    assert all(table.sum() == 6 for table in chosen.values())


def test_one_operation_per_kept_edge_runs_and_w_learns(monkeypatch):
    data, smoke = load("shapes10"), profile("smoke").search
    config = smoke.changed(
        relaxation="single_path", nodes=2, operations=SPACE.operations, half=128, batch_size=32,
        epochs=2,
    )  # fmt: skip
    halves = split(data, config.half)
    batches = (data.batches(halves.search_train, 32), data.batches(halves.search_valid, 32))
    calls = []
    run = OneOperation.forward

    def counted(self, x, mixture, *rest):
        calls.append(int((mixture != 0).sum()))
        return run(self, x, mixture, *rest)

    monkeypatch.setattr(OneOperation, "forward", counted)
    search = new_search(config, *batches)
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    search.advance()
    per_pass = 5 * config.layers  # edges of all cells
    assert len(calls) == per_pass and sum(calls) == 4 * config.layers
    for _ in search:
        pass
    assert any(
        not torch.equal(value, before[n]) for n, value in search.supernet.state_dict().items()
    )
    assert all((logits == 0).all() for logits in search.architecture.logits.values())  # alpha rests
    state = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    unseen = data.evaluation_batches(halves.compare_valid)
    found = shared_accuracies(search, classes()[:3], unseen)
    assert len(found) == 3 and all(0 <= value <= 1 for value in found)
    assert all(torch.equal(value, state[n]) for n, value in search.supernet.state_dict().items())

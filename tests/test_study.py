"""The study: what it runs, in which order, from which cells; stopping it, and going on."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from math import isnan
from pathlib import Path
from statistics import mean, stdev, variance
from unittest.mock import patch

import numpy as np
import pytest
import torch
from plain import is_one_sentence
from torch import nn

from dartslib.data import DataSet, split
from dartslib.genotypes import PUBLISHED
from dartslib.relaxation import Relaxation
from dartslib.runs import driving, gap, importing, records, running, study
from dartslib.runs.drawing import draw
from dartslib.runs.hour import HourConfig
from dartslib.runs.profiles import Profile
from dartslib.runs.results import Results, bar, cpu_hours, shared
from dartslib.runs.running import fast_form
from dartslib.runs.study import Study, execute
from dartslib.searching import Search, SearchConfig
from dartslib.space import SearchSpace
from dartslib.training import TrainConfig
from tools import remake

SIZES = {"layers": 2, "reductions": (1,), "channels": 2, "head": "linear", "held_out": 0.2}
OPERATIONS = ("sep_conv_3x3", "max_pool_3x3", "skip_connect", "none")
SEARCH = SearchConfig(
    dataset="tiny", half=24, nodes=2, operations=OPERATIONS, epochs=2, batch_size=8, **SIZES
)
FINAL = TrainConfig(dataset="tiny", epochs=3, batch_size=10, **SIZES)
TINY = Profile(
    search=SEARCH,
    compare=TrainConfig(dataset="tiny", part="compare", epochs=1, batch_size=10, **SIZES),
    final=FINAL,
    transfer=FINAL.model_copy(update={"dataset": "other"}),
)
METHODS = ("one_level", "first_order", "finite_difference")


def _arrays(side=8, count=80):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count + 20, side, side, 3), dtype=np.uint8)
    labels = np.arange(count + 20) % 2
    images[labels == 1, ::2] //= 2  # something to learn
    return {
        "x_train": images[:count],
        "y_train": labels[:count],
        "x_test": images[count:],
        "y_test": labels[count:],
        "class_names": ["0", "1"],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("tiny", "other"):
        np.savez(folder / f"{name}.npz", **_arrays())
    return folder


# With searches that take some seconds, so that one can be killed.
SLOW = dataclasses.replace(TINY, search=SEARCH.model_copy(update={"epochs": 60}))


def _study(folder, seeds=1, settings=TINY, **options):
    return Study("tiny", seeds, folder, settings=settings, **options)


def _made(folder, data, seeds=1, **options):
    """A whole study, in this process."""
    plan = _study(folder, seeds, **options)
    return plan, [run.name for run in execute(plan, data=data, workers=1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A finished study of two seeds, and the names of its runs as they ended."""
    folder = tmp_path_factory.mktemp("whole")
    return _made(folder / "runs", data, seeds=2, recorded=folder / "kept")


# What is run


def test_what_a_study_runs():
    plan = Study("lesson", 3, Path("nowhere"))
    kinds = Counter(run.kind for run in plan)
    # 9 searches; 9 cells and 9 random ones, three of them twice more; 3 cells on two sets; the best
    assert kinds == {"search": 9, "compare": 24, "final": 4, "transfer": 4}
    assert len({run.name for run in plan}) == 41
    searches = [run.config for run in plan if run.kind == "search"]
    assert Counter(c.gradient for c in searches) == dict.fromkeys(METHODS, 3)
    assert {c.epochs for c in searches} == {8} and {c.seed for c in searches} == {0, 1, 2}
    compared = [run for run in plan if run.kind == "compare"]
    alike = [run.config for run in compared if "again" not in run.name]
    assert len(set(map(str, alike))) == 1 and alike[0].seed == 0
    again = {run.name: (run.cell, run.config.seed) for run in compared if "again" in run.name}
    assert Counter(cell for cell, _ in again.values()) == {
        "search-cifar10-first_order-0": 2,
        "search-cifar10-finite_difference-0": 2,
        "random-0": 2,
    }
    assert {seed for _, seed in again.values()} == {1, 2}
    finals = [run for run in plan if run.kind in ("final", "transfer")]
    assert [run.config.epochs for run in finals] == [3] * 6 + [9] * 2
    assert {run.config.dataset for run in finals} == {"cifar10", "cifar100"}


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_seed_by_seed(seeds):
    """After the runs of a seed every group has that many cells, and nothing is run twice."""
    stages = list(Study("smoke", seeds, Path("nowhere")).stages())
    assert len(stages) == 2 * seeds + 2
    names = [run.name for stage in stages for run in stage]
    assert len(names) == len(set(names))
    assert sum("again" in name for name in names) == 6
    for seed in range(seeds):
        done = [run for stage in stages[: 2 * seed + 2] for run in stage]
        groups = Counter(
            r.name.split("-")[2] for r in done if r.kind == "compare" and "again" not in r.name
        )
        assert groups == dict.fromkeys(METHODS, seed + 1) | {"random": 3 * (seed + 1)}
        assert any("again" in run.name for run in done)


def test_published_cells_are_trained_as_those_of_the_study():
    usual, cells = Study("lesson", 1, Path("nowhere")), ("REPORT_FIRST", "REPORT_SECOND")
    plan = Study("lesson", 1, Path("nowhere"), published=cells)
    more = [run for run in plan if run.name not in {run.name for run in usual}]
    compared = {cell: [r for r in more if r.kind == "compare" and r.cell == cell] for cell in cells}
    alike = usual.find("compare-cifar10-random-0").config
    for cell, runs in compared.items():
        assert [run.config.epochs for run in runs] == 6 * [6] + 3 * [12]
        for run in runs:
            assert run.config.changed(epochs=6, seed=0) == alike
            assert plan.genotype(run) == PUBLISHED[cell]
    seeds = [run.config.seed for runs in compared.values() for run in runs]
    assert len({*seeds, *(run.config.seed for run in usual)}) == 18 + 3  # 0, 1 and 2 are ours
    # The last one gets final networks, as the best cell of each group does.
    finals = [run for run in more if run.kind in ("final", "transfer")]
    assert [run.kind for run in finals] == ["final", "transfer"]
    assert {run.cell for run in finals} == {"REPORT_SECOND"}
    for run in finals:
        assert run.config == usual.find(run.name.replace("REPORT_SECOND", "random")).config
    assert len(more) == 18 + 2
    with pytest.raises(ValueError, match="no published cell 'DARTS_V3'.*DARTS_V2") as error:
        Study("lesson", 1, Path("nowhere"), published=("DARTS_V3",))
    assert is_one_sentence(error.value)


def test_a_published_cell_goes_from_its_command_to_its_record(tmp_path, data):
    plan = _study(tmp_path, published=("DARTS_V2",))
    record = plan.make(plan.find("compare-tiny-DARTS_V2-twice-1"), data)
    assert record.genotype == PUBLISHED["DARTS_V2"] and record.meta["cell"] == "DARTS_V2"
    number = 1 + [*PUBLISHED].index("DARTS_V2")
    overridden = {"seed": 100 * number + 11, "epochs": 2 * TINY.compare.epochs}
    assert record.meta["overridden"] == overridden
    name = "compare-tiny-DARTS_V2-twice-1"
    assert record.meta["command"].endswith(f"--published DARTS_V2 --only {name}")
    assert plan.finished(plan.find("compare-tiny-DARTS_V2-twice-1"))
    # What the study's own cells say stays as it was.
    results = Results(tmp_path)
    assert results.compared("DARTS_V2") == [] and not results.comparison()
    assert len(results.compared("DARTS_V2", "twice")) == 1


def test_a_network_made_by_hand_is_trained_with_three_rates(tmp_path, data):
    plan = _study(tmp_path, hand=4)
    runs = [run for run in plan if run.cell == "hand"]
    assert [run.config.lr for run in runs] == [0.05, 0.15, 0.45]
    assert {run.config.epochs for run in runs} == {4} and {run.kind for run in runs} == {"final"}
    for run in runs:
        again = run.config.changed(lr=TINY.final.lr, epochs=TINY.final.epochs).model_dump()
        assert TINY.final.model_dump().items() <= again.items()
    muon = dataclasses.replace(
        TINY, final=HourConfig(**TINY.final.model_dump() | {"muon": 0.02, "lr": 0.3})
    )
    rates = [(run.config.lr, run.config.muon) for run in _study(tmp_path, hand=4, settings=muon)
             if run.cell == "hand"]  # fmt: skip
    assert np.divide(*zip(*rates, strict=True)) == pytest.approx(0.3 / 0.02)
    record = plan.make(runs[1], data)
    assert record.meta["config"]["widths"] and record.meta["cell"] == "hand"
    assert "--hand 4 --only" in record.meta["command"] and plan.finished(runs[1])
    assert record.meta["weights"] > 100_000  # no cell is in it
    assert list(Results(tmp_path).finals()) == ["hand_1"]


def test_settings_that_differ_are_named():
    plan = Study("lesson", 2, Path("nowhere"))
    run = plan.find("search-cifar10-finite_difference-1")
    assert run.changed == {"gradient": "finite_difference", "seed": 1}
    assert plan.find("final-cifar10-random").changed == {"epochs": 3}
    with pytest.raises(ValueError, match="search-cifar10-one_level-0") as error:
        plan.find("search-cifar10-onelevel-0")
    assert is_one_sentence(error.value)


def test_a_drawn_cell_is_drawn_uniformly():
    space, sources, operations = SearchSpace(3), Counter(), Counter()
    for seed in range(600):
        cell = draw(space, seed)
        assert cell == draw(space, seed)
        for kind in ("normal", "reduction"):
            nodes = cell.cell(kind)
            assert [len({source for _, source in node}) for node in nodes] == [2, 2, 2]
            sources[tuple(sorted(source for _, source in nodes[2]))] += 1
            operations.update(operation for node in nodes for operation, _ in node)
    # 1,200 pairs of 4 states: 200 each, a standard deviation of 13
    assert len(sources) == 6 and all(abs(n - 200) < 65 for n in sources.values())
    # 7,200 operations out of 7: 1,029 each, a standard deviation of 30
    assert set(operations) == set(space.operations) - {"none"}
    assert all(abs(n - 7200 / 7) < 150 for n in operations.values())


# The gap


@pytest.fixture
def searched():
    dataset = DataSet.from_arrays("tiny", **_arrays())
    cut = split(dataset, 24, 0.2)
    halves = (dataset.batches(p, 8) for p in (cut.search_train, cut.search_valid))
    loop = fast_form(Search(SEARCH, *halves, num_classes=2, image_size=8))
    for _ in loop:
        pass
    with torch.no_grad():  # choices that are clear
        for table in loop.architecture.alpha:
            table.copy_(torch.randn(table.shape, generator=torch.Generator().manual_seed(3)))
    return loop, dataset, cut


def _right(loop, batches, weights):
    """The fraction of images that the network gets right, one image at a time."""
    loop.supernet.eval()
    right = []
    with torch.no_grad():
        for step in range(len(batches)):
            images, labels = batches.at(step)
            for image, label in zip(images, labels, strict=True):
                right.append(int(loop.supernet(image[None], weights).argmax()) == int(label))
    loop.supernet.train()
    return mean(right)


def test_one_hot_weights_are_those_of_the_derived_cell(searched):
    loop, _, _ = searched
    space, tables = loop.architecture.space, gap.one_hot(loop)
    genotype = loop.architecture.derive()
    for kind in ("normal", "reduction"):
        found = [[] for _ in range(space.nodes)]
        for edge, operation in tables[kind].nonzero().tolist():
            source, target = space.edges[edge]
            found[target - 2].append((space.operations[operation], source))
        assert [sorted(node) for node in found] == [sorted(n) for n in genotype.cell(kind)]
        assert set(tables[kind].flatten().tolist()) == {0.0, 1.0}


def test_the_gap_is_that_of_the_cell_that_the_relaxation_derives(searched):
    loop, _, _ = searched

    class Weakest(Relaxation):
        def derive(self, probabilities, space, edges_per_node=2):
            turned = {cell_type: 1 - table for cell_type, table in probabilities.items()}
            return super().derive(turned, space, edges_per_node)

    usual, loop.architecture.relaxation = gap.one_hot(loop), Weakest()
    found = gap.one_hot(loop)
    assert any(not torch.equal(usual[kind], found[kind]) for kind in usual)
    test_one_hot_weights_are_those_of_the_derived_cell(searched)


def test_the_gap_by_hand(searched):
    loop, dataset, cut = searched
    unseen = dataset.evaluation_batches(cut.compare_valid, 7)
    before = {name: t.clone() for name, t in loop.supernet.state_dict().items()}
    found = gap.measure(loop, unseen)
    after = loop.supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loop.supernet.training
    # Only what is chosen runs for the gap; here, as afterwards, all operations do.
    assert all(all(edge.open) for cell in loop.supernet.cells for edge in cell.edges)
    mixed, chosen = loop.architecture.mixture(), gap.one_hot(loop)
    assert found["supernet"] == _right(loop, unseen, mixed)
    assert found["one_hot"] == _right(loop, unseen, chosen)
    # Statistics anew: torch's own cumulative mean, of a copy.
    for norm in loop.supernet.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None
            norm.__dict__.pop("forward", None)
    for cell in loop.supernet.cells:
        del cell.forward  # the plain form
    with torch.no_grad():
        for step in range(len(loop.train)):
            loop.supernet(loop.train.at(step)[0], chosen)
    assert found["one_hot_new_statistics"] == _right(loop, unseen, chosen)


# A whole study


def test_a_whole_study(whole, tmp_path):
    plan, made = whole
    assert sorted(made) == sorted(run.name for run in plan)
    assert records.names(plan.recorded) == sorted(made)
    for run in plan:
        record = records.load(run.name, plan.recorded)
        assert record.meta["profile"] == "tiny" and record.meta["overridden"] == run.changed
        assert record.meta["command"].endswith(f"--only {run.name}")
        assert record.meta["cpu_seconds"] > 0
        if run.kind == "search":
            assert set(record.meta["gap"]) == {"supernet", "one_hot", "one_hot_new_statistics"}
        else:
            assert record.meta["cell"] == run.cell and record.genotype == plan.genotype(run)
    # Nothing is left, and nothing is made a second time.
    assert plan.overview(2)[-1] == "all finished"
    assert list(execute(plan, data=tmp_path / "none", workers=1)) == []
    # On a machine that has the records alone, too.
    elsewhere = _study(tmp_path / "empty", seeds=2, recorded=plan.recorded)
    assert all(elsewhere.finished(run) for run in plan)
    # Finished runs that were not kept are kept later, without being made again.
    later = _study(plan.folder, seeds=2, recorded=tmp_path / "later")
    assert len(list(execute(later, data=tmp_path / "none", workers=1))) == len(made)


def test_the_best_cells_get_the_final_network(whole):
    plan, _ = whole
    compared = [run for run in plan if run.kind == "compare" and "again" not in run.name]
    accuracy = {run.cell: plan.record(run).meta["result"]["valid_accuracy"] for run in compared}
    finals = {run.name: run.cell for run in plan if run.kind in ("final", "transfer")}
    for group in ("first_order", "finite_difference", "random"):
        best = max(value for cell, value in accuracy.items() if group in cell)
        assert accuracy[finals[f"final-tiny-{group}"]] == best
        assert finals[f"transfer-other-{group}"] == finals[f"final-tiny-{group}"]
    assert accuracy[finals["final-tiny-long"]] == max(accuracy.values())


def test_a_run_is_made_again_from_recorded_cells(whole, tmp_path, data):
    plan, _ = whole
    alone = _study(tmp_path / "again", seeds=2, known=(plan.recorded,))
    for name in ("compare-tiny-first_order-0", "final-tiny-long"):
        record = alone.make(alone.find(name), data)
        assert record.meta["result"] == plan.record(plan.find(name)).meta["result"]
    assert not alone.finished(alone.find("search-tiny-first_order-0"))


def test_a_study_is_made_of_the_same_images_and_files(tmp_path, data, monkeypatch):
    """Whatever changes halfway would be mixed in without a word."""
    plan, other = _study(tmp_path / "runs"), tmp_path / "data"
    first, second = (plan.find(f"compare-tiny-random-{k}") for k in (0, 1))
    made = plan.make(first, data)
    shutil.copytree(data, other)
    arrays = _arrays()
    np.savez(other / "tiny.npz", **arrays | {"x_train": 255 - arrays["x_train"]})
    with pytest.raises(ValueError, match="tiny has other images than earlier runs had") as error:
        plan.make(second, other)
    assert is_one_sentence(error.value)
    assert plan.make(second, data).meta["data"] == made.meta["data"]
    plain = json.loads((plan.folder / first.name / "meta.json").read_text("utf-8"))
    meta = plain | {"imports": {"my_ops.py": "as it was"}}
    (plan.folder / first.name / "meta.json").write_text(json.dumps(meta), "utf-8")
    for digest, finished in (("as it was", True), ("changed", False)):
        monkeypatch.setitem(importing.IMPORTED, "my_ops.py", digest)
        if finished:
            assert plan.finished(first)
        else:
            with pytest.raises(ValueError, match="or with other imported files"):
                plan.finished(first)


def test_a_data_set_may_have_a_hyphen_in_its_name(whole, tmp_path):
    plan, _ = whole
    for name in records.names(plan.recorded):
        record = records.load(name, plan.recorded)
        kind, named, rest = name.split("-", 2)
        record.meta["dataset"] = f"my-own-{named}"
        records.save(record, tmp_path / f"{kind}-my-own-{named}-{rest}")
    one, other = Results(plan.recorded), Results(tmp_path)
    assert other.comparison().keys() == one.comparison().keys()
    assert list(other.finals()) == list(one.finals())


def test_a_cell_that_is_not_found_yet(tmp_path, data):
    plan = _study(tmp_path / "runs")
    for name in ("compare-tiny-first_order-0", "final-tiny-random"):
        with pytest.raises(ValueError, match="not found yet") as error:
            plan.make(plan.find(name), data)
        assert is_one_sentence(error.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.full
def test_what_fails_is_said_and_keeps_nothing_else_from_being_made(tmp_path, data, monkeypatch):
    whole, failing = running.make_run, "search-tiny-first_order-0"
    troubles = [
        (FloatingPointError("The loss of step 3 is not finite."), f"1 of 6 .* {failing}: The loss"),
        # One that nobody expected; the other five are there by then.
        (KeyError("a word\nand more"), f"1 of 1 .* {failing}: it stops with KeyError"),
    ]

    def fail_at_first_order(trouble, config, folder, **options):
        if getattr(config, "gradient", "") == "first_order":
            raise trouble
        return whole(config, folder, **options)

    plan, made = _study(tmp_path / "runs"), []
    for trouble, says in troubles:
        monkeypatch.setattr(study, "make_run", partial(fail_at_first_order, trouble))
        with pytest.raises(ValueError, match=says) as error:
            for run in execute(plan, data=data, workers=1):
                made.append(run.name)
        assert len(made) == 5 and is_one_sentence(error.value)
    monkeypatch.undo()
    assert len(list(execute(plan, data=data, workers=1))) == len(list(plan)) - 5


def test_the_time_that_is_left(tmp_path, data, monkeypatch):
    plan = _study(tmp_path / "runs")
    left = plan.seconds_left()
    assert set(left.values()) == {None}
    first = plan.find("search-tiny-one_level-0")
    seconds = plan.make(first, data).meta["seconds"]
    plan = _study(tmp_path / "runs", seeds=2)
    left = plan.seconds_left()
    assert first.name not in left and left["search-tiny-one_level-1"] == pytest.approx(seconds)
    # What a GPU took says nothing about a run without one.
    meta = tmp_path / "runs" / first.name / "meta.json"
    text = json.loads(meta.read_text(encoding="utf-8"))
    told = text | {"machines": [*text["machines"], {"device": "cuda", "gpu": "a GPU"}]}
    meta.write_text(json.dumps(told), encoding="utf-8")
    elsewhere = _study(tmp_path / "elsewhere", seeds=2)  # goes by the recorded study
    monkeypatch.setattr(study, "RECORDED", tmp_path / "runs")
    for each in (plan, elsewhere):
        assert each.seconds_left()["search-tiny-one_level-1"] is None
    meta.write_text(json.dumps(text), encoding="utf-8")
    assert elsewhere.seconds_left()[first.name] == pytest.approx(seconds)
    assert left["search-tiny-first_order-0"] is None
    *_, last = plan.overview(2)
    assert last.startswith("31 of 32 runs left") and "not known yet" in last
    # All steps made, but stopped before its record was written: not finished.
    (tmp_path / "runs" / first.name / "meta.json").unlink()
    assert plan.seconds_left()[first.name] == 0
    assert plan.overview(2)[-1].startswith("32 of 32 runs left")


@pytest.mark.parametrize("folders", ["kept", "runs"])
def test_a_run_of_other_settings_is_not_taken_for_one_of_these(whole, data, folders):
    """Studies of two profiles have runs of the same names."""
    plan, _ = whole
    before = {path: path.read_bytes() for path in plan.folder.parent.rglob("*") if path.is_file()}
    other = dataclasses.replace(TINY, search=SEARCH.model_copy(update={"w_lr": 0.2}))
    where = {"recorded": plan.recorded} if folders == "kept" else {}
    mixed = _study(plan.folder, settings=other, **where)
    for use in (lambda: mixed.overview(2), lambda: list(execute(mixed, data=data, workers=1))):
        with pytest.raises(ValueError, match="other settings .*--out") as error:
            use()
        assert is_one_sentence(error.value)
    assert before == {p: p.read_bytes() for p in plan.folder.parent.rglob("*") if p.is_file()}


def test_cells_of_other_settings_are_not_taken_from_elsewhere(whole, tmp_path, data):
    plan, _ = whole
    other = dataclasses.replace(TINY, search=SEARCH.model_copy(update={"w_lr": 0.2}))
    alone = _study(tmp_path / "again", settings=other, known=(plan.recorded,))
    with pytest.raises(ValueError, match="not found yet"):
        alone.make(alone.find("compare-tiny-first_order-0"), data)


def test_a_record_of_an_older_configuration_is_known(whole):
    """A setting that was added later has its default."""
    run = next(iter(whole[0]))
    record = whole[0].record(run)
    config = {name: value for name, value in record.meta["config"].items() if name != "radius"}
    assert run.made(dataclasses.replace(record, meta=record.meta | {"config": config}))
    assert not run.made(dataclasses.replace(record, meta={"what": "a measurement"}))


FULL = {"marks": pytest.mark.full}
FILES = ["meta.json", *(pytest.param(f, **FULL) for f in ("history.npz", "genotype.json"))]


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_record_is_made_again(whole, tmp_path, file):
    """From the folder of its run, if that is whole; without data nothing could be computed."""
    shutil.copytree(whole[0].folder.parent, tmp_path / "study")
    plan = _study(tmp_path / "study" / "runs", 2, recorded=tmp_path / "study" / "kept")
    name = "compare-tiny-random-1"
    path = plan.recorded / name / file
    intact = path.read_bytes()
    path.write_bytes(intact[: len(intact) // 2])
    assert plan.overview(2)[-1].startswith("1 of ")
    made = list(execute(plan, data=tmp_path / "none", workers=1))
    assert [run.name for run in made] == [name] and plan.overview(2)[-1] == "all finished"
    assert records.load(plan.recorded / name).meta == records.load(plan.folder / name).meta


def test_a_damaged_checkpoint_stops_its_own_run_alone(tmp_path, data):
    plan = _study(tmp_path / "runs")
    name = "search-tiny-one_level-0"
    (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / name / "checkpoint.pt").write_bytes(b"half")
    assert plan.seconds_left()[name] is None
    with pytest.raises(ValueError, match=f"1 of 6 .* {name}: .*damaged"):
        list(execute(plan, data=data, workers=1))
    assert len([run for run in plan if plan.finished(run)]) == 5


def test_a_final_network_of_a_cell_that_is_not_the_best_any_more(whole, tmp_path):
    """With more seeds another cell may be the best; the network is made once, and said of what."""
    shutil.copytree(whole[0].recorded, tmp_path / "kept")
    plan = _study(tmp_path / "runs", 2, recorded=tmp_path / "kept")
    path = tmp_path / "kept" / "final-tiny-random" / "meta.json"
    meta = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(meta | {"cell": "random-99"}), "utf-8")
    (line,) = (x for x in plan.overview(2) if x.startswith("final-tiny-random"))
    assert "finished, with random-99" in line and meta["cell"] in line
    assert plan.overview(2)[-1] == "all finished"
    (compared,) = tmp_path.glob("kept/compare-tiny-random-0")
    shutil.rmtree(compared)
    plan = _study(tmp_path / "other", 2, recorded=tmp_path / "kept")
    (line,) = (x for x in plan.overview(2) if x.startswith("final-tiny-random"))
    assert "random-99" in line and "compared yet" in line


def test_without_held_out_images_there_is_no_gap(tmp_path, data):
    """What alpha has learned from says nothing of what it has not seen."""
    config = SEARCH.model_copy(update={"held_out": 0.0, "epochs": 1})
    record = running.make_run(config, tmp_path / "run", data=data, progress=False)
    assert "gap" not in record.meta


def test_a_cluster_whose_workers_have_threads_is_refused(tmp_path, data):
    """First weights come from a generator that all runs of one process share."""
    from distributed import LocalCluster

    options = {"processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:
        plan, address = _study(tmp_path / "runs"), cluster.scheduler_address
        with pytest.raises(ValueError, match="--nthreads 1") as error:
            list(execute(plan, data=data, cluster=address))
    assert is_one_sentence(error.value) and not (tmp_path / "runs").exists()


# The tables


def _metas(folder, *words):
    """meta.json of the runs whose names begin so, read plainly."""
    found = [
        json.loads(p.read_text("utf-8"))
        for p in sorted(folder.glob("-".join(words) + "*/meta.json"))
    ]
    assert found
    return found


def test_the_tables_of_a_study(whole):
    folder = whole[0].recorded
    results = Results(folder)
    table = results.comparison()
    assert list(table) == [*METHODS, "random"]
    for group, row in table.items():
        metas = [m for m in _metas(folder, "compare", "tiny", group) if m["seed"] == 0]
        right = [m["result"]["valid_accuracy"] for m in metas]
        assert row.n == len(right) == (6 if group == "random" else 2)
        assert sorted(row.accuracies) == sorted(right)
        assert row.mean == pytest.approx(mean(right)) and row.spread == pytest.approx(stdev(right))
        others = [
            m["result"]["valid_accuracy"]
            for m in _metas(folder, "compare", "tiny", group, "0")
            if m["seed"] != 0
        ]
        found = [runs[1:] for runs in results.again() if runs[0].name == f"compare-tiny-{group}-0"]
        again = [sorted(run.meta["result"]["valid_accuracy"] for run in runs) for runs in found]
        assert again == ([sorted(others)] if group != "one_level" else [])
        assert row.weights == pytest.approx(mean(m["weights"] for m in metas))
        assert row.multiply_adds == pytest.approx(mean(m["multiply_adds"] for m in metas))
        assert row.cpu_hours == pytest.approx(mean(m["cpu_seconds"] for m in metas) / 3600)
        runs = results.compared(group)
        runs[0].meta["machines"].append({"device": "cuda", "gpu": "a GPU"})  # took part at the end
        spent = runs[1:]
        assert cpu_hours(runs) == pytest.approx(mean(m.meta["cpu_seconds"] for m in spent) / 3600)
        assert isnan(cpu_hours(runs[:1]))
    finals = results.finals()
    assert list(finals) == ["first_order", "finite_difference", "random", "long"]
    for kinds in finals.values():
        assert {kind: r.meta["dataset"] for kind, r in kinds.items()} == {
            "final": "tiny",
            "transfer": "other",
        }


def test_the_noise_is_pooled_over_the_cells(whole):
    folder = whole[0].recorded
    noise, variances = Results(folder).noise, []
    for group in ("first_order", "finite_difference", "random"):
        one = [m["result"]["valid_accuracy"] for m in _metas(folder, "compare", "tiny", group, "0")]
        assert len(one) == 3
        variances.append(variance(one))
    assert noise.freedom == 6  # three cells, trained three times
    assert noise.deviation == pytest.approx(mean(variances) ** 0.5)


def test_gaps_and_agreement(whole):
    folder = whole[0].recorded
    results = Results(folder)
    gaps = results.gaps()
    assert list(gaps) == list(METHODS)
    for method, stages in gaps.items():
        searched = _metas(folder, "search", "tiny", method)
        assert stages["one_hot"] == [m["gap"]["one_hot"] for m in searched]
        trained = [m for m in _metas(folder, "compare", "tiny", method) if m["seed"] == 0]
        assert stages["scratch"] == [m["result"]["valid_accuracy"] for m in trained]
    a, b, c = (
        records.load(f"search-tiny-{name}", folder).genotype
        for name in ("first_order-0", "first_order-1", "one_level-0")
    )
    edges = [
        {
            (kind, k, edge)
            for kind in ("normal", "reduction")
            for k, node in enumerate(c.cell(kind))
            for edge in node
        }
        for c in (a, b, c)
    ]
    agreement = results.agreement()
    # 2 nodes and 2 cells: 8 edges.
    assert agreement["first_order", "first_order"] == len(edges[0] & edges[1]) / 8
    d = records.load("search-tiny-one_level-1", folder).genotype
    four = [shared(one, other) for one in (a, b) for other in (c, d)]
    assert four[0] == len(edges[0] & edges[2]) / 8
    assert agreement["one_level", "first_order"] == pytest.approx(mean(four))
    assert agreement["random", "random"] <= 1 and len(agreement) == 10


def test_a_study_that_has_just_begun(whole, tmp_path):
    assert Results(tmp_path).comparison() == {} and isnan(Results(tmp_path).noise.deviation)
    kept = tmp_path / "kept"
    shutil.copytree(whole[0].recorded / "compare-tiny-random-0", kept / "compare-tiny-random-0")
    row = Results(kept).comparison()["random"]
    assert row.n == 1 and isnan(row.spread)
    assert Results(kept).gaps() == Results(kept).agreement() == Results(kept).finals() == {}


def test_tables_while_a_seed_is_half_done(whole, tmp_path):
    """Each seed counts as soon as all of it is there, and an again-run waits for its first."""
    full, kept = Results(whole[0].recorded), tmp_path / "kept"
    shutil.copytree(whole[0].recorded, kept)
    for name in (
        "compare-tiny-first_order-0",
        "compare-tiny-one_level-1",
        "search-tiny-one_level-0",
    ):
        shutil.rmtree(kept / name)
    half = Results(kept)
    assert half.noise.freedom == 4 and len(half.again()) == 2
    for stage, values in half.gaps()["first_order"].items():
        assert values == full.gaps()["first_order"][stage][1:]
    assert "one_level" not in half.gaps() and len(half.gaps()["finite_difference"]["scratch"]) == 2


def test_tables_of_a_folder_that_holds_something_else(whole, tmp_path):
    shutil.copytree(whole[0].recorded, tmp_path / "kept")
    shutil.copytree(whole[0].recorded / "compare-tiny-random-0", tmp_path / "kept" / "planted")
    assert Results(tmp_path / "kept").comparison().keys() == {*METHODS, "random"}
    record = records.load("compare-tiny-random-0", whole[0].recorded)
    record.meta["dataset"] = "other"
    records.save(record, tmp_path / "kept" / "compare-other-random-0")
    with pytest.raises(ValueError, match="two data sets") as error:
        Results(tmp_path / "kept").comparison()
    assert is_one_sentence(error.value)


# Made again


@pytest.mark.parametrize("name", ["search-tiny-one_level-1", "compare-tiny-random-0"])
def test_the_first_epoch_of_a_record_comes_out_equal(whole, data, name):
    plan, _ = whole
    record = plan.record(plan.find(name))
    found = remake.compare(record, remake.begin(record, data), 1)
    assert found and not any(found.values())
    assert remake.made_alike(record)
    other = record.meta["machines"][0] | {"instructions": "others"}
    assert not remake.made_alike(
        dataclasses.replace(record, meta=record.meta | {"machines": [other]})
    )
    record.history["train_loss"][1] += 1e-3  # a record that differs is seen
    assert remake.compare(record, remake.begin(record, data), 1)["train_loss"] > 5e-4


def test_a_measurement_has_no_first_epoch():
    with pytest.raises(ValueError, match="python -m benchmarks.planted") as error:
        remake.begin(records.load("planted"), "data")
    assert is_one_sentence(error.value)


# Several processes


def _checkpoint_each_step():
    running.drive = partial(driving.drive, every_seconds=0)


def _kill_one(folder, least=0, deadline=120):
    """Kills the first process that works on a run and has made that many steps; its number."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        for lock in folder.glob("*/.lock"):
            begun = driving.progress(lock.parent)
            if (lock.parent / "meta.json").exists() or not begun or begun[0] < least:
                continue
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    files = [os.readlink(link) for link in (process / "fd").iterdir()]
                except OSError:
                    continue
                if str(lock) in files:
                    os.kill(int(process.name), signal.SIGKILL)
                    return int(process.name)
        time.sleep(0.01)
    raise AssertionError("no run was being made")


COMMAND = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_study
from dartslib.runs import study
plan = test_study._study(Path({folder!r}), settings=test_study.SLOW)
for run in study.execute(plan, data={data!r}, workers=2, cluster={cluster!r}):
    print(run.name, flush=True)
"""


def _start(tmp_path, data, cluster=None):
    folder = str(tmp_path / "runs")
    tests = str(Path(__file__).parent)
    code = COMMAND.format(tests=tests, folder=folder, data=str(data), cluster=cluster)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_worker_of_this_machine_is_killed(tmp_path, data):
    process = _start(tmp_path, data)
    _kill_one(tmp_path / "runs")
    out, err = process.communicate(timeout=300)
    assert process.returncode != 0 and "A worker process was killed" in err
    process = _start(tmp_path, data)
    rest, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    made = out.split() + rest.split()
    assert sorted(made) == sorted(run.name for run in _study(tmp_path / "runs"))


def test_a_bar_is_half_of_welchs_interval():
    """Against the formula, with the quantile of t that a table has for 4 degrees of freedom."""
    one, other = [1.0, 2.0, 3.0], [11.0, 12.0, 13.0]  # equal spreads: 4 degrees of freedom
    assert bar(one, other) == pytest.approx(2.776 * (1 / 3 + 1 / 3) ** 0.5, abs=1e-3)
    assert bar(one * 4, other * 4) < bar(one, other) / 2
    with pytest.raises(ValueError, match="at least two values"):
        bar([1.0], other)


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_worker_of_a_cluster_is_killed(tmp_path, data):
    """Two worker processes of Dask; the run of the killed one is taken up by another."""
    from distributed import Client, LocalCluster

    with (
        patch.dict(os.environ),  # Dask sets numbers of threads, and leaves them
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(_checkpoint_each_step)
        process = _start(tmp_path, data, cluster.scheduler_address)
        _kill_one(tmp_path / "runs", least=2)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    plan = _study(tmp_path / "runs", settings=SLOW)
    assert sorted(out.split()) == sorted(run.name for run in plan)  # all of them, each once
    resumed = [run for run in plan if len(plan.record(run).meta["from_steps"]) > 1]
    assert len(resumed) == 1 and plan.record(resumed[0]).meta["from_steps"][1] >= 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the workers: sums over more threads round otherwise
    try:
        whole, _ = _made(tmp_path / "whole", data, settings=SLOW)
    finally:
        torch.set_num_threads(threads)
    for run in whole:
        assert whole.record(run).meta["result"] == plan.record(run).meta["result"]

"""The small space that is to be trained whole: its cells, and one training of one."""

import json
import re
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from made_up import noise_images

from dartslib import operations
from dartslib.data import DataSet, split
from dartslib.genotypes import PUBLISHED, derive
from dartslib.networks import FinalNetwork
from dartslib.rivals import recording
from dartslib.runs import many
from dartslib.runs.running import begin_training, fast_form, sizes_of
from dartslib.space import CELL_TYPES
from dartslib.tabular import controls, making, pricing
from dartslib.tabular import table as tables
from dartslib.tabular.cells import OPERATIONS, SPACE, cells, classes, name, representative
from dartslib.training import Training

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def test_cells_and_classes():
    assert len(cells()) == len(set(cells())) == 3**2 * 3 * 3**2 == 243
    assert len(classes()) == 207 and set(classes()) <= set(cells())
    names = {name(cell.normal) for cell in classes()}
    assert len(names) == 207 == len({representative(cell.normal) for cell in cells()})
    for cell in cells():
        assert representative(representative(cell.normal)) == representative(cell.normal)
        assert name(cell.normal) in names
    # Two different nodes that both read the inputs can change places.
    other = [cell for cell in cells() if cell not in classes()]
    assert len(other) == 36 == len(list(combinations(range(9), 2)))
    assert all({s for _, s in cell.normal[1]} == {0, 1} for cell in other)


def test_whatever_a_search_finds_is_a_cell_of_the_space():
    generator = np.random.default_rng(0)
    known = {representative(cell.normal) for cell in classes()}
    for _ in range(50):
        tables = dict.fromkeys(CELL_TYPES, generator.random((5, 4)))
        assert representative(derive(tables, SPACE).normal) in known
    assert set(SPACE.operations) - {"none"} == set(OPERATIONS)


def test_equal_cells_are_the_same_network():
    """Up to the order of its channels, and of the weights that read them."""
    cell = next(c for c in classes() if name(c.normal) == "max0 sep1 | sep0 skip1")
    for order in permutations((0, 1)):
        nodes = tuple(cell.normal[k] for k in order)
        assert name(nodes) == name(cell.normal)
    first, second = cell.normal
    torch.manual_seed(0)
    options = {"channels": 2, "layers": 1, "reductions": (), "image_size": 8}
    one = FinalNetwork(cell, **options)
    other = FinalNetwork(type(cell)((second, first), (second, first)), **options)
    state = one.state_dict()
    for key in list(state):
        if ".nodes." in key:
            node = int(key.split(".nodes.")[1][0])
            state[key.replace(f".nodes.{node}", f".nodes.{1 - node}")] = one.state_dict()[key]
    state = {key: state[key] for key in other.state_dict()}
    state["head.2.weight"] = state["head.2.weight"].roll(2, dims=1)  # two nodes of two channels
    other.load_state_dict(state)
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(one(images), other(images))


def test_each_training_has_a_seed_of_its_own():
    seeds = {making.seed_of(cell, run) for cell in classes() for run in range(3)}
    assert len(seeds) == 3 * 207


@pytest.fixture
def images():
    return noise_images(96, classes=3)


def test_a_training_is_measured_and_can_be_made_again(images):
    recipe = making.RECIPE.changed(epochs=2, batch_size=16, channels=2, layers=2)
    row, again, other = (making.train(classes()[100], run, recipe, images) for run in (0, 0, 1))
    assert row["cell"] == name(classes()[100].normal) and row["run"] == 0
    assert len(row["epochs"]) == 2
    assert all(0 <= row[key] <= 1 for key in ("valid", "test", "train"))
    assert 0 < row["train_seconds"] < row["seconds"]
    seconds = {"train_seconds", "seconds"}
    assert {k: v for k, v in row.items() if k not in seconds} == {
        k: v for k, v in again.items() if k not in seconds
    }
    assert row["seed"] != other["seed"] == making.seed_of(classes()[100], 1)


def test_the_crop_is_the_recipes_setting_to_the_bit(images):
    """As with the constant that once stood beside the recipe: batches by hand, cropped by 2."""
    assert making.RECIPE.crop == 2 and {r.crop for r in making.RECIPES.values()} == {2}
    recipe = making.RECIPE.changed(epochs=1, batch_size=16, channels=2, layers=2)
    row = making.train(classes()[100], 0, recipe, images)
    config, cut = recipe.changed(seed=row["seed"]), split(images, held_out=0.5)
    batches = images.batches(cut.compare_train, 16, seed=row["seed"], crop=2)
    by_hand = fast_form(Training(config, classes()[100], batches, **sizes_of(images)))
    list(by_hand)
    assert row["valid"] == by_hand.evaluate(images.evaluation_batches(cut.compare_valid))[1]
    training, _ = begin_training(config, classes()[100], images)
    list(training)
    states = (loop.network.state_dict().values() for loop in (by_hand, training))
    assert all(map(torch.equal, *states))


def test_small_images_are_means_of_four_pixels(monkeypatch):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    large = DataSet.from_arrays("cifar10", x, np.arange(8) % 2, x[:4], np.arange(4) % 2, ["a", "b"])
    monkeypatch.setattr(making, "load", lambda name, folder: large)
    monkeypatch.setattr(making, "IMAGES", 6)
    small = making.small_images()
    assert small.x_train.shape == (6, 3, 16, 16) and small.x_test.shape == (4, 3, 16, 16)
    four = large.x_train[5, 1, 10:12, 4:6].double().mean()
    assert abs(float(small.x_train[5, 1, 5, 2]) - float(four)) <= 0.5
    assert torch.equal(small.y_train, large.y_train[:6])


def rows_of(values):
    """A made-up table: name of a class -> value of each run."""
    made = {"commit": "c", "data": "d", "machine": {"cores": 2}, "versions": {"python": "3"}}
    return [
        {"recipe": "short", "cell": cell, "run": run, "seed": 0, "valid": value, "test": value / 2,
         "train": 1.0, "epochs": [0.1] * 8, "seconds": 9.0} | made
        for cell, runs in values.items() for run, value in enumerate(runs)
    ]  # fmt: skip


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Written and read as the real one is: each run of class k has (k + run / 100) / 1000."""
    names = [name(cell.normal) for cell in classes()]
    values = {cell: [(k + r / 100) / 1000 for r in range(3)] for k, cell in enumerate(names)}
    files = {"HERE": "", "ROWS": "table.csv", "ABOUT": "table.json", "PRICES": "prices.csv"}
    for constant, file in files.items():
        monkeypatch.setattr(tables, constant, tmp_path / file)
    prices = ["cell,train_seconds", *(f"{cell},{k + 1}" for k, cell in enumerate(values))]
    (tmp_path / "prices.csv").write_text("\n".join(prices), encoding="utf-8")
    recording.collect_table(rows_of(values))
    tables.load.cache_clear()
    yield tables.load()
    tables.load.cache_clear()


def test_the_table_answers(table):
    cell = table.classes[50]
    assert table.query(cell, run=2).valid == pytest.approx(0.05002)
    assert table.query(cell).valid == pytest.approx(0.05001)
    assert table.query(cell).runs == (0, 1, 2) and table.query(cell).seconds == 51
    assert table.truth(cell, without=2) == pytest.approx(0.050005)
    assert table.rank(cell) == 207 - 50 and table.rank(table.classes[-1]) == 1
    generator = np.random.default_rng(0)
    drawn = {table.draw(cell, generator).runs[0] for _ in range(50)}
    assert drawn == {0, 1, 2}
    assert len(table.query(cell).epochs) == 8
    assert table.about["trainings"] == {"short": 3 * 207}
    for cell in table.cells:  # equal cells have one answer, in whatever order they are written
        swapped = type(cell)(*[tuple(node[::-1] for node in cell.normal)] * 2)
        assert table.query(swapped) is table.query(cell)


def test_a_smaller_table_does_not_take_its_place(table):
    before = tables.ROWS.read_bytes()
    with pytest.raises(FileExistsError, match=r"table.csv has 621 rows, and here are 2: it stays"):
        recording.collect_table(rows_of({name(classes()[0].normal): [0.1, 0.2]}))
    others = {name(cell.normal): [0.1, 0.2, 0.3] for cell in classes()[:206]}
    others |= {"more": [0.1] * 9}  # as many and more, but not those that are there
    with pytest.raises(FileExistsError, match=r"table.csv has 621 rows, and here are 618"):
        recording.collect_table(rows_of(others))
    assert tables.ROWS.read_bytes() == before


def test_the_race_wants_the_whole_table(table, monkeypatch):
    monkeypatch.setattr(making, "RUNS", 4)
    monkeypatch.setattr(recording, "load", lambda: table)
    with pytest.raises(ValueError, match="wants 4 trainings of every class"):
        recording.record_race()


def test_a_stranger_gets_a_sentence(table):
    with pytest.raises(ValueError, match="no cell of the table: it has two nodes"):
        table.query(PUBLISHED["DARTS_V2"])
    with pytest.raises(ValueError, match="no run 3 of 'max0 max1"):
        table.query(table.classes[0], run=3)
    with pytest.raises(ValueError, match="no training of .* by the long recipe"):
        table.query(table.classes[0], recipe="long")


def test_the_plan_makes_a_valid_table_at_any_moment():
    plan = making.plan()
    assert len(plan) == len(set(plan)) == 3 * 207 + 24
    for run in range(3):
        part = plan[207 * run : 207 * (run + 1)]
        assert {int(job.split("-")[1]) for job in part} == set(range(207))
        assert {job.split("-")[2] for job in part} == {str(run)}
    assert plan[:207] != sorted(plan[:207]) and plan[-1].startswith("long-")


def test_a_list_of_jobs_goes_on_where_it_was(tmp_path):
    asked = list(many.make_all(tmp_path, ["a", "b"], _length, workers=2))
    assert sorted(asked) == ["a", "b"]
    assert many.finished(tmp_path, ["a", "b", "ccc"]) == {"a": {"of": 1}, "b": {"of": 1}}
    assert list(many.make_all(tmp_path, ["a", "ccc", "b"], _length)) == ["ccc"]
    ended = []
    with pytest.raises(ValueError, match="1 of 2 runs could not be made.* bad: .*no such job"):
        ended += many.make_all(tmp_path, ["bad", "last"], _length, workers=1)
    assert [*many.finished(tmp_path, ["bad", "last"])] == ["last"]  # it came after, all the same


def test_finished_jobs_of_other_settings_are_not_taken():
    config = making.RECIPES["short"]
    row = {"config": json.loads(config.model_dump_json()), "commit": "c"}
    many.refuse_others({"a": row}, lambda job: config)
    with pytest.raises(ValueError, match="a was made with other settings"):
        many.refuse_others({"a": row}, lambda job: config.changed(seed=5))
    for commit in ("", "unknown", "c+changes"):
        with pytest.raises(ValueError, match="code that is in no commit"):
            many.refuse_others({"a": row | {"commit": commit}}, lambda job: config)


def test_workers_stand_where_the_list_is_begun(tmp_path, monkeypatch):
    """joblib keeps its workers from list to list, and a folder may be told from where one is."""
    for part in ("here", "there"):
        (tmp_path / part).mkdir()
        monkeypatch.chdir(tmp_path / part)
        found = list(many.make_each(Path.absolute, [Path("x")] * 4))
        assert found == [tmp_path / part / "x"] * 4


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text("utf-8"),
    reason="the system gives large pages to every process or to none",
)
def test_workers_of_a_list_have_their_memory_in_large_pages(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    get_reusable_executor().shutdown()  # workers of an earlier list keep their environment
    assert list(many.make_all(tmp_path, ["pages"], _pages)) == ["pages"]
    assert many.finished(tmp_path, ["pages"])["pages"]["MiB"] >= 32


def _pages(job):
    kept = torch.ones(2**24)  # 64 MiB
    lines = Path("/proc/self/smaps_rollup").read_text("utf-8").splitlines()
    (line,) = (x for x in lines if x.startswith("AnonHuge"))
    return {"MiB": kept.numel() and int(line.split()[1]) // 2**10}


def _length(job):
    if job == "bad":
        raise ValueError("no such job")
    return {"of": len(job)}


COLUMNS = list(tables.read_rows(tables.PRICES)[0])


def test_a_price_is_measured(images, monkeypatch):
    recipe = making.RECIPE.changed(epochs=2, batch_size=16, channels=2, layers=2)
    monkeypatch.setattr(pricing, "STEPS", 2)
    skips, convolutions = (pricing.price(classes()[k], images, recipe) for k in (100, 206))
    assert list(skips) == COLUMNS and skips["cell"] == name(classes()[100].normal)
    steps = 2 * (48 // 16)  # half of 96 images, twice
    assert skips["train_seconds"] == pytest.approx(steps * skips["step_seconds"])
    assert convolutions["weights"] > skips["weights"] > 0
    assert convolutions["multiply_adds"] > skips["multiply_adds"] > 0
    assert skips["forward_64_ms"] > 0 and skips["forward_1_ms"] > 0 and skips["peak_mib"] >= 0


def test_a_price_is_of_several_rounds(tmp_path, monkeypatch):
    """Each round goes through all cells, so that a slow minute is in one round of a cell alone."""
    file = tmp_path / "prices.csv"
    monkeypatch.setattr(pricing, "PRICES", file)
    monkeypatch.setattr(pricing, "PRICES_MADE", tmp_path / "prices.json")
    monkeypatch.setattr(pricing, "small_images", lambda folder: None)
    asked = []

    def price(cell, images, recipe):
        asked.append(making.name_of(cell))
        slow = 209 <= len(asked) <= 300  # the end of the first round, and the second one's begin
        quick = 700 <= len(asked) <= 800 and 0.5  # a moment in which steps seemed to cost less
        found = dict.fromkeys(COLUMNS, 7 if slow else quick or 1)
        return found | {"cell": asked[-1], "weights": 5}

    monkeypatch.setattr(pricing, "price", price)
    pricing.price_all()
    assert asked.pop(0) == "hand"  # to warm up
    assert asked == asked[:208] * 5 and len(set(asked)) == 208 and asked[207] == "hand"
    rows = tables.read_rows(file)
    assert list(rows[0]) == COLUMNS and [row["cell"] for row in rows] == asked[:208]
    assert {(row["step_seconds"], row["peak_mib"]) for row in rows} == {("1.0000", "1")}
    # Passes are in wall time, which others can make longer only: their quickest round counts.
    assert [row["forward_1_ms"] for row in rows].count("0.500") == 101
    made = json.loads((tmp_path / "prices.json").read_text(encoding="utf-8"))
    assert made["rounds"] == 5 and made["commit"] and made["machine"] and made["versions"]
    assert {row["weights"] for row in rows} == {"5"}


def test_controls_are_what_they_say(images, monkeypatch):
    monkeypatch.setattr(operations, "OPERATIONS", dict(operations.OPERATIONS))
    monkeypatch.setattr(controls, "OPERATIONS", operations.OPERATIONS)
    twins = controls.twins()
    assert len(twins) == 6 and not set(twins) & set(classes())
    for cell in controls.normed():
        (pool, *_) = (name for node in cell.normal for name, _ in node if "max" in name)
        assert pool == controls.NORMED
        assert name(cell.normal) in {name(c.normal) for c in classes()}
    assert len(set(controls.normed())) == 12
    network = making.RECIPE.network(controls.normed()[0], num_classes=3, image_size=16)
    pools = [part for part in network.modules() if isinstance(part, torch.nn.MaxPool2d)]
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert pools and any(not norm.affine for norm in norms)  # a search's pools have such
    monkeypatch.setattr(controls, "equal_epochs", lambda: 2)
    monkeypatch.setattr(controls, "HAND", controls.HAND.changed(batch_size=16, widths=(2, 4)))
    row = controls.make("hand-1", images)
    assert row["cell"] == "hand" and row["run"] == 1 and len(row["epochs"]) == 2
    rows = [controls.make(f"hand-{run}", images) for run in (0, 2)]
    assert len({row["seed"] for row in [row, *rows]}) == 3


def test_a_network_made_by_hand_gets_as_many_seconds(tmp_path, monkeypatch):
    file = tmp_path / "prices.csv"
    monkeypatch.setattr(controls, "PRICES", file)
    prices = "cell,step_seconds,train_seconds\na,1,100\nb,1,200\nhand,0.01,9\n"
    file.write_text(prices, encoding="utf-8")
    assert controls.equal_epochs() == round(150 / (0.01 * (20_000 // 128)))


def test_a_row_is_made_again(table, monkeypatch):
    monkeypatch.setattr(making, "ROWS", tables.ROWS)
    monkeypatch.setattr(making, "kept", lambda job, make, folder: {"job": job})
    found = list(making.remake(3))
    assert len(found) == 3 and len({new["job"] for _, new in found}) == 3
    for old, new in found:
        recipe, number, run = new["job"].split("-")
        assert (recipe, run) == (old["recipe"], old["run"])
        assert name(classes()[int(number)].normal) == old["cell"]
    assert list(making.remake(0)) == []


@pytest.mark.skipif(not tables.ROWS.exists(), reason="there is no table yet")
def test_what_the_tables_page_says_runs(capsys):
    text = (tables.HERE.parents[1] / "docs" / "table.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)  # our own page
    table, said = names["table"], capsys.readouterr().out
    assert said.startswith(f"{table.name(table.cells[100])} {table.rank(table.cells[100])}\n")
    columns = re.findall(r"`(\w+)`", text.split("| a training |")[1].split("\n")[0])
    assert columns == [*tables.read_rows(tables.ROWS)[0]]
    assert set(table.about["trainings"]) <= {"short", "long", "twin", "pools", "hand"}

"""What needs a processor, measured once: shared supernets, children that inherit, scores.

    python -m dartslib tabular --make     trains what is left of the table, then of this list

All on the images, the cells and the recipe of the table.
"""

import warnings
from functools import partial
from time import process_time
from typing import Any

import numpy as np

from dartslib.data import DataSet, Subset, split
from dartslib.genotypes import Genotype
from dartslib.methods.latency import typical
from dartslib.rivals import scores
from dartslib.rivals.coding import Coding
from dartslib.rivals.controller import CHILDREN as ENAS_CHILDREN
from dartslib.rivals.controller import DRAWN, best_drawn, enas
from dartslib.rivals.inheriting import inherit
from dartslib.rivals.race import SEEDS
from dartslib.runs import gap, running
from dartslib.runs.running import begin_search, begin_training
from dartslib.searching import Search, SearchConfig
from dartslib.tabular.cells import SPACE, classes, name
from dartslib.tabular.making import RECIPE, numbered, seed_of
from dartslib.tabular.table import JUDGED
from dartslib.training import TrainConfig, Training

CHILDREN, CHILD_EPOCHS = 5, (2, 4)
# With the table's batch and rate. Never tuned.
SHARED = SearchConfig(
    dataset="cifar10", held_out=0.5, crop=RECIPE.crop, nodes=SPACE.nodes,
    operations=SPACE.operations, relaxation="single_path", layers=RECIPE.layers, reductions=(),
    channels=RECIPE.channels, head="linear", batch_size=RECIPE.batch_size, w_lr=RECIPE.lr,
)  # fmt: skip
ASKED = 2_000  # of the 20,000 images to train on, those that shared networks are asked on
# Of a shared network: as many as five trainings of the table have.
STEPS = 5 * RECIPE.epochs * (JUDGED // RECIPE.batch_size)  # as many images train as judge
# ENAS: theirs are 30 controller steps per epoch of 281 steps of w; an epoch has 140 here. The rate
# times all its steps is theirs, 0.0035 times 30 times 150 epochs.
CONTROLLER_STEPS = 15
CONTROLLER_TRAVEL = 0.0035 * 30 * 150
# Of the scores, whose first weights are as many as supernets; points per side of a plane.
INITS, BATCH, KERNEL, POINTS = SEEDS, 128, 24, 100
PACE = 5  # training steps beside the scores of a class


def plan() -> list[str]:
    """Names of the jobs, "enas-3": kind and number."""
    return numbered(score=len(classes()), family=4, single_path=SEEDS, enas=SEEDS)


def make(job: str, images: DataSet) -> dict[str, Any]:
    """One job of the plan."""
    kind, number = job.split("-")
    makers = {"score": score, "family": family, "single_path": shared, "enas": controlled}
    return makers[kind](int(number), images)


def new_search(config: SearchConfig, images: DataSet, fast: bool = True) -> Search:
    """A search of the small space on its two halves, in the fast form where there is one."""
    with warnings.catch_warnings(action="ignore"):  # edges of a method's own run plain
        return begin_search(config, images, fast=fast)[0]


def shared_network(seed: int, images: DataSet) -> Search:
    """A supernet before its first step; its `valid` are the images that it is asked on, as a test
    sees them, and w learns on the others.
    """
    whole = split(images, held_out=SHARED.held_out).compare_train
    train = Subset(whole.images[:-ASKED], whole.labels[:-ASKED], "shared_train")
    asked = Subset(whole.images[-ASKED:], whole.labels[-ASKED:], "shared_asked")
    config = SHARED.changed(seed=seed)
    batches = images.batches(train, config.batch_size, seed=seed, crop=config.crop)
    judging = images.evaluation_batches(asked, config.batch_size)
    search = Search(config, batches, judging, **running.sizes_of(images))
    search.steps = STEPS
    return search


def shared(seed: int, images: DataSet) -> dict[str, Any]:
    """A supernet trained path by path, and what it says of every class.

    Returns:
        "values": accuracy inside the shared network on the images it is asked on, by class;
        "steps"; "asked", images that pass through it to ask of one class; "seconds" of all.
    """
    search, began = shared_network(seed, images), process_time()
    for _ in search:
        pass
    values = {
        name(cell.normal): gap.accuracy(search, gap.path(cell, search.architecture), search.valid)
        for cell in classes()
    }
    asked = min(gap.STEPS, len(search.train)) * SHARED.batch_size + ASKED
    seconds = process_time() - began
    return {"values": values, "steps": search.step, "asked": asked, "seconds": seconds}


def controlled(seed: int, images: DataSet) -> dict[str, Any]:
    """ENAS: the cell that the controller ends at, its rewards on the way, and what it took.

    "asked" are all images that passed through the supernet to reward or to choose.
    """
    search, began = shared_network(seed, images), process_time()
    phases = max(1, search.steps // len(search.train))
    rate = CONTROLLER_TRAVEL / (CONTROLLER_STEPS * phases)
    rewards = list(enas(search, steps=CONTROLLER_STEPS, rate=rate, seed=seed))
    cell = best_drawn(search, search.valid, seed=seed)
    passes = CONTROLLER_STEPS * ENAS_CHILDREN * len(rewards) + DRAWN
    found = {"cell": name(cell.normal), "rewards": rewards, "steps": search.step}
    asked = passes * SHARED.batch_size
    return found | {"asked": asked, "seconds": process_time() - began}


def family(number: int, images: DataSet) -> dict[str, Any]:
    """A parent trained as in the table, and five children that begin with its weights.

    Returns:
        "parent": its class, "valid" its accuracy on judging images. "children": of each its class,
        "inherited", the share of weights it has from the parent, "valid" after the fewer
        `CHILD_EPOCHS`; "alone" and "alone_longer" after the fewer and the more with a beginning of
        its own. "seconds", CPU time of all.
    """
    began = process_time()
    cell = sorted(classes(), key=partial(seed_of, run=7))[number]  # an order of chance
    config = RECIPE.changed(seed=number)
    parent, _, valid = _trained(cell, config, images)
    coding, generator = Coding(SPACE), np.random.default_rng(number)
    written = next(code for code in coding.all() if coding.genotype(code) == cell)
    others: dict[str, Genotype] = {}  # by class: two of the neighbors may be the same network
    for code in generator.permutation(coding.neighbors(written)):
        child = coding.genotype(code)
        if name(child.normal) != name(cell.normal):
            others.setdefault(name(child.normal), child)
    children = []
    for called, child in [*others.items()][:CHILDREN]:
        few, more = (
            config.changed(epochs=epochs, seed=seed_of(child, 8 + number))
            for epochs in CHILD_EPOCHS
        )
        _, share, with_help = _trained(child, few, images, parent)
        alone, longer = (_trained(child, config, images)[2] for config in (few, more))
        found = {"cell": called, "inherited": share, "valid": with_help}
        children.append(found | {"alone": alone, "alone_longer": longer})
    seconds = process_time() - began
    return {"parent": name(cell.normal), "valid": valid, "children": children, "seconds": seconds}


def score(number: int, images: DataSet) -> dict[str, Any]:
    """What the scores say of a class before training, with each of three first weights.

    Returns:
        "scores": by way, a value each; "score_seconds": by way, CPU time of all beginnings;
        "step_seconds": that of a training step of the class, here and now, which tells what these
        seconds are worth in the table's prices.
    """
    cell, seconds = classes()[number], {}
    train = split(images, held_out=RECIPE.held_out).compare_train
    drawn = images.batches(train, BATCH, seed=0, crop=RECIPE.crop)
    found: dict[str, list[float]] = {}
    for k in range(INITS):
        batch, labels = drawn.at(k)
        seed = seed_of(cell, 8 + k)  # of no training of the table
        network = RECIPE.changed(seed=seed).network(cell, num_classes=10, image_size=16)
        # One channel per operation, for counting regions.
        thin = RECIPE.changed(channels=1, layers=1, seed=seed)
        thin = thin.network(cell, num_classes=10, in_channels=1, image_size=3)
        points = scores.plane(POINTS, (1, 3, 3), seed)
        ways = {
            "gradient_norm": partial(scores.gradient_norm, network, batch, labels),
            "synflow": partial(scores.synflow, network, (3, 16, 16)),
            "naswot": partial(scores.naswot, network, batch),
            "ntk_condition": partial(scores.ntk_condition, network, batch[:KERNEL]),
            "linear_regions": partial(scores.linear_regions, thin, points, ".nodes."),
        }
        for way, ask in ways.items():
            began = process_time()
            found.setdefault(way, []).append(ask())
            seconds[way] = seconds.get(way, 0.0) + process_time() - began
    training, _ = begin_training(RECIPE, cell, images)
    step = typical(training.advance, PACE, process_time)
    by_way = {"scores": found, "score_seconds": seconds}
    return {"cell": name(cell.normal), "step_seconds": step} | by_way


def _trained(
    cell: Genotype, config: TrainConfig, images: DataSet, parent: Training | None = None
) -> tuple[Training, float, float]:
    """A training at its end, the share of weights it began with, accuracy on judging images."""
    training, _ = begin_training(config, cell, images)
    training.watched, judging = None, split(images, held_out=config.held_out).compare_valid
    share = inherit(training.network, parent.network) if parent else 0.0
    for _ in training:
        pass
    return training, share, training.evaluate(images.evaluation_batches(judging))[1]

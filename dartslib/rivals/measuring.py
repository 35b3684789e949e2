"""What needs a processor, measured once: shared supernets, children that inherit, scores.

    python -m dartslib tabular --make     trains what is left of the table, then of this list

All on the images, the cells and the recipe of the table.
"""

import warnings
from functools import partial
from time import process_time
from typing import Any

import numpy as np
import torch

from dartslib.data import DataSet, split
from dartslib.genotypes import Genotype
from dartslib.networks import FinalNetwork
from dartslib.rivals import scores
from dartslib.rivals.coding import Coding
from dartslib.rivals.controller import best_drawn, enas
from dartslib.rivals.inheriting import inherit
from dartslib.rivals.race import SEEDS
from dartslib.rivals.sharing import shared_accuracies
from dartslib.runs.running import fast_form, sizes_of
from dartslib.searching import Search, SearchConfig
from dartslib.tabular.cells import SPACE, classes, name
from dartslib.tabular.making import CROP, RECIPE, WATCHED, seed_of
from dartslib.training import Training

FAMILIES, CHILDREN = 4, 5
CHILD_EPOCHS = 2
# Five trainings' worth of steps, with the table's batch and rate. Never tuned.
SHARED = SearchConfig(
    dataset="cifar10", held_out=0.5, nodes=SPACE.nodes, operations=SPACE.operations,
    relaxation="single_path", layers=RECIPE.layers, reductions=(), channels=RECIPE.channels,
    head="linear", batch_size=RECIPE.batch_size, w_lr=RECIPE.lr, epochs=80,
)  # fmt: skip
INITS, BATCH, KERNEL, POINTS = 3, 128, 24, 1000  # of the scores


def plan() -> list[str]:
    """Names of the jobs, "enas-3": kind and number."""
    counts = {
        "score": len(classes()), "family": FAMILIES, "single_path": SEEDS, "enas": SEEDS
    }  # fmt: skip
    return [f"{kind}-{number}" for kind, count in counts.items() for number in range(count)]


def make(job: str, images: DataSet) -> dict[str, Any]:
    """One job of the plan."""
    kind, number = job.split("-")
    makers = {"score": score, "family": family, "single_path": shared, "enas": controlled}
    return makers[kind](int(number), images)


def new_search(config: SearchConfig, images: DataSet) -> Search:
    """A search of the small space on its two halves, in the fast form where there is one."""
    cut = split(images, config.half, config.held_out)
    halves = [
        images.batches(half, config.batch_size, seed=config.seed, crop=CROP)
        for half in (cut.search_train, cut.search_valid)
    ]
    with warnings.catch_warnings(action="ignore"):  # edges of a method's own run plain
        return fast_form(Search(config, *halves, **sizes_of(images)))


def shared(seed: int, images: DataSet) -> dict[str, Any]:
    """A supernet trained path by path, and what it says of every class.

    Returns:
        "values": accuracy inside the shared network on 2,000 images of alpha's half, by class;
        "train_seconds" and "ask_seconds" (of one class), CPU time.
    """
    search = new_search(SHARED.changed(seed=seed), images)
    began = process_time()
    for _ in search:
        pass
    trained = process_time()
    cut = split(images, held_out=SHARED.held_out)
    unseen = images.evaluation_batches(cut.search_valid.first(WATCHED))
    values = shared_accuracies(search, classes(), unseen)
    asked = (process_time() - trained) / len(values)
    found = {name(cell.normal): value for cell, value in zip(classes(), values, strict=True)}
    return {"values": found, "train_seconds": trained - began, "ask_seconds": asked}


def controlled(seed: int, images: DataSet) -> dict[str, Any]:
    """ENAS: the cell that the controller ends at, and its rewards on the way."""
    search = new_search(SHARED.changed(seed=seed), images)
    began = process_time()
    rewards = list(enas(search, seed=seed))
    cell = best_drawn(search, search.valid, seed=seed)
    return {"cell": name(cell.normal), "rewards": rewards, "seconds": process_time() - began}


def family(number: int, images: DataSet) -> dict[str, Any]:
    """A parent trained as in the table, and five children that begin with its weights.

    Returns:
        "parent": its class. "children": of each its class, the share of weights it has from the
        parent, its accuracy on judging images after `CHILD_EPOCHS`, and after as many epochs of a
        beginning of its own.
    """
    cell = sorted(classes(), key=partial(seed_of, run=7))[number]  # an order of chance
    parent = _trained(cell, RECIPE.changed(seed=number), images)
    coding, generator = Coding(SPACE), np.random.default_rng(number)
    written = next(code for code in coding.all() if coding.genotype(code) == cell)
    children = []
    for code in generator.permutation(coding.neighbors(written))[:CHILDREN]:
        child = coding.genotype(tuple(code))
        config = RECIPE.changed(epochs=CHILD_EPOCHS, seed=number)
        heir = _trained(child, config, images, parent.network)
        alone = _trained(child, config, images)
        children.append(
            {
                "cell": name(child.normal), "inherited": heir.share,
                "valid": _judged(heir, images), "alone": _judged(alone, images),
            }
        )  # fmt: skip
    return {"parent": name(cell.normal), "valid": _judged(parent, images), "children": children}


def score(number: int, images: DataSet) -> dict[str, Any]:
    """What the scores say of a class before training: mean of three first weights, and CPU time."""
    cell, seconds = classes()[number], {}
    drawn = images.batches(split(images, held_out=0.5).compare_train, BATCH, seed=0, crop=CROP)
    found: dict[str, list[float]] = {}
    for seed in range(INITS):
        batch, labels = drawn.at(seed)
        network = RECIPE.changed(seed=seed).network(cell, num_classes=10, image_size=16)
        thin = _thin(cell, seed)
        points = torch.randn(POINTS, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
        ways = {
            "gradient_norm": partial(scores.gradient_norm, network, batch, labels),
            "synflow": partial(scores.synflow, network, (3, 16, 16)),
            "naswot": partial(scores.naswot, network, batch),
            "ntk_condition": partial(scores.ntk_condition, network, batch[:KERNEL]),
            "linear_regions": partial(scores.linear_regions, thin, points),
        }
        for way, ask in ways.items():
            began = process_time()
            found.setdefault(way, []).append(ask())
            seconds[way] = seconds.get(way, 0.0) + process_time() - began
    means = {way: float(np.mean(values)) for way, values in found.items()}
    return {"cell": name(cell.normal), "scores": means, "score_seconds": seconds}


def _thin(cell: Genotype, seed: int) -> FinalNetwork:
    """A network of one channel per operation, for counting regions."""
    config = RECIPE.changed(channels=1, layers=1, seed=seed)
    return config.network(cell, num_classes=10, in_channels=1, image_size=3)


def _trained(cell: Genotype, config: Any, images: DataSet, parent: Any = None) -> Training:
    """A training at its end; with a parent it begins with its weights (`share` of its own)."""
    batches = images.batches(
        split(images, held_out=config.held_out).compare_train,
        config.batch_size, seed=config.seed, crop=CROP,
    )  # fmt: skip
    training = fast_form(Training(config, cell, batches, **sizes_of(images)))
    training.share = inherit(training.network, parent) if parent is not None else 0.0
    for _ in training:
        pass
    return training


def _judged(training: Training, images: DataSet) -> float:
    cut = split(images, held_out=RECIPE.held_out)
    return training.evaluate(images.evaluation_batches(cut.compare_valid))[1]

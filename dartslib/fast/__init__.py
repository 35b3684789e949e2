"""Another way to run the same modules and weights, made for a CPU.

The plain supernet and the plain final network stay what they are: the lesson, the reference, the
path for double backward and for any new relaxation. `accelerate` gives their cells another forward,
which computes the same (tests: to 1e-10 in float64) from the same modules; `search` and `train` do
so by themselves. What it is made of, and what each part brings: benchmarks/README.md.
"""

import warnings
from typing import Any

import torch
from torch import nn

from dartslib.fast.branches import Opaque
from dartslib.fast.cells import FastCell
from dartslib.fast.normalizing import FastNorm
from dartslib.genotypes import Genotype
from dartslib.loops import BatchSource
from dartslib.networks import DerivedCell
from dartslib.searching import Search, SearchConfig
from dartslib.supernet import Cell
from dartslib.training import TrainConfig, Training


def accelerate(network: nn.Module) -> nn.Module:
    """Lets the cells of a network run the fast way while it trains; the same network.

    Weights, names and `state_dict` stay as they are, the memory format becomes channels_last. The
    fast form goes back once, so leave a network plain whose gradient is to be differentiated again
    (the fast form refuses), or that `torch.utils.checkpoint` runs twice. Under a transform of
    `torch.func` a network runs plain. Cells that it cannot run stay plain, with one warning: those
    of a relaxation whose edges are modules of its own. A cell runs plain, too, and a
    warning says so once, while a module in it bears a hook, once one has been replaced, in half
    precision, and where paths are dropped. (The settings of a convolution or pool, such as its
    stride, are read here and never again.)

    Args:
        network: a `Supernet` or a `FinalNetwork` on the CPU.
    """
    network.to(memory_format=torch.channels_last)
    forms = [FastCell(cell) for cell in network.modules() if isinstance(cell, Cell | DerivedCell)]
    if not all(form.can_run for form in forms):
        warnings.warn(
            "Some cells are not as the fast form knows them: they run plain.", stacklevel=2
        )
    done: set[nn.Module] = set()
    for form in forms:
        if form.can_run:
            form.cell.forward = form
            for term in form.terms:
                if not isinstance(term.branch, Opaque):
                    done |= set(term.branch.module.modules())
    for norm in network.modules():
        if type(norm) is nn.BatchNorm2d and norm not in done:
            norm.forward = FastNorm(norm)
    return network


def search(
    config: SearchConfig,
    train: BatchSource,
    valid: BatchSource,
    *,
    fast: bool = True,
    **options: Any,
) -> Search:
    """A search, ready to be iterated: `for record in search(config, train, valid): …`.

    Takes what `Search` takes. Afterwards `.architecture.derive()` is the genotype. `fast=False`
    runs the plain form; on a GPU, and where double backward is needed, it always does.
    """
    loop = Search(config, train, valid, **options)
    if fast and config.gradient != "exact" and _suits(loop.supernet, config.channels_last):
        accelerate(loop.supernet)
    return loop


def train(
    config: TrainConfig,
    genotype: Genotype,
    batches: BatchSource,
    watched: BatchSource | None = None,
    *,
    fast: bool = True,
    **options: Any,
) -> Training:
    """A training, ready to be iterated: `for record in train(config, genotype, batches): …`.

    Takes what `Training` takes. `fast=False` runs the plain form; on a GPU it always does, and
    cells whose paths are dropped do.
    """
    loop = Training(config, genotype, batches, watched, **options)
    if fast and _suits(loop.network, config.channels_last):
        accelerate(loop.network)
    return loop


def _suits(network: nn.Module, channels_last: bool) -> bool:
    return channels_last and next(network.parameters()).device.type == "cpu"

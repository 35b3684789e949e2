"""Another way to run the same modules and weights, made for a CPU.

The plain supernet and final network stay the reference, and the way for double backward and for
edges of your own. `accelerate` gives their cells another forward, which computes the same numbers
(to 1e-10 in float64, as tests show) from the same modules; `search` and `train` call it.
benchmarks/README.md says what each part of it brings.
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
    """Makes the cells of a network run the fast form in training; returns the same network.

    Weights, names and `state_dict` stay as they are, the memory format becomes channels_last.

    The fast form supports one backward pass. Leave a network plain if its gradient is to be
    differentiated again (which raises), or if `torch.utils.checkpoint` runs it twice.

    A cell runs plain, and one warning says so, if its edges are a relaxation's own modules (but for
    those of DARTS-), if a module in it has a hook or has been replaced, in half precision, or if
    paths are dropped. Under a transform of `torch.func` it runs plain, too. (Settings of a
    convolution or pool, such as its stride, are read only here.)

    Args:
        network: a `Supernet` or a `FinalNetwork` on the CPU.
    """
    network.to(memory_format=torch.channels_last)
    forms = [FastCell(cell) for cell in network.modules() if isinstance(cell, Cell | DerivedCell)]
    if not all(form.can_run for form in forms):
        warnings.warn(
            "Some cells are not of a kind that the fast form knows: they run plain.", stacklevel=2
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
    """A `Search`, ready to be iterated: `for record in search(config, train, valid): …`.

    Takes the arguments of `Search`. Afterwards `.architecture.derive()` is the genotype.
    `fast=False` runs the plain form, as a GPU and gradient="exact" always do.
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
    """A `Training`, ready to be iterated: `for record in train(config, genotype, batches): …`.

    Takes the arguments of `Training`. `fast=False` runs the plain form, as a GPU and cells whose
    paths are dropped always do.
    """
    loop = Training(config, genotype, batches, watched, **options)
    if fast and _suits(loop.network, config.channels_last):
        accelerate(loop.network)
    return loop


def _suits(network: nn.Module, channels_last: bool) -> bool:
    return channels_last and next(network.parameters()).device.type == "cpu"

"""Another way to run the same modules and weights, several times faster on a CPU.

The plain supernet and the plain final network stay what they are: the lesson, the reference, the
path for double backward and for any new relaxation. `accelerate` gives their cells another forward,
which computes the same (tests: to 1e-10 in float64) from the same modules; `search` and `train` do
so by themselves. What it is made of, and what each part brings: benchmarks/README.md.
"""

from typing import Any

import torch
from torch import nn

from dartslib.fast.branches import Opaque
from dartslib.fast.cells import FastCell
from dartslib.fast.normalizing import FastNorm
from dartslib.genotypes import Genotype
from dartslib.networks import DerivedCell
from dartslib.searching import BatchSource, Search, SearchConfig
from dartslib.supernet import Cell
from dartslib.training import TrainConfig, Training


def accelerate(network: nn.Module) -> nn.Module:
    """Lets the cells of a network run the fast way while it trains; the same network.

    Weights, names and `state_dict` stay as they are, the memory format becomes channels_last. The
    fast form goes back once: for double backward, as method="exact" needs it, and for a relaxation
    with a mixed operation of its own, cells stay plain.

    Args:
        network: a `Supernet` or a `FinalNetwork` on the CPU.
    """
    network.to(memory_format=torch.channels_last)
    done: set[nn.Module] = set()
    for cell in network.modules():
        if type(cell) in (Cell, DerivedCell) and (form := FastCell(cell)).can_run:
            cell.forward = form
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
    if fast and config.method != "exact" and _suits(loop.supernet, config.channels_last):
        accelerate(loop.supernet)
    return loop


def train(
    config: TrainConfig,
    genotype: Genotype,
    batches: BatchSource,
    *,
    fast: bool = True,
    **options: Any,
) -> Training:
    """A training, ready to be iterated: `for record in train(config, genotype, batches): …`.

    Takes what `Training` takes. `fast=False` runs the plain form; on a GPU it always does.
    """
    loop = Training(config, genotype, batches, **options)
    if fast and _suits(loop.network, config.channels_last):
        accelerate(loop.network)
    return loop


def _suits(network: nn.Module, channels_last: bool) -> bool:
    return channels_last and next(network.parameters()).device.type == "cpu"

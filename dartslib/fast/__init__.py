"""Another way to run the same modules and weights, made for a CPU.

The plain supernet and final network stay the reference. `accelerate` gives their cells another
forward, which computes the same numbers (to 1e-10 in float64, as tests show) from the same modules;
`dartslib.search` and `dartslib.train` call it where it pays.
"""

import warnings
from functools import partial
from itertools import chain

import torch
from torch import nn

from dartslib.fast.branches import Opaque
from dartslib.fast.cells import FastCell
from dartslib.fast.normalizing import fast_norm
from dartslib.networks import DerivedCell
from dartslib.supernet import Cell


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
            for term in chain(*form.nodes):
                if term.kind is not Opaque:
                    done |= set(term.module.modules())
    for norm in network.modules():
        if type(norm) is nn.BatchNorm2d and norm not in done:
            norm.forward = partial(fast_norm, norm)
    return network

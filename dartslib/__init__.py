"""Differentiable architecture search (DARTS), built to be read.

The names below load on first use, so that `import dartslib` and `import dartslib.toy` cost
nothing and do not need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what an editor reads; what is loaded stands below
    from dartslib.api import export, predict, search, train
    from dartslib.data import DataSet
    from dartslib.genotypes import Genotype, derive
    from dartslib.gradients import hypergradient
    from dartslib.networks import FinalNetwork
    from dartslib.relaxation import Architecture, Relaxation
    from dartslib.searching import SearchConfig
    from dartslib.space import SearchSpace
    from dartslib.supernet import Supernet
    from dartslib.training import TrainConfig

_HOME = {
    **dict.fromkeys(("search", "train", "predict", "export"), "api"),
    **dict.fromkeys(("Architecture", "Relaxation"), "relaxation"),
    **dict.fromkeys(("Genotype", "derive"), "genotypes"),
    "DataSet": "data",
    "FinalNetwork": "networks",
    "SearchConfig": "searching",
    "SearchSpace": "space",
    "Supernet": "supernet",
    "TrainConfig": "training",
    "hypergradient": "gradients",
}

__version__ = "0.2.0"
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dartslib' has no attribute {name!r}")
    value = getattr(import_module(f"dartslib.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

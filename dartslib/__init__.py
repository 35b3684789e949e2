"""Differentiable architecture search (DARTS), built to be read.

The names below load on first use, so that `import dartslib` and `import dartslib.toy` cost
nothing and do not need torch.
"""

from importlib import import_module

_HOME = {
    "SearchSpace": "space",
    "Architecture": "relaxation",
    "Relaxation": "relaxation",
    "Supernet": "supernet",
    "hypergradient": "gradients",
    "search": "fast",
    "Genotype": "genotypes",
    "derive": "genotypes",
    "FinalNetwork": "networks",
    "train": "fast",
}

__version__ = "0.1.0"
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dartslib' has no attribute {name!r}")
    value = getattr(import_module(f"dartslib.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

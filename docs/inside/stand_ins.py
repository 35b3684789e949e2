"""What dartslib/toy.py and the checks ask for and the page's MicroPython lacks.

MicroPython keeps no annotations, so a dataclass cannot know its fields there: `FIELDS`, which
docs/live.py writes beside this file, names them.
"""

import builtins
import math
import sys

from fields import FIELDS

_zip = builtins.zip


class Module:
    """A module made of names."""

    def __init__(self, **names):
        for name, value in names.items():
            setattr(self, name, value)


class Type:
    """Stands in a type such as `float | np.ndarray`."""

    def __ror__(self, other):
        return self


class Truths:
    """What np.isfinite gives for some numbers."""

    def __init__(self, numbers):
        self.all = lambda: all(math.isfinite(number) for number in numbers)


def shape(numbers):
    """np.shape of some numbers in a row, or of one."""
    try:
        return (len(numbers),)
    except TypeError:
        return ()


def dist(a, b):
    """math.dist of two points of a plane."""
    return math.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2)


def dataclass(**options):
    """Gives a class the `__init__` that its fields ask for."""

    def decorate(cls):
        def init(self, *values):
            for name, value in _zip(FIELDS[cls.__name__], values):
                setattr(self, name, value)

        cls.__init__ = init
        return cls

    return decorate


def zip_(*parts, strict=False):
    """Takes `strict`, and does not look."""
    return _zip(*parts)


builtins.zip = zip_
sys.modules["math"] = Module(**{name: getattr(math, name) for name in dir(math)}, dist=dist)
sys.modules["numpy"] = Module(ndarray=Type(), array=list, shape=shape, isfinite=Truths)
sys.modules["dataclasses"] = Module(dataclass=dataclass)
sys.modules["typing"] = Module(Any=None)
sys.modules["collections.abc"] = Module(Callable=None, Iterator=None)

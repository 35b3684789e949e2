"""Runs the command line in a process that kills itself at a chosen moment; see survival.py."""

import functools
import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.nn import functional as F

from dartslib.data import Batches
from dartslib.runs import driving, running
from dartslib.searching import Search
from dartslib.training import Training

wanted = None, 0
met = Counter()


def moment(name):
    met[name] += 1
    if name is not None and (name, met[name]) == wanted:
        os.kill(os.getpid(), signal.SIGKILL)


def watch(owner, attribute, before=None, after=None):
    """Meets a moment before or after each call; a name is made of the call's arguments."""
    call = getattr(owner, attribute)

    @functools.wraps(call)
    def watched(*arguments, **options):
        moment(before and before(*arguments))
        result = call(*arguments, **options)
        moment(after and after(*arguments))
        return result

    setattr(owner, attribute, watched)


class InHalves:
    """A file that is open for writing; each write is two, and the moment lies between them."""

    def __init__(self, file, name):
        self.file, self.name = file, name

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, attribute):
        return getattr(self.file, attribute)

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        moment(f"half of {self.name} is written")
        self.file.write(content[len(content) // 2 :])


def _name(part):
    """.meta.json.part123 -> meta.json"""
    return Path(part).name[1:].split(".part")[0]


def _in_halves(open_):
    def opened(path, mode="r", *arguments, **options):
        file = open_(path, mode, *arguments, **options)
        is_part = mode == "wb" and ".part" in path.name
        return InHalves(file, _name(path)) if is_part else file

    return opened


def _watch_everything():
    for loop in (Search, Training):
        watch(loop, "advance", lambda loop: "a step begins", lambda loop: "a step is done")
    watch(Batches, "at", after=lambda *_: "a batch is drawn")
    watch(F, "cross_entropy", after=lambda *_: "a loss is computed")
    watch(torch.Tensor, "backward", after=lambda *_: "w has a gradient")
    watch(torch.optim.Adam, "step", after=lambda *_: "alpha has moved, w has not")
    watch(torch.optim.SGD, "step", after=lambda *_: "w has moved")
    Path.open = _in_halves(Path.open)
    watch(
        os,
        "replace",
        lambda part, path: f"{path.name} is written, but has its old name",
        lambda part, path: f"{path.name} has its name",
    )
    watch(
        Path, "unlink", after=lambda path, **_: f"{path.name} is removed" if path.exists() else None
    )
    watch(Search, "state_dict", lambda _: "a state is gathered")
    watch(Training, "state_dict", lambda _: "a state is gathered")


def run(words, name, number, every):
    """Runs the command here, which must be a process of its own.

    At the number-th moment of that name the process sends itself SIGKILL, which nothing can catch.
    A checkpoint is written every so many steps: the clock of `drive` counts steps here, so that no
    run depends on time. A run that reaches its end leaves in counts.json how often it met each
    moment.
    """
    global wanted
    wanted = name, number
    _watch_everything()
    driving.monotonic = lambda: met["a step is done"]
    running.drive = functools.partial(driving.drive, every_seconds=every)
    sys.argv = ["dartslib", *words]
    try:
        runpy.run_module("dartslib", run_name="__main__", alter_sys=True)
    finally:
        del met[None]
        Path("counts.json").write_text(json.dumps(met), "utf-8")

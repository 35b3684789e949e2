"""Drives a loop to its end: progress, checkpoints, resuming.

A checkpoint is written whole at least every five minutes, between two steps; a run that was stopped
goes on from the last one. It holds tensors, numbers and strings only, and is read with
`weights_only=True`, so that no checkpoint can run code.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from time import monotonic
from typing import Any, Protocol

import torch
from tqdm.auto import tqdm

from dartslib.runs.files import write_whole
from dartslib.runs.machine import commit, machine, versions
from dartslib.searching import Config

FORMAT = "dartslib-checkpoint-1"
EVERY_SECONDS = 240.0


class Loop(Protocol):
    """`Search` and `Training`."""

    config: Config
    step: int
    steps: int

    def each_step(self) -> Iterator[dict[str, Any] | None]:
        """Runs to the end and yields after every step: a record where one is due, or None."""

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the run depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""


def drive(
    loop: Loop,
    folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    every_seconds: float = EVERY_SECONDS,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Runs a loop to its end.

    Args:
        loop: a `Search` or a `Training`, just made.
        folder: where checkpoint.pt lives.
        resume: go on from that checkpoint, if there is one.
        progress: show a bar with loss, accuracy and time left.
        every_seconds: between checkpoints.
        device: named in the stretches.

    Returns:
        The stretches of the run: for each process that took part, where it began, commit, machine,
        versions.

    Raises:
        FileExistsError: there is a checkpoint and `resume` is off.
        ValueError: the checkpoint is of another configuration or format.
    """
    path = folder / "checkpoint.pt"
    stretches: list[dict[str, Any]] = []
    if path.exists():
        if not resume:
            raise FileExistsError(
                f"{folder} holds a run already: go on with --resume, or choose another folder."
            )
        stretches = _read(path, loop)
    if loop.step < loop.steps:
        here = {"commit": commit(), "machine": machine(device), "versions": versions()}
        stretches.append({"from_step": loop.step} | here)
    saved = monotonic()
    with tqdm(
        total=loop.steps, initial=loop.step, unit="step", disable=None if progress else True
    ) as bar:
        for record in loop.each_step():
            bar.update(loop.step - bar.n)
            if record is not None:
                bar.set_postfix(
                    loss=f"{record['train_loss']:.3f}", accuracy=f"{record['train_accuracy']:.3f}"
                )
            if monotonic() - saved > every_seconds:
                _write(path, loop, stretches)
                saved = monotonic()
    _write(path, loop, stretches)
    return stretches


def _write(path: Path, loop: Loop, stretches: list[dict[str, Any]]) -> None:
    state = {
        "format": FORMAT,
        "config": loop.config.model_dump_json(),
        "stretches": json.dumps(stretches),
        "loop": loop.state_dict(),
    }
    write_whole(path, lambda part: torch.save(state, part))


def _read(path: Path, loop: Loop) -> list[dict[str, Any]]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, RuntimeError):  # no file of torch's, or not only data
        state = None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this dartslib: choose another folder.")
    if state["config"] != loop.config.model_dump_json():
        raise ValueError(
            f"{path} belongs to a run with other settings: resume with the settings it was started "
            "with, or choose another folder."
        )
    loop.load_state_dict(state["loop"])
    return json.loads(state["stretches"])

"""Runs a loop to its end: progress, checkpoints, resuming, stopping.

A checkpoint is written whole, between two steps, before five minutes of work can be lost. It has
tensors, numbers and strings only, and is read with `weights_only=True`, so that it cannot run code.
A state that is not finite is never written.
"""

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from pickle import UnpicklingError
from threading import current_thread, main_thread
from time import monotonic, process_time
from types import FrameType
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from tqdm.auto import tqdm

from dartslib.loops import Loop
from dartslib.runs.files import write_whole
from dartslib.runs.importing import IMPORTED
from dartslib.runs.machine import commit, machine, versions

FORMAT = "dartslib-checkpoint-3"
CHECKPOINT = "checkpoint.pt"
# Five minutes, minus one for a step slower than those before it, and for the writing.
EVERY_SECONDS = 240.0
SILENT_SECONDS = 60.0  # at most, where no bar can be drawn


def drive(
    loop: Loop,
    folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    every_seconds: float = EVERY_SECONDS,
    device: str = "cpu",
    data: str | None = None,
) -> list[dict[str, Any]]:
    """Runs a loop to its end, in a folder that `dartslib.runs.files.alone` has locked.

    Ctrl-C stops it after the current step and saves that; a second Ctrl-C stops it at once.

    Args:
        loop: a `Search` or a `Training`, just made.
        folder: the place of checkpoint.pt.
        resume: go on from that checkpoint, if there is one.
        progress: show a bar with loss, accuracy and time left; in a log, a line now and then.
        every_seconds: how much work may be lost. A checkpoint is written if one more step, as slow
            as the slowest since the last checkpoint, would exceed this.
        device: for the record.
        data: the `digest` of the data set; a run resumes only with the same data.

    Returns:
        The stretches of the run, one per process that took part: its first step, commit, machine,
        versions, and CPU seconds of all threads up to the last checkpoint.

    Raises:
        FileExistsError: there is a run and `resume` is off.
        ValueError: the checkpoint is damaged, or has another configuration, format or data set.
        OSError: the checkpoint cannot be written; the previous one stays.
        FloatingPointError: a loss or a weight is not finite; the previous checkpoint stays.
        KeyboardInterrupt: Ctrl-C.
    """
    path = folder / CHECKPOINT
    stretches: list[dict[str, Any]] = []
    if path.exists():
        if not resume:
            raise FileExistsError(
                f"{folder} holds a run already: go on with --resume (in Python resume=True), or "
                "choose another folder."
            )
        stretches = _read(path, loop, data)
    elif (folder / "meta.json").exists():
        raise FileExistsError(
            f"{folder} holds a finished run without its checkpoint: choose another folder."
        )
    if loop.step == loop.steps:
        return stretches
    _write(path, loop, stretches, data)  # a folder that cannot be written to is found now
    here = {"commit": commit(), "machine": machine(device), "versions": versions()}
    stretches.append({"from_step": loop.step} | here)
    began, kept = process_time(), loop.step
    saved = last = monotonic()
    longest, told = 0.0, -inf
    drawn = type(sys.stderr).__module__.startswith("ipykernel")  # a notebook, which is no terminal
    off = (False if drawn else None) if progress else True  # None: where no bar can be drawn
    bar = tqdm(total=loop.steps, initial=loop.step, unit="step", disable=off)
    with _patient() as pressed, bar:
        silent = progress and bar.disable and "TQDM_DISABLE" not in os.environ
        try:
            for record in loop.each_step():
                bar.update(loop.step - bar.n)
                if record is not None:
                    shown = {
                        name: f"{record[f'train_{name}']:.3f}" for name in ("loss", "accuracy")
                    }
                    bar.set_postfix(shown)
                # Save before the next step, if it is as slow as the slowest, could lose too much.
                now = monotonic()
                last, longest = now, max(longest, now - last)
                if silent and now - told > SILENT_SECONDS:
                    left = loop.seconds / max(loop.step, 1) * (loop.steps - loop.step)
                    shown = f"step {loop.step} of {loop.steps}, {tqdm.format_interval(left)} left"
                    print(shown if loop.step else shown.split(",")[0], file=sys.stderr)
                    told = now if loop.step else told
                at_risk = now - saved + longest > every_seconds
                if at_risk or pressed or loop.step == loop.steps:
                    stretches[-1]["cpu_seconds"] = process_time() - began
                    _write(path, loop, stretches, data)
                    kept, saved, last, longest = loop.step, now, monotonic(), 0.0
                if pressed:
                    break
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{str(error).rstrip('.')}, in another folder; {path} keeps the state after step "
                f"{kept}."
            ) from error
    if pressed:
        raise KeyboardInterrupt(f"Stopped after step {kept} of {loop.steps}, which is saved")
    return stretches


@contextmanager
def _patient() -> Iterator[list[int]]:
    """Postpones a first Ctrl-C, which appears in the yielded list; a second one interrupts at once.

    SIGTERM, by which a cluster ends a job, is treated alike.
    """
    pressed: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        if pressed:
            signal.default_int_handler(number, frame)
        pressed.append(number)

    # Only the main thread may set handlers, and only it gets Ctrl-C.
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    before = {n: h for n, h in handlers.items() if h is not signal.SIG_IGN}  # as under nohup
    try:
        for number in before:
            signal.signal(number, wait)
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(path: Path, loop: Loop, stretches: list[dict[str, Any]], data: str | None) -> None:
    state = loop.state_dict()
    if not _finite(state):
        raise FloatingPointError(
            f"The weights after step {loop.step} are not finite: try a smaller learning rate."
        )
    buffer = io.BytesIO()
    torch.save(
        {
            "format": FORMAT,
            "config": loop.config.model_dump_json(),
            "stretches": json.dumps(stretches),
            "data": data,
            "imports": json.dumps(IMPORTED),
            "steps": loop.steps,
            "loop": state,
        },
        buffer,
    )
    write_whole(path, buffer.getvalue())


def _finite(state: Any) -> bool:
    """Whether all tensors of a nested state are finite, those of histories and notes apart."""
    if isinstance(state, torch.Tensor):
        return bool(state.isfinite().all())
    if isinstance(state, dict):  # a relaxation's notes may be infinite
        state = [part for name, part in state.items() if name not in ("history", "notes")]
    return not isinstance(state, list | tuple) or all(map(_finite, state))


def progress(folder: Path) -> tuple[int, int, float] | None:
    """Steps done, steps in all and seconds of the run in a folder; None without a checkpoint.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    state = _load(path)
    return state["loop"]["step"], state["steps"], state["loop"]["seconds"]


def _load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint."""
    state = None
    # Not written by torch, or with more than data in it, or damaged in some other way.
    with suppress(UnpicklingError, BadZipFile, EOFError, RuntimeError, ValueError, LookupError):
        with ZipFile(path) as file:
            whole = file.testzip() is None  # torch.load compares no checksums
        if whole:
            state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(
            f"{path} is damaged, or is not a checkpoint of this dartslib: choose another folder."
        )
    return state


def _read(path: Path, loop: Loop, data: str | None = None) -> list[dict[str, Any]]:
    state = _load(path)
    other, same = "", False
    with suppress(TypeError, ValueError):  # a setting that it lacks counts with its default
        same = type(loop.config)(**json.loads(state.get("config"))) == loop.config
    if not same:
        other = "settings: resume with the settings"
    elif state.get("data") != data:
        other = "data of that name: restore the images, labels and class names"
    elif json.loads(state.get("imports", "{}")) != IMPORTED:
        other = f"files of --import than {[*IMPORTED]}: import those, unchanged,"
    if other:
        raise ValueError(
            f"{path} belongs to a run with other {other} that it was started with, or choose "
            "another folder."
        )
    unfit = ValueError(
        f"{path} does not fit this run, as its data set has changed or the file is not whole: "
        "choose another folder."
    )
    if state.get("steps") != loop.steps:
        raise unfit
    try:
        loop.load_state_dict(state["loop"])
        return json.loads(state["stretches"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise unfit from error

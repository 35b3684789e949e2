"""Kills runs at random moments, resumes them, and compares their ends with the unbroken run's.

    python -m tests.survival 50            # fifty moments, from a seed that is printed
    python -m tests.survival 50 7          # the fifty of seed 7 again

The profile is smoke: a search of first order, one with finite differences, and a training. A moment
is mostly an event within the program (see killed.py), so that speed does not decide what is tried;
every fourth comes from outside, after a random time.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dartslib.runs import records

ROOT = Path(__file__).resolve().parent.parent
NEVER = "never"
# The smoke profile on a few images of noise: what is drawn or read does not matter here.
SEARCH = "search --profile smoke --data tiny --out run --set half=64 --set epochs=2".split()
CASES = {
    "first_order": [*SEARCH, "--method", "first_order"],
    "finite_difference": [*SEARCH, "--method", "finite_difference"],
    "training": "train --genotype DARTS_V2 --part compare --profile smoke --data tiny --out run "
    "--set drop_path=0.2 --set epochs=2 --set batch_size=24".split(),
}
# What may differ between a run that was stopped and one that was not.
MOVES = {"seconds", "seconds_per_iteration", "commits", "machines", "versions", "from_steps"}


def start(folder, words, moment=NEVER, number=1, every=0):
    """The command in a process of its own; see killed.py."""
    if not folder.exists():
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(200) % 10
        names = [str(k) for k in range(10)]
        (folder / "data").mkdir(parents=True)
        np.savez(
            folder / "data" / "tiny.npz",
            x_train=images[:160],
            y_train=labels[:160],
            x_test=images[160:],
            y_test=labels[160:],
            class_names=names,
        )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    command = [sys.executable, str(ROOT / "tests" / "killed.py"), moment, str(number), str(every)]
    return subprocess.Popen(
        [*command, "counts.json", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """The exit code and what was said."""
    _, said = process.communicate()
    return process.returncode, said


class Unbroken:
    """A run that nothing stops: what the others must end like, and the moments there are."""

    def __init__(self, words, folder):
        self.words = words
        began = time.monotonic()
        code, said = finish(start(folder, words))
        self.seconds = time.monotonic() - began
        assert code == 0, said
        self.record = records.load(folder / "run")
        self.checkpoint = read(folder)
        self.met = json.loads((folder / "counts.json").read_text())

    def moment(self, rng, every):
        """A random moment: its name and its number."""
        groups = [
            [name for name in self.met if "checkpoint.pt" in name],
            [name for name in self.met if any(part in name for part in ("json", "npz"))],
        ]
        groups.append([name for name in self.met if name not in sum(groups, [])])
        name = rng.choice(rng.choice(groups))
        count = self.met[name]
        if "checkpoint.pt" in name or "state" in name:  # counted with one after every step
            count = max(1, count // (every + 1))
        return name, rng.randint(1, count)


def read(folder):
    """The checkpoint of a run, or None."""
    path = folder / "run" / "checkpoint.pt"
    return torch.load(path, weights_only=True) if path.exists() else None


def bits(state):
    """Everything in a nested state, times aside, as bytes that can be compared."""
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items() if key != "seconds"}
    if isinstance(state, list | tuple):
        return [bits(value) for value in state]
    if isinstance(state, torch.Tensor):
        return tuple(state.shape), str(state.dtype), state.numpy().tobytes()
    return state


def check_record(found, whole):
    """A record equals another to the bit, apart from where and when it was made."""
    assert found.genotype == whole.genotype
    assert set(found.history) == set(whole.history)
    for name, values in whole.history.items():
        same = np.array_equal(found.history[name], values, equal_nan=True)
        assert same or name == "seconds", f"{name} differs"
    metas = [{k: v for k, v in r.meta.items() if k not in MOVES} for r in (found, whole)]
    assert metas[0] == metas[1]


def survive(whole, folder, seed):
    """Kills a run once or twice, resumes it to its end, and compares.

    Returns:
        What was done, in words; None where the run was over before it could be killed.
    """
    rng = random.Random(seed)
    every, kills = rng.choice([0, 0, 1, 3]), rng.choice([1, 1, 1, 2])
    words, story = list(whole.words), [f"a checkpoint every {every + 1} steps"]
    for kill in range(kills):
        if rng.random() < 0.25:
            after = rng.uniform(0, whole.seconds)
            process = start(folder, words, every=every)
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.kill()
            story.append(f"killed after {after:.2f} s")
        else:
            name, number = whole.moment(rng, every)
            process = start(folder, words, name, number, every)
            story.append(f"killed as {name} ({number})")
        code, said = finish(process)
        if code == 0:  # it was over
            if kill == 0:
                return None
            story[-1] = "not " + story[-1] + ", it was over before"
        else:
            assert code == -signal.SIGKILL, said
        # What it left is whole.
        state = read(folder)
        if (folder / "run" / "meta.json").exists():
            check_record(records.load(folder / "run"), whole.record)
        words = [*whole.words, "--resume"]

    begins = 0 if state is None else state["loop"]["step"]
    code, said = finish(start(folder, words, every=every))
    assert code == 0, said
    found = records.load(folder / "run")
    check_record(found, whole.record)
    assert bits(read(folder)["loop"]) == bits(whole.checkpoint["loop"])
    assert {path.name for path in (folder / "run").iterdir()} == {
        *("checkpoint.pt", "genotype.json", "history.npz", "meta.json", ".lock")
    }
    if begins < found.meta["steps"]:  # it went on from there, it did not begin again
        assert found.meta["from_steps"][-1] == begins
    story.append(f"resumed at step {begins} of {found.meta['steps']}")
    return "; ".join(story)


def main(count, seed):
    print(f"{count} moments, seed {seed}, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wholes = {name: Unbroken(words, folder / name) for name, words in CASES.items()}
        done = tried = 0
        while done < count:
            name = list(CASES)[tried % len(CASES)]
            story = survive(wholes[name], folder / str(tried), f"{seed}/{tried}")
            if story is not None:
                done += 1
                print(f"{done:3} {name}, {seed}/{tried}: {story}; equal to the bit", flush=True)
            tried += 1
    print(f"All {done} ended like the unbroken run.")


if __name__ == "__main__":
    count, *seed = map(int, sys.argv[1:] or ["50"])
    main(count, seed[0] if seed else random.randrange(10**6))

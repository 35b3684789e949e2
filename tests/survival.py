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
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from dartslib.runs import records

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does
import killed  # noqa: E402

# The smoke profile on a few images of noise: what is drawn or read does not matter here.
SMALL = "--set half=48 --set epochs=2 --set nodes=1"
SEARCH = f"search --profile smoke --data tiny --out run {SMALL}".split()
CASES = {
    "first_order": [*SEARCH, "--method", "first_order"],
    "finite_difference": [*SEARCH, "--method", "finite_difference"],
    "training": "train --genotype DARTS_V2 --part compare --profile smoke --data tiny --out run "
    "--set drop_path=0.2 --set epochs=2 --set batch_size=24 --set channels=2".split(),
}
# What may differ between a run that was stopped and one that was not.
MOVES = {
    "seconds",
    "seconds_per_iteration",
    "cpu_seconds",
    "commits",
    "machines",
    "versions",
    "from_steps",
}


def start(folder, words, moment=None, number=0, every=1, method="spawn"):
    """The command in a process of its own: spawned, or forked from one that has loaded torch."""
    if not folder.exists():
        (folder / "data").mkdir(parents=True)
        np.savez(folder / "data" / "tiny.npz", **_tiny())
    (folder / "said.txt").touch()  # it may be killed before it says a word
    context = get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["dartslib.runs.running"])
    process = context.Process(target=_run, args=(folder, words, moment, number, every))
    process.start()
    return process


def _tiny():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(200) % 10
    return {
        "x_train": images[:160],
        "y_train": labels[:160],
        "x_test": images[160:],
        "y_test": labels[160:],
        "class_names": [str(k) for k in range(10)],
    }


def _run(folder, *arguments):
    os.chdir(folder)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ["TQDM_DISABLE"] = "1"
    killed.run(*arguments)


def finish(process, folder):
    """The exit code and what was said."""
    process.join()
    return process.exitcode, (folder / "said.txt").read_text("utf-8")


class Unbroken:
    """A run that nothing stops: what the others must end like, and the moments there are."""

    def __init__(self, words, folder, method="spawn"):
        self.words, self.method = words, method
        began = time.monotonic()
        code, said = finish(start(folder, words, method=method), folder)
        self.seconds = time.monotonic() - began
        assert code == 0, said
        self.record = records.load(folder / "run")
        self.checkpoint = read(folder)
        self.met = json.loads((folder / "counts.json").read_text("utf-8"))

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
            count = max(1, count // every)
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


def draw(whole, seed):
    """A random plan: after how many steps checkpoints are written, and one or two kills."""
    rng = random.Random(seed)
    every, count = rng.choice([1, 1, 2, 4]), rng.choice([1, 1, 1, 2])
    kills = []
    for _ in range(count):
        outside = rng.random() < 0.25
        kills.append(rng.uniform(0, whole.seconds) if outside else whole.moment(rng, every))
    return every, kills


def survive(whole, folder, every, kills):
    """Kills a run, resumes it to its end, and compares.

    Args:
        kills: each a moment and its number, or seconds after which the run is killed from outside.

    Returns:
        What was done, in words; None where the run was over before it could be killed.
    """
    words, method = list(whole.words), whole.method
    story = [f"a checkpoint every {every} steps"]
    for kill in kills:
        if isinstance(kill, float):
            process = start(folder, words, every=every, method=method)
            process.join(kill)
            process.kill()
            story.append(f"killed after {kill:.2f} s")
        else:
            process = start(folder, words, *kill, every, method)
            story.append(f"killed as {kill[0]} ({kill[1]})")
        code, said = finish(process, folder)
        if code == 0:  # it was over
            if words == whole.words:
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
    code, said = finish(start(folder, words, every=every, method=method), folder)
    assert code == 0, said
    found = records.load(folder / "run")
    check_record(found, whole.record)
    assert bits(read(folder)["loop"]) == bits(whole.checkpoint["loop"])
    left = {"checkpoint.pt", "genotype.json", "history.npz", "meta.json", ".lock"}
    if found.meta["kind"] == "train":
        left.add("weights.safetensors")
    assert {path.name for path in (folder / "run").iterdir()} == left
    if begins < found.meta["steps"]:  # it went on from there, it did not begin again
        assert found.meta["from_steps"][-1] == begins
    story.append(f"resumed at step {begins} of {found.meta['steps']}")
    return "; ".join(story)


def main(count, seed):
    print(f"{count} moments, seed {seed}, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wholes = {
            name: Unbroken(words, folder / name, "forkserver") for name, words in CASES.items()
        }
        done = tried = 0
        while done < count:
            name = list(CASES)[tried % len(CASES)]
            plan = draw(wholes[name], f"{seed}/{tried}")
            story = survive(wholes[name], folder / str(tried), *plan)
            if story is not None:
                done += 1
                print(f"{done:3} {name}, {seed}/{tried}: {story}; equal to the bit", flush=True)
            tried += 1
    print(f"All {done} ended like the unbroken run.")


if __name__ == "__main__":
    count, *seed = map(int, sys.argv[1:] or ["50"])
    main(count, seed[0] if seed else random.randrange(10**6))

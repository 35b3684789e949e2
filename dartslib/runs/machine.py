"""Machine, versions and commit of a run, for its record; no host name, no path."""

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

CHECKOUT = Path(__file__).resolve().parents[2]


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def machine(device: str = "cpu") -> dict[str, str | int]:
    """Processor, cores, threads in use, vector instructions, system and device."""
    import torch

    found: dict[str, str | int] = {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "device": device,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return found


def choose_threads() -> str:
    """Takes one thread where several, timed now, are slower, and says so; else "".

    Beside other programs threads wait for one another, and a step can take a hundred times as long.
    Where OMP_NUM_THREADS is set, that holds.
    """
    import torch

    several = torch.get_num_threads()
    if several == 1 or "OMP_NUM_THREADS" in os.environ:
        return ""
    images, weight = torch.ones(16, 8, 32, 32), torch.ones(8, 8, 3, 3)

    def seconds(threads: int, most: float) -> float:
        torch.set_num_threads(threads)
        began = perf_counter()
        for _ in range(30):
            torch.conv2d(images, weight)
            if perf_counter() - began > most:
                break
        return perf_counter() - began

    seconds(several, 0.01)  # the first passes are slow in any case
    one = min(seconds(1, 1.0) for _ in range(2))
    if seconds(several, one) < one:
        return ""
    torch.set_num_threads(1)
    return (
        f"One thread: {several} are slower here now, as beside other programs (OMP_NUM_THREADS="
        f"{several} takes them all the same)."
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("dartslib", "torch", "numpy"):
        with suppress(PackageNotFoundError):  # dartslib in a checkout that was not installed
            found[package] = version(package)
    return found


@cache
def commit() -> str:
    """The checkout's commit, with "+changes" if files differ from it; "unknown" without git.

    Looked up once per process, which keeps the code that it has loaded.
    """

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "dartslib/runs/machine.py")  # not some other repository
        changed = git("status", "--porcelain", "--", "dartslib", "benchmarks/*.py")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

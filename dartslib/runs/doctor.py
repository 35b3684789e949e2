"""What this machine has, and what to do about what is missing.

Nothing is loaded before it is asked for, so that a broken installation can be looked at, too.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from zipfile import is_zipfile

OLDEST_PYTHON = (3, 11)
LITTLE_DISK = 2e9  # bytes: CIFAR-10 and CIFAR-100, packed and unpacked, and some checkpoints
EMBEDDED = ("shapes10", "shapes100")
# name: (where torchvision unpacks it, the files it then reads, megabytes to download)
DOWNLOADED = {
    "cifar10": (
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
        170,
    ),
    "cifar100": ("cifar-100-python", ("train", "test", "meta"), 170),
    "mnist": (
        "MNIST/raw",
        tuple(
            f"{part}-{kind}-ubyte"
            for part in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ),
        12,
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """Its name, such as "torch"."""
    found: str
    """What is there, or that nothing is."""
    advice: str = ""
    """What to do; empty where there is nothing to do."""
    required: bool = False
    """Whether dartslib cannot run as it is."""


def doctor(folder: str | Path = "data") -> list[Finding]:
    """Look at Python, packages, processor, GPU, dot, data and disk.

    folder: where data sets are looked for; it need not exist.
    """
    folder = Path(folder)
    return [
        _python(),
        *_packages(),
        _torch(),
        _processor(),
        _load(),
        _gpu(),
        _dot(),
        *_data_sets(folder),
        _recorded(folder),
        _disk(folder),
    ]


def main(folder: str | Path = "data") -> int:
    """Print what `doctor` finds; return the exit code of `print_findings`."""
    return print_findings(doctor(folder))


def print_findings(findings: list[Finding]) -> int:
    """Print a line for each finding and its advice below; return the exit code.

    The code is 1 if something that is required is missing, else 0.
    """
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "MISSING" if finding.required else "note" if finding.advice else "ok"
        print(f"{mark:7}  {finding.what:{width}}  {finding.found}")
        if finding.advice:
            print(f"{'':7}  {'':{width}}  -> {finding.advice}")
    missing = [finding.what for finding in findings if finding.required]
    print()
    if missing:
        print(f"dartslib cannot run yet: see {', '.join(missing)} above.")
    else:
        print("dartslib can run here.")
    return int(bool(missing))


def _python() -> Finding:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        advice = f"make a new environment with Python {oldest} or newer"
        return Finding("Python", found, advice, required=True)
    return Finding("Python", found)


def _packages() -> list[Finding]:
    """One finding for all packages that are there, one for each that is not."""
    try:
        requirements = importlib.metadata.requires("dartslib") or []
    except importlib.metadata.PackageNotFoundError:
        advice = "run `pip install -e .` in the project's folder"
        return [Finding("packages", "dartslib is not installed in this Python", advice)]
    names = [
        re.match(r"[\w.-]+", line)[0] for line in requirements if "extra ==" not in line
    ]  # "torch>=2.6" -> "torch"
    missing = [name for name in names if not _is_installed(name)]
    count = len(names) - len(missing)
    return [Finding("packages", f"{count} of {len(names)} that dartslib needs")] + [
        Finding(name, "not installed", f"run `pip install {name}`", required=True)
        for name in missing
    ]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _torch() -> Finding:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        advice = "install torch anew, as its own install page says for this machine"
        return Finding("torch", f"cannot be loaded: {_one_line(error)}", advice, required=True)
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    return Finding("torch", f"{torch.__version__}, {build}, {torch.get_num_threads()} threads")


def _cores() -> int:
    """Where the system tells them, the cores this process may use rather than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> Finding:
    """How busy other programs keep the processor: torch's threads wait for one another."""
    if not hasattr(os, "getloadavg"):
        return Finding("other work", "this system does not tell")
    load = os.getloadavg()[0]
    found = f"{load:.1f} programs wanted a core in the last minute, on average"
    if load < _cores() / 2:
        return Finding("other work", found)
    advice = "beside other work several threads are slower than one: set OMP_NUM_THREADS=1, or wait"
    return Finding("other work", found, advice)


def _processor() -> Finding:
    found = f"{_cores()} cores"
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found += f", {memory / 2**30:.0f} GiB of memory"
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        pass
    try:
        from torch.backends import cpu

        found += f", {cpu.get_cpu_capability()} instructions"
    except Exception:  # said under torch
        pass
    return Finding("processor", found)


def _gpu() -> Finding:
    advice = "smoke and lesson run on a processor; for report and darts use a machine with CUDA"
    try:
        import torch
    except Exception:
        return Finding("GPU", "cannot be looked for without torch")
    with warnings.catch_warnings(record=True) as said:  # such as: the driver is too old
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        reason = f" ({_one_line(said[0].message)})" if said else ""
        return Finding("GPU", f"none that torch can use{reason}", advice)
    names = [
        f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        for properties in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
    return Finding("GPU", "; ".join(names))


def _dot() -> Finding:
    advice = "install Graphviz with the system's package manager; until then matplotlib draws cells"
    program = shutil.which("dot")
    if program is None:
        return Finding("dot", "not found", advice)
    try:
        done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("dot", f"does not run: {_one_line(error)}", advice)
    if done.returncode:
        return Finding("dot", f"fails: {_one_line(done.stderr)}", advice)
    return Finding("dot", _one_line(done.stderr or done.stdout))


def _data_sets(folder: Path) -> list[Finding]:
    findings = [Finding(name, "drawn by code") for name in EMBEDDED]
    files = {path.stem: path for path in sorted(folder.glob("*.npz"))}
    for name, (unpacked, needed, megabytes) in DOWNLOADED.items():
        if name in files:
            continue
        # A download that failed leaves the folder, empty or with some of the files.
        missing = [file for file in needed if not (folder / unpacked / file).is_file()]
        if missing:
            some = len(missing) < len(needed)
            found = f"not whole in {folder / unpacked}" if some else "not here"
            found += f"; about {megabytes} MB are downloaded on first use"
            advice = f"nothing to do with a network; without, put {name}.npz into {folder}"
            findings.append(Finding(name, found, advice))
        else:
            findings.append(Finding(name, f"downloaded to {folder / unpacked}"))
    for name, path in files.items():
        advice = "" if is_zipfile(path) else "no whole npz archive: write it anew, or take it away"
        findings.append(Finding(name, f"{path}, {path.stat().st_size / 1e6:.0f} MB", advice))
    return findings


def _recorded(folder: Path) -> Finding:
    count = len(list((folder / "recorded").glob("*/meta.json")))
    if count:
        return Finding("recorded runs", f"{count} in {folder / 'recorded'}")
    advice = "the notebooks show recorded runs: start in the folder of the project's checkout"
    return Finding("recorded runs", f"none in {folder / 'recorded'}", advice)


def _disk(folder: Path) -> Finding:
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        return Finding("disk", f"{place} is a file, not a folder", "choose another folder")
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free for {folder}"
    if not os.access(place, os.W_OK):
        return Finding("disk", f"{found}, but it cannot be written", "choose another folder")
    if free < LITTLE_DISK:
        advice = f"make room: data sets and checkpoints may take {LITTLE_DISK / 1e9:.0f} GB"
        return Finding("disk", found, advice)
    return Finding("disk", found)


def _one_line(message: object) -> str:
    """The first line of a message; the name of what it is if it says nothing."""
    return (str(message).strip() or type(message).__name__).splitlines()[0]

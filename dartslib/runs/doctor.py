"""What this machine has, and what to do about what is missing; torch may be broken."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple
from zipfile import is_zipfile


class Finding(NamedTuple):
    """What was looked at, what is there, what to do about it; whether dartslib cannot run so."""

    what: str
    found: str
    advice: str = ""
    required: bool = False


def doctor(folder: str | Path = "data") -> list[Finding]:
    """Looks at this machine, and at data sets and disk in a folder, which need not exist."""
    return [*_installed(), *_torch(), *_folder(Path(folder))]


def print_findings(findings: list[Finding]) -> int:
    """Prints a line for each finding, its advice below; 1 if something required is missing."""
    width = max(len(finding.what) for finding in findings)
    for what, found, advice, required in findings:
        mark = "MISSING" if required else "note" if advice else "ok"
        below = f"\n{'':{width + 11}}-> {advice}" * bool(advice)
        print(f"{mark:7}  {what:{width}}  {found}{below}")
    missing = ", ".join(finding.what for finding in findings if finding.required)
    print(f"\ndartslib {f'cannot run yet: see {missing} above' if missing else 'can run here'}.")
    return int(bool(missing))


def _installed() -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("Python", found, "make an environment with Python 3.11 or newer" * old, old)
    lines = [line for own in metadata.distributions(name="dartslib") for line in own.requires or []]
    needed = {re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line}
    missing = " ".join(n for n in sorted(needed) if not any(metadata.distributions(name=n)))
    found = f"not installed: {missing}" if missing else f"all {len(needed)} that dartslib needs"
    advice = f"run `pip install {missing or '-e .'}` in the project's folder"
    yield Finding("packages", found, advice if missing or not lines else "", bool(missing))
    both = [own for name in ("nbval", "pytest") for own in metadata.distributions(name=name)]
    fine = len(both) > 1 and util.find_spec("_pytest.legacypath")
    advice = "" if fine else "`pytest --nbval` needs both, and this part of pytest: tests/README.md"
    yield Finding("nbval", ", ".join(f"{own.name} {own.version}" for own in both) or "no", advice)
    try:
        import graphviz

        yield Finding("dot", f"Graphviz {'.'.join(map(str, graphviz.version()))}")
    except Exception as error:  # no package, no program, or one that does not run
        advice = "install Graphviz by the system's package manager; until then matplotlib draws"
        yield Finding("dot", f"does not run: {error!r:.100}", advice)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("processor", f"{cores} cores")  # that this process may use, if the system says
    if hasattr(os, "sysconf"):  # Windows tells neither memory nor loads
        memory, load = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), os.getloadavg()[0]
        yield Finding("memory", f"{memory / 2**30:.0f} GiB")
        found = f"{load:.1f} programs wanted a core in the last minute, on average"
        advice = "beside other work several threads are slower than one: set OMP_NUM_THREADS=1"
        several = os.environ.get("OMP_NUM_THREADS") != "1"
        yield Finding("other work", found, advice * (several and load >= cores / 2))


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        advice = "install torch as its own page says; docs/installing.md: where there is none"
        yield Finding("torch", f"cannot be loaded: {error!r:.100}", advice, required=True)
        return
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    use = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    yield Finding("torch", f"{torch.__version__}, {build}, {use} instructions")
    try:
        torch.ones(2, device="cuda").sum().item()
        gpus = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        found = "; ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)
        yield Finding("GPU", found)
    except Exception as error:  # none, an old driver, or a GPU that this build has no code for
        code = " ".join(torch.cuda.get_arch_list()) or "no GPU"
        advice = f"smoke and lesson run on a processor (--device cpu); this torch is for {code}"
        yield Finding("GPU", f"none that torch can use: {error!r:.100}", advice)


def _folder(folder: Path) -> Iterator[Finding]:
    files = {path.stem: path for path in sorted(folder.glob("*.npz"))}
    for name, path in files.items():
        advice = "" if is_zipfile(path) else "no whole npz archive: write it anew, or take it away"
        yield Finding(name, f"{path}, {path.stat().st_size / 1e6:.0f} MB", advice)
    for name in [name for name in ("cifar10", "cifar100", "mnist") if name not in files]:
        try:
            from torchvision import datasets

            getattr(datasets, name.upper())(folder, train=False)  # reads, downloads nothing
            yield Finding(name, f"downloaded to {folder}")
        except Exception:  # nothing is there, or what a broken download has left
            advice = f"the first use downloads it; without a network put {name}.npz into {folder}"
            yield Finding(name, "not here, or it cannot be read", advice)
    count = len([*folder.glob("recorded/*/meta.json")])
    advice = "the notebooks show them: start in the folder of the checkout" * (not count)
    yield Finding("recorded runs", f"{count} in {folder / 'recorded'}", advice)
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    advice = "make room: data sets and checkpoints may take 2 GB" * (free < 2e9)
    if not place.is_dir() or not os.access(place, os.W_OK):
        advice = f"{place} is a file or cannot be written to: downloads need another folder"
    yield Finding("disk", f"{free / 1e9:.1f} GB free for {folder}", advice)
    home = os.path.expanduser("~")
    yield Finding("home", home, "Jupyter needs it: set HOME anew" * (not os.access(home, os.W_OK)))

"""A list of jobs, each a file once it is done: what is finished is not made again.

Nothing is scheduled here: joblib takes the list. Jobs of minutes that are stopped begin anew; a job
of hours keeps a checkpoint of its own beside its file.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from dartslib.runs.files import write_text

Row = dict[str, Any]


def path(folder: Path, job: str) -> Path:
    """Where a job's result lies."""
    return folder / f"{job}.json"


def finished(folder: Path, jobs: Iterable[str]) -> dict[str, Row]:
    """Job -> its result, of those that are done, in the order of the list."""
    there = {job: path(folder, job) for job in jobs}
    return {
        job: json.loads(file.read_text(encoding="utf-8"))
        for job, file in there.items()
        if file.exists()
    }


def make_all(
    folder: Path, jobs: Iterable[str], make: Callable[[str], Row], *, workers: int = 2
) -> Iterator[str]:
    """Makes what is left of a list, and yields the name of each job as it ends.

    Args:
        folder: receives a JSON file per job, whole or not at all.
        jobs: names that can be files; they are begun in this order.
        make: name -> result; in a process of its own, so it can be pickled. Its exceptions end the
            list.
        workers: processes at once, of one thread each; 0 makes nothing.
    """
    if not workers:
        return
    # glibc reads this when a process starts: its memory lies in pages of 2 MiB (Linux). Where the
    # system's memory has been cut into small pieces, a step took up to 1.9 times as long without.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    left = [job for job in jobs if not path(folder, job).exists()]
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        run = Parallel(batch_size=1, pre_dispatch="n_jobs", return_as="generator_unordered")
        yield from run(delayed(_keep)(folder, job, make) for job in left)


def _keep(folder: Path, job: str, make: Callable[[str], Row]) -> str:
    write_text(path(folder, job), json.dumps(make(job)) + "\n")
    return job

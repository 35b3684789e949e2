"""Lists of jobs, several at once; and lists whose results are files, made once each.

Nothing is scheduled here: joblib takes the list, on this machine or, with its Dask back end, on a
cluster. A job of minutes that is stopped begins anew; one of hours keeps a checkpoint of its own.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from dartslib.runs.files import write_text
from dartslib.settings import Config

Row, Job = dict[str, Any], TypeVar("Job")


def make_each(
    make: Callable[[Any], Any],
    jobs: Iterable[Any],
    *,
    workers: int = 2,
    threads: int | None = None,
    cluster: str | None = None,
) -> Iterator[Any]:
    """Calls `make` with each job, and yields what it returns as the jobs end.

    Args:
        make: in a process of its own, so it can be pickled. Its exceptions end the list.
        jobs: they are begun in this order.
        workers: processes at once, on this machine.
        threads: of each; None for its share of the cores, or OMP_NUM_THREADS if that is less.
        cluster: address of a Dask scheduler, whose workers take the jobs instead.

    Raises:
        ChildProcessError: a worker of this machine was killed.
        ValueError: the workers of the cluster have several threads.
    """
    if cluster is None:  # joblib keeps its workers, which stay where the list before was begun
        make = partial(_in_folder, os.getcwd(), make)
    with _engine(workers, threads, cluster):
        run = Parallel(batch_size=1, pre_dispatch="all", return_as="generator_unordered")
        try:
            yield from run(delayed(make)(job) for job in jobs)
        except TerminatedWorkerError:
            raise ChildProcessError(
                "A worker process was killed, perhaps for want of memory: give the same "
                "command again, or fewer --workers; finished steps are kept."
            ) from None


def _in_folder(folder: str, make: Callable[[Any], Any], job: Any) -> Any:
    os.chdir(folder)
    return make(job)


@contextmanager
def _engine(workers: int, threads: int | None, cluster: str | None) -> Iterator[None]:
    """Where joblib sends a list of jobs."""
    if cluster is None:
        # glibc reads this when a process starts: its memory lies in pages of 2 MiB (Linux). Where
        # the system's memory has been cut into small pieces, a step took up to 1.9 times as long.
        os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
        # joblib's limit takes the place of OMP_NUM_THREADS: the smaller of both is to hold.
        share = min(max(1, cpu_count() // workers), torch.get_num_threads())
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads or share):
            yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise ModuleNotFoundError(
            "A cluster needs Dask: run `pip install distributed`, or leave --cluster out."
        ) from None
    with Client(cluster) as client, parallel_config("dask", client=client):
        if any(threads > 1 for threads in client.nthreads().values()):
            raise ValueError(
                "A worker of this cluster has several threads, and two runs in one process would "
                "disturb each other: start the workers with --nthreads 1."
            )
        yield


def finished(folder: Path, jobs: Iterable[str]) -> dict[str, Row]:
    """Job -> its result, of those that are done, in the order of the list."""
    files = {job: folder / f"{job}.json" for job in jobs}
    return {job: json.loads(f.read_text("utf-8")) for job, f in files.items() if f.exists()}


def refuse_others(rows: Mapping[str, Row], config_of: Callable[[str], Config]) -> None:
    """ValueError if a finished job has other settings than it would be given now, or no commit.

    Its row has "config" and "commit".
    """
    for job, row in rows.items():
        if row["config"] != json.loads(config_of(job).model_dump_json()):
            raise ValueError(f"{job} was made with other settings: put them back, or remove it.")
        if not row["commit"] or row["commit"] == "unknown" or "+" in row["commit"]:
            raise ValueError(f"{job} was made with code that is in no commit: remove it.")


def make_all(
    folder: Path, jobs: Iterable[str], make: Callable[[str], Row], *, workers: int = 2
) -> Iterator[str]:
    """Makes what is left of a list, with one thread each, and yields each job's name as it ends.

    Args:
        folder: receives a JSON file per job, whole or not at all.
        jobs: names that can be files.
        make, workers: as of `make_each`; 0 workers make nothing.

    Raises:
        ValueError: at the end, some jobs could not be made, and why.
    """
    left = [job for job in jobs if not (folder / f"{job}.json").exists()]
    if workers:
        yield from made(partial(_keep, folder, make), left, str, workers=workers, threads=1)


def _keep(folder: Path, make: Callable[[str], Row], job: str) -> None:
    write_text(folder / f"{job}.json", json.dumps(make(job)) + "\n")


def made(
    make: Callable[[Job], Any], jobs: Sequence[Job], name: Callable[[Job], str], **options: Any
) -> Iterator[Job]:
    """Makes each job and yields it as it ends; one that fails does not keep others from being made.

    Args:
        make, jobs, options: as of `make_each`.
        name: of a job, for the sentence.

    Raises:
        ValueError: at the end, some jobs could not be made, and why.
    """
    failed = []
    for job, trouble in make_each(partial(_attempt, make), jobs, **options):
        if trouble:
            failed.append(f"{name(job)}: {trouble}")
        else:
            yield job
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(jobs)} runs could not be made; the first is {failed[0]}"
        )


def _attempt(make: Callable[[Job], Any], job: Job) -> tuple[Job, str]:
    """A job in a worker; what went wrong, if anything, as a sentence."""
    try:
        make(job)
    except Exception as error:  # must not end the jobs beside it, hours old perhaps
        said = str(error)
        if not isinstance(error, ValueError | OSError | FloatingPointError | ImportError):
            said = f"it stops with {type(error).__name__} ({(said.splitlines() or [''])[0]})."
        return job, said
    return job, ""

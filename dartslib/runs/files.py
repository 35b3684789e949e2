"""Files that are written whole or not at all, in a folder locked for one process."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name, syncs it to the disk, then renames it.

    A reader finds the old file or the new one, never half of one, whenever the process dies. The
    folder is created. OSError says what to do; the old file stays.
    """
    write_together(path.parent, {path.name: content})


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole, in UTF-8 with plain newlines."""
    write_whole(path, text.encode())


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files that belong together; readers wait for the last one.

    Args:
        folder: receives the files.
        contents: name -> content, in order.
    """
    *_, last = contents
    parts = {name: folder / f".{name}.part{os.getpid()}" for name in contents}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # First write all of them under other names: a full disk then leaves the old files.
        for name, part in parts.items():
            with part.open("wb") as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())
        # Then exchange old for new. While the last file is missing, nobody reads the others, so
        # nobody finds old and new ones mixed.
        if len(parts) > 1:
            (folder / last).unlink(missing_ok=True)
        for name, part in parts.items():
            os.replace(part, folder / name)
    except OSError as error:
        raise _sentence(error, folder / last) from error
    finally:
        for part in parts.values():
            with suppress(OSError):  # the folder is a file, or cannot be written to
                part.unlink(missing_ok=True)


def refuse_fewer(path: Path, before: int, now: int) -> None:
    """FileExistsError if what is recorded has more rows than what is to take its place."""
    if now < before:
        raise FileExistsError(
            f"{path.name} has {before} rows, and here are {now}: it stays as it is. Put the files "
            "of the others back, or remove it."
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks a folder, created if missing, against other processes.

    The operating system releases the lock when the process ends, in whatever way; the file .lock
    may stay. Half-written files of a killed process are removed.

    Raises:
        OSError: another process works there (BlockingIOError), or the folder cannot be written to.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        for part in folder.glob(".*.part*"):
            part.unlink(missing_ok=True)
    except Timeout:
        raise BlockingIOError(
            f"Another process works in {folder}: wait for its end, or choose another folder."
        ) from None
    except NotImplementedError:  # a network drive without locks
        raise OSError(
            f"{folder} is on a file system without locks: choose a folder on a local disk."
        ) from None
    except OSError as error:
        lock.release()
        raise _sentence(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def _sentence(error: OSError, path: Path) -> OSError:
    """The same kind of error, with one sentence that says what to do."""
    if error.errno in _FULL:
        advice = "free some space, then try again (a run with --resume)"
    else:
        advice = "choose a folder that can be written to"
    reason = error.strerror or str(error)
    return type(error)(f"{str(path)[:100]} cannot be written ({reason}): {advice}.")

"""Files that are written whole or not at all, in a folder that one process works in."""

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
# What a file system answers that has no such thing as bringing a folder to the disk.
_NOT_OFFERED = {errno.EINVAL, errno.EBADF, errno.ENOSYS, getattr(errno, "ENOTSUP", errno.ENOSYS)}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name, brings it to the disk, then renames it.

    A reader finds the old file or the new one, never half of one, wherever the process dies and
    also where the power fails.

    Args:
        path: the file; its folder is created.
        content: all of it. Not a function that writes: torch answers a full disk with an error of
            its own kind and several lines, a plain write with one that names the cause.

    Raises:
        OSError: it cannot be written; the old file stays. The message says what to do.
    """
    write_together(path.parent, {path.name: content})


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole, UTF-8, lines ending in a newline character alone."""
    write_whole(path, text.encode())


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files that belong together; the last one says that all are there.

    All are brought to the disk under other names before the first is renamed, so that a full disk
    leaves the old ones. Then the old last file goes, and the new one comes last: whoever waits for
    it never finds files of two generations.

    Args:
        folder: receives the files; it is created.
        contents: name -> content, in order.

    Raises:
        OSError: as in `write_whole`.
    """
    *_, last = contents
    parts = {name: folder / f".{name}.part{os.getpid()}" for name in contents}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            with part.open("wb") as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())
        if len(parts) > 1:
            (folder / last).unlink(missing_ok=True)
            _settle(folder)
        for name, part in parts.items():
            if len(parts) > 1 and name == last:
                _settle(folder)
            _rename(part, folder / name)
        _settle(folder)
    except OSError as error:
        raise _sentence(error, folder / last) from error
    finally:
        for part in parts.values():
            with suppress(OSError):  # the folder is none, or cannot be written to
                part.unlink(missing_ok=True)


def _rename(part: Path, path: Path, patience: float = 2.0) -> None:
    """Renames; on Windows a file that somebody reads just now cannot be replaced, so it waits."""
    end = time.monotonic() + (patience if os.name == "nt" else 0.0)
    while True:
        try:
            return os.replace(part, path)
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.05)


def _settle(folder: Path) -> None:
    """Brings the names of a folder's files to the disk; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Works in a folder, created if need be, that no other process may work in meanwhile.

    The lock is the system's and goes with the process, however it ends; the file .lock that stays
    behind means nothing. What a killed process left half-written is removed.

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
            f"{folder} lies on a file system that cannot lock it: choose a folder on a local disk."
        ) from None
    except OSError as error:
        lock.release()
        raise _sentence(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def _sentence(error: OSError, path: Path) -> OSError:
    """The same kind of error, in one sentence that says what to do."""
    if error.errno in _FULL:
        advice = "free some space, then try again (a run with --resume)"
    else:
        advice = "choose a folder that can be written to"
    reason = error.strerror or str(error)
    return type(error)(f"{str(path)[:100]} cannot be written ({reason}): {advice}.")

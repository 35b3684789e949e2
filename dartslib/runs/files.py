"""Files that are written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file under another name, brings it to the disk, then renames it.

    A reader finds the old file or the new one, never half of one, wherever the process dies.

    Args:
        path: the file; its folder is created.
        write: writes to the path it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part{os.getpid()}{path.suffix}")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole, UTF-8, lines ending in a newline character alone."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))

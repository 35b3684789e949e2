"""Files of one's own that define operations or relaxations: `--import my_ops.py`.

They run, as any module that is imported. Records and checkpoints keep a digest of each, since what
it defines decides the result.
"""

import sys
from collections.abc import Iterable
from hashlib import blake2b
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

IMPORTED: dict[str, str] = {}  # name of a file that this process has imported -> its digest


class Files(tuple[str, ...]):
    """Paths of imported files; a process that is sent them imports them, before what follows."""

    def __reduce__(self) -> tuple:
        return import_files, (tuple(self),)


def digest(path: Path) -> str:
    """A hash of what is in a file."""
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()


def import_files(paths: Iterable[str | Path]) -> Files:
    """Imports Python files, each once per process.

    Raises:
        ValueError: a file is not there, fails, or has changed since this process imported it.
    """
    found = Files(str(Path(path).absolute()) for path in paths)
    for path in map(Path, found):
        if path.suffix != ".py" or not path.is_file():
            raise ValueError(f"There is no file {path.name} to import: give a Python file, my.py.")
        if IMPORTED.get(path.name) == digest(path):
            continue
        if path.stem in sys.modules:
            raise ValueError(
                f"There is a module {path.stem!r} already: give the file {path.name} another name, "
                "or start anew if it has changed."
            )
        spec = spec_from_file_location(path.stem, path)
        module = sys.modules[path.stem] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[path.stem]
            raise ValueError(
                f"{path.name} cannot be imported: it stops with {type(error).__name__} ({error})."
            ) from error
        IMPORTED[path.name] = digest(path)
    return found

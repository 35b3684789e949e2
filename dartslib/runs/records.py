"""Recorded runs: what a finished run leaves behind, and reading it back.

A record is a folder with meta.json (what was run, where, and the result), history.npz (arrays over
the run) and genotype.json. All are plain data: JSON, and arrays without pickled objects. Reading
needs no torch.
"""

import io
import json
import re
import zlib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr  # shortens long values for messages
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dartslib.genotypes import Genotype
from dartslib.runs.files import write_together

# What numpy, zipfile, zlib and json raise on damaged files.
_DAMAGED = (ValueError, TypeError, KeyError, EOFError, RuntimeError, MemoryError)
_DAMAGED += (BadZipFile, zlib.error)

# Names from before version 0.2, per kind of record: old name -> today's, at any depth of its meta
# except in the settings of a relaxation, which did not exist then.
OLD_NAMES = {
    "search": {"method": "gradient"},
    "measurement": {"method": "gradient"},
    "train": {"method": "cell"},
}

CHECKOUT = Path(__file__).resolve().parents[2]
RECORDED = CHECKOUT / "data" / "recorded"


@dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
        name: the folder's name.
        meta: what was run and what came out, see data/README.md.
        history: name -> array over the run; empty for a measurement.
        genotype: the derived or trained cell; None for a measurement.
    """

    name: str
    meta: dict[str, Any]
    history: dict[str, np.ndarray]
    genotype: Genotype | None


def check_name(name: str | None) -> None:
    """Raises ValueError for a name that no record can have; call it before a run begins."""
    if name is not None and not re.fullmatch(r"[\w-][\w.-]{0,99}", name):
        raise ValueError(
            f"{name[:60]!r} cannot name a record: give a word of letters, digits, _, - and ., "
            "without a folder."
        )
    if name is not None and not (CHECKOUT / "pyproject.toml").is_file():
        raise ValueError(
            "Records are kept in a checkout of the project, and dartslib is not in one: leave "
            "--record out, and take the run's folder."
        )


def names(folder: Path = RECORDED) -> list[str]:
    """The names of a folder's records, sorted; a folder without meta.json is not a record."""
    return sorted(path.parent.name for path in folder.glob("*/meta.json"))


def load(name: str | Path, folder: Path = RECORDED) -> Record:
    """A record by its name in the checkout's data/recorded, or by the path of its folder.

    Raises:
        FileNotFoundError: there is no such record, or it is not finished.
        ValueError: a file is damaged or has pickled objects.
    """
    path = Path(name)
    if not (path / "meta.json").is_file():
        path = folder / name
    if not (path / "meta.json").is_file():
        there = names(folder)
        advice = "and no other, so start in the folder of the project's checkout"
        for other in get_close_matches(str(name), there, n=1, cutoff=0):
            advice = f"choose one of the {len(there)} that records.names() gives, such as {other}"
        raise FileNotFoundError(f"There is no record {repr(str(name))}: {advice}.")
    history, genotype = {}, None
    try:
        file = path / "meta.json"
        meta = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(meta, dict):
            raise ValueError
        meta = _renamed(meta, OLD_NAMES.get(meta.get("kind"), {}))
        file = path / "history.npz"
        if file.is_file():  # read from memory, since numpy leaves a damaged file open
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
                history = {key: arrays[key] for key in arrays.files}
        file = path / "genotype.json"
        if file.is_file():
            genotype = Genotype.from_json(file.read_bytes())
    except _DAMAGED as error:
        raise ValueError(
            f"{file} is damaged, or was not written by a run: make the record again."
        ) from error
    return Record(path.name, meta, history, genotype)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """A part of a meta.json with today's names."""
    if not isinstance(value, dict):
        return value
    return {
        names.get(key, key): part if key == "relaxation" else _renamed(part, names)
        for key, part in value.items()
    }


def save(record: Record, path: Path) -> None:
    """Writes a record into a folder, meta.json last: with it the record counts as finished."""
    contents = {}
    if record.history:
        # float32 has more digits than runs reproduce, at half the size.
        kept = {np.dtype(np.float64): np.float32}
        arrays = {k: v.astype(kept.get(v.dtype, v.dtype)) for k, v in record.history.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        contents["history.npz"] = buffer.getvalue()
    if record.genotype is not None:
        contents["genotype.json"] = record.genotype.to_json().encode()
    contents["meta.json"] = (json.dumps(record.meta, indent=2) + "\n").encode()
    write_together(path, contents)

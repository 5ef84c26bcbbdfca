"""Where index files are kept: built by whoever needs one first, then read by all.

A file is named by a hash of what it is made of, and put in place by an atomic rename: several processes may build the
same one at once, and none ever sees a part of it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kiwi_fhir.errors import KiwiError
from kiwi_fhir.normalize.terminology.index import FORMAT, Index, IndexWriter
from kiwi_fhir.tables.cache import folder_for

_BLOCK = 1 << 20


def digest_of(paths: list[Path], *salt: str) -> str:
    """SHA-256 (hex) over the names and bytes of files, the format of the index, and `salt`.

    The hash of a large file is remembered under its path, size and time, so that a second start does not read it.
    """
    digest = hashlib.sha256("\n".join((FORMAT, *salt)).encode())
    for path in paths:
        digest.update(f"\n{path.name} {_file_digest(path)}".encode())
    return digest.hexdigest()


def built(digest: str, fill: Callable[[IndexWriter], None]) -> Index:
    """The index of this digest; `fill` writes it where the cache has none."""
    folder = cache_folder()
    path = folder / f"{digest}.sqlite"
    if path.is_file():
        return Index(path)
    handle, name = tempfile.mkstemp(prefix=f".{digest[:16]}-", suffix=".tmp", dir=folder)
    os.close(handle)
    part = Path(name)
    writer = IndexWriter(part)
    try:
        fill(writer)
        writer.finish()
        part.replace(path)
    except sqlite3.OperationalError as error:  # a full disk
        raise KiwiError(f"The terminology's index can't be written to '{folder}': {error}.") from error
    finally:
        writer.close()
        part.unlink(missing_ok=True)
    return Index(path)


def cache_folder() -> Path:
    """The folder of the index files; see kiwi_fhir.tables.cache."""
    return folder_for("terminology")


def _file_digest(path: Path) -> str:
    about = path.stat()
    if about.st_size < 16 * _BLOCK:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    label = f"{path.absolute()} {about.st_size} {about.st_mtime_ns}"
    note = cache_folder() / f"{hashlib.sha256(label.encode()).hexdigest()[:32]}.sha256"
    with suppress(OSError):
        if len(known := note.read_text(encoding="ascii")) == 64:
            return known
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    with suppress(OSError):
        part = note.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(digest.hexdigest(), encoding="ascii")
        part.replace(note)
    return digest.hexdigest()

"""The Binaries of an export by id, for documents whose attachment is only a url.

An export may hold more Binaries than fit in memory, in any order and file, so they are put in a temporary database the
first time that a url is met. A run whose attachments hold their data never builds it.
"""

from __future__ import annotations

import glob
import sqlite3
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kiwi_fhir.errors import InputError
from kiwi_fhir.notes.files import Files, basename
from kiwi_fhir.notes.resources import Resource, is_export_file, resources, text_at


class BinaryIndex:
    """Binaries by id. SQLite keeps it in an unnamed file that is gone when the index or the process is.

    A copy that was pickled starts empty and builds its own.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._connection: sqlite3.Connection | None = None
        self._exports: set[tuple[str, ...]] = set()
        self._indexed: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return BinaryIndex, (self._files,)

    def find(self, binary_id: str, path: str, inputs: Sequence[str]) -> Resource | None:
        """The Binary of this id in the same export as the file `path`, or None.

        The export is what `inputs` name and the files in the same folder as `path`. Where two Binaries share an id,
        the first by file name and line counts.
        """
        connection = self._open()
        self._index(connection, path[: path.rindex("/") + 1] if "/" in path else "", inputs)
        row = connection.execute("SELECT content_type, data FROM binaries WHERE id = ?", (binary_id,)).fetchone()
        if row is None:
            return None
        return {"resourceType": "Binary", "id": binary_id, "contentType": row[0], "data": row[1]}

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # An empty name makes a database on disk that SQLite unlinks at once. A worker may use it from another
            # thread than the one that built it, though never from two at a time.
            self._connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = OFF")
            self._connection.execute("CREATE TABLE binaries (id TEXT PRIMARY KEY, content_type TEXT, data TEXT)")
            weakref.finalize(self, self._connection.close)
        return self._connection

    def _index(self, connection: sqlite3.Connection, beside: str, inputs: Sequence[str]) -> None:
        if (beside, *inputs) in self._exports:
            return
        self._exports.add((beside, *inputs))
        patterns = [f"{glob.escape(beside)}*", *inputs]
        found = {file for pattern in patterns for file in self._files.match(pattern) if is_export_file(basename(file))}
        for file in sorted(found - self._indexed):
            self._indexed.add(file)
            connection.execute("BEGIN")
            # A file that breaks off is reported when it is read for its notes; what came before the break counts.
            with suppress(InputError):
                connection.executemany(
                    "INSERT OR IGNORE INTO binaries VALUES (?, ?, ?)",
                    (
                        _row(item.resource)
                        for item in resources(self._files, file, holding=b'"Binary"')
                        if item.resource.get("resourceType") == "Binary" and text_at(item.resource, "id")
                    ),
                )
            connection.execute("COMMIT")


def _row(binary: Resource) -> tuple[str | None, str | None, str | None]:
    data = binary.get("data")
    return text_at(binary, "id"), text_at(binary, "contentType"), data if isinstance(data, str) else None

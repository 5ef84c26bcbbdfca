"""Plain text files: one note each, UTF-8, no metadata."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from kiwi_fhir.errors import InputError, NoteError
from kiwi_fhir.notes.files import Files, basename, find, folder
from kiwi_fhir.notes.source import failure
from kiwi_fhir.notes.streams import blocks
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Failure, Note

_SUFFIX = re.compile(r"\.txt(\.gz)?$", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\w.-]+")
_GLOB = re.compile(r"[*?\[]")
_LONGEST = 120  # characters of an id, so that a sink can make a file name of it


class TextFiles:
    """Text files; the text is the file without a byte order mark, every other character as it stands.

    A note's id is its path below the folder (or the glob's fixed part) that it was found in, without `.txt`, each run
    of characters but letters, digits, `_`, `.` and `-` made one `-`: `ward/note 1.txt` is `ward-note-1`. Where two
    files would share an id, or one is very long, part of a hash of the path is added.
    """

    kind = "text"

    def __init__(self, files: Files, mappings: Mappings | None = None) -> None:
        self._files = files
        self._roots: list[str] = []
        self._renamed: dict[str, str] = {}
        self.dropped = 0

    def files(self, inputs: Sequence[str]) -> list[str]:
        """The text files; see Source.files. Folders are searched to the bottom for `*.txt` and `*.txt.gz`."""
        paths = find(self._files, inputs, lambda name: _SUFFIX.search(name) is not None, "*.txt or *.txt.gz")
        named = set(paths)
        roots = {folder(item) if item in named else _fixed_part(item) for item in inputs}
        self._roots = sorted(roots, key=len, reverse=True)
        self._renamed = {}
        ids = Counter(self._id(path).lower() for path in paths)  # sinks may write to disks that know no case
        for path in paths:
            plain = self._id(path)
            if ids[plain.lower()] > 1 or len(plain) > _LONGEST:
                self._renamed[path] = (
                    f"{plain[:_LONGEST]}-{hashlib.sha256(path.encode(errors='replace')).hexdigest()[:8]}"
                )
        return paths

    def read(self, path: str) -> Iterator[Note | Failure]:
        """The file's one note, or its failure; see Source.read."""
        note_id = self._renamed.get(path) or self._id(path)
        try:
            yield Note(note_id, self._text(path), source=self.kind)
        except NoteError as error:
            yield failure(note_id, error)

    def _text(self, path: str) -> str:
        try:
            data = b"".join(blocks(self._files, path))
        except InputError as error:  # one file is one note here, and the others can still be read
            raise NoteError("unreadable-file", str(error)) from error
        try:
            return data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise NoteError(
                "undecodable-text", f"{basename(path)} is not UTF-8 at byte {error.start}: convert the file."
            ) from error

    def _id(self, path: str) -> str:
        below = basename(path)
        for root in self._roots:
            if root and path.startswith(f"{root}/"):
                below = path[len(root) + 1 :]
                break
            if not root and not path.startswith("/"):
                below = path
                break
        return _UNSAFE.sub("-", _SUFFIX.sub("", below)).strip("-.") or "note"


def _fixed_part(item: str) -> str:
    """The folder, or the folders of a glob before its first special character."""
    found = _GLOB.search(item)
    return item.rstrip("/") if found is None else item[: found.start()].rpartition("/")[0]

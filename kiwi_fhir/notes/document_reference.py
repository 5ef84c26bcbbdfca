"""FHIR DocumentReferences in files as notes: Bulk Data exports (NDJSON), Bundles, single resources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from kiwi_fhir.errors import NoteError, UsageError
from kiwi_fhir.notes.binaries import BinaryIndex
from kiwi_fhir.notes.files import Files, basename, find
from kiwi_fhir.notes.note_resources import DOCUMENT, is_left_out, note_of, of_binary
from kiwi_fhir.notes.resources import Found, Resource, is_export_file, resources, text_at
from kiwi_fhir.notes.source import failure
from kiwi_fhir.notes.streams import blocks
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Failure, Note

_BINARY_URL = re.compile(r"(?:.*/)?Binary/(?P<id>[A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?")


class DocumentReferences:
    """The DocumentReferences of an export; resources of other types are passed over.

    A document without an id gets one from its content, and its `source` is then the kind, as nothing can refer to it.
    """

    kind = "document-reference"

    def __init__(self, files: Files, mappings: Mappings | None = None) -> None:
        self._files = files
        self._inputs: tuple[str, ...] = ()
        self._binaries = BinaryIndex(files)
        self.dropped = 0

    def files(self, inputs: Sequence[str]) -> list[str]:
        """The files with resources; see Source.files. A file of another name must start as JSON does."""
        self._inputs = tuple(inputs)
        paths = find(self._files, inputs, is_export_file, "*.ndjson, *.json (or .gz of them)")
        for path in paths:
            if not is_export_file(basename(path)):
                start = next(blocks(self._files, path), b"").removeprefix(b"\xef\xbb\xbf").lstrip()
                if not start.startswith((b"{", b"[")):
                    raise UsageError(f"{path} does not start as JSON does: is it another kind of source?")
        return paths

    def read(self, path: str) -> Iterator[Note | Failure]:
        """The documents in the file's order; see Source.read.

        A failure is named by the document's id, else FILE:LINE, or FILE:LINE:ENTRY inside a Bundle, counted from 1.
        """
        for found in resources(self._files, path):
            if found.problem is not None:
                yield failure(found.place, found.problem)
            elif found.resource["resourceType"] == DOCUMENT:
                if is_left_out(found.resource):
                    self.dropped += 1
                    continue
                try:
                    yield note_of(found.resource, partial(self._fetch, found, path), self.kind)
                except NoteError as error:
                    yield failure(text_at(found.resource, "id") or found.place, error)

    def _fetch(self, found: Found, path: str, url: str) -> tuple[str | None, bytes]:
        """What a url names: a Binary of the same Bundle, else of the export."""
        binary: Resource | None = None
        if url in found.binaries:
            binary = found.binaries[url]
        elif named := _BINARY_URL.fullmatch(url):
            binary = found.binaries.get(f"Binary/{named['id']}")
            binary = binary or self._binaries.find(named["id"], path, self._inputs)
        return of_binary(binary)

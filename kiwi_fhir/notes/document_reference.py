"""FHIR DocumentReferences as notes: Bulk Data exports (NDJSON), Bundles, single resources.

Several `content` of one document are one document in several formats: one of them is read, plain text before HTML,
XHTML and RTF. Of HTML and RTF the note's text is the converted text, and offsets count in it (see `decode`).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from kiwi_fhir.errors import NoteError, UsageError
from kiwi_fhir.notes.binaries import BinaryIndex
from kiwi_fhir.notes.decode import FORMATS, format_of, from_base64, parse_content_type, to_text
from kiwi_fhir.notes.files import Files, basename, find
from kiwi_fhir.notes.resources import Found, Resource, is_export_file, items, resources, text_at
from kiwi_fhir.notes.source import failure
from kiwi_fhir.notes.streams import blocks
from kiwi_fhir.types import Coding, Failure, Note

#: DocumentReference.status and .docStatus of documents that are left out.
DROPPED = frozenset({"superseded", "entered-in-error"})

_LOINC = frozenset({"http://loinc.org", "urn:oid:2.16.840.1.113883.6.1"})  # the second is LOINC's HL7 OID
_NO_ID = uuid.uuid5(uuid.NAMESPACE_OID, "kiwi_fhir/DocumentReference")
_REFERENCE = re.compile(r"(?P<type>[A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?")
_BINARY_URL = re.compile(r"(?:.*/)?Binary/(?P<id>[A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?")
# FHIR R4's dateTime; a year or a month alone is one too.
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")


class DocumentReferences:
    """The DocumentReferences of an export; resources of other types are passed over.

    A document without an id gets one from its content, and its `source` is then the kind, as nothing can refer to it.
    """

    kind = "document-reference"

    def __init__(self, files: Files, tables: Path | None = None) -> None:
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
            elif found.resource["resourceType"] == "DocumentReference":
                if {text_at(found.resource, "status"), text_at(found.resource, "docStatus")} & DROPPED:
                    self.dropped += 1
                    continue
                try:
                    yield self._note(found, path)
                except NoteError as error:
                    yield failure(text_at(found.resource, "id") or found.place, error)

    def _note(self, found: Found, path: str) -> Note:
        document = found.resource
        attachment, text = self._attachment(found, path)
        own_id = text_at(document, "id")
        encounters = items(document["context"].get("encounter")) if isinstance(document.get("context"), dict) else []
        return Note(
            id=own_id or content_id(document),
            text=text,
            patient_id=_referred(text_at(document, "subject", "reference"), "Patient"),
            encounter_id=_referred(text_at(encounters[0], "reference"), "Encounter") if encounters else None,
            type=_note_type(document.get("type")),
            time=_time(document, attachment),
            source=f"DocumentReference/{own_id}" if own_id else self.kind,
        )

    def _attachment(self, found: Found, path: str) -> tuple[Resource, str]:
        """The most wanted attachment that can be read, and its text; raises the first one's NoteError if none can."""
        attachments = [item["attachment"] for item in items(found.resource.get("content")) if _has_content(item)]
        if not attachments:
            raise NoteError("no-attachment", "The document has no attachment with data or a url.")
        first: NoteError | None = None
        for attachment in sorted(attachments, key=_rank):
            try:
                return attachment, self._text(attachment, found, path)
            except NoteError as error:
                first = first or error
        assert first is not None  # noqa: S101 (there was an attachment)
        raise first

    def _text(self, attachment: Resource, found: Found, path: str) -> str:
        content_type = text_at(attachment, "contentType")
        data = attachment.get("data")
        if data is None:
            if content_type:
                format_of(content_type)  # fails before a url is followed, which may take a pass over the export
            binary = self._binary(text_at(attachment, "url") or "", found, path)
            content_type = content_type or text_at(binary, "contentType")
            data = binary.get("data")
        if data is None:
            raise NoteError("missing-binary", "The Binary that the attachment's url names has no data.")
        return to_text(from_base64(data), content_type)

    def _binary(self, url: str, found: Found, path: str) -> Resource:
        binary: Resource | None = None
        if url.startswith("#"):
            contained = items(found.resource.get("contained"))
            binary = next((item for item in contained if text_at(item, "id") in (url, url[1:])), None)
        elif url in found.binaries:
            binary = found.binaries[url]
        elif named := _BINARY_URL.fullmatch(url):
            binary = found.binaries.get(f"Binary/{named['id']}")
            binary = binary or self._binaries.find(named["id"], path, self._inputs)
        if binary is None:
            raise NoteError("missing-binary", "The attachment's url names no Binary of this export.")
        return binary


def content_id(document: Resource) -> str:
    """A stable id for a document without one: uuid5 of its JSON with sorted keys."""
    return str(uuid.uuid5(_NO_ID, orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()))


def _has_content(content: Resource) -> bool:
    attachment = content.get("attachment")
    return isinstance(attachment, dict) and (attachment.get("data") is not None or "url" in attachment)


def _rank(attachment: Resource) -> tuple[int, bool]:
    """Better formats first, and of one format those that hold their data."""
    kind, _ = parse_content_type(text_at(attachment, "contentType"))
    return FORMATS.get(kind, len(FORMATS)), attachment.get("data") is None


def _referred(reference: str | None, resource_type: str) -> str | None:
    """`Patient/p1` as `p1`; absolute URLs and urns whole; None for another type of resource, or one contained."""
    if reference is None or reference.startswith(("http://", "https://", "urn:")):
        return reference
    found = _REFERENCE.fullmatch(reference)
    return found["id"] if found and found["type"] == resource_type else None


def _note_type(concept: object) -> Coding | None:
    """The first LOINC coding, else the first coding, else the text."""
    if not isinstance(concept, dict):
        return None
    text = text_at(concept, "text")
    codings = [coding for coding in items(concept.get("coding")) if text_at(coding, "code")]
    coding = next(
        (coding for coding in codings if text_at(coding, "system") in _LOINC), codings[0] if codings else None
    )
    if coding is None:
        return Coding(None, None, text) if text else None
    code = text_at(coding, "code")
    return Coding(text_at(coding, "system"), code, text_at(coding, "display") or text or code or "")


def _time(document: Resource, attachment: Resource) -> str | None:
    stated = (
        text_at(document, "context", "period", "start"),
        text_at(document, "date"),
        text_at(attachment, "creation"),
    )
    return next((time for time in stated if time and _DATE_TIME.fullmatch(time)), None)

"""FHIR resources that hold a note: DocumentReference, and DiagnosticReport with its presentedForm.

Several attachments of one resource are one note in several formats: one of them is read, plain text before HTML, XHTML
and RTF. Of HTML and RTF the note's text is the converted text, and offsets count in it (see `decode`).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from kiwi_fhir.errors import NoteError
from kiwi_fhir.notes.decode import FORMATS, format_of, from_base64, parse_content_type, to_text
from kiwi_fhir.notes.resources import Resource, items, text_at
from kiwi_fhir.types import Coding, Note

#: Fetches what a url names: its content type, where that is known, and its bytes. Raises NoteError.
Fetch = Callable[[str], tuple[str | None, bytes]]

DOCUMENT, REPORT = "DocumentReference", "DiagnosticReport"
#: DocumentReference.status and .docStatus of documents that are left out.
DROPPED = frozenset({"superseded", "entered-in-error"})
_DROPPED_REPORTS = frozenset({"cancelled", "entered-in-error"})

_LOINC = frozenset({"http://loinc.org", "urn:oid:2.16.840.1.113883.6.1"})  # the second is LOINC's HL7 OID
_NO_ID = uuid.uuid5(uuid.NAMESPACE_OID, "kiwi_fhir/DocumentReference")
_REFERENCE = re.compile(r"(?P<type>[A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?")
# FHIR R4's dateTime; a year or a month alone is one too.
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where the two types differ."""

    attachments: list[Resource]
    encounter: str | None
    type: object
    times: tuple[str | None, ...]


def is_left_out(resource: Resource) -> bool:
    """Whether a resource is no note to be read: replaced or wrong ones, and reports without a presentedForm."""
    if resource["resourceType"] == REPORT:
        return text_at(resource, "status") in _DROPPED_REPORTS or not _of_report(resource).attachments
    return bool({text_at(resource, "status"), text_at(resource, "docStatus")} & DROPPED)


def note_of(resource: Resource, fetch: Fetch, kind: str) -> Note:
    """The note of a DocumentReference or DiagnosticReport; `fetch` follows its attachment's url. Raises NoteError.

    One without an id gets one from its content, and its `source` is then `kind`, as nothing can refer to it.
    """
    parts = _of_report(resource) if resource["resourceType"] == REPORT else _of_document(resource)
    attachment, text = _attachment(resource, parts.attachments, fetch)
    own_id = text_at(resource, "id")
    times = (*parts.times, text_at(attachment, "creation"))
    return Note(
        id=own_id or content_id(resource),
        text=text,
        patient_id=_referred(text_at(resource, "subject", "reference"), "Patient"),
        encounter_id=_referred(parts.encounter, "Encounter"),
        type=_note_type(parts.type),
        time=next((time for time in times if time and _DATE_TIME.fullmatch(time)), None),
        source=f"{resource['resourceType']}/{own_id}" if own_id else kind,
    )


def _of_document(document: Resource) -> _Parts:
    contents = [
        item["attachment"] for item in items(document.get("content")) if isinstance(item.get("attachment"), dict)
    ]
    context = document.get("context")
    encounters = items(context.get("encounter")) if isinstance(context, dict) else []
    return _Parts(
        [item for item in contents if _has_content(item)],
        text_at(encounters[0], "reference") if encounters else None,
        document.get("type"),
        (text_at(document, "context", "period", "start"), text_at(document, "date")),
    )


def _of_report(report: Resource) -> _Parts:
    return _Parts(
        [item for item in items(report.get("presentedForm")) if _has_content(item)],
        text_at(report, "encounter", "reference"),
        report.get("code"),
        (
            text_at(report, "effectiveDateTime"),
            text_at(report, "effectivePeriod", "start"),
            text_at(report, "issued"),
        ),
    )


def _attachment(resource: Resource, attachments: list[Resource], fetch: Fetch) -> tuple[Resource, str]:
    """The most wanted attachment that can be read, and its text; raises the first one's NoteError if none can."""
    if not attachments:
        raise NoteError("no-attachment", "The document has no attachment with data or a url.")
    first: NoteError | None = None
    for attachment in sorted(attachments, key=_rank):
        try:
            return attachment, _text(resource, attachment, fetch)
        except NoteError as error:
            first = first or error
    assert first is not None  # noqa: S101 (there was an attachment)
    raise first


def _text(resource: Resource, attachment: Resource, fetch: Fetch) -> str:
    content_type = text_at(attachment, "contentType")
    if attachment.get("data") is not None:
        return to_text(from_base64(attachment["data"]), content_type)
    if content_type:
        format_of(content_type)  # fails before a url is followed, which may take a pass over an export
    url = text_at(attachment, "url") or ""
    served, data = of_binary(_contained(resource, url)) if url.startswith("#") else fetch(url)
    return to_text(data, _more_exact(content_type, served))


def of_binary(binary: Resource | None) -> tuple[str | None, bytes]:
    """The content type and bytes of a Binary. Raises NoteError for none, and for one without data."""
    if binary is None:
        raise NoteError("missing-binary", "The attachment's url names no Binary of this export.")
    data = binary.get("data")
    if data is None:
        raise NoteError("missing-binary", "The Binary that the attachment's url names has no data.")
    return text_at(binary, "contentType"), from_base64(data)


def _contained(resource: Resource, url: str) -> Resource | None:
    contained = items(resource.get("contained"))
    return next((item for item in contained if text_at(item, "id") in (url, url[1:])), None)


def _more_exact(stated: str | None, served: str | None) -> str | None:
    """The attachment's own content type, unless only the other one, of the same format, says what the charset is."""
    if stated is None or served is None:
        return stated or served
    (kind, charset), (other, _) = parse_content_type(stated), parse_content_type(served)
    return served if charset is None and kind == other else stated


def content_id(document: Resource) -> str:
    """A stable id for a document without one: uuid5 of its JSON with sorted keys."""
    return str(uuid.uuid5(_NO_ID, orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()))


def _has_content(attachment: Resource) -> bool:
    return attachment.get("data") is not None or "url" in attachment


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

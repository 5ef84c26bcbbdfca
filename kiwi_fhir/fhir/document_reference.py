"""A note itself as a DocumentReference, with its text in it: for servers that have the patients but not the notes.

What a run makes of the same note refers to it, by id or by identifier.
"""

from __future__ import annotations

import base64
from datetime import datetime, tzinfo

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.fhir.elements import Resource, concept, date_time, sheet_of
from kiwi_fhir.fhir.r4.primitives import is_id
from kiwi_fhir.fhir.rules import Rules
from kiwi_fhir.types import Note, is_instant

_LITERAL = "DocumentReference/"
_BYTE_ORDER_MARK = "\ufeff"


def document_reference(note: Note, rules: Rules, zone: tzinfo | None = None) -> Resource:
    """The DocumentReference of a note that has a text.

    FHIR knows no time of day without a zone: of a time without one the date is written, or the time in `zone`.
    """
    sheet = sheet_of(note, rules, tag="")
    own_id = note.source.removeprefix(_LITERAL)
    literal = note.source.startswith(_LITERAL) and is_id(own_id)
    time = date_time(_in_zone(note.time, zone))
    # Who reads the text takes one byte order mark for a mark.
    data = (_BYTE_ORDER_MARK * note.text.startswith(_BYTE_ORDER_MARK) + note.text).encode()
    attachment: Resource = {"contentType": "text/plain; charset=utf-8", "data": base64.b64encode(data).decode()}
    found: Resource = {
        "resourceType": "DocumentReference",
        "id": own_id if literal else sheet.id("DocumentReference"),
        "identifier": [sheet.identifier],
        "status": "current",
        "content": [{"attachment": attachment}],
    }
    if note.type is not None:
        found["type"] = concept(one_line(note.type.display), [note.type] if note.type.code else [])
    if note.patient_id is not None:
        found["subject"] = sheet.subject
    if time is not None:
        attachment["creation"] = time
        if is_instant(time):
            found["date"] = time
    if sheet.encounter is not None:
        found["context"] = {"encounter": [sheet.encounter]}
    return found


def _in_zone(time: str | None, zone: tzinfo | None) -> str | None:
    if time is None or zone is None or "T" not in time:
        return time
    try:
        stated = datetime.fromisoformat(time)
    except ValueError:
        return time
    return time if stated.tzinfo is not None else stated.replace(tzinfo=zone).isoformat()

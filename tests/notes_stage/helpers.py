"""What the tests of the notes stage share."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kiwi_fhir.errors import InputError
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.types import Failure, Note

III = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT"
IV = "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text"


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def iii_row(number: int, note: str, **columns: str) -> str:
    """A NOTEEVENTS row without its line end; columns by lower-case name replace the usual ones, as raw CSV."""
    row = {
        "row_id": str(number),
        "subject_id": "22532",
        "hadm_id": "167853",
        "chartdate": '"2151-08-04"',
        "charttime": "",
        "storetime": "",
        "category": '"Discharge summary"',
        "description": '"Report"',
        "cgid": "",
        "iserror": "",
        "text": quoted(note),
    }
    return ",".join((row | columns).values())


def write(path: Path, data: str | bytes) -> Path:
    """Writes bytes, or text as UTF-8 with its line ends untouched; gzip where the name ends in .gz."""
    raw = data if isinstance(data, bytes) else data.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return path


def table(path: Path, rows: Iterable[str], header: str = III, end: str = "\n") -> Path:
    return write(path, "".join(line + end for line in (header, *rows)))


def read(kind: str, *paths: Path | str) -> tuple[list[Note], list[Failure], int]:
    """Notes, failures and the count of dropped notes of all files that the inputs name."""
    source = SOURCES[kind](LOCAL)
    found = [item for path in source.files([str(path) for path in paths]) for item in source.read(path)]
    notes = [item for item in found if isinstance(item, Note)]
    failures = [item for item in found if isinstance(item, Failure)]
    assert len(notes) + len(failures) == len(found)
    assert all(item.stage == "read" for item in failures)
    return notes, failures, source.dropped


def read_until_break(kind: str, path: Path) -> tuple[list[Note | Failure], str | None]:
    """What comes before the file breaks off, and the InputError's message; None where it does not break off."""
    source = SOURCES[kind](LOCAL)
    source.files([str(path)])
    found: list[Note | Failure] = []
    try:
        for item in source.read(str(path)):
            found.append(item)
    except InputError as error:
        return found, str(error)
    return found, None


def b64(data: str | bytes) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def document(text: str | bytes = "Pt well.", content_type: str | None = "text/plain", **more: Any) -> dict[str, Any]:
    attachment = {"data": b64(text)} | ({"contentType": content_type} if content_type else {})
    return {
        "resourceType": "DocumentReference",
        "id": "d1",
        "status": "current",
        "content": [{"attachment": attachment}],
    } | more


def linked(url: str, content_type: str = "text/plain", **more: Any) -> dict[str, Any]:
    return document(**more) | {"content": [{"attachment": {"contentType": content_type, "url": url}}]}


def binary(binary_id: str, text: str | bytes, content_type: str = "text/plain") -> dict[str, Any]:
    return {"resourceType": "Binary", "id": binary_id, "contentType": content_type, "data": b64(text)}


def ndjson(path: Path, *resources: Any) -> Path:
    return write(path, "".join(json.dumps(item) + "\n" for item in resources))

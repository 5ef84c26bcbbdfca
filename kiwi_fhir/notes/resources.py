"""FHIR resources out of NDJSON, Bundles and single resources, streamed where the form allows it.

NDJSON is read line by line. A `.json` file whose first line is no JSON value of its own (a pretty-printed Bundle) is
read whole, as JSON has no other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import orjson

from kiwi_fhir.errors import InputError, NoteError
from kiwi_fhir.notes.files import Files, basename
from kiwi_fhir.notes.streams import lines

NDJSON = (".ndjson", ".ndjson.gz")
SUFFIXES = (*NDJSON, ".json", ".json.gz")

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A resource and where it stood: `FILE:LINE`, and for a Bundle's entry `FILE:LINE:ENTRY`, both from 1.

    `binaries` are the Binaries of the same Bundle by fullUrl and by `Binary/ID`. What is no resource has a problem.
    """

    place: str
    resource: Resource = field(default_factory=dict)
    binaries: Mapping[str, Resource] = field(default_factory=dict)
    problem: NoteError | None = None


def is_export_file(name: str) -> bool:
    """Whether a file of this name may hold resources."""
    return name.lower().endswith(SUFFIXES)


def resources(files: Files, path: str, holding: bytes = b"") -> Iterator[Found]:
    """The file's resources, those of Bundles one by one; lines without the bytes `holding` are passed over unparsed.

    Raises InputError where the file breaks off, and for a Bundle that is not whole.
    """
    name = basename(path)
    with closing(lines(files, path)) as stream:
        first = next(stream, b"")
        if not name.lower().endswith(NDJSON) and not _is_json(first):
            yield from _whole(first + b"".join(stream), name)
            return
        for number, line in enumerate(chain([first], stream), start=1):
            if holding not in line or not line.strip():
                continue
            place = f"{name}:{number}"
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Found(place, problem=_invalid(error, number))
            else:
                yield from _flatten(value, place, {})


def _whole(data: bytes, name: str) -> Iterator[Found]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        problem = _invalid(error, error.lineno)
        if b'"Bundle"' in data[:4096]:  # many notes, so more than one failure
            raise InputError(f"{name} can't be read: {problem}") from error
        yield Found(f"{name}:1", problem=problem)
    else:
        yield from _flatten(value, f"{name}:1", {})


def _flatten(value: object, place: str, binaries: Mapping[str, Resource]) -> Iterator[Found]:
    if not isinstance(value, dict) or text_at(value, "resourceType") is None:
        yield Found(place, problem=NoteError("not-a-resource", f"The JSON at {place} is no FHIR resource."))
        return
    if value["resourceType"] != "Bundle":
        yield Found(place, value, binaries)
        return
    entries = items(value.get("entry"))
    local = dict(binaries)
    for entry in entries:
        if text_at(entry, "resource", "resourceType") == "Binary":
            if url := text_at(entry, "fullUrl"):
                local[url] = entry["resource"]
            if own_id := text_at(entry, "resource", "id"):
                local[f"Binary/{own_id}"] = entry["resource"]
    for number, entry in enumerate(entries, start=1):
        if "resource" in entry:  # an entry of a history or a batch may hold a request only
            yield from _flatten(entry["resource"], f"{place}:{number}", local)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _invalid(error: orjson.JSONDecodeError, line: int) -> NoteError:
    # The error's own message is not passed on: nothing that could hold text of the note leaves this module.
    return NoteError("invalid-json", f"Line {line} is not valid JSON from column {error.colno} on.")


def items(value: object) -> list[Resource]:
    """The objects of a JSON list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_at(value: object, *keys: str) -> str | None:
    """The string below these keys; None where it is missing, empty or of another type."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None

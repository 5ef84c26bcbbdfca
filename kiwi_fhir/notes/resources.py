"""FHIR resources out of NDJSON, Bundles and single resources, streamed where the form allows it.

NDJSON is read line by line. A `.json` file whose first line is no JSON value of its own (a pretty-printed Bundle) is
read whole, as JSON has no other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import orjson

from kiwi_fhir.errors import InputError, NoteError
from kiwi_fhir.notes.files import Files, basename
from kiwi_fhir.notes.streams import lines

SUFFIXES = (".ndjson", ".ndjson.gz", ".json", ".json.gz")

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
        number = 0
        for number, line in enumerate(stream, start=1):
            if not line.strip() or holding not in line:
                if number == 1 and not _is_ndjson(path) and line.strip():
                    pass  # the first line of a pretty-printed file holds little; see below
                else:
                    continue
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if number == 1 and not _is_ndjson(path):
                    yield from _whole(line + b"".join(stream), name)
                    return
                yield Found(f"{name}:{number}", problem=_invalid(error, number))
            else:
                yield from _flatten(value, f"{name}:{number}")


def items(value: object) -> list[Resource]:
    """The objects of a JSON list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_at(value: object, *keys: str) -> str | None:
    """The string below these keys; None where it is missing, empty or of another type."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None

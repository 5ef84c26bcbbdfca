"""A dozen synthetic notes, as FHIR DocumentReferences and as a MIMIC-III table; built by tests/demo_notes/build.py."""

from __future__ import annotations

from importlib.resources import as_file, files

from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.types import Note


def notes() -> list[Note]:
    """The notes, from the DocumentReferences."""
    with as_file(files(__package__) / "DocumentReference.ndjson") as path:
        return [found for found in SOURCES["document-reference"](LOCAL).read(str(path)) if isinstance(found, Note)]

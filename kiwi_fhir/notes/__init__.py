"""Where notes come from: sources that turn files or the rows of a database into notes, one factory for each kind.

A source of files reads bytes through `Files`, so the same code serves the local disk (`LOCAL`) and a Beam file system.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kiwi_fhir.errors import UsageError
from kiwi_fhir.notes.document_reference import DocumentReferences
from kiwi_fhir.notes.files import LOCAL, Files
from kiwi_fhir.notes.mimic import MimicIII, MimicIV
from kiwi_fhir.notes.source import Source
from kiwi_fhir.notes.sql import MimicIIIDatabase, MimicIVDatabase, OmopDatabase, is_database
from kiwi_fhir.notes.text import TextFiles

__all__ = ["DATABASES", "LOCAL", "SOURCES", "Files", "Source", "factory_for"]


class SourceFactory(Protocol):
    """Makes a source on a file system; `tables` is a folder of mapping files that replace the packaged ones."""

    def __call__(self, files: Files, tables: Path | None = None, /) -> Source:
        """The source, before it has seen an input."""


SOURCES: dict[str, SourceFactory] = {
    "document-reference": DocumentReferences,
    "mimic-iii": MimicIII,
    "mimic-iv": MimicIV,
    "text": TextFiles,
}

#: The kinds that are read from a database: `omop` always, the others where the input is the URL of one.
DATABASES: dict[str, SourceFactory] = {
    "mimic-iii": MimicIIIDatabase,
    "mimic-iv": MimicIVDatabase,
    "omop": OmopDatabase,
}


def factory_for(kind: str, inputs: Sequence[str]) -> SourceFactory:
    """The factory of this kind for these inputs. Raises UsageError for a kind that is unknown or has no such input."""
    known = list(dict.fromkeys([*SOURCES, *DATABASES]))
    if kind not in known:
        raise UsageError(f"The source '{kind}' is unknown: use {', '.join(known)}.")
    if not any(map(is_database, inputs)):
        return SOURCES.get(kind) or DATABASES[kind]
    if kind not in DATABASES:
        raise UsageError(f"The source '{kind}' reads files, no database: use {', '.join(DATABASES)}.")
    return DATABASES[kind]

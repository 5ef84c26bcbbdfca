"""Where notes come from: sources that turn input files into notes, one factory for each kind.

A source reads bytes through `Files`, so the same code serves the local disk (`LOCAL`) and a Beam file system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from kiwi_fhir.notes.document_reference import DocumentReferences
from kiwi_fhir.notes.files import LOCAL, Files
from kiwi_fhir.notes.mimic import MimicIII, MimicIV
from kiwi_fhir.notes.source import Source
from kiwi_fhir.notes.text import TextFiles

__all__ = ["LOCAL", "SOURCES", "Files", "Source"]


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

"""Where notes come from: sources that turn files, rows of a database or a server's resources into notes.

There is one factory for each kind.

A source of files reads bytes through `Files`, so the same code serves the local disk (`LOCAL`) and a Beam file system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kiwi_fhir.config import Config
from kiwi_fhir.errors import UsageError
from kiwi_fhir.notes.document_reference import DocumentReferences
from kiwi_fhir.notes.files import LOCAL, Files
from kiwi_fhir.notes.mimic import MimicIII, MimicIV
from kiwi_fhir.notes.source import Holding, Source, release
from kiwi_fhir.notes.sql import MimicIIIDatabase, MimicIVDatabase, OmopDatabase, is_database
from kiwi_fhir.notes.text import TextFiles
from kiwi_fhir.tables import Mappings

__all__ = [
    "DATABASES",
    "KINDS",
    "LOCAL",
    "SERVERS",
    "SOURCES",
    "Files",
    "Holding",
    "Source",
    "factory_for",
    "release",
    "server_source",
]


class SourceFactory(Protocol):
    """Makes a source on a file system; with the packaged mapping files by default."""

    def __call__(self, files: Files, mappings: Mappings | None = None, /) -> Source:
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


def _fhir(config: Config) -> Source:
    from kiwi_fhir.notes.fhir.server import from_config

    return from_config(config)


#: The kinds that are read from a server, as the config says.
SERVERS: dict[str, Callable[[Config], Source]] = {"fhir": _fhir}
KINDS = tuple(dict.fromkeys([*SOURCES, *DATABASES, *SERVERS]))


def server_source(kind: str, config: Config) -> Source | None:
    """The source of a kind that is a server, None for another kind. Raises UsageError for settings that don't fit."""
    if kind in SERVERS:
        return SERVERS[kind](config)
    stated = [name for name in ("queries", "export", "allow_hosts") if getattr(config, name)]
    if stated:
        raise UsageError(f"Only the source 'fhir' has {' and '.join(stated)}, '{kind}' has none.")
    return None


def factory_for(kind: str, inputs: Sequence[str]) -> SourceFactory:
    """The factory of this kind for these inputs. Raises UsageError for a kind that is unknown or has no such input."""
    if kind not in KINDS or kind in SERVERS:
        raise UsageError(f"The source '{kind}' is unknown: use {', '.join(KINDS)}.")
    if not any(map(is_database, inputs)):
        return SOURCES.get(kind) or DATABASES[kind]
    if kind not in DATABASES:
        raise UsageError(f"The source '{kind}' reads files, no database: use {', '.join(DATABASES)}.")
    return DATABASES[kind]

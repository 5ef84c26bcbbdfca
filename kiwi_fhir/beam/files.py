"""Beam's file systems (local, gs://, s3://, hdfs://) as the sources' files and as the sinks' store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from kiwi_fhir.notes import LOCAL, Files
from kiwi_fhir.notes.files import is_hidden
from kiwi_fhir.write.store import TEMPORARY, LocalStore, Store


@dataclass(frozen=True, slots=True)
class BeamFiles:
    """Input files by URL. Nothing is decompressed on opening: Beam's own CSV and gzip readers lose rows."""

    def match(self, pattern_or_path: str) -> list[str]:
        """See Files.match."""
        if "://" not in pattern_or_path:
            return LOCAL.match(pattern_or_path)
        exact = FileSystems.match([pattern_or_path])[0].metadata_list
        if exact:
            return sorted(found.path for found in exact)
        root = pattern_or_path.rstrip("/")
        below = FileSystems.match([f"{root}/**"])[0].metadata_list
        return sorted(found.path for found in below if not is_hidden(found.path[len(root) + 1 :]))

    def open(self, path: str) -> BinaryIO:
        """See Files.open."""
        if "://" not in path:
            return LOCAL.open(path)
        return cast(BinaryIO, FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))


@dataclass(frozen=True, slots=True)
class BeamStore:
    """Output files under a URL."""

    root: str

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """See Store.write."""
        target = self._url(path)
        temporary = f"{target}.{uuid4().hex}{TEMPORARY}"
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            for chunk in chunks:
                stream.write(chunk)
        if FileSystems.exists(target):
            FileSystems.delete([target])
        FileSystems.rename([temporary], [target])

    def read(self, path: str) -> bytes | None:
        """See Store.read."""
        target = self._url(path)
        if not FileSystems.exists(target):
            return None
        with FileSystems.open(target, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            return cast(bytes, stream.read())

    def list(self, folder: str) -> list[str]:
        """See Store.list."""
        root = self._url("")
        found = FileSystems.match([self._url(f"{folder}/**")])[0].metadata_list
        return sorted(file.path[len(root) :] for file in found)

    def remove(self, path: str) -> None:
        """See Store.remove."""
        target = self._url(path)
        if FileSystems.exists(target):
            FileSystems.delete([target])

    def _url(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"


def files_for(inputs: Iterable[str]) -> Files:
    """The file system of the inputs: plain local files unless one is a URL."""
    return BeamFiles() if any("://" in item for item in inputs) else LOCAL


def store_for(output: str) -> Store:
    """The store of an output folder or URL."""
    return BeamStore(output) if "://" in output else LocalStore(str(Path(output)))

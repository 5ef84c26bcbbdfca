"""Where output goes: whole files under one folder, each written to a temporary name and renamed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Ends the name of a file that is being written; a run that starts removes what a killed one left.
TEMPORARY = ".part"


class Store(Protocol):
    """Files by their path relative to the output folder; the pipeline passes one that speaks to cloud storage."""

    @property
    def root(self) -> str:
        """The output folder or URL."""
        ...

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a file whole or not at all."""
        ...

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None where there is no such file."""
        ...

    def list(self, folder: str) -> list[str]:
        """The paths of the files below `folder`, sorted."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        ...


@dataclass(frozen=True, slots=True)
class LocalStore:
    """Files under `root` on a local disk."""

    root: str

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write, flush to the disk, rename. Raises OSError (no space, no permission); then no file is there."""
        target = Path(self.root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.{os.getpid()}{TEMPORARY}")
        try:
            with temporary.open("wb") as stream:
                stream.writelines(chunks)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None where there is no such file."""
        target = Path(self.root, path)
        return target.read_bytes() if target.is_file() else None

    def list(self, folder: str) -> list[str]:
        """The paths of the files below `folder`, sorted; leftovers of a killed run are among them."""
        found = Path(self.root, folder).rglob("*")
        return sorted(path.relative_to(self.root).as_posix() for path in found if path.is_file())

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        Path(self.root, path).unlink(missing_ok=True)

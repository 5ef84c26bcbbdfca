"""Where a source's bytes come from: the local file system here, Beam's FileSystems in the beam stage."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from kiwi_fhir.errors import UsageError

GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, section 2.3.1
HIDDEN = "."


class Files(Protocol):
    """A file system; an implementation must be picklable, as the sources that hold it travel to workers."""

    def match(self, pattern_or_path: str) -> list[str]:
        """The files that a file's path, a folder (all files below it, hidden ones left out) or a glob names, sorted.

        A file's own path comes back unchanged as the only item; nothing found is an empty list.
        """

    def open(self, path: str) -> BinaryIO:
        """The file's raw bytes, never decompressed. Raises OSError when it can't be opened."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """The local file system."""

    def match(self, pattern_or_path: str) -> list[str]:
        """See Files.match. A path that exists is never read as a glob, so `a[1]/` names that folder."""
        path = Path(pattern_or_path)
        if path.is_file():
            return [pattern_or_path]
        if path.is_dir():
            below = (str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
            root = pattern_or_path.rstrip("/")  # kept as given, so that every file's path starts with the folder's
            return sorted(f"{root}/{file}" for file in below if not is_hidden(file))
        found = glob.glob(pattern_or_path, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        return sorted(file for file in found if Path(file).is_file())

    def open(self, path: str) -> BinaryIO:
        """See Files.open."""
        return cast(BinaryIO, Path(path).open("rb"))


LOCAL: Files = LocalFiles()


def basename(path: str) -> str:
    """The last part of a path or URL, as it is shown in messages and ids (see `shown`)."""
    return shown(path.rstrip("/").rpartition("/")[2])


def shown(path: str) -> str:
    """The path as valid Unicode: file systems may hold bytes that are not, and no output could hold those."""
    return path.encode("utf-8", "replace").decode("utf-8")


def folder(path: str) -> str:
    """What stands before the last part of a path or URL, without the slash; empty for a bare name."""
    return path.rstrip("/").rpartition("/")[0]


def is_hidden(relative: str) -> bool:
    """Whether a part of the relative path starts with a dot, as the `._x` twins do that some systems leave behind."""
    return any(part.startswith(HIDDEN) for part in relative.split("/"))


def find(files: Files, inputs: Sequence[str], wanted: Callable[[str], bool], what: str) -> list[str]:
    """All files that `inputs` (files, folders, globs) name, sorted, each once.

    Of a folder or a glob only the files whose name is `wanted` are taken, and `what` says in a message what those are;
    a file named in full is taken whatever its name. Files named `.gz` are opened to see that they are gzip.

    Raises UsageError when an input names nothing, when a `.gz` is no gzip, and when a file stands beside its own
    `.gz`, which would read its notes twice.
    """
    if not inputs:
        raise UsageError("No input was named: name a file, a folder or a glob.")
    paths: set[str] = set()
    for item in inputs:
        found = files.match(item)
        if not found:
            raise UsageError(f"{item} does not exist or holds no file: name a file, a folder or a glob.")
        chosen = found if found == [item] else [path for path in found if wanted(basename(path))]
        if not chosen:
            raise UsageError(f"{item} holds no {what}: name the file itself if it is called otherwise.")
        paths.update(chosen)
    for path in sorted(paths):
        if not path.lower().endswith(".gz"):
            continue
        if path[:-3] in paths:
            raise UsageError(f"{path} stands beside its unpacked twin: name only one of them.")
        if not is_gzip(files, path):
            raise UsageError(f"{path} is not gzip although its name ends in .gz: rename it or fetch it again.")
    return sorted(paths)


def is_gzip(files: Files, path: str) -> bool:
    """Whether the file starts as gzip does. Raises UsageError when it can't be opened."""
    try:
        with files.open(path) as stream:
            return stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    except OSError as error:
        raise UsageError(f"{path} can't be opened ({type(error).__name__}): check the path and its rights.") from error

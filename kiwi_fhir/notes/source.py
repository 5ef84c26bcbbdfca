"""What all sources have in common: the protocol, and how a bad note becomes a failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from kiwi_fhir.errors import NoteError
from kiwi_fhir.types import Failure, Note

STAGE = "read"


class Source(Protocol):
    """A kind of input. Sources are picklable; they keep little more than the file system and the inputs."""

    kind: str
    #: Notes left out on purpose (marked as errors, replaced by newer ones) by all calls of `read` so far.
    dropped: int

    def files(self, inputs: Sequence[str]) -> list[str]:
        """The input files that `inputs` (files, folders, globs) name, sorted, after a cheap look at each.

        Call it before `read`: sources remember the inputs. Raises UsageError when an input is missing, holds no file
        of this kind, is no gzip in spite of its name, or lacks columns.
        """

    def read(self, path: str) -> Iterator[Note | Failure]:
        """The notes of one file in its own order, streamed; a bad note is a Failure and reading goes on.

        Raises InputError, after all notes before it, where the file breaks off.
        """


@runtime_checkable
class Holding(Protocol):
    """A source for which a server holds something from `files` on, such as an export."""

    #: What it is, for the same source of a later run, which sets it before `files`; None for nothing. No secret.
    held: str | None

    def release(self) -> None:
        """Tell the server that it is not needed any more."""


def release(source: Source) -> None:
    """Let go of what a server holds for the source, if it is such a source."""
    if isinstance(source, Holding):
        source.release()


def failure(note_id: str, error: NoteError) -> Failure:
    """The failure of one note in this stage."""
    return Failure(note_id, STAGE, error.reason, str(error))

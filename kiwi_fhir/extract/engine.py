"""Notes through an extractor, in runs that fit the memory, with a way down for those that fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from kiwi_fhir.documents.min_score import at_least
from kiwi_fhir.errors import NoteError, place
from kiwi_fhir.types import Document, Failure, ModelId, Note

#: Notes that are windowed, sorted and run together: enough for full batches, little enough for flat memory.
CHUNK_NOTES = 128
CHUNK_CHARACTERS = 400_000


class Extractor(Protocol):
    """Anything that finds mentions; `model` says in results which it was."""

    model: ModelId

    def predict(self, notes: Sequence[Note]) -> list[Document]:
        """One document for each note, in the same order.

        How notes are grouped changes no span, but for sums that are rounded otherwise in batches of other shapes.
        """
        ...

    def count_windows(self, note: Note) -> int:
        """How many windows the model would read for `note`."""
        ...


def extract(extractor: Extractor, notes: Sequence[Note], *, min_score: float = 0.0) -> list[Document | Failure]:
    """`predict` with a way down: a group that fails is halved until only the notes that fail alone are failures.

    A device that is gone raises; anything else that one note does wrong costs that note only. What has a score under
    `min_score` is left out of the documents.
    """
    if not notes:
        return []
    try:
        return [_or_failure(at_least(document, min_score)) for document in extractor.predict(notes)]
    except (NoteError, MemoryError, RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
        if _device_is_gone(error):
            raise
        if len(notes) == 1:
            return [_failure(notes[0], error)]
        half = len(notes) // 2
        parts = notes[:half], notes[half:]
        return [found for part in parts for found in extract(extractor, part, min_score=min_score)]


def _or_failure(document: Document) -> Document | Failure:
    return next((failure for failure in document.failures if not failure.kept), document)


def chunks(notes: Iterable[Note]) -> Iterator[list[Note]]:
    """Runs of consecutive notes within CHUNK_NOTES and CHUNK_CHARACTERS; a longer note is a run of its own."""
    run: list[Note] = []
    size = 0
    for note in notes:
        if run and (len(run) >= CHUNK_NOTES or size + len(note.text) > CHUNK_CHARACTERS):
            yield run
            run, size = [], 0
        run.append(note)
        size += len(note.text)
    if run:
        yield run


def _device_is_gone(error: Exception) -> bool:
    """CUDA and MPS report a lost device as a RuntimeError; out of memory is no such loss."""
    text = str(error)
    return isinstance(error, RuntimeError) and "out of memory" not in text and ("CUDA error" in text or "MPS" in text)


def _failure(note: Note, error: Exception) -> Failure:
    """Only our own messages are known to hold no note text."""
    if isinstance(error, NoteError):
        return Failure(note.id, "extract", error.reason, str(error))
    out_of_memory = isinstance(error, MemoryError) or "out of memory" in str(error)
    if out_of_memory:
        return Failure(note.id, "extract", "out-of-memory", "The model ran out of memory on this note alone.")
    message = f"The model raised {type(error).__name__} on this note."
    return Failure(note.id, "extract", "model-error", message, at=place(error))

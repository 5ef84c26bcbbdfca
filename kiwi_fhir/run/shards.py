"""What the transforms do to a shard, in plain Python: read, extract, map."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, TypeVar

import orjson

from kiwi_fhir.errors import InputError, place
from kiwi_fhir.extract import Extractor, chunks, extract
from kiwi_fhir.notes import Source
from kiwi_fhir.notes.files import basename
from kiwi_fhir.types import Document, Failure, Note, Result, Shard
from kiwi_fhir.write.shards import file_name

ResultT = TypeVar("ResultT")

#: A shard also ends at this many characters, so that a few huge notes do not fill the memory.
SHARD_CHARACTERS = 16_000_000


@dataclass(frozen=True, slots=True)
class Input:
    """Files that are read one after the other as one input: one file, or a run of small text files."""

    key: str
    paths: tuple[str, ...]


def plan_inputs(paths: Sequence[str], *, one_note_each: bool, shard_notes: int) -> list[Input]:
    """The inputs in order. Files that hold one note each (`text`) go together, a shard's worth at a time."""
    size = shard_notes if one_note_each else 1
    groups = [tuple(paths[start : start + size]) for start in range(0, len(paths), size)]
    return [
        Input(f"{index:05d}-{'text' if one_note_each else _stem(group[0])}", group)
        for index, group in enumerate(groups)
    ]


def _stem(path: str) -> str:
    return file_name(basename(path).removesuffix(".gz").rpartition(".")[0] or basename(path))[:60]


def read_shards(source: Source, item: Input, shard_notes: int) -> Iterator[Shard[Note]]:
    """The shards of an input, streamed; a file without notes makes one empty shard.

    Where a file breaks off, the notes before the break are in the last shard, whose `error` says so.
    """
    items: list[Note | Failure] = []
    index = characters = 0
    dropped = source.dropped

    def shard(*, last: bool, error: str | None = None) -> Shard[Note]:
        nonlocal index, characters, dropped
        made = Shard(
            key=f"{item.key}-{index:05d}",
            items=tuple(found for found in items if isinstance(found, Note)),
            failures=tuple(found for found in items if isinstance(found, Failure)),
            digest=_digest(items),
            dropped=source.dropped - dropped,
            last=last,
            error=error,
        )
        items.clear()
        index, characters, dropped = index + 1, 0, source.dropped
        return made

    error = None
    for path in item.paths:
        try:
            for found in source.read(path):
                if len(items) >= shard_notes or characters >= SHARD_CHARACTERS:
                    yield shard(last=False)
                items.append(found)
                characters += len(found.text) if isinstance(found, Note) else 0
        except (InputError, OSError) as broken:
            # Our own message, or the system's word: neither holds note text.
            reason = str(broken) if isinstance(broken, InputError) else f"{path} can't be read on: {broken.strerror}."
            error = f"{error} {reason}" if error else reason
    yield shard(last=True, error=error)


def _digest(items: Sequence[Note | Failure]) -> str:
    digest = hashlib.sha256()
    for found in items:
        digest.update(orjson.dumps(astuple(found)))
        digest.update(b"\n")
    return digest.hexdigest()


def extract_shard(
    extractor: Extractor, shard: Shard[Note], min_score: float = 0.0, count: Callable[[int], None] = lambda notes: None
) -> Shard[Document]:
    """The documents of a shard, in order; notes that the model can't read become failures.

    What has a score under `min_score` is left out. `count` is told how many notes were done.
    """
    documents: list[Document] = []
    failures = list(shard.failures)
    count(len(failures))
    for chunk in chunks(shard.items):
        for found in extract(extractor, chunk, min_score=min_score):
            if isinstance(found, Document):
                documents.append(found)
                failures.extend(found.failures)
            else:
                failures.append(found)
        count(len(chunk))
    return _with(shard, documents, failures)


def map_shard(to_result: Callable[[Document], tuple[Result, list[Failure]]], shard: Shard[Document]) -> Shard[Result]:
    """The bundles of a shard, in order. A document that can't be mapped costs itself only."""
    results: list[Result] = []
    failures = list(shard.failures)
    for document in shard.items:
        result, lost = map_document(to_result, document)
        if result is not None:
            results.append(result)
        failures.extend(lost)
    return _with(shard, results, failures)


def map_document(
    to_result: Callable[[Document], tuple[ResultT, list[Failure]]], document: Document
) -> tuple[ResultT | None, list[Failure]]:
    """What `to_result` makes of a document, and what of it was lost; None where all of it was."""
    try:
        return to_result(document)
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        message = f"The mapping raised {type(error).__name__} on this note."
        return None, [Failure(document.note.id, "map", "mapping-error", message, at=place(error))]


def _with(shard: Shard[Any], items: list[Any], failures: list[Failure]) -> Shard[Any]:
    return replace(shard, items=tuple(items), failures=tuple(failures))

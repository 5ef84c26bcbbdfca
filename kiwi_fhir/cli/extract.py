"""`kiwi-fhir extract`: text files to brat or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from kiwi_fhir.cli.run import quiet_libraries
from kiwi_fhir.config import Config
from kiwi_fhir.documents.brat import format_ann
from kiwi_fhir.documents.jsonl import format_line
from kiwi_fhir.errors import TooManyFailures
from kiwi_fhir.extract import CHUNK_CHARACTERS, CHUNK_NOTES, extract, load_for
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Failure, Note
from kiwi_fhir.write.shards import FAILURES, failure_lines, file_name
from kiwi_fhir.write.store import LocalStore


def extract_files(paths: list[Path], output: Path, format_: str, config: Config) -> None:
    """Write mentions and modifiers of text files under `output`; what fails goes to failures.ndjson there.

    Raises UsageError for a path that is not there and TooManyFailures over `config.run.max_failure_rate`.
    """
    quiet_libraries()
    source = SOURCES["text"](LOCAL)
    files = source.files([str(path) for path in paths])
    extractor = load_for(config.model, Mappings.read(config.mapping.mappings))
    store = LocalStore(str(output))
    failures: list[Failure] = []
    done = 0

    def documents() -> Iterator[Document]:
        nonlocal done
        for chunk in _chunks(found for file in files for found in source.read(file)):
            failures.extend(found for found in chunk if isinstance(found, Failure))
            notes = [found for found in chunk if isinstance(found, Note)]
            for result in extract(extractor, notes, min_score=config.model.min_score):
                if isinstance(result, Document):
                    done += 1
                    failures.extend(result.failures)
                    yield result
                else:
                    failures.append(result)

    if format_ == "jsonl":
        store.write("mentions.jsonl", (format_line(document) for document in documents()))
    else:
        for document in documents():
            name = file_name(document.note.id)
            store.write(f"{name}.txt", [document.note.text.encode()])
            store.write(f"{name}.ann", [format_ann(document).encode()])
    store.write(FAILURES, failure_lines(failures)) if failures else store.remove(FAILURES)
    sys.stderr.write(f"kiwi-fhir: {done} of {len(files)} files written to {output}.\n")
    failed = sum(not failure.kept for failure in failures)
    if files and failed / len(files) > config.run.max_failure_rate:
        raise TooManyFailures(f"{failed} of {len(files)} files failed: see {output / FAILURES}.")


def _chunks(found: Iterator[Note | Failure]) -> Iterator[list[Note | Failure]]:
    chunk: list[Note | Failure] = []
    size = 0
    for item in found:
        chunk.append(item)
        size += len(item.text) if isinstance(item, Note) else 0
        if len(chunk) >= CHUNK_NOTES or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk

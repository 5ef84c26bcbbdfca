"""`kiwi-fhir run --dry-run`: counts, and a time that is measured on the first notes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from kiwi_fhir.cli.run import input_files
from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError
from kiwi_fhir.extract import load_for
from kiwi_fhir.notes import Source, release
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.prepare import open_source
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Note

_SAMPLE_NOTES = 16
_SAMPLE_CHARACTERS = 60_000
_SLOW_SECONDS = 2.0


def estimate(kind: str, inputs: Sequence[str], config: Config, console: Console) -> dict[str, Any]:
    """Read all notes, count them and their windows, and time the model on the first ones; nothing is written.

    Raises UsageError (and its kinds) for a source, mapping file or terminology that can't be used, and InputError,
    after the counts, for a file that breaks off.
    """
    mappings = Mappings.read(config.mapping.mappings)
    source, paths = open_source(kind, inputs, config, mappings, input_files(kind, inputs))
    try:
        return _estimate(source, paths, config, mappings, console)
    finally:
        release(source)


def _estimate(
    source: Source, paths: Sequence[str], config: Config, mappings: Mappings, console: Console
) -> dict[str, Any]:
    terminology = DocumentMapper(
        config, mappings
    ).terminology  # mapping files and terminology are checked, its index is built
    extractor = load_for(config.model, mappings)
    counts: Counter[str] = Counter(notes=0, failed=0, characters=0, windows=0)
    sample: list[Note] = []
    broken = []
    for path in paths:
        try:
            for found in source.read(path):
                if not isinstance(found, Note):
                    counts["failed"] += 1
                    continue
                counts["notes"] += 1
                counts["characters"] += len(found.text)
                counts["windows"] += extractor.count_windows(found)
                if len(sample) < _SAMPLE_NOTES and sum(len(note.text) for note in sample) < _SAMPLE_CHARACTERS:
                    sample.append(found)
        except InputError as error:
            broken.append(str(error))
    seconds = 0.0
    sample = [note for note in sample if extractor.count_windows(note)]
    if sample:
        started = time.monotonic()
        extractor.predict(sample[:1])  # once to warm up
        if time.monotonic() - started > _SLOW_SECONDS:  # a large model: one note tells enough
            sample = sample[:1]
        windows = sum(map(extractor.count_windows, sample))
        started = time.monotonic()
        extractor.predict(sample)
        seconds = (time.monotonic() - started) / windows * counts["windows"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("files", f"{len(paths):,}")
    table.add_row("notes", f"{counts['notes']:,}, {counts['failed']:,} can't be read, {source.dropped:,} left out")
    table.add_row("characters", f"{counts['characters']:,}")
    table.add_row("windows", f"{counts['windows']:,}")
    table.add_row("terminology", f"{config.mapping.terminology}, {terminology[:12]}")
    table.add_row("estimate", f"{seconds / 60:.1f} minutes for the model on this machine")
    console.print(table)
    if broken:
        raise InputError(" ".join(broken))
    return {**counts, "dropped": source.dropped, "estimated_seconds": round(seconds, 1)}

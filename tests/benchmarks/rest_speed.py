"""Notes per second and core of everything but the model: read, segment, facts, resources, write.

    python tests/benchmarks/rest_speed.py [--notes 1000] [--distinct 100] [--mentions 40]

The model runs once over `--distinct` synthetic notes beforehand and its answer is replayed, cut or repeated to
`--mentions` mentions a note, so that all other work is real: a MIMIC-III CSV.gz is read, each note is segmented and
windowed, its mentions become facts, resources, a checked bundle, bytes, and files on the disk. One thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from synthetic import note_text, write

from kiwi_fhir.config import Config
from kiwi_fhir.extract import load
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.shards import Input, map_shard, read_shards
from kiwi_fhir.types import Document, Mention, Note, Shard
from kiwi_fhir.write.shards import write_shard
from kiwi_fhir.write.store import LocalStore


def sized(mentions: tuple[Mention, ...], count: int) -> tuple[Mention, ...]:
    """`count` mentions in text order: the first ones, or all and then the first ones again."""
    repeated = mentions * (count // max(1, len(mentions)) + 1) if mentions else ()
    return tuple(sorted(repeated[:count], key=lambda mention: mention.span))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes", type=int, default=1000)
    parser.add_argument("--distinct", type=int, default=100)
    parser.add_argument("--mentions", type=int, default=40)
    arguments = parser.parse_args()

    extractor = load(threads=2, device="cpu")
    answers = [
        sized(document.mentions, arguments.mentions)
        for document in extractor.predict([Note(str(seed), note_text(seed)) for seed in range(arguments.distinct)])
    ]
    mapping = DocumentMapper(Config())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "NOTEEVENTS.csv.gz")
        write("mimic-iii", path, rows=arguments.notes, characters=3500)
        source = SOURCES["mimic-iii"](LOCAL)
        source.files([str(path)])
        spent = dict.fromkeys(("read", "segment", "map", "write"), 0.0)
        notes = mentions = 0
        mark = time.process_time()

        def lap(stage: str) -> None:
            nonlocal mark
            now = time.process_time()
            spent[stage] += now - mark
            mark = now

        for shard in read_shards(source, Input("0", (str(path),)), 1000):
            lap("read")
            documents = []
            for index, note in enumerate(shard.items):
                extractor.count_windows(note)
                found = [m for m in answers[index % len(answers)] if m.span.end <= len(note.text)]
                documents.append(Document(note, tuple(found), extractor.model))
                mentions += len(found)
            lap("segment")
            mapped = map_shard(mapping, replace_items(shard, documents))
            lap("map")
            write_shard(LocalStore(folder), mapped, ("ndjson",), "benchmark")
            lap("write")
            notes += len(documents)
    total = sum(spent.values())
    print(f"{notes} notes, {mentions / notes:.1f} mentions a note, {notes / total:.0f} notes/s on one core")
    for stage, seconds in spent.items():
        print(f"  {stage:8} {1000 * seconds / notes:6.3f} ms a note")


def replace_items(shard: Shard[Note], documents: list[Document]) -> Shard[Document]:
    return replace(shard, items=tuple(documents))  # type: ignore[arg-type, return-value]


if __name__ == "__main__":
    main()

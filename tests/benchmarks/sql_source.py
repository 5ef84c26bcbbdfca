"""NOTEEVENTS read from PostgreSQL by one and by two workers: rows a second, peak memory, and whether all came.

python tests/benchmarks/sql_source.py [--rows 20000 200000] [--workers 1 2] [--characters 1000] [--url URL]

Without --url a server of its own is started; of --url the table noteevents is dropped.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from synthetic import mimic_iii_rows

from kiwi_fhir.notes import LOCAL, Source, factory_for
from kiwi_fhir.types import Note

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))
import databases

TABLE = (
    "row_id INT PRIMARY KEY, subject_id INT NOT NULL, hadm_id INT, chartdate TIMESTAMP(0), charttime TIMESTAMP(0), "
    "storetime TIMESTAMP(0), category VARCHAR(50), description VARCHAR(255), cgid INT, iserror CHAR(1), text TEXT"
)
_source: Source | None = None


@contextmanager
def server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    reason = databases.why_not()
    if reason is not None:
        raise SystemExit(f"{reason}: name a server by --url.")
    own = databases.PostgreSQLServer()
    try:
        yield own.url()
    finally:
        own.remove()


def fill(url: str, rows: int, characters: int) -> tuple[int, int]:
    """Make the table; the number of notes in it, and the sum of their checks."""
    notes = total = 0
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS noteevents")
        connection.execute(f"CREATE TABLE noteevents ({TABLE})")
        with connection.cursor().copy("COPY noteevents FROM STDIN") as copy:
            for row, dropped in mimic_iii_rows(rows, 0, characters):
                copy.write_row(row)
                if not dropped:
                    notes, total = notes + 1, total + check(str(row[0]), str(row[-1]))
        connection.commit()
        connection.execute("ANALYZE noteevents")
        connection.commit()
    return notes, total


def check(note_id: str, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{note_id} {text}".encode(), digest_size=6).digest(), "big")


def start(source: Source) -> None:
    global _source
    _source = source


def read(part: str) -> tuple[int, int, int, float]:
    """A part in a worker: notes, the sum of their checks, the worker's peak (bytes), its processor seconds so far."""
    assert _source is not None
    notes = total = 0
    for note in _source.read(part):
        assert isinstance(note, Note)
        notes, total = notes + 1, total + check(note.id, note.text)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return notes, total, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--characters", type=int, default=1000)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    with server(arguments.url) as url:
        for rows in arguments.rows:
            expected = fill(url, rows, arguments.characters)
            for workers in arguments.workers:
                started = time.monotonic()
                source = factory_for("mimic-iii", [url])(LOCAL)
                parts = source.files([url])
                planned = time.monotonic() - started
                with multiprocessing.get_context("spawn").Pool(workers, start, (source,)) as pool:
                    started = time.monotonic()
                    found = list(pool.imap_unordered(read, parts, chunksize=1))
                    seconds = time.monotonic() - started
                right = (sum(item[0] for item in found), sum(item[1] for item in found)) == expected
                print(
                    f"{rows} rows, {workers} workers: {expected[0]} notes in {len(parts)} parts, "
                    f"{'all' if right else 'NOT all'} as written; planned in {planned:.2f} s, "
                    f"{rows / seconds:,.0f} rows/s, peak of a worker {max(item[2] for item in found) / 2**20:.0f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""NOTE_NLP rows a second into PostgreSQL, SQLite and DuckDB, each written twice: into an empty table, and again over
the same notes (delete by note, then insert). Rows are made before the clock starts; their making is timed by itself.

    python tests/benchmarks/omop.py [--rows 100000]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("omop", "servers")]

import databases  # noqa: E402
from omop_notes import maker, results  # noqa: E402

from kiwi_fhir.write.omop.sink import OmopSink  # noqa: E402

NOTES_A_SHARD, FACTS_A_NOTE = 1000, 20


def shards(rows, release):
    """Results of notes with 20 facts each, a shard at a time."""
    made = maker(release=release)
    notes = rows // FACTS_A_NOTE
    for start in range(0, notes, NOTES_A_SHARD):
        yield results(made, range(start, min(start + NOTES_A_SHARD, notes)), repeat=FACTS_A_NOTE // 5)


def seconds(sink, found):
    started = time.perf_counter()
    for shard in found:
        assert sink.write(shard) == []
    return time.perf_counter() - started


def measure(kind, url, rows, prepare=None):
    if prepare is not None:
        prepare(url)
    sink = OmopSink(url, create=True)
    sink.check()
    started = time.perf_counter()
    first = list(shards(rows, "1-old"))
    making = time.perf_counter() - started
    second = list(shards(rows, "2-new"))
    fresh, again = seconds(sink, first), seconds(sink, second)
    database = sink._database
    with database.transaction():
        query = f"SELECT nlp_system, count(*) FROM {database.name_of('note_nlp')} GROUP BY 1"
        assert database.run(query) == [("kiwi_fhir kiwi-test 2-new (program 0)", rows)]
    sink.close()
    print(
        f"{kind:24} {rows / fresh:9,.0f} rows/s new {rows / again:9,.0f} rows/s again  (made: {rows / making:,.0f}/s)"
    )


def with_small_ids(url):
    """NOTE_NLP as the official DDL makes it, its ids of 32 bits."""
    import psycopg

    from kiwi_fhir.omop.tables import statements

    with psycopg.connect(url) as connection:
        for statement in statements("note_nlp", "postgresql+psycopg"):
            connection.execute(statement.replace("BIGINT", "INTEGER"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{folder}/cdm.sqlite", rows)
        measure("DuckDB", f"duckdb:///{folder}/cdm.duckdb", rows)
    reason = databases.why_not()
    if reason is not None:
        print(f"PostgreSQL: left out, as {reason}")
        return
    server = databases.PostgreSQLServer(durable=True)
    try:
        measure("PostgreSQL", server.url(), rows)
        measure("PostgreSQL, 32-bit ids", server.url("template1"), rows, with_small_ids)
    finally:
        server.remove()


if __name__ == "__main__":
    main()

"""The sink `omop=URL`: the rows of notes into an OMOP CDM 5.4 database, safe to write again.

A batch of notes is one transaction: what this model, of whatever version, wrote for them goes, the new rows come. What
others wrote stays. A note that the database refuses is left out alone; with the database gone the run ends, and
nothing is there by half.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from kiwi_fhir.clients.backoff import Backoff
from kiwi_fhir.clients.database_url import DUCKDB, SQLITE, DatabaseUrl, database_url
from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.omop.tables import CDM_VERSION, CLINICAL, COLUMNS, LINKS, NOTE, NOTE_NLP, needed
from kiwi_fhir.types import Failure, NoteRows, Result
from kiwi_fhir.write.omop.database import Busy, Database, Field, RowsRefused, quoted

#: A transaction holds about this many rows, and never more notes.
_BATCH_ROWS, _BATCH_NOTES = 10_000, 1000
_PATIENCE = 120.0
_SOURCE_VALUE = COLUMNS[NOTE].index("note_source_value")
_TEXT = COLUMNS[NOTE].index("note_text")


class OmopSink:
    """See the module. `notes` and `clinical` say which tables beside NOTE_NLP the results bring rows for.

    `create` makes the missing ones at `check`. Raises UsageError for a URL that can't work.
    """

    def __init__(self, url: str, *, create: bool = False, notes: bool = False, clinical: bool = False) -> None:
        self._database = open_database(database_url(url))
        self._create, self._clinical = create, clinical
        self._tables = needed(notes=notes, clinical=clinical)
        self._fields: dict[str, dict[str, Field]] = {}

    def check(self) -> None:
        """See Sink.check; makes the tables that are missing if it was asked to."""
        database = self._database
        database.check(create=self._create)
        if self._create:
            database.create(self._tables)
        try:
            with database.transaction():
                self._check_version()
                # Rows of an earlier run with clinical ones are replaced too.
                linked = self._clinical or database.fields(LINKS) is not None
                for table in dict.fromkeys((*self._tables, *needed(notes=False, clinical=linked))):
                    self._check_table(table)
        except UsageError:
            raise
        except KiwiError as error:
            raise UsageError(str(error)) from None

    def write(self, results: Sequence[Result]) -> list[Failure]:
        """See Sink.write."""
        failures: list[Failure] = []
        notes: dict[str, NoteRows] = {}
        for result in results:
            if isinstance(result.rows, Failure):
                failures.append(result.rows)
            elif result.rows is not None:
                notes[result.document.note.id] = result.rows  # of a note that is there twice the last rows
        for batch in _batches(list(notes.items())):
            failures += self._persist(batch)
        return failures

    def close(self) -> None:
        """See Sink.close."""
        self._database.close()

    def _check_version(self) -> None:
        """Refuse a CDM that names itself another version; one without CDM_SOURCE is judged by its columns."""
        if "cdm_version" not in (self._database.fields("cdm_source") or {}):
            return
        if self._database.missing_rights("cdm_source", ["SELECT"]):
            return
        name = self._database.name_of("cdm_source")
        said = [str(row[0]) for row in self._database.run(f"SELECT cdm_version FROM {name}") if row[0]]  # noqa: S608
        if said and not any(version.lower().lstrip("v ").startswith(CDM_VERSION) for version in said):
            raise UsageError(
                f"{self._database} is CDM {said[0][:20]} by its CDM_SOURCE; this sink writes {CDM_VERSION}."
            )

    def _check_table(self, table: str) -> None:
        database, name = self._database, table.upper()
        fields = database.fields(table)
        if fields is None:
            raise UsageError(f"{database} has no table {name}: add --omop-create, or ?schema=NAME to the URL.")
        missing = [column for column in COLUMNS[table] if column not in fields]
        if missing:
            raise UsageError(f"{name} of {database} is not of CDM {CDM_VERSION}: it lacks {', '.join(missing)}.")
        foreign = [item.name for item in fields.values() if item.required and item.name not in COLUMNS[table]]
        if foreign:
            raise UsageError(f"{name} of {database} is not of CDM {CDM_VERSION}: it requires {', '.join(foreign)}.")
        rights = ["SELECT", "INSERT", "UPDATE" if table == NOTE else "DELETE"]
        lacking = database.missing_rights(table, rights)
        if lacking:
            raise UsageError(f"Our user of {database} lacks the right to {' and '.join(lacking)} on {name}.")

    def _persist(self, batch: Sequence[tuple[str, NoteRows]]) -> list[Failure]:
        """Write notes together; where the database refuses them, in halves, down to the one that it refuses."""
        backoff = Backoff(_PATIENCE, time.sleep)
        refused = False
        while True:
            try:
                with self._database.transaction():
                    return self._replace([rows for _, rows in batch], [note for note, _ in batch])
            except Busy as error:
                try:
                    backoff.wait(error)
                except Busy:
                    raise KiwiError(f"{error}: go on with --resume when it is well again.") from None
            except RowsRefused as error:
                if len(batch) == 1:
                    if refused:
                        return [Failure(batch[0][0], "write", error.reason, str(error))]
                    refused = True  # another worker may have written the very note
                    continue
                half = len(batch) // 2
                return [*self._persist(batch[:half]), *self._persist(batch[half:])]

    def _replace(self, batch: Sequence[NoteRows], names: Sequence[str]) -> list[Failure]:
        database = self._database
        fields = self._layout()
        short = [table for table in self._tables if table not in (NOTE, LINKS) and self._bits(table) < 64]
        for table in short:
            if database.sequence_of(table, COLUMNS[table][0]) is None:
                database.lock(table)
        largest = 2 ** (min(fields[NOTE_NLP]["note_id"].bits or 64, 64) - 1)
        for rows in batch:
            if max(rows.note_id, rows.person_id or 0) >= largest:
                raise RowsRefused("number-too-large", "The note_id or person_id is too large for this database.")
        ids = [rows.note_id for rows in batch]
        self._delete(ids, batch[0].prefix)
        failures, taken = self._notes(batch, names) if NOTE in self._tables else ([], set())
        kept = [rows for rows in batch if rows.note_id not in taken]
        given: dict[tuple[str, object], object] = {}
        for table in self._tables:
            found = [row for rows in kept for row in rows.tables.get(table, ())]
            if table == NOTE or not found:
                continue
            if table == LINKS:
                found = [(*row[:3], given.get((str(row[2]), row[3]), row[3])) for row in found]
            elif table in short:
                free = database.next_ids(table, COLUMNS[table][0], len(found))
                given.update({(table, row[0]): number for row, number in zip(found, free, strict=True)})
                found = [(number, *row[1:]) for row, number in zip(found, free, strict=True)]
            database.insert(table, COLUMNS[table], found)
        return failures

    def _delete(self, ids: Sequence[int], prefix: str) -> None:
        """Remove what this model wrote for the notes, whatever its version."""
        database = self._database
        among, value = database.among(ids)
        ours = f"note_id {among} AND substr(nlp_system, 1, {len(prefix)}) = ?"
        if LINKS in self._fields:
            links = database.name_of(LINKS)
            for table in CLINICAL:
                which = f"SELECT row_id FROM {links} WHERE table_name = '{table}' AND {ours}"  # noqa: S608 (constants)
                key = quoted(COLUMNS[table][0])
                database.run(f"DELETE FROM {database.name_of(table)} WHERE {key} IN ({which})", value, prefix)  # noqa: S608
            database.run(f"DELETE FROM {links} WHERE {ours}", value, prefix)  # noqa: S608
        database.run(f"DELETE FROM {database.name_of(NOTE_NLP)} WHERE {ours}", value, prefix)  # noqa: S608

    def _notes(self, batch: Sequence[NoteRows], names: Sequence[str]) -> tuple[list[Failure], set[int]]:
        """Add NOTE rows, or bring our own up to date: those with our note_source_value.

        A row of somebody else stays as it is; where its text is another, the note has no place.
        """
        database, table = self._database, self._database.name_of(NOTE)
        mine = {rows.note_id: rows.tables[NOTE][0] for rows in batch if NOTE in rows.tables}
        among, value = database.among(list(mine))
        query = f"SELECT note_id, note_source_value FROM {table} WHERE note_id {among}"  # noqa: S608
        there = {int(str(row[0])): row[1] for row in database.run(query, value)}
        others = [note_id for note_id, source in there.items() if source != mine[note_id][_SOURCE_VALUE]]
        among, value = database.among(others)
        query = f"SELECT note_id, note_text FROM {table} WHERE note_id {among}"  # noqa: S608
        texts = {int(str(row[0])): row[1] for row in database.run(query, value)} if others else {}
        taken = {note_id for note_id in others if texts[note_id] != mine[note_id][_TEXT]}
        new = [row for note_id, row in mine.items() if note_id not in there]
        if new:
            database.insert(NOTE, COLUMNS[NOTE], new)
        database.update(NOTE, COLUMNS[NOTE], [mine[note_id] for note_id in there if note_id not in others])
        message = "NOTE has another text under the note's note_id."
        lost = [
            Failure(name, "write", "note-id-taken", message)
            for name, rows in zip(names, batch, strict=True)
            if rows.note_id in taken
        ]
        return lost, taken

    def _layout(self) -> dict[str, dict[str, Field]]:
        """The columns of our tables, read once; LINKS too where an earlier run left it."""
        if not self._fields:
            for table in dict.fromkeys((*self._tables, LINKS)):
                found = self._database.fields(table)
                if found is not None:
                    self._fields[table] = found
                elif table in self._tables:
                    raise KiwiError(f"{self._database} has no table {table.upper()} any more.")
        return self._fields

    def _bits(self, table: str) -> int:
        return self._fields[table][COLUMNS[table][0]].bits or 64


def open_database(address: DatabaseUrl) -> Database:
    """The database of an address, not connected yet. Raises UsageError where its driver is missing."""
    try:
        if address.kind == SQLITE:
            from kiwi_fhir.write.omop.sqlite import SQLite

            return SQLite(address)
        if address.kind == DUCKDB:
            from kiwi_fhir.write.omop.duckdb import DuckDB

            return DuckDB(address)
        from kiwi_fhir.write.omop.postgresql import PostgreSQL

        return PostgreSQL(address)
    except ImportError as error:
        raise UsageError(f"The package '{error.name}' is missing: install kiwi_fhir[omop].") from error


def _batches(items: Sequence[tuple[str, NoteRows]]) -> Iterator[list[tuple[str, NoteRows]]]:
    batch: list[tuple[str, NoteRows]] = []
    count = 0
    for item in items:
        size = sum(map(len, item[1].tables.values()))
        if batch and (count + size > _BATCH_ROWS or len(batch) >= _BATCH_NOTES):
            yield batch
            batch, count = [], 0
        batch.append(item)
        count += size
    if batch:
        yield batch

"""SQLite for the OMOP sink. Its INTEGER holds 64 bits, and one writer at a time is its own rule."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Date, DateTime, Numeric

from kiwi_fhir.clients.database_url import DatabaseUrl
from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.omop.tables import TABLES, statements
from kiwi_fhir.write.omop.database import Busy, Database, Field, Row, RowsRefused, listed, quoted

_WAIT_SECONDS = 60.0
_CACHE_KIB = 65_536
_FULL, _CONSTRAINT, _TOO_BIG, _MISMATCH = 13, 19, 18, 20
_BUSY = (5, 6)
_SAYS = {
    8: "can only be read: check its rights",
    10: "can't be written or read (an I/O error): check its disk",
    11: "is damaged",
    14: "can't be opened: check its path and rights",
    26: "is no SQLite file",
}


class SQLite(Database):
    """See Database. Dates are ISO 8601 text, in a column of type REAL seconds since 1970 (as OHDSI's own tools do)."""

    title = "SQLite"
    differs = "IS NOT"

    def __init__(self, address: DatabaseUrl) -> None:
        super().__init__(address)
        self._path = str(self.address.url.database)
        self._connection: sqlite3.Connection | None = None
        self._kinds: dict[str, dict[str, str]] = {}

    def check(self, *, create: bool) -> None:
        """See Database."""
        path = Path(self._path)
        if self.address.schema not in (None, "main"):
            raise UsageError("SQLite has no schemas: leave ?schema= out.")
        if not path.parent.is_dir() or not (create or path.is_file()):
            raise UsageError(f"There is no {path}: check the URL, or add --omop-create.")
        try:
            with self.transaction():
                self.run("SELECT count(*) FROM sqlite_master")
            with suppress(sqlite3.OperationalError):  # held by a reader just now, or on a disk that can't
                # So that who reads the file, such as a source of this very run, does not keep us from writing.
                self.run("PRAGMA journal_mode = WAL")
        except KiwiError as error:
            raise UsageError(str(error)) from None

    def create(self, tables: Sequence[str]) -> None:
        """See Database."""
        try:
            with self.transaction():
                for table in tables:
                    if self.fields(table) is None:
                        for statement in statements(table, self.address.url.drivername):
                            self.run(statement)
        except KiwiError as error:
            raise UsageError(str(error)) from None

    def fields(self, table: str) -> dict[str, Field] | None:
        """See Database."""
        found = self.run(f"PRAGMA table_info({quoted(table)})")
        fields = {}
        for _, name, kind, required, default, _ in found:
            whole = "INT" in str(kind).upper()
            lower = str(name).lower()
            fields[lower] = Field(lower, str(kind).upper(), 64 if whole else None, bool(required) and default is None)
        return fields or None

    def missing_rights(self, table: str, rights: Sequence[str]) -> list[str]:
        """See Database: what `check` has written in, may be written."""
        return []

    def begin(self) -> None:
        """See Database. The only writer from here on."""
        self._connected().execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """See Database."""
        self._connected().execute("COMMIT")

    def rollback(self) -> None:
        """See Database."""
        if self._connection is not None:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self.close()

    def run(self, sql: str, *values: object) -> list[Row]:
        """See Database."""
        return self._connected().execute(sql, [_stored(value) for value in values]).fetchall()

    def run_many(self, sql: str, rows: Sequence[Row]) -> None:
        """See Database."""
        self._connected().executemany(sql, rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See Database."""
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {self.name_of(table)} ({listed(columns)}) VALUES ({marks})"  # noqa: S608
        self._connected().executemany(statement, self.stored(table, columns, rows))

    def stored(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> Sequence[Row]:
        """See Database."""
        changes = {index: how for index, name in enumerate(columns) if (how := self._store(table, name)) is not None}

        def changed(row: Row) -> Row:
            values = list(row)
            for index, how in changes.items():
                values[index] = how(values[index])
            return tuple(values)

        return [changed(row) for row in rows]

    def among(self, numbers: Sequence[int]) -> tuple[str, object]:
        """See Database."""
        return "IN (SELECT value FROM json_each(?))", json.dumps(list(numbers))

    def translated(self, error: Exception) -> Exception:
        """See Database."""
        if not isinstance(error, sqlite3.Error):
            return error
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            return Busy(f"{self} is held by another writer")
        if code in (_CONSTRAINT, _TOO_BIG, _MISMATCH):
            kind = error.sqlite_errorname.removeprefix("SQLITE_").replace("_", "-").lower()
            return RowsRefused(kind, f"{self.title} refused the note: {kind}.")
        if code == _FULL:
            return KiwiError(f"The disk of {self} is full: make room, then go on with --resume.")
        return KiwiError(f"{self} {_SAYS.get(code, f'answers with an error ({code})')}.")

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _store(self, table: str, column: str) -> Callable[[object], object] | None:
        """How to store the values of a column; None where they are stored as they are."""
        if not isinstance(TABLES[table].c[column].type, (Date, DateTime, Numeric)):
            return None
        if table not in self._kinds:
            self._kinds[table] = {name: field.kind for name, field in (self.fields(table) or {}).items()}
        return _seconds if self._kinds[table].get(column) == "REAL" else _stored

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")  # ids are spread over the whole table
        return self._connection


def _stored(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _seconds(value: object) -> object:
    """A time of a source's own clock as seconds since 1970; numbers as they are."""
    return value.replace(tzinfo=UTC).timestamp() if isinstance(value, datetime) else _stored(value)

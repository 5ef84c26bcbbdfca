"""PostgreSQL for the OMOP sink: psycopg 3, rows by COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from kiwi_fhir.clients.database_url import tls_options
from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.omop.tables import statements
from kiwi_fhir.write.omop.database import Busy, Database, Field, Row, RowsRefused, kebab, listed, quoted

_CONNECT_SECONDS = 15
_BITS = {"int2": 16, "int4": 32, "int8": 64}
#: SQLSTATEs (postgresql.org/docs/15/errcodes-appendix.html): by class what is wrong with the data; codes and classes
#: after which the same may work; what ends a run.
_DATA = ("22", "23")
_AGAIN = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08", "53300")
_FULL = "53100"
_NO_RIGHT = "42501"
_REFUSED_USER = ("password authentication failed", "no password supplied", "role ", "no pg_hba.conf entry")
_COLUMNS = """
SELECT a.attname, t.typname, a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


class PostgreSQL(Database):
    """See Database. The server's own search_path finds the tables where the URL names no schema."""

    title = "PostgreSQL"

    _connection: psycopg.Connection[Any] | None = None

    def check(self, *, create: bool) -> None:
        """See Database."""
        try:
            self._connected()
        except Busy as error:
            raise UsageError(f"{error}: check the URL, and that the server runs.") from None

    def create(self, tables: Sequence[str]) -> None:
        """See Database."""
        schema = self.address.schema
        try:
            with self.transaction():
                # Two runs that start together must not both create.
                self.run("SELECT pg_advisory_xact_lock(?)", 0x6B697769)
                if schema and not self.run("SELECT 1 FROM pg_namespace WHERE nspname = ?", schema):
                    self.run(f"CREATE SCHEMA {quoted(schema)}")
                for table in tables:
                    if self.fields(table) is None:
                        for statement in statements(table, self.address.url.drivername, schema):
                            self.run(statement)
        except KiwiError as error:
            raise UsageError(str(error)) from None

    def fields(self, table: str) -> dict[str, Field] | None:
        """See Database."""
        found = self.run(_COLUMNS, self.name_of(table))
        return {
            str(name): Field(str(name), str(kind), _BITS.get(str(kind)), bool(required))
            for name, kind, required in found
        } or None

    def missing_rights(self, table: str, rights: Sequence[str]) -> list[str]:
        """See Database."""
        name = self.name_of(table)
        return [right for right in rights if not self.run("SELECT has_table_privilege(?, ?)", name, right)[0][0]]

    def begin(self) -> None:
        """See Database."""
        self._connected()

    def commit(self) -> None:
        """See Database."""
        self._connected().commit()

    def rollback(self) -> None:
        """See Database. A connection that was lost is forgotten."""
        held = self._connection
        try:
            if held is not None:
                held.rollback()
        except psycopg.Error:
            pass
        if held is not None and (held.closed or held.broken):
            self.close()

    def run(self, sql: str, *values: object) -> list[Row]:
        """See Database."""
        cursor = self._connected().execute(_query(sql), values or None)
        return cursor.fetchall() if cursor.description is not None else []

    def run_many(self, sql: str, rows: Sequence[Row]) -> None:
        """See Database."""
        with self._connected().cursor() as cursor:
            cursor.executemany(_query(sql), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See Database."""
        statement = f"COPY {self.name_of(table)} ({listed(columns)}) FROM STDIN"
        with self._connected().cursor() as cursor, cursor.copy(_query(statement)) as copy:
            for row in rows:
                copy.write_row(row)

    def among(self, numbers: Sequence[int]) -> tuple[str, object]:
        """See Database."""
        return "= ANY(?)", list(numbers)

    def lock(self, table: str) -> None:
        """See Database. The mode conflicts with every writer's, ours and others', and with no reader's."""
        self.run(f"LOCK TABLE {self.name_of(table)} IN SHARE ROW EXCLUSIVE MODE")

    def sequence_of(self, table: str, column: str) -> str | None:
        """See Database."""
        found = self.run("SELECT pg_get_serial_sequence(?, ?)", self.name_of(table), column)[0][0]
        return None if found is None else str(found)

    def translated(self, error: Exception) -> Exception:
        """See Database."""
        if not isinstance(error, psycopg.Error):
            return error
        state = error.sqlstate or ""
        kind = kebab(type(error).__name__)
        if state.startswith(_DATA):
            constraint = error.diag.constraint_name or error.diag.column_name
            return RowsRefused(
                kind, f"{self.title} refused the note: {kind}{f' of {constraint}' if constraint else ''}."
            )
        if state.startswith(_AGAIN) or (not state and isinstance(error, psycopg.OperationalError)):
            return Busy(f"{self} answers no more" if not state or state[0] != "4" else f"{self} is busy")
        if state == _FULL:
            return KiwiError(f"The disk of {self} is full: make room, then go on with --resume.")
        if state == _NO_RIGHT:
            return KiwiError(f"{self} does not let our user do this: it needs rights on the schema and its tables.")
        return KiwiError(f"{self} answers with an error ({state or 'no SQLSTATE'}, {kind}).")

    def close(self) -> None:
        """See Database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            url = self.address.url
            ours = {"connect_timeout": _CONNECT_SECONDS, "application_name": "kiwi-fhir", "client_encoding": "UTF8"}
            given = {**url.translate_connect_args(username="user", database="dbname"), **url.query}
            try:
                self._connection = psycopg.connect("", **{**ours, **tls_options(self.address), **given})
                # `lock` and what is read behind it rely on it.
                self._connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            except psycopg.Error as error:
                raise self._not_connected(str(error)) from None
        return self._connection

    def _not_connected(self, said: str) -> Exception:
        """What libpq says, in one sentence; with some of its messages waiting helps, with others it never does."""
        if any(words in said for words in _REFUSED_USER):
            return UsageError(f"{self} refuses the user or the password: check the URL and PGPASSWORD.")
        if "database" in said and "does not exist" in said:
            return UsageError(f"{self} has no such database: check the URL.")
        if "invalid" in said and "option" in said:
            return UsageError(f"{self} has an option behind the '?' that PostgreSQL does not know.")
        if "SSL" in said or "certificate" in said:
            return UsageError(f"{self} offers no TLS that we can verify: name its authority by ?sslrootcert=FILE.")
        return Busy(f"{self} does not answer")


def _query(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()

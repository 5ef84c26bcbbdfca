"""DuckDB for the OMOP sink: rows by Arrow. A DuckDB file has one process at a time, so that we hold it only while we
write: each transaction opens it and lets it go.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import BigInteger, Date, DateTime, Integer, Numeric
from sqlalchemy.types import TypeEngine

from kiwi_fhir.clients.database_url import DatabaseUrl
from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.omop.tables import TABLES
from kiwi_fhir.write.omop.database import Busy, Database, Field, Row, RowsRefused, kebab, listed, quoted

_PATIENCE, _PAUSE = 120.0, 0.05
_BITS = {"SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
_ARROW: tuple[tuple[type[TypeEngine[Any]], pa.DataType], ...] = (
    (BigInteger, pa.int64()),
    (Integer, pa.int64()),
    (DateTime, pa.timestamp("us")),
    (Date, pa.date32()),
    (Numeric, pa.float64()),
)
_REFUSALS = (
    duckdb.ConstraintException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.TypeMismatchException,
)
#: Threads of one process share the file, and wait for each other here.
_LOCKS: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)


class DuckDB(Database):
    """See Database."""

    title = "DuckDB"

    def __init__(self, address: DatabaseUrl, patience: float = _PATIENCE) -> None:
        """`patience` is how many seconds another process that holds the file is waited for."""
        super().__init__(address)
        self._path = str(Path(str(address.url.database)).absolute())
        self._patience = patience
        self._connection: duckdb.DuckDBPyConnection | None = None

    def check(self, *, create: bool) -> None:
        """See Database."""
        path = Path(self._path)
        if not path.parent.is_dir() or not (create or path.is_file()):
            raise UsageError(f"There is no {path}: check the URL, or add --omop-create.")
        try:
            with self.transaction():
                self.run("SELECT 1")
        except KiwiError as error:
            raise UsageError(str(error)) from None

    def create(self, tables: Sequence[str]) -> None:
        """See Database. Without keys: DuckDB needs none to be fast, and checks them too early."""
        schema = self.address.schema
        try:
            with self.transaction():
                if schema:
                    self.run(f"CREATE SCHEMA IF NOT EXISTS {self._catalog()}.{quoted(schema)}")
                for table in tables:
                    columns = ", ".join(
                        f"{quoted(column.name)} {_kind(column.type)}{'' if column.nullable else ' NOT NULL'}"
                        for column in TABLES[table].columns
                    )
                    self.run(f"CREATE TABLE IF NOT EXISTS {self.name_of(table)} ({columns})")
        except KiwiError as error:
            raise UsageError(str(error)) from None

    def fields(self, table: str) -> dict[str, Field] | None:
        """See Database."""
        found = self.run(
            "SELECT column_name, data_type, NOT is_nullable AND column_default IS NULL FROM duckdb_columns() "
            "WHERE lower(table_name) = ? AND schema_name = ? AND database_name = current_database() "
            "ORDER BY column_index",
            table,
            self.address.schema or "main",
        )
        fields = (Field(str(name).lower(), str(kind), _BITS.get(str(kind)), bool(need)) for name, kind, need in found)
        return {field.name: field for field in fields} or None

    def missing_rights(self, table: str, rights: Sequence[str]) -> list[str]:
        """See Database: DuckDB has none to give."""
        return []

    def begin(self) -> None:
        """See Database."""
        _LOCKS[self._path].acquire()
        try:
            self._connection = self._opened()
            self._connection.execute("BEGIN")
        except BaseException:
            self._let_go()
            raise

    def commit(self) -> None:
        """See Database."""
        self._connected().execute("COMMIT")
        self._let_go()

    def rollback(self) -> None:
        """See Database."""
        if self._connection is not None:
            try:
                self._connection.execute("ROLLBACK")
            except duckdb.Error:
                pass
            finally:
                self._let_go()

    def run(self, sql: str, *values: object) -> list[Row]:
        """See Database."""
        return self._connected().execute(sql, list(values)).fetchall()

    def run_many(self, sql: str, rows: Sequence[Row]) -> None:
        """See Database."""
        for row in rows:
            self._connected().execute(sql, list(row))

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See Database."""
        kinds = [_arrow(TABLES[table].c[name].type) for name in columns]
        arrays = []
        for values, kind in zip(zip(*rows, strict=True), kinds, strict=True):
            if kind == pa.float64():
                values = tuple(float(item) if isinstance(item, Decimal) else item for item in values)
            arrays.append(pa.array(values, kind))
        connection = self._connected()
        connection.register("kiwi_fhir_batch", pa.Table.from_arrays(arrays, names=list(columns)))
        into = f"{self.name_of(table)} ({listed(columns)})"
        connection.execute(f"INSERT INTO {into} SELECT {listed(columns)} FROM kiwi_fhir_batch")  # noqa: S608
        connection.unregister("kiwi_fhir_batch")  # after an error the connection goes anyway

    def name_of(self, table: str) -> str:
        """See Database. With the catalog: DuckDB names it after the file, perhaps like a schema."""
        return f"{self._catalog()}.{quoted(self.address.schema or 'main')}.{quoted(table)}"

    def _catalog(self) -> str:
        return quoted(str(self.run("SELECT current_database()")[0][0]))

    def among(self, numbers: Sequence[int]) -> tuple[str, object]:
        """See Database."""
        return "IN (SELECT unnest(CAST(? AS BIGINT[])))", list(numbers)

    def translated(self, error: Exception) -> Exception:
        """See Database."""
        if not isinstance(error, duckdb.Error):
            return error
        kind, said = kebab(type(error).__name__).removesuffix("-exception"), str(error)
        if isinstance(error, _REFUSALS):
            return RowsRefused(kind, f"{self.title} refused the note: {kind}.")
        if "No space left" in said or "max_temp_directory_size" in said:
            return KiwiError(f"The disk of {self} is full: make room, then go on with --resume.")
        if "lock" in said and isinstance(error, duckdb.IOException):
            return Busy(f"{self} is held by another program")
        if isinstance(error, duckdb.ConnectionException) and "configuration" in said:
            return KiwiError(f"{self} is read by this very run: a DuckDB file can't be source and sink at once.")
        if isinstance(error, duckdb.TransactionException):
            return Busy(f"{self} is busy")
        if "not a valid DuckDB" in said:
            return KiwiError(f"{self} is no DuckDB file.")
        if "ermission denied" in said or "read-only" in said:
            return KiwiError(f"{self} can't be written: check its rights.")
        return KiwiError(f"{self} answers with an error ({kind}).")

    def close(self) -> None:
        """See Database: between transactions nothing is held."""

    def _connected(self) -> duckdb.DuckDBPyConnection:
        assert self._connection is not None  # noqa: S101 (only inside a transaction)
        return self._connection

    def _opened(self) -> duckdb.DuckDBPyConnection:
        ends = time.monotonic() + self._patience
        while True:
            try:
                return duckdb.connect(self._path)
            except duckdb.IOException as error:
                if not isinstance(self.translated(error), Busy) or time.monotonic() > ends:
                    raise
            time.sleep(random.uniform(_PAUSE / 5, _PAUSE))

    def _let_go(self) -> None:
        held, self._connection = self._connection, None
        try:
            if held is not None:
                held.close()
        finally:
            _LOCKS[self._path].release()


def _arrow(of: TypeEngine[Any]) -> pa.DataType:
    return next((arrow for kind, arrow in _ARROW if isinstance(of, kind)), pa.string())


def _kind(of: TypeEngine[Any]) -> str:
    """A type in DuckDB's SQL; its NUMERIC would keep three decimals."""
    return {"NUMERIC": "DOUBLE", "DATETIME": "TIMESTAMP"}.get(str(of), str(of))

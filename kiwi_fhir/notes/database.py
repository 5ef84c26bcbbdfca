"""A database that notes are read from: PostgreSQL by a server-side cursor, SQLite, DuckDB. Nothing is written.

Messages name the database without its password, and never a value of a row. The password itself is looked up in the
environment where it stands there (see database_url.py), in each worker anew: a pickled `Database` has only its name.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kiwi_fhir.clients.backoff import Backoff
from kiwi_fhir.errors import InputError, KiwiError, Unavailable, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from kiwi_fhir.clients.database_url import DatabaseUrl

_LIBRARIES = ("sqlalchemy", "psycopg", "sqlite3", "duckdb", "_duckdb")
_HELD = "{} is held by another program: try again when that is done."
_AGAIN = "run again (`run` goes on with --resume)"
_BUFFER = 200  # rows that a cursor fetches at a time
_CONNECT_SECONDS = "10"
_WAIT_SECONDS = 60.0  # for who writes to the same file

# PostgreSQL's own, https://www.postgresql.org/docs/15/errcodes-appendix.html; psycopg gives a failed log-in no code.
_DENIED, _UNDEFINED = "42501", ("42P01", "42703", "3F000")
_NOT_UTF8 = ("22021", "22P05")  # in a database that does not know its own encoding (SQL_ASCII)
_WRONG_LOGIN = ("password authentication failed", "no password supplied", "authentication failed", "no pg_hba.conf")
_NO_SUCH = ("does not exist",)
_CERTIFICATE = ("certificate", "does not support SSL", "root.crt")


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table or view as the catalogue has it: the names of its columns by their lower case.

    `indexed` are those (in lower case) that a range can be found by; `row_key` is a hidden column that it can too.
    """

    name: str
    schema: str | None
    columns: Mapping[str, str]
    indexed: frozenset[str]
    row_key: str | None = None


class Session(Protocol):
    """An open connection."""

    def table(self, name: str, schemas: Sequence[str | None]) -> TableInfo | None:
        """The first table of this name, in any case, in one of the schemas (None: where the database looks itself)."""
        ...

    def rows(self, statement: Select[Any]) -> Iterator[Sequence[Any]]:
        """The rows of a query, streamed."""
        ...


class Database:
    """A database by its address. Picklable; each session is a connection of its own."""

    def __init__(self, address: str) -> None:
        """Raises UsageError for an address that is none, or without the libraries."""
        self._address = address
        url = self._url()
        self.schema = url.schema
        #: Whether it is a file: who reads it bars who writes, so a part of it is read at once.
        self.is_file = url.kind != "postgresql"

    def __str__(self) -> str:
        return str(self._url())

    @contextmanager
    def session(self, reading: str = "") -> Iterator[Session]:
        """A connection, closed at the end.

        Raises UsageError for what the address or the rights can't give and Unavailable for a server that is away;
        once connected and `reading` a table, InputError for whatever breaks off.
        """
        url = self._url()
        connected = False
        try:
            with _duckdb(url) if url.kind == "duckdb" else _sqlalchemy(url) as session:
                connected = True
                yield session
        except KiwiError:
            raise
        except ImportError as error:
            raise _missing(error) from error
        except Exception as error:
            if not _is_database_error(error):
                raise
            # `from None`: the driver's words may hold the address or a value.
            if connected and reading:
                raise InputError(_broken(error, url, reading)) from None
            raise _refused(error, url) from None

    def _url(self) -> DatabaseUrl:
        try:
            from kiwi_fhir.clients.database_url import database_url
        except ImportError as error:
            raise _missing(error) from error
        return database_url(self._address)


@contextmanager
def _sqlalchemy(url: DatabaseUrl) -> Iterator[Session]:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    if url.kind == "sqlite":
        path = _existing(url)

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=_WAIT_SECONDS
            )
            # Bytes that are not UTF-8 become lone surrogates, as in a CSV: that note fails alone.
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            return connection

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    else:
        from kiwi_fhir.clients.database_url import tls_options

        defaults = {"connect_timeout": _CONNECT_SECONDS, "application_name": "kiwi-fhir", "client_encoding": "utf8"}
        defaults |= tls_options(url)
        address = url.url.update_query_dict({key: value for key, value in defaults.items() if key not in url.url.query})
        engine = create_engine(address, poolclass=NullPool, hide_parameters=True)
    with engine.connect() as connection:
        if url.kind == "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)
        yield _SqlalchemySession(connection)


class _SqlalchemySession:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def table(self, name: str, schemas: Sequence[str | None]) -> TableInfo | None:
        """See Session."""
        from sqlalchemy import inspect

        catalogue = inspect(self._connection)
        there = (None, *catalogue.get_schema_names())
        for schema in (schema for schema in schemas if schema in there):
            named = {other.lower(): other for other in catalogue.get_table_names(schema)}
            spelling = named.get(name, name)  # a view, or a table further down the search path, is not listed
            if catalogue.has_table(spelling, schema):
                columns = [column["name"] for column in catalogue.get_columns(spelling, schema)]
                keys: list[Sequence[str | None]] = [
                    catalogue.get_pk_constraint(spelling, schema)["constrained_columns"]
                ]
                keys += [index["column_names"] for index in catalogue.get_indexes(spelling, schema)]
                indexed = frozenset(names[0].lower() for names in keys if names and names[0])
                row_key = "rowid" if catalogue.dialect.name == "sqlite" and name in named else None
                return TableInfo(spelling, schema, {column.lower(): column for column in columns}, indexed, row_key)
        return None

    def rows(self, statement: Select[Any]) -> Iterator[Sequence[Any]]:
        """See Session."""
        with self._connection.execute(statement.execution_options(stream_results=True, yield_per=_BUFFER)) as result:
            yield from result


@contextmanager
def _duckdb(url: DatabaseUrl) -> Iterator[Session]:
    import duckdb

    path = str(_existing(url))
    backoff = Backoff(_WAIT_SECONDS, time.sleep)
    while True:
        try:
            connection = duckdb.connect(path, read_only=True)
            break
        except duckdb.ConnectionException:  # this very process has it open to write, as a sink does
            connection = duckdb.connect(path)
            break
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
            backoff.wait(Unavailable(_HELD.format(url)))
    try:
        yield _DuckDbSession(connection)
    finally:
        connection.close()


class _DuckDbSession:
    """DuckDB without a dialect of its own: the standard one is near enough."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def table(self, name: str, schemas: Sequence[str | None]) -> TableInfo | None:
        """See Session. All columns count as indexed: blocks outside of a range are passed over."""
        found = self._connection.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns "
            "WHERE lower(table_name) = ? AND table_catalog = current_database() ORDER BY ordinal_position",
            [name],
        ).fetchall()
        for schema in schemas:
            rows = [row for row in found if row[0] == (schema or "main")]
            if rows:
                columns = {column.lower(): column for _, _, column in rows}
                return TableInfo(rows[0][1], rows[0][0], columns, frozenset(columns))
        return None

    def rows(self, statement: Select[Any]) -> Iterator[Sequence[Any]]:
        """See Session."""
        from sqlalchemy.engine.default import DefaultDialect

        compiled = statement.compile(dialect=DefaultDialect(paramstyle="qmark"))
        values = [compiled.params[name] for name in compiled.positiontup or ()]
        self._connection.execute(str(compiled), values)
        while block := self._connection.fetchmany(_BUFFER):
            yield from block


def _existing(url: DatabaseUrl) -> Path:
    """The file of the database, which would be made anew if it were not there."""
    path = Path(str(url.url.database))
    if not path.is_file():
        raise UsageError(f"{path} does not exist: name the file of a database.")
    return path


def _missing(error: ImportError) -> UsageError:
    return UsageError(f"The package '{error.name}' is missing: install kiwi_fhir[omop].")


def _is_database_error(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in _LIBRARIES for kind in type(error).__mro__)


def _causes(error: Exception) -> Iterable[str]:
    """The driver's own words and code, for a look at them only."""
    origin = getattr(error, "orig", None) or error
    return str(getattr(origin, "sqlstate", None) or ""), str(origin)


def _refused(error: Exception, url: DatabaseUrl) -> KiwiError:
    """What it means that a connection or a first look failed."""
    code, words = _causes(error)
    if code == _DENIED or "permission denied" in words:
        return UsageError(f"{url} does not let us read: have SELECT granted on the table (and USAGE on its schema).")
    if code in _UNDEFINED:
        return UsageError(f"{url} does not have the table or a column of it any more.")
    if any(part in words for part in _CERTIFICATE):
        return UsageError(
            f"{url} has no certificate that we trust: add ?sslrootcert=FILE, or do without by ?sslmode=prefer."
        )
    if "connection option" in words:
        return UsageError(f"{url} has an option behind the '?' that PostgreSQL does not know.")
    if any(part in words for part in _WRONG_LOGIN) or code.startswith("28"):
        return UsageError(f"{url} refuses the user or the password: check the URL, its ${{VARIABLES}} and PGPASSWORD.")
    if code.startswith("3D") or any(part in words for part in _NO_SUCH):
        return UsageError(f"{url} does not exist on that server, or its user does not.")
    if "not a database" in words or "not a valid DuckDB" in words:
        return UsageError(f"{url} is no {url.kind} database.")
    if "lock" in words and url.kind != "postgresql":
        return Unavailable(_HELD.format(url))
    if url.kind == "postgresql" and not code:
        return Unavailable(f"{url} can't be reached or lets nobody in: check host and port, and that the server runs.")
    return KiwiError(f"{url} can't be read ({_name(error)}).")


def _broken(error: Exception, url: DatabaseUrl, table: str) -> str:
    """What it means that reading broke off."""
    code, words = _causes(error)
    if code == _DENIED or "permission denied" in words:
        return f"{url} does not let us read {table}: have SELECT granted on it, then {_AGAIN}."
    if code in _UNDEFINED or "no such" in words:
        return f"{url} does not have {table} or a column of it any more."
    if code in _NOT_UTF8:
        return f"{table} of {url} holds text that is not UTF-8: convert it, then {_AGAIN}."
    if code.startswith(("08", "57")) or getattr(error, "connection_invalidated", False):
        return f"The connection to {url} was lost while {table} was read: {_AGAIN}."
    return f"{url} can't be read on in {table} ({_name(error)})."


def _name(error: Exception) -> str:
    code, _ = _causes(error)
    name = type(getattr(error, "orig", None) or error).__name__
    return f"{name} {code}" if code else name

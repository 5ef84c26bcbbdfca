"""What the OMOP sink asks of a database, whichever it is.

SQL here has `?` for each value. Every error of a driver becomes one of three: `RowsRefused` (this data, not other),
`Busy` (the same again may work: a lock, a deadlock, a lost connection), or a KiwiError that ends the run. None of them
shows a value of a row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kiwi_fhir.clients.database_url import DatabaseUrl
from kiwi_fhir.errors import KiwiError, Unavailable

Row = tuple[object, ...]


class RowsRefused(KiwiError):
    """The database does not take this data; `reason` is a short class such as `foreign-key-violation`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Busy(Unavailable):
    """The database could not do it now."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column as the database has it. `bits` is how long a whole number may be, None for another type."""

    name: str
    kind: str
    bits: int | None
    required: bool


class Database(ABC):
    """One connection to one database; it connects when it is first used, and anew after a lost connection."""

    #: How the database and its files are called in messages.
    title: str
    #: Compares values of which any may be NULL.
    differs = "IS DISTINCT FROM"

    def __init__(self, address: DatabaseUrl) -> None:
        self.address = address

    def __str__(self) -> str:
        return str(self.address)

    @abstractmethod
    def check(self, *, create: bool) -> None:
        """Connect. Raises UsageError saying what hinders; with `create` the database's file may be missing."""

    @abstractmethod
    def create(self, tables: Sequence[str]) -> None:
        """Create the tables that are missing. Raises UsageError where we may not."""

    @abstractmethod
    def fields(self, table: str) -> dict[str, Field] | None:
        """The columns of a table by name, in their order; None without such a table."""

    @abstractmethod
    def missing_rights(self, table: str, rights: Sequence[str]) -> list[str]:
        """Which of these (`SELECT`, `INSERT`, `UPDATE`, `DELETE`) we do not have."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction."""

    @abstractmethod
    def commit(self) -> None:
        """End it; all of it is kept."""

    @abstractmethod
    def rollback(self) -> None:
        """End it; nothing of it is kept. Never raises."""

    @abstractmethod
    def run(self, sql: str, *values: object) -> list[Row]:
        """Run a statement and give its rows."""

    @abstractmethod
    def run_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement for each row of values."""

    def stored(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> Sequence[Row]:
        """Rows with values as these columns hold them."""
        return rows

    def update(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Bring rows that are there up to date; the first column is the key. Rows that are right are not written."""
        key, others = quoted(columns[0]), [quoted(column) for column in columns[1:]]
        changes = ", ".join(f"{column} = ?" for column in others)
        differs = " OR ".join(f"{column} {self.differs} ?" for column in others)
        sql = f"UPDATE {self.name_of(table)} SET {changes} WHERE {key} = ? AND ({differs})"  # noqa: S608
        self.run_many(sql, [(*row[1:], row[0], *row[1:]) for row in self.stored(table, columns, rows)])

    @abstractmethod
    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows in bulk."""

    @abstractmethod
    def among(self, numbers: Sequence[int]) -> tuple[str, object]:
        """`IN`-like SQL with one `?`, and the value for it."""

    def lock(self, table: str) -> None:  # noqa: B027 (a database with one writer at a time needs none)
        """Keep others from writing to the table until the transaction ends; called first in it."""

    def sequence_of(self, table: str, column: str) -> str | None:
        """The sequence that gives a column its numbers, None without one."""
        return None

    @abstractmethod
    def translated(self, error: Exception) -> Exception:
        """A driver's error as RowsRefused, Busy or KiwiError; itself where it is none of the driver's."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises RowsRefused, Busy or KiwiError."""
        try:
            self.begin()
            yield
            self.commit()
        except BaseException as error:
            self.rollback()
            if not isinstance(error, Exception):
                raise
            ours = self.translated(error)
            if ours is error:
                raise
            raise ours from None  # a driver's error may quote a row

    def name_of(self, table: str) -> str:
        """A table's name in SQL."""
        schema = self.address.schema
        return f"{quoted(schema)}.{quoted(table)}" if schema else quoted(table)

    def next_ids(self, table: str, column: str, count: int) -> Sequence[int]:
        """Free ids for new rows: of the column's sequence, else those behind the largest (see `lock`)."""
        sequence = self.sequence_of(table, column)
        if sequence is not None:
            numbers = self.run("SELECT nextval(?) FROM generate_series(1, ?)", sequence, count)
            return [int(str(row[0])) for row in numbers]
        found = self.run(f"SELECT coalesce(max({quoted(column)}), 0) FROM {self.name_of(table)}")  # noqa: S608
        first = int(str(found[0][0])) + 1
        return range(first, first + count)


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def listed(columns: Sequence[str]) -> str:
    """Columns in SQL."""
    return ", ".join(map(quoted, columns))


def kebab(words: Any) -> str:
    """`ForeignKeyViolation` as `foreign-key-violation`."""
    text = str(words)
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in text).strip("-")

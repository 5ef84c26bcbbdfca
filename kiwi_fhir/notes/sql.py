"""Note tables in a database: MIMIC-III, MIMIC-IV-Note, the NOTE table of OMOP (CDM 5.4).

A table is read in parts, each a range of its key with about the same number of rows: every part is one input of the
pipeline, so that several workers share a table. What a row becomes is decided where the CSV files are read, so both
give the same notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from kiwi_fhir.errors import NoteError, UsageError
from kiwi_fhir.notes.csv_rows import is_decodable
from kiwi_fhir.notes.database import Database, Session, TableInfo
from kiwi_fhir.notes.files import Files
from kiwi_fhir.notes.mimic import MimicIII, MimicIV
from kiwi_fhir.notes.omop import OmopRow
from kiwi_fhir.notes.source import failure
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Failure, Note

if TYPE_CHECKING:
    from sqlalchemy import Select

#: Rows of a part: of a server, a part is one transaction, which slow models should not hold open for hours; of a file,
#: it is read into memory whole.
PART_ROWS, FILE_PART_ROWS = 5000, 1000
#: Parts of a table without an index on its key, each of which is a pass over the table.
_PASSES = 16
_DATABASE = re.compile(
    r"(?:postgres(?:ql)?|sqlite|duckdb|mysql|mariadb|mssql|oracle|redshift|snowflake|bigquery)(?:\+\w+)?://"
)


def is_database(address: str) -> bool:
    """Whether an input is a database, and no file: `gs://` and its like are files."""
    return _DATABASE.match(address.lower()) is not None


class _Rows(Protocol):
    """What a row of a kind of table becomes."""

    @property
    def kind(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def needed(self) -> tuple[str, ...]: ...

    def note(self, row: Mapping[str, str]) -> Note | None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """The rows with `low` <= key < `high` (None: no bound), or those without a key."""

    table: TableInfo
    low: Any = None
    high: Any = None
    keyless: bool = False


class _DatabaseSource:
    """What the kinds share: parts, columns, bad rows. See Source; `files` takes one address."""

    tables: ClassVar[tuple[str, ...]]
    schemas: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self.kind = rows.kind
        self.dropped = 0
        #: Rows of a part; None is the usual.
        self.part_rows: int | None = None
        self._database: Database | None = None
        self._parts: dict[str, Part] = {}

    def files(self, inputs: Sequence[str]) -> list[str]:
        """The parts, as `TABLE.NUMBER`; no name holds the address or a key.

        Raises UsageError for an address that is none, a password or right that is missing, and for a missing table or
        column; Unavailable for a server that is away.
        """
        if len(inputs) != 1:
            raise UsageError(f"Name one database as the input of {self.kind}, and nothing else.")
        self._database = database = Database(inputs[0])
        self._parts = {}
        with database.session() as session:
            schemas: tuple[str | None, ...] = (database.schema,) if database.schema else (None, *self.schemas)
            tables = [found for name in self.tables if (found := session.table(name, schemas)) is not None]
            if not tables:
                where = " or ".join(schema or "the search path" for schema in schemas)
                raise UsageError(f"{database} has no table {' or '.join(self.tables)} in {where}: add ?schema=NAME.")
            for table in tables:
                missing = [name for name in self._rows.needed if name not in table.columns]
                if missing:
                    raise UsageError(
                        f"The table {table.name} of {database} lacks the columns {', '.join(missing)} of {self.kind}."
                    )
                list(session.rows(self._select(Part(table)).limit(1)))  # whether we may read all columns
                parts = self._plan(session, table, is_file=database.is_file)
                self._parts |= {f"{table.name.lower()}.{number:05d}": part for number, part in enumerate(parts)}
        with suppress(UsageError), database.session() as session:
            self._look(session, tables, schemas)
        return list(self._parts)

    def read(self, path: str) -> Iterator[Note | Failure]:
        """The notes of a part in the order of its key; see Source.read. A row without a note id fails as PART:ROW."""
        part = self._parts[path]
        names = self._columns(part.table)
        for number, values in enumerate(self._values(part), start=1):
            row = dict(zip(names, map(as_text, values), strict=True))
            try:
                note = self._note(row, number)
            except NoteError as error:
                name = row[self._rows.key].strip()
                yield failure(name if name and is_decodable(name) else f"{path}:{number}", error)
                continue
            if note is None:
                self.dropped += 1
            else:
                yield note

    def _values(self, part: Part) -> Iterator[Sequence[Any]]:
        assert self._database is not None  # noqa: S101 (`files` comes first)
        with self._database.session(reading=part.table.name) as session:
            rows = session.rows(self._select(part))
            if not self._database.is_file:
                yield from rows
                return
            held = list(rows)
        yield from held

    def _note(self, row: Mapping[str, str], number: int) -> Note | None:
        if not all(map(is_decodable, row.values())):
            raise NoteError("undecodable-text", f"Row {number} is not UTF-8.")
        note = self._rows.note(row)
        if note is not None and not note.id:
            raise NoteError("bad-row", f"Row {number} has no note id.")
        return note

    def _plan(self, session: Session, table: TableInfo, *, is_file: bool) -> list[Part]:
        """Parts by every n-th key: as many rows in each, whatever the keys are like."""
        from sqlalchemy import func, literal, select

        source = _table(table)
        key = self._key(source, table)
        size = self.part_rows or (FILE_PART_ROWS if is_file else PART_ROWS)
        if self._rows.key not in table.indexed and table.row_key is None:
            ((count,),) = session.rows(select(func.count()).select_from(source))
            size = max(size, -(-count // _PASSES))
        place = func.row_number().over(order_by=key).label("place")
        numbered = select(key.label("key"), place).where(key.is_not(None)).subquery()
        starts = select(numbered.c.key).where(numbered.c.place > 1, (numbered.c.place - 1) % size == 0)
        bounds = [row[0] for row in session.rows(starts.order_by(numbered.c.key))]
        bounds = list(dict.fromkeys(bounds))  # keys may repeat where the table does not forbid it
        parts = [Part(table, low, high) for low, high in zip([None, *bounds], [*bounds, None], strict=True)]
        if list(session.rows(select(literal(1)).select_from(source).where(key.is_(None)).limit(1))):
            parts.append(Part(table, keyless=True))
        return parts

    def _select(self, part: Part) -> Select[Any]:
        from sqlalchemy import select

        source = _table(part.table)
        key = self._key(source, part.table)
        statement = select(*(source.c[part.table.columns[name]] for name in self._columns(part.table)))
        if part.keyless:
            return statement.where(key.is_(None))
        if part.low is not None:
            statement = statement.where(key >= part.low)
        statement = statement.where(key < part.high) if part.high is not None else statement.where(key.is_not(None))
        return statement.order_by(key)

    def _key(self, source: Any, table: TableInfo) -> Any:
        """The column that ranges are of."""
        is_indexed = self._rows.key in table.indexed or table.row_key is None
        return source.c[table.columns[self._rows.key] if is_indexed else table.row_key]

    def _columns(self, table: TableInfo) -> tuple[str, ...]:
        return (*self._rows.needed, *(name for name in self.optional if name in table.columns))

    def _look(self, session: Session, tables: Sequence[TableInfo], schemas: Sequence[str | None]) -> None:
        """What else a kind wants to know of the database; it does without where that may not be read."""


class MimicIIIDatabase(_DatabaseSource):
    """NOTEEVENTS in a database, in the search path or the schema `mimiciii`."""

    tables = ("noteevents",)
    schemas = ("mimiciii",)
    optional = ("charttime", "description")

    def __init__(self, files: Files, mappings: Mappings | None = None) -> None:
        super().__init__(MimicIII(files, mappings))


class MimicIVDatabase(_DatabaseSource):
    """MIMIC-IV-Note's discharge and radiology in a database, in the search path or the schema `mimiciv_note`."""

    tables = ("discharge", "radiology")
    schemas = ("mimiciv_note",)

    def __init__(self, files: Files, mappings: Mappings | None = None) -> None:
        super().__init__(MimicIV(files, mappings))


class OmopDatabase(_DatabaseSource):
    """The NOTE table of OMOP, in the search path or the schema `cdm` or `omop`.

    Where the vocabulary's `concept` is there too, a note's class gets its name and LOINC code from it.
    """

    tables = ("note",)
    schemas = ("cdm", "omop")
    optional = ("note_datetime", "note_class_concept_id", "note_title", "visit_occurrence_id")

    def __init__(self, files: Files, mappings: Mappings | None = None) -> None:
        self._omop = OmopRow()
        super().__init__(self._omop)

    def _look(self, session: Session, tables: Sequence[TableInfo], schemas: Sequence[str | None]) -> None:
        from sqlalchemy import select

        (table,) = tables
        concept = session.table("concept", (table.schema, *schemas))
        wanted = ("concept_id", "concept_name", "vocabulary_id", "concept_code")
        if "note_class_concept_id" not in table.columns or concept is None or set(wanted) - set(concept.columns):
            return
        notes: Any = _table(table)
        concepts: Any = _table(concept)
        used = select(notes.c[table.columns["note_class_concept_id"]]).distinct()
        columns = [concepts.c[concept.columns[name]] for name in wanted]
        classes = session.rows(select(*columns).where(columns[0].in_(used)))
        self._omop.classes = {int(row[0]): (row[1], row[2], row[3]) for row in classes if row[0]}


def _table(table: TableInfo) -> Any:
    """The table for a query, its names exactly as they are."""
    from sqlalchemy import column
    from sqlalchemy import table as named
    from sqlalchemy.sql import quoted_name

    names = [*table.columns.values(), *([table.row_key] if table.row_key else [])]
    columns: Any = (column(quoted_name(name, quote=True)) for name in names)
    schema = None if table.schema is None else quoted_name(table.schema, quote=True)
    return named(quoted_name(table.name, quote=True), *columns, schema=schema)


def as_text(value: object) -> str:
    """A value as a CSV of the table has it: nothing for NULL, ISO 8601 for dates and times."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, date):  # a datetime is one
        return value.isoformat().replace("T", " ")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    return str(value)

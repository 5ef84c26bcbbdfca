"""The tables of the OMOP CDM 5.4 that we write, and one of our own, in SQLAlchemy Core.

Columns, types, lengths and what is required follow the official field list (OMOP_CDMv5.4_Field_Level.csv,
https://ohdsi.github.io/CommonDataModel/cdm54.html), in its order, with one difference: ids are BIGINT, so that they can
be computed from what a row says. A table that was made from the official DDL has INTEGER ids and is used as it is.
The first column of a table is its id.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
)
from sqlalchemy.schema import CreateIndex, CreateTable, SchemaConst
from sqlalchemy.types import TypeEngine

#: Versions of the CDM whose tables are these.
CDM_VERSION = "5.4"
NOTE, NOTE_NLP = "note", "note_nlp"
CONDITION, DRUG, MEASUREMENT, PROCEDURE = (
    "condition_occurrence",
    "drug_exposure",
    "measurement",
    "procedure_occurrence",
)
CLINICAL = (CONDITION, DRUG, MEASUREMENT, PROCEDURE)
#: Which clinical rows came from which note, so that a rerun can replace them: the CDM itself has no place for that.
LINKS = "kiwi_fhir_rows"

_TYPES: dict[str, TypeEngine[Any]] = {
    "integer": Integer(),
    # SQLite's INTEGER holds 64 bits, and only it can be the key of the row itself.
    "bigint": BigInteger().with_variant(Integer(), "sqlite"),
    "date": Date(),
    "datetime": DateTime(),
    # DuckDB's NUMERIC would keep three decimals; SQLite has no exact numbers.
    "float": Numeric().with_variant(Double(), "sqlite"),
    "varchar(max)": Text(),
}

# name, type, `!` where it is required. An id is a bigint here.
_FIELDS = {
    NOTE: """
        note_id bigint!
        person_id bigint!
        note_date date!
        note_datetime datetime
        note_type_concept_id integer!
        note_class_concept_id integer!
        note_title varchar(250)
        note_text varchar(max)!
        encoding_concept_id integer!
        language_concept_id integer!
        provider_id bigint
        visit_occurrence_id bigint
        visit_detail_id bigint
        note_source_value varchar(50)
        note_event_id bigint
        note_event_field_concept_id integer
    """,
    NOTE_NLP: """
        note_nlp_id bigint!
        note_id bigint!
        section_concept_id integer
        snippet varchar(250)
        offset varchar(50)
        lexical_variant varchar(250)!
        note_nlp_concept_id integer
        note_nlp_source_concept_id integer
        nlp_system varchar(250)
        nlp_date date!
        nlp_datetime datetime
        term_exists varchar(1)
        term_temporal varchar(50)
        term_modifiers varchar(2000)
    """,
    CONDITION: """
        condition_occurrence_id bigint!
        person_id bigint!
        condition_concept_id integer!
        condition_start_date date!
        condition_start_datetime datetime
        condition_end_date date
        condition_end_datetime datetime
        condition_type_concept_id integer!
        condition_status_concept_id integer
        stop_reason varchar(20)
        provider_id bigint
        visit_occurrence_id bigint
        visit_detail_id bigint
        condition_source_value varchar(50)
        condition_source_concept_id integer
        condition_status_source_value varchar(50)
    """,
    DRUG: """
        drug_exposure_id bigint!
        person_id bigint!
        drug_concept_id integer!
        drug_exposure_start_date date!
        drug_exposure_start_datetime datetime
        drug_exposure_end_date date!
        drug_exposure_end_datetime datetime
        verbatim_end_date date
        drug_type_concept_id integer!
        stop_reason varchar(20)
        refills integer
        quantity float
        days_supply integer
        sig varchar(max)
        route_concept_id integer
        lot_number varchar(50)
        provider_id bigint
        visit_occurrence_id bigint
        visit_detail_id bigint
        drug_source_value varchar(50)
        drug_source_concept_id integer
        route_source_value varchar(50)
        dose_unit_source_value varchar(50)
    """,
    MEASUREMENT: """
        measurement_id bigint!
        person_id bigint!
        measurement_concept_id integer!
        measurement_date date!
        measurement_datetime datetime
        measurement_time varchar(10)
        measurement_type_concept_id integer!
        operator_concept_id integer
        value_as_number float
        value_as_concept_id integer
        unit_concept_id integer
        range_low float
        range_high float
        provider_id bigint
        visit_occurrence_id bigint
        visit_detail_id bigint
        measurement_source_value varchar(50)
        measurement_source_concept_id integer
        unit_source_value varchar(50)
        unit_source_concept_id integer
        value_source_value varchar(50)
        measurement_event_id bigint
        meas_event_field_concept_id integer
    """,
    PROCEDURE: """
        procedure_occurrence_id bigint!
        person_id bigint!
        procedure_concept_id integer!
        procedure_date date!
        procedure_datetime datetime
        procedure_end_date date
        procedure_end_datetime datetime
        procedure_type_concept_id integer!
        modifier_concept_id integer
        quantity integer
        provider_id bigint
        visit_occurrence_id bigint
        visit_detail_id bigint
        procedure_source_value varchar(50)
        procedure_source_concept_id integer
        modifier_source_value varchar(50)
    """,
    LINKS: """
        note_id bigint!
        nlp_system varchar(250)!
        table_name varchar(50)!
        row_id bigint!
    """,
}
_METADATA = MetaData()


def _column(line: str, *, key: bool) -> Column[Any]:
    name, kind = line.split()
    required, kind = kind.endswith("!"), kind.rstrip("!")
    length = kind.removeprefix("varchar(").removesuffix(")")
    of = String(int(length)) if length.isdigit() else _TYPES[kind]
    return Column(name, of, primary_key=key, nullable=not required, autoincrement=False)


def _table(name: str) -> Table:
    lines = _FIELDS[name].split("\n")[1:-1]
    columns = [_column(line, key=index == 0 and name != LINKS) for index, line in enumerate(lines)]
    table = Table(name, _METADATA, *columns)
    if name in (NOTE_NLP, LINKS):
        Index(f"idx_{name}_note_id", table.c.note_id)
    return table


TABLES: dict[str, Table] = {name: _table(name) for name in _FIELDS}
COLUMNS: dict[str, tuple[str, ...]] = {name: tuple(table.c.keys()) for name, table in TABLES.items()}

_EMPTY = {name: dict.fromkeys(columns[1:]) for name, columns in COLUMNS.items()}


def row(table: str, **values: object) -> tuple[object, ...]:
    """A row of a table without its id, the first column: `values` in the order of the columns, None where not given.

    Raises ValueError for a name that is none of these columns.
    """
    empty = _EMPTY[table]
    filled = empty | values  # keeps the order of `empty`; a name that is no column comes on top
    if len(filled) > len(empty):
        raise ValueError(f"{table} has no column {', '.join(sorted(values.keys() - empty.keys()))}")
    return tuple(filled.values())


def statements(name: str, driver: str, schema: str | None = None) -> list[str]:
    """The SQL that makes a table and its indexes, for a driver such as `sqlite`."""
    table = TABLES[name].to_metadata(MetaData(), schema=schema or SchemaConst.RETAIN_SCHEMA)
    dialect = URL.create(driver).get_dialect()()
    indexes = [str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes]
    return [str(CreateTable(table).compile(dialect=dialect)), *indexes]


def needed(*, notes: bool, clinical: bool) -> tuple[str, ...]:
    """The tables of a run that also writes NOTE rows or clinical rows."""
    return (*((NOTE,) if notes else ()), NOTE_NLP, *((*CLINICAL, LINKS) if clinical else ()))

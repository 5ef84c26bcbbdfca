"""Our tables against the CDM's official field list (names, types, lengths, not-null), and as databases show them."""

import csv
from pathlib import Path

import pytest

from kiwi_fhir.omop.tables import COLUMNS, LINKS, MEASUREMENT, TABLES, row, statements
from kiwi_fhir.write.omop.sink import OmopSink

#: table, field, required and type of the tables that we write, compared with OHDSI/CommonDataModel (November 2026):
#: inst/csv/OMOP_CDMv5.4_Field_Level.csv for the notes, inst/ddl/5.4/postgresql for all.
FIELDS = Path(__file__).parent / "cdm_5_4_fields.csv"


def official():
    """The field list by table."""
    found = {}
    with FIELDS.open(encoding="utf-8", newline="") as rows:
        for field in csv.DictReader(rows):
            found.setdefault(field["cdmTableName"], []).append(field)
    return found


def is_id(name):
    """Numbers of rows, which are wider in our tables; concepts are OMOP's own and stay as they are."""
    return name.endswith("_id") and not name.endswith("concept_id")


def written(column):
    """A column's type in the words of the field list."""
    kind = str(column.type).lower()
    return {"bigint": "integer", "text": "varchar(MAX)", "numeric": "float", "datetime": "datetime"}.get(kind, kind)


def test_our_tables_are_the_official_ones():
    assert official().keys() == TABLES.keys() - {LINKS}
    for name, fields in official().items():
        assert [(row["cdmFieldName"], row["isRequired"], row["cdmDatatype"]) for row in fields] == [
            (column.name, "FALSE" if column.nullable else "TRUE", written(column)) for column in TABLES[name].columns
        ]
        assert [column.name for column in TABLES[name].primary_key] == [COLUMNS[name][0]]


def test_only_ids_are_wider_than_the_official_ones():
    for name in official():
        for column in TABLES[name].columns:
            assert (str(column.type) == "BIGINT") == is_id(column.name), column


TYPES = {
    "integer": ("integer", "INTEGER", "INTEGER"),
    "date": ("date", "DATE", "DATE"),
    "datetime": ("timestamp without time zone", "TIMESTAMP", "DATETIME"),
    "float": ("numeric", "DOUBLE", "DOUBLE"),
    "varchar(MAX)": ("text", "VARCHAR", "TEXT"),
}


def made(kind, field):
    """The type that a database of this kind should show for an official field."""
    index = ("postgresql", "duckdb", "sqlite").index(kind)
    if is_id(field["cdmFieldName"]):
        return ("bigint", "BIGINT", "INTEGER")[index]
    length = field["cdmDatatype"].removeprefix("varchar")
    if length[0] == "(" and length != "(MAX)":
        return (f"character varying{length}", "VARCHAR", f"VARCHAR{length}")[index]
    return TYPES[field["cdmDatatype"]][index]


LOOK = {
    "postgresql": """SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
        WHERE attrelid = '{}'::regclass AND attnum > 0 ORDER BY attnum""",
    "duckdb": """SELECT column_name, data_type, NOT is_nullable FROM duckdb_columns()
        WHERE table_name = '{}' ORDER BY column_index""",
    "sqlite": "SELECT name, type, \"notnull\" FROM pragma_table_info('{}')",
}


def test_databases_make_them_so(database):
    for _ in range(2):  # what is there already stays
        sink = OmopSink(database.url, create=True, notes=True, clinical=True)
        sink.check()
        sink.close()
    for name, fields in official().items():
        found = [(row[0], row[1], bool(row[2])) for row in database.run(LOOK[database.kind].format(name))]
        assert found == [
            (field["cdmFieldName"], made(database.kind, field), field["isRequired"] == "TRUE") for field in fields
        ]


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "sqlite+pysqlite"])
def test_notes_are_found_by_an_index(driver):
    assert "CREATE INDEX" in statements("note_nlp", driver)[1]
    assert len(statements("note", driver)) == 1


def test_a_row_is_in_the_order_of_the_columns_and_knows_their_names():
    made = row(MEASUREMENT, measurement_source_value="Na", person_id=7)
    named = dict(zip(COLUMNS[MEASUREMENT][1:], made, strict=True))
    assert {name: value for name, value in named.items() if value is not None} == {
        "person_id": 7,
        "measurement_source_value": "Na",
    }
    with pytest.raises(ValueError, match="measurement has no column condition_concept_id"):
        row(MEASUREMENT, condition_concept_id=1)

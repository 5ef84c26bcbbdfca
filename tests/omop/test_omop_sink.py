"""The sink on SQLite, DuckDB and a real PostgreSQL: what is there afterwards, whatever happened before."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from omop_databases import fresh
from omop_notes import TEXT, fact, facts, maker, note, result, results
from omop_writer import write
from test_omop_tables import is_id, official

from kiwi_fhir.omop.tables import CLINICAL, COLUMNS, LINKS, NOTE, NOTE_NLP
from kiwi_fhir.write.omop.sink import OmopSink

HERE = Path(__file__).parent
EACH = 5  # facts of a note
ALL = {"notes": True, "clinical": True}


def prepared(database, **options):
    """A sink on tables that it made."""
    sink = OmopSink(database.url, create=True, **options)
    sink.check()
    return sink


def everything(database, *, ids=True):
    """All rows of all our tables, sorted; without the ids that a database gave."""
    found = {}
    for table in (NOTE, NOTE_NLP, *CLINICAL, LINKS):
        rows = database.run(f"SELECT {', '.join(f'{chr(34)}{name}{chr(34)}' for name in COLUMNS[table])} FROM {table}")
        if not ids:
            rows = [row[1:] if table != LINKS else row[:3] for row in rows]
        found[table] = sorted(map(str, rows))
    return found


def official_tables(database):
    """Tables as the official DDL makes them: 32-bit ids, and keys where the database has them."""
    kinds = {"datetime": "TIMESTAMP", "float": "NUMERIC", "varchar(MAX)": "TEXT"}
    if database.kind == "sqlite":
        kinds |= {"datetime": "REAL", "float": "REAL"}
    for table, fields in official().items():
        lines = [
            f'"{row["cdmFieldName"]}" {kinds.get(row["cdmDatatype"], row["cdmDatatype"])}'
            + (" NOT NULL" if row["isRequired"] == "TRUE" else " NULL")
            for row in fields
        ]
        database.run(f"CREATE TABLE {table} ({', '.join([*lines, f'PRIMARY KEY ({COLUMNS[table][0]})'])})")


def test_rows_arrive_as_they_were_made(database):
    sink = prepared(database, **ALL)
    made = [result(maker(**ALL), note(str(number))) for number in (1, 2, 3)]
    assert sink.write(made) == []
    sink.close()
    for table in (NOTE, NOTE_NLP, *CLINICAL, LINKS):
        expected = sorted(row for item in made for row in item.rows.tables[table])
        columns = ", ".join(f'"{name}"' for name in COLUMNS[table])
        found = sorted(database.run(f"SELECT {columns} FROM {table}"))
        if database.kind == "sqlite":
            expected = [
                tuple(
                    value.isoformat(" ") if hasattr(value, "hour") else str(value) if hasattr(value, "day") else value
                    for value in row
                )
                for row in expected
            ]
        assert found == expected, table


def test_a_rerun_changes_nothing(database):
    sink = prepared(database, **ALL)
    made = results(maker(**ALL), range(1, 8))
    sink.write(made)
    before = everything(database)
    assert sink.write(made) == []
    assert everything(database) == before
    sink.close()


def test_another_version_replaces_its_rows_and_no_others(database):
    sink = prepared(database, **ALL)
    sink.write(results(maker(model="other-model", **ALL), (1, 2)))
    sink.write(results(maker(release="1-old", **ALL), (1, 2, 3)))
    database.run(
        "INSERT INTO note_nlp (note_nlp_id, note_id, lexical_variant, nlp_system, nlp_date) VALUES "
        "(1, 1, 'x', 'someone else', '2020-01-01'), (2, 1, 'x', NULL, '2020-01-01')"
    )
    sink.write(results(maker(release="2-new", **ALL), (1, 2)))
    sink.close()
    found = Counter(database.run("SELECT note_id, nlp_system FROM note_nlp"))
    other, new, old = (
        f"kiwi_fhir {name} (program 0)" for name in ("other-model 1-abc", "kiwi-test 2-new", "kiwi-test 1-old")
    )
    assert found == {
        (1, other): EACH,
        (2, other): EACH,
        (1, new): EACH,
        (2, new): EACH,
        (3, old): EACH,
        (1, "someone else"): 1,
        (1, None): 1,
    }
    # The clinical rows of the old version are gone with it, those of the other model are not.
    assert len(database.run("SELECT 1 FROM condition_occurrence")) == 5
    assert len(database.run(f"SELECT 1 FROM {LINKS}")) == 5 * len(CLINICAL)


def test_a_rerun_without_clinical_rows_leaves_none_behind(database):
    prepared(database, **ALL).write(results(maker(**ALL), (1, 2)))
    plain = OmopSink(database.url)
    plain.check()
    plain.write(results(maker(release="2-new"), (1,)))
    plain.close()
    assert len(database.run("SELECT 1 FROM drug_exposure")) == 1


def test_official_tables_are_used_as_they_are(database):
    official_tables(database)
    sink = prepared(database, **ALL)  # only our own table of links is missing
    sink.write(results(maker(release="1-old", **ALL), range(1, 6)))
    sink.write(results(maker(**ALL), range(3, 8)))
    before = everything(database, ids=False)
    sink.write(results(maker(**ALL), range(3, 8)))
    assert everything(database, ids=False) == before
    ids = [row[0] for row in database.run("SELECT note_nlp_id FROM note_nlp")]
    assert len(ids) == len(set(ids)) == 7 * EACH
    if database.kind != "sqlite":  # whose INTEGER has 64 bits
        assert max(ids) < 1000
    linked = {row[0] for row in database.run(f"SELECT row_id FROM {LINKS} WHERE table_name = 'measurement'")}
    assert linked == {row[0] for row in database.run("SELECT measurement_id FROM measurement")}
    sink.close()


def test_a_number_that_is_too_large_costs_its_note_only(postgresql):
    official_tables(postgresql)
    sink = OmopSink(postgresql.url)
    lost = sink.write(results(maker(), (1, 2**31 - 1, 2**31, 5)))
    sink.close()
    assert [(failure.note_id, failure.error, failure.kept) for failure in lost] == [
        (str(2**31), "number-too-large", False)
    ]
    assert {row[0] for row in postgresql.run("SELECT note_id FROM note_nlp")} == {1, 2**31 - 1, 5}


def test_a_column_with_a_sequence_gets_its_numbers_from_it(postgresql):
    official_tables(postgresql)
    postgresql.run(
        "CREATE SEQUENCE s START 1000 OWNED BY note_nlp.note_nlp_id",
        "ALTER TABLE note_nlp ALTER note_nlp_id SET DEFAULT nextval('s')",
    )
    sink = OmopSink(postgresql.url)
    sink.check()
    sink.write(results(maker(), (1,)))
    sink.close()
    found = postgresql.run("SELECT note_nlp_id FROM note_nlp ORDER BY 1")
    assert found == [(number,) for number in range(1000, 1000 + EACH)]


def test_schemas(postgresql):
    sink = OmopSink(postgresql.url + "?schema=cdm", create=True)
    sink.check()
    sink.write(results(maker(), (1,)))
    sink.close()
    assert len(postgresql.run("SELECT 1 FROM cdm.note_nlp")) == EACH
    by_path = OmopSink(postgresql.url + "?options=-csearch_path%3Dcdm")
    by_path.check()
    by_path.write(results(maker(), (2,)))
    by_path.close()
    assert len(postgresql.run("SELECT 1 FROM cdm.note_nlp")) == 2 * EACH


def test_schemas_of_duckdb(tmp_path, request):
    database = fresh("duckdb", tmp_path, request)
    sink = OmopSink(database.url + "?schema=cdm", create=True)
    sink.check()
    sink.write(results(maker(), (1,)))
    assert len(database.run("SELECT 1 FROM cdm.cdm.note_nlp")) == EACH  # the file and the schema have one name


def test_note_rows_of_others_stay(database):
    sink = prepared(database, **ALL)
    sink.write([result(maker(**ALL), note("1")), result(maker(**ALL), note("2"))])
    columns = "note_id, person_id, note_date, note_type_concept_id, note_class_concept_id, note_text, "
    columns += "encoding_concept_id, language_concept_id, note_source_value"
    database.run(
        f"INSERT INTO note ({columns}) VALUES (3, 9, '2020-01-01', 1, 2, '{TEXT}', 3, 4, 'theirs'), "
        "(4, 9, '2020-01-01', 1, 2, 'Something else.', 3, 4, NULL)"
    )
    changed = note("1", TEXT + " More.")
    lost = sink.write([result(maker(**ALL), item) for item in (changed, note("3"), note("4"), note("5"))])
    sink.close()
    assert [(failure.note_id, failure.error, failure.kept) for failure in lost] == [("4", "note-id-taken", False)]
    found = {row[0]: row[1:] for row in database.run("SELECT note_id, note_text, note_type_concept_id FROM note")}
    assert found == {
        1: (TEXT + " More.", 32831),
        2: (TEXT, 32831),
        3: (TEXT, 1),
        4: ("Something else.", 1),
        5: (TEXT, 32831),
    }
    for table in (NOTE_NLP, LINKS):
        assert {row[0] for row in database.run(f"SELECT note_id FROM {table}")} == {1, 2, 3, 5}


def test_a_note_that_the_database_refuses_costs_itself_only(database):
    official_tables(database)
    if database.kind == "sqlite":
        database.run("DROP TABLE note_nlp")
        lines = ", ".join(f'"{name}"' for name in COLUMNS[NOTE_NLP] if name != "note_id")
        database.run(f"CREATE TABLE note_nlp ({lines}, note_id INTEGER REFERENCES note (note_id))")
    elif database.kind == "postgresql":
        database.run("ALTER TABLE note_nlp ADD CONSTRAINT fpk_note FOREIGN KEY (note_id) REFERENCES note (note_id)")
    else:
        database.run("DROP TABLE note_nlp")
        lines = ", ".join(f'"{name}" VARCHAR' for name in COLUMNS[NOTE_NLP] if name not in ("note_id", "note_nlp_id"))
        database.run(f"CREATE TABLE note_nlp (note_nlp_id BIGINT, note_id INTEGER REFERENCES note (note_id), {lines})")
    prepared(database, notes=True).write([result(maker(notes=True), note(str(number)), []) for number in range(1, 20)])
    sink = OmopSink(database.url)
    lost = sink.write(results(maker(), range(1, 23)))
    sink.close()
    assert [failure.note_id for failure in lost] == ["20", "21", "22"]
    assert {failure.kept for failure in lost} == {False}
    if database.kind == "postgresql":
        assert lost[0].error == "foreign-key-violation"
        assert lost[0].message == "PostgreSQL refused the note: foreign-key-violation of fpk_note."
    assert len(database.run("SELECT 1 FROM note_nlp")) == 19 * EACH


def test_unmapped_notes_are_failures_and_others_are_written(database):
    sink = prepared(database)
    lost = sink.write([result(maker(), note(name)) for name in ("1", "abc", "2")])
    sink.close()
    assert [(failure.note_id, failure.stage, failure.error, failure.kept) for failure in lost] == [
        ("abc", "write", "unmapped-note", False)
    ]
    assert len(database.run("SELECT 1 FROM note_nlp")) == 2 * EACH


def test_a_note_that_is_there_twice_is_written_once(database):
    sink = prepared(database)
    lost = sink.write([result(maker(), note("1")), result(maker(), note("1"), [fact()])])
    assert lost == []
    sink.close()
    assert len(database.run("SELECT 1 FROM note_nlp")) == 1


@pytest.mark.parametrize("tables", ["ours", "official"])
def test_four_writers_at_once_lose_and_double_nothing(shared, tables):
    if tables == "official":
        official_tables(shared)
    prepared(shared, **ALL).close()
    # Each has notes of its own, and all have the last ten.
    parts = [(1, 40), (40, 80), (80, 120), (120, 160)]
    writers = [
        subprocess.Popen(
            [sys.executable, HERE / "omop_writer.py", shared.url, str(first), str(last), "2", "1-abc"], cwd=HERE
        )
        for first, last in parts
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0, 0]
    found = everything(shared, ids=tables == "ours")
    assert len(found[NOTE_NLP]) == 159 * EACH * 2
    assert len(set(found[NOTE_NLP])) == len(found[NOTE_NLP])
    ids = [row[0] for row in shared.run("SELECT note_nlp_id FROM note_nlp")]
    assert len(set(ids)) == len(ids)
    write(shared.url, 1, 160, 2, "1-abc", **ALL)
    assert everything(shared, ids=tables == "ours") == found


def test_writers_of_the_same_notes_double_nothing(shared):
    prepared(shared, **ALL).close()
    writers = [
        subprocess.Popen([sys.executable, HERE / "omop_writer.py", shared.url, "1", "60", "1", "1-abc"], cwd=HERE)
        for _ in range(3)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert Counter(row[0] for row in shared.run("SELECT note_id FROM note_nlp")) == dict.fromkeys(range(1, 60), EACH)
    assert len(shared.run(f"SELECT 1 FROM {LINKS}")) == 59 * len(CLINICAL)


def test_a_killed_writer_leaves_whole_notes_and_a_rerun_makes_it_right(shared):
    prepared(shared, **ALL).close()
    last, repeat = 200, 10
    command = [sys.executable, HERE / "omop_writer.py", shared.url, "1", str(last), str(repeat), "1-abc"]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE) as writer:
        for _ in range(3):
            assert writer.stdout.readline()
        time.sleep(0.03)  # the next shard is under way
        os.kill(writer.pid, signal.SIGKILL)
    there = Counter(row[0] for row in shared.run("SELECT note_id FROM note_nlp"))
    assert 0 < len(there) < last - 1
    assert set(there.values()) == {EACH * repeat}
    assert {row[0] for row in shared.run("SELECT note_id FROM note")} == there.keys()
    write(shared.url, 1, last, repeat, "1-abc", **ALL)
    after = everything(shared)
    for table in (NOTE, NOTE_NLP, *CLINICAL, LINKS):
        shared.run(f"DELETE FROM {table}")
    write(shared.url, 1, last, repeat, "1-abc", **ALL)
    assert everything(shared) == after


def test_a_server_that_restarts_is_waited_for(postgresql, postgres):
    sink = prepared(postgresql)
    sink.write(results(maker(), (1,)))
    postgres.stop()
    postgres.start()
    assert sink.write(results(maker(), (2,))) == []
    sink.close()
    assert len(postgresql.run("SELECT 1 FROM note_nlp")) == 2 * EACH


def test_batches_are_bounded(database, monkeypatch):
    monkeypatch.setattr("kiwi_fhir.write.omop.sink._BATCH_ROWS", 12)
    sink = prepared(database)
    assert sink.write(results(maker(), range(1, 12))) == []
    sink.close()
    assert len(database.run("SELECT 1 FROM note_nlp")) == 11 * EACH


def test_ids_are_named_in_the_field_list():
    assert {name for name in COLUMNS[NOTE] if is_id(name)} >= {"note_id", "person_id"}
    assert len(facts(repeat=3)) == 3 * EACH

"""Note tables in databases: the notes of a CSV, whichever database holds them; a real PostgreSQL where there is one."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import socket
import sqlite3
import tracemalloc
from datetime import UTC, date, datetime

import databases
import pytest
from synthetic import MIMIC_III_COLUMNS, mimic_iii_rows, mimic_iv_rows
from synthetic import write as write_csv

from kiwi_fhir.errors import InputError, Unavailable, UsageError
from kiwi_fhir.notes import LOCAL, factory_for
from kiwi_fhir.types import Coding, Failure, Note

from .helpers import read as read_csv

psycopg = pytest.importorskip("psycopg")
duckdb = pytest.importorskip("duckdb")
pytest.importorskip("sqlalchemy")

ROWS, SEED = 120, 4  # its table has rows marked as errors
III = (
    "row_id INT PRIMARY KEY, subject_id INT NOT NULL, hadm_id INT, chartdate TIMESTAMP(0), charttime TIMESTAMP(0), "
    "storetime TIMESTAMP(0), category VARCHAR(50), description VARCHAR(255), cgid INT, iserror CHAR(1), text TEXT"
)
IV = (
    "note_id VARCHAR(25) PRIMARY KEY, subject_id INT NOT NULL, hadm_id INT, note_type CHAR(2), note_seq INT, "
    "charttime TIMESTAMP(0), storetime TIMESTAMP(0), text TEXT"
)
NOTE = (
    "note_id BIGINT PRIMARY KEY, person_id BIGINT, note_date DATE, note_datetime TIMESTAMP, note_type_concept_id INT, "
    "note_class_concept_id INT, note_title VARCHAR(250), note_text TEXT, encoding_concept_id INT, "
    "language_concept_id INT, visit_occurrence_id BIGINT"
)
CONCEPT = "concept_id INT PRIMARY KEY, concept_name TEXT, vocabulary_id TEXT, concept_code TEXT"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def server():
    reason = databases.why_not()
    if reason is not None:
        pytest.skip(reason)
    started = databases.PostgreSQLServer()
    yield started
    started.remove()


class Base:
    """An empty database: its URL, and a way to fill it."""

    def __init__(self, kind, url, connect):
        self.kind, self.url, self._connect = kind, url, connect
        self._mark = "%s" if kind == "postgresql" else "?"

    def run(self, *statements):
        connection = self._connect()
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def table(self, name, columns, rows):
        connection = self._connect()
        connection.execute(f"CREATE TABLE {name} ({columns})")
        rows = [list(row) for row in rows]
        if rows:
            marks = ", ".join([self._mark] * len(rows[0]))
            target = connection.cursor() if self.kind == "postgresql" else connection
            target.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
        connection.commit()
        connection.close()


def make(kind, folder, request):
    if kind == "sqlite":
        return Base(kind, f"sqlite:///{folder}/n.sqlite", lambda: sqlite3.connect(folder / "n.sqlite"))
    if kind == "duckdb":

        def connect():
            connection = duckdb.connect(str(folder / "n.duckdb"))
            connection.execute("BEGIN")
            return connection

        return Base(kind, f"duckdb:///{folder}/n.duckdb", connect)
    server = request.getfixturevalue("server")
    name = f"notes_{next(_numbers)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return Base(kind, server.url(name), lambda: psycopg.connect(server.url(name)))


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def base(request, tmp_path):
    return make(request.param, tmp_path, request)


@pytest.fixture
def postgresql(request, tmp_path):
    return make("postgresql", tmp_path, request)


@pytest.fixture
def sqlite(request, tmp_path):
    return make("sqlite", tmp_path, request)


def opened(kind, url, part_rows=None):
    source = factory_for(kind, [url])(LOCAL)
    source.part_rows = part_rows
    return source, source.files([url])


def read(kind, url, part_rows=None):
    source, parts = opened(kind, url, part_rows)
    found = [item for part in parts for item in source.read(part)]
    notes = [item for item in found if isinstance(item, Note)]
    return notes, [item for item in found if isinstance(item, Failure)], source.dropped


def iii(rows=ROWS, characters=200):
    return (row for row, _ in mimic_iii_rows(rows, SEED, characters))


def count(kind, url):
    notes, failures, dropped = read(kind, url, part_rows=4)
    return len(notes) + len(failures) + dropped


def by_id(notes):
    return sorted(notes, key=lambda note: note.id)


def test_mimic_iii_gives_the_notes_of_its_csv(base, tmp_path):
    write_csv("mimic-iii", tmp_path / "NOTEEVENTS.csv", ROWS, SEED, 200)
    base.table("noteevents", III, iii())
    notes, failures, dropped = read("mimic-iii", base.url, part_rows=50)
    assert (notes, failures, dropped) == read_csv("mimic-iii", tmp_path / "NOTEEVENTS.csv")
    assert dropped > 0


def test_mimic_iv_gives_the_notes_of_its_csvs(base, tmp_path):
    rows = [row for row, _ in mimic_iv_rows(ROWS, SEED, 200)]
    write_csv("mimic-iv", tmp_path / "discharge.csv", ROWS, SEED, 200)
    base.table("discharge", IV, rows)
    expected = read_csv("mimic-iv", tmp_path / "discharge.csv")
    notes, failures, dropped = read("mimic-iv", base.url, part_rows=50)
    assert (by_id(notes), failures, dropped) == (by_id(expected[0]), [], 0)
    base.table("radiology", IV, [[f"{row[0]}x", *row[1:3], "RR", *row[4:]] for row in rows])
    source, parts = opened("mimic-iv", base.url, part_rows=50)
    assert [part.partition(".")[0] for part in parts] == ["discharge"] * 3 + ["radiology"] * 3
    more = [item for part in parts for item in source.read(part)]
    assert len(more) == 2 * ROWS
    assert {item.type.code for item in more if item.id.endswith("x")} == {"18748-4"}


def test_the_default_schemas_and_the_named_one(postgresql):
    postgresql.run("CREATE SCHEMA mimiciii", "CREATE SCHEMA elsewhere")
    postgresql.table("mimiciii.noteevents", III, iii(3))
    postgresql.table("elsewhere.noteevents", III, iii(5))
    assert count("mimic-iii", postgresql.url) == 3
    assert count("mimic-iii", f"{postgresql.url}?schema=elsewhere") == 5
    assert count("mimic-iii", f"{postgresql.url}?options=-csearch_path%3Delsewhere") == 5
    with pytest.raises(UsageError, match=r"no table noteevents in nowhere: add \?schema=NAME"):
        read("mimic-iii", f"{postgresql.url}?schema=nowhere")


def test_columns_and_tables_in_capitals(base):
    columns = ", ".join(f'"{name}" TEXT' for name in MIMIC_III_COLUMNS)
    rows = [[None if value is None else str(value) for value in row] for row in iii(9)]
    base.table('"NOTEEVENTS"', columns, rows)
    base.run("CREATE TABLE other (x INT)")
    assert count("mimic-iii", base.url) == 9


def test_a_note_of_omop(base):
    rows = [
        [7, 41, date(2020, 1, 2), datetime(2020, 1, 2, 9, 30), 32831, 3030023, "Title", "Pt w\u00e9ll.\r\n", 0, 0, 99],
        [8, 41, date(2020, 1, 3), None, 32831, 5, "Title", "b", 0, 0, None],
        [9, 42, date(2020, 1, 3), None, 32831, 0, " A title ", "c", 0, 0, None],
        [10, 42, date(2020, 1, 3), None, 32831, None, None, "d", 0, 0, None],
    ]
    base.table("note", NOTE, [[str(v) if isinstance(v, date) else v for v in row] for row in rows])
    base.table(
        "concept", CONCEPT, [(3030023, "Discharge summary", "LOINC", "18842-5"), (5, "House note", "Local", "H1")]
    )
    notes, failures, _ = read("omop", base.url)
    assert failures == []
    loinc = Coding("http://loinc.org", "18842-5", "Discharge summary")
    assert notes == [
        Note("7", "Pt w\u00e9ll.\r\n", "41", "99", loinc, "2020-01-02T09:30:00", "omop"),
        Note("8", "b", "41", None, Coding(None, None, "House note"), "2020-01-03", "omop"),
        Note("9", "c", "42", None, Coding(None, None, "A title"), "2020-01-03", "omop"),
        Note("10", "d", "42", None, None, "2020-01-03", "omop"),
    ]


def test_omop_without_a_vocabulary_or_the_right_to_it(postgresql, server):
    row = [7, 41, "2020-01-02", None, 32831, 3030023, "Title", "x", 0, 0, None]
    postgresql.table("note", NOTE, [row])
    assert read("omop", postgresql.url)[0][0].type == Coding(None, None, "Title")
    postgresql.table("concept", CONCEPT, [(3030023, "Discharge summary", "LOINC", "18842-5")])
    user = f"reader_{next(_numbers)}"
    postgresql.run(f"CREATE USER {user} PASSWORD 'x'", f"GRANT SELECT ON note TO {user}")
    name = postgresql.url.rpartition("/")[2]
    assert read("omop", server.url(name, user, "x"))[0][0].type == Coding(None, None, "Title")


@pytest.mark.parametrize(
    ("day", "moment", "time"),
    [
        ("2020-01-02", "2020-01-02 09:30:00.000000", "2020-01-02T09:30:00"),
        ("2020-01-02", "2020-01-02T09:30:00.250000", "2020-01-02T09:30:00.25"),
        ("2020-01-02", "2020-01-02 09:30:00+02:00", "2020-01-02T09:30:00+02:00"),
        ("2020-01-02 00:00:00", "soon", "2020-01-02"),
        (1577923200.0, 1577957400.0, "2020-01-02T09:30:00"),  # as OHDSI's own tools store times in SQLite
        (1577923200.0, None, "2020-01-02"),
        ("", "", None),
    ],
)
def test_times_of_omop_in_sqlite(day, moment, time, sqlite):
    sqlite.table("note", "note_id, person_id, note_date, note_datetime, note_text", [[1, 2, day, moment, "x"]])
    assert read("omop", sqlite.url)[0] == [Note("1", "x", "2", None, None, time, "omop")]


def test_a_time_with_a_zone_keeps_it(postgresql):
    columns = "note_id INT, person_id INT, note_date DATE, note_datetime TIMESTAMPTZ, note_text TEXT"
    postgresql.table("note", columns, [[1, 2, "2020-01-02", datetime(2020, 1, 2, 9, 30, tzinfo=UTC), "x"]])
    ((note,), _, _) = read("omop", f"{postgresql.url}?options=-ctimezone%3DUTC")
    assert note.time == "2020-01-02T09:30:00+00:00"


@pytest.mark.parametrize("rows", [0, 10, 11, 35])
@pytest.mark.parametrize("indexed", [True, False])
def test_parts_hold_every_row_once(rows, indexed, base):
    base.table("noteevents", III if indexed else III.replace(" PRIMARY KEY", ""), iii(rows, 50))
    source, parts = opened("mimic-iii", base.url, part_rows=10)
    sizes = [sum(1 for _ in source.read(part)) for part in parts]
    assert sum(sizes) + source.dropped == rows
    assert len(parts) == max(1, -(-rows // 10))
    assert parts == [f"noteevents.{number:05d}" for number in range(len(parts))]


def test_keys_that_are_sparse_repeated_or_missing(base):
    columns = III.replace(" PRIMARY KEY", "")
    keys = [None, -5, 3, 3, 3, 3, 3, 10**9, 2 * 10**9, None]
    rows = [[key, *row[1:-2], None, row[-1]] for key, row in zip(keys, iii(10, 50), strict=True)]
    base.table("noteevents", columns, rows)
    notes, failures, _ = read("mimic-iii", base.url, part_rows=2)
    assert sorted(int(note.id) for note in notes) == [-5, 3, 3, 3, 3, 3, 10**9, 2 * 10**9]
    assert [failure.error for failure in failures] == ["bad-row", "bad-row"]
    assert all(failure.note_id.startswith("noteevents.") for failure in failures)


def test_rows_that_come_after_the_plan_are_read_once(base):
    base.table("noteevents", III, iii(20, 50))
    source, parts = opened("mimic-iii", base.url, part_rows=10)
    late = "1, NULL, '2151-08-04', NULL, NULL, 'ECG', NULL, NULL, NULL, 'late')"
    base.run(f"INSERT INTO noteevents VALUES (-1, {late}", f"INSERT INTO noteevents VALUES (999, {late}")
    found = [item.id for part in parts for item in source.read(part)]
    assert len(found) == len(set(found)) == 22 - source.dropped
    assert {"-1", "999"} <= set(found)


def test_an_unindexed_table_is_not_passed_over_a_hundred_times(postgresql):
    postgresql.table("noteevents", III.replace(" PRIMARY KEY", ""), iii(200, 20))
    assert len(opened("mimic-iii", postgresql.url, part_rows=2)[1]) == 16
    postgresql.run("CREATE INDEX ON noteevents (row_id)")
    assert len(opened("mimic-iii", postgresql.url, part_rows=2)[1]) == 100


def test_a_view_is_as_good(base):
    base.table("events", III, iii(20, 50))
    base.run("CREATE VIEW noteevents AS SELECT * FROM events")
    notes, _, dropped = read("mimic-iii", base.url, part_rows=10)
    assert len(notes) + dropped == 20


def test_bytes_that_are_not_utf8_fail_alone(sqlite):
    sqlite.table("noteevents", III, [[*row[:-1], text] for row, text in zip(iii(3, 50), ("a", "b", "c"), strict=True)])
    sqlite.run("UPDATE noteevents SET text = CAST(x'636166e9' AS TEXT), iserror = NULL WHERE row_id = 2")
    notes, failures, _ = read("mimic-iii", sqlite.url)
    assert "2" not in {note.id for note in notes}
    assert [(item.note_id, item.error, item.message) for item in failures] == [
        ("2", "undecodable-text", "Row 2 is not UTF-8.")
    ]


def test_a_source_travels_by_pickle_without_the_password(base, monkeypatch):
    base.table("noteevents", III, iii(30, 50))
    url = base.url.replace(databases.PASSWORD, "${KIWI_TEST_PASSWORD}")
    monkeypatch.setenv("KIWI_TEST_PASSWORD", databases.PASSWORD)
    source, parts = opened("mimic-iii", url, part_rows=10)
    data = pickle.dumps(source)
    assert databases.PASSWORD.encode() not in data
    copy = pickle.loads(data)
    assert [list(copy.read(part)) for part in parts] == [list(source.read(part)) for part in parts]


def test_only_databases_are_taken_for_databases(tmp_path):
    with pytest.raises(UsageError, match="reads files, no database"):
        factory_for("text", ["sqlite:///x"])
    assert factory_for("mimic-iii", ["gs://bucket/NOTEEVENTS.csv"])(LOCAL).kind == "mimic-iii"
    assert not hasattr(factory_for("mimic-iii", ["s3://bucket/NOTEEVENTS.csv"])(LOCAL), "part_rows")
    with pytest.raises(UsageError, match="Name one database"):
        factory_for("omop", [])(LOCAL).files(["sqlite:///x", "sqlite:///y"])


def test_wrong_addresses_and_files(tmp_path):
    (tmp_path / "text.db").write_text("no database, though long enough to be told from one " * 50)
    for address, message in {
        "notes.csv": "A database is named by a URL",
        "mysql://u:hush@h/d": "no driver for 'mysql'",
        f"sqlite:///{tmp_path}/none.db": "none.db does not exist",
        f"sqlite:///{tmp_path}/text.db": "text.db is no sqlite database",
        f"duckdb:///{tmp_path}/text.db": "text.db is no duckdb database",
        "postgresql://u:${NOT_SET_AT_ALL}@h/d": "NOT_SET_AT_ALL",
    }.items():
        with pytest.raises(UsageError, match=message) as caught:
            opened("omop", address)
        assert "hush" not in str(caught.value)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("address", "environment", "mode"),
    [
        ("postgresql://u@db.example/d", {}, "verify-full"),
        ("postgresql:///d", {"PGHOST": "db.example"}, "verify-full"),
        ("postgresql:///d?host=db.example", {}, "verify-full"),
        ("postgresql://u@db.example/d?sslmode=prefer", {}, None),
        ("postgresql://u@db.example/d", {"PGSSLMODE": "require"}, None),
        ("postgresql://u@localhost/d", {}, None),
        ("postgresql:///d?host=/var/run/postgresql", {}, None),
        ("postgresql:///d", {}, None),
        ("sqlite:///d", {}, None),
    ],
)
def test_tls_is_verified_unless_told(address, environment, mode):
    from kiwi_fhir.clients.database_url import database_url, tls_options

    options = tls_options(database_url(address, environment), environment)
    assert options.get("sslmode") == mode
    assert ("sslrootcert" in options) == (mode is not None)
    own = tls_options(database_url(f"{address}{'&' if '?' in address else '?'}sslrootcert=x", environment), environment)
    assert "sslrootcert" not in own


def test_missing_tables_and_columns(base):
    base.run("CREATE TABLE something (x INT)")
    with pytest.raises(UsageError, match="has no table note in"):
        opened("omop", base.url)
    base.run("CREATE TABLE note (note_id INT, note_text TEXT)")
    with pytest.raises(UsageError, match=r"The table note of .* lacks the columns person_id, note_date of omop\."):
        opened("omop", base.url)


def test_a_server_that_refuses_us(postgresql, server):
    name = postgresql.url.rpartition("/")[2]
    postgresql.table("noteevents", III, iii(3))
    user = f"stranger_{next(_numbers)}"
    postgresql.run(f"CREATE USER {user} PASSWORD 'hush'")
    for address, message in {
        server.url(name, password="wrong-hush"): "refuses the user or the password",
        server.url(name, user="nobody", password="hush"): "refuses the user or the password",
        server.url("no_such"): "does not exist",
        server.url(name, user, "hush"): "does not let us read: have SELECT granted",
        server.url(name, options="?hostaddr=127.0.0.1").replace("@127.0.0.1", "@db.example"): "no certificate that we",
        server.url(name, options="?nonsense=1"): "an option behind",
    }.items():
        with pytest.raises(UsageError, match=message) as caught:
            opened("mimic-iii", address)
        assert "hush" not in str(caught.value)
        assert databases.PASSWORD not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(Unavailable, match="can't be reached"):
        opened("mimic-iii", f"postgresql://u:hush@127.0.0.1:{free_port()}/d")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_connection_that_is_lost_keeps_what_came_before(postgresql):
    postgresql.table("noteevents", III, iii(2000, 20))
    source, (part,) = opened("mimic-iii", postgresql.url)
    notes = source.read(part)
    found = [next(notes) for _ in range(10)]
    with psycopg.connect(postgresql.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kiwi-fhir'")
    with pytest.raises(InputError, match=r"was lost while noteevents was read: run again .*--resume") as caught:
        found.extend(notes)
    assert databases.PASSWORD not in str(caught.value)
    assert 10 <= len(found) < 2000
    assert len(list(source.read(part))) + source.dropped > len(found)


def test_a_table_that_goes_or_is_closed_after_the_plan(postgresql, server):
    name, user = postgresql.url.rpartition("/")[2], f"reader_{next(_numbers)}"
    postgresql.table("noteevents", III, iii(3))
    postgresql.run(f"CREATE USER {user} PASSWORD 'x'", f"GRANT SELECT ON noteevents TO {user}")
    source, (part,) = opened("mimic-iii", server.url(name, user, "x"))
    postgresql.run(f"REVOKE SELECT ON noteevents FROM {user}")
    with pytest.raises(InputError, match="does not let us read noteevents"):
        list(source.read(part))
    postgresql.run("DROP TABLE noteevents")
    with pytest.raises(InputError, match="does not have noteevents or a column of it any more"):
        list(source.read(part))


def test_a_database_without_an_encoding(postgresql, server):
    name = f"ascii_{next(_numbers)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    base = Base("postgresql", server.url(name), lambda: psycopg.connect(server.url(name), client_encoding="utf8"))
    base.table("noteevents", III, [[*row[:-2], None, "caf\u00e9"] for row in iii(3, 50)])
    assert {note.text for note in read("mimic-iii", base.url)[0]} == {"caf\u00e9"}
    base.run("UPDATE noteevents SET text = convert_from('\\x636166e9'::bytea, 'SQL_ASCII') WHERE row_id = 2")
    source, (part,) = opened("mimic-iii", base.url)
    with pytest.raises(InputError, match=r"noteevents of .* holds text that is not UTF-8") as caught:
        list(source.read(part))
    assert caught.value.__cause__ is None


def test_a_reader_bars_no_writer_of_the_same_file(base):
    base.table("noteevents", III, iii(20, 50))
    source, parts = opened("mimic-iii", base.url, part_rows=10)
    notes = source.read(parts[0])
    next(notes)
    base.run("CREATE TABLE results (x INT)", "INSERT INTO results VALUES (1)")
    assert len([*notes, *source.read(parts[1])]) == 19 - source.dropped


def test_nothing_can_be_written(postgresql):
    postgresql.table("noteevents", III, iii(3))
    postgresql.run(
        "CREATE TABLE seen (x INT)",
        "CREATE FUNCTION spy() RETURNS INT LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (1); RETURN 1; END'",
        "CREATE SCHEMA mimiciii",
        "ALTER TABLE noteevents SET SCHEMA mimiciii",
        "CREATE VIEW noteevents AS SELECT *, spy() AS spied FROM mimiciii.noteevents WHERE spy() = 1",
    )
    with pytest.raises(Exception, match="ReadOnlySqlTransaction"):
        opened("mimic-iii", postgresql.url)


def _read_part(source_and_part):
    source, part = source_and_part
    found = [item.id for item in source.read(part)]
    return found, source.dropped


def test_two_workers_share_a_table(postgresql):
    postgresql.table("noteevents", III, iii(600, 50))
    source, parts = opened("mimic-iii", postgresql.url, part_rows=100)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        shares = pool.map(_read_part, [(source, part) for part in parts], chunksize=1)
    found = [name for names, _ in shares for name in names]
    assert len(found) == len(set(found)) == 600 - sum(dropped for _, dropped in shares)


def test_memory_stays_flat(postgresql):
    postgresql.run(
        f"CREATE TABLE noteevents ({III})",
        "INSERT INTO noteevents SELECT n, n, n, '2151-08-04', NULL, NULL, 'ECG', NULL, NULL, NULL, "
        "repeat('line of text ' || n, 500) FROM generate_series(1, 10000) n",
    )
    source, parts = opened("mimic-iii", postgresql.url)
    tracemalloc.start()
    count = size = 0
    for part in parts:
        for note in source.read(part):
            count, size = count + 1, size + len(note.text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert size > 80_000_000
    assert peak < 12_000_000

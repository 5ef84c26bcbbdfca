"""The whole pipeline on a table of a database: shards, resuming, another runner, and no password anywhere."""

import json
import pickle
import time

import databases
import pytest
from synthetic import mimic_iii_rows, write

from kiwi_fhir.beam.job import execute
from kiwi_fhir.beam.options import options_of
from kiwi_fhir.config import Config
from kiwi_fhir.errors import Unavailable, UsageError
from kiwi_fhir.notes import LOCAL, sql
from kiwi_fhir.run.prepare import prepare
from kiwi_fhir.write.store import LocalStore

psycopg = pytest.importorskip("psycopg")

ROWS, SEED = 12, 4  # its table has rows marked as errors
CONFIG = Config().with_options(device="cpu", shard_notes=3, sink=("ndjson",))
III = (
    "row_id INT PRIMARY KEY, subject_id INT NOT NULL, hadm_id INT, chartdate TIMESTAMP(0), charttime TIMESTAMP(0), "
    "storetime TIMESTAMP(0), category VARCHAR(50), description VARCHAR(255), cgid INT, iserror CHAR(1), text TEXT"
)


@pytest.fixture(scope="module")
def server():
    reason = databases.why_not()
    if reason is not None:
        pytest.skip(reason)
    started = databases.PostgreSQLServer()
    with psycopg.connect(started.url(), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA mimiciii")
        connection.execute(f"CREATE TABLE mimiciii.noteevents ({III})")
        marks = ", ".join(["%s"] * 11)
        rows = [row for row, _ in mimic_iii_rows(ROWS, SEED, 150)]
        connection.cursor().executemany(f"INSERT INTO mimiciii.noteevents VALUES ({marks})", rows)
    yield started
    started.remove()


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(sql, "PART_ROWS", 5)


def run(kind, source, output, options=(), **how):
    return execute(
        prepare(kind, [str(source)], CONFIG, files=LOCAL, store=LocalStore(str(output)), **how), options_of(options)
    )


def bundles(output):
    return [line for path in sorted((output / "bundles").iterdir()) for line in path.read_bytes().splitlines()]


def secrets(output):
    """The files of an output with the password in their name or content."""
    files = [path for path in output.rglob("*") if path.is_file()]
    word = databases.PASSWORD
    return [path for path in files if word in path.name or word.encode() in path.read_bytes()]


@pytest.mark.usefixtures("small_parts")
def test_a_table_gives_what_its_csv_gives(server, tmp_path, monkeypatch):
    write("mimic-iii", tmp_path / "NOTEEVENTS.csv", rows=ROWS, seed=SEED, characters=150)
    monkeypatch.setenv("KIWI_TEST_PASSWORD", databases.PASSWORD)
    url = server.url(password="${KIWI_TEST_PASSWORD}")
    csv = run("mimic-iii", tmp_path / "NOTEEVENTS.csv", tmp_path / "csv")
    own = run("mimic-iii", url, tmp_path / "sql")
    assert bundles(tmp_path / "sql") == bundles(tmp_path / "csv")
    assert own["notes"] == csv["notes"]
    assert own["notes"]["dropped"] > 0
    names = sorted(path.name for path in (tmp_path / "sql" / "bundles").iterdir())
    assert names[0] == "00000-noteevents-00000.ndjson"
    assert {name[:16] for name in names} == {f"{part:05d}-noteevents" for part in range(3)}

    (tmp_path / "sql" / "bundles" / names[2]).unlink()
    again = run("mimic-iii", url, tmp_path / "sql", resume=True)
    assert again["shards"] == {"all": len(names), "written": 1, "kept": len(names) - 1}
    options = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
    run("mimic-iii", url, tmp_path / "portable", options)
    assert bundles(tmp_path / "portable") == bundles(tmp_path / "sql") == bundles(tmp_path / "csv")
    assert secrets(tmp_path) == []


def restart(server):
    """Start again; for a moment the processes of a stopped server may still hold its memory."""
    for _ in range(20):
        try:
            return server.start()
        except AssertionError:
            time.sleep(0.2)
    return server.start()


@pytest.mark.usefixtures("small_parts")
def test_a_server_that_goes_and_comes_back(server, tmp_path):
    output = tmp_path / "out"
    ready = prepare("mimic-iii", [server.url()], CONFIG, files=LOCAL, store=LocalStore(str(output)))
    server.stop()
    try:
        with pytest.raises(Unavailable, match="can't be reached"):
            execute(ready, options_of(()))
        with pytest.raises(Unavailable, match="can't be reached"):
            prepare("mimic-iii", [server.url()], CONFIG, files=LOCAL, store=LocalStore(str(output)))
    finally:
        restart(server)
    report = json.loads((output / "run.json").read_text())
    assert report["status"] == "failed"
    assert report["errors"]
    assert secrets(output) == []
    assert run("mimic-iii", server.url(), output, resume=True)["notes"]["in"] > 0


def test_wrong_passwords_are_not_shown(server, tmp_path):
    with pytest.raises(UsageError, match="refuses the user or the password") as caught:
        prepare(
            "mimic-iii",
            [server.url(password="hush-hush")],
            CONFIG,
            files=LOCAL,
            store=LocalStore(str(tmp_path / "out")),
        )
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(caught.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_a_plan_in_the_environment_s_words_holds_no_password(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", databases.PASSWORD)
    ready = prepare(
        "mimic-iii",
        [f"postgresql://owner@127.0.0.1:{server.port}/postgres"],
        CONFIG,
        files=LOCAL,
        store=LocalStore(str(tmp_path)),
    )
    assert databases.PASSWORD.encode() not in pickle.dumps(ready.source)
    assert databases.PASSWORD not in str(ready.inputs)

"""What a user is told when a database can't be written to: one clear sentence, the right exit code, no secret."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import psycopg
import pytest
from databases import PASSWORD
from omop_notes import maker, results
from test_omop_sink import EACH, official_tables, prepared
from typer.testing import CliRunner

from kiwi_fhir import __version__
from kiwi_fhir.cli.commands import app
from kiwi_fhir.clients.database_url import database_url
from kiwi_fhir.config import Config
from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.extract import ModelChoice
from kiwi_fhir.types import ModelId
from kiwi_fhir.write.omop.duckdb import DuckDB
from kiwi_fhir.write.omop.sink import OmopSink
from kiwi_fhir.write.sinks import remote_sinks


def refusal(url, **options):
    """What `check` says, as the one sentence that a user sees."""
    sink = OmopSink(url, **options)
    with pytest.raises(UsageError) as error:
        sink.check()
    sink.close()
    said = str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in said
    assert said.endswith(".")
    assert PASSWORD not in said
    return said


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("cdm", "is named by a URL"),
        ("mysql://u:hidden@h/d", "no driver for 'mysql'"),
        ("sqlite://", "in memory"),
        ("duckdb:///:memory:", "in memory"),
        ("postgresql://u@h/d?password=hidden", "'password' behind the '\\?'"),
        ("postgresql://u:${NO_SUCH_NAME}@h/d", "NO_SUCH_NAME"),
        ("postgresql://u@h/d?schema=a&schema=b", "schema=NAME once"),
    ],
)
def test_a_wrong_url(url, says):
    with pytest.raises(UsageError, match=says) as error:
        database_url(url)
    assert "hidden" not in str(error.value)


def test_a_url_never_shows_its_password():
    found = database_url("postgresql://${WHO}:${SECRET}@h/d?schema=x", {"WHO": "me", "SECRET": "a@b/c:%d"})
    assert found.url.password == "a@b/c:%d"
    assert found.schema == "x"
    assert str(found) == "postgresql://me:***@h/d"
    assert "a@b" not in repr(found)
    assert "hidden" not in str(database_url("postgres://u:hidden@h/d"))


def test_an_unknown_sink_shows_no_url():
    with pytest.raises(UsageError, match="The sink of this URL is unknown") as error:
        remote_sinks(["postgresql://u:hidden@h/d?a=b"], Config())
    assert "hidden" not in str(error.value)
    with pytest.raises(UsageError, match="'xmop'"):
        remote_sinks(["xmop=sqlite:///x"], Config())


def test_a_password_is_in_no_fingerprint():
    def fingerprint(sink):
        return Config().with_options(sink=(sink,)).fingerprint()

    assert fingerprint("omop=postgresql://u:one@h/d") == fingerprint("omop=postgresql://u:two@h/d")
    assert fingerprint("omop=postgresql://u:one@h/d") != fingerprint("omop=postgresql://u:one@h/e")


def test_a_file_that_is_not_there(tmp_path):
    for kind in ("sqlite", "duckdb"):
        assert "There is no" in refusal(f"{kind}:///{tmp_path}/none.db")
        assert "There is no" in refusal(f"{kind}:///{tmp_path}/no/none.db", create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "text.db"
    path.write_text("These are words and no database. " * 200)
    assert "is no SQLite file" in refusal(f"sqlite:///{path}")
    assert "is no DuckDB file" in refusal(f"duckdb:///{path}")


def test_a_missing_table(database):
    prepared(database).close()
    assert "has no table NOTE: add --omop-create" in refusal(database.url, notes=True)
    assert "has no table CONDITION_OCCURRENCE" in refusal(database.url, clinical=True)


def test_another_version_of_the_cdm(database):
    prepared(database, notes=True).close()
    database.run("CREATE TABLE cdm_source (cdm_source_name VARCHAR(255), cdm_version VARCHAR(10))")
    for right in (None, "v5.4.0", "5.4"):
        database.run(
            "DELETE FROM cdm_source", f"INSERT INTO cdm_source VALUES ('x', {f'{right!r}' if right else 'NULL'})"
        )
        OmopSink(database.url).check()
    database.run("DELETE FROM cdm_source", "INSERT INTO cdm_source VALUES ('x', 'v6.0')")
    assert "is CDM v6.0 by its CDM_SOURCE; this sink writes 5.4" in refusal(database.url)
    database.run("DROP TABLE cdm_source", "ALTER TABLE note DROP COLUMN note_event_id")
    assert "NOTE of" in refusal(database.url, notes=True)
    assert "lacks note_event_id" in refusal(database.url, notes=True)
    if database.kind != "duckdb":
        default = " DEFAULT 1" if database.kind == "sqlite" else ""
        database.run(f"ALTER TABLE note_nlp ADD COLUMN extra INTEGER NOT NULL{default}")
        if not default:
            assert "requires extra" in refusal(database.url)


def test_a_wrong_server_user_password_or_database(postgresql, postgres):
    nobody = postgresql.url.replace(f":{postgres.port}/", ":1/")
    assert "does not answer: check the URL, and that the server runs" in refusal(nobody)
    assert "refuses the user or the password" in refusal(postgres.url(password="wrong-one"))
    assert "refuses the user or the password" in refusal(postgres.url(user="nobody"))
    assert "has no such database" in refusal(postgres.url("nothing"))
    assert "does not answer" in refusal("postgresql://u:x@no-such-host.invalid/d")
    assert "option behind the '?'" in refusal(postgres.url(options="?no_such_thing=1"))


def test_the_password_may_come_from_the_environment(postgresql, monkeypatch):
    without = postgresql.url.replace(f":{PASSWORD}@", "@")
    assert "refuses the user or the password" in refusal(without)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    OmopSink(without, create=True).check()
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("KIWI_TEST_PASSWORD", PASSWORD)
    OmopSink(postgresql.url.replace(PASSWORD, "${KIWI_TEST_PASSWORD}")).check()


def test_missing_rights(postgresql):
    prepared(postgresql, notes=True, clinical=True).close()
    name = postgresql.url.rsplit("/", 1)[1]
    user = f"reader_{name}"
    postgresql.run(
        f"CREATE USER {user} PASSWORD '{PASSWORD}'",
        f"GRANT SELECT, INSERT ON note_nlp TO {user}",
        f"GRANT SELECT ON note TO {user}",
    )
    url = postgresql.url.replace("owner:", f"{user}:")
    assert "lacks the right to DELETE on NOTE_NLP" in refusal(url)
    assert "lacks the right to INSERT and UPDATE on NOTE" in refusal(url, notes=True)
    postgresql.run("CREATE SCHEMA closed")
    assert "does not let our user do this" in refusal(f"{url}?schema=closed")
    assert "does not let our user do this" in refusal(f"{url}?schema=closed", create=True)


def test_a_right_that_is_lost_in_the_middle(postgresql):
    prepared(postgresql).close()
    name = postgresql.url.rsplit("/", 1)[1]
    user = f"loser_{name}"
    postgresql.run(f"CREATE USER {user} PASSWORD '{PASSWORD}'", f"GRANT ALL ON note_nlp TO {user}")
    sink = OmopSink(postgresql.url.replace("owner:", f"{user}:"))
    sink.check()
    sink.write(results(maker(), (1,)))
    postgresql.run(f"REVOKE INSERT ON note_nlp FROM {user}")
    with pytest.raises(KiwiError, match="does not let our user") as error:
        sink.write(results(maker(release="2-new"), (1, 2)))
    sink.close()
    assert error.value.exit_code == 1
    assert postgresql.run("SELECT DISTINCT nlp_system FROM note_nlp") == [("kiwi_fhir kiwi-test 1-abc (program 0)",)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_can_only_be_read(tmp_path):
    path = tmp_path / "cdm.db"
    sink = OmopSink(f"sqlite:///{path}", create=True)
    sink.check()
    sink.close()
    path.chmod(0o400)
    assert "can only be read" in refusal(f"sqlite:///{path}")


def test_a_full_disk_of_sqlite(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/cdm.db"
    sink = OmopSink(url, create=True)
    sink.check()
    sink.write(results(maker(), range(1, 4)))
    connect = sqlite3.connect

    def full(*arguments, **options):
        connection = connect(*arguments, **options)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        return connection

    sink.close()
    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(KiwiError, match="is full") as error:
        sink.write(results(maker(), range(4, 400)))
    sink.close()
    monkeypatch.undo()
    assert error.value.exit_code == 1
    with contextlib.closing(sqlite3.connect(tmp_path / "cdm.db")) as connection:
        found = connection.execute("SELECT note_id, count(*) FROM note_nlp GROUP BY 1").fetchall()
    assert found == [(1, EACH), (2, EACH), (3, EACH)]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if not made or made.returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run([shutil.which("umount"), "-l", str(folder)], check=True)


def test_a_full_disk_of_postgresql(postgresql, postgres, small_disk):
    if postgres._as:
        os.chown(small_disk, postgres._as["user"], postgres._as["group"])
        for parent in list(small_disk.parents)[:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)
    with psycopg.connect(postgres.url(), autocommit=True) as owner:
        owner.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    sink = prepared(postgresql)
    postgresql.run("ALTER TABLE note_nlp SET TABLESPACE small")
    sink.write(results(maker(), range(1, 4)))
    with pytest.raises(KiwiError, match="is full") as error:
        sink.write(results(maker(), range(4, 3000), repeat=2))
    sink.close()
    assert error.value.exit_code == 1
    found = dict(postgresql.run("SELECT note_id, count(*) FROM note_nlp GROUP BY 1 ORDER BY 1"))
    assert {found.pop(number) for number in (1, 2, 3)} == {EACH}
    assert set(found.values()) <= {2 * EACH}
    postgresql.run("DROP TABLE note_nlp")
    with psycopg.connect(postgres.url(), autocommit=True) as owner:
        owner.execute("DROP TABLESPACE small")


@pytest.mark.slow
def test_a_full_disk_of_duckdb(small_disk):
    sink = OmopSink(f"duckdb:///{small_disk}/cdm.duckdb", create=True)
    sink.check()
    sink.write(results(maker(), range(1, 4)))
    with pytest.raises(KiwiError, match="is full") as error:
        sink.write(results(maker(), range(4, 20_000), repeat=2))
    sink.close()
    assert error.value.exit_code == 1


def test_a_duckdb_file_that_another_program_holds(tmp_path):
    sink = OmopSink(f"duckdb:///{tmp_path}/cdm.duckdb", create=True)
    sink.check()
    code = (
        f"import duckdb, time; c = duckdb.connect('{tmp_path}/cdm.duckdb'); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([os.sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        sink._database = DuckDB(sink._database.address, patience=0.2)
        with pytest.raises(UsageError, match="is held by another program"):
            sink.check()
        holder.kill()
    sink.check()


def run(*arguments):
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "5.txt").write_text("Hypertension. No fever. She takes aspirin 81 mg daily.")
    (folder / "abc.txt").write_text("Asthma.")
    return folder


def test_a_run_into_a_database(texts, tmp_path, database):
    output = tmp_path / "out"
    options = ("--source", "text", "-i", texts, "-o", output, "--max-failure-rate", "1", "--omop-create")
    done = run(*options, "--sink", f"omop={database.url}")
    assert done.exit_code == 0, done.output
    rows = database.run("SELECT note_id, lexical_variant, term_exists FROM note_nlp")
    assert (5, "fever", "N") in rows
    assert {row[0] for row in rows} == {5}
    report = json.loads((output / "run.json").read_text())
    assert (report["notes"]["in"], report["notes"]["out"], report["notes"]["failed"]) == (2, 1, 1)
    assert report["failures"] == {"unmapped-note": 1}
    everything = "".join(path.read_text() for path in output.rglob("*") if path.is_file())
    assert PASSWORD not in everything + done.output


def test_a_run_with_a_table_of_ids(texts, tmp_path):
    ids = tmp_path / "ids.csv"
    ids.write_text("note,note_id,person_id\n5,50,1\nabc,51,2\n")
    done = run("--source", "text", "-i", texts, "-o", tmp_path / "out", "--omop-create", "--omop-ids", ids,
               "--sink", f"omop=sqlite:///{tmp_path}/cdm.db")  # fmt: skip
    assert done.exit_code == 0, done.output
    with contextlib.closing(sqlite3.connect(tmp_path / "cdm.db")) as connection:
        assert {row[0] for row in connection.execute("SELECT note_id FROM note_nlp")} == {50, 51}
    assert "ids" in json.loads((tmp_path / "out" / "run.json").read_text())["versions"]


def test_a_rerun_replaces_the_rows_of_a_version_with_a_hyphen(texts, tmp_path):
    """The name of `kiwi-minilm`, version `1.0-rc1`, is that of every version of it."""
    folder = tmp_path / "model"
    shutil.copytree(ModelChoice().folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "version": "1.0-rc1"}))
    systems = []
    for model in (folder, "default"):
        options = ("--model", model, "-o", tmp_path / "out" / Path(model).name, "--omop-create", "--threads", 1)
        done = run("--source", "text", "-i", texts / "5.txt", *options, "--sink", f"omop=sqlite:///{tmp_path}/cdm.db")
        assert done.exit_code == 0, done.output
        with contextlib.closing(sqlite3.connect(tmp_path / "cdm.db")) as connection:
            systems.append(connection.execute("SELECT DISTINCT nlp_system FROM note_nlp").fetchall())
    rc1, shipped = (ModelChoice(str(model)).identify()[0] for model in (folder, "default"))
    assert (rc1.name, rc1.version) == (shipped.name, "1.0-rc1")
    assert systems == [
        [(f"kiwi_fhir kiwi-minilm 1.0-rc1-{rc1.digest} (program {__version__})",)],
        [(f"kiwi_fhir kiwi-minilm {shipped.version}-{shipped.digest} (program {__version__})",)],
    ]
    report = json.loads((tmp_path / "out" / "model" / "run.json").read_text())
    assert ModelId.parse(report["versions"]["model"]) == rc1


def test_a_run_that_can_not_write_says_so_before_it_reads(texts, tmp_path):
    done = run(
        "--source", "text", "-i", texts, "-o", tmp_path / "out", "--sink", "omop=postgresql://u:hidden@127.0.0.1:1/d"
    )
    assert done.exit_code != 0
    assert "hidden" not in done.output + str(done.exception)
    assert not Path(tmp_path, "out").exists()


def test_official_tables_can_be_checked(database):
    official_tables(database)
    OmopSink(database.url, notes=True).check()

"""The worked examples of README.md, run as they stand there: only the names of servers are others."""

import gzip
import json
import os
import re
import shlex
import sqlite3
import sys
from pathlib import Path

import pytest
from fhir_servers import running_server
from synthetic import documents
from synthetic import write as write_notes

from kiwi_fhir.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def shell(monkeypatch, tmp_path, capsys):
    """Run the block that has these words, in a folder of its own, as a shell would; give what each command said."""

    def run(words, **hosts):
        (block,) = [text for text in re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S) if words in text]
        for name, url in hosts.items():
            block = block.replace(f"https://{name}.example/fhir", url)
        said = []
        for line in block.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line, comments=True)
            if program == "export":
                for setting in arguments:
                    monkeypatch.setenv(*setting.split("=", 1))
                continue
            assert program == "kiwi-fhir"
            monkeypatch.setattr(sys, "argv", [program, *arguments])
            with pytest.raises(SystemExit) as stopped:
                main()
            said.append(" ".join(capsys.readouterr().err.split()))
            assert not stopped.value.code, said
        return said

    monkeypatch.chdir(tmp_path)
    return run


def test_mimic_to_bundles(shell, tmp_path):
    counts = write_notes("mimic-iv", tmp_path / "discharge.csv.gz", 3, 4, 300)
    looked, ran, _, listed = shell("--input discharge.csv.gz --output out --dry-run")
    assert f"notes {counts['notes']}, 0 can't be read" in looked
    assert f"{counts['notes']} in, {counts['notes']} out, 0 failed" in ran
    assert f"{counts['notes']} written" in listed
    (bundles,) = (tmp_path / "out" / "bundles").iterdir()
    assert len(bundles.read_text().splitlines()) == counts["notes"]
    assert list((tmp_path / "out" / "pages").glob("*.html"))
    sources = {
        entity["what"]["reference"]
        for line in bundles.read_text().splitlines()
        for entry in json.loads(line)["entry"]
        for entity in entry["resource"].get("entity", ())
    }
    packed = (tmp_path / "DocumentReference.ndjson.gz").read_bytes()
    written = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    assert sources == {f"DocumentReference/{item['id']}" for item in written}


def test_server_to_server(shell, tmp_path):
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    tokens = {name: {"server_auth": {"types": ["bearer"], "tokens": [name]}} for name in ("one", "two")}
    with (
        running_server(tmp_path / "from", tokens["one"]) as (ehr, _, own),
        running_server(tmp_path / "to", tokens["two"]) as (research, _, reader),
    ):
        own.token, reader.token = "one", "two"
        own.write(item for item, _ in documents(3, 4, 300))
        before = reader.versions()
        ran, loaded = shell("--query 'type=http://loinc.org|11506-3", ehr=ehr.base, research=research.base)
        assert "3 in, 3 out, 0 failed" in ran
        assert "3 unchanged" in loaded
        report = json.loads((tmp_path / "out" / "run.json").read_text())
        assert {kind: len(reader.all(kind)) for kind in report["resources"]} == report["resources"]
        assert reader.versions() - before == sum(report["resources"].values())


def test_notes_to_omop(shell, tmp_path):
    pytest.importorskip("sqlalchemy")
    notes = [item for item, _ in documents(3, 4, 300)]
    (tmp_path / "DocumentReference.ndjson").write_text("".join(json.dumps(item) + "\n" for item in notes))
    rows = [f"{item['id']},{100 + number},{7 + number}\n" for number, item in enumerate(notes)]
    (tmp_path / "ids.csv").write_text("".join(["note,note_id,person_id\n", *rows]))
    (ran,) = shell("--omop-ids ids.csv")
    assert "3 in, 3 out, 0 failed" in ran
    connection = sqlite3.connect(tmp_path / "cdm.sqlite")
    assert connection.execute("SELECT note_id, person_id FROM note ORDER BY 1").fetchall() == [
        (100, 7),
        (101, 8),
        (102, 9),
    ]
    found = dict(connection.execute("SELECT note_id, count(*) FROM note_nlp GROUP BY note_id").fetchall())
    connection.close()
    assert found.keys() == {100, 101, 102}
    mentions = json.loads((tmp_path / "out" / "run.json").read_text())["mentions"]
    assert sum(found.values()) >= sum(mentions.values())  # "BUN/creatinine" is one mention and two rows
    assert os.environ.get("KIWI_FHIR_SOURCE_TOKEN") is None

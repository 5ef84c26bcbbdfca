"""The pipeline with the shipped model into a real FHIR server."""

import json
import sys
from collections import Counter
from importlib.resources import files

import pytest
from fhir_servers import Fault, running_server

from kiwi_fhir.cli import main

TOKEN = "t0ken-of-the-environment"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("KIWI_FHIR_SINK_TOKEN", TOKEN)
    monkeypatch.setenv("KIWI_FHIR_SINK_TIMEOUT", "20")
    monkeypatch.setenv("KIWI_FHIR_SINK_PATIENCE", "20")
    folder = tmp_path / "sekmet"
    folder.mkdir()
    settings = {"server_auth": {"types": ["bearer", "none"], "tokens": [TOKEN]}}
    with running_server(folder, settings) as running:
        yield running


def test_notes_to_a_server_and_again(server, monkeypatch, tmp_path, capsys):
    proxy, _, reader = server
    first = reader.versions()
    demo = (files("kiwi_fhir.demo") / "DocumentReference.ndjson").read_bytes().splitlines()
    notes = tmp_path / "DocumentReference.ndjson"
    notes.write_bytes(b"\n".join(demo[1:3]))

    def run(output, *more):
        options = ["--source", "document-reference", "--input", str(notes), "--output", str(tmp_path / output)]
        options += [
            "--sink",
            "ndjson",
            "--sink",
            f"fhir={proxy.base}",
            "--device",
            "cpu",
            "--terminology",
            "none",
            *more,
        ]
        monkeypatch.setattr(sys, "argv", ["kiwi-fhir", "run", *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        report = json.loads((tmp_path / output / "run.json").read_text())
        assert TOKEN not in capsys.readouterr().err + json.dumps(report)
        return stopped.value.code or 0, report

    proxy.plan(Fault(status=503))
    code, report = run("first")
    assert (code, report["notes"]["out"], report["notes"]["failed"]) == (0, 2, 0)
    held = {kind: len(reader.all(kind)) for kind in report["resources"]}
    assert held == report["resources"]
    written = Counter()
    for file in (tmp_path / "first" / "bundles").iterdir():
        for line in file.read_text().splitlines():
            written.update(entry["resource"]["resourceType"] for entry in json.loads(line).get("entry", ()))
    assert written == held
    assert reader.versions() - first == sum(held.values())

    code, _ = run("second")
    assert code == 0
    assert reader.versions() - first == sum(held.values())

    proxy.plan(Fault(status=422))
    code, report = run("third", "--recorded", "2020-01-01T00:00:00Z", "--parallel", "1", "--max-failure-rate", "0.5")
    assert (code, report["notes"]["out"], report["notes"]["failed"]) == (0, 1, 1)
    assert report["failures"] == {"http-422": 1}
    (failure,) = [json.loads(line) for line in (tmp_path / "third" / "failures.ndjson").read_text().splitlines()]
    assert (failure["stage"], failure["error"], failure["kept"]) == ("write", "http-422", False)

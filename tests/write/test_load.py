"""`kiwi-fhir load`: counts, exit codes, what goes on after a stop, what no message says."""

import gzip
import json
import sys

import pytest
from fhir_notes import SECRET, result, results
from fhir_notes import document as note
from fhir_servers import Fault, running_server

from kiwi_fhir.cli import main
from kiwi_fhir.clients import backoff
from kiwi_fhir.write.fhir import load as load_module

TOKEN = "t0ken-of-the-environment"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = {"server_auth": {"types": ["bearer"], "tokens": [TOKEN]}}
    with running_server(tmp_path_factory.mktemp("sekmet"), settings) as running:
        running[2].token = TOKEN
        yield running


@pytest.fixture
def proxy(server, monkeypatch):
    monkeypatch.setenv("KIWI_FHIR_TOKEN", TOKEN)
    monkeypatch.setenv("KIWI_FHIR_TIMEOUT", "2")
    monkeypatch.setenv("KIWI_FHIR_PATIENCE", "2")
    monkeypatch.setattr(load_module, "_CHUNK", 4)
    monkeypatch.setattr(backoff, "_FIRST_PAUSE", 0.05)
    server[0].clear()
    return server[0]


@pytest.fixture
def load(proxy, monkeypatch, capsys):
    """Call the command: the exit code and what was said."""

    def call(*arguments, to=proxy.base):
        monkeypatch.setattr(sys, "argv", ["kiwi-fhir", "load", *map(str, arguments), "--to", to])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr().err
        for secret in (TOKEN, SECRET, "Traceback"):
            assert secret not in said
        return stopped.value.code or 0, " ".join(said.split())

    return call


def run_folder(folder, notes, per_file=5):
    """What `run` leaves: bundles in shards, and files beside them that are no bundles."""
    for name in ("bundles", "manifest"):
        (folder / name).mkdir(parents=True)
    for start in range(0, len(notes), per_file):
        lines = [item.bundle + b"\n" for item in notes[start : start + per_file]]
        (folder / "bundles" / f"{start:05d}.ndjson").write_bytes(b"".join(lines))
    (folder / "manifest" / "0.json").write_text("{}")
    (folder / "failures.ndjson").write_text("{}\n")
    (folder / "run.json").write_text("{}")
    return folder


def failures(folder):
    (file,) = folder.glob("load-*.failures.ndjson")
    return [json.loads(line) for line in file.read_text().splitlines()]


def count(notes):
    return sum(len(json.loads(item.bundle).get("entry", ())) for item in notes)


def test_a_run_is_loaded_and_loaded_again(load, server, tmp_path):
    first = server[2].versions()
    notes = [*results("load", 11), *results("load-none", 2, labels=())]
    folder = run_folder(tmp_path / "out", notes)
    code, said = load(folder)
    assert code == 0
    assert "notes 13 looked at, 2 empty, 11 written" in said
    assert "22 Condition, 11 MedicationStatement, 11 Observation, 11 Procedure, 11 Provenance" in said
    assert failures(folder) == []
    before = server[2].versions()
    assert before - first == count(notes)
    code, said = load(folder)
    assert (code, server[2].versions()) == (0, before)
    assert "2 empty, 11 unchanged" in said
    code, said = load(folder, "--resume")
    assert "0 looked at, 13 dealt with before" in said


def test_one_file_packed(load, server, tmp_path):
    notes = results("packed", 3)
    file = tmp_path / "b.ndjson.gz"
    file.write_bytes(gzip.compress(b"\n".join(item.bundle for item in notes)))
    code, said = load(file)
    assert (code, "3 written" in said) == (0, True)


def test_a_stopped_load_goes_on(load, server, proxy, tmp_path):
    notes = results("stopped", 20)
    folder = run_folder(tmp_path / "out", notes)
    proxy.plan(Fault("call", edit=server[1].kill), after=13)
    code, said = load(folder)
    assert code == 1
    assert "--resume" in said
    server[1].start()
    code, said = load(folder, "--resume")
    assert code == 0
    assert "dealt with before" in said
    found = [
        one["meta"]["versionId"]
        for kind in ("Condition", "Observation", "MedicationStatement", "Procedure", "Provenance")
        for one in server[2].all(kind).values()
        if "DocumentReference/stopped-" in json.dumps(one)
    ]
    assert found == ["1"] * count(notes)


def test_refused_notes_are_tried_again_by_resume(load, proxy, tmp_path):
    notes = results("once", 10)
    folder = run_folder(tmp_path / "out", notes)
    proxy.plan(Fault(status=422), times=2)
    code, said = load(folder, "--parallel", "1")
    assert code == 3
    assert "2 of 10 notes were refused" in said
    assert "2 http-422" in said
    assert [(item["note_id"], item["error"]) for item in failures(folder)] == [
        ("once-0", "http-422"),
        ("once-1", "http-422"),
    ]
    code, said = load(folder, "--resume")
    assert code == 0
    assert "notes 2 looked at, 2 written, 8 dealt with before" in said
    assert failures(folder) == []


def test_lines_that_are_no_bundles(load, tmp_path):
    (good,) = results("lines", 1)
    post = json.loads(good.bundle)
    post["entry"][0]["request"]["method"] = "DELETE"
    lines = [SECRET.encode(), b"[]", b'{"resourceType": "Patient"}', json.dumps(post).encode(), b"", good.bundle]
    file = tmp_path / "mixed.ndjson"
    file.write_bytes(b"\n".join(lines))
    code, said = load(file, "--max-failure-rate", "1")
    assert code == 0
    assert "1 written" in said
    found = failures(tmp_path)
    assert {item["error"] for item in found} == {"wrong-bundle"}
    assert [item["note_id"] for item in found] == ["mixed.ndjson:1", "mixed.ndjson:2", "mixed.ndjson:3", "lines-0"]
    assert SECRET not in json.dumps(found)


def test_a_file_that_breaks_off(load, tmp_path):
    packed = gzip.compress(b"\n".join(item.bundle for item in results("broken", 9)))
    (tmp_path / "a.ndjson.gz").write_bytes(packed[: len(packed) * 2 // 3])
    (tmp_path / "b.ndjson").write_bytes(results("whole", 1)[0].bundle)
    code, said = load(tmp_path)
    assert code == 1
    assert "a.ndjson.gz can't be read on" in said


def test_another_model_version_replaces(load, server, tmp_path):
    names = [f"models-{index}" for index in range(3)]
    load(run_folder(tmp_path / "1", [result(note(name), "1") for name in names]))
    second = [result(note(name, ("problem",) if name != "models-2" else ()), "2") for name in names]
    code, said = load(run_folder(tmp_path / "2", second), "--replace")
    assert code == 0
    assert "14 removed" in said  # 4 of each of two notes, 6 of the note in which nothing is found any more
    tags = [
        tag["code"]
        for kind in ("Condition", "Observation", "MedicationStatement", "Procedure", "Provenance")
        for one in server[2].all(kind).values()
        if "DocumentReference/models-" in json.dumps(one)
        for tag in one["meta"]["tag"]
        if tag["system"] == "urn:kiwi-fhir:model"
    ]
    assert tags == ["test@2"] * 6


@pytest.mark.parametrize(
    ("environment", "to", "code", "words"),
    [
        ({"KIWI_FHIR_TOKEN": "wrong"}, None, 2, "refuses our credentials (401)"),
        ({"KIWI_FHIR_TOKEN": ""}, None, 2, "wants to know who we are"),
        ({}, "http://127.0.0.1:9/fhir", 2, "can't be reached"),
        ({}, "no-url", 2, "must begin with https"),
        ({}, "http://anna:pw@127.0.0.1/fhir", 2, "no user, password"),
    ],
)
def test_a_call_that_can_not_work(load, proxy, monkeypatch, tmp_path, environment, to, code, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    folder = run_folder(tmp_path / "out", results("call", 1))
    found, said = load(folder, to=to or proxy.base)
    assert found == code
    assert words in said


def test_nothing_to_load(load, tmp_path):
    assert load(tmp_path / "nowhere")[0] == 2
    code, said = load(tmp_path)
    assert (code, "holds no .ndjson" in said) == (2, True)

"""Bad calls and bad input: one sentence, the exit code, nothing lost, no traceback and no note text."""

import base64
import gzip
import json
import os
import subprocess
import sys
import time

import pytest

from kiwi_fhir.cli import main

SECRET = "Zebediah"
COLUMNS = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT\n"
ROW = '{},7,8,2150-01-02,,,Nursing,Report,,,"{} has no fever.\n"\n'


def call(monkeypatch, capsys, *arguments):
    """The exit code and what was said."""
    monkeypatch.setattr(sys, "argv", ["kiwi-fhir", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert SECRET not in said
    return stopped.value.code or 0, said


def report_of(folder):
    return json.loads((folder / "run.json").read_text())


def reference(name, text="", **attachment):
    content = {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode(), **attachment}
    return {
        "resourceType": "DocumentReference",
        "id": name,
        "status": "current",
        "subject": {"reference": "Patient/p"},
        "content": [{"attachment": {key: value for key, value in content.items() if value is not None}}],
    }


def table(path, content, *, packed=False):
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("missing.csv", None, 2, "does not exist"),
        ("NOTEEVENTS.csv.gz", COLUMNS.encode(), 2, "is not gzip"),
        ("NOTEEVENTS.csv", b"A,B\n1,2\n", 2, "column"),
        ("NOTEEVENTS.csv", b"", 2, "column"),
    ],
)
def test_a_file_that_can_not_be_read(monkeypatch, capsys, tmp_path, name, content, code, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    options = ["--source", "mimic-iii", "--input", path, "--output", tmp_path / "out", "--device", "cpu"]
    got, said = call(monkeypatch, capsys, "run", *options)
    assert got == code
    assert words in said
    assert name in said
    assert said.count("\n") == 1


def test_a_truncated_gzip_keeps_what_came_before(monkeypatch, capsys, tmp_path):
    rows = COLUMNS + "".join(ROW.format(index, SECRET + os.urandom(40).hex()) for index in range(400))
    path = table(tmp_path / "NOTEEVENTS.csv.gz", rows, packed=True)
    path.write_bytes(path.read_bytes()[:-4000])
    out = tmp_path / "out"
    options = ["--source", "mimic-iii", "--input", path, "--output", out, "--device", "cpu"]
    code, said = call(monkeypatch, capsys, "run", *options)
    assert code == 1
    assert "NOTEEVENTS.csv.gz" in said
    notes = report_of(out)["notes"]
    assert 0 < notes["out"] == notes["in"] < 400
    assert len((out / "bundles" / "00000-NOTEEVENTS-00000.ndjson").read_bytes().splitlines()) == notes["out"]


def test_bad_notes_are_failures_and_the_rest_is_written(monkeypatch, capsys, tmp_path):
    lines = [
        json.dumps(reference("good", f"{SECRET} has pneumonia.")),
        "{no json " + SECRET,
        json.dumps(reference("base64", data="%%%")),
        json.dumps(reference("charset", "x", contentType="text/plain; charset=klingon")),
        json.dumps(reference("type", "x", contentType="image/png")),
        json.dumps({key: value for key, value in reference("nobody", "No cough.").items() if key != "subject"}),
        json.dumps(reference("empty", "")),
        json.dumps(reference("nul", f"{SECRET}\0 denies\0 chest pain.\0")),
    ]
    path = tmp_path / "DocumentReference.ndjson"
    path.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    options = ["--source", "document-reference", "--input", path, "--output", out, "--device", "cpu"]
    code, said = call(monkeypatch, capsys, "run", *options)
    assert code == 3
    assert "8 in, 4 out, 4 failed" in said
    assert said.splitlines()[-1].startswith("kiwi-fhir: 4 of 8 notes failed")
    report = report_of(out)
    assert report["notes"] == {"in": 8, "out": 4, "failed": 4, "dropped": 0, "empty": 1, "without_patient": 1}
    failures = [json.loads(line) for line in (out / "failures.ndjson").read_text().splitlines()]
    assert [failure["error"] for failure in failures] == [
        "invalid-json",
        "invalid-base64",
        "unknown-charset",
        "unsupported-content-type",
    ]
    assert SECRET not in (out / "failures.ndjson").read_text() + (out / "run.json").read_text()
    bundles = [json.loads(line) for line in (out / "bundles" / "00000-DocumentReference-00000.ndjson").open()]
    assert len(bundles) == 4
    assert bundles[2].get("entry", []) == []
    nul = json.dumps(bundles[3])
    assert "\\u0000" not in nul
    assert "chest pain" in nul


def test_a_lenient_run_ends_well(monkeypatch, capsys, tmp_path):
    path = tmp_path / "n.ndjson"
    path.write_text(json.dumps(reference("a", "No fever.")) + "\nno json\n")
    options = ["--source", "document-reference", "--input", path, "--output", tmp_path / "out", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["kiwi-fhir", "run", *map(str, options), "--max-failure-rate", "0.5"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source", "telepathy"], "telepathy"),
        (["--source", "text", "--sink", "carrier-pigeon"], "carrier-pigeon"),
        (["--source", "text", "--model", "{tmp}/empty"], "config.json"),
        (["--source", "text", "--config", "{tmp}/none.toml"], "does not exist"),
        (["--source", "text", "--mappings", "{tmp}/wrong"], "severity.toml"),
        (["--source", "text", "--device", "abacus"], "cpu, cuda, mps or openvino"),
        (["--source", "text", "--recorded", "yesterday"], "recorded"),
        (["--source", "text", "--min-score", "0.5", "--model", "http://127.0.0.1:9/v1"], "states no scores"),
        (["--source", "text", "--min-score", "0.5", "--model", "smollm2", "--unconstrained"], "states no scores"),
        (["--source", "text", "--min-score", "0.5", "--model", "http://127.0.0.1:9/v1", "--dry-run"], "no scores"),
    ],
)
def test_a_wrong_call_ends_with_2(monkeypatch, capsys, tmp_path, options, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "severity.toml").write_text("[mild]\ncolour = 'green'\n")
    (tmp_path / "n.txt").write_text("No fever.")
    filled = [option.format(tmp=tmp_path) for option in options]
    paths = ["--input", tmp_path / "n.txt", "--output", tmp_path / "out"]
    code, said = call(monkeypatch, capsys, "run", *filled, *paths)
    assert code == 2
    assert words in said
    assert not (tmp_path / "out" / "run.json").exists()


def test_extract_refuses_a_min_score_that_a_model_can_not_meet(monkeypatch, capsys, tmp_path):
    (tmp_path / "n.txt").write_text("No fever.")
    options = ["--model", "http://127.0.0.1:9/v1", "--min-score", "0.01", "-o", tmp_path / "out"]
    code, said = call(monkeypatch, capsys, "extract", tmp_path / "n.txt", *options)
    assert (code, said.count("\n")) == (2, 1)
    assert "a LLaMA on a server states no scores" in said
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "n.txt").write_text("No fever.")
    out = tmp_path / "out"
    out.write_text("a file stands where the folder should be")
    options = ["--source", "text", "--input", tmp_path / "n.txt", "--output", out, "--device", "cpu"]
    code, said = call(monkeypatch, capsys, "run", *options)
    assert code in (1, 2)
    assert said.strip().count("\n") == 0


def test_help_is_quick():
    started = min(_seconds([sys.executable, "-m", "kiwi_fhir", "--help"]) for _ in range(5))
    bare = min(_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    assert started - bare < 0.5


def _seconds(command):
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started

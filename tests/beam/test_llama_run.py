"""The pipeline with a LLaMA: the same run, another model."""

import json

import pytest
from llm_servers import FaultyServer
from tiny_llamas import byte_level_tokenizer, save_llama
from typer.testing import CliRunner

from kiwi_fhir.cli.commands import app


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("models") / "tiny", byte_level_tokenizer())


def run(model, notes, output, *more):
    call = ["run", "--source", "text", "--input", str(notes), "--output", str(output), "--model", str(model)]
    return CliRunner().invoke(app, [*call, "--threads", "1", *more])


def test_notes_to_bundles_by_a_llama(model, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    texts = {
        "a": "HPI: He has chest pain, no fever.\r\nNa 140 & K < 3.5\n",
        "b": "",
        "c": "FAMILY HISTORY: Mother had diabetes 😀.",
    }
    for name, text in texts.items():
        (notes / f"{name}.txt").write_bytes(text.encode())
    clock = ["--recorded", "2026-01-31T12:00:00Z"]
    first, second = tmp_path / "first", tmp_path / "second"
    result = run(model, notes, first, *clock)
    assert result.exit_code == 0, result.output
    report = json.loads((first / "run.json").read_text())
    assert (report["notes"]["in"], report["notes"]["out"], report["notes"]["failed"]) == (3, 3, 0)
    assert report["versions"]["model"].startswith("tiny-0-")
    assert report["memory"]["peak_host_mib"] > 100
    assert sum(report["mentions"].values()) > 0
    bundles = {path.name: path.read_bytes() for path in (first / "bundles").iterdir()}
    for line in b"".join(bundles.values()).splitlines():
        for entry in json.loads(line).get("entry", []):
            assert entry["request"]["method"] == "PUT"
    assert run(model, notes, second, *clock).exit_code == 0
    assert bundles == {path.name: path.read_bytes() for path in (second / "bundles").iterdir()}


def test_a_model_without_a_release_needs_an_instant(model, tmp_path):
    (tmp_path / "a.txt").write_text("He has chest pain.")
    result = run(model, tmp_path / "a.txt", tmp_path / "out")
    assert "states no release: name the instant of Provenances with --recorded" in str(result.exception)
    assert result.exception.exit_code == 2


def test_notes_to_bundles_by_a_server(tmp_path, monkeypatch):
    """A server that answers some windows with garbage, is busy for some, and fails for good on one note."""
    monkeypatch.setattr("kiwi_fhir.clients.backoff._FIRST_PAUSE", 0.01)
    notes = tmp_path / "notes"
    notes.mkdir()
    for name in ("a", "b", "c"):
        (notes / f"{name}.txt").write_text(f"Note {name}: he has pain, no pain.")
    long = "Busy: knee pain. " + "It is so and so. " * 40 + "Garbage: pain at night."
    (notes / "d.txt").write_text(long)

    def behave(handler, request, nth):
        text = request["prompt"].split("Text:\n")[1].rsplit("\n\nMarked:", 1)[0]
        plain = text.replace('<span class="problem">', "").replace("</span>", "")
        if "Note c" in text:
            return handler.json({"error": "no"}, status=400)
        if "Busy" in text and nth == 1:
            return handler.json({"error": "busy"}, status=429)
        if "Garbage" in text:
            return handler.say("I can't help with that.")
        return handler.say(plain if plain != text else text.replace("pain", '<span class="problem">pain</span>'))

    with FaultyServer(behave) as server:
        result = run(f"{server.url}/v1?model=tiny&parallel=3", notes, tmp_path / "out", "--max-failure-rate", "0.5",
                     "--recorded", "2026-01-31T12:00:00Z")  # fmt: skip
        assert result.exit_code == 0, result.output
        assert server.most_in_flight <= 3
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (report["notes"]["in"], report["notes"]["out"], report["notes"]["failed"]) == (4, 3, 1)
    assert report["mentions"] == {"problem": 5}
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.ndjson").read_text().splitlines()]
    assert [(failure["note_id"], failure["kept"]) for failure in failures] == [("c", False), ("d", True)]
    assert all("pain" not in failure["message"] for failure in failures)
    assert report["versions"]["model"].startswith("tiny-remote-")
    bundles = b"".join(path.read_bytes() for path in (tmp_path / "out" / "bundles").iterdir())
    assert b"pain" in bundles
    assert b"confidence" not in bundles, "a server states no scores"


def test_a_server_that_is_not_there_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("kiwi_fhir.extract.generative.server._START_SECONDS", 0.2)
    (tmp_path / "a.txt").write_text("He has chest pain.")
    result = run("http://127.0.0.1:9/v1", tmp_path / "a.txt", tmp_path / "out")
    assert result.exception.exit_code == 1
    assert "127.0.0.1:9" in str(result.exception)

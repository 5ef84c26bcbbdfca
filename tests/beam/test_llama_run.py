"""The pipeline with a LLaMA: the same run, another model."""

import json

import pytest
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

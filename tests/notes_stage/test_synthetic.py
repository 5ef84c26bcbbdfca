from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .helpers import read


@pytest.fixture(scope="module")
def synthetic() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("kiwi_fhir_synthetic", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_notes_are_steady_different_and_as_long_as_asked(synthetic: ModuleType) -> None:
    notes = [synthetic.note_text(seed) for seed in range(300)]
    assert notes == [synthetic.note_text(seed) for seed in range(300)]
    assert len(set(notes)) == 300
    assert all(3150 <= len(note) <= 3850 for note in notes)
    assert all(9000 <= len(synthetic.note_text(seed, 10_000)) <= 11_000 for seed in range(50))
    assert not any(mark in note for note in notes for mark in ("{", "}", "\r"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("mimic-iii", "NOTEEVENTS.csv.gz"), ("mimic-iv", "discharge.csv"), ("document-reference", "d.ndjson.gz")],
)
def test_readers_count_what_the_writer_wrote(kind: str, name: str, synthetic: ModuleType, tmp_path: Path) -> None:
    true = synthetic.write(kind, tmp_path / name, 600)
    notes, failures, dropped = read(kind, tmp_path / name)
    assert {"rows": len(notes) + dropped, "dropped": dropped, "notes": len(notes)} == true
    assert failures == []
    assert len({note.text for note in notes}) == len(notes)
    assert all(note.type is not None and note.type.code for note in notes)
    if kind != "mimic-iv":
        assert 0 < dropped < 30
    if kind != "document-reference":
        assert any("\r\n" in note.text for note in notes)
        assert any('"' in note.text for note in notes)
        assert any(note.encounter_id is None for note in notes)
    first = (tmp_path / name).read_bytes()
    assert synthetic.write(kind, tmp_path / name, 600) == true
    assert (tmp_path / name).read_bytes() == first


def test_the_command_prints_the_true_counts(
    synthetic: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "NOTEEVENTS.csv"
    monkeypatch.setattr(
        sys, "argv", ["synthetic.py", "mimic-iii", "--rows", "5", "-o", str(path), "--characters", "900"]
    )
    synthetic.main()
    counts = json.loads(capsys.readouterr().out)
    assert counts["rows"] == 5
    assert len(read("mimic-iii", path)[0]) == counts["notes"]

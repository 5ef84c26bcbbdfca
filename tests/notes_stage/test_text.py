from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.types import Failure, Note

from .helpers import read, write


def test_a_folder_becomes_notes_in_order(tmp_path: Path) -> None:
    for name, text in {"b.txt": "B", "a.TXT": "A", "ward/note 1.txt": "W", "x.ann": "no"}.items():
        write(tmp_path / name, text)
    notes, failures, dropped = read("text", tmp_path)
    assert notes == [Note("a", "A"), Note("b", "B"), Note("ward-note-1", "W")]
    assert all(note.source == "text" for note in notes)
    assert (failures, dropped) == ([], 0)


@pytest.mark.parametrize("text", ["a\r\nb\rc\n", "", "NUL \x00", " é 😀 \u2028", "a\ufeffb"])
def test_the_text_stays_exact(text: str, tmp_path: Path) -> None:
    assert read("text", write(tmp_path / "n.txt", text))[0][0].text == text


def test_only_the_byte_order_mark_at_the_start_is_left_out(tmp_path: Path) -> None:
    assert read("text", write(tmp_path / "n.txt", "\ufeffa\ufeff"))[0][0].text == "a\ufeff"


@pytest.mark.parametrize("data", ["naïve".encode("latin-1"), "x".encode("utf-16"), b"\xed\xa0\x80"])
def test_a_file_that_is_not_utf8_fails_alone(data: bytes, tmp_path: Path) -> None:
    write(tmp_path / "a.txt", data)
    write(tmp_path / "b.txt", "fine")
    notes, failures, _ = read("text", tmp_path)
    assert [note.id for note in notes] == ["b"]
    assert [(item.note_id, item.error) for item in failures] == [("a", "undecodable-text")]


def test_a_file_name_that_is_no_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    write(tmp_path / name, b"\xff")
    _, failures, _ = read("text", tmp_path)
    assert failures == [
        Failure("caf", "read", "undecodable-text", "caf?.txt is not UTF-8 at byte 0: convert the file.")
    ]


def test_a_file_that_vanished_fails_alone(tmp_path: Path) -> None:
    source = SOURCES["text"](LOCAL)
    (path,) = source.files([str(write(tmp_path / "a.txt", "x"))])
    Path(path).unlink()
    (found,) = source.read(path)
    assert not isinstance(found, Note)
    assert (found.note_id, found.error) == ("a", "unreadable-file")


def test_ids_of_files_globs_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in/ward/n.txt", "x")
    monkeypatch.chdir(tmp_path)
    for name, expected in {
        "in": "ward-n",
        "in/": "ward-n",
        "./in": "ward-n",
        ".": "in-ward-n",
        "in/ward/n.txt": "n",
        "in/*/n.txt": "ward-n",
        "*/*/*.txt": "in-ward-n",
        str(tmp_path): "in-ward-n",
    }.items():
        assert [note.id for note in read("text", name)[0]] == [expected], name


def test_ids_are_unique_and_steady(tmp_path: Path) -> None:
    for name in ("a/b.txt", "a-b.txt", "a b.txt", "A-B.txt", "c.txt", f"{'long' * 40}.txt", " .txt", "ü/é.txt"):
        write(tmp_path / name, "x")
    first, _, _ = read("text", tmp_path)
    second, _, _ = read("text", tmp_path)
    ids = [note.id for note in first]
    assert ids == [note.id for note in second]
    assert len({name.lower() for name in ids}) == 8
    assert {"c", "note", "ü-é"} <= set(ids)
    assert max(map(len, ids)) < 140


def test_a_named_file_need_not_end_in_txt(tmp_path: Path) -> None:
    assert read("text", write(tmp_path / "n.md", "x"))[0] == [Note("n.md", "x")]
    assert read("text", write(tmp_path / "m.txt.gz", "x"))[0] == [Note("m", "x")]


def test_ids_travel_by_pickle(tmp_path: Path) -> None:
    write(tmp_path / "a/b.txt", "x")
    write(tmp_path / "a-b.txt", "y")
    source = SOURCES["text"](LOCAL)
    paths = source.files([str(tmp_path)])
    copy = pickle.loads(pickle.dumps(source))
    assert [list(copy.read(path)) for path in paths] == [list(source.read(path)) for path in paths]

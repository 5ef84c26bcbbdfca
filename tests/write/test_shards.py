"""The manifest: what counts as done, what is written in which order."""

import json

import pytest

from kiwi_fhir.errors import KiwiError
from kiwi_fhir.types import Document, Failure, Mention, Modifier, Note, Result, Shard, Span
from kiwi_fhir.write.shards import entries, file_name, is_done, read_entry, remove_leftovers, write_shard
from kiwi_fhir.write.store import LocalStore

DENIES = Modifier("negation", Span(0, 6))
DOCUMENT = Document(
    Note("n/1", "Denies fever or chills.", patient_id="p"),
    (Mention("problem", Span(7, 12), (DENIES,)), Mention("problem", Span(16, 22), (DENIES,))),
)
SHARD = Shard(
    key="00000-x-00000",
    items=(
        Result(
            DOCUMENT,
            b'{"resourceType":"Bundle"}',
            {"Condition": 2},
            {"contradicted": 3},
            merged={"Condition": 4},
            conflicts={"decided": 2, "open": 1},
        ),
        Result(Document(Note("e", " \r\n\0"), ()), b"{}", {}),
    ),
    failures=(Failure("f", "read", "invalid-base64", "The data is no base64."), Failure("n/1", "fhir", "x", "y", True)),
    digest="d",
    dropped=3,
    last=True,
)


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path))


def test_counts(store):
    entry = write_shard(store, SHARD, ["ndjson", "brat"], "fp")
    assert entry.notes == {"in": 3, "out": 2, "failed": 1, "dropped": 3, "empty": 1, "without_patient": 1}
    assert entry.mentions == {"problem": 2}
    assert entry.modifiers == {"negation": 1}
    assert entry.resources == {"Condition": 2}
    assert entry.not_mapped == {"contradicted": 3}
    assert entry.merged == {"Condition": 4}
    assert entry.conflicts == {"decided": 2, "open": 1}
    assert entry.failures == {"invalid-base64": 1, "x": 1}
    assert read_entry(store, SHARD.key) == entry
    assert list(entries(store)) == [entry]


def test_a_note_that_sinks_refuse_fails_once_and_stays_in_the_files(store, tmp_path):
    shard = Shard("k", (*SHARD.items, SHARD.items[0]), SHARD.failures, "d", last=True)
    whole = [Failure("n/1", "write", "http-422", "refused"), Failure("n/1", "write", "http-422", "refused")]
    part = [Failure("e", "write", "http-400", "one entry", kept=True)]
    entry = write_shard(store, shard, ["ndjson"], "fp", [lambda results: whole + part, lambda results: whole[:1]])
    assert {key: entry.notes[key] for key in ("in", "out", "failed")} == {"in": 4, "out": 1, "failed": 3}
    assert entry.failures == {"invalid-base64": 1, "x": 1, "http-422": 3, "http-400": 1}
    assert (tmp_path / "bundles/k.ndjson").read_bytes().count(b"\n") == 3


def test_a_sink_that_is_gone_leaves_the_shard_to_the_next_run(store):
    def gone(results):
        raise KiwiError("The server is away.")

    with pytest.raises(KiwiError):
        write_shard(store, SHARD, ["ndjson"], "fp", [gone])
    assert not is_done(store, SHARD, "fp")


def test_files(store, tmp_path):
    write_shard(store, SHARD, ["ndjson", "brat"], "fp")
    assert (tmp_path / "bundles/00000-x-00000.ndjson").read_bytes() == b'{"resourceType":"Bundle"}\n{}\n'
    name = file_name("n/1")
    assert (tmp_path / f"brat/{SHARD.key}/{name}.txt").read_text() == DOCUMENT.note.text
    assert (tmp_path / f"brat/{SHARD.key}/{name}.ann").read_text().count("hasAttr") == 2
    lines = (tmp_path / "manifest/00000-x-00000.failures.ndjson").read_text().splitlines()
    assert [json.loads(line)["error"] for line in lines] == ["invalid-base64", "x"]


def test_two_notes_with_one_id_keep_a_file_each(store, tmp_path):
    twice = Shard("k", (SHARD.items[0], SHARD.items[0]), (), "d", last=True)
    write_shard(store, twice, ["brat"], "fp")
    assert len(list((tmp_path / "brat" / "k").glob("*.txt"))) == 2
    assert is_done(store, twice, "fp")


def test_a_shard_that_is_written_again_leaves_nothing_of_the_first(store, tmp_path):
    write_shard(store, SHARD, ["ndjson", "brat"], "fp")
    write_shard(store, Shard(SHARD.key, (), (), "d2", last=True), ["ndjson"], "fp")
    assert list((tmp_path / "brat").rglob("*.*")) == []
    assert (tmp_path / "bundles/00000-x-00000.ndjson").read_bytes() == b""


def test_a_shard_is_done_only_as_it_was_written(store, tmp_path):
    assert not is_done(store, SHARD, "fp")
    write_shard(store, SHARD, ["ndjson"], "fp")
    assert is_done(store, SHARD, "fp")
    assert not is_done(store, SHARD, "another model")
    assert not is_done(store, Shard("00000-x-00000", (), (), "other notes"), "fp")
    bundle = tmp_path / "bundles/00000-x-00000.ndjson"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole.replace(b"{}", b"[]"))
    assert not is_done(store, SHARD, "fp")
    bundle.unlink()
    assert not is_done(store, SHARD, "fp")
    bundle.write_bytes(whole)
    assert is_done(store, SHARD, "fp")
    (tmp_path / "manifest/00000-x-00000.json").write_text('{"key": ')
    assert not is_done(store, SHARD, "fp")


def test_without_disk_space_there_is_no_entry(store, monkeypatch):
    write = LocalStore.write

    def full(self, path, chunks):
        if path.startswith("manifest"):
            raise OSError(28, "No space left on device")
        write(self, path, chunks)

    monkeypatch.setattr(LocalStore, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_shard(store, SHARD, ["ndjson"], "fp")
    assert list(entries(store)) == []


def test_leftovers_of_a_killed_run_go(store, tmp_path):
    write_shard(store, SHARD, ["ndjson"], "fp")
    (tmp_path / "bundles/00000-x-00001.ndjson.77.part").write_bytes(b"half")
    remove_leftovers(store)
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["00000-x-00000.ndjson"]


def test_names_are_safe_and_do_not_collide():
    assert file_name("note-1.a_B") == "note-1.a_B"
    names = {file_name(note) for note in ("a/b", "a_b", "a b", "../a", "é" * 300, "")}
    assert len(names) == 6
    for name in names:
        assert name
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name) < 140

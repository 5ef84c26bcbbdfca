"""A run and its terminology: told apart by its content, refused before the first note."""

import pickle

import pytest

from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.notes import LOCAL
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.prepare import prepare
from kiwi_fhir.write.store import LocalStore

HEADER = "name,code,system,type\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def prepared(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("Cough.")

    def make(**config):
        return prepare(
            "text",
            [str(note)],
            Config().with_options(device="cpu", **config),
            files=LOCAL,
            store=LocalStore(str(tmp_path / "out")),
        )

    return make


def test_the_content_of_a_terminology_decides_the_fingerprint(prepared, tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text(HEADER + "cough,C1,http://example.org,problem\n")
    first = prepared(terminology=str(one))
    assert first.versions["terminology"] == prepared(terminology=str(one)).versions["terminology"]
    one.write_text(HEADER + "cough,C2,http://example.org,problem\n")
    second = prepared(terminology=str(one))
    assert second.fingerprint != first.fingerprint
    other.mkdir()
    moved = other / "one.csv"
    moved.write_text(one.read_text())
    assert prepared(terminology=str(moved)).fingerprint == second.fingerprint
    kinds = [prepared(), prepared(terminology="none"), prepared(fuzzy=True), second]
    assert len({run.fingerprint for run in kinds}) == len(kinds)


def test_a_terminology_that_cannot_be_used_stops_before_the_first_note(prepared, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        prepared(terminology=str(tmp_path / "nowhere"))
    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + "cough,C1,http://example.org,disease\n")
    with pytest.raises(InputError, match=r"bad\.csv, line 2: the column 'type'"):
        prepared(terminology=str(bad))


def test_a_mapper_travels_to_workers():
    mapper = DocumentMapper(Config().with_options(terminology="default"))
    assert pickle.loads(pickle.dumps(mapper)).terminology == mapper.terminology

from __future__ import annotations

import gzip
import json
import pickle
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_fhir.errors import UsageError
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.types import Coding, Failure, Note

from .helpers import b64, binary, document, linked, ndjson, read, read_until_break, write

KIND = "document-reference"
LOINC = {"system": "http://loinc.org", "code": "18842-5", "display": "Discharge summary"}


def one(tmp_path: Path, resource: Any) -> Note:
    notes, failures, _ = read(KIND, ndjson(tmp_path / "d.ndjson", resource))
    assert failures == []
    return notes[0]


def failed(tmp_path: Path, resource: Any) -> tuple[str, str]:
    notes, failures, _ = read(KIND, ndjson(tmp_path / "d.ndjson", resource))
    assert notes == []
    assert failures[0].message.endswith(".")
    return failures[0].note_id, failures[0].error


def bundle(*entries: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": list(entries)}


def test_a_document_becomes_a_note(tmp_path: Path) -> None:
    resource = document(
        "DOS\r\nends\x00 stay µ\n",
        id="d-7",
        subject={"reference": "Patient/p1"},
        type={"coding": [{"system": "http://local", "code": "x"}, LOINC], "text": "summary"},
        date="2020-05-01T09:30:00Z",
        context={
            "encounter": [{"reference": "Encounter/e1"}, {"reference": "Encounter/e2"}],
            "period": {"start": "2020-04-30"},
        },
    )
    assert one(tmp_path, resource) == Note(
        id="d-7",
        text="DOS\r\nends\x00 stay µ\n",
        patient_id="p1",
        encounter_id="e1",
        type=Coding("http://loinc.org", "18842-5", "Discharge summary"),
        time="2020-04-30",
        source="DocumentReference/d-7",
    )


@pytest.mark.parametrize(
    ("subject", "patient_id"),
    [
        (None, None),
        ({"reference": "Patient/p-1.x"}, "p-1.x"),
        ({"reference": "Patient/p1/_history/3"}, "p1"),
        ({"reference": "https://ehr.example/fhir/Patient/p1"}, "https://ehr.example/fhir/Patient/p1"),
        (
            {"reference": "urn:uuid:0c1f6a6e-0000-4000-8000-000000000001"},
            "urn:uuid:0c1f6a6e-0000-4000-8000-000000000001",
        ),
        ({"reference": "Group/g1"}, None),
        ({"reference": "Patient?identifier=https://mrn.example|1"}, None),
        ({"reference": "#contained"}, None),
        ({"reference": "Patient/"}, None),
        ({"identifier": {"system": "urn:mrn", "value": "1"}, "display": "Jane"}, None),
        ("Patient/p1", None),
        ({"reference": 5}, None),
    ],
)
def test_subjects(subject: Any, patient_id: str | None, tmp_path: Path) -> None:
    assert one(tmp_path, document(subject=subject)).patient_id == patient_id


@pytest.mark.parametrize("context", [None, {}, {"encounter": []}, {"encounter": ["e"]}, [], {"encounter": [{}]}])
def test_no_encounter(context: Any, tmp_path: Path) -> None:
    assert one(tmp_path, document(context=context)).encounter_id is None


@pytest.mark.parametrize(
    ("concept", "expected"),
    [
        (None, None),
        ({"text": "ED note"}, Coding(None, None, "ED note")),
        ({"coding": [{"system": "s", "code": "a"}, {"code": "b"}]}, Coding("s", "a", "a")),
        ({"coding": [{"code": "a"}], "text": "T"}, Coding(None, "a", "T")),
        ({"coding": [{"system": "http://loinc.org", "display": "no code"}], "text": "T"}, Coding(None, None, "T")),
        ({"coding": [{"system": "s", "code": "a", "display": "A"}, LOINC]}, Coding(*LOINC.values())),
        ({"coding": "x"}, None),
        ("x", None),
    ],
)
def test_types(concept: Any, expected: Coding | None, tmp_path: Path) -> None:
    assert one(tmp_path, document(type=concept)).type == expected


@pytest.mark.parametrize(
    ("start", "date", "creation", "expected"),
    [
        ("2020-01-01", "2021-01-01T00:00:00Z", "2022", "2020-01-01"),
        (None, "2021-01-01T00:00:00.5+02:00", "2022", "2021-01-01T00:00:00.5+02:00"),
        (None, None, "2022", "2022"),
        ("soon", 5, "2022-02", "2022-02"),
        (None, None, None, None),
    ],
)
def test_times(start: Any, date: Any, creation: Any, expected: str | None, tmp_path: Path) -> None:
    resource = document(date=date, context={"period": {"start": start}})
    resource["content"][0]["attachment"]["creation"] = creation
    assert one(tmp_path, resource).time == expected


def test_a_document_without_an_id_gets_one_from_its_content(tmp_path: Path) -> None:
    first, second = document("a"), document("b")
    del first["id"], second["id"]
    shuffled = dict(reversed(first.items()))
    notes, _, _ = read(KIND, ndjson(tmp_path / "d.ndjson", first, second, shuffled))
    assert notes[0].id == notes[2].id != notes[1].id
    assert notes[0].id == "14d1ebf3-05dc-5dc2-a97a-2281cef9ce7d"
    assert {note.source for note in notes} == {KIND}


@pytest.mark.parametrize(
    "status", [{"status": "superseded"}, {"status": "entered-in-error"}, {"docStatus": "entered-in-error"}]
)
def test_replaced_and_mistaken_documents_are_dropped_and_counted(status: dict[str, str], tmp_path: Path) -> None:
    path = ndjson(tmp_path / "d.ndjson", document(id="a"), document(id="b") | status, document(id="c", status=["x"]))
    notes, failures, dropped = read(KIND, path)
    assert ([note.id for note in notes], failures, dropped) == (["a", "c"], [], 1)


def test_other_resources_are_passed_over(tmp_path: Path) -> None:
    ndjson(tmp_path / "export/DocumentReference.000.ndjson.gz", document(id="a"), document(id="b"))
    ndjson(tmp_path / "export/Patient.ndjson", {"resourceType": "Patient", "id": "p1"})
    ndjson(tmp_path / "export/Binary.ndjson", binary("b1", "x"))
    write(tmp_path / "export/log.txt", "nothing")
    write(tmp_path / "export/single.json", json.dumps(document(id="c"), indent=2))
    notes, failures, _ = read(KIND, tmp_path / "export")
    assert ([note.id for note in notes], failures) == (["a", "b", "c"], [])


def test_empty_text_is_a_note(tmp_path: Path) -> None:
    assert one(tmp_path, document("")).text == ""


# --- attachments ---


def test_one_of_several_formats_is_read(tmp_path: Path) -> None:
    def content(kind: str, data: str) -> dict[str, Any]:
        return {"attachment": {"contentType": kind, "data": b64(data)}}

    pdf, rtf = content("application/pdf", "%PDF"), content("application/rtf", "{\\rtf1 RTF}")
    html, xhtml = content("text/html", "<p>HTML</p>"), content("application/xhtml+xml", "<p>XHTML</p>")
    plain = content("text/plain; charset=utf-8", "PLAIN")
    for contents, expected in (
        ([pdf, rtf, xhtml, html, plain], "PLAIN"),
        ([pdf, rtf, xhtml, html], "HTML"),
        ([rtf, xhtml, pdf], "XHTML"),
        ([pdf, rtf], "RTF"),
        ([content("text/plain; charset=none", "x"), html], "HTML"),
    ):
        assert one(tmp_path, document(content=contents)).text.strip() == expected
    assert failed(tmp_path, document(content=[pdf])) == ("d1", "unsupported-content-type")


@pytest.mark.parametrize(
    ("attachment", "error"),
    [
        ({"contentType": "text/plain", "data": "a*b"}, "invalid-base64"),
        ({"contentType": "text/plain", "data": 5}, "invalid-base64"),
        ({"contentType": "text/plain; charset=x-none", "data": b64("x")}, "unknown-charset"),
        ({"contentType": "text/plain", "data": b64(b"\xff")}, "undecodable-text"),
        ({"contentType": "image/png", "data": b64("x")}, "unsupported-content-type"),
        ({"contentType": "image/png", "url": "Binary/b1"}, "unsupported-content-type"),
        ({"contentType": "text/rtf", "data": b64("x")}, "unreadable-rtf"),
        ({"contentType": "text/plain", "url": "Binary/none"}, "missing-binary"),
        ({"contentType": "text/plain", "url": "https://files.example/note.txt"}, "missing-binary"),
        ({"contentType": "text/plain", "url": "#none"}, "missing-binary"),
        ({"contentType": "text/plain", "url": 5}, "missing-binary"),
        ({"contentType": "text/plain"}, "no-attachment"),
        ({}, "no-attachment"),
        (None, "no-attachment"),
    ],
)
def test_what_can_not_be_read_fails_alone(attachment: Any, error: str, tmp_path: Path) -> None:
    bad = document(id="bad", content=[{"attachment": attachment}])
    notes, failures, _ = read(KIND, ndjson(tmp_path / "d.ndjson", document(id="a"), bad, document(id="c")))
    assert [note.id for note in notes] == ["a", "c"]
    assert [(item.note_id, item.error) for item in failures] == [("bad", error)]


def test_no_content_at_all(tmp_path: Path) -> None:
    assert failed(tmp_path, document(content=[])) == ("d1", "no-attachment")
    assert failed(tmp_path, document(content=None, id=7)) == ("d.ndjson:1", "no-attachment")


def test_bad_lines_fail_alone(tmp_path: Path) -> None:
    good = json.dumps(document())
    lines = ["{", good, "", "[1]", '{"id": "x"}', '{"resourceType": 5}', good, '"\\ud800"', good[:-9]]
    notes, failures, _ = read(KIND, write(tmp_path / "d.ndjson", "\n".join(lines)))
    assert len(notes) == 2
    assert [(item.note_id, item.error) for item in failures] == [
        ("d.ndjson:1", "invalid-json"),
        ("d.ndjson:4", "not-a-resource"),
        ("d.ndjson:5", "not-a-resource"),
        ("d.ndjson:6", "not-a-resource"),
        ("d.ndjson:8", "invalid-json"),
        ("d.ndjson:9", "invalid-json"),
    ]


def test_messages_hold_no_text(tmp_path: Path) -> None:
    data = [
        document("SECRET", content=[{"attachment": {"data": "SECRET*"}}]),
        document(b"SECRET \xff"),
        document("SECRET", "text/rtf"),
        document("{\\rtf1 SECRET \\'81}", "text/rtf"),
        document("SECRET", "application/pdf"),
    ]
    path = write(tmp_path / "d.ndjson", "\n".join([*map(json.dumps, data), '{"SECRET', '["SECRET"]']))
    notes, failures, _ = read(KIND, path)
    assert (notes, len(failures)) == ([], 7)
    assert "SECRET" not in repr(failures)


# --- Binaries ---


@pytest.mark.parametrize("url", ["Binary/b1", "https://ehr.example/fhir/Binary/b1", "Binary/b1/_history/2"])
@pytest.mark.parametrize("name", ["Binary.ndjson", "z/deep/Binary.ndjson.gz", "one.json"])
def test_a_url_names_a_binary_of_the_export(url: str, name: str, tmp_path: Path) -> None:
    ndjson(tmp_path / "DocumentReference.ndjson", linked(url), document("inline", id="d2"))
    ndjson(tmp_path / name, binary("b1", "From afar\r\n"))
    notes, failures, _ = read(KIND, tmp_path)
    assert ([note.text for note in notes], failures) == (["From afar\r\n", "inline"], [])


def test_binaries_beside_a_named_file_are_found(tmp_path: Path) -> None:
    path = ndjson(tmp_path / "x[1]/DocumentReference.ndjson", linked("Binary/b1"))
    ndjson(tmp_path / "x[1]/Binary.ndjson", binary("b1", "beside"))
    assert [note.text for note in read(KIND, path)[0]] == ["beside"]


def test_the_binary_states_its_type_where_the_attachment_does_not(tmp_path: Path) -> None:
    resource = document(content=[{"attachment": {"url": "Binary/b1"}}])
    ndjson(tmp_path / "a.ndjson", resource, binary("b1", "<p>HTML</p>", "text/html"))
    assert [note.text.strip() for note in read(KIND, tmp_path)[0]] == ["HTML"]


def test_an_empty_binary_is_an_empty_note_and_one_without_data_fails(tmp_path: Path) -> None:
    ndjson(tmp_path / "a.ndjson", linked("Binary/b1"), linked("Binary/b2", id="d2"), binary("b1", ""))
    ndjson(tmp_path / "b.ndjson", {"resourceType": "Binary", "id": "b2", "data": {"x": 1}})
    notes, failures, _ = read(KIND, tmp_path)
    assert [note.text for note in notes] == [""]
    assert [(item.note_id, item.error) for item in failures] == [("d2", "missing-binary")]


def test_contained_binaries(tmp_path: Path) -> None:
    resource = linked("#b", contained=[{"resourceType": "Patient", "id": "p"}, binary("b", "inside")])
    assert one(tmp_path, resource).text == "inside"


def test_a_bundles_own_binaries_come_first(tmp_path: Path) -> None:
    entries = [
        {"fullUrl": "urn:uuid:11111111-1111-4111-8111-111111111111", "resource": {**binary("x", "by urn"), "id": None}},
        {"resource": linked("urn:uuid:11111111-1111-4111-8111-111111111111", id="d1")},
        {"fullUrl": "https://ehr.example/Binary/b1", "resource": binary("b1", "local")},
        {"resource": linked("Binary/b1", id="d2")},
        {"resource": linked("https://ehr.example/Binary/b1", id="d3")},
        {"resource": linked("Binary/b2", id="d4")},
        {"resource": linked("urn:uuid:none", id="d5")},
        {"request": {"method": "DELETE", "url": "Patient/p"}},
        {"resource": bundle({"resource": linked("Binary/b1", id="d6")})},
        {"resource": {"id": "nothing"}},
    ]
    write(tmp_path / "bundle.json", json.dumps(bundle(*entries), indent=1))
    ndjson(tmp_path / "Binary.ndjson", binary("b1", "outer"), binary("b2", "outer"))
    notes, failures, _ = read(KIND, tmp_path)
    assert [(note.id, note.text) for note in notes] == [
        ("d1", "by urn"),
        ("d2", "local"),
        ("d3", "local"),
        ("d4", "outer"),
        ("d6", "local"),
    ]
    assert [(item.note_id, item.error) for item in failures] == [
        ("d5", "missing-binary"),
        ("bundle.json:1:10", "not-a-resource"),
    ]


def test_the_index_is_built_only_when_a_url_is_met(tmp_path: Path) -> None:
    opened: list[str] = []

    class Watched(type(LOCAL)):  # type: ignore[misc]
        __slots__ = ()

        def open(self, path: str) -> Any:
            opened.append(Path(path).name)
            return super().open(path)

    ndjson(tmp_path / "a.ndjson", document())
    ndjson(tmp_path / "b.ndjson", linked("Binary/b1"), linked("Binary/b2"))
    ndjson(tmp_path / "c.ndjson", binary("b1", "x"), binary("b2", "y"))
    source = SOURCES[KIND](Watched())
    paths = source.files([str(tmp_path)])
    assert len(list(source.read(paths[0]))) == 1
    assert opened == ["a.ndjson"]
    assert [item.text for item in source.read(paths[1]) if isinstance(item, Note)] == ["x", "y"]
    assert opened == ["a.ndjson", "b.ndjson", "a.ndjson", "b.ndjson", "c.ndjson"]


def test_a_source_travels_by_pickle_before_and_after_use(tmp_path: Path) -> None:
    ndjson(tmp_path / "a/d.ndjson", linked("Binary/b1"))
    ndjson(tmp_path / "b/b.ndjson", binary("b1", "x"))
    source = SOURCES[KIND](LOCAL)
    (path, _) = source.files([str(tmp_path)])
    before = pickle.loads(pickle.dumps(source))
    expected = list(source.read(path))
    after = pickle.loads(pickle.dumps(source))
    assert list(before.read(path)) == list(after.read(path)) == expected
    assert isinstance(expected[0], Note)


def test_binaries_do_not_stay_in_memory_nor_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    ndjson(tmp_path / "in/d.ndjson", *(linked(f"Binary/b{i}", id=f"d{i}") for i in range(100)))
    ndjson(tmp_path / "in/b.ndjson", *(binary(f"b{i}", f"{i} " + "x" * 100_000) for i in range(100)))
    source = SOURCES[KIND](LOCAL)
    path = source.files([str(tmp_path / "in")])[1]
    tracemalloc.start()
    found = [item.text[:3].strip() for item in source.read(path) if isinstance(item, Note)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [f"{i} x"[:3].strip() for i in range(100)]
    assert peak < 5_000_000  # 13 MB of base64
    assert list((tmp_path / "tmp").iterdir()) == []


# --- files ---


@pytest.mark.parametrize("cut", [1, 8, 40])
def test_truncated_gzip_gives_every_whole_line_then_an_input_error(cut: int, tmp_path: Path) -> None:
    lines = b"".join(json.dumps(document(id=f"d{i}")).encode() + b"\n" for i in range(50))
    path = tmp_path / "d.ndjson.gz"
    path.write_bytes(gzip.compress(lines)[:-cut])
    found, message = read_until_break(KIND, path)
    assert message == "d.ndjson.gz breaks off: its gzip stream ends early. Fetch the file again."
    ids = [item.id for item in found if isinstance(item, Note)]
    assert ids == [f"d{i}" for i in range(len(ids))]
    assert len(ids) == 50 if cut <= 8 else 0 < len(ids) < 50


def test_truncated_neighbours_still_give_binaries(tmp_path: Path) -> None:
    ndjson(tmp_path / "a.ndjson", linked("Binary/b0"))
    lines = b"".join(json.dumps(binary(f"b{i}", "x" * 50)).encode() + b"\n" for i in range(50))
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(lines)[:-8])
    source = SOURCES[KIND](LOCAL)
    path = source.files([str(tmp_path)])[0]
    assert [item.text for item in source.read(path) if isinstance(item, Note)] == ["x" * 50]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["x.json", "x.json.gz", "x.fhir"])
def test_bundles_of_any_layout(indent: int | None, name: str, tmp_path: Path) -> None:
    text = json.dumps(bundle({"resource": document(id="a")}, {"resource": document(id="b")}), indent=indent)
    notes, _, _ = read(KIND, write(tmp_path / name, "\ufeff" + text))
    assert [note.id for note in notes] == ["a", "b"]


def test_ndjson_may_be_called_json(tmp_path: Path) -> None:
    assert len(read(KIND, ndjson(tmp_path / "x.json", document(), document()))[0]) == 2


def test_json_that_is_not_whole(tmp_path: Path) -> None:
    single = write(tmp_path / "single.json", json.dumps(document(), indent=1)[:-20])
    _, failures, _ = read(KIND, single)
    assert [(item.note_id, item.error) for item in failures] == [("single.json:1", "invalid-json")]
    many = write(tmp_path / "many.json", json.dumps(bundle({"resource": document()}), indent=1)[:-20])
    found, message = read_until_break(KIND, many)
    assert found == []
    assert message is not None
    assert message.startswith("many.json can't be read: Line ")


def test_a_file_that_does_not_look_like_json_is_a_usage_error(tmp_path: Path) -> None:
    path = write(tmp_path / "NOTEEVENTS.csv", "ROW_ID,TEXT\n")
    with pytest.raises(UsageError, match="does not start as JSON"):
        SOURCES[KIND](LOCAL).files([str(path)])


# --- properties ---


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=80), min_size=1, max_size=4),
    charset=st.sampled_from(["utf-8", "utf-16", "utf-32-be"]),
)
def test_any_text_survives_base64(texts: list[str], charset: str) -> None:
    resources = [document(text.encode(charset), f"text/plain; charset={charset}") for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        notes, failures, _ = read(KIND, ndjson(Path(folder) / "d.ndjson", *resources))
    assert failures == []
    assert [note.text for note in notes] == [text.removeprefix("\ufeff") for text in texts]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    "id",
    "status",
    "docStatus",
    "subject",
    "context",
    "type",
    "date",
    "content",
    "contained",
    "attachment",
    "entry",
]


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(KEYS), json_values), kind=st.sampled_from(["DocumentReference", "Bundle"])
)
def test_any_shape_is_a_note_or_a_failure(changes: dict[str, Any], kind: str) -> None:
    resource = document() | changes | {"resourceType": kind}
    with tempfile.TemporaryDirectory() as folder:
        path = ndjson(Path(folder) / "d.ndjson", resource, document(id="after"))
        notes, failures, dropped = read(KIND, path)
    assert notes[-1].id == "after"
    if kind == "DocumentReference":
        assert len(notes) + len(failures) + dropped == 2


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=60), kind=st.sampled_from(["text/plain", "text/html", "text/rtf", "application/xhtml+xml"])
)
def test_any_bytes_are_a_note_or_a_failure(data: bytes, kind: str) -> None:
    wrapped = b"{\\rtf1 " + data + b"}" if kind == "text/rtf" else data
    with tempfile.TemporaryDirectory() as folder:
        found, message = read_until_break(KIND, ndjson(Path(folder) / "d.ndjson", document(wrapped, kind)))
    assert message is None
    assert [type(item) for item in found] in ([Note], [Failure])
    if isinstance(found[0], Note):
        found[0].text.encode("utf-8")

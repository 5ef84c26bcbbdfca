"""`kiwi-fhir notes`: the notes as DocumentReferences that read back as the same notes."""

import gzip
import json
import sqlite3
import uuid

import orjson
import pytest
from synthetic import MIMIC_IV_COLUMNS, mimic_iv_rows
from synthetic import write as write_csv

from kiwi_fhir.cli.notes import write_notes
from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError, TooManyFailures, UsageError
from kiwi_fhir.fhir.document_reference import document_reference
from kiwi_fhir.fhir.elements import sheet_of
from kiwi_fhir.fhir.r4.validate import check_resource
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Coding, Note

RULES = load_rules(Mappings.read())


def export(kind, path, output, **how):
    return write_notes(kind, [str(path)], output, how.pop("config", Config()), **how)


def resources(path):
    data = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


def notes_of(kind, path):
    source = SOURCES[kind](LOCAL)
    return [note for file in source.files([str(path)]) for note in source.read(file)]


@pytest.mark.parametrize("kind", ["mimic-iii", "mimic-iv"])
def test_what_is_written_is_valid_and_reads_back(kind, tmp_path):
    path = tmp_path / {"mimic-iii": "NOTEEVENTS.csv", "mimic-iv": "discharge.csv"}[kind]
    write_csv(kind, path, 40, 4, 300)
    output = tmp_path / "out" / "DocumentReference.ndjson.gz"
    notes = notes_of(kind, path)
    assert export(kind, path, output) == len(notes)
    assert [check_resource(item) for item in resources(output)] == [[]] * len(notes)
    back = notes_of("document-reference", output)
    assert [(n.text, n.patient_id, n.encounter_id, n.type) for n in back] == [
        (n.text, n.patient_id, n.encounter_id, n.type) for n in notes
    ]
    assert [n.time for n in back] == [n.time and n.time[:10] for n in notes]
    if kind == "mimic-iv":
        assert [n.source for n in back] == [n.source for n in notes]
    assert len({n.id for n in back}) == len(notes)


def test_the_ids_of_mimic_iv_join_mimic_fhir(tmp_path):
    write_csv("mimic-iv", tmp_path / "discharge.csv", 3, 4, 50)
    (row, _), *_ = mimic_iv_rows(3, 4, 50)
    note_id, subject_id, hadm_id = row[:3]
    export("mimic-iv", tmp_path / "discharge.csv", tmp_path / "d.ndjson")
    base = uuid.uuid5(uuid.NAMESPACE_OID, "MIMIC-IV")

    def name(kind, key):
        return str(uuid.uuid5(uuid.uuid5(base, kind), str(key)))

    found = resources(tmp_path / "d.ndjson")[0]
    assert found["id"] == name("DocumentReference", note_id)
    assert found["subject"] == {"reference": f"Patient/{name('Patient', subject_id)}"}
    assert found["context"] == {"encounter": [{"reference": f"Encounter/{name('Encounter', hadm_id)}"}]}
    assert found["identifier"] == [{"system": "urn:kiwi-fhir:document-reference", "value": note_id}]


def test_a_database_and_its_csv_give_the_same_bytes(tmp_path):
    pytest.importorskip("sqlalchemy")
    write_csv("mimic-iv", tmp_path / "discharge.csv", 30, 4, 200)
    connection = sqlite3.connect(tmp_path / "mimic.sqlite")
    connection.execute(f"CREATE TABLE discharge ({', '.join(MIMIC_IV_COLUMNS)})")
    connection.executemany("INSERT INTO discharge VALUES (?,?,?,?,?,?,?,?)", (r for r, _ in mimic_iv_rows(30, 4, 200)))
    connection.commit()
    connection.close()
    for name, source in (("a", tmp_path / "discharge.csv"), ("b", f"sqlite:///{tmp_path}/mimic.sqlite"), ("c", None)):
        export("mimic-iv", source or tmp_path / "discharge.csv", tmp_path / f"{name}.ndjson.gz")
    first = (tmp_path / "a.ndjson.gz").read_bytes()
    assert (tmp_path / "b.ndjson.gz").read_bytes() == (tmp_path / "c.ndjson.gz").read_bytes() == first


@pytest.mark.parametrize(
    ("stated", "zone", "creation", "date"),
    [
        ("2150-07-04T10:20:00", None, "2150-07-04", None),
        ("2150-07-04T10:20:00", "America/New_York", "2150-07-04T10:20:00-04:00", True),
        ("2150-07-04T10:20:00+02:00", "America/New_York", "2150-07-04T10:20:00+02:00", True),
        ("2150-07-04", "America/New_York", "2150-07-04", None),
        ("2150-02-30T10:20:00", "America/New_York", None, None),
        (None, None, None, None),
    ],
)
def test_times(stated, zone, creation, date):
    from zoneinfo import ZoneInfo

    found = document_reference(Note("1", "x", time=stated), RULES, ZoneInfo(zone) if zone else None)
    assert found["content"][0]["attachment"].get("creation") == creation
    assert found.get("date") == (creation if date else None)
    assert check_resource(found) == []


@pytest.mark.parametrize("text", ["\ufeffmark", "\ufeff\ufeff", "a\r\n\tb\x00\x85\u2028 \U0001f600", " "])
def test_every_text_reads_back(text, tmp_path):
    note = Note("n/1", text, "p 1", "e1", Coding(None, None, "Chaplain\x07"), "2020", "text")
    found = document_reference(note, RULES)
    assert check_resource(found) == []
    path = tmp_path / "d.ndjson"
    path.write_bytes(orjson.dumps(found))
    (back,) = notes_of("document-reference", path)
    assert back.text == text
    # What a run says of the same note names it by this identifier.
    assert sheet_of(note, RULES, tag="").document["identifier"] in found["identifier"]


def test_notes_without_a_text_and_bad_rows_are_counted(tmp_path):
    path = tmp_path / "NOTEEVENTS.csv"
    head = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CATEGORY,ISERROR,TEXT\n"
    path.write_text(head + "1,2,3,2150-01-01,Echo,,fine\n2,2,3,2150-01-01,Echo,,\n3,2,3,2150-01-01,Echo,,x,SECRET\n")
    output = tmp_path / "n.ndjson"
    with pytest.raises(TooManyFailures, match=r"2 of 3 .* see .*n\.failures\.jsonl"):
        export("mimic-iii", path, output)
    lines = [json.loads(line) for line in (tmp_path / "n.failures.jsonl").read_text().splitlines()]
    assert [line["error"] for line in lines] == ["no-text", "bad-row"]
    assert "SECRET" not in str(lines)
    assert export("mimic-iii", path, output, config=Config().with_options(max_failure_rate=1)) == 1
    path.write_text(head + "1,2,3,2150-01-01,Echo,,fine\n")
    export("mimic-iii", path, output)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["NOTEEVENTS.csv", "n.ndjson"]


def test_what_came_before_a_break_is_written(tmp_path):
    write_csv("mimic-iii", tmp_path / "NOTEEVENTS.csv.gz", 200, 4, 300)
    path = tmp_path / "NOTEEVENTS.csv.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="breaks off"):
        export("mimic-iii", path, tmp_path / "n.ndjson.gz")
    assert 0 < len(resources(tmp_path / "n.ndjson.gz")) < 200


def test_wrong_calls(tmp_path):
    with pytest.raises(UsageError, match="time zone 'Mars' is unknown"):
        export("text", tmp_path, tmp_path / "n.ndjson", time_zone="Mars")
    with pytest.raises(UsageError, match="'fax' is unknown"):
        export("fax", tmp_path, tmp_path / "n.ndjson")
    assert list(tmp_path.iterdir()) == []

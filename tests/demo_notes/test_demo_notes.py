"""The demo notes: valid, readable by both sources, and what they promise to show."""

import json
import re
import runpy
from importlib.resources import as_file, files
from pathlib import Path

import pytest
from fhir.resources.R4B.documentreference import DocumentReference

from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.types import Note

DEMO = files("kiwi_fhir.demo")
BUILD = runpy.run_path(str(Path(__file__).parent / "build.py"))


def read(kind, name):
    source = SOURCES[kind](LOCAL)
    with as_file(DEMO / name) as path:
        return list(source.read(str(path))), source.dropped


@pytest.fixture(scope="module")
def notes():
    found, _ = read("document-reference", "DocumentReference.ndjson")
    assert all(isinstance(note, Note) for note in found)
    return found


@pytest.fixture(scope="module")
def resources():
    return [json.loads(line) for line in (DEMO / "DocumentReference.ndjson").read_bytes().splitlines()]


def test_the_package_holds_what_the_sources_build():
    for name, content in BUILD["build"]().items():
        assert (DEMO / name).read_bytes() == content, f"run tests/demo_notes/build.py: {name} is old"


def test_the_package_stays_small():
    assert sum(len((DEMO / name).read_bytes()) for name in BUILD["build"]()) < 100_000


def test_every_resource_is_valid_r4_and_says_that_it_is_synthetic(resources):
    assert len(resources) == 12
    assert len({resource["id"] for resource in resources}) == 12
    for resource in resources:
        parsed = DocumentReference.model_validate(resource)
        assert parsed.status == "current"
        assert parsed.meta.security[0].code == "HTEST"
        assert parsed.type.coding[0].system == "http://loinc.org"
        assert parsed.subject.reference.startswith("Patient/demo-patient-")
        assert "charset=" in parsed.content[0].attachment.contentType
        assert parsed.date.year in (2024, 2025)


def test_notes_come_out_of_the_source_as_they_were_written(notes):
    written, _ = BUILD["load"]()
    assert [note.id for note in notes] == [one["id"] for one in written]
    for note, one in zip(notes, written, strict=True):
        if one["type"].startswith("text/plain"):
            assert note.text == one["text"]
        assert note.type.code == one["code"]
        assert note.patient_id == f"demo-patient-{one['patient']}"
        assert (note.encounter_id is None) == ("encounter" not in one)
        assert note.time == one["date"]


def test_one_is_short_and_the_others_are_of_usual_length(notes):
    short = [note.id for note in notes if len(note.text) < 800]
    assert short == ["demo-10-nursing"]
    assert all(len(note.text) <= 2500 for note in notes)


def test_formats_line_ends_and_characters_vary(notes, resources):
    texts = {note.id: note.text for note in notes}
    assert [name for name, text in texts.items() if "\r\n" in text] == ["demo-02-emergency"]
    types = [resource["content"][0]["attachment"]["contentType"].partition(";")[0] for resource in resources]
    assert {kind: types.count(kind) for kind in types} == {"text/plain": 10, "text/html": 1, "text/rtf": 1}
    assert set("µ≥°é–²≈•’") <= set(texts["demo-11-endocrinology"])
    assert "39.4 °C" in texts["demo-08-paediatrics"]
    assert "Zoé" in texts["demo-08-paediatrics"]
    assert "<" not in texts["demo-07-psychiatry"]
    assert "2.4 mIU/L & urine" in texts["demo-07-psychiatry"]
    assert "\\par" not in texts["demo-04-radiology"]
    assert texts["demo-04-radiology"].startswith("CT CHEST WITH CONTRAST\n")


@pytest.mark.parametrize(
    "what",
    [
        r"\b(denies|denied|no) \w+",
        r"(?i)family history",
        r"(?i)allerg",
        r"\d+/\d+",  # blood pressure
        r"\d mg/dL",
        r"(?i)\b(possible|probabl[ey]|likely|suspected|suspicious)\b",
        r"(?i)\bif (a )?\w*\s?(fever|rash|muscle|blood|suicidal)",
        r"(?i)\b(mild|moderate|severe)\b",
        r"(?i)\b(worsening|improv\w+|resolved|progressive|unchanged)\b",
        r"(?i)\bfor (5|7|14|4) days\b",
        r"(?i)\b(prn|as needed)\b",
        r"(?i)\b(by mouth|PO|IV)\b",
        r"\b20\d\d-\d\d-\d\d\b",
        r"(?i)\b(left|right|both)\b",
    ],
)
def test_what_the_program_looks_for_occurs_in_several_notes(notes, what):
    assert sum(bool(re.search(what, note.text)) for note in notes) >= 3


def test_the_table_holds_the_plain_notes_and_one_mistake(notes):
    rows, dropped = read("mimic-iii", "NOTEEVENTS.csv")
    plain = [note for note in notes if note.id not in ("demo-04-radiology", "demo-07-psychiatry")]
    assert [row.text for row in rows] == [note.text for note in plain]
    assert dropped == 1
    assert rows[0].type.display == "Discharge summary"
    assert rows[0].time == "2024-03-09"
    assert rows[1].time == "2024-04-17T08:45:00"
    assert rows[0].patient_id == rows[7].patient_id
    assert rows[2].encounter_id is None

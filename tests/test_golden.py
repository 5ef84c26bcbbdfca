"""Six annotated notes and the bundles that they become, byte for byte: the mapping, without the model.

tests/golden/notes holds the notes as brat files, annotated by hand. A change of a bundle is a change of what receivers
get: `pytest tests/test_golden.py --update-golden` writes them anew, and the difference is to be read by eye.
"""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_bundle, to_json
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.terminology import load_linker
from kiwi_fhir.types import ModelId

GOLDEN = Path(__file__).parent / "golden"
MODEL = ModelInfo(ModelId("by-hand", "1"), "0")
RECORDED = "2026-01-31T00:00:00Z"

#: Note -> when it was written; one with a time of day and zone, one with neither patient nor time.
TIMES = {
    "discharge-summary": "2018-11-20T15:40:00-06:00",
    "family-history": "2021-05-03",
    "lab-panel": "2022-02-07T06:15:00+01:00",
    "medication-list": "2020-11-02",
    "radiology-report": "2019-06-04",
    "review-of-systems": None,
}


@pytest.fixture(scope="module")
def notes():
    """Name -> document, with metadata and sections as a run gives them."""
    found = {}
    for read in read_folder(GOLDEN / "notes"):
        name, structure = read.note.id, segment(read.note.text).structure
        known = TIMES[name] is not None
        note = replace(
            read.note,
            source=f"DocumentReference/{name}",
            patient_id="p1" if known else None,
            encounter_id="e1" if known else None,
            time=TIMES[name],
        )
        mentions = [replace(mention, section=structure.kind_at(mention.span.start)) for mention in read.mentions]
        found[name] = replace(read, note=note, mentions=tuple(mentions))
    return found


@pytest.fixture(scope="module")
def bundle_of():
    normalizer, writer = Normalizer(None, load_linker()[0]), BundleWriter(MODEL, recorded=RECORDED)

    def build(document):
        bundle, failures = writer.bundle(document, normalizer.facts(document))
        assert failures == []
        assert check_bundle(bundle) == []
        return bundle

    return build


@pytest.mark.parametrize("name", TIMES)
def test_the_bundle_is_the_golden_one(notes, bundle_of, update_golden, name):
    path = GOLDEN / f"{name}.bundle.json"
    option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    made = orjson.dumps(bundle_of(notes[name]), default=_digits, option=option)
    if update_golden:
        path.write_bytes(made)
    assert made == path.read_bytes(), f"{path.name} changed: see the head of this file"


def _digits(number):
    assert isinstance(number, Decimal)
    return orjson.Fragment(format(number, "f"))


def test_two_writers_write_the_same_line(notes, bundle_of):
    for document in notes.values():
        again = Normalizer(None, load_linker()[0])
        bundle, _ = BundleWriter(MODEL, recorded=RECORDED).bundle(document, again.facts(document))
        assert to_json(bundle) == to_json(bundle_of(document))


def test_the_notes_are_what_they_claim_to_be(notes):
    """Line ends and characters that offsets trip over, every kind of mention, and spans without stray spaces."""
    assert set(notes) == set(TIMES)
    assert "\r\n" in notes["medication-list"].note.text
    assert set("µ½≥é²³–") <= set(notes["lab-panel"].note.text)
    for document in notes.values():
        text = document.note.text
        spans = [mention.span for mention in document.mentions]
        spans += [modifier.span for mention in document.mentions for modifier in mention.modifiers]
        assert all(span.of(text) == span.of(text).strip() for span in spans)
        assert all("\n" not in span.of(text) for span in spans)

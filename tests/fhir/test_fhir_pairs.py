"""Each of the 22 (mention, modifier) pairs sets its element, and leaves it out when the table says so."""

from decimal import Decimal

import pytest
from written_documents import write

from kiwi_fhir.errors import MappingError
from kiwi_fhir.fhir.rules import ELEMENTS
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import ALLOWED_PAIRS


def code(concept):
    return concept["coding"][0]["code"]


def repeat(resource):
    return resource["dosage"][0]["timing"]["repeat"]


def dose(resource):
    return resource["dosage"][0]["doseAndRate"][0]["doseQuantity"]


UCUM = "http://unitsofmeasure.org"
#: (mention, modifier) -> note, mention's words, modifier's words, resource type, what is read there, what it must be.
PAIRS = {
    ("problem", "severity"): (
        "Severe cough.",
        "cough",
        "Severe",
        "Condition",
        lambda r: code(r["severity"]),
        "24484000",
    ),
    ("problem", "condition"): ("Call if cough.", "cough", "if", None, None, None),
    ("problem", "uncertain"): (
        "Possible cough.",
        "cough",
        "Possible",
        "Condition",
        lambda r: code(r["verificationStatus"]),
        "provisional",
    ),
    ("problem", "subject"): (
        "Her mother has a cough.",
        "cough",
        "mother",
        "FamilyMemberHistory",
        lambda r: (code(r["relationship"]), r["condition"][0]["code"]["text"]),
        ("MTH", "cough"),
    ),
    ("problem", "bodyloc"): ("Rash on arm.", "Rash", "arm", "Condition", lambda r: r["bodySite"], [{"text": "arm"}]),
    ("problem", "course"): (
        "Resolved cough.",
        "cough",
        "Resolved",
        "Condition",
        lambda r: code(r["clinicalStatus"]),
        "resolved",
    ),
    ("problem", "temporal"): ("Cough 2006.", "Cough", "2006", "Condition", lambda r: r["onsetDateTime"], "2006"),
    ("problem", "negation"): (
        "No cough.",
        "cough",
        "No",
        "Condition",
        lambda r: (code(r["verificationStatus"]), r.get("clinicalStatus"), code(r["category"][0])),
        ("refuted", None, "encounter-diagnosis"),
    ),
    ("treatment", "temporal"): (
        "Angioplasty 03/14/2006.",
        "Angioplasty",
        "03/14/2006",
        "Procedure",
        lambda r: (r["status"], r["performedDateTime"]),
        ("completed", "2006-03-14"),
    ),
    ("treatment", "negation"): ("No surgery.", "surgery", "No", "Procedure", lambda r: r["status"], "not-done"),
    ("drug", "strength"): (
        "Aspirin 81 mg.",
        "Aspirin",
        "81 mg",
        "MedicationStatement",
        dose,
        {"value": 81, "unit": "mg", "system": UCUM, "code": "mg"},
    ),
    ("drug", "dosage"): (
        "Aspirin 1 tablet.",
        "Aspirin",
        "1 tablet",
        "MedicationStatement",
        dose,
        {"value": 1, "unit": "tablet"},
    ),
    ("drug", "duration"): (
        "Aspirin for 5 days.",
        "Aspirin",
        "for 5 days",
        "MedicationStatement",
        lambda r: repeat(r)["boundsDuration"],
        {"value": 5, "unit": "days", "system": UCUM, "code": "d"},
    ),
    ("drug", "form"): (
        "Nicotine patch.",
        "Nicotine",
        "patch",
        "MedicationStatement",
        lambda r: (r["contained"][0]["form"], r["contained"][0]["code"], r["medicationReference"]["reference"]),
        ({"text": "patch"}, {"text": "Nicotine"}, "#medication"),
    ),
    ("drug", "frequency"): (
        "Aspirin q4-6h.",
        "Aspirin",
        "q4-6h",
        "MedicationStatement",
        repeat,
        {"frequency": 1, "period": 4, "periodMax": 6, "periodUnit": "h"},
    ),
    ("drug", "route"): (
        "Aspirin p.o.",
        "Aspirin",
        "p.o.",
        "MedicationStatement",
        lambda r: (code(r["dosage"][0]["route"]), r["dosage"][0]["route"]["text"]),
        ("C38288", "p.o."),
    ),
    ("drug", "temporal"): (
        "Aspirin since 2006.",
        "Aspirin",
        "2006",
        "MedicationStatement",
        lambda r: r["effectiveDateTime"],
        "2006",
    ),
    ("drug", "negation"): (
        "Declines aspirin.",
        "aspirin",
        "Declines",
        "MedicationStatement",
        lambda r: r["status"],
        "not-taken",
    ),
    ("test", "labvalue"): (
        "Potassium 4.10 mmol/L.",
        "Potassium",
        "4.10 mmol/L",
        "Observation",
        lambda r: (r["valueQuantity"], str(r["valueQuantity"]["value"])),
        ({"value": Decimal("4.10"), "unit": "mmol/L", "system": UCUM, "code": "mmol/L"}, "4.10"),
    ),
    ("test", "reference_range"): (
        "Potassium (3.5-5.1).",
        "Potassium",
        "3.5-5.1",
        "Observation",
        lambda r: r["referenceRange"],
        [{"low": {"value": Decimal("3.5")}, "high": {"value": Decimal("5.1")}, "text": "3.5-5.1"}],
    ),
    ("test", "temporal"): (
        "MRI 03/2006.",
        "MRI",
        "03/2006",
        "Observation",
        lambda r: r["effectiveDateTime"],
        "2006-03",
    ),
    ("test", "negation"): (
        "No MRI.",
        "MRI",
        "No",
        "Observation",
        lambda r: (r["status"], code(r["dataAbsentReason"])),
        ("cancelled", "not-performed"),
    ),
}


def test_all_pairs_are_here_and_in_the_rules():
    allowed = {(mention, modifier) for mention, modifiers in ALLOWED_PAIRS.items() for modifier in modifiers}
    assert set(PAIRS) == allowed == {(mention, name) for mention, rules in ELEMENTS.items() for name in rules}
    assert len(allowed) == 22


@pytest.mark.parametrize("pair", sorted(PAIRS))
def test_each_pair_sets_its_element(pair, resources_of):
    (mention, modifier), (text, words, said, kind, read, expected) = pair, PAIRS[pair]
    resources = resources_of(write(text, (mention, words, {modifier: said})))
    if kind is None:
        assert resources == []
        return
    (resource,) = resources
    assert resource["resourceType"] == kind
    assert read(resource) == expected


@pytest.mark.parametrize("pair", sorted(PAIRS))
def test_each_modifiers_words_and_place_are_kept(pair, resources_of):
    (mention, modifier), (text, words, said, kind, *_) = pair, PAIRS[pair]
    if kind is None:
        return
    (resource,) = resources_of(write(text, (mention, words, {modifier: said})))
    evidence = resource["condition"][0] if kind == "FamilyMemberHistory" else resource  # each condition has its own
    (kept,) = [item for item in evidence["extension"] if item["url"].endswith(":modifier")]
    parts = {part["url"]: next(value for key, value in part.items() if key != "url") for part in kept["extension"]}
    assert parts["label"] == modifier
    assert parts["text"] == said
    assert text[parts["offset"] : parts["offset"] + parts["length"]] == said


@pytest.mark.parametrize("pair", sorted(PAIRS))
def test_a_pair_may_be_left_out_unless_truth_hangs_on_it(pair, resources_of, writer_with):
    (mention, modifier), (text, words, said, _, read, expected) = pair, PAIRS[pair]
    section = f"[elements.{mention}]"
    _, _, tail = Mappings.read().path("fhir").read_text(encoding="utf-8").partition(section)
    changed = tail.replace(f'{modifier} = "{ELEMENTS[mention][modifier]}"', f'{modifier} = "none"', 1)
    if modifier in ("negation", "uncertain", "condition", "subject"):
        where = rf"fhir\.toml, line \d+: key 'elements\.{mention}\.{modifier}': 'none' is not allowed"
        with pytest.raises(MappingError, match=where):
            writer_with(section + tail, section + changed)
        return
    document = write(text, (mention, words, {modifier: said}))
    (resource,) = resources_of(document, writer=writer_with(section + tail, section + changed))
    try:
        left = read(resource)
    except KeyError:
        left = None
    assert left != expected

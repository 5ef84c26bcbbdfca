"""Bundles: what is on every resource, references, ids, Provenance, failures, bytes."""

import json
import pickle
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from conftest import MODEL, RECORDED
from written_documents import write

from kiwi_fhir.errors import MappingError, UsageError
from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_resource, to_json
from kiwi_fhir.fhir.ids import uuid_of
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Fact, ModelId, Note

GOLDEN = Path(__file__).parents[1] / "golden"

#: A small note with all four kinds of mention, sections, and a relative.
VISIT = write(
    "Severe chest pain since 02/2011, no fever. Possible pneumonia.\n"
    "BP 128/74, potassium 4.10 mmol/L (3.5-5.1), troponin negative.\n"
    "Levoxyl 100 mcg tablet, 1 tablet p.o. q.a.m.; Tylenol 500 mg q4-6h p.r.n. pain for 5 days.\n"
    "Status post appendectomy in 2006. Her mother has asthma.",
    ("problem", "chest pain", {"severity": "Severe", "bodyloc": "chest", "temporal": "02/2011"}),
    ("problem", "fever", {"negation": "no"}),
    ("problem", "pneumonia", {"uncertain": "Possible"}),
    ("test", "BP", {"labvalue": "128/74"}),
    ("test", "potassium", {"labvalue": "4.10 mmol/L", "reference_range": "3.5-5.1"}),
    ("test", "troponin", {"labvalue": "negative"}),
    (
        "drug",
        "Levoxyl",
        {"strength": "100 mcg", "form": "tablet", "dosage": "1 tablet", "route": "p.o.", "frequency": "q.a.m."},
    ),
    ("drug", "Tylenol", {"strength": "500 mg", "frequency": ["q4-6h", "p.r.n."], "duration": "for 5 days"}),
    ("problem", "pain", {}),
    ("treatment", "appendectomy", {"temporal": "2006"}),
    ("problem", "asthma", {"subject": "mother"}),
    source="DocumentReference/n1",
    time="2011-03-05T08:30:00-05:00",
)


def with_note(**fields):
    return replace(VISIT, note=replace(VISIT.note, **fields))


def test_the_golden_bundle(bundle_of, update_golden):
    """The file was read by eye; a change of it is a change of what receivers get."""
    if update_golden:
        option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        pretty = orjson.dumps(bundle_of(VISIT), default=lambda number: orjson.Fragment(str(number)), option=option)
        (GOLDEN / "visit.bundle.json").write_bytes(pretty)
    assert bundle_of(VISIT) == json.loads((GOLDEN / "visit.bundle.json").read_text(), parse_float=Decimal)


def test_bytes_are_one_line_sorted_deterministic_and_keep_digits(writer, normalizer):
    line = to_json(writer.bundle(VISIT, normalizer.facts(VISIT))[0])
    again = pickle.loads(pickle.dumps(BundleWriter(MODEL, recorded=RECORDED)))
    assert to_json(again.bundle(VISIT, Normalizer().facts(VISIT))[0]) == line
    assert b"\n" not in line
    assert b'"value":4.10}' in line
    json.loads(line, object_pairs_hook=assert_sorted)
    assert (
        to_json({"a": Decimal("1E+3"), "b": Decimal("1.20"), "c": Decimal("0.000")}) == b'{"a":1000,"b":1.20,"c":0.000}'
    )
    with pytest.raises(TypeError):
        to_json({"a": object()})


def assert_sorted(pairs):
    assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)


def test_every_resource_says_whose_where_from_and_by_what(bundle_of):
    bundle = bundle_of(VISIT)
    entries = bundle["entry"]
    assert bundle["type"] == "transaction"
    assert bundle["identifier"] == {"system": "urn:kiwi-fhir:document-reference", "value": "n1"}
    for entry in entries:
        resource = entry["resource"]
        assert entry["request"] == {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}
        assert entry["fullUrl"] == f"urn:uuid:{resource['id']}"
        assert uuid.UUID(resource["id"]).version == 5
        assert resource["meta"]["security"][0]["code"] == "AIAST"
        assert resource["meta"]["tag"] == [{"system": "urn:kiwi-fhir:model", "code": "kiwi-test@1.2"}]
    for entry in entries[:-1]:
        resource = entry["resource"]
        owner = resource["patient"] if resource["resourceType"] == "FamilyMemberHistory" else resource["subject"]
        assert owner == {"reference": "Patient/p1"}
        encounter = resource.get("context") or resource.get("encounter")
        assert (encounter == {"reference": "Encounter/e1"}) == (resource["resourceType"] != "FamilyMemberHistory")
        # A relative's conditions each have their own evidence; the resource names the places.
        of_relative = resource["resourceType"] == "FamilyMemberHistory"
        assert not of_relative or resource["extension"] == resource["condition"][0]["extension"][:1]
        derivation, confidence = (resource["condition"][0] if of_relative else resource)["extension"][:2]
        assert derivation["url"] == "http://hl7.org/fhir/StructureDefinition/derivation-reference"
        parts = {part["url"]: part for part in derivation["extension"]}
        assert parts["reference"]["valueReference"] == {"reference": "DocumentReference/n1"}
        start, length = parts["offset"]["valueInteger"], parts["length"]["valueInteger"]
        said = VISIT.note.text[start : start + length]
        assert said in json.dumps(resource, default=str)
        assert any(mention.span.of(VISIT.note.text) == said for mention in VISIT.mentions)
        assert confidence == {"url": "urn:kiwi-fhir:extension:confidence", "valueDecimal": 1}


def test_provenance(bundle_of):
    *others, provenance = [entry["resource"] for entry in bundle_of(VISIT)["entry"]]
    assert provenance["resourceType"] == "Provenance"
    targets = [target["reference"] for target in provenance["target"]]
    assert targets == [f"{other['resourceType']}/{other['id']}" for other in others]
    assert provenance["recorded"] == RECORDED
    assert provenance["entity"] == [{"role": "source", "what": {"reference": "DocumentReference/n1"}}]
    (device,) = provenance["contained"]
    assert provenance["agent"][0]["who"]["reference"] == f"#{device['id']}"
    assert {item["type"]["text"]: item["value"] for item in device["version"]} == {
        "program": "0.1.0",
        "model": "1.2",
        "model SHA-256": "ab" * 32,
    }


@pytest.mark.parametrize(
    ("fields", "owner"),
    [
        ({"patient_id": "p-1.2"}, {"reference": "Patient/p-1.2"}),
        ({"patient_id": "https://ehr.example/fhir/Patient/7"}, {"reference": "https://ehr.example/fhir/Patient/7"}),
        ({"patient_id": "urn:uuid:1"}, {"reference": "urn:uuid:1"}),
        ({"patient_id": None}, {"display": "Unknown patient"}),
        (
            {"patient_id": "a/b c", "source": "mimic-iii"},
            {"type": "Patient", "identifier": {"system": "urn:kiwi-fhir:mimic-iii:patient", "value": "a/b c"}},
        ),
    ],
)
def test_the_patient_is_the_notes_and_never_invented(bundle_of, fields, owner):
    assert bundle_of(with_note(**fields))["entry"][0]["resource"]["subject"] == owner


@pytest.mark.parametrize(
    ("source", "document"),
    [
        ("DocumentReference/d1", {"reference": "DocumentReference/d1"}),
        ("DiagnosticReport/r1", {"reference": "DiagnosticReport/r1"}),
        ("https://ehr.example/DocumentReference/1", {"reference": "https://ehr.example/DocumentReference/1"}),
        ("urn:uuid:2", {"reference": "urn:uuid:2"}),
        ("text", {"type": "DocumentReference", "identifier": {"system": "urn:kiwi-fhir:text", "value": "n1"}}),
    ],
)
def test_the_note_is_named_by_reference_or_by_identifier(bundle_of, source, document):
    entries = bundle_of(with_note(source=source))["entry"]
    assert entries[-1]["resource"]["entity"][0]["what"] == document
    assert entries[0]["resource"]["extension"][0]["extension"][0]["valueReference"] == document


@pytest.mark.parametrize(
    ("time", "written"),
    [
        ("2011-03-05T08:30:00-05:00", "2011-03-05T08:30:00-05:00"),
        ("2011-03-05T08:30Z", "2011-03-05T08:30:00Z"),
        ("2011-03-05T08:30:00", "2011-03-05"),
        ("2011-03-05T08:30", "2011-03-05"),
        ("2011-03", "2011-03"),
        ("2011-02-30", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_the_notes_time_is_written_as_far_as_fhir_takes_it(bundle_of, time, written):
    assert bundle_of(with_note(time=time))["entry"][0]["resource"].get("recordedDate") == written


def test_a_note_without_resources_gives_a_bundle_without_entries(bundle_of):
    empty = Document(Note("n9", "Nothing."), ())
    assert bundle_of(empty) == {
        "resourceType": "Bundle",
        "type": "transaction",
        "id": uuid_of("text", "n9", "Bundle"),
        "identifier": {"system": "urn:kiwi-fhir:text", "value": "n9"},
    }


def test_ids_hang_on_note_type_span_and_what_it_says(bundle_of):
    def ids(document):
        return [entry["resource"]["id"] for entry in bundle_of(document)["entry"]]

    assert ids(VISIT) == ids(VISIT)
    assert len(set(ids(VISIT))) == len(ids(VISIT))
    assert not set(ids(VISIT)) & set(ids(with_note(id="n2")))
    assert not set(ids(VISIT)) & set(ids(with_note(source="text")))
    present, absent = (ids(write(f"{said} fever.", ("problem", "fever", {})))[0] for said in ("On", "No"))
    assert present != absent
    assert uuid_of("a", "b") == str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "urn:kiwi-fhir"), "a\x1fb"))


def test_the_same_mention_twice_is_written_once(bundle_of):
    document = write("Fever.", ("problem", "Fever", {}))
    twice = replace(document, mentions=document.mentions * 2)
    assert len(bundle_of(twice)["entry"]) == 2


def test_confidence_is_left_out_of_models_that_have_none(bundle_of):
    said = ("no fever", ("problem", "fever", {"negation": "no"}))
    unsure, silent = (to_json(bundle_of(write(*said, score=score))) for score in (0.5, None))
    assert unsure.count(b"confidence") == 2
    assert b"confidence" not in silent


def test_the_confidence_of_a_modifier_counts_the_link_where_there_is_one(bundle_of):
    document = write("no fever", ("problem", "fever", {"negation": "no"}), score=0.5)
    (mention,) = document.mentions
    held = replace(mention.modifiers[0], score=0.8, link=0.9)
    linked = replace(document, mentions=(replace(mention, modifiers=(held,)),))
    evidence = bundle_of(linked)["entry"][0]["resource"]["extension"]
    assert {"url": "confidence", "valueDecimal": Decimal("0.72")} in evidence[-1]["extension"]


def test_provenance_names_an_engine_that_changes_results(normalizer):
    def versions(model):
        bundle, _ = BundleWriter(model, recorded=RECORDED).bundle(VISIT, normalizer.facts(VISIT))
        (provenance,) = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Provenance"]
        return {item["type"]["text"]: item["value"] for item in provenance["contained"][0]["version"]}

    assert versions(replace(MODEL, engine="OpenVINO int8")) == versions(MODEL) | {"engine": "OpenVINO int8"}
    assert "engine" not in versions(MODEL)


def test_a_model_name_with_spaces_makes_a_code():
    assert ModelInfo(ModelId("my  model", "1 beta", "c0ffee"), "0").tag == "my-model@1-beta-c0ffee"


def test_a_wrong_resource_is_a_failure_that_holds_no_text_and_the_others_are_written(writer, normalizer):
    good, other = normalizer.facts(write("Secret fever.", ("problem", "Secret", {}), ("problem", "fever", {})))
    wrong = Fact(good.mention, " \x01 ")
    bundle, failures = writer.bundle(VISIT, [wrong, other])
    (failure,) = failures
    assert (failure.note_id, failure.stage, failure.error, failure.kept) == ("n1", "fhir", "invalid-resource", True)
    assert failure.message.startswith("Condition.code.text: syntax, must be text that is not blank")
    assert "Secret" not in failure.message
    types = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert types == ["Condition", "Provenance"]
    assert len(bundle["entry"][-1]["resource"]["target"]) == 1


@pytest.mark.parametrize(
    ("label", "fields", "path"),
    [
        ("drug", {"allergy": "substance"}, "AllergyIntolerance.code.text"),
        ("drug", {}, "MedicationStatement.medicationCodeableConcept.text"),
        ("test", {}, "Observation.code.text"),
        ("treatment", {}, "Procedure.code.text"),
    ],
)
def test_what_fails_is_named_by_path_for_every_type(writer, label, fields, path):
    document = write("Secret fever.", (label, "Secret", {}), ("problem", "fever", {}))
    facts = [Fact(document.mentions[0], " \x01 ", **fields), Fact(document.mentions[1], "fever")]
    bundle, failures = writer.bundle(document, facts)
    assert [failure.message.partition(":")[0] for failure in failures] == [path]
    assert [entry["resource"]["resourceType"] for entry in bundle["entry"]] == ["Condition", "Provenance"]


def test_wrong_arguments_are_refused_at_once(tmp_path):
    for recorded in ("2026-01-31", "2026-02-30T00:00:00Z", "now"):
        with pytest.raises(UsageError, match="is no instant"):
            BundleWriter(MODEL, recorded=recorded)
    (tmp_path / "fhir.toml").write_text('extensions = "x"\n')
    with pytest.raises(MappingError, match=r"fhir\.toml, line 1: key 'identifiers': is missing"):
        BundleWriter(MODEL, recorded=RECORDED, mappings=Mappings.read(tmp_path))


def test_what_we_do_not_write_is_refused_with_what_is_allowed(writer_with):
    with pytest.raises(
        MappingError, match=r"key 'drug\.resource': 'MedicationDispense' is not allowed; allowed are Med"
    ):
        writer_with('resource = "MedicationStatement"', 'resource = "MedicationDispense"')


def test_bases_of_extensions_and_systems_are_the_tables(writer_with, bundle_of):
    writer = writer_with('extensions = "urn:kiwi-fhir:extension:"', 'extensions = "https://example.org/fhir/"')
    resource = bundle_of(VISIT, writer=writer)["entry"][0]["resource"]
    assert {item["url"] for item in resource["extension"][1:]} == {
        "https://example.org/fhir/confidence",
        "https://example.org/fhir/modifier",
    }


def test_all_types_are_valid_r4b(bundle_of):
    """fhir.resources has no R4; R4B is the same for our types."""
    from fhir.resources.R4B.bundle import Bundle

    found = Bundle.model_validate_json(to_json(bundle_of(VISIT)))
    kinds = {entry.resource.get_resource_type() for entry in found.entry}
    assert kinds == {
        "Condition",
        "Observation",
        "MedicationStatement",
        "Procedure",
        "FamilyMemberHistory",
        "Provenance",
    }


def test_a_resource_of_every_kind_passes_our_own_check(bundle_of):
    assert [check_resource(entry["resource"]) for entry in bundle_of(VISIT)["entry"]] == [[]] * len(
        bundle_of(VISIT)["entry"]
    )

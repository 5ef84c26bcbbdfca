"""The check of resources and bundles: it passes what is right, refuses what is wrong, and survives anything."""

import copy
import importlib
import json
import re
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_fhir.fhir import check_bundle, check_resource
from kiwi_fhir.fhir.r4 import spec
from kiwi_fhir.fhir.r4.walk import type_of

BUNDLE = json.loads((Path(__file__).parents[1] / "golden" / "visit.bundle.json").read_text())
RESOURCES = [entry["resource"] for entry in BUNDLE["entry"]]
UCUM = "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def first(kind, with_element=None):
    return copy.deepcopy(
        next(r for r in RESOURCES if r["resourceType"] == kind and (with_element is None or with_element in r))
    )


def concept(system, code):
    return {"coding": [{"system": system, "code": code}]}


def verification(code):
    return concept(spec.SYSTEMS["condition-ver-status"], code)


def clinical(code):
    return concept(spec.SYSTEMS["condition-clinical"], code)


def problem_list():
    return [concept("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item")]


def repeat(resource):
    return resource["dosage"][0]["timing"]["repeat"]


def put(path, value):
    """A change that sets (or with None removes) what stands at `path`."""

    def change(resource):
        *parents, last = path
        for step in parents:
            resource = resource[step]
        if value is None:
            del resource[last]
        else:
            resource[last] = value

    return change


#: Resource type, an element that the resource must have, the change, the path and rule of the finding.
WRONG = [
    ("Condition", None, put(["subject"], None), "Condition.subject", "structure"),
    ("Condition", None, put(["subject"], {}), "Condition.subject", "structure"),
    ("Condition", None, put(["subject", "reference"], "no reference"), "Condition.subject.reference", "reference"),
    ("Condition", None, put(["subject", "reference"], "Patient/p 1"), "Condition.subject.reference", "reference"),
    ("Condition", None, put(["subject", "reference"], "#nobody"), "Condition", "ref-1"),
    ("Condition", None, put(["colour"], "red"), "Condition.colour", "structure"),
    ("Condition", None, put(["id"], "a_b"), "Condition.id", "syntax"),
    ("Condition", None, put(["id"], "x" * 65), "Condition.id", "syntax"),
    ("Condition", None, put(["code", "text"], ""), "Condition.code.text", "syntax"),
    ("Condition", None, put(["code", "text"], "a\x00b"), "Condition.code.text", "syntax"),
    ("Condition", None, put(["code", "text"], 7), "Condition.code.text", "syntax"),
    ("Condition", None, put(["code"], "fever"), "Condition.code", "structure"),
    ("Condition", None, put(["category"], {"text": "x"}), "Condition.category", "structure"),
    ("Condition", None, put(["category"], []), "Condition.category", "structure"),
    ("Condition", None, put(["clinicalStatus"], clinical("ongoing")), "Condition.clinicalStatus", "required-code"),
    ("Condition", None, put(["clinicalStatus"], {"text": "active"}), "Condition.clinicalStatus", "required-code"),
    (
        "Condition",
        None,
        put(["verificationStatus"], verification("denied")),
        "Condition.verificationStatus",
        "required-code",
    ),
    ("Condition", None, put(["verificationStatus"], verification("entered-in-error")), "Condition", "con-5"),
    ("Condition", None, put(["abatementDateTime"], "2011"), "Condition", "con-4"),
    ("Condition", "onsetDateTime", put(["onsetDateTime"], "2011-02-30"), "Condition.onsetDateTime", "syntax"),
    ("Condition", "onsetDateTime", put(["onsetDateTime"], "02/2011"), "Condition.onsetDateTime", "syntax"),
    ("Condition", "onsetDateTime", put(["onsetDateTime"], "2011-02-03T10:00:00"), "Condition.onsetDateTime", "syntax"),
    ("Condition", "onsetDateTime", put(["onsetDateTime"], "2011-02-03T10:00Z"), "Condition.onsetDateTime", "syntax"),
    ("Condition", "onsetDateTime", put(["onsetString"], "long ago"), "Condition.onset[x]", "structure"),
    ("Condition", None, put(["meta", "security", 0, "code"], "A  B"), "Condition.meta.security[0].code", "syntax"),
    (
        "Condition",
        None,
        put(["meta", "security", 0, "system"], "a system"),
        "Condition.meta.security[0].system",
        "syntax",
    ),
    (
        "Condition",
        None,
        put(["extension", 1, "extension"], [{"url": "x", "valueCode": "y"}]),
        "Condition.extension[1]",
        "ext-1",
    ),
    ("Condition", None, put(["extension", 1], {"url": "x"}), "Condition.extension[1]", "ext-1"),
    ("Condition", None, put(["extension", 1, "url"], None), "Condition.extension[1].url", "structure"),
    (
        "Condition",
        None,
        put(["extension", 1], {"url": "x", "valueCodeableReference": {"reference": {"display": "x"}}}),
        "Condition.extension[1].valueCodeableReference",
        "structure",
    ),
    ("Condition", None, put(["contained"], [{"resourceType": "Device", "id": "d"}]), "Condition.contained", "dom-3"),
    ("Observation", None, put(["status"], "done"), "Observation.status", "required-code"),
    ("Observation", None, put(["status"], None), "Observation.status", "structure"),
    ("Observation", "valueQuantity", put(["dataAbsentReason"], concept(ABSENT, "unknown")), "Observation", "obs-6"),
    (
        "Observation",
        "valueQuantity",
        put(["referenceRange"], [{"appliesTo": [{"text": "x"}]}]),
        "Observation.referenceRange[0]",
        "obs-3",
    ),
    ("Observation", "valueQuantity", put(["valueQuantity", "system"], None), "Observation.valueQuantity", "qty-3"),
    (
        "Observation",
        "valueQuantity",
        put(["valueQuantity", "value"], "4.1"),
        "Observation.valueQuantity.value",
        "syntax",
    ),
    (
        "Observation",
        "valueQuantity",
        put(["valueQuantity", "value"], True),
        "Observation.valueQuantity.value",
        "syntax",
    ),
    (
        "Observation",
        "valueQuantity",
        put(["valueQuantity", "value"], Decimal("NaN")),
        "Observation.valueQuantity.value",
        "syntax",
    ),
    (
        "Observation",
        "valueQuantity",
        put(["valueQuantity", "comparator"], "~"),
        "Observation.valueQuantity.comparator",
        "required-code",
    ),
    ("Observation", "valueQuantity", put(["valueString"], "4.1"), "Observation.value[x]", "structure"),
    ("Observation", "component", put(["valueString"], "128/74"), None, None),
    (
        "Observation",
        "referenceRange",
        put(["referenceRange", 0, "low", "value"], 9),
        "Observation.referenceRange[0]",
        "rng-2",
    ),
    (
        "Observation",
        "referenceRange",
        put(["referenceRange", 0, "low", "comparator"], ">"),
        "Observation.referenceRange[0]",
        "sqty-1",
    ),
    ("MedicationStatement", None, put(["status"], "taking"), "MedicationStatement.status", "required-code"),
    (
        "MedicationStatement",
        "medicationCodeableConcept",
        put(["medicationCodeableConcept"], None),
        "MedicationStatement.medication[x]",
        "structure",
    ),
    ("MedicationStatement", "medicationReference", put(["contained"], None), "MedicationStatement", "ref-1"),
    (
        "MedicationStatement",
        "medicationReference",
        put(["contained", 0, "id"], "other"),
        "MedicationStatement.contained",
        "dom-3",
    ),
    (
        "MedicationStatement",
        "medicationReference",
        put(["contained", 0, "status"], "on"),
        "MedicationStatement.contained[0].status",
        "required-code",
    ),
    (
        "MedicationStatement",
        "medicationReference",
        put(["contained", 0, "ingredient", 0, "strength", "denominator"], None),
        "MedicationStatement.contained[0].ingredient[0].strength",
        "rat-1",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(periodUnit="day"),
        "MedicationStatement.dosage[0].timing.repeat.periodUnit",
        "required-code",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).pop("periodUnit"),
        "MedicationStatement.dosage[0].timing.repeat",
        "tim-2",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(period=-1),
        "MedicationStatement.dosage[0].timing.repeat",
        "tim-5",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(duration=1),
        "MedicationStatement.dosage[0].timing.repeat",
        "tim-1",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(duration=-1, durationUnit="h"),
        "MedicationStatement.dosage[0].timing.repeat",
        "tim-4",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(countMax=2),
        "MedicationStatement.dosage[0].timing.repeat",
        "tim-8",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(offset=5, when=["C"]),
        "MedicationStatement.dosage[0].timing.repeat",
        "tim-9",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(when=["HS"], timeOfDay=["08:00:00"]),
        "MedicationStatement.dosage[0].timing.repeat",
        "tim-10",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(when=["BEDTIME"]),
        "MedicationStatement.dosage[0].timing.repeat.when[0]",
        "required-code",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(frequency=0),
        "MedicationStatement.dosage[0].timing.repeat.frequency",
        "syntax",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: repeat(r).update(boundsDuration={"value": 5, "code": "d", "system": "x:y"}),
        "MedicationStatement.dosage[0].timing.repeat.boundsDuration",
        "drt-1",
    ),
    (
        "MedicationStatement",
        "dosage",
        lambda r: r["dosage"][0].update(asNeededBoolean=True, asNeededCodeableConcept={"text": "pain"}),
        "MedicationStatement.dosage[0].asNeeded[x]",
        "structure",
    ),
    ("Procedure", None, put(["status"], "done"), "Procedure.status", "required-code"),
    (
        "Procedure",
        None,
        put(["performedPeriod"], {"start": "2012", "end": "2011"}),
        "Procedure.performedPeriod",
        "per-1",
    ),
    ("FamilyMemberHistory", None, put(["relationship"], None), "FamilyMemberHistory.relationship", "structure"),
    ("FamilyMemberHistory", None, put(["status"], "final"), "FamilyMemberHistory.status", "required-code"),
    ("FamilyMemberHistory", None, put(["estimatedAge"], True), "FamilyMemberHistory", "fhs-2"),
    (
        "FamilyMemberHistory",
        None,
        put(["ageAge"], {"value": 0, "code": "a", "system": UCUM}),
        "FamilyMemberHistory.ageAge",
        "age-1",
    ),
    ("Provenance", None, put(["target"], []), "Provenance.target", "structure"),
    ("Provenance", None, put(["recorded"], "2026-01-31"), "Provenance.recorded", "syntax"),
    ("Provenance", None, put(["entity", 0, "role"], "origin"), "Provenance.entity[0].role", "required-code"),
    (
        "Provenance",
        None,
        put(["contained", 0, "deviceName", 0, "type"], "nickname"),
        "Provenance.contained[0].deviceName[0].type",
        "required-code",
    ),
]


@pytest.mark.parametrize(("kind", "having", "change", "path", "rule"), WRONG)
def test_wrong_resources_are_refused_by_path_and_rule(kind, having, change, path, rule):
    resource = first(kind, having)
    assert check_resource(resource) == []
    change(resource)
    found = {(finding.path, finding.rule) for finding in check_resource(resource)}
    if path is None:
        assert found == set()  # a value beside components of other codes is allowed
    else:
        assert (path, rule) in found
    assert len(WRONG) >= 25


def test_con_3_and_obs_7():
    condition = first("Condition")
    condition["category"] = problem_list()
    del condition["clinicalStatus"]
    assert [finding.rule for finding in check_resource(condition)] == ["con-3"]
    observation = first("Observation", "component")
    observation["valueString"] = "x"
    observation["component"][0]["code"] = observation["code"]
    assert [finding.rule for finding in check_resource(observation)] == ["obs-7"]


def test_extensions_of_primitives_are_elements_too():
    condition = first("Condition", "onsetDateTime")
    condition["_onsetDateTime"] = {"extension": [{"url": "x", "valueString": "y"}]}
    assert check_resource(condition) == []
    condition["_onsetDateTime"]["extension"][0]["url"] = "a b"
    assert [finding.path for finding in check_resource(condition)] == ["Condition._onsetDateTime.extension[0].url"]


def test_findings_hold_no_value():
    condition = first("Condition")
    condition["code"]["text"] = "secret\x00"
    condition["onsetDateTime"] = "secret day"
    condition["subject"]["reference"] = "secret patient"
    findings = check_resource(condition)
    assert len(findings) == 3
    assert "secret" not in str(findings)


BUNDLES = [
    (lambda b: b.update(resourceType="Condition"), "structure"),
    (lambda b: b.update(type="pile"), "required-code"),
    (lambda b: b.update(id="a b"), "syntax"),
    (lambda b: b.update(entry=[]), "structure"),
    (lambda b: b["entry"][0].pop("request"), "bdl-3"),
    (lambda b: b["entry"][0]["request"].update(method="POST"), "bundle"),
    (lambda b: b["entry"][0]["request"].update(url="Condition/other"), "bundle"),
    (lambda b: b["entry"][0].update(fullUrl="urn:uuid:other"), "bundle"),
    (lambda b: b["entry"][0].pop("fullUrl"), "bundle"),
    (lambda b: b["entry"][0].pop("resource"), "structure"),
    (lambda b: b["entry"].append(b["entry"][0]), "bdl-7"),
    (lambda b: b["entry"].pop(0), "reference"),
    (lambda b: b["entry"][-1]["resource"]["target"].append({"reference": "urn:uuid:nowhere"}), "reference"),
    (lambda b: b["entry"][0]["resource"].update(subject={}), "structure"),
]


@pytest.mark.parametrize(("change", "rule"), BUNDLES)
def test_wrong_bundles_are_refused(change, rule):
    bundle = copy.deepcopy(BUNDLE)
    assert check_bundle(bundle) == []
    change(bundle)
    assert rule in {finding.rule for finding in check_bundle(bundle)}


def test_a_finding_in_a_bundle_names_the_entry():
    bundle = copy.deepcopy(BUNDLE)
    bundle["entry"][1]["resource"]["id"] = "a_b"
    assert "Bundle.entry[1].resource.id" in {finding.path for finding in check_bundle(bundle)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["coding", "code", "system", "reference", "url", "value", "resourceType", "id", "low", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_json_breaks_the_check(data):
    bundle = copy.deepcopy(BUNDLE)
    node = bundle
    while True:
        key = data.draw(st.sampled_from(sorted(node)) if isinstance(node, dict) else st.integers(0, len(node) - 1))
        child = node[key]
        if not isinstance(child, (dict, list)) or not child or data.draw(st.integers(0, 5)) == 0:
            break
        node = child
    node[key] = data.draw(JSON)
    check_bundle(bundle)
    for entry in bundle["entry"] if isinstance(bundle.get("entry"), list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
            check_resource(entry["resource"])


@pytest.mark.parametrize("kind", [*re.findall(r"^([A-Z][\w.]+):", spec.TYPES, re.MULTILINE), "Extension"])
def test_our_table_of_elements_is_that_of_r4b(kind):
    """fhir.resources has R4B, which is R4 for these types."""
    module = importlib.import_module(f"fhir.resources.R4B.{kind.partition('.')[0].lower()}")
    model = getattr(module, "".join(part[0].upper() + part[1:] for part in kind.split(".")))
    theirs, required = set(), set()
    for name, field in model.model_fields.items():
        element = field.alias or name
        if element.startswith("_") or element in ("fhir_comments", "resourceType", "resource_type"):
            continue
        theirs.add(element)
        if field.is_required() or (field.json_schema_extra or {}).get("element_required"):
            required.add(element)
    if kind == "Extension":
        theirs = (theirs - {"valueCodeableReference", "valueRatioRange"}) | {"valueMeta"}  # 4.0.1's open types
    assert set(type_of(kind).elements) == theirs
    assert set(type_of(kind).required) == required


def test_the_check_is_fast_enough_to_run_on_every_resource():
    """20,000 resources a second on a quiet core; the bound here only catches a slip by an order of magnitude."""
    check_resource(RESOURCES[0])
    started = time.process_time()
    for _ in range(100):
        for resource in RESOURCES:
            check_resource(resource)
    assert 100 * len(RESOURCES) / (time.process_time() - started) > 4000

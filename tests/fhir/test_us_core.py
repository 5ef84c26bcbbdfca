"""The us-core profile: what it changes in the mapping, and that a resource claims only a profile that it meets."""

import pytest
from conftest import MODEL, RECORDED
from written_documents import write

from kiwi_fhir.fhir import BundleWriter, check_resource
from kiwi_fhir.fhir.profiles import claim, us_core
from kiwi_fhir.tables import Mappings

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


@pytest.fixture(scope="module")
def one():
    writer = BundleWriter(MODEL, recorded=RECORDED, mappings=Mappings.read("us-core"))

    def build(resources_of, *args, **how):
        (resource,) = resources_of(write(*args, **how), writer=writer)
        return resource

    return build


def claimed(resource):
    urls = resource["meta"].get("profile", [])
    assert len(urls) <= 1
    return urls[0].removeprefix("http://hl7.org/fhir/us/core/StructureDefinition/us-core-") if urls else None


def concept(system, *codes):
    return {"coding": [{"system": system, "code": code} for code in codes]}


@pytest.mark.parametrize(
    ("text", "section", "modifiers", "profile"),
    [
        ("Has colitis.", None, {}, "condition-encounter-diagnosis"),
        ("Has colitis.", "problem_list", {}, "condition-problems-health-concerns"),
        ("No colitis.", "problem_list", {"negation": "No"}, "condition-encounter-diagnosis"),
    ],
)
def test_a_problem_claims_the_profile_of_its_category(one, resources_of, text, section, modifiers, profile):
    resource = one(resources_of, text, ("problem", "colitis", modifiers), section=section)
    assert claimed(resource) == profile


def test_without_a_patient_nothing_is_claimed(one, resources_of):
    document = ("Colitis.", ("problem", "Colitis", {}))
    assert claimed(one(resources_of, *document)) is not None
    assert claimed(one(resources_of, *document, patient_id=None)) is None
    assert claimed(one(resources_of, *document, patient_id="a/b c")) is None  # by identifier only


def test_by_default_nothing_is_claimed_and_meta_is_not_shared(one, resources_of):
    document = write("Colitis, asthma.", ("problem", "Colitis", {}), ("problem", "asthma", {}))
    assert [claimed(resource) for resource in resources_of(document)] == [None, None]
    found = one(resources_of, "Colitis.", ("problem", "Colitis", {}))
    assert found["meta"]["security"][0]["code"] == "AIAST"


@pytest.mark.parametrize(
    ("text", "modifiers", "section", "status"),
    [
        ("Aspirin.", {}, None, "unknown"),
        ("Aspirin.", {}, "home_medications", "active"),
        ("Past aspirin.", {"temporal": "Past"}, None, "completed"),
        ("Aspirin was stopped.", {"negation": "stopped"}, None, "stopped"),
        ("Aspirin was held.", {"negation": "held"}, None, "on-hold"),
    ],
)
def test_a_drug_is_a_reported_plan(one, resources_of, text, modifiers, section, status):
    word = "Aspirin" if "Aspirin" in text else "aspirin"
    resource = one(resources_of, text, ("drug", word, modifiers), section=section)
    assert (resource["resourceType"], resource["status"], resource["intent"]) == ("MedicationRequest", status, "plan")
    assert resource["reportedBoolean"] is True
    assert resource["medicationCodeableConcept"]["text"] == word
    assert (resource["subject"], resource["encounter"]) == ({"reference": "Patient/p1"}, {"reference": "Encounter/e1"})
    assert resource["authoredOn"] == "2011-03-05"
    assert claimed(resource) == "medicationrequest"


def test_its_dosage_is_that_of_a_statement(one, resources_of):
    document = ("Aspirin 81 mg p.o. daily.", ("drug", "Aspirin", {"strength": "81 mg", "frequency": "daily"}))
    (statement,) = resources_of(write(*document))
    assert one(resources_of, *document)["dosageInstruction"] == statement["dosage"]


def test_a_form_stays_words_and_the_drug_a_concept(one, resources_of):
    resource = one(resources_of, "Nicotine patch.", ("drug", "Nicotine", {"form": "patch"}))
    assert "contained" not in resource
    assert resource["medicationCodeableConcept"]["text"] == "Nicotine"


def test_what_is_not_taken_is_no_request(one, resources_of):
    resource = one(resources_of, "Declines aspirin.", ("drug", "aspirin", {"negation": "Declines"}))
    assert (resource["resourceType"], resource["status"]) == ("MedicationStatement", "not-taken")
    assert claimed(resource) is None


def observation(category, codes, **more):
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [concept(CATEGORY, category)],
        "code": concept(LOINC, *codes),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2011-03-05",
        **more,
    }


def quantity(code):
    return {"valueQuantity": {"value": 1, "system": UCUM, "code": code}}


def pressure(unit="mm[Hg]", codes=("8480-6", "8462-4")):
    return {"component": [{"code": concept(LOINC, code), **quantity(unit)} for code in codes]}


ABSENT = {"dataAbsentReason": {"text": "x"}}


@pytest.mark.parametrize(
    ("resource", "profile"),
    [
        (observation("laboratory", ["2823-3"], valueString="4.1"), "observation-lab"),
        (observation("laboratory", [], valueString="4.1"), None),
        (observation("laboratory", ["2823-3"], effectiveDateTime="2011-03"), None),
        (observation("vital-signs", ["8867-4"], **quantity("/min")), "heart-rate"),
        (observation("vital-signs", ["8867-4"], **quantity("Hz")), None),
        (observation("vital-signs", ["8867-4"], valueString="110s"), None),
        (observation("vital-signs", ["8867-4"], **ABSENT), "heart-rate"),
        (observation("vital-signs", ["8310-5"], **quantity("[degF]")), "body-temperature"),
        (observation("vital-signs", ["29463-7"], **quantity("kg")), "body-weight"),
        (observation("vital-signs", ["59408-5"], **quantity("%")), None),
        (observation("vital-signs", ["59408-5", "2708-6"], **quantity("%")), "pulse-oximetry"),
        (observation("vital-signs", ["85354-9"], **pressure()), "blood-pressure"),
        (observation("vital-signs", ["85354-9"], **pressure("kPa")), None),
        (observation("vital-signs", ["85354-9"], **pressure(codes=["8480-6"])), None),
        (observation("vital-signs", ["8478-0"], **quantity("mm[Hg]")), "vital-signs"),
        (observation("vital-signs", ["8478-0"], effectiveDateTime="2011-03", **quantity("mm[Hg]")), None),
        (observation("exam", ["8867-4"], **quantity("/min")), None),
        ({"resourceType": "Procedure", "status": "completed", "subject": {"reference": "Patient/p1"}}, None),
        ({"resourceType": "Procedure", "status": "unknown", "subject": {"reference": "Patient/p1"}}, "procedure"),
        ({"resourceType": "FamilyMemberHistory", "patient": {"reference": "Patient/p1"}}, None),
    ],
)
def test_a_profile_is_claimed_only_where_it_is_met(resource, profile):
    found = us_core(resource)
    assert found == (profile and f"http://hl7.org/fhir/us/core/StructureDefinition/us-core-{profile}")


def test_pulse_oximetry_gets_the_second_code_that_its_profile_wants():
    resource = {"meta": {}, **observation("vital-signs", ["59408-5"], **quantity("%"))}
    claim(resource)
    assert [item["code"] for item in resource["code"]["coding"]] == ["59408-5", "2708-6"]
    assert claimed(resource) == "pulse-oximetry"
    assert check_resource(resource) == []


def test_a_vital_sign_without_a_time_claims_nothing():
    resource = observation("vital-signs", ["8867-4"], **quantity("/min"))
    del resource["effectiveDateTime"]
    assert us_core(resource) is None
    assert us_core({**resource, "category": [concept(CATEGORY, "laboratory")]}) is not None


def test_an_allergy():
    allergy = {"resourceType": "AllergyIntolerance", "code": {"text": "x"}, "patient": {"reference": "Patient/p1"}}
    assert us_core(allergy).endswith("us-core-allergyintolerance")
    assert us_core({**allergy, "patient": {"display": "Unknown patient"}}) is None

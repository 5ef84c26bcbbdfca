"""AllergyIntolerance, relatives with several conditions, what is planned, and how a rule's finding is marked."""

from dataclasses import replace

import pytest
from fhir.resources.R4B.allergyintolerance import AllergyIntolerance
from written_documents import write

from kiwi_fhir.errors import MappingError
from kiwi_fhir.fhir import to_json
from kiwi_fhir.types import Coding


def code(concept):
    return concept["coding"][0]["code"]


def parts(extension):
    return {item["url"]: next(value for key, value in item.items() if key != "url") for item in extension["extension"]}


@pytest.fixture
def penicillin(resources_of):
    (resource,) = resources_of(
        write(
            "ALLERGIES: penicillin - severe rash",
            ("drug", "penicillin", {}),
            ("problem", "rash", {"severity": "severe"}),
            section="allergies",
        )
    )
    return resource


def test_an_allergy_with_its_reaction(penicillin):
    assert penicillin["resourceType"] == "AllergyIntolerance"
    assert (code(penicillin["clinicalStatus"]), code(penicillin["verificationStatus"])) == ("active", "confirmed")
    assert (penicillin["category"], penicillin["code"]["text"]) == (["medication"], "penicillin")
    assert penicillin["patient"] == {"reference": "Patient/p1"}
    assert penicillin["encounter"] == {"reference": "Encounter/e1"}
    assert penicillin["recordedDate"] == "2011-03-05"
    assert "type" not in penicillin
    (reaction,) = penicillin["reaction"]
    assert ([item["text"] for item in reaction["manifestation"]], reaction["severity"]) == (["rash"], "severe")
    place = parts(reaction["extension"][0])
    assert (place["offset"], place["length"]) == (31, 4)
    AllergyIntolerance.model_validate_json(to_json(penicillin))


def test_intolerance_is_a_type_only_where_it_is_said(resources_of):
    (resource,) = resources_of(write("Intolerance to codeine.", ("drug", "codeine", {})))
    assert (resource["resourceType"], resource["type"]) == ("AllergyIntolerance", "intolerance")


def test_no_known_allergies_without_a_mention_is_marked_as_a_rules(resources_of):
    (resource,) = resources_of(write("Allergies: NKDA"))
    assert resource["code"] == {
        "coding": [{"system": "http://snomed.info/sct", "code": "409137002", "display": "No known drug allergy"}],
        "text": "NKDA",
    }
    derivation, method = resource["extension"]
    assert (parts(derivation)["offset"], parts(derivation)["length"]) == (11, 4)
    assert method == {"url": "urn:kiwi-fhir:extension:method", "valueCode": "rule"}
    AllergyIntolerance.model_validate_json(to_json(resource))


def test_codings_of_a_substance_are_kept(writer, normalizer):
    document = write("Penicillin", ("drug", "Penicillin", {}), section="allergies")
    (fact,) = normalizer.facts(document)
    coded = replace(fact, codings=(Coding("http://www.nlm.nih.gov/research/umls/rxnorm", "7980", "penicillin G"),))
    bundle, failures = writer.bundle(document, [coded])
    assert failures == []
    assert code(bundle["entry"][0]["resource"]["code"]) == "7980"


def test_the_status_of_allergies_is_a_choice(resources_of, writer_with):
    document = write("Penicillin", ("drug", "Penicillin", {}), section="allergies")
    writer = writer_with('[allergy]\npresent = "confirmed"', '[allergy]\npresent = "unconfirmed"')
    (resource,) = resources_of(document, writer=writer)
    assert code(resource["verificationStatus"]) == "unconfirmed"
    with pytest.raises(MappingError, match=r"key 'allergy\.present': 'refuted' is not allowed"):
        writer_with('[allergy]\npresent = "confirmed"', '[allergy]\npresent = "refuted"')


def test_a_relative_is_one_resource_with_each_condition_and_its_evidence(resources_of):
    document = write(
        "Mother: gout, lupus. Mother: asthma.",
        *(("problem", words, {}) for words in ("gout", "lupus", "asthma")),
        section="family_history",
    )
    (mother,) = resources_of(document)
    assert [item["code"]["text"] for item in mother["condition"]] == ["gout", "lupus", "asthma"]
    places = [parts(item["extension"][0])["offset"] for item in mother["condition"]]
    assert places == [8, 14, 29] == [parts(item)["offset"] for item in mother["extension"]]
    said = parts(mother["condition"][2]["extension"][2])
    assert (said["label"], said["text"], said["offset"], said["method"]) == ("subject", "Mother", 21, "rule")
    assert "confidence" not in said
    assert resources_of(document) == [mother]


def test_two_who_may_be_two_are_two(resources_of):
    found = resources_of(
        write(
            "Brother: gout. Brother: lupus. Aunt: gout, lupus.",
            *(("problem", words, {}) for words in ("gout", "lupus", "gout", "lupus")),
            section="family_history",
        )
    )
    assert [(code(item["relationship"]), len(item["condition"])) for item in found] == [
        ("BRO", 1),
        ("BRO", 1),
        ("AUNT", 2),
    ]
    assert len({item["id"] for item in found}) == 3


@pytest.mark.parametrize(("status", "count"), [("registered", 1), ("unknown", 1), ("none", 0)])
def test_a_planned_test_is_never_final(resources_of, writer_with, normalizer, status, count):
    writer = writer_with('planned = "registered"', f'planned = "{status}"')
    document = write("Check a lipid panel.", ("test", "lipid panel", {}))
    found = resources_of(document, writer=writer)
    assert [item["status"] for item in found] == [status] * count
    assert all("effectiveDateTime" not in item for item in found)
    (fact,) = normalizer.facts(document)
    assert writer.ignored(fact) == (None if count else "planned")

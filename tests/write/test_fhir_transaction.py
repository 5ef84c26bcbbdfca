"""What is compared and sent, without a server."""

import json

import pytest
from fhir_notes import document, result

from kiwi_fhir.documents.lines import to_json
from kiwi_fhir.write.fhir import transaction as plan

BUNDLE = result(document("plan")).bundle
BASE = "https://host/fhir/"


def same(ours, theirs):
    return plan.is_same(ours, theirs, lambda reference: reference.removeprefix(BASE))


def test_decimals_keep_their_digits():
    assert b'"value":9.20' in BUNDLE
    assert to_json(plan.parse_bundle(BUNDLE)) == BUNDLE


OURS = {
    "resourceType": "Observation",
    "id": "1",
    "meta": {"tag": [{"system": "s", "code": "1"}]},
    "subject": {"reference": "Patient/p"},
    "valueQuantity": {"value": 9.2},
    "flag": True,
}


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"meta": {"tag": [{"code": "x"}, OURS["meta"]["tag"][0]], "versionId": "3", "lastUpdated": "t"}}, True),
        ({"meta": {**OURS["meta"], "source": "#x", "profile": ["p"]}}, True),
        ({"text": {"status": "generated"}}, True),
        ({"subject": {"reference": f"{BASE}Patient/p"}}, True),
        ({"valueQuantity": {"value": 9.20}}, True),
        ({"meta": {"tag": []}}, False),
        ({"subject": {"reference": "https://other/fhir/Patient/p"}}, False),
        ({"valueQuantity": {"value": 9.21}}, False),
        ({"valueQuantity": {"value": 9.2, "unit": "g/dL"}}, False),
        ({"note": [{"text": "by a person"}]}, False),
        ({"flag": 1}, False),
        ({"id": "2"}, False),
    ],
)
def test_what_counts_as_the_same(change, is_same):
    assert same(OURS, {**OURS, **change}) is is_same


def test_what_a_server_lacks_is_not_the_same():
    assert not same({**OURS, "note": []}, OURS)


def test_the_whole_bundle_is_the_same_as_itself():
    for entry in plan.entries(plan.parse_bundle(BUNDLE)):
        assert same(entry["resource"], plan.parse(json.dumps(entry["resource"], default=float).encode()))


def test_our_ids_become_identifiers():
    bundle = plan.with_identifiers(plan.with_note(plan.parse_bundle(BUNDLE)))
    names = [entry["fullUrl"] for entry in bundle["entry"]]
    assert [plan.name_of(entry["resource"]) for entry in bundle["entry"]] == names
    assert not any("id" in entry["resource"] for entry in bundle["entry"])
    *others, provenance = bundle["entry"]
    assert [target["reference"] for target in provenance["resource"]["target"]] == names[:-1]
    assert provenance["request"]["url"] == f"Provenance?_tag=urn%3Aietf%3Arfc%3A3986%7C{names[-1].replace(':', '%3A')}"
    assert all(
        entry["request"]["url"].startswith(f"{entry['resource']['resourceType']}?identifier=") for entry in others
    )
    assert provenance["resource"]["agent"][0]["who"]["reference"] == "#device"
    assert json.loads(BUNDLE)["entry"][0]["resource"]["subject"] == others[0]["resource"]["subject"]


def test_types_whose_identifiers_can_not_be_searched_are_named_by_tag():
    bundle = plan.with_identifiers(plan.parse_bundle(BUNDLE), ("Provenance", "Procedure"))
    for entry in bundle["entry"]:
        by_tag = entry["resource"]["resourceType"] in ("Provenance", "Procedure")
        assert ("?_tag=" in entry["request"]["url"]) is by_tag
        assert ("identifier" in entry["resource"]) is not by_tag
        assert plan.name_of(entry["resource"]) == entry["fullUrl"]


def test_values_of_searches_are_escaped():
    assert plan.token("urn:x", "a|b,c$d\\e&f") == "urn%3Ax%7Ca%5C%7Cb%5C%2Cc%5C%24d%5C%5Ce%26f"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"Sharp headache", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b'{"resourceType": "Bundle", "type": "batch"}', "type transaction"),
        (b'{"resourceType": "Bundle", "type": "transaction", "entry": [7]}', "no resource"),
        (BUNDLE.replace(b'"PUT"', b'"POST"'), "no PUT"),
        (BUNDLE.replace(b'"url":"Condition/', b'"url":"Patient/'), "no PUT"),
    ],
)
def test_what_is_no_bundle_of_ours(text, words):
    with pytest.raises(ValueError, match=words):
        plan.parse_bundle(text)

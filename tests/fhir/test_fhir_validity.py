"""Resources that are wrong in one way each, and what our check must say of them; and right ones that it must pass."""

import json
from pathlib import Path

import pytest

from kiwi_fhir.fhir import check_bundle, check_resource
from kiwi_fhir.fhir.r4.outcome import issue_of

CASES = Path(__file__).parent / "validity"
#: `says` what the case is, and of a wrong one the `path` and `rule` of the finding.
WRONG = json.loads((CASES / "wrong.json").read_text())
RIGHT = json.loads((CASES / "right.json").read_text())


def check(resource):
    return (check_bundle if resource["resourceType"] == "Bundle" else check_resource)(resource)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case["says"])
def test_a_wrong_resource_is_refused_where_it_is_wrong(case):
    found = check(case["resource"])
    assert (case["path"], case["rule"], False) in {(one.path, one.rule, one.is_warning) for one in found}
    assert len(found) <= 3  # one fault is not reported all over


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case["says"])
def test_a_right_resource_passes(case):
    assert check(case["resource"]) == []


def test_there_are_enough_of_them_and_each_is_its_own():
    assert len(WRONG) >= 100
    assert len({json.dumps(case["resource"], sort_keys=True) for case in (*WRONG, *RIGHT)}) == len(WRONG) + len(RIGHT)
    rules = {case["rule"] for case in WRONG}
    assert len(rules) >= 40


def test_a_urn_that_leads_out_of_the_bundle_is_a_warning():
    bundle = json.loads(json.dumps(next(case["resource"] for case in RIGHT if case["says"] == "a transaction")))
    bundle["entry"][0]["resource"]["subject"] = {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"}
    (finding,) = check_bundle(bundle)
    assert (finding.path, finding.rule, finding.is_warning) == ("Bundle.entry[0].resource", "reference", True)
    assert issue_of(finding, "b.json:1")["severity"] == "warning"


def test_findings_as_an_operation_outcome_are_r4():
    from fhir.resources.R4B.operationoutcome import OperationOutcome

    issues = [issue_of(finding, "x.json:1") for case in WRONG for finding in check(case["resource"])]
    OperationOutcome.model_validate({"resourceType": "OperationOutcome", "issue": issues})
    assert {issue["code"] for issue in issues} == {"structure", "code-invalid", "value", "business-rule", "invariant"}
    assert all(issue["expression"] for issue in issues)

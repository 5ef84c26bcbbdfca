"""`kiwi-fhir validate`: what it reads, what it prints, what it writes, and how it ends."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from kiwi_fhir.cli.commands import app

RIGHT = {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": {"text": "fever"}}
WRONG = {**RIGHT, "id": "a_b", "code": {"text": "secret words\x00"}}


def validate(*arguments):
    return CliRunner().invoke(app, ["validate", *map(str, arguments)], catch_exceptions=True)


def bundle(*resources):
    entries = [{"fullUrl": f"urn:uuid:{number}", "resource": item} for number, item in enumerate(resources)]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def test_single_resources_bundles_ndjson_and_gz_are_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(RIGHT, indent=2))
    (tmp_path / "b.ndjson").write_text(f"{json.dumps(RIGHT)}\n\n{json.dumps(bundle(RIGHT))}\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.ndjson.gz").write_bytes(gzip.compress(json.dumps(RIGHT).encode()))
    result = validate(tmp_path)
    assert result.exit_code == 0
    assert "4 resources checked, nothing found" in result.output


def test_findings_name_file_line_path_and_rule_but_no_value(tmp_path):
    (tmp_path / "a.ndjson").write_text(f"{json.dumps(RIGHT)}\n{json.dumps(bundle(RIGHT, WRONG))}\nno json\n")
    result = validate(tmp_path / "a.ndjson")
    assert result.exit_code == 1
    for words in ("a.ndjson:2", "Bundle.entry[1].resource.id", "Bundle.entry[1].resource.code.text", "a.ndjson:3"):
        assert words in result.output
    assert "secret" not in result.output


def test_the_findings_as_an_operation_outcome(tmp_path):
    from fhir.resources.R4B.operationoutcome import OperationOutcome

    (tmp_path / "a.json").write_text(json.dumps(WRONG))
    path = tmp_path / "new" / "outcome.json"
    assert validate(tmp_path / "a.json", "--outcome", path).exit_code == 1
    outcome = json.loads(path.read_text())
    OperationOutcome.model_validate(outcome)
    assert [(issue["severity"], issue["code"], issue["expression"]) for issue in outcome["issue"]] == [
        ("error", "value", ["Condition.id"]),
        ("error", "value", ["Condition.code.text"]),
    ]
    assert outcome["issue"][0]["diagnostics"].startswith("a.json:1: Condition.id must be an id")
    assert "secret" not in path.read_text()


def test_an_outcome_without_findings_says_so(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(RIGHT))
    assert validate(tmp_path / "a.json", "--outcome", tmp_path / "o.json").exit_code == 0
    (issue,) = json.loads((tmp_path / "o.json").read_text())["issue"]
    assert (issue["severity"], issue["code"]) == ("information", "informational")


def test_a_warning_is_shown_and_no_error(tmp_path):
    resource = {**RIGHT, "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"}}
    (tmp_path / "a.json").write_text(json.dumps(bundle(resource)))
    result = validate(tmp_path / "a.json")
    assert result.exit_code == 0
    assert "warning" in result.output
    assert "0 errors and 1 warnings" in result.output


def test_what_is_not_looked_into_is_said(tmp_path):
    (tmp_path / "a.ndjson").write_text(json.dumps({"resourceType": "Patient", "id": "p1"}))
    result = validate(tmp_path / "a.ndjson")
    assert result.exit_code == 0
    assert "of 1 Patient only the id was checked" in result.output


def test_what_a_run_writes_beside_its_bundles_is_passed_over(tmp_path):
    (tmp_path / "bundles").mkdir()
    (tmp_path / "manifest").mkdir()
    (tmp_path / "bundles" / "a.ndjson").write_text(json.dumps(bundle(RIGHT)))
    for name in ("run.json", "failures.ndjson", "manifest/a.json", "manifest/a.failures.ndjson"):
        (tmp_path / name).write_text('{"note_id": "n1"}')
    assert "1 resources checked" in validate(tmp_path).output
    assert validate(tmp_path / "run.json").exit_code == 1  # named, it is read


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00broken"])
def test_a_file_that_breaks_off_is_a_finding(tmp_path, content):
    whole = gzip.compress(json.dumps(RIGHT).encode() * 50)
    (tmp_path / "a.ndjson.gz").write_bytes(content + whole[: len(whole) // 2])
    result = validate(tmp_path)
    assert result.exit_code == 1
    assert "is no JSON object" in result.output


def test_nothing_to_read_is_a_wrong_call(tmp_path):
    assert validate(tmp_path).exit_code != 0
    assert validate(tmp_path / "missing").exit_code != 0

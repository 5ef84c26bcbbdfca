"""The whole program, with the shipped model, on short notes that are easy to get wrong: does it state what they say?

Verdicts of cases that are not right are listed in known.toml; a case may only get better. Where one does, its line
goes.
"""

import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from judge import VERDICTS, compact, judge, note_of, stated_in

from kiwi_fhir.config import Config
from kiwi_fhir.extract import load
from kiwi_fhir.run.mapper import DocumentMapper

HERE = Path(__file__).parent
CASES = [json.loads(line) for line in (HERE / "cases.ndjson").read_text("utf-8").splitlines()]
KNOWN = tomllib.loads((HERE / "known.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def judged():
    documents = load(device="cpu", threads=1).predict([note_of(case) for case in CASES])
    to_result = DocumentMapper(Config().with_options(device="cpu"))
    found = {}
    for case, document in zip(CASES, documents, strict=True):
        bundle = json.loads(to_result(document)[0].bundle)
        found[case["id"]] = judge(case, [compact(resource) for resource in stated_in(bundle)])
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_case_is_no_worse_than_known(judged, case):
    found, known = judged[case["id"]], KNOWN.get(case["id"], "right")
    assert VERDICTS.index(found.verdict) <= VERDICTS.index(known), (case["right"], found)


def test_most_are_right_and_few_do_harm(judged):
    counts = Counter(found.verdict for found in judged.values())
    assert counts["right"] >= 175
    assert counts["harm"] <= 5

"""The whole program, with the shipped model, on short notes that are easy to get wrong: does it state what they say?"""

import json
from pathlib import Path

import pytest
from judge import compact, judge, note_of, stated_in

from kiwi_fhir.config import Config
from kiwi_fhir.extract import load
from kiwi_fhir.run.mapper import DocumentMapper

CASES = [json.loads(line) for line in (Path(__file__).parent / "cases.ndjson").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def judged():
    documents = load(device="cpu", threads=1).predict([note_of(case) for case in CASES])
    to_result = DocumentMapper(Config(device="cpu"))
    found = {}
    for case, document in zip(CASES, documents, strict=True):
        bundle = json.loads(to_result(document)[0].bundle)
        found[case["id"]] = judge(case, [compact(resource) for resource in stated_in(bundle)])
    return found

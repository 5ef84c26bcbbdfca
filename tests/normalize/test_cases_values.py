"""The case table cases/values.toml: words as a note has them -> what stands in the FHIR resource."""

import json
import tomllib
from pathlib import Path

import pytest
from written_documents import write

from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_bundle, to_json
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.types import ModelId

TABLE = tomllib.loads((Path(__file__).parent / "cases" / "values.toml").read_text(encoding="utf-8"))
TERMS = {"severity": "severity", "course": "course", "relative": "subject", "site": "bodyloc"}
RESULTS = [case for group, cases in TABLE.items() if group not in TERMS for case in cases]
NORMALIZER = Normalizer()
WRITER = BundleWriter(ModelInfo(ModelId("test", "1"), "0", "00"), recorded="2026-01-31T00:00:00Z")


def cases(found):
    """The cases as parameters; what is known to fail must fail."""
    return [
        pytest.param(
            case,
            id=" ".join(str(case[key]) for key in ("test", "said", "range") if key in case),
            marks=[pytest.mark.xfail(reason=case["fail"], strict=True)] if "fail" in case else [],
        )
        for case in found
    ]


def resources(document):
    """The resources of the document's bundle but its Provenance; numbers are the digits as written."""
    bundle, failures = WRITER.bundle(document, NORMALIZER.facts(document))
    assert failures == []
    assert check_bundle(bundle) == []
    found = json.loads(to_json(bundle), parse_float=str, parse_int=str)
    return [one["resource"] for one in found.get("entry", []) if one["resource"]["resourceType"] != "Provenance"]


def number(quantity):
    return " ".join(quantity[key] for key in ("comparator", "value", "code") if key in quantity)


def span(item):
    """A Range, or the low and high of a reference range."""
    ends = [item.get(end, {}) for end in ("low", "high")]
    codes = {end["code"] for end in ends if "code" in end}
    return " ".join(filter(None, (ends[0].get("value"), "..", ends[1].get("value"), *codes)))


def result(resource):
    """The value of an Observation (or of a component) in the notation of the table."""
    values = [key for key in resource if key.startswith("value")]
    if "component" in resource:
        assert values == []
        assert [part["code"]["coding"][0]["code"] for part in resource["component"]] == ["8480-6", "8462-4"]
        assert resource["code"]["coding"][0]["code"] == "85354-9"
        return " / ".join(result(part).removesuffix(" mm[Hg]") for part in resource["component"])
    (key,) = values
    value = resource[key]
    if key == "valueQuantity":
        return number(value)
    if key == "valueRange":
        return span(value)
    if key == "valueRatio":
        return f"{number(value['numerator'])} : {number(value['denominator'])}"
    return {"valueCodeableConcept": "scale", "valueString": "text"}[key]


@pytest.mark.parametrize("case", cases(RESULTS))
def test_results(case):
    test, said, normal = case.get("test", "Potassium"), case["said"], case.get("range")
    line = case.get("note", f"{test} {said} ({normal})." if normal else f"{test} {said}.")
    modifiers = {"labvalue": said, "reference_range": normal} if normal else {"labvalue": said}
    (found,) = [one for one in resources(write(line, ("test", test, modifiers))) if one["code"]["text"] == test]
    flags = [flag["coding"][0]["code"] for flag in found.get("interpretation", [])]
    ranges = [span(item) if {"low", "high"} & item.keys() else "text" for item in found.get("referenceRange", [])]
    assert result(found) == case["is"]
    assert flags == ([case["flag"]] if "flag" in case else [])
    assert ranges == ([case["normal"]] if "normal" in case else [])
    if "unit" in case:
        assert found["valueQuantity"]["unit"] == case["unit"]


@pytest.mark.parametrize(
    ("kind", "case"),
    [pytest.param(kind, *one.values, id=one.id, marks=one.marks) for kind in TERMS for one in cases(TABLE[kind])],
)
def test_terms(kind, case):
    found = resources(write(f"Pain, {case['said']}.", ("problem", "Pain", {TERMS[kind]: case["said"]})))
    if kind == "relative":
        codes = [item["relationship"]["coding"][0]["code"] for item in found]
    elif kind == "course":
        (course,) = NORMALIZER.facts(write(f"Pain, {case['said']}.", ("problem", "Pain", {"course": case["said"]})))[
            0
        ].courses
        codes = [course.coding.code] if course.coding else []
        assert found[0]["clinicalStatus"]["coding"][0]["code"] == (case["code"] or "active")
    elif kind == "severity":
        codes = [item["code"] for item in found[0]["severity"].get("coding", [])]
        assert found[0]["severity"]["text"] == case["said"]
    else:
        (site,) = found[0]["bodySite"]
        assert site["text"] == case["said"]
        codes = [part["valueCodeableConcept"]["coding"][0]["code"] for part in site.get("extension", [])]
    assert " ".join(codes) == case["code" if kind != "site" else "side"]


def test_the_table_is_large_and_few_of_it_are_known_failures():
    every = [case for found in TABLE.values() for case in found]
    assert len(every) >= 300
    assert sum("fail" in case for case in every) <= len(every) // 20

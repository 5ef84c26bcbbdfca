"""Sections, cues, history, allergies: what note lines become, from the tables of cases/."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from written_documents import write

from kiwi_fhir.extract.segment import segment
from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_bundle
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.types import ModelId

CASES = [
    case
    for name in ("context", "history", "allergies")
    for case in tomllib.loads((Path(__file__).parent / "cases" / f"{name}.toml").read_text(encoding="utf-8"))["case"]
]
NORMALIZER = Normalizer()
WRITER = BundleWriter(ModelInfo(ModelId("kiwi-test", "1"), "0"), recorded="2026-01-31T00:00:00Z")
SNOMED = "http://snomed.info/sct"


def document_of(case):
    text = case["text"]
    mentions = [(item[0], item[1], item[2] if len(item) > 2 else {}) for item in case["mentions"]]
    document = write(text, *mentions, section=case.get("section"))
    if "section" in case:
        return document
    cut = segment(text).structure
    return replace(document, mentions=tuple(replace(m, section=cut.kind_at(m.span.start)) for m in document.mentions))


def code(concept):
    return concept["coding"][0]["code"] if concept.get("coding") else concept["text"]


def line_of(resource):
    """A resource as the table writes it."""
    kind = resource["resourceType"]
    if kind == "FamilyMemberHistory":
        said = " + ".join(item["code"]["text"] for item in resource["condition"])
        return f"{kind} {code(resource['relationship'])}: {said}"
    if kind == "Condition":
        clinical = code(resource["clinicalStatus"]) if "clinicalStatus" in resource else "-"
        parts = [clinical, code(resource["verificationStatus"]), code(resource["category"][0])]
    elif kind == "AllergyIntolerance":
        parts = [code(resource["clinicalStatus"]), code(resource["verificationStatus"]), *resource.get("category", [])]
        codings = resource["code"].get("coding", [])
        parts += [item["code"] for item in codings if item["system"] == SNOMED]
    else:
        parts = [resource["status"], *(code(item) for item in resource.get("category", []))]
        parts += [code(resource["dataAbsentReason"])] if "dataAbsentReason" in resource else []
    words = (resource.get("code") or resource.get("medicationCodeableConcept") or {}).get("text")
    line = f"{kind} {words or resource['contained'][0]['code']['text']}: {', '.join(parts)}"
    reactions = [item["text"] for reaction in resource.get("reaction", []) for item in reaction["manifestation"]]
    return f"{line} -> {' + '.join(reactions)}" if reactions else line


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:60])
def test_case(case):
    document = document_of(case)
    facts = NORMALIZER.facts(document)
    bundle, failures = WRITER.bundle(document, facts)
    assert failures == []
    assert check_bundle(bundle) == []
    lines = [line_of(entry["resource"]) for entry in bundle.get("entry", ())[:-1]]  # the last is the Provenance
    assert lines == case["expect"]
    if "assertions" in case:
        own = [fact.assertion for fact in facts if not fact.mention.rule]
        assert own == case["assertions"]


def test_the_table_is_as_long_as_it_was_promised():
    assert len(CASES) >= 180
    assert len({case["text"] for case in CASES}) == len(CASES)

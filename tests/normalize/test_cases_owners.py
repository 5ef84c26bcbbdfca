"""The case table cases/owners.toml: which test of a note a number belongs to, read from the FHIR resources."""

import re
import tomllib
from pathlib import Path

import pytest
from test_cases_values import resources, result, span

from kiwi_fhir.types import Document, Mention, Modifier, Note, Span

CASES = tomllib.loads((Path(__file__).parent / "cases" / "owners.toml").read_text(encoding="utf-8"))["case"]
LABELS = {"=": "labvalue", "~": "reference_range", "@": "temporal", "-": "negation"}
MARK = re.compile(r"«(?:(?P<kind>[=~@-])(?P<of>\w+)|(?P<name>\w)) (?P<words>[^»]*)»")


def document_of(case):
    """The document of a marked text: its tests, each with what is linked to it."""
    text, end, names, held = "", 0, {}, []
    for found in MARK.finditer(case["text"]):
        text += case["text"][end : found.start()]
        place = Span(len(text), len(text) + len(found["words"]))
        text += found["words"]
        end = found.end()
        if found["kind"] is None:
            names[found["name"]] = place
        else:
            held.append((found["of"], Modifier(LABELS[found["kind"]], place)))
    text += case["text"][end:]
    mentions = tuple(
        Mention("test", place, tuple(modifier for of, modifier in held if name in of)) for name, place in names.items()
    )
    return Document(Note("n1", text, patient_id="p1", time=case.get("day")), mentions, "test")


def said(resource):
    """A result as the table writes it: name, value, normal range, flag, day."""
    parts = [resource["code"]["text"]]
    values = [key for key in resource if key.startswith("value")]
    if values or "component" in resource:
        found = result(resource)
        parts.append(
            f"'{resource[values[0]]}'"
            if found == "text"
            else resource[values[0]]["text"]
            if found == "scale"
            else found
        )
    parts += [
        f"({span(item) if {'low', 'high'} & item.keys() else item['text']})"
        for item in resource.get("referenceRange", [])
    ]
    parts += [flag["coding"][0]["code"] for flag in resource.get("interpretation", [])]
    if "effectiveDateTime" in resource:
        parts.append(f"@{resource['effectiveDateTime']}")
    return " ".join(parts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: MARK.sub(r"\g<words>", case["text"]).strip()[:60])
def test_owners(case):
    found = [one for one in resources(document_of(case)) if one["resourceType"] == "Observation"]
    assert [said(one) for one in found] == case["is"]


def test_the_table_is_large():
    assert len(CASES) >= 60

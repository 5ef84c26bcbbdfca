"""Our extensions are defined: what the code writes and what structure_definitions.json says are the same."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from test_fhir_bundle import VISIT
from written_documents import write

import kiwi_fhir
from kiwi_fhir.fhir.elements import sheet_of
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Coding, Fact

BASE = "urn:kiwi-fhir:extension:"
FHIR = Path(kiwi_fhir.__file__).parent / "fhir"
DEFINITIONS = json.loads((FHIR / "structure_definitions.json").read_text())

#: What VISIT has not: sides, a combination, allergies with their reactions, a contradiction.
MORE = write(
    "Pain in left knee. No cough. Cough at night. Percocet 5/325 mg. Allergies: codeine causes rash.",
    ("problem", "Pain", {"bodyloc": "left knee"}),
    ("problem", "cough", {"negation": "No"}),
    ("problem", "Cough", {}),
    ("drug", "Percocet", {"strength": "5/325 mg"}),
    ("drug", "codeine", {}),
    ("problem", "rash", {}),
)


def defined(definition):
    """(url of a part or None, type) -> (least, most) of an extension."""
    elements = {element["id"]: element for element in definition["snapshot"]["element"]}
    found = {}
    for name, element in elements.items():
        if name.endswith("value[x]") and "type" in element:
            part = element["id"].partition(":")[2].partition(".")[0] or None
            holder = elements[f"Extension.extension:{part}"] if part else element
            found[part, element["type"][0]["code"]] = (holder["min"], holder["max"])
    return found


def written(value, found):
    """Gather what stands in our extensions below `value`: url -> list of how often each (part, type) is there."""
    if isinstance(value, list):
        for item in value:
            written(item, found)
    elif isinstance(value, dict):
        for item in value.values():
            written(item, found)
        if str(value.get("url")).startswith(BASE):
            parts = [(None, value), *((part["url"], part) for part in value.get("extension", ()))]
            kinds = [(name, key.removeprefix("value")) for name, part in parts for key in part if key[:5] == "value"]
            found.setdefault(value["url"], []).append(Counter((name, _type(kind)) for name, kind in kinds))
    return found


def _type(suffix):
    """The type of `value` + suffix: names of primitive ones begin in lower case."""
    return suffix if suffix in ("CodeableConcept", "Quantity", "Reference") else suffix[0].lower() + suffix[1:]


@pytest.fixture(scope="module")
def all_written(bundle_of):
    coding = Coding("urn:x", "1", "One", method="fuzzy", score=0.9, concept_id=7)
    document = write("Colitis.", ("problem", "Colitis", {}))
    fact = Fact(document.mentions[0], "Colitis", codings=(coding,))
    linked = sheet_of(document.note, load_rules(Mappings.read()), tag="x").code(fact)
    by_rule = [replace(item, rule=True, modifiers=_by_rule(item.modifiers)) for item in VISIT.mentions]
    bundles = [bundle_of(VISIT), bundle_of(replace(VISIT, mentions=tuple(by_rule))), bundle_of(MORE)]
    return written([*bundles, linked], {})


def _by_rule(modifiers):
    return tuple(replace(modifier, rule=True) for modifier in modifiers)


def test_every_extension_of_ours_has_a_definition_and_no_other(all_written):
    assert {item["url"] for item in DEFINITIONS} == all_written.keys()
    source = "".join(path.read_text(encoding="utf-8") for path in FHIR.glob("*.py"))
    assert {BASE + name for name in re.findall(r"(?:extensions|base)\}([\w-]+)", source)} == all_written.keys()


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda item: item["url"])
def test_parts_and_types_are_those_that_the_code_writes(definition, all_written):
    known = defined(definition)
    kinds = all_written[definition["url"]]
    assert set().union(*kinds) == known.keys()
    for key, (least, most) in known.items():
        assert all(kind[key] >= least for kind in kinds)
        assert most == "*" or all(kind[key] <= int(most) for kind in kinds)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda item: item["url"])
def test_they_stand_where_their_definition_says(definition, bundle_of):
    """`DomainResource` is a resource; else the path of an element."""

    def places(value, path):
        for key, item in value.items() if isinstance(value, dict) else ():
            for part in item if isinstance(item, list) else [item]:
                if key == "extension" and isinstance(part, dict) and part["url"] == definition["url"]:
                    yield path
                yield from places(part, part["resourceType"] if key == "contained" else f"{path}.{key}")

    allowed = {item["expression"] for item in definition["context"]}
    for document in (VISIT, MORE):
        for entry in bundle_of(document)["entry"]:
            resource = entry["resource"]
            for path in places(resource, resource["resourceType"]):
                assert path in allowed or ("." not in path and "DomainResource" in allowed), path


def test_definitions_are_r4():
    from fhir.resources.R4B.structuredefinition import StructureDefinition

    for definition in DEFINITIONS:
        found = StructureDefinition.model_validate(definition)
        assert found.url == found.snapshot.element[-2].fixedUri
        assert [item.id for item in found.snapshot.element] == [item.id for item in found.differential.element]

"""FHIR resources as cards: type, what it is about, statuses, values, and the JSON itself folded away.

A card shows what is there and invents nothing: an element that this module does not know is seen in the JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kiwi_fhir.types import Span
from kiwi_fhir.write.page.markup import escape

Resource = Mapping[str, Any]

#: HL7's extension that names the characters of a text which an element was derived from.
DERIVATION = "http://hl7.org/fhir/StructureDefinition/derivation-reference"

#: The mention that a resource type is made of: it gives the card its colour.
LABELS = {
    "Condition": "problem",
    "FamilyMemberHistory": "problem",
    "Observation": "test",
    "MedicationStatement": "drug",
    "AllergyIntolerance": "drug",
    "MedicationRequest": "drug",
    "Procedure": "treatment",
}

# Where a resource says what it is about; `condition` is a list of backbone elements with a code.
_SUBJECTS = ("code", "medicationCodeableConcept", "medicationReference", "condition", "deviceName")
_STATUSES = ("clinicalStatus", "verificationStatus", "status", "intent")
# Shown in this order, any [x] by its first part.
_SHOWN = {
    "relationship": "relative",
    "value": "value",
    "component": "",
    "dataAbsentReason": "no value",
    "interpretation": "reads as",
    "referenceRange": "reference",
    "severity": "severity",
    "bodySite": "site",
    "form": "form",
    "ingredient": "strength",
    "dosage": "dosage",
    "dosageInstruction": "dosage",
    "onset": "onset",
    "abatement": "ended",
    "effective": "when",
    "performed": "when",
}
_SYSTEMS = {
    "http://snomed.info/sct": "SNOMED CT",
    "http://loinc.org": "LOINC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://unitsofmeasure.org": "UCUM",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A resource of a note with the spans it was derived from, in its own order."""

    resource: Resource
    spans: tuple[Span, ...]

    @property
    def type(self) -> str:
        """The resource's type."""
        return str(self.resource.get("resourceType", "Resource"))


def cards(bundle: Mapping[str, Any]) -> list[Card]:
    """The bundle's resources in text order; those that no text is named for stand last."""
    resources = [entry["resource"] for entry in bundle.get("entry", ()) if "resource" in entry]
    made = [Card(resource, tuple(_spans(resource))) for resource in resources]
    return sorted(made, key=lambda card: (not card.spans, card.spans[:1]))


def card_html(card: Card, keys: Sequence[str]) -> str:
    """The card as HTML; `keys` name the items of the text that it was derived from."""
    resource = card.resource
    codings = "".join(f"<code>{escape(code)}</code>" for code in _codes(resource))
    statuses = "".join(
        f'<em class="{escape(_status(resource[name]))}">{escape(_status(resource[name]))}</em>'
        for name in _STATUSES
        if name in resource
    )
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd dir=auto>{escape(words)}</dd>" for name, words in _rows(resource) if words
    )
    return (
        f'<li class="card {LABELS.get(card.type, "other")}" data-k="{" ".join(keys)}" tabindex="-1">'
        f"<header><span>{escape(card.type)}</span>{statuses}</header>"
        f"<h4 dir=auto>{escape(_subject(resource)) or escape(card.type)}</h4>"
        + (f'<p class="codes">{codings}</p>' if codings else "")
        + (f"<dl>{rows}</dl>" if rows else "")
        + f"<details><summary>JSON</summary><pre>{escape(pretty(resource))}</pre></details></li>"
    )


def pretty(value: Any, indent: str = "") -> str:
    """`value` as indented JSON. A Decimal keeps its digits (json.dumps can't do that), other objects become strings."""
    deeper = indent + "  "
    if isinstance(value, Mapping):
        lines = [f"{deeper}{_scalar(str(key))}: {pretty(inner, deeper)}" for key, inner in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}" if lines else "{}"
    if isinstance(value, list | tuple):
        lines = [deeper + pretty(inner, deeper) for inner in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]" if lines else "[]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _spans(value: Any) -> Iterator[Span]:
    """Every derivation-reference inside the value, in document order."""
    if isinstance(value, Mapping):
        if value.get("url") == DERIVATION:
            parts = {part.get("url"): part.get("valueInteger") for part in value.get("extension", ())}
            offset, length = parts.get("offset"), parts.get("length")
            if isinstance(offset, int) and isinstance(length, int) and length > 0:
                yield Span(offset, offset + length)
            return
        for inner in value.values():
            yield from _spans(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _spans(inner)


def _subject(resource: Resource) -> str:
    return next((_words(resource[name]) for name in _SUBJECTS if name in resource), "")


def _codes(resource: Resource) -> Iterator[str]:
    """`LOINC 2345-7` for every coding of what the resource, or the product that it contains, is about."""
    for holder in (resource, *resource.get("contained", ())):
        for name in _SUBJECTS:
            concept = holder.get(name)
            for coding in concept.get("coding", ()) if isinstance(concept, Mapping) else ():
                system = coding.get("system", "")
                yield f"{_SYSTEMS.get(system, system)} {coding.get('code', '')}".strip()


def _status(value: Any) -> str:
    """A status code: the element is a code, or a concept with one coding."""
    if isinstance(value, Mapping):
        return next((str(coding["code"]) for coding in value.get("coding", ()) if "code" in coding), _words(value))
    return str(value)


def _rows(resource: Resource) -> Iterator[tuple[str, str]]:
    """Label and words of what _SHOWN names, first of the resource, then of the product that it contains."""
    for holder in (resource, *resource.get("contained", ())):
        for name, label in _SHOWN.items():
            for key, value in holder.items():
                if not re.fullmatch(rf"{name}([A-Z]\w*)?", key):
                    continue
                if name == "component":
                    yield from ((_words(part.pop("code", None)), _words(part)) for part in map(dict, value))
                else:
                    yield label, _words(value)


def _words(value: Any) -> str:
    """A value of any of FHIR's data types in words."""
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, map(_words, value)))
    if not isinstance(value, Mapping):
        return "" if value is None else str(value)
    if "strength" in value:  # Medication.ingredient
        return _words(value["strength"])
    if "text" in value:  # CodeableConcept, Dosage, reference range
        return str(value["text"])
    if inner := next((value[key] for key in value if key.startswith("value") and key != "value"), None):
        return _words(inner)  # a component
    if "code" in value and isinstance(value["code"], Mapping):
        return _words(value["code"])  # a relative's condition
    if "coding" in value:
        return "; ".join(str(coding.get("display") or coding.get("code", "")) for coding in value["coding"])
    if "value" in value:  # Quantity
        number = f"{value.get('comparator', '')}{value['value']}"
        return f"{number} {value.get('unit') or value.get('code') or ''}".strip()
    for first, last, joint in (("low", "high", "–"), ("numerator", "denominator", ":"), ("start", "end", "–")):
        if first in value or last in value:
            one, other = _words(value.get(first)), _words(value.get(last))
            titer = joint != ":" or one.isdecimal()  # 1:40, but 400 mg/5 mL
            return f"{one}{joint if titer else '/'}{other}"
    return str(value.get("display") or value.get("name") or value.get("reference") or "")

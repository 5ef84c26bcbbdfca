"""What the program states about short notes, against what the notes say.

A case of cases.ndjson is a line: `id`, `kind`, `source` (the bug report whose kind of fault it shows, or `variant`),
`text`, `note_date` (or null), `right` (in words), `must` and `never`: facts that a resource has to state, or must not.
A fact names a resource type, a pattern for its text, and patterns for its `fields` as `compact` writes them; one that
must never be stated has a `severity`: `harm` could hurt a patient (wrong assertion, person, allergy, dose, value,
schedule or code), `fault` is a lesser wrong statement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from kiwi_fhir.types import Note

Verdict = Literal["right", "missed", "fault", "harm"]
VERDICTS: tuple[Verdict, ...] = ("right", "missed", "fault", "harm")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A case's verdict, with the resources that state what they must not and the facts that nothing states."""

    verdict: Verdict
    wrong: tuple[dict[str, str], ...]
    missing: tuple[dict[str, Any], ...]


def note_of(case: dict[str, Any]) -> Note:
    """The case's note, of a patient and of its day."""
    time = f"{case['note_date']}T10:00:00Z" if case["note_date"] else None
    return Note(case["id"], case["text"], patient_id="p", time=time, source=f"DocumentReference/{case['id']}")


def judge(case: dict[str, Any], resources: list[dict[str, str]]) -> Judgement:
    """`right`: all that must be stated is, and nothing that must not; `missed`: something is only left out."""
    wrong = [(fact, stated) for fact in case["never"] for stated in resources if _states(stated, fact)]
    missing = [fact for fact in case["must"] if not any(_states(stated, fact) for stated in resources)]
    verdict: Verdict = "missed" if missing else "right"
    if wrong:
        verdict = "harm" if any(fact["severity"] == "harm" for fact, _ in wrong) else "fault"
    return Judgement(verdict, tuple(stated for _, stated in wrong), tuple(missing))


def _states(stated: dict[str, str], fact: dict[str, Any]) -> bool:
    patterns = {"text": fact["text"], **fact["fields"]}
    return stated["resource"] == fact["resource"] and all(
        re.search(pattern, stated.get(key, ""), re.IGNORECASE) for key, pattern in patterns.items()
    )


def stated_in(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of a bundle that state something of the note: not its patient, note or provenance."""
    resources = (entry["resource"] for entry in bundle.get("entry", ()))
    return [resource for resource in resources if resource["resourceType"] in _FIELDS and places(resource)]


def places(resource: dict[str, Any]) -> list[tuple[int, int]]:
    """Where in the note a resource's words stand: offset and length of each place."""
    found = []
    for extension in resource.get("extension", ()):
        if extension["url"].endswith("derivation-reference"):
            parts = {part["url"]: part for part in extension["extension"]}
            found.append((parts["offset"]["valueInteger"], parts["length"]["valueInteger"]))
    return found


def compact(resource: dict[str, Any]) -> dict[str, str]:
    """A resource as a flat dict of short strings; what it does not state is left out."""
    fields = {"resource": resource["resourceType"], **_FIELDS[resource["resourceType"]](resource)}
    return {key: str(value) for key, value in fields.items() if value not in (None, "")}


def _codes(concept: dict[str, Any] | None) -> str:
    return ",".join(coding["code"] for coding in (concept or {}).get("coding", ()) if "code" in coding)


def _coded(concept: dict[str, Any] | None) -> str | None:
    if concept is None:
        return None
    return "|".join(part for part in (concept.get("text"), _codes(concept)) if part)


def _quantity(quantity: dict[str, Any] | None) -> str | None:
    if not quantity:
        return None
    number = f"{quantity.get('comparator', '')}{quantity.get('value')}"
    unit, code = quantity.get("unit"), quantity.get("code")
    return number + (f" {unit}" if unit else "") + (f" {{{code}}}" if code else "")


def _range(span: dict[str, Any]) -> str:
    return f"{_quantity(span.get('low'))}..{_quantity(span.get('high'))}"


def _value(holder: dict[str, Any]) -> str | None:
    for key, found in holder.items():
        if key == "valueQuantity":
            return _quantity(found)
        if key == "valueRange":
            return _range(found)
        if key == "valueRatio":
            return f"{_quantity(found.get('numerator'))}:{_quantity(found.get('denominator'))}"
        if key == "valueCodeableConcept":
            return f"cc:{_coded(found)}"
        if key == "valueString":
            return f"str:{found}"
        if key.startswith("value"):
            return f"{key}:{found}"
    return None


def _when(resource: dict[str, Any], stem: str) -> str | None:
    for key, found in resource.items():
        if key.startswith(stem):
            if isinstance(found, dict):
                return _quantity(found) if "value" in found else json.dumps(found, sort_keys=True)
            return f"str:{found}" if key.endswith("String") else str(found)
    return None


def _dosage(dosage: dict[str, Any]) -> str:
    parts = []
    for dose in dosage.get("doseAndRate", ()):
        for key, found in dose.items():
            if key.endswith("Quantity"):
                parts.append(f"{key[:4]}={_quantity(found)}")
            elif key.endswith("Range"):
                parts.append(f"{key[:4]}={_range(found)}")
            elif key == "rateRatio":
                parts.append(f"rate={_quantity(found.get('numerator'))}/{_quantity(found.get('denominator'))}")
    timing = dosage.get("timing", {})
    if timing.get("repeat"):
        parts.append(_repeat(timing["repeat"]))
    if timing.get("code"):
        parts.append(f"timingcode={_codes(timing['code'])}")
    if "asNeededBoolean" in dosage:
        parts.append(f"prn={dosage['asNeededBoolean']}")
    if "asNeededCodeableConcept" in dosage:
        parts.append(f"prn={dosage['asNeededCodeableConcept'].get('text')}")
    if "route" in dosage:
        parts.append(f"route={dosage['route'].get('text')}|{_codes(dosage['route'])}")
    if "maxDosePerPeriod" in dosage:
        parts.append(f"max={json.dumps(dosage['maxDosePerPeriod'])}")
    return f"[{dosage.get('text')}] {'; '.join(parts)}"


def _repeat(repeat: dict[str, Any]) -> str:
    rest = dict(repeat)
    often, most, period, longest, unit = (
        rest.pop(key, None) for key in ("frequency", "frequencyMax", "period", "periodMax", "periodUnit")
    )
    parts = []
    if often is not None or period is not None:
        upto, until = (f"-{end}" if end is not None else "" for end in (most, longest))
        parts.append(f"f={often}{upto}/{period}{until}{unit}")
    for key, found in sorted(rest.items()):
        if key.startswith("bounds"):
            found = _quantity(found) if "value" in found else json.dumps(found)
        parts.append(f"{key}={'+'.join(found) if isinstance(found, list) else found}")
    return " ".join(parts)


def _sites(resource: dict[str, Any]) -> str:
    sites = resource.get("bodySite", [])
    described = []
    for site in sites if isinstance(sites, list) else [sites]:
        sides = ",".join(_codes(extension.get("valueCodeableConcept")) for extension in site.get("extension", ()))
        described.append(site.get("text", "") + (f"|{sides}" if sides else ""))
    return "; ".join(described)


def _condition(resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": resource["code"].get("text"),
        "code": _codes(resource["code"]),
        "ver": _codes(resource.get("verificationStatus")),
        "clin": _codes(resource.get("clinicalStatus")),
        "cat": ",".join(map(_codes, resource.get("category", ()))),
        "sev": resource.get("severity", {}).get("text"),
        "onset": _when(resource, "onset"),
        "abate": _when(resource, "abatement"),
        "site": _sites(resource),
    }


def _observation(resource: dict[str, Any]) -> dict[str, Any]:
    ranges = (
        f"low={_quantity(found.get('low'))} high={_quantity(found.get('high'))} text={found.get('text')}"
        for found in resource.get("referenceRange", ())
    )
    return {
        "text": resource["code"].get("text"),
        "code": _codes(resource["code"]),
        "status": resource["status"],
        "value": _value(resource),
        "interp": ",".join(map(_codes, resource.get("interpretation", ()))),
        "ref": " | ".join(ranges),
        "comp": "; ".join(f"{_codes(part['code'])}={_value(part)}" for part in resource.get("component", ())),
        "dar": _codes(resource.get("dataAbsentReason")),
        "eff": _when(resource, "effective"),
        "site": _sites(resource),
    }


def _medication(resource: dict[str, Any]) -> dict[str, Any]:
    concept, form, strengths = resource.get("medicationCodeableConcept"), None, []
    if concept is None and resource.get("contained"):
        product = resource["contained"][0]
        concept, form = product.get("code"), product.get("form", {}).get("text")
        for part in product.get("ingredient", ()):
            ratio = part.get("strength", {})
            strengths.append(f"{_quantity(ratio.get('numerator'))}/{_quantity(ratio.get('denominator'))}")
        for extension in product.get("extension", ()):
            if extension["url"].endswith("combined-strength"):
                each = (_quantity(part.get("valueQuantity")) for part in extension["extension"])
                strengths.append(f"combined:{'+'.join(str(found) for found in each)}")
    dosages = resource.get("dosage", resource.get("dosageInstruction", ()))
    return {
        "text": (concept or {}).get("text"),
        "code": _codes(concept),
        "status": resource["status"],
        "form": form,
        "strength": "; ".join(strengths),
        "dosage": " || ".join(map(_dosage, dosages)),
        "eff": _when(resource, "effective"),
        "reason": "; ".join(reason.get("text", "") for reason in resource.get("reasonCode", ())),
    }


def _procedure(resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": resource["code"].get("text"),
        "code": _codes(resource["code"]),
        "status": resource["status"],
        "performed": _when(resource, "performed"),
        "site": _sites(resource),
    }


def _allergy(resource: dict[str, Any]) -> dict[str, Any]:
    reactions = (
        ",".join(sign.get("text", "") for sign in reaction.get("manifestation", ()))
        for reaction in resource.get("reaction", ())
    )
    return {
        "text": resource["code"].get("text"),
        "code": _codes(resource["code"]),
        "ver": _codes(resource.get("verificationStatus")),
        "clin": _codes(resource.get("clinicalStatus")),
        "reaction": "; ".join(reactions),
    }


def _relative(resource: dict[str, Any]) -> dict[str, Any]:
    conditions: Iterator[str] = (
        str(_coded(found["code"])) + (f" @{when}" if (when := _when(found, "onset")) else "")
        for found in resource.get("condition", ())
    )
    return {
        "rel": resource["relationship"].get("text"),
        "code": _codes(resource["relationship"]),
        "dec": _when(resource, "deceased"),
        "text": "; ".join(conditions),
    }


_FIELDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Condition": _condition,
    "Observation": _observation,
    "MedicationStatement": _medication,
    "MedicationRequest": _medication,
    "Procedure": _procedure,
    "AllergyIntolerance": _allergy,
    "FamilyMemberHistory": _relative,
}

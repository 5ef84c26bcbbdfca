"""Which profile of US Core 7 a finished resource meets; one that can't be met is not claimed.

The rules are those of http://hl7.org/fhir/us/core/STU7/profiles-and-extensions.html that our resources could break:
a subject by reference, a category, a LOINC code, a day, a UCUM unit. What a profile only asks to support is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiwi_fhir.fhir.r4.invariants import UCUM, codes_of
from kiwi_fhir.fhir.r4.systems import LOINC

Resource = dict[str, Any]

_BASE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
_CONDITIONS = {
    "problem-list-item": "condition-problems-health-concerns",
    "encounter-diagnosis": "condition-encounter-diagnosis",
}
_SPO2 = "59408-5"
_SATURATION = {"system": LOINC, "code": "2708-6", "display": "Oxygen saturation in Arterial blood"}
#: LOINC codes that make a vital sign -> its profile and the UCUM units that it may have. Pulse oximetry needs both.
_VITALS: tuple[tuple[frozenset[str], str, frozenset[str]], ...] = (
    (frozenset({"8867-4"}), "heart-rate", frozenset({"/min"})),
    (frozenset({"9279-1"}), "respiratory-rate", frozenset({"/min"})),
    (frozenset({"8310-5"}), "body-temperature", frozenset({"Cel", "[degF]"})),
    (frozenset({"29463-7"}), "body-weight", frozenset({"g", "kg", "[lb_av]"})),
    (frozenset({"8302-2"}), "body-height", frozenset({"cm", "[in_i]"})),
    (frozenset({"39156-5"}), "bmi", frozenset({"kg/m2"})),
    (frozenset({"9843-4"}), "head-circumference", frozenset({"cm", "[in_i]"})),
    (frozenset({_SPO2, "2708-6"}), "pulse-oximetry", frozenset({"%"})),
)
_PANEL, _PRESSURES = "85354-9", {"8480-6", "8462-4"}


def claim(resource: Resource) -> None:
    """Put the profile that a new resource meets into its meta, and what that profile asks for beside."""
    if resource["resourceType"] == "Observation" and codes_of(resource["code"], LOINC) == {_SPO2}:
        resource["code"]["coding"].append(_SATURATION)
    profile = us_core(resource)
    if profile is not None:
        resource["meta"] = {**resource["meta"], "profile": [profile]}


def us_core(resource: Resource) -> str | None:
    """The URL of the US Core profile that `resource` meets, None where there is none."""
    rule = _RULES.get(resource["resourceType"])
    whose = resource.get("subject") or resource.get("patient") or {}
    name = rule(resource) if rule is not None and "reference" in whose else None
    return None if name is None else f"{_BASE}{name}"


def _condition(resource: Resource) -> str | None:
    """Of one that stands in the problem list and elsewhere: that of the list."""
    found = codes_of(resource.get("category"))
    name = next((profile for category, profile in _CONDITIONS.items() if category in found), None)
    return name if "code" in resource else None


def _observation(resource: Resource) -> str | None:
    """A result or a vital sign; us-core-1 and vs-1: a time is a day at least."""
    categories, codes = codes_of(resource.get("category")), codes_of(resource["code"], LOINC)
    time = resource.get("effectiveDateTime") or resource.get("effectivePeriod", {}).get("start")
    if not codes or (time is not None and len(time) < 10):
        return None
    if "laboratory" in categories:
        return "observation-lab"
    return _vital_sign(resource, codes) if "vital-signs" in categories and time is not None else None


def _vital_sign(resource: Resource, codes: set[str]) -> str | None:
    if _PANEL in codes:
        parts = {code: part for part in resource.get("component", ()) for code in codes_of(part["code"], LOINC)}
        right = parts.keys() >= _PRESSURES and all(_unit(parts[code]) == "mm[Hg]" for code in _PRESSURES)
        return "blood-pressure" if right else None
    unit = _unit(resource)
    absent = "dataAbsentReason" in resource
    for wanted, profile, units in _VITALS:
        if wanted & codes:
            return profile if wanted <= codes and (unit in units or absent) else None
    return "vital-signs" if unit is not None or absent else None


def _unit(element: Resource) -> str | None:
    found = element.get("valueQuantity", {})
    return found.get("code") if found.get("system") == UCUM else None


def _procedure(resource: Resource) -> str | None:
    """us-core-7: what is completed or going on has a time."""
    timed = any(name.startswith("performed") for name in resource)
    return "procedure" if timed or resource["status"] not in ("completed", "in-progress") else None


_RULES: dict[str, Callable[[Resource], str | None]] = {
    "Condition": _condition,
    "Observation": _observation,
    "MedicationRequest": lambda resource: "medicationrequest",
    "Procedure": _procedure,
    "AllergyIntolerance": lambda resource: "allergyintolerance" if "code" in resource else None,
}

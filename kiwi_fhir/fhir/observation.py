"""A test as Observations: one for each result, or one without a result."""

from __future__ import annotations

from collections.abc import Sequence

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.fhir.elements import (
    INTERPRETATION,
    Resource,
    Sheet,
    choose_time,
    coded,
    coding,
    concept,
    date_time,
    interval,
    quantity,
)
from kiwi_fhir.types import BloodPressure, Coding, Fact, Interval, LabValue, Moment, Quantity, Ratio, ReferenceRange

_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_CATEGORIES = {"laboratory": "Laboratory", "vital-signs": "Vital Signs"}
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_LOINC = "http://loinc.org"
# http://hl7.org/fhir/R4/observation-vitalsigns.html
_PANEL = Coding(_LOINC, "85354-9", "Blood pressure panel with all children optional")
_SYSTOLIC = Coding(_LOINC, "8480-6", "Systolic blood pressure")
_DIASTOLIC = Coding(_LOINC, "8462-4", "Diastolic blood pressure")


def observations(sheet: Sheet, fact: Fact) -> list[Resource]:
    """One Observation per result of a test.

    A negated test was not made (cancelled), unless its negation is its result ("no Kernig sign") or a result stands
    beside it.
    """
    if not fact.values:
        return [_without_value(sheet, fact)]
    single = len(fact.values) == 1
    found = []
    for number, value in enumerate(fact.values):
        resource = _start(sheet, fact, value.text, str(number))
        if value.times is None:
            _add_effective(resource, sheet, fact.moments, dated=single)
        elif value.times:
            _add_effective(resource, sheet, value.times, dated=True)
        _add_value(resource, value)
        if fact.reference_ranges:
            resource["referenceRange"] = [_range(item, value) for item in fact.reference_ranges]
        found.append(resource)
    return found


def _without_value(sheet: Sheet, fact: Fact) -> Resource:
    cancelled = fact.negated and not fact.negative_finding
    resource = _start(sheet, fact)
    if cancelled:
        resource["status"] = "cancelled"
        resource["dataAbsentReason"] = coded(_ABSENT, "not-performed", "Not Performed")
        return resource
    if fact.plan == "planned":
        resource["status"] = sheet.rules.test["planned"]
        resource["dataAbsentReason"] = coded(_ABSENT, "temp-unknown", "Temporarily Unknown")
        return resource
    _add_effective(resource, sheet, fact.moments, dated=True)
    if fact.negative_finding:
        negations = (m.span for m in fact.mention.modifiers if m.label == "negation")
        said = dict.fromkeys(one_line(span.of(sheet.note.text)) for span in negations)
        known = [one for one in said if one.lower() in sheet.rules.test["negative_words"]]
        resource["valueCodeableConcept"] = {"text": "; ".join(known) or sheet.rules.test["negative_finding"]}
        resource["interpretation"] = [coded(INTERPRETATION, "NEG", "Negative")]
    else:
        resource["dataAbsentReason"] = coded(_ABSENT, "unknown", "Unknown")
    if fact.reference_ranges:
        resource["referenceRange"] = [_range(item, None) for item in fact.reference_ranges]
    return resource


def _start(sheet: Sheet, fact: Fact, *says: str) -> Resource:
    resource = sheet.start("Observation", fact, *says)
    resource["status"] = "final"
    if fact.category is not None:
        resource["category"] = [coded(_CATEGORY, fact.category, _CATEGORIES[fact.category])]
    resource["code"] = sheet.code(fact)
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["encounter"] = sheet.encounter
    return resource


def _add_effective(resource: Resource, sheet: Sheet, moments: Sequence[Moment], *, dated: bool) -> None:
    """When: the date that is said, else the note's time where the words do not say another one.

    `dated` is False where several results share the dates: which belongs to which is not known.
    """
    elsewhere = any(moment.kind != "present" and not _is_today(sheet, moment.resolved) for moment in moments)
    if elsewhere:
        when = choose_time(moments, resolve=sheet.rules.resolve_times) if dated else None
        if when is not None:
            resource[f"effective{when[0]}"] = when[1]
    elif sheet.time is not None:
        resource["effectiveDateTime"] = sheet.time


def _is_today(sheet: Sheet, resolved: str | None) -> bool:
    return resolved is not None and resolved == (date_time(sheet.note.time) or "")[:10]


def _add_value(resource: Resource, item: LabValue) -> None:
    value = item.value
    if isinstance(value, Quantity | Interval):
        resource.update(_measured(value))
    elif isinstance(value, Ratio):
        resource["valueRatio"] = {"numerator": quantity(value.numerator), "denominator": quantity(value.denominator)}
    elif isinstance(value, BloodPressure):
        code = resource["code"]
        linked = [item for item in code.get("coding", ()) if item["code"] != _PANEL.code]
        resource["code"] = {"coding": [coding(_PANEL), *linked], "text": code["text"]}
        resource["category"] = [coded(_CATEGORY, "vital-signs", _CATEGORIES["vital-signs"])]
        resource["component"] = [
            {"code": concept("Systolic blood pressure", (_SYSTOLIC,)), **_measured(value.systolic)},
            {"code": concept("Diastolic blood pressure", (_DIASTOLIC,)), **_measured(value.diastolic)},
        ]
    elif item.is_scale:
        resource["valueCodeableConcept"] = {"text": item.text}
    else:
        resource["valueString"] = item.text
    if item.remark is not None:
        resource["note"] = [{"text": item.remark}]
    if item.interpretation is not None and item.interpretation.code is not None:
        resource["interpretation"] = [coded(INTERPRETATION, item.interpretation.code, item.interpretation.display)]


def _measured(value: Quantity | Interval) -> Resource:
    return {"valueQuantity": quantity(value)} if isinstance(value, Quantity) else {"valueRange": interval(value)}


def _range(item: ReferenceRange, value: LabValue | None) -> Resource:
    """A reference range: its words always, its ends where they were read; a bare end takes the unit of the result."""
    found: Resource = {"text": item.text}
    if item.interval is None:
        return found
    measured = value.value if value is not None else None
    unit = measured.low if isinstance(measured, Interval) else measured
    for name, end in (("low", item.interval.low), ("high", item.interval.high)):
        if end is not None:
            if end.unit is None and isinstance(unit, Quantity):
                end = Quantity(end.value, unit.unit, unit.code)
            found[name] = quantity(end)
    return found

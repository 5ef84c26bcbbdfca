"""A drug as a MedicationStatement; strength and form go with a contained Medication where they are of the product."""

from __future__ import annotations

from decimal import Decimal

from kiwi_fhir.fhir.elements import Resource, Sheet, choose_time, concept, interval, joined, quantity
from kiwi_fhir.fhir.invariants import UCUM
from kiwi_fhir.types import Dosage, Fact, Interval, Quantity, Ratio, Timing

_MEDICATION = "medication"
_ONE = Decimal(1)


def medication_statement(sheet: Sheet, fact: Fact) -> Resource:
    """The MedicationStatement of a drug."""
    resource = sheet.start("MedicationStatement", fact)
    resource["status"] = _status(sheet, fact)
    product = _product(fact)
    if product is None:
        resource["medicationCodeableConcept"] = concept(fact.text, fact.codings)
    else:
        resource["contained"] = [product]
        resource["medicationReference"] = {"reference": f"#{_MEDICATION}", "display": fact.text}
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["context"] = sheet.encounter
    if sheet.time is not None:
        resource["dateAsserted"] = sheet.time
    date, _ = choose_time(fact.moments, resolve=sheet.rules.resolve_times)
    if date is not None and not fact.negated:
        resource["effectiveDateTime"] = date
    if fact.dosages:
        several = len(fact.dosages) > 1
        resource["dosage"] = [
            _dosage(item, number if several else None) for number, item in enumerate(fact.dosages, start=1)
        ]
    return resource


def _status(sheet: Sheet, fact: Fact) -> str:
    rules = sheet.rules.drug
    if fact.interruption is not None:
        key: str = fact.interruption
    elif fact.negated:
        key = "negated"
    elif fact.past:
        key = "past"
    else:
        key = "listed" if fact.mention.section in rules["listed_sections"] else "otherwise"
    return str(rules[key])


def _product(fact: Fact) -> Resource | None:
    """The Medication with form and strength, None where neither is known of the product."""
    strengths = {ratio for dosage in fact.dosages if (ratio := _strength(dosage)) is not None}
    if not fact.forms and not strengths:
        return None
    product: Resource = {
        "resourceType": "Medication",
        "id": _MEDICATION,
        "code": concept(fact.text, fact.codings),
    }
    if fact.forms:
        product["form"] = joined(fact.forms)
    if len(strengths) == 1:
        ratio = strengths.pop()
        product["ingredient"] = [
            {
                "itemCodeableConcept": concept(fact.text, fact.codings),
                "strength": {"numerator": quantity(ratio.numerator), "denominator": quantity(ratio.denominator)},
            }
        ]
    return product


def _strength(dosage: Dosage) -> Ratio | None:
    """What a unit of the product holds: a concentration, or the strength beside a dose ("20 mg, 1 tablet")."""
    if isinstance(dosage.strength, Ratio):
        return dosage.strength
    if not isinstance(dosage.strength, Quantity) or _dose(dosage) is dosage.strength:
        return None
    counted = dosage.amount.low if isinstance(dosage.amount, Interval) else dosage.amount
    unit = counted.unit if counted is not None and counted.code is None else None
    return Ratio(dosage.strength, Quantity(_ONE, unit))


def _dose(dosage: Dosage) -> Quantity | Interval | None:
    """What is taken each time: the amount, else the strength. A percentage is never a dose."""
    if dosage.amount is not None:
        return dosage.amount
    if isinstance(dosage.strength, Ratio) or dosage.strength is None:
        return None
    unit = dosage.strength.low if isinstance(dosage.strength, Interval) else dosage.strength
    return None if unit is None or unit.code == "%" else dosage.strength


def _dosage(item: Dosage, sequence: int | None) -> Resource:
    found: Resource = {"text": item.text}
    if sequence is not None:
        found["sequence"] = sequence
    timing = _timing(item.timing, item.duration)
    if timing:
        found["timing"] = {"repeat": timing}
    if item.as_needed_for is not None:
        found["asNeededCodeableConcept"] = {"text": item.as_needed_for}
    elif item.as_needed:
        found["asNeededBoolean"] = True
    if item.routes:
        found["route"] = joined(item.routes)
    dose = _dose(item)
    if dose is not None:
        found["doseAndRate"] = [_dose_and_rate(dose)]
    return found


def _dose_and_rate(dose: Quantity | Interval) -> Resource:
    """A dose, or a rate where the unit is one of time ("6 mL an hour")."""
    if isinstance(dose, Interval):
        return {f"{_kind(dose.low)}Range": interval(dose)}
    return {f"{_kind(dose)}Quantity": quantity(dose)}


def _kind(item: Quantity | None) -> str:
    code = item.code if item is not None else None
    return "rate" if code is not None and code.endswith(("/h", "/min")) else "dose"


def _timing(timing: Timing | None, duration: Quantity | Interval | None) -> Resource:
    repeat: Resource = {}
    if isinstance(duration, Quantity):
        repeat["boundsDuration"] = _time(duration)
    elif duration is not None and duration.low is not None and duration.high is not None:
        repeat["boundsRange"] = {"low": _time(duration.low), "high": _time(duration.high)}
    if timing is None:
        return repeat
    for name, value in (
        ("count", timing.count),
        ("frequency", timing.frequency),
        ("frequencyMax", timing.frequency_max),
        ("period", timing.period),
        ("periodMax", timing.period_max),
        ("periodUnit", timing.unit),
        ("dayOfWeek", list(timing.days)),
        ("when", list(timing.when)),
    ):
        if value:
            repeat[name] = value
    return repeat


def _time(item: Quantity) -> Resource:
    return {"value": item.value, "unit": item.unit, "system": UCUM, "code": item.code}

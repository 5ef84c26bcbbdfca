"""A drug as a MedicationStatement; strength and form go with a contained Medication where they are of the product."""

from __future__ import annotations

import re
from decimal import Decimal

from kiwi_fhir.fhir.elements import Resource, Sheet, choose_time, interval, joined, quantity
from kiwi_fhir.fhir.r4.invariants import UCUM
from kiwi_fhir.fhir.rules import Rules
from kiwi_fhir.types import Dosage, Fact, Interval, Quantity, Ratio

_MEDICATION = "medication"
_ONE = Decimal(1)
_PER_TIME = re.compile(r"/\s?(?:h|hr|hrs|hour|min|minute)$")


def medication_statement(sheet: Sheet, fact: Fact) -> Resource:
    """The MedicationStatement of a drug."""
    resource = sheet.start("MedicationStatement", fact)
    resource["status"] = sheet.rules.drug[state(sheet.rules, fact)]
    product = _product(sheet, fact)
    if product is None:
        resource["medicationCodeableConcept"] = sheet.code(fact)
    else:
        resource["contained"] = [product]
        resource["medicationReference"] = {"reference": f"#{_MEDICATION}", "display": fact.text}
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["context"] = sheet.encounter
    if sheet.time is not None:
        resource["dateAsserted"] = sheet.time
    when = choose_time(fact.moments, resolve=sheet.rules.resolve_times)
    if when is not None and not fact.negated:
        resource[f"effective{when[0]}"] = when[1]
    if fact.dosages:
        resource["dosage"] = dosages(fact)
    return resource


def state(rules: Rules, fact: Fact) -> str:
    """The key of fhir.toml's `drug` (or `medication_request`) that has the status of a drug."""
    if fact.interruption is not None:
        return fact.interruption
    if fact.negated:
        return "negated"
    if fact.plan == "planned":
        return "planned"
    if fact.past:
        return "past"
    if fact.plan is not None:
        return fact.plan
    return "listed" if fact.mention.section in rules.drug["listed_sections"] else "otherwise"


def dosages(fact: Fact) -> list[Resource]:
    """The Dosages of a drug, numbered where there are several."""
    several = len(fact.dosages) > 1
    return [_dosage(item, number if several else None) for number, item in enumerate(fact.dosages, start=1)]


def _product(sheet: Sheet, fact: Fact) -> Resource | None:
    """The Medication with form and strength, None where neither is known of the product."""
    strengths = {ratio for dosage in fact.dosages if (ratio := _strength(dosage)) is not None}
    combined = {dosage.strengths for dosage in fact.dosages if dosage.strengths}
    if not fact.forms and not strengths and len(combined) != 1:
        return None
    product: Resource = {
        "resourceType": "Medication",
        "id": _MEDICATION,
        "code": sheet.code(fact),
    }
    if len(combined) == 1:
        product["extension"] = [_combined(sheet, combined.pop())]
    if fact.forms:
        product["form"] = joined(fact.forms)
    if len(strengths) == 1:
        ratio = strengths.pop()
        product["ingredient"] = [
            {
                "itemCodeableConcept": sheet.code(fact),
                "strength": {"numerator": quantity(ratio.numerator), "denominator": quantity(ratio.denominator)},
            }
        ]
    return product


def _combined(sheet: Sheet, strengths: tuple[Quantity, ...]) -> Resource:
    """The strengths of "5/325 mg" in their order; `ingredient` can't take them: which has which is not said."""
    parts = [{"url": "strength", "valueQuantity": quantity(strength)} for strength in strengths]
    return {"url": f"{sheet.rules.extensions}combined-strength", "extension": parts}


def _strength(dosage: Dosage) -> Ratio | None:
    """What a unit of the product holds: a concentration, or the strength beside a dose ("20 mg, 1 tablet")."""
    if isinstance(dosage.strength, Ratio):
        return dosage.strength
    if not isinstance(dosage.strength, Quantity) or _dose(dosage) is dosage.strength:
        return None
    counted = dosage.amount.low if isinstance(dosage.amount, Interval) else dosage.amount
    unit = counted.unit if counted is not None and counted.code is None else None
    if dosage.strength.code == "%":
        unit = None  # of the product, not "per drop"
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
    timing = _timing(item)
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
    """A dose, or a rate where the unit is per time ("6 mL an hour", "12 units/hr")."""
    if isinstance(dose, Interval):
        return {f"{_kind(dose.low)}Range": interval(dose)}
    return {f"{_kind(dose)}Quantity": quantity(dose)}


def _kind(item: Quantity | None) -> str:
    unit = (item.code or item.unit or "") if item is not None else ""
    return "rate" if _PER_TIME.search(unit) else "dose"


def _timing(item: Dosage) -> Resource:
    repeat: Resource = {}
    timing, duration, over = item.timing, item.duration, item.given_over
    if isinstance(over, Interval) and over.low is not None and over.high is not None:
        repeat |= {"duration": over.low.value, "durationMax": over.high.value, "durationUnit": over.high.code}
    elif isinstance(over, Quantity):
        repeat |= {"duration": over.value, "durationUnit": over.code}
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
        ("timeOfDay", list(timing.times)),
        ("when", list(timing.when)),
        ("offset", timing.offset),
    ):
        if value:
            repeat[name] = value
    return repeat


def _time(item: Quantity) -> Resource:
    return {"value": item.value, "unit": item.unit, "system": UCUM, "code": item.code}

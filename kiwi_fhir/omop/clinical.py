"""Facts that hold of the patient to rows of the clinical tables, each by the domain of its standard concept.

A row is made only where nothing is in doubt: present, not past, not planned, stopped or resolved, and with a whole
date: that of the fact, else that of the note. What a note says twice in the same words is one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from kiwi_fhir.omop import concepts
from kiwi_fhir.omop.ids import Ids
from kiwi_fhir.omop.tables import CONDITION, DRUG, MEASUREMENT, PROCEDURE, row
from kiwi_fhir.omop.text import cut, storable
from kiwi_fhir.omop.times import own_day
from kiwi_fhir.types import (
    BloodPressure,
    Coding,
    Dosage,
    Fact,
    Interval,
    LabValue,
    Note,
    Quantity,
    ReferenceRange,
    day_of,
)

Row = tuple[object, ...]

_SOURCE = 50
_OVER = frozenset({"resolved", "remission", "inactive"})
_DAYS = {"d": 1, "wk": 7}
_TABLES = {"Condition": CONDITION, "Drug": DRUG, "Measurement": MEASUREMENT, "Procedure": PROCEDURE}


def clinical_rows(note: Note, ids: Ids, facts: Sequence[Fact]) -> dict[str, list[Row]]:
    """Rows by table, without their ids."""
    found: dict[str, list[Row]] = {table: [] for table in _TABLES.values()}
    day = day_of(note.time)
    for fact in (part for whole in facts for part in _by_time(whole)):
        when = own_day(fact, day) if holds(fact) else None
        if when is None:
            continue
        source = concepts.source_concept(fact.codings)
        for coding in concepts.standard(fact.codings):
            table = _TABLES.get(coding.domain or "")
            if table == CONDITION:
                found[table].append(_condition(ids, fact, coding, source, when))
            elif table == DRUG:
                found[table].append(_drug(ids, fact, coding, source, when))
            elif table == PROCEDURE:
                found[table].append(_procedure(ids, fact, coding, source, when))
            elif table == MEASUREMENT:
                found[table].extend(_measurements(ids, fact, coding, source, when))
    return found


def _by_time(fact: Fact) -> Iterator[Fact]:
    """A test with results of several times as one fact for each time; a result of no known time is left out."""
    shared = tuple(item for item in fact.values if item.times is None)
    if shared or not fact.values:
        yield fact if len(shared) == len(fact.values) else replace(fact, values=shared)
    for item in fact.values:
        if item.times:
            yield replace(fact, values=(item,), moments=item.times)


def holds(fact: Fact) -> bool:
    """Whether a fact is of the patient and there, as far as the note is sure."""
    if fact.assertion != "present" or fact.negated or fact.past or fact.doubt is not None:
        return False
    if fact.allergy is not None or fact.interruption is not None or fact.plan == "planned":
        return False
    return not any(course.coding is not None and course.coding.code in _OVER for course in fact.courses)


def _condition(ids: Ids, fact: Fact, coding: Coding, source: int, when: date) -> Row:
    return row(
        CONDITION,
        person_id=ids.person_id,
        condition_concept_id=coding.concept_id,
        condition_start_date=when,
        condition_type_concept_id=concepts.NLP,
        visit_occurrence_id=ids.visit_id,
        condition_source_value=cut(fact.text, _SOURCE),
        condition_source_concept_id=source,
    )


def _procedure(ids: Ids, fact: Fact, coding: Coding, source: int, when: date) -> Row:
    return row(
        PROCEDURE,
        person_id=ids.person_id,
        procedure_concept_id=coding.concept_id,
        procedure_date=when,
        procedure_type_concept_id=concepts.NLP,
        visit_occurrence_id=ids.visit_id,
        procedure_source_value=cut(fact.text, _SOURCE),
        procedure_source_concept_id=source,
    )


def _drug(ids: Ids, fact: Fact, coding: Coding, source: int, when: date) -> Row:
    dosage = fact.dosages[0] if len(fact.dosages) == 1 else None
    days = _days(dosage)
    route = cut(dosage.routes[0].text, _SOURCE) if dosage is not None and dosage.routes else None
    # days_supply is for what a prescription says so: it must not be computed.
    return row(
        DRUG,
        person_id=ids.person_id,
        drug_concept_id=coding.concept_id,
        drug_exposure_start_date=when,
        drug_exposure_end_date=when + timedelta(days=days - 1) if days else when,
        drug_type_concept_id=concepts.NLP,
        sig=storable("; ".join(item.text for item in fact.dosages)) or None,
        route_concept_id=0 if route else None,
        visit_occurrence_id=ids.visit_id,
        drug_source_value=cut(fact.text, _SOURCE),
        drug_source_concept_id=source,
        route_source_value=route,
        dose_unit_source_value=_dose_unit(dosage),
    )


def _measurements(ids: Ids, fact: Fact, coding: Coding, source: int, when: date) -> Iterator[Row]:
    span = fact.reference_ranges[0] if len(fact.reference_ranges) == 1 else None
    if not fact.values:
        yield _measurement(ids, fact, coding.concept_id or 0, source, when, None)
    for item in fact.values:
        if isinstance(item.value, BloodPressure):
            parts = ((concepts.SYSTOLIC, item.value.systolic), (concepts.DIASTOLIC, item.value.diastolic))
            for concept, part in parts:
                yield _measurement(ids, fact, concept, source, when, item, part)
        else:
            value = item.value if isinstance(item.value, Quantity) else None
            yield _measurement(ids, fact, coding.concept_id or 0, source, when, item, value, span)


def _measurement(
    ids: Ids,
    fact: Fact,
    concept: int,
    source: int,
    when: date,
    said: LabValue | None = None,
    value: Quantity | Interval | None = None,
    span: ReferenceRange | None = None,
) -> Row:
    number = value if isinstance(value, Quantity) else None
    unit = number.unit if number is not None else None
    low, high = _bounds(span, unit)
    return row(
        MEASUREMENT,
        person_id=ids.person_id,
        measurement_concept_id=concept,
        measurement_date=when,
        measurement_type_concept_id=concepts.NLP,
        operator_concept_id=concepts.OPERATORS.get(number.comparator or "") if number is not None else None,
        value_as_number=number.value if number is not None else None,
        value_as_concept_id=0 if said is not None and said.is_scale else None,
        unit_concept_id=0 if unit else None,
        range_low=low,
        range_high=high,
        visit_occurrence_id=ids.visit_id,
        measurement_source_value=cut(fact.text, _SOURCE),
        measurement_source_concept_id=source,
        unit_source_value=cut(unit, _SOURCE) if unit else None,
        value_source_value=cut(said.text, _SOURCE) if said is not None else None,
    )


def _bounds(span: ReferenceRange | None, unit: str | None) -> tuple[Decimal | None, Decimal | None]:
    """The range's numbers where they are in the value's unit, or in none of their own."""
    if span is None or span.interval is None:
        return None, None
    ends = (span.interval.low, span.interval.high)
    if any(end is not None and end.unit not in (None, unit) for end in ends):
        return None, None
    low, high = (end.value if end is not None else None for end in ends)
    return low, high


def _days(dosage: Dosage | None) -> int | None:
    """How many days a drug is taken, where that is a whole number of days or weeks."""
    duration = dosage.duration if dosage is not None else None
    if not isinstance(duration, Quantity) or duration.comparator or duration.code not in _DAYS:
        return None
    days = duration.value * _DAYS[duration.code]
    return int(days) if days == int(days) and 0 < days <= 3660 else None


def _dose_unit(dosage: Dosage | None) -> str | None:
    if dosage is None:
        return None
    for part in (dosage.amount, dosage.strength):
        if isinstance(part, Quantity) and part.unit:
            return cut(part.unit, _SOURCE)
    return None

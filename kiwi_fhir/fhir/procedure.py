"""A treatment as a Procedure."""

from __future__ import annotations

from kiwi_fhir.fhir.elements import Resource, Sheet, choose_when
from kiwi_fhir.types import Fact


def procedure(sheet: Sheet, fact: Fact) -> Resource:
    """The Procedure of a treatment; what was not done has no time."""
    when = choose_when(fact.moments, resolve=sheet.rules.resolve_times)
    resource = sheet.start("Procedure", fact)
    resource["status"] = _status(sheet, fact)
    resource["code"] = sheet.code(fact)
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["encounter"] = sheet.encounter
    if not fact.negated and when is not None:
        resource[f"performed{when[0]}"] = when[1]
    return resource


def _status(sheet: Sheet, fact: Fact) -> str:
    if fact.interruption is not None:
        key: str = fact.interruption
    elif fact.negated:
        key = "negated"
    elif fact.plan == "planned":
        key = "planned"
    elif any(moment.date is not None and not moment.future for moment in fact.moments):
        key = "dated"
    elif any(moment.future for moment in fact.moments):
        key = "otherwise"
    elif fact.past and fact.plan != "ongoing":
        key = "past"
    else:
        key = fact.plan or "otherwise"
    return sheet.rules.treatment[key]

"""A treatment as a Procedure."""

from __future__ import annotations

from kiwi_fhir.fhir.elements import Resource, Sheet, choose_when
from kiwi_fhir.types import Fact


def procedure(sheet: Sheet, fact: Fact) -> Resource:
    """The Procedure of a treatment; what was not done has no time."""
    when = choose_when(fact.moments, resolve=sheet.rules.resolve_times)
    resource = sheet.start("Procedure", fact)
    resource["status"] = sheet.rules.treatment[state(fact)]
    resource["code"] = sheet.code(fact)
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["encounter"] = sheet.encounter
    if not fact.negated and when is not None:
        resource[f"performed{when[0]}"] = when[1]
    return resource


def state(fact: Fact) -> str:
    """The key of fhir.toml's `treatment` that has the status of a treatment."""
    if fact.interruption is not None:
        return fact.interruption
    if fact.negated:
        return "negated"
    if fact.plan == "planned":
        return "planned"
    if any(moment.date is not None and not moment.future for moment in fact.moments):
        return "dated"
    if any(moment.future for moment in fact.moments):
        return "otherwise"
    if fact.past and fact.plan != "ongoing":
        return "past"
    return fact.plan or "otherwise"

"""A problem of the patient as a Condition (or, by choice, a negated one as an Observation)."""

from __future__ import annotations

from kiwi_fhir.fhir.elements import INTERPRETATION, Resource, Sheet, choose_when, coded, joined
from kiwi_fhir.types import Fact

_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"
_CATEGORIES = {"problem-list-item": "Problem List Item", "encounter-diagnosis": "Encounter Diagnosis"}

#: A course that says more than the section it stands in, the strongest first.
_COURSES = ("resolved", "remission", "relapse", "recurrence", "active")
_ENDED = frozenset({"resolved", "remission"})


def condition(sheet: Sheet, fact: Fact) -> Resource:
    """The Condition of a problem that is the patient's: present, absent, possible, or under a condition."""
    rules = sheet.rules.condition
    verification = _verification(sheet, fact)
    refuted = verification == "refuted"
    resource = sheet.start("Condition", fact)
    clinical = None if refuted or _is_doubted(fact) else _clinical(sheet, fact)
    if clinical is not None:
        resource["clinicalStatus"] = coded(_CLINICAL, clinical, clinical.capitalize())
    resource["verificationStatus"] = coded(_VERIFICATION, verification, verification.capitalize())
    listed = fact.mention.section in rules["problem_list_sections"] and clinical is not None
    category = "problem-list-item" if listed else "encounter-diagnosis"
    resource["category"] = [coded(_CATEGORY, category, _CATEGORIES[category])]
    resource["code"] = sheet.code(fact)
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["encounter"] = sheet.encounter
    if sheet.time is not None:
        resource["recordedDate"] = sheet.time
    if fact.severities:
        resource["severity"] = joined(fact.severities)
    if fact.body_sites:
        resource["bodySite"] = [sheet.body_site(site) for site in fact.body_sites]
    if not refuted:
        _add_times(resource, sheet, fact, clinical)
    return resource


def absent_observation(sheet: Sheet, fact: Fact) -> Resource:
    """A negated problem as an Observation with a negative result."""
    resource = sheet.start("Observation", fact)
    resource["status"] = "final"
    resource["code"] = sheet.code(fact)
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["encounter"] = sheet.encounter
    if sheet.time is not None:
        resource["effectiveDateTime"] = sheet.time
    resource["valueCodeableConcept"] = {"text": "absent"}
    resource["interpretation"] = [coded(INTERPRETATION, "NEG", "Negative")]
    return resource


def _is_doubted(fact: Fact) -> bool:
    """Whether the author leans against the problem: then nothing is said of its course."""
    return fact.assertion == "possible" and (fact.doubt == "unlikely" or fact.negated)


def _verification(sheet: Sheet, fact: Fact) -> str:
    rules = sheet.rules.condition
    if fact.assertion in ("conditional", "hypothetical"):
        value = "conditional"
    elif _is_doubted(fact):
        value = "unlikely"
    else:
        value = fact.doubt if fact.doubt is not None else fact.assertion
    return str(rules[value])


def _clinical(sheet: Sheet, fact: Fact) -> str:
    stated = {course.coding.code for course in fact.courses if course.coding is not None}
    for code in _COURSES:
        if code in stated:
            return code
    return str(sheet.rules.condition["history"]) if fact.past else "active"


def _add_times(resource: Resource, sheet: Sheet, fact: Fact, clinical: str | None) -> None:
    """Onset, and abatement where words say that it ended then.

    Of a problem that has ended, a time that does not say "resolved on" may be either, and is left out.
    """
    ends = [moment for moment in fact.moments if moment.is_end]
    resolve = sheet.rules.resolve_times
    if clinical in _ENDED:
        name, when = "abatement", choose_when(ends, resolve=resolve)
    else:
        name, when = "onset", choose_when(fact.moments, resolve=resolve)
    if when is not None:
        resource[f"{name}{when[0]}"] = when[1]

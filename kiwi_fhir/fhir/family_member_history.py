"""A problem of a relative as FamilyMemberHistory: one resource for each relative that the note names."""

from __future__ import annotations

from kiwi_fhir.fhir.elements import Resource, Sheet, choose_time, coded, concept, term
from kiwi_fhir.types import Fact

_ROLES = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"


def family_member_histories(sheet: Sheet, fact: Fact) -> list[Resource]:
    """One FamilyMemberHistory per relative; a family member where the note names none.

    Status is partial: the note tells a part of that relative's history.
    """
    relatives = [term(relative) for relative in fact.relatives if relative.coding is not None]
    if not fact.relatives:
        relatives = [coded(_ROLES, "FAMMEMB", "family member")]
    found: list[Resource] = []
    for relationship in relatives:
        code = relationship["coding"][0]["code"]
        resource = sheet.start("FamilyMemberHistory", fact, code, str(len(found)))
        resource["status"] = "partial"
        resource["patient"] = sheet.subject
        resource["relationship"] = relationship
        if sheet.time is not None:
            resource["date"] = sheet.time
        condition: Resource = {"code": concept(fact.text, fact.codings)}
        date, text = choose_time(fact.moments, resolve=sheet.rules.resolve_times)
        if date is not None or text is not None:
            condition["onsetString"] = date or text
        resource["condition"] = [condition]
        found.append(resource)
    return found

"""Problems of relatives as FamilyMemberHistory: one resource for each person, with all that the note says they had.

A note's mother is one person however often she is named; two "brothers" may be two, so only what the same words say
of them goes together. A family member of whom no more is known is another one each time.
"""

from __future__ import annotations

from collections.abc import Sequence

from kiwi_fhir.fhir.elements import Resource, Sheet, choose_when, coded, gather, term
from kiwi_fhir.types import Fact, Term

_ROLES = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
_NOBODY = "FAMMEMB"
#: Relatives of whom a patient has one.
_SINGLE = frozenset({"MTH", "FTH", "MGRMTH", "PGRMTH", "MGRFTH", "PGRFTH"})


def family_member_histories(sheet: Sheet, facts: Sequence[Fact]) -> list[list[Resource]]:
    """For each fact the FamilyMemberHistory resources that begin with it; what adds to an earlier one gives none.

    Status is partial: the note tells a part of that relative's history. The evidence of each condition stands with it;
    the resource names the places in the text. What is said twice of one relative is one condition, by `merge`.
    """
    rules = sheet.rules
    people: dict[tuple[str, ...], Resource] = {}
    conditions: dict[tuple[str, ...], tuple[Resource, list[list[Resource]]]] = {}
    said: set[tuple[str, ...]] = set()
    found: list[list[Resource]] = []
    for fact in facts:
        begun: list[Resource] = []
        for relative in _relatives(fact, rules.not_blood):
            key = _key(fact, relative)
            span = fact.mention.span
            if (*key, str(span.start), str(span.end)) in said:
                continue  # the same mention twice
            said.add((*key, str(span.start), str(span.end)))
            person = people.get(key)
            if person is None:
                person = people[key] = _person(sheet, key, relative)
                begun.append(person)
            evidence = sheet.evidence(fact.mention)
            person["extension"].append(evidence[0])
            condition = _condition(sheet, fact, evidence)
            once = (
                *key,
                fact.name or fact.text.lower(),
                *(f"{name} {condition[name]}" for name in condition if "onset" in name),
            )
            known, places = conditions.setdefault(once, (condition, []))
            if known is condition or not rules.merge:
                person["condition"].append(condition)
            places.append(evidence)
            _add_death(person, sheet, fact)
        found.append(begun)
    for condition, places in conditions.values() if rules.merge else ():
        if len(places) > 1:
            condition["extension"] = gather(places, rules.extensions)
    return found


def _relatives(fact: Fact, not_blood: frozenset[str]) -> list[Term | None]:
    """The known blood relatives of a fact; None is a family member whom the note does not name."""
    if not fact.relatives:
        return [None]
    return [item for item in fact.relatives if item.coding is not None and item.coding.code not in not_blood]


def _key(fact: Fact, relative: Term | None) -> tuple[str, ...]:
    """What tells one person of a note from another."""
    code = relative.coding.code if relative is not None and relative.coding is not None else None
    if code is None or relative is None or code == _NOBODY:
        return (_NOBODY, str(fact.mention.span.start), str(fact.mention.span.end))
    if code in _SINGLE:
        return (code,)
    return (code, str(relative.modifier.span.start), str(relative.modifier.span.end))


def _person(sheet: Sheet, key: tuple[str, ...], relative: Term | None) -> Resource:
    person: Resource = {
        "resourceType": "FamilyMemberHistory",
        "id": sheet.id("FamilyMemberHistory", *key),
        "meta": sheet.meta,
        "extension": [],
        "status": "partial",
        "patient": sheet.subject,
        "relationship": coded(_ROLES, _NOBODY, "family member") if relative is None else term(relative),
        "condition": [],
    }
    if sheet.time is not None:
        person["date"] = sheet.time
    return person


def _condition(sheet: Sheet, fact: Fact, evidence: list[Resource]) -> Resource:
    found: Resource = {"extension": evidence, "code": sheet.code(fact)}
    onsets = [moment for moment in fact.moments if not moment.is_death]
    when = choose_when(onsets, resolve=sheet.rules.resolve_times)
    if when is not None:
        found["onsetString" if when[0] == "DateTime" else f"onset{when[0]}"] = when[1]
    return found


def _add_death(person: Resource, sheet: Sheet, fact: Fact) -> None:
    """The age of death ("died at 72"), where the note says it of this relative alone."""
    deaths = [moment for moment in fact.moments if moment.is_death]
    when = choose_when(deaths, resolve=sheet.rules.resolve_times) if len(fact.relatives) <= 1 else None
    if when is not None and when[0] != "String" and not any(key.startswith("deceased") for key in person):
        person[f"deceased{when[0]}"] = when[1]

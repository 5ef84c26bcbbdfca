"""One fact once: what a note says several times becomes one resource with all its places as evidence.

Two resources are one when they are of one type and of one thing (`Fact.name`) and say the same of it: status, value,
time, site, severity. One that leaves out how a drug is taken, when a problem began or how an allergy shows goes with
the one that says it, where there is only one such; so does a drug or treatment that is only named (its status is not
known) with the one place that says how it stands. All else stays apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kiwi_fhir.documents.lines import to_json
from kiwi_fhir.fhir.elements import DERIVATION, Resource, gather
from kiwi_fhir.fhir.r4.invariants import codes_of
from kiwi_fhir.types import Fact

#: What a resource does not say of its fact: whose it is, and where in the note it stands.
_ASIDE = frozenset({"resourceType", "id", "meta", "category"})
#: What a resource is of: `Fact.name` compares that.
_NAMED = frozenset({"code", "medicationCodeableConcept", "medicationReference", "itemCodeableConcept", "relationship"})
#: What one place may leave unsaid, by type: beginnings of elements.
_UNSAID: dict[str, tuple[str, ...]] = {
    "Condition": ("onset", "abatement"),
    "MedicationStatement": ("dosage", "contained"),
    "MedicationRequest": ("dosage",),
    "AllergyIntolerance": ("reaction",),
}
_NOTHING = b"{}"
#: The types of which a place may say nothing but the name.
_NAMED_ONLY = ("MedicationStatement", "MedicationRequest", "Procedure")
_WHEN = ("effective", "performed")
_OWN = (*_WHEN, "dosage", "contained")
_TAKEN = frozenset({"active", "completed", "in-progress", "intended", "preparation"})
#: Elements that have evidence of their own.
_PARTS = ("condition", "reaction")


@dataclass(frozen=True, slots=True)
class Stated:
    """A resource and the facts that state it, in text order."""

    resource: Resource
    facts: tuple[Fact, ...]

    @property
    def thing(self) -> tuple[str, str] | None:
        """Its type and what it is of; None of a relative whom the note names: that is one resource already."""
        kind, fact = str(self.resource["resourceType"]), self.facts[0]
        if kind == "FamilyMemberHistory" and codes_of(self.resource["relationship"]) != {"FAMMEMB"}:
            return None
        return kind, fact.name or fact.text.lower()


def merge(stated: Sequence[Stated], extensions: str) -> list[Stated]:
    """Each fact once, at its first place, whose id it keeps. `extensions` is what the URLs of ours begin with."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(stated):
        if (thing := item.thing) is not None:
            groups.setdefault(thing, []).append(index)
    found = dict(enumerate(stated))
    for indices in groups.values():
        for first, *others in _same(stated, indices) if len(indices) > 1 else ():
            if others:
                found[first] = _one([stated[first], *map(found.pop, others)], extensions)
    return list(found.values())


def _same(stated: Sequence[Stated], indices: Sequence[int]) -> list[list[int]]:
    """The indices that are one fact, each list in text order."""
    alike: dict[bytes, dict[bytes, list[int]]] = {}
    for index in indices:
        must, may = _said(stated[index].resource)
        alike.setdefault(must, {}).setdefault(may, []).append(index)
    found: list[list[int]] = []
    for by_more in alike.values():
        bare = by_more.pop(_NOTHING, [])
        lists = list(by_more.values())
        if len(lists) == 1:
            lists = [sorted([*lists[0], *bare])]
        elif bare:
            lists.append(bare)
        found += lists
    if len(found) == 2:
        one, other = (stated[group[0]].resource for group in found)
        if (_is_named_only(one) and _is_taken(other)) or (_is_named_only(other) and _is_taken(one)):
            return [sorted(index for group in found for index in group)]
    return found


def _is_named_only(resource: Resource) -> bool:
    """Whether nothing but the name of a drug or treatment is said."""
    return resource.get("status") == "unknown" and not any(name.startswith(_OWN) for name in resource)


def _is_taken(resource: Resource) -> bool:
    """Whether a drug or treatment is, was or will be, at a time that no words say."""
    return (
        resource["resourceType"] in _NAMED_ONLY
        and resource["status"] in _TAKEN
        and not any(name.startswith(_WHEN) for name in resource)
    )


def _said(resource: Resource) -> tuple[bytes, bytes]:
    """What a resource says that has to be the same, and what another place may leave unsaid."""
    unsaid = _UNSAID.get(str(resource["resourceType"]), ())
    must: Resource = {}
    may: Resource = {}
    for name, value in _plain(resource).items():
        (may if name.startswith(unsaid) else must)[name] = value
    return to_json(must), to_json(may)


def _plain(resource: Resource) -> Resource:
    """A resource or element without ids, names and evidence, its words in lower case."""
    found = {}
    for name, value in resource.items():
        if name in _ASIDE or name in _NAMED or (name == "extension" and value and value[0]["url"] == DERIVATION):
            continue
        if isinstance(value, dict):
            value = _plain(value)
        elif isinstance(value, list):
            value = [_plain(item) if isinstance(item, dict) else item for item in value]
        elif isinstance(value, str) and (name == "text" or name.endswith("String")):
            value = value.lower()
        found[name] = value
    return found


def _one(items: Sequence[Stated], extensions: str) -> Stated:
    """The resource that says most, with the first one's id and the evidence of all."""
    resources = [item.resource for item in items]
    fullest = max(resources, key=lambda resource: (not _is_named_only(resource), len(resource)))
    found = {**fullest, "id": resources[0]["id"]}
    found["extension"] = gather([resource["extension"] for resource in resources], extensions)
    categories = {to_json(item): item for resource in resources for item in resource.get("category", ())}
    if categories:
        found["category"] = list(categories.values())
    for name in _PARTS:
        if name in found:
            parts = [part["extension"] for resource in resources for part in resource.get(name, ())]
            found[name] = [{**found[name][0], "extension": gather(parts, extensions)}]
    return Stated(found, tuple(fact for item in items for fact in item.facts))

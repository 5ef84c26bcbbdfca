"""What a note says of one thing and takes back elsewhere: decided by place where that is certain, else both stay.

A place counts by the kind of its section, as [conflicts] of fhir.toml ranks them: assessments, then narratives, then
lists. A present problem that stands in a better place than all that denies it, or calls it history, is right, and the
other is left out. So is a history that nothing but lists state, where the problem is present in any other place. The
other way round only a problem that nothing but lists state is given up, and not for a denial where it comes and goes
as symptoms do. All else stays, each naming the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal, NamedTuple

from kiwi_fhir.fhir.elements import Resource
from kiwi_fhir.fhir.merge import Stated
from kiwi_fhir.fhir.r4.invariants import codes_of
from kiwi_fhir.fhir.r4.systems import ICD_10_CM
from kiwi_fhir.fhir.rules import Rules

_Side = Literal["present", "denied", "ended", "taken", "stopped"]
_OPPOSITES: tuple[tuple[_Side, _Side], ...] = (("present", "denied"), ("present", "ended"), ("taken", "stopped"))
_PRESENT = frozenset({"active", "recurrence", "relapse"})
_TIMES = ("onset", "abatement")


class Settled(NamedTuple):
    """What stays, what was left out for it, and how many pairs stay that contradict each other."""

    stated: Sequence[Stated]
    left_out: Sequence[Stated] = ()
    open: int = 0


def settle(stated: Sequence[Stated], rules: Rules) -> Settled:
    """`stated` without what another place of the note takes back; the resources are copies where they changed."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(stated):
        if (thing := item.thing) is not None:
            groups.setdefault(thing, []).append(index)
    lost: set[int] = set()
    unsettled: list[tuple[int, int]] = []
    for indices in groups.values():
        for one, other in _contradictions(stated, indices):
            loser = _loser(stated, one, other, rules)
            if loser is None:
                unsettled.append((one, other))
            else:
                lost.add(loser)
    unsettled = [pair for pair in unsettled if lost.isdisjoint(pair)]
    pointing: dict[int, list[int]] = {}
    for one, other in unsettled:
        pointing.setdefault(one, []).append(other)
        pointing.setdefault(other, []).append(one)
    kept = [
        _pointed(item, [stated[other].resource for other in pointing[index]], rules) if index in pointing else item
        for index, item in enumerate(stated)
        if index not in lost
    ]
    return Settled(kept, [stated[index] for index in sorted(lost)], len(unsettled))


def _contradictions(stated: Sequence[Stated], indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The pairs that can't both be true; the first of each is the one that says "present" or "taken"."""
    sides: dict[_Side, list[int]] = {}
    for index in indices:
        if (side := _side(stated[index])) is not None:
            sides.setdefault(side, []).append(index)
    for first, second in _OPPOSITES:
        for one, other in product(sides.get(first, ()), sides.get(second, ())):
            if _is_of_one(stated[one].resource, stated[other].resource):
                yield one, other


def _side(item: Stated) -> _Side | None:
    """What a resource says in a dispute; None of doubts, and of what can be said beside its opposite."""
    resource, fact = item.resource, item.facts[0]
    kind, status = resource["resourceType"], resource.get("status")
    if kind in ("MedicationStatement", "MedicationRequest"):
        return "taken" if status == "active" else "stopped" if status in ("stopped", "not-taken") else None
    if kind not in ("Condition", "AllergyIntolerance") or fact.doubt is not None:
        return None
    if fact.negated:
        return "denied"
    if fact.assertion != "present":
        return None
    return "present" if codes_of(resource.get("clinicalStatus")) & _PRESENT else "ended"


def _is_of_one(one: Resource, other: Resource) -> bool:
    """Whether two resources that disagree are of one place, degree, dose and episode."""
    if one.get("bodySite") != other.get("bodySite") or "severity" in other:
        return False
    if any(name.startswith(_TIMES) for name in other):  # another episode
        return False
    name = "dosage" if one["resourceType"] == "MedicationStatement" else "dosageInstruction"
    return name not in other or one.get(name) == other[name]


def _loser(stated: Sequence[Stated], present: int, other: int, rules: Rules) -> int | None:
    """Which of the two is not so; None where that is not certain."""
    if stated[present].resource["resourceType"] != "Condition":
        return None
    first, second = _ranks(stated[present], rules), _ranks(stated[other], rules)
    if None not in second and min((rank for rank in first if rank is not None), default=len(rules.places)) < min(
        rank for rank in second if rank is not None
    ):
        return other
    lists = len(rules.places) - 1
    if second == {lists} and first != {lists} and _is_history(stated[other]):
        return other
    if first != {lists} or not any(rank is not None and rank < lists for rank in second):
        return None
    denied = stated[other].facts[0].negated
    return None if denied and _comes_and_goes(stated[present], rules) else present


def _is_history(item: Stated) -> bool:
    """Whether it says no more than that a problem is on record; "resolved" says more."""
    return item.facts[0].past and codes_of(item.resource.get("clinicalStatus")) == {"inactive"}


def _ranks(item: Stated, rules: Rules) -> set[int | None]:
    """The ranks of a resource's places, 0 the best; None of a place that decides nothing."""
    kinds = {fact.mention.section for fact in item.facts}
    return {next((rank for rank, group in enumerate(rules.places) if kind in group), None) for kind in kinds}


def _comes_and_goes(item: Stated, rules: Rules) -> bool:
    """Whether a problem is no disease by its codes, as far as they say."""
    codes = [coding.code or "" for coding in item.facts[0].codings if coding.system == ICD_10_CM]
    return not codes or any(code.startswith(rules.passing) for code in codes)


def _pointed(item: Stated, others: Sequence[Resource], rules: Rules) -> Stated:
    """`item` with a reference to each resource that contradicts it."""
    more = [
        {
            "url": f"{rules.extensions}contradicts",
            "valueReference": {"reference": f"{other['resourceType']}/{other['id']}"},
        }
        for other in others
    ]
    return Stated({**item.resource, "extension": [*item.resource["extension"], *more]}, item.facts)

"""The rules of mappings/fhir.toml: which element each modifier sets, what the states of a mention become.

The pairs of ALLOWED_PAIRS must all be there, so that a modifier is mapped or left out on purpose, never forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kiwi_fhir.tables import ListOf, Mappings, OneOf, Schema
from kiwi_fhir.types import Fact, MentionLabel, ModifierLabel

_DRUG_STATUS = OneOf(
    ("active", "completed", "entered-in-error", "intended", "stopped", "on-hold", "unknown", "not-taken")
)
_REQUEST_STATUS = OneOf(
    ("active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft", "unknown")
)
_PROCEDURE_STATUS = OneOf(
    ("preparation", "in-progress", "not-done", "on-hold", "stopped", "completed", "entered-in-error", "unknown")
)

#: Mention -> modifier -> the element that our code can set. Those in _FIXED can't be left out.
ELEMENTS: dict[MentionLabel, dict[ModifierLabel, str]] = {
    "problem": {
        "negation": "verificationStatus",
        "uncertain": "verificationStatus",
        "condition": "verificationStatus",
        "subject": "FamilyMemberHistory.relationship",
        "severity": "severity",
        "course": "clinicalStatus",
        "bodyloc": "bodySite",
        "temporal": "onset",
    },
    "test": {
        "labvalue": "value",
        "reference_range": "referenceRange",
        "temporal": "effective",
        "negation": "status",
    },
    "drug": {
        "strength": "dosage.doseAndRate",
        "dosage": "dosage.doseAndRate",
        "duration": "dosage.timing",
        "form": "Medication.form",
        "frequency": "dosage.timing",
        "route": "dosage.route",
        "temporal": "effective",
        "negation": "status",
    },
    "treatment": {"temporal": "performed", "negation": "status"},
}
_FIXED: frozenset[ModifierLabel] = frozenset({"negation", "uncertain", "condition", "subject"})
_NONE = "none"
_NAMELESS = frozenset(["a", "an", "the", "this", "that", "these", "those", "his", "her", "their", "my", "your", "our"])
_NAMELESS |= {"any", "some", "all", "other", "further"}
#: Places by how much they count against others, the most first.
_RANKS = ("assessments", "narratives", "lists")

_SCHEMA: dict[str, Schema] = {
    "extensions": str,
    "identifiers": str,
    "tags": str,
    "profiles": OneOf((_NONE, "us-core")),
    "source_path": str,
    "elements": {
        mention: {
            modifier: OneOf((element,) if modifier in _FIXED else (element, _NONE))
            for modifier, element in elements.items()
        }
        for mention, elements in ELEMENTS.items()
    },
    "times": {"relative": OneOf(("text", "resolve"))},
    "condition": {
        "present": OneOf(("confirmed", "unconfirmed", "provisional")),
        "possible": OneOf(("provisional", "unconfirmed", "differential")),
        "differential": OneOf(("differential", "provisional", "unconfirmed")),
        "unlikely": OneOf(("unconfirmed", "differential", "refuted")),
        "absent": OneOf(("refuted",)),
        "negated": OneOf(("condition", "observation", "drop")),
        "conditional": OneOf((_NONE, "provisional")),
        "history": OneOf(("inactive", "active")),
        "problem_list_sections": ListOf(str),
    },
    "drug": {
        "resource": OneOf(("MedicationStatement", "MedicationRequest")),
        "negated": _DRUG_STATUS,
        "stopped": _DRUG_STATUS,
        "on-hold": _DRUG_STATUS,
        "past": _DRUG_STATUS,
        "planned": _DRUG_STATUS,
        "ongoing": _DRUG_STATUS,
        "given": _DRUG_STATUS,
        "listed": _DRUG_STATUS,
        "otherwise": _DRUG_STATUS,
        "listed_sections": ListOf(str),
    },
    "medication_request": {
        "stopped": _REQUEST_STATUS,
        "on-hold": _REQUEST_STATUS,
        "past": _REQUEST_STATUS,
        "planned": _REQUEST_STATUS,
        "ongoing": _REQUEST_STATUS,
        "given": _REQUEST_STATUS,
        "listed": _REQUEST_STATUS,
        "otherwise": _REQUEST_STATUS,
    },
    "test": {
        "planned": OneOf(("registered", "unknown", _NONE)),
        "negative_finding": str,
        "negative_words": ListOf(str),
    },
    "allergy": {"present": OneOf(("confirmed", "unconfirmed")), "possible": OneOf(("unconfirmed", "confirmed"))},
    "treatment": {
        "planned": _PROCEDURE_STATUS,
        "negated": _PROCEDURE_STATUS,
        "stopped": _PROCEDURE_STATUS,
        "on-hold": _PROCEDURE_STATUS,
        "past": _PROCEDURE_STATUS,
        "dated": _PROCEDURE_STATUS,
        "ongoing": _PROCEDURE_STATUS,
        "given": _PROCEDURE_STATUS,
        "otherwise": _PROCEDURE_STATUS,
    },
    "sections": {"ignored": ListOf(str)},
    "unnamed": {"drug": ListOf(str), "treatment": ListOf(str)},
    "merge": bool,
    "conflicts": {**{rank: ListOf(str) for rank in _RANKS}, "passing": ListOf(str)},
}

#: Which field of a fact holds what a modifier that may be left out says.
_FIELDS: dict[ModifierLabel, str] = {
    "severity": "severities",
    "course": "courses",
    "bodyloc": "body_sites",
    "temporal": "moments",
    "labvalue": "values",
    "reference_range": "reference_ranges",
    "form": "forms",
}
_DOSAGE_FIELDS: dict[ModifierLabel, dict[str, Any]] = {
    "strength": {"strength": None, "strengths": ()},
    "dosage": {"amount": None},
    "duration": {"duration": None, "given_over": None},
    "frequency": {"timing": None, "as_needed": False, "as_needed_for": None},
    "route": {"routes": ()},
}


@dataclass(frozen=True, slots=True)
class Rules:
    """fhir.toml, checked. The dicts are its tables; `ignored` is what `elements` leaves out.

    `not_blood` is that of relationships.toml. `places` are the kinds of section whose word counts, those that count
    most first; `passing` begins the ICD-10-CM codes of what comes and goes.
    """

    extensions: str
    identifiers: str
    tags: str
    us_core: bool
    source_path: str
    ignored: frozenset[tuple[MentionLabel, ModifierLabel]]
    resolve_times: bool
    condition: dict[str, Any]
    drug: dict[str, Any]
    medication_request: dict[str, str]
    treatment: dict[str, str]
    test: dict[str, Any]
    allergy: dict[str, str]
    ignored_sections: frozenset[str]
    unnamed: Mapping[MentionLabel, frozenset[str]]
    not_blood: frozenset[str]
    merge: bool
    places: tuple[frozenset[str], ...]
    passing: tuple[str, ...]

    def is_unnamed(self, fact: Fact) -> bool:
        """Whether the words of a drug or treatment name none: "the procedure", "other medications"."""
        names = self.unnamed[fact.mention.label]
        text = fact.text.lower()
        first, _, rest = text.partition(" ")
        while rest and first in _NAMELESS:
            text = rest
            first, _, rest = text.partition(" ")
        return text in names

    def trim(self, fact: Fact) -> Fact:
        """`fact` without what the elements table leaves out."""
        if not self.ignored:
            return fact
        label = fact.mention.label
        cut = [modifier for mention, modifier in self.ignored if mention == label]
        changes: dict[str, Any] = {_FIELDS[modifier]: () for modifier in cut if modifier in _FIELDS}
        dosage: dict[str, Any] = {}
        for modifier in cut:
            dosage |= _DOSAGE_FIELDS.get(modifier, {})
        if dosage:
            changes["dosages"] = tuple(replace(item, **dosage) for item in fact.dosages)
        return replace(fact, **changes)


def load_rules(mappings: Mappings) -> Rules:
    """fhir.toml, and `not_blood` of relationships.toml. Raises MappingError naming file, line and key."""
    table = mappings.table("fhir", _SCHEMA)
    sections = {
        "condition.problem_list_sections": table["condition"]["problem_list_sections"],
        "drug.listed_sections": table["drug"]["listed_sections"],
        "sections.ignored": table["sections"]["ignored"],
        **{f"conflicts.{rank}": table["conflicts"][rank] for rank in _RANKS},
    }
    mappings.check_sections("fhir", sections)
    ignored = frozenset(
        (mention, modifier)
        for mention, elements in ELEMENTS.items()
        for modifier in elements
        if table["elements"][mention][modifier] == _NONE
    )
    return Rules(
        extensions=table["extensions"],
        identifiers=table["identifiers"],
        tags=table["tags"],
        us_core=table["profiles"] == "us-core",
        source_path=table["source_path"],
        ignored=ignored,
        resolve_times=table["times"]["relative"] == "resolve",
        condition={
            **table["condition"],
            "problem_list_sections": frozenset(table["condition"]["problem_list_sections"]),
        },
        drug={**table["drug"], "listed_sections": frozenset(table["drug"]["listed_sections"])},
        medication_request=table["medication_request"],
        treatment=table["treatment"],
        test={**table["test"], "negative_words": frozenset(map(str.lower, table["test"]["negative_words"]))},
        allergy=table["allergy"],
        ignored_sections=frozenset(table["sections"]["ignored"]),
        unnamed={label: frozenset(map(str.lower, table["unnamed"][label])) for label in ("drug", "treatment")},
        not_blood=frozenset(mappings.table("relationships")["not_blood"]),
        merge=table["merge"],
        places=tuple(frozenset(table["conflicts"][rank]) for rank in _RANKS),
        passing=tuple(table["conflicts"]["passing"]),
    )

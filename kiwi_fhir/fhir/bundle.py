"""Facts to one transaction Bundle per note, as bytes that two runs share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from kiwi_fhir.errors import UsageError
from kiwi_fhir.fhir.allergy_intolerance import allergy_intolerance
from kiwi_fhir.fhir.condition import absent_observation, condition
from kiwi_fhir.fhir.conflicts import Settled, settle
from kiwi_fhir.fhir.elements import Resource, Sheet, sheet_of
from kiwi_fhir.fhir.family_member_history import family_member_histories
from kiwi_fhir.fhir.medication_request import medication_request
from kiwi_fhir.fhir.medication_statement import medication_statement, state
from kiwi_fhir.fhir.merge import Stated, merge
from kiwi_fhir.fhir.observation import observations
from kiwi_fhir.fhir.procedure import procedure
from kiwi_fhir.fhir.procedure import state as treatment_state
from kiwi_fhir.fhir.profiles import claim
from kiwi_fhir.fhir.provenance import ModelInfo, provenance
from kiwi_fhir.fhir.r4.validate import Finding, check_resource
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Fact, Failure, Note, is_instant


class Written(NamedTuple):
    """A note's bundle, what could not be written, and counts.

    `merged` are the resources that went into others, by type; `conflicts` those `decided` and the pairs left `open`;
    `contradicted` the mentions of what was left out for the former.
    """

    bundle: dict[str, Any]
    failures: list[Failure]
    merged: Counter[str]
    conflicts: Counter[str]
    contradicted: int


class BundleWriter:
    """Writes the bundle of a document. Picklable, without state: the same facts give the same bundle."""

    def __init__(self, info: ModelInfo, *, recorded: str, mappings: Mappings | None = None) -> None:
        """Load and check fhir.toml.

        `recorded` is the instant of every Provenance (`2026-01-31T00:00:00Z`); there is no clock here, so that a rerun
        writes the same bytes. Raises MappingError, and UsageError for a `recorded` that is no FHIR instant.
        """
        if not is_instant(recorded):
            raise UsageError(f"'{recorded}' is no instant: write it as 2026-01-31T00:00:00Z.")
        self._rules = load_rules(mappings or Mappings.read())
        self._info = info
        self._recorded = recorded

    def bundle(self, document: Document, facts: Sequence[Fact]) -> tuple[dict[str, Any], list[Failure]]:
        """`write` without its counts."""
        written = self.write(document, facts)
        return written.bundle, written.failures

    def write(self, document: Document, facts: Sequence[Fact]) -> Written:
        """The transaction Bundle of a document's facts, in text order, with a Provenance at the end.

        A resource that breaks a rule of FHIR is left out and becomes a Failure; the note's others are written. A note
        without any resource gives a Bundle without entries. The resources share objects (meta, subject): read them,
        or copy before a change.
        """
        sheet = sheet_of(document.note, self._rules, tag=self._info.tag)
        failures: list[Failure] = []
        known: dict[int, Any] = {}
        every = self._stated(sheet, [self._rules.trim(fact) for fact in facts])
        once = merge(every, self._rules.extensions) if self._rules.merge else every
        right: list[Stated] = []
        for item in once:
            if self._rules.us_core:
                claim(item.resource)
            findings = check_resource(item.resource, known)
            if findings:
                failures.append(_failure(document.note, findings))
            else:
                right.append(item)
        settled = settle(right, self._rules) if self._rules.merge else Settled(right)
        written = [item.resource for item in settled.stated]
        bundle: Resource = {
            "resourceType": "Bundle",
            "id": sheet.id("Bundle"),
            "identifier": sheet.identifier,
            "type": "transaction",
        }
        if written:
            source = provenance(sheet, self._info, self._recorded, written)
            findings = check_resource(source, known)
            if findings:
                failures.append(_failure(document.note, findings))
            else:
                written.append(source)
            bundle["entry"] = [_entry(resource) for resource in written]
        merged = Counter(_kind(item) for item in every)
        merged.subtract(_kind(item) for item in once)
        conflicts = {"decided": len(settled.left_out), "open": settled.open}
        return Written(
            bundle, failures, +merged, +Counter(conflicts), sum(len(item.facts) for item in settled.left_out)
        )

    def ignored(self, fact: Fact) -> str | None:
        """Why `fact` becomes no resource, as a short reason for counts; None where it becomes one."""
        label, relative = fact.mention.label, fact.assertion == "associated_with_someone_else"
        rules = self._rules.condition
        if fact.mention.section in self._rules.ignored_sections:
            return f"section-{fact.mention.section}"
        if fact.frame is not None:
            return fact.frame
        if relative:
            return _why_no_history(fact, self._rules.not_blood)
        if fact.allergy is not None:
            return f"allergy-{fact.allergy}" if fact.allergy in ("reaction", "other") else None
        if label == "test" and fact.plan == "planned" and self._rules.test["planned"] == "none":
            return "planned"
        if label != "problem":
            if label == "test" or not self._rules.is_unnamed(fact):
                return None
            how = state(self._rules, fact) if label == "drug" else treatment_state(fact)
            return "unnamed" if how == "otherwise" else None
        if fact.assertion in ("conditional", "hypothetical"):
            return fact.assertion if rules["conditional"] == "none" or fact.negated else None
        if fact.assertion == "absent" and rules["negated"] == "drop":
            return "negated"
        return None

    def _is_family(self, fact: Fact) -> bool:
        return fact.assertion == "associated_with_someone_else" and self.ignored(fact) is None

    def _stated(self, sheet: Sheet, facts: Sequence[Fact]) -> list[Stated]:
        """What each fact becomes, in text order; the same mention twice says the same."""
        families = iter(family_member_histories(sheet, [fact for fact in facts if self._is_family(fact)]))
        found: dict[str, Stated] = {}
        for fact in facts:
            for resource in next(families) if self._is_family(fact) else self._resources(sheet, fact):
                found.setdefault(resource["id"], Stated(resource, (fact,)))
        return list(found.values())

    def _resources(self, sheet: Sheet, fact: Fact) -> list[Resource]:
        if self.ignored(fact) is not None:
            return []
        label = fact.mention.label
        if fact.allergy is not None:
            return [allergy_intolerance(sheet, fact)]
        if label == "test":
            return observations(sheet, fact)
        if label == "drug":
            requested = self._rules.drug["resource"] == "MedicationRequest"
            return [(medication_request(sheet, fact) if requested else None) or medication_statement(sheet, fact)]
        if label == "treatment":
            return [procedure(sheet, fact)]
        if fact.assertion == "absent" and self._rules.condition["negated"] == "observation":
            return [absent_observation(sheet, fact)]
        return [condition(sheet, fact)]


def _kind(item: Stated) -> str:
    return str(item.resource["resourceType"])


def _entry(resource: Resource) -> Resource:
    """PUT by an id of our own: unlike conditional create it can't race, and a rerun overwrites what it wrote."""
    return {
        "fullUrl": f"urn:uuid:{resource['id']}",
        "resource": resource,
        "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
    }


def _why_no_history(fact: Fact, not_blood: frozenset[str]) -> str | None:
    """Why a fact about someone else is no FamilyMemberHistory: that can say neither "no" nor "maybe".

    `not_blood` are the codes of relatives whose problems say nothing of the patient's.
    """
    if fact.mention.label != "problem":
        return "relative-not-problem"
    if fact.negated:
        return "relative-negated"
    if fact.doubt is not None:
        return "relative-uncertain"
    codes = [relative.coding.code for relative in fact.relatives if relative.coding is not None]
    if fact.relatives and not codes:
        return "relative-unknown"
    return "relative-not-blood" if codes and not_blood.issuperset(codes) else None


def _failure(note: Note, findings: Sequence[Finding]) -> Failure:
    """What is wrong with a resource: path and rule only, as a message may hold no note text."""
    message = "; ".join(f"{finding.path}: {finding.rule}, {finding.message}" for finding in findings[:3])
    return Failure(note.id, "fhir", "invalid-resource", message, kept=True)

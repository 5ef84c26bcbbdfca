"""What is said about a mention, and of whom: the assertion of i2b2 2010 and what lies beneath it.

Where several apply the strongest wins: associated_with_someone_else, hypothetical, conditional, possible, absent,
present. The values are those of https://doi.org/10.1136/amiajnl-2011-000203.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.plans import PLANS
from kiwi_fhir.normalize.context.reach import leading_line
from kiwi_fhir.normalize.text.words import Phrases, Vocabulary, load_vocabulary, plain
from kiwi_fhir.tables import ListOf, Mappings, Schema
from kiwi_fhir.types import Assertion, Coding, Modifier, Span, Term

_SCHEMA: dict[str, Schema] = {
    "fillers": ListOf(str),
    "sections": {
        "past": ListOf(str),
        "family": ListOf(str),
        "allergies": ListOf(str),
        "planned": ListOf(str),
        "vital-signs": ListOf(str),
        "assessed": ListOf(str),
        "course": ListOf(str),
        "stay": ListOf(str),
        "performed": ListOf(str),
        "stopped": ListOf(str),
    },
    "plan": PLANS,
    "uncertain": {"differential": ListOf(str), "unlikely": ListOf(str)},
    "condition": {"hypothetical": ListOf(str), "circumstance": ListOf(str)},
    "negation": {
        "stopped": ListOf(str),
        "on-hold": ListOf(str),
        "negative": ListOf(str),
        "not-performed": ListOf(str),
    },
    "interruption": {"stopped": ListOf(str), "on-hold": ListOf(str)},
}

Doubt = Literal["possible", "differential", "unlikely"]
Condition = Literal["hypothetical", "conditional", "circumstance"]
Interruption = Literal["stopped", "on-hold"]
NegationKind = Literal["stopped", "on-hold", "negative", "not-performed"]

_LINK = r"(?:taking|the|his|her|their|home|any|all|use of|treatment with)"
_NOT = re.compile(r"(?:\bnot|n't|\bnever|\bif|\bshould|\bwithout)\b[^.;:\n]*$", re.IGNORECASE)
_AUXILIARY = r"(?:was|were|is|are|has been|have been|had been|is being|being|will be|to be|be)"
_TAKING = r"(?:taking|using|giving|the|following|these|this|your|his|her|all|home|of)"
_DRUGS = r"(?:medications?|medicines?|meds|drugs?|treatments?)"
_JOINT = re.compile(r"\s*(?:,|/|\band\b|\bor\b|&)\s*")


@dataclass(frozen=True, slots=True)
class Assertions:
    """The words of assertion.toml and relationships.toml."""

    past_sections: frozenset[str]
    family_sections: frozenset[str]
    vital_sections: frozenset[str]
    stopped_sections: frozenset[str]
    uncertain: Phrases
    conditions: Phrases
    negation: Phrases
    interruptions: Mapping[str, Interruption]
    before: re.Pattern[str]
    after: re.Pattern[str]
    labels: re.Pattern[str]
    relationships: Vocabulary
    patient: frozenset[str]
    family: Coding | None

    def doubt(self, text: str) -> Doubt:
        """What an `uncertain` modifier says."""
        found = self.uncertain.find(text)
        return "differential" if found == "differential" else "unlikely" if found == "unlikely" else "possible"

    def condition(self, text: str) -> Condition:
        """What a `condition` modifier says; a circumstance ("on exertion") is of a problem that is there."""
        return cast("Condition | None", self.conditions.find(text)) or "conditional"

    def negation_kind(self, text: str) -> NegationKind | None:
        """What a `negation` modifier says more than "no": a key of assertion.toml's [negation], else None."""
        return cast("NegationKind | None", self.negation.find(text))

    def relatives(self, modifier: Modifier, text: str, *, family: bool) -> list[Term]:
        """The relatives that a `subject` modifier names: none when it is the patient after all.

        Words that name nobody known are a family member where `family` says that it must be one, else without code.
        """
        if plain(text) in self.patient:
            return []
        whole = self.relationships.find(text)
        parts = [whole] if whole is not None else [self.relationships.find(part) for part in _JOINT.split(text)]
        known = [coding for coding in parts if coding is not None]
        if len(known) < len(parts):
            return [Term(modifier, text, self.family if family else None)]
        return [Term(modifier, text, coding) for coding in known]

    def interruption(self, text: str, mention: Span, structure: Structure) -> Interruption | None:
        """Whether words beside or over the mention say that it was stopped or held: "stopped her aspirin", "was held".

        They stand in its sentence or list item, or are the label before it, its heading or the line that leads its list
        ("STOP taking: aspirin", "Discontinued medications:").
        """
        sentence = structure.sentence_at(mention.start)
        start, end = max(sentence.start, mention.start - 60), min(sentence.end, mention.end + 40)
        found = self.before.search(text, start, mention.start)
        if found is not None and not _NOT.search(text, start, found.start()):
            return self.interruptions[plain(found["verb"])]
        found = self.after.match(text, mention.end, end)
        if found is not None and not _NOT.search(text, start, mention.start):
            return self.interruptions[plain(found["verb"])]
        for label in _labels(text, mention.start, structure):
            found = self.labels.fullmatch(text, *label)
            if found is not None:
                return self.interruptions[plain(found["verb"] or found["last"])]
        return None


def _labels(text: str, at: int, structure: Structure) -> Iterator[tuple[int, int]]:
    """Where what stands over the mention at `at` starts and ends: its label, the line over its list, its heading."""
    answer = structure.answer_at(at)
    if answer is not None and answer.label.end <= at:
        yield answer.label.start, answer.label.end
    sentence = structure.sentence_at(at)
    colon = text.rfind(":", sentence.start, at)
    if answer is None and colon >= 0 and ";" not in text[colon:at]:
        yield sentence.start, colon
    lead = leading_line(text, structure, at)
    if lead is not None:
        yield lead.start, lead.end
    section = structure.section_at(at)
    if section is not None:
        yield section.name.start, section.name.end


def strongest(
    *, relative: bool, condition: Literal["hypothetical", "conditional"] | None, doubt: Doubt | None, negated: bool
) -> Assertion:
    """The i2b2 value of all that applies."""
    if relative:
        return "associated_with_someone_else"
    if condition is not None:
        return condition
    if doubt is not None:
        return "possible"
    return "absent" if negated else "present"


def load_assertions(mappings: Mappings) -> Assertions:
    """assertion.toml and relationships.toml. Raises MappingError."""
    table = mappings.table("assertion", _SCHEMA)
    mappings.check_sections("assertion", {f"sections.{key}": kinds for key, kinds in table["sections"].items()})
    people = mappings.table("relationships")
    relationships = load_vocabulary("relationships", mappings, {"patient": ListOf(str), "not_blood": ListOf(str)})
    for index, code in enumerate(people["not_blood"]):
        if code not in people["codes"]:
            mappings.refuse("relationships", ("not_blood", index), f"the code '{code}' is not under [codes]")
    fillers = table["fillers"]
    sections = {kind: frozenset(names) for kind, names in table["sections"].items()}
    kinds: dict[str, Interruption] = {}
    interruption: Mapping[Interruption, Iterable[str]] = table["interruption"]
    for kind, verbs in interruption.items():
        kinds.update({plain(verb): kind for verb in verbs})
    verbs = _any_of(kinds)
    labels = _any_of(verb for verb in kinds if verb != "d/c")  # "D/C medications" are those at discharge
    return Assertions(
        past_sections=sections["past"],
        family_sections=sections["family"],
        vital_sections=sections["vital-signs"],
        stopped_sections=sections["stopped"],
        uncertain=Phrases.of(table["uncertain"], fillers),
        conditions=Phrases.of(table["condition"], fillers),
        negation=Phrases.of(table["negation"], fillers),
        interruptions=kinds,
        before=re.compile(rf"\b(?P<verb>{verbs})(?:\s+{_LINK})*(?:\s*:)?\s+(?:{_LINK}\s+)*$", re.IGNORECASE),
        after=re.compile(
            rf"(?:\s+{_AUXILIARY}\s+(?:\w+ly\s+)?|\s*[,(–-]\s*(?=\w+(?:ed|eld|'d)\b))(?P<verb>{verbs})\b",
            re.IGNORECASE,
        ),
        labels=re.compile(
            rf"\W*(?:please\s+)?(?:(?P<verb>{labels})(?:\s+{_TAKING})*(?:\s+{_DRUGS})?"
            rf"|(?:[\w ,'-]{{0,40}}\s)?{_DRUGS}\s+(?:(?:that|which|you|were|was|to|be|should|are)\s+)*"
            rf"(?P<last>{labels})(?:\s+taking)?)(?:\s+(?:at|on)\s+discharge|\s+today)?",
            re.IGNORECASE,
        ),
        relationships=relationships,
        patient=frozenset(plain(word) for word in people["patient"]),
        family=relationships.codings.get("FAMMEMB"),
    )


def _any_of(verbs: Iterable[str]) -> str:
    return "|".join(sorted((re.escape(verb) for verb in verbs), key=len, reverse=True))

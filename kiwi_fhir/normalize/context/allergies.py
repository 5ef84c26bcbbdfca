"""What the patient is allergic to, how that showed, and statements that there are no allergies.

Under allergies a drug is a substance that is not taken; elsewhere only what stands behind "allergic to" is one. A drug
with a frequency or dose is no allergy even there: the header that ended the section was not seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.no_allergies import NoAllergies, load_no_allergies
from kiwi_fhir.normalize.context.reactions import LIST, SOME, Reactions, is_substance, load_reactions
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.normalize.text.words import plain
from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema
from kiwi_fhir.types import Fact, Mention, MentionLabel, Span

# "ACE inhibitors may have caused a cough"
_MAY_CAUSE = re.compile(
    r"[\s,(]+(?:which\s+|that\s+)?(?:(?:may|might|could)\s+(?:have\s+)?|possibly\s+|perhaps\s+)(?:caused?|given|led)\b"
)
_SCHEMA: dict[str, Schema] = {
    "system": str,
    "none": MapOf({"display": str, "words": ListOf(str)}),
    "header": {"none": ListOf(str), "any": str, "of": MapOf(ListOf(str))},
    "cues": {
        "allergy": ListOf(str),
        "intolerance": ListOf(str),
        "weak": ListOf(str),
        "sensitive": ListOf(str),
        "behind": ListOf(str),
        "denied": ListOf(str),
        "denied_behind": ListOf(str),
        "doubt_behind": ListOf(str),
        "except": ListOf(str),
        "doubt": ListOf(str),
        "unless": ListOf(str),
        "tolerated": ListOf(str),
        "taken": ListOf(str),
    },
    "reaction": {"one": ListOf(str), "many": ListOf(str), "from": ListOf(str)},
    "words": {"generic": ListOf(str)},
    "substances": {"food": ListOf(str), "environment": ListOf(str), "medication": ListOf(str)},
}

Category = Literal["food", "medication", "environment", "biologic"]

_THESE = re.compile(r"^(?:(?:a|an|the|these|those|this|any|all|all other|other|her|his|known|some|certain)\s+)+")
_AND = re.compile(r"\s*(?:/|&|(?:,\s*)?(?:and|or)\b)\s*")
_DOSED = frozenset({"frequency", "dosage", "duration"})
# Bounds that no real sentence reaches keep the time linear: characters before a cue, mentions of a list.
_REACH, _LONGEST_LIST = 200, 30
_HINTS = ("allerg", "nkda", "nka", "intoleran", "tolerate", "sensitiv", "anaphyla", "reaction", "reacts to")
# Of whom "is sensitive to" is said, right before it: an organism is sensitive to what it dies of.
_PATIENT = re.compile(
    r"(?<!\w)(?:patient|pt|he|she|they|i|child|infant|boy|girl|man|woman|(?:mr|mrs|ms)\.?\s+[\w'-]+)\s+"
    r"(?:(?:is|was|are|has|been|be|being|also|very|quite|highly|extremely|known|to|reports|a|some|history|of)\s+)*$"
)
_OTHERS = r"(?:\s+(?:is|was|has|had|have|are|also|both|severely|highly|an?|known|severe|history|of|with)\b)*\s*$"


@dataclass(frozen=True, slots=True)
class Allergies:
    """The words of allergies.toml."""

    sections: frozenset[str]
    none: NoAllergies
    cue: re.Pattern[str]
    cue_before: re.Pattern[str]
    weak: re.Pattern[str]
    sensitive: re.Pattern[str]
    intolerance: re.Pattern[str]
    behind: re.Pattern[str]
    denied: re.Pattern[str]
    denied_behind: re.Pattern[str]
    doubt_behind: re.Pattern[str]
    exception: re.Pattern[str]
    others: re.Pattern[str]
    others_behind: re.Pattern[str]
    doubt: re.Pattern[str]
    unless: re.Pattern[str]
    tolerated: re.Pattern[str]
    taken: re.Pattern[str]
    reactions: Reactions
    generic: frozenset[str]
    substances: tuple[tuple[Category, re.Pattern[str]], ...]

    def resolve(self, text: str, lowered: str, structure: Structure, facts: list[Fact]) -> list[Fact]:
        """`facts` with what is said of allergies, and a fact for each statement of none that no mention covers.

        `lowered` is the note's `text` in lower case, `structure` its structure.
        """
        listed = any(fact.mention.section in self.sections for fact in facts)
        if not listed and not any(hint in lowered for hint in _HINTS):
            return facts
        facts = list(facts)
        extra = self.none.state(text, lowered, structure, facts)
        cued = self.cue.search(lowered) is not None
        for index, fact in enumerate(facts):
            if fact.allergy is None and fact.assertion != "associated_with_someone_else":
                facts[index] = self._substance(lowered, facts, index, structure, cued=cued)
                if fact.mention.rule and fact.mention.label != "test" and facts[index].allergy is None:
                    facts[index] = replace(fact, allergy="other")  # a name beside a cue that is not of the list
        if any(map(is_substance, facts)):
            self.reactions.react(lowered, facts, structure)
        for index, fact in enumerate(facts):
            if (
                fact.allergy is None
                and fact.mention.section in self.sections
                and not self._is_taken(lowered, fact, structure)
            ):
                facts[index] = replace(fact, allergy="other")
        return sorted((*facts, *extra), key=lambda fact: fact.mention.span) if extra else facts

    def _substance(self, lowered: str, facts: list[Fact], index: int, structure: Structure, *, cued: bool) -> Fact:
        """The fact as a substance where it is one; the words of the cue itself become no resource.

        `cued` says that the note has a cue at all.
        """
        fact = facts[index]
        mention = fact.mention
        listed = mention.section in self.sections
        sentence = structure.sentence_at(mention.span.start)
        start, end = sentence.start, sentence.end
        behind = self._is_named(lowered, facts, index, end)
        if mention.label == "test" or not (listed or cued or behind):
            return fact
        words = _THESE.sub("", plain(fact.text))
        at = _list_start(lowered, facts, index, start)
        start = max(start, at - _REACH)
        cue = self.cue_before.search(lowered, start, at)
        if words in self.generic:
            later = self.cue.search(lowered, mention.span.start, min(end, mention.span.end + _REACH))
            names = listed or cue is not None or (later is not None and later.start() <= mention.span.end)
            names = names or (fact.negated and "allerg" in words)
            return replace(fact, allergy="other") if names else fact
        category = self._category(mention.label, words)
        before = lowered[start : cue.start() if cue is not None else at]
        if cue is not None and not self._is_meant(cue[0], before, category, listed=listed):
            cue, before = None, lowered[start:at]
        said = cue is not None or behind
        stands = listed and category is not None and not _is_dosed(fact) and not self.taken.search(before)
        if not (said or stands):
            return fact
        if said and (self.unless.search(before) or self._is_anothers(lowered, before, mention.span, end)):
            return replace(fact, allergy="other")
        excepted = max((found.end() for found in self.exception.finditer(lowered, start, at)), default=start)
        before = lowered[excepted : max(excepted, cue.start() if cue is not None else at)]
        denied = self.denied.search(before) is not None or self._is_negated(mention, cue, excepted)
        denied = denied or self.denied_behind.match(lowered, mention.span.end, end) is not None
        denied = denied or (not said and self.tolerated.search(before) is not None)
        if denied and cue is not None and self.weak.match(cue[0]):
            return replace(fact, allergy="other")  # "no reaction to contrast" speaks of one time
        doubted = self.doubt.search(before) or self.doubt_behind.match(lowered, mention.span.end, end)
        doubted = doubted or _MAY_CAUSE.match(lowered, mention.span.end, end)
        intolerant = cue is not None and self.intolerance.match(cue[0]) is not None
        return replace(
            fact,
            allergy="intolerance" if intolerant else "substance",
            allergy_category=category,
            negated=denied,
            doubt="possible" if doubted and not denied else None,
            assertion="absent" if denied else "possible" if doubted else "present",
            # "Possible aspirin allergy" is no plan, and "she is sensitive to codeine" speaks of no organism.
            frame=None if fact.frame in ("considered", "susceptibility") else fact.frame,
        )

    def _is_named(self, lowered: str, facts: Sequence[Fact], index: int, end: int) -> bool:
        """Whether a known substance is followed by "allergy", or it and others by "allergies"."""
        fact = facts[index]
        known = fact.mention.label == "drug" or any(p.fullmatch(plain(fact.text)) for _, p in self.substances)
        if not known or fact.mention.label == "test":
            return False
        at, several = fact.mention.span.end, False
        for other in facts[index + 1 : index + _LONGEST_LIST]:
            if not _AND.fullmatch(lowered, at, other.mention.span.start):
                break
            at, several = other.mention.span.end, True
        found = self.behind.match(lowered, at, end)
        return found is not None and (not several or found[0].endswith("allergies"))

    def _is_meant(self, cue: str, before: str, category: Category | None, *, listed: bool) -> bool:
        """Whether a cue speaks of an allergy: "sensitive to" only of the patient, "reaction to" only of a substance."""
        if self.sensitive.match(cue):
            return listed or (category is not None and _PATIENT.search(before) is not None)
        return category is not None or not (self.weak.match(cue) or "tolerate" in cue)

    def _is_anothers(self, lowered: str, before: str, span: Span, end: int) -> bool:
        """Whether a relative right before the cue, or behind "allergy in", has the allergy."""
        return bool(self.others.search(before) or self.others_behind.match(lowered, span.end, end))

    def _is_negated(self, mention: Mention, cue: re.Match[str] | None, excepted: int) -> bool:
        """Whether a negation is of the substance: not one of an intolerance ("did not tolerate") or before "except"."""
        for held in mention.modifiers:
            if held.label != "negation" or (held.span.end <= mention.span.start and held.span.start < excepted):
                continue
            if cue is None or held.span.end <= cue.start() or held.span.start >= cue.end():
                return True
        return False

    def _is_taken(self, lowered: str, fact: Fact, structure: Structure) -> bool:
        """Whether a drug under allergies is one that is taken."""
        start, end = structure.sentence_at(fact.mention.span.start).start, fact.mention.span.start
        found = fact.mention.label == "drug" and self.taken.search(lowered, max(start, end - _REACH), end) is not None
        return found or _is_dosed(fact)

    def _category(self, label: MentionLabel, words: str) -> Category | None:
        if label == "drug":  # "fish oil" is no fish
            return next((kind for kind, pattern in self.substances if pattern.fullmatch(words)), "medication")
        return next((kind for kind, pattern in self.substances if pattern.search(words)), None)


def load_allergies(mappings: Mappings) -> Allergies:
    """allergies.toml with the headers of sections.toml. Raises MappingError."""
    table: dict[str, Any] = mappings.table("allergies", _SCHEMA)
    cues, reaction = table["cues"], table["reaction"]
    sections = frozenset(mappings.table("assertion")["sections"]["allergies"])
    cue = any_of([*cues["allergy"], *cues["intolerance"], *cues["weak"], *cues["sensitive"]])
    besides = any_of(cues["except"])
    named = rf"(?<!\w)(?:nkda|nka|allerg(?:y|ies|ic))\b(?:\s+\w+){{0,4}}[\s,]*{besides}(?:\s+(?:for|to))?"
    people = mappings.table("relationships")["codes"].values()
    relatives = any_of(words.lower() for entry in people for words in entry["words"])
    return Allergies(
        sections=sections,
        none=load_no_allergies(mappings, table, sections, besides),
        cue=re.compile(rf"(?:{cue}|{named})"),
        cue_before=re.compile(rf"(?:{cue}|{named})[\s:]*{SOME}(?:use of\s+)?$"),
        weak=re.compile(any_of(cues["weak"])),
        sensitive=re.compile(any_of(cues["sensitive"])),
        intolerance=re.compile(any_of(cues["intolerance"])),
        behind=re.compile(rf"[\s-]+{any_of(cues['behind'])}(?!\s+(?:test|clinic|consult|work|evaluation|desensiti))"),
        denied=re.compile(rf"{any_of(cues['denied'])}[^.;:]{{0,40}}$"),
        denied_behind=_said_behind(cues["denied_behind"]),
        doubt_behind=_said_behind(cues["doubt_behind"]),
        exception=re.compile(any_of([*cues["except"], "but", "however", "although"])),
        others=re.compile(rf"{relatives}(?:'s)?{_OTHERS}"),
        others_behind=re.compile(rf"(?:[\s-]+(?:allergy|allergies))?\s+in\s+(?:his|her|their|the)\s+{relatives}"),
        doubt=re.compile(rf"{any_of(cues['doubt'])}[^.;,]*$"),
        unless=re.compile(rf"{any_of(cues['unless'])}[^.;]*$"),
        tolerated=re.compile(rf"{any_of(cues['tolerated'])}[^.;]*$"),
        taken=re.compile(rf"{any_of(cues['taken'])}[^.;]*$"),
        reactions=load_reactions(reaction, sections),
        generic=frozenset(plain(words) for words in table["words"]["generic"]),
        substances=tuple(
            (cast(Category, kind), re.compile(any_of(words))) for kind, words in table["substances"].items()
        ),
    )


def _said_behind(words: Sequence[str]) -> re.Pattern[str]:
    """Words behind a substance as all that is said of it, but for what showed it ("ruled out by testing")."""
    ends = r"(?=\s*(?:[.,;)]|\n|$)|\s+by\b)"
    return re.compile(rf"(?:[\s-]+(?:allergy|allergies))?\s*[,:(–-]*\s*{any_of(words)}{ends}")


def _list_start(lowered: str, facts: Sequence[Fact], index: int, start: int) -> int:
    """Where the list begins that a mention stands in: "penicillin, sulfa and codeine"."""
    at = facts[index].mention.span.start
    for _ in range(min(index, _LONGEST_LIST)):
        previous = facts[index - 1].mention.span
        if previous.start < start or not LIST.fullmatch(lowered, previous.end, at):
            break
        index, at = index - 1, previous.start
    return at


def _is_dosed(fact: Fact) -> bool:
    """Whether a drug is written as one that is taken."""
    return fact.mention.label == "drug" and any(held.label in _DOSED for held in fact.mention.modifiers)

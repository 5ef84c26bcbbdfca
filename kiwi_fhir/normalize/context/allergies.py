"""What the patient is allergic to, how that showed, and statements that there are no allergies.

Under allergies a drug is a substance that is not taken; elsewhere only what stands behind "allergic to" is one. A drug
with a frequency or dose is no allergy even there: the header that ended the section was not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from kiwi_fhir.normalize.text.sentences import Sentences
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.normalize.text.words import one_line, plain
from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema
from kiwi_fhir.types import Coding, Fact, Mention, Span

_SCHEMA: dict[str, Schema] = {
    "system": str,
    "none": MapOf({"display": str, "words": ListOf(str)}),
    "header": {"none": ListOf(str), "drug": ListOf(str), "any": str, "drugs": str},
    "cues": {
        "allergy": ListOf(str),
        "intolerance": ListOf(str),
        "behind": ListOf(str),
        "denied": ListOf(str),
        "doubt": ListOf(str),
        "unless": ListOf(str),
        "tolerated": ListOf(str),
    },
    "reaction": {"one": ListOf(str), "many": ListOf(str), "from": ListOf(str)},
    "words": {"generic": ListOf(str)},
    "substances": {"food": ListOf(str), "environment": ListOf(str), "medication": ListOf(str)},
}

Category = Literal["food", "medication", "environment", "biologic"]

_SOME = r"(?:(?:the|a|an|some|any|her|his)\s+)?"
_THESE = re.compile(r"^(?:(?:the|these|those|this|any|all|all other|other|her|his|known|some|certain)\s+)+")
_LIST = re.compile(rf"\s*(?:[,/&]|(?:,\s*)?(?:and|or)\b)\s*{_SOME}")
_DOSED = frozenset({"frequency", "dosage", "duration"})
# Bounds that no real sentence reaches keep the time linear: characters before a cue, mentions of a list.
_REACH, _LONGEST_LIST = 200, 30
_HINTS = ("allerg", "nkda", "nka", "intoleran", "tolerate", "sensitiv", "anaphyla", "reaction to", "reacts to")


@dataclass(frozen=True, slots=True)
class Allergies:
    """The words of allergies.toml."""

    sections: frozenset[str]
    codes: Mapping[str, Coding]
    none: re.Pattern[str]
    header: re.Pattern[str]
    drug_header: re.Pattern[str]
    no_known: tuple[Coding, Coding]
    cue: re.Pattern[str]
    cue_before: re.Pattern[str]
    intolerance: re.Pattern[str]
    behind: re.Pattern[str]
    denied: re.Pattern[str]
    doubt: re.Pattern[str]
    unless: re.Pattern[str]
    tolerated: re.Pattern[str]
    result: re.Pattern[str]
    source: re.Pattern[str]
    generic: frozenset[str]
    substances: tuple[tuple[Category, re.Pattern[str]], ...]

    def resolve(self, text: str, lowered: str, cut: Sentences, facts: list[Fact]) -> list[Fact]:
        """`facts` with what is said of allergies, and a fact for each statement of none that no mention covers.

        `lowered` is the note's `text` in lower case, `cut` its sentences.
        """
        listed = any(fact.mention.section in self.sections for fact in facts)
        if not listed and not any(hint in lowered for hint in _HINTS):
            return facts
        facts = list(facts)
        extra = self._statements(text, lowered, cut, facts)
        cued = self.cue.search(lowered) is not None
        for index, fact in enumerate(facts):
            if fact.allergy is None and fact.assertion != "associated_with_someone_else":
                facts[index] = self._substance(lowered, facts, index, cut, cued=cued)
        if any(map(_is_substance, facts)):
            self._react(lowered, facts, cut)
        for index, fact in enumerate(facts):
            if fact.allergy is None and fact.mention.section in self.sections and not _is_dosed(fact):
                facts[index] = replace(fact, allergy="other")
        return sorted((*facts, *extra), key=lambda fact: fact.mention.span) if extra else facts

    def _statements(self, text: str, lowered: str, cut: Sentences, facts: list[Fact]) -> list[Fact]:
        """Marks the mentions in statements of none; gives the facts of those without a mention."""
        extra: list[Fact] = []
        for span, coding in self._none(lowered, cut):
            words = one_line(span.of(text))
            inside = [i for i, fact in enumerate(facts) if _overlap(fact.mention.span, span)]
            says: dict[str, Any] = {"assertion": "absent", "negated": True, "codings": (coding,), "allergy": "none"}
            for number, index in enumerate(inside):
                facts[index] = replace(facts[index], **({"allergy": "other"} if number else {"text": words, **says}))
            if not inside:
                extra.append(Fact(Mention("problem", span, section="allergies", rule=True), words, **says))
        return extra

    def _none(self, lowered: str, cut: Sentences) -> Iterator[tuple[Span, Coding]]:
        for found in self.none.finditer(lowered):
            start, end = found.span()
            if end <= cut.around(start)[1]:  # not the "denies" of one line and the "allergies" of the next
                yield Span(start, end), self.codes[" ".join(found[0].split())]
        for found in self.header.finditer(lowered):
            drug = self.drug_header.search(found["header"]) is not None
            yield Span(*found.span("none")), self.no_known[drug]

    def _substance(self, lowered: str, facts: list[Fact], index: int, cut: Sentences, *, cued: bool) -> Fact:
        """The fact as a substance where it is one; the words of the cue itself become no resource.

        `cued` says that the note has a cue at all.
        """
        fact = facts[index]
        mention = fact.mention
        listed = mention.section in self.sections
        start, end = cut.around(mention.span.start)
        behind = mention.label == "drug" and self.behind.match(lowered, mention.span.end, end) is not None
        if mention.label == "test" or not (listed or cued or behind):
            return fact
        words = _THESE.sub("", plain(fact.text))
        at = _list_start(lowered, facts, index, start)
        start = max(start, at - _REACH)
        cue = self.cue_before.search(lowered, start, at)
        if words in self.generic:
            later = self.cue.search(lowered, mention.span.start, min(end, mention.span.end + _REACH))
            names = listed or cue is not None or (later is not None and later.start() <= mention.span.end)
            return replace(fact, allergy="other") if names else fact
        category: Category | None = "medication" if mention.label == "drug" else self._category(words)
        said = cue is not None or behind
        stands = listed and category is not None and not _is_dosed(fact)
        if not (said or stands):
            return fact
        before = lowered[start : cue.start() if cue is not None else at]
        if said and self.unless.search(before):
            return replace(fact, allergy="other")
        if said:
            denied = self.denied.search(before) is not None
        else:
            denied = bool(self.tolerated.search(before) or self.denied.search(before))
        denied = denied or fact.negated
        doubted = self.doubt.search(before) is not None
        intolerant = cue is not None and self.intolerance.match(cue[0]) is not None
        return replace(
            fact,
            allergy="intolerance" if intolerant else "substance",
            allergy_category=category,
            negated=denied,
            doubt="possible" if doubted and not denied else None,
            assertion="absent" if denied else "possible" if doubted else "present",
        )

    def _category(self, words: str) -> Category | None:
        return next((kind for kind, pattern in self.substances if pattern.search(words)), None)

    def _react(self, lowered: str, facts: list[Fact], cut: Sentences) -> None:
        """Gives substances the problems that stand with them as reactions."""
        for index, fact in enumerate(facts):
            if fact.allergy is not None or fact.mention.label != "problem" or fact.negated:
                continue
            for owner in self._owners(lowered, facts, index, cut):
                held = facts[owner]
                facts[owner] = replace(held, reactions=(*held.reactions, fact))
                facts[index] = replace(fact, allergy="reaction")

    def _owners(self, lowered: str, facts: list[Fact], index: int, cut: Sentences) -> list[int]:
        """The substances that a problem is the reaction to."""
        span = facts[index].mention.span
        start, end = cut.around(span.start)
        listed = facts[index].mention.section in self.sections
        previous = index - 1
        if previous >= 0 and facts[previous].mention.span.start >= start:
            last = facts[previous]
            gap = (last.mention.span.end, _begin(facts[index].mention, last.mention.span.end))
            if last.allergy == "reaction" and _LIST.fullmatch(lowered, *gap):
                return [i for i, fact in enumerate(facts) if last.mention in [r.mention for r in fact.reactions]]
            found = self.result.fullmatch(lowered, *gap) if _is_substance(last) else None
            if found is not None and (listed or found["mark"] or found["one"] or found["many"]):
                owners = [previous]
                while found["many"] and owners[0] and _is_substance(facts[owners[0] - 1]):
                    if not _LIST.fullmatch(
                        lowered, facts[owners[0] - 1].mention.span.end, facts[owners[0]].mention.span.start
                    ):
                        break
                    owners.insert(0, owners[0] - 1)
                return owners
        following = index + 1
        if following == len(facts) or not _is_substance(facts[following]):
            return []
        beginning = facts[following].mention.span.start
        near = beginning < end and self.source.fullmatch(lowered, span.end, beginning) is not None
        return [following] if near else []


def load_allergies(mappings: Mappings) -> Allergies:
    """allergies.toml with the headers of sections.toml. Raises MappingError."""
    table: dict[str, Any] = mappings.table("allergies", _SCHEMA)
    cues, header, reaction = table["cues"], table["header"], table["reaction"]
    for key in ("any", "drugs"):
        if header[key] not in table["none"]:
            mappings.refuse("allergies", f"header.{key}", "must be a code of [none]")
    codings = {code: Coding(table["system"], code, entry["display"]) for code, entry in table["none"].items()}
    codes = {" ".join(w.split()): codings[code] for code, entry in table["none"].items() for w in entry["words"]}
    sections = frozenset(mappings.table("assertion")["sections"]["allergies"])
    kinds = mappings.table("sections")
    headers = [words for kind in sorted(sections) for words in kinds.get(kind, {}).get("headers", ())]
    cue = any_of([*cues["allergy"], *cues["intolerance"]])
    mark = r"(?P<mark>[(\[:=–—]|-+>?|->)"
    return Allergies(
        sections=sections,
        codes=codes,
        none=re.compile(rf"{any_of(codes)}(?!\s+to\b)(?!,?\s+(?:except|other than|besides|apart|aside|but)\b)"),
        header=re.compile(
            rf"(?P<header>{any_of(headers or ['allergies'])})\s*[:\-]+\s*"
            r"(?:(?:the\s+)?(?:patient|he|she|pt)\s+)?(?:(?:has|have|is)\s+)?"
            rf"(?P<none>{any_of(header['none'])})[ \t]*(?=[.;,]|\n|$)"
        ),
        drug_header=re.compile(any_of(header["drug"])),
        no_known=(codings[header["any"]], codings[header["drugs"]]),
        cue=re.compile(cue),
        cue_before=re.compile(rf"{cue}[\s:]*{_SOME}(?:use of\s+)?$"),
        intolerance=re.compile(any_of(cues["intolerance"])),
        behind=re.compile(rf"[\s-]+{any_of(cues['behind'])}"),
        denied=re.compile(rf"{any_of(cues['denied'])}[^.;:]{{0,40}}$"),
        doubt=re.compile(rf"{any_of(cues['doubt'])}[^.;,]*$"),
        unless=re.compile(rf"{any_of(cues['unless'])}[^.;]*$"),
        tolerated=re.compile(rf"{any_of(cues['tolerated'])}[^.;]*$"),
        result=re.compile(
            rf"\s*,?\s*{mark}?\s*(?:(?P<many>{any_of(reaction['many'])})|(?P<one>{any_of(reaction['one'])}))?\s*:?\s*"
            rf"{_SOME}"
        ),
        source=re.compile(rf"\s+{any_of(reaction['from'])}\s+{_SOME}"),
        generic=frozenset(plain(words) for words in table["words"]["generic"]),
        substances=tuple(
            (cast(Category, kind), re.compile(any_of(words))) for kind, words in table["substances"].items()
        ),
    )


def _list_start(lowered: str, facts: Sequence[Fact], index: int, start: int) -> int:
    """Where the list begins that a mention stands in: "penicillin, sulfa and codeine"."""
    at = facts[index].mention.span.start
    for _ in range(min(index, _LONGEST_LIST)):
        previous = facts[index - 1].mention.span
        if previous.start < start or not _LIST.fullmatch(lowered, previous.end, at):
            break
        index, at = index - 1, previous.start
    return at


def _begin(mention: Mention, after: int) -> int:
    """Where a mention begins with the modifiers before it ("severe rash"), behind `after`."""
    return min([mention.span.start, *(held.span.start for held in mention.modifiers if held.span.start >= after)])


def _is_substance(fact: Fact) -> bool:
    return fact.allergy in ("substance", "intolerance") and not fact.negated


def _is_dosed(fact: Fact) -> bool:
    """Whether a drug is written as one that is taken."""
    return fact.mention.label == "drug" and any(held.label in _DOSED for held in fact.mention.modifiers)


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end

"""How an allergy shows: the problems that stand with a substance ("codeine - nausea") are its reactions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.types import Fact, Mention

SOME = r"(?:(?:the|a|an|some|any|her|his)\s+)?"
#: Between two items of a list: "penicillin, sulfa and codeine".
LIST = re.compile(rf"\s*(?:[,/&]|(?:,\s*)?(?:and|or)\b)\s*{SOME}")


@dataclass(frozen=True, slots=True)
class Reactions:
    """The words of allergies.toml [reaction]."""

    sections: frozenset[str]
    result: re.Pattern[str]
    source: re.Pattern[str]

    def react(self, lowered: str, facts: list[Fact], structure: Structure) -> None:
        """Gives substances the problems that stand with them as reactions."""
        for index, fact in enumerate(facts):
            if fact.allergy is not None or fact.mention.label != "problem" or fact.negated:
                continue
            for owner in self._owners(lowered, facts, index, structure):
                held = facts[owner]
                facts[owner] = replace(held, reactions=(*held.reactions, fact))
                facts[index] = replace(fact, allergy="reaction")

    def _owners(self, lowered: str, facts: list[Fact], index: int, structure: Structure) -> list[int]:
        """The substances that a problem is the reaction to."""
        span = facts[index].mention.span
        sentence = structure.sentence_at(span.start)
        start, end = sentence.start, sentence.end
        listed = facts[index].mention.section in self.sections
        previous = index - 1
        if previous >= 0 and facts[previous].mention.span.start >= start:
            last = facts[previous]
            gap = (last.mention.span.end, _begin(facts[index].mention, last.mention.span.end))
            if last.allergy == "reaction" and LIST.fullmatch(lowered, *gap):
                return [i for i, fact in enumerate(facts) if last.mention in [r.mention for r in fact.reactions]]
            found = self.result.fullmatch(lowered, *gap) if is_substance(last) else None
            if found is not None and (listed or found["mark"] or found["one"] or found["many"]):
                owners = [previous]
                while found["many"] and owners[0] and is_substance(facts[owners[0] - 1]):
                    if not LIST.fullmatch(
                        lowered, facts[owners[0] - 1].mention.span.end, facts[owners[0]].mention.span.start
                    ):
                        break
                    owners.insert(0, owners[0] - 1)
                return owners
        following = index + 1
        if following == len(facts) or not is_substance(facts[following]):
            return []
        beginning = facts[following].mention.span.start
        near = beginning < end and self.source.fullmatch(lowered, span.end, beginning) is not None
        return [following] if near else []


def load_reactions(reaction: Mapping[str, Sequence[str]], sections: frozenset[str]) -> Reactions:
    """From [reaction] of allergies.toml and the kinds of section that are of allergies."""
    mark = r"(?P<mark>[(\[:=–—]|-+>?|->)"
    return Reactions(
        sections=sections,
        result=re.compile(
            rf"(?:[\s-]+(?:allergy|allergies|intolerance))?\s*,?\s*{mark}?\s*"
            rf"(?:(?P<many>{any_of(reaction['many'])})|(?P<one>{any_of(reaction['one'])}))?\s*:?\s*{SOME}"
        ),
        source=re.compile(rf"\s+{any_of(reaction['from'])}\s+{SOME}"),
    )


def is_substance(fact: Fact) -> bool:
    """Whether the patient is allergic to it, or does not tolerate it."""
    return fact.allergy in ("substance", "intolerance") and not fact.negated


def _begin(mention: Mention, after: int) -> int:
    """Where a mention begins with the modifiers before it ("severe rash"), behind `after`."""
    return min([mention.span.start, *(held.span.start for held in mention.modifiers if held.span.start >= after)])

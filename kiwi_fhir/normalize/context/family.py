"""Whose problem it is: the relative beside a problem, under family history and where a sentence says it outright."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Mention, Modifier, Span

_POSSESSIVE = r"(?:(?:his|her|their|the|a|an|one|two|both|patient's)\s+){0,2}"
# Between relatives who are named together: "mother and maternal aunt", "father & brother".
_TOGETHER = re.compile(rf"\s*(?:,|&|/|and|,\s*and|or)\s*{_POSSESSIVE}")
_ITEMS = re.compile(r"\s*(?:[,/&]|(?:,\s*)?(?:and|or)\b)\s*(?:[a-z'-]+\s+){0,2}")
_JOINED = re.compile(r"\s*(?:[/&]|(?:and|or)\b)\s*(?:[a-z'-]+\s+){0,2}")
_HEADER = re.compile(r"\s+(?:\w+\s+)?(?:history|hx)\s*:")
# Bounds that no real sentence reaches keep the time linear: characters to a relative, mentions of a list.
_REACH, _LONGEST_LIST = 300, 30


@dataclass(frozen=True, slots=True)
class Family:
    """The words of relatives and how they stand to a problem."""

    relatives: re.Pattern[str]
    behind: re.Pattern[str]
    has: re.Pattern[str]
    history: re.Pattern[str]
    patient: frozenset[str]
    sections: frozenset[str]

    def find(
        self, text: str, mentions: Sequence[Mention], structure: Structure, *, everywhere: bool
    ) -> Iterator[tuple[int, Modifier]]:
        """The `subject` modifiers that problems lack, with the problem's index.

        `text` is in lower case; outside family history relatives are only looked for where `everywhere` says so.
        """
        listed = [mention.section in self.sections for mention in mentions]
        if not everywhere and not any(listed):
            return
        relatives: list[Span] | None = None
        starts: list[int] = []
        for index, mention in enumerate(mentions):
            if mention.label != "problem" or any(held.label == "subject" for held in mention.modifiers):
                continue
            if relatives is None:
                relatives = [Span(*found.span()) for found in self.relatives.finditer(text)]
                if not relatives:
                    return
                starts = [span.start for span in relatives]
            sentence = structure.sentence_at(mention.span.start)
            start, end = sentence.start, sentence.end
            low, high = max(start, mention.span.start - _REACH), min(end, mention.span.end + _REACH)
            near = relatives[bisect_left(starts, low) : bisect_left(starts, high)]
            if listed[index]:
                near = [span for span in near if not _HEADER.match(text, span.end)]
            if not near:
                continue
            chosen = (
                self._listed(text, mentions, index, near)
                if listed[index]
                else self._said(text, mentions, index, near, start)
            )
            for span in chosen:
                yield index, Modifier("subject", span, rule=True)

    def _listed(self, text: str, mentions: Sequence[Mention], index: int, near: Sequence[Span]) -> list[Span]:
        """Under family history: the relatives right behind the problem (or its list), else the nearest before it."""
        last = index
        for _ in range(_LONGEST_LIST):
            found = self.behind.match(text, mentions[last].span.end)
            first = next((span for span in near if found is not None and span.start == found.end()), None)
            if first is not None:
                return _together(text, near, first, 1)
            following = last + 1
            if following >= len(mentions) or mentions[following].label != "problem":
                break
            if not _ITEMS.fullmatch(text, mentions[last].span.end, mentions[following].span.start):
                break
            last = following
        before = [span for span in near if span.end <= mentions[index].span.start]
        if not before:
            return []
        return _together(text, near, before[-1], -1)

    def _said(self, text: str, mentions: Sequence[Mention], index: int, near: Sequence[Span], start: int) -> list[Span]:
        """Elsewhere: a relative of whom the text says no more than that they have it, or "family history of"."""
        at = mentions[index].span.start
        # Not over a comma: in "family history of stroke, gout" the gout may be the patient's.
        for _ in range(min(index, _LONGEST_LIST)):
            if not _JOINED.fullmatch(text, mentions[index - 1].span.end, at):
                break
            index -= 1
            at = mentions[index].span.start
        found = self.history.search(text, max(start, at - 80), at)
        named = [span for span in near if found is not None and found.start() <= span.start < found.end()]
        if named:
            return named[-1:]
        before = [span for span in near if span.end <= at and span.of(text) not in self.patient]
        if not before or not self.has.fullmatch(text, before[-1].end, at):
            return []
        return _together(text, near, before[-1], -1)


def load_family(rule: Mapping[str, Any], mappings: Mappings) -> Family:
    """The [subject] table of context.toml with the relatives of relationships.toml. Raises MappingError."""
    people = mappings.table("relationships")
    words = {" ".join(word.lower().split()) for entry in people["codes"].values() for word in entry["words"]}
    words -= {"maternal", "paternal", "familial"}
    gap = rf"(?:\s+{any_of(map(str.lower, rule['between']))})*"
    return Family(
        relatives=re.compile(any_of(words)),
        behind=re.compile(rf"\s*(?:\(\s*|[-–]\s*|,?\s*{any_of(map(str.lower, rule['behind']))}\s+){_POSSESSIVE}"),
        has=re.compile(rf"\s+(?:(?:who|also|reportedly)\s+)*{any_of(map(str.lower, rule['has']))}{gap}\s+"),
        history=re.compile(rf"{any_of(map(str.lower, rule['family']))}{gap}\s+$"),
        patient=frozenset(map(str.lower, rule["patient"])),
        sections=frozenset(mappings.table("assertion")["sections"]["family"]),
    )


def _together(text: str, near: Sequence[Span], span: Span, step: int) -> list[Span]:
    """`span` with the relatives named together with it, in the direction of `step`."""
    found = [span]
    index = near.index(span) + step
    while 0 <= index < len(near):
        first, second = (near[index], found[-1]) if step < 0 else (found[-1], near[index])
        if not _TOGETHER.fullmatch(text, first.end, second.start):
            break
        found.append(near[index])
        index += step
    return sorted(found)

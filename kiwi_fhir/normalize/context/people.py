"""Whose it is: the person beside a mention, under family history and where a sentence says it outright."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.phrases import expanded
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Mention, Modifier, Span

_POSSESSIVE = r"(?:(?:his|her|their|the|a|an|one|two|both|patient's|my|your|another)\s+){0,2}"
# Between relatives who are named together: "mother and maternal aunt", "father & brother".
_TOGETHER = re.compile(rf"\s*(?:,|&|/|and|,\s*and|or)\s*{_POSSESSIVE}")
_ITEMS = re.compile(r"\s*(?:[,/&]|(?:,\s*)?(?:and|or)\b)\s*(?:[a-z'-]+\s+){0,2}")
_JOINED = re.compile(r"\s*(?:[/&]|(?:and|or)\b)\s*(?:[a-z'-]+\s+){0,2}")
_LISTED = re.compile(r"\s*(?:[,/&]|(?:,\s*)?(?:and|or)\b)\s*(?:(?:also\s+)?(?:has|had|with)\s+)?(?:an?\s+)?")
_OWNERS = re.compile(r"(?:(?:his|her|their|the|my|your|patient's)\s+)*")
_HEADER = re.compile(r"\s+(?:\w+\s+)?(?:history|hx)\s*:")
# "Brought in by his brother with confusion": what comes with the patient is the patient's.
_BROUGHT = re.compile(rf"\bby\s+{_POSSESSIVE}$")
_WITH = re.compile(r"\s+with\b")
# "Father: MI at 52, HTN", "Donor was CMV positive with hepatitis C": all of a sentence that begins so is theirs, as far
# as another one is named.
_LED = re.compile(r"\W*$")
_LABEL = re.compile(r"\s*(?:\([^()\n]{1,20}\)\s*)?:")
_PRONOUN = re.compile(r"\b(?:he|she|his|her|they|patient|pt|recipient|child|baby|we|i|our|who)\b")
# "This violin teacher", "a 54-year-old teacher": the patient.
_THIS = re.compile(r"(?:\bthis|\byear\s?-?\s?old)\s+(?:[\w-]+\s+){0,3}$")
_SEVERAL = re.compile(r"\b(?:two|three|four|several|many|other|\d+)\s+(?:\w+\s+)?$")
_OWN = re.compile(r"(?:\b(?:his|her|their|my|your|patient's|pt's|whose)\s+(?:\w+\s+)?)$")
# Bounds that no real sentence reaches keep the time linear: characters to a person, mentions of a list.
_REACH, _LONGEST_LIST = 300, 30


@dataclass(frozen=True, slots=True)
class People:
    """The words of relatives and other persons, and how they stand to a mention."""

    anyone: re.Pattern[str]
    relatives: re.Pattern[str]
    behind: re.Pattern[str]
    within: re.Pattern[str]
    label: re.Pattern[str]
    has: re.Pattern[str]
    owns: re.Pattern[str]
    unowned: re.Pattern[str]
    history: re.Pattern[str]
    opening: re.Pattern[str]
    patient: frozenset[str]
    offspring: frozenset[str]
    strangers: frozenset[str]
    reports: re.Pattern[str]
    sections: frozenset[str]

    def find(
        self, text: str, mentions: Sequence[Mention], structure: Structure, *, everywhere: bool
    ) -> Iterator[tuple[int, Modifier]]:
        """The persons of whom mentions are said, as `subject` modifiers, with the mention's index.

        `text` is in lower case. A problem for which the model found one gets none. Outside family history persons are
        only looked for where `everywhere` says so.
        """
        listed = [mention.section in self.sections for mention in mentions]
        if not everywhere and not any(listed):
            return
        spans: list[Span] | None = None
        starts: list[int] = []
        for index, mention in enumerate(mentions):
            if any(held.label == "subject" for held in mention.modifiers) or not (everywhere or listed[index]):
                continue
            if spans is None:
                spans = [Span(*found.span()) for found in self.anyone.finditer(text)]
                if not spans:
                    return
                starts = [span.start for span in spans]
            sentence = structure.sentence_at(mention.span.start)
            low = max(sentence.start, mention.span.start - _REACH)
            high = min(sentence.end, mention.span.end + _REACH)
            near = spans[bisect_left(starts, low) : bisect_left(starts, high)]
            if not near:
                continue
            if listed[index] and mention.label == "problem":
                near = [s for s in near if not _HEADER.match(text, s.end) and self.relatives.fullmatch(s.of(text))]
                chosen = self._listed(text, mentions, index, near) if near else []
            elif everywhere and not listed[index]:
                chosen = self._said(text, mentions, index, near, sentence)
            else:
                chosen = []
            for span in chosen:
                yield index, Modifier("subject", span, rule=True)

    def is_not_his(self, text: str, mentions: Sequence[Mention], index: int, mark: Modifier) -> bool:
        """Whether a `subject` mark of the model before a mention belongs to others.

        It stands in brackets behind one of them, or the mention has a person of its own: "diabetes (father), stroke
        (mother)", "Father: gout; mother: lupus". "The child" is the patient, outside family history.
        """
        mention = mentions[index]
        words = mark.span.of(text)
        if mention.section not in self.sections and words.rpartition(" ")[2] in self.patient:
            start = mark.span.start + words.rfind(" ") + 1
            others = (_OWN, _SEVERAL)
            return not any(pattern.search(text, max(0, start - 30), start) for pattern in others)
        if mark.span.end > mention.span.start:
            return False
        if self.within.match(text, mention.span.end) is not None:
            return True
        low = max(mark.span.end, mention.span.start - _REACH)
        label = next(reversed(list(self.anyone.finditer(text, low, mention.span.start))), None)
        if label is not None and (
            self.label.fullmatch(text, label.end(), mention.span.start)
            or self.has.fullmatch(text, label.end(), mention.span.start)
        ):
            return not _TOGETHER.fullmatch(text, mark.span.end, label.start())
        return any(
            (found := self.within.match(text, other.span.end)) is not None
            and found.start("who") <= mark.span.start < found.end()
            for other in mentions[max(0, index - _LONGEST_LIST) : index]
        )

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

    def _said(
        self, text: str, mentions: Sequence[Mention], index: int, near: Sequence[Span], sentence: Span
    ) -> list[Span]:
        """Elsewhere: a person of whom the text says no more than that they have it, or "family history of"."""
        at = mentions[index].span.start
        leading = self._leading(text, at, near, sentence)
        if leading is not None:
            return [leading]
        inside = [span for span in near if at <= span.start < mentions[index].span.end]
        if inside and text.startswith(("'s ", "s' "), inside[0].end) and _OWNERS.fullmatch(text, at, inside[0].start):
            return inside[:1]  # "her sister's breast cancer" as one mention
        found = self.within.match(text, mentions[index].span.end)
        if found is not None:
            named = [span for span in near if span.start == found.start("who")]
            if named:
                return _together(text, near, named[0], 1)
        start = index
        for _ in range(min(index, _LONGEST_LIST)):
            previous = mentions[start - 1].span
            if previous.start < sentence.start or not _LISTED.fullmatch(text, previous.end, at):
                break
            start -= 1
            at = mentions[start].span.start
            person = self._owner(text, near, at)
            if person:
                return person
        at = mentions[index].span.start
        person = self._owner(text, near, at)
        if person:
            return person
        # Not over a comma: in "family history of stroke, gout" the gout may be the patient's.
        joint = _LISTED if self.opening.match(text, sentence.start) else _JOINED
        for _ in range(min(index, _LONGEST_LIST)):
            if not joint.fullmatch(text, mentions[index - 1].span.end, at):
                break
            index -= 1
            at = mentions[index].span.start
        history = self.history.search(text, max(sentence.start, at - 80), at)
        named = [span for span in near if history is not None and history.start() <= span.start < history.end()]
        return named[-1:]

    def _leading(self, text: str, at: int, near: Sequence[Span], sentence: Span) -> Span | None:
        """The person that the sentence begins with, where all of it is of that one."""
        before = [span for span in near if span.end <= at]
        if len(before) != 1 or not _LED.fullmatch(text, sentence.start, before[0].start):
            return None
        first = before[0]
        words = " ".join(first.of(text).split())
        led = _LABEL.match(text, first.end) if words not in self.patient else None
        if led is None and words not in self.strangers:
            return None
        return None if _PRONOUN.search(text, first.end, at) else first

    def _owner(self, text: str, near: Sequence[Span], at: int) -> list[Span]:
        """The person before `at` who has what stands there, or whose it is."""
        before = [span for span in near if span.end <= at]
        if not before:
            return []
        person = before[-1]
        if not (
            self.has.fullmatch(text, person.end, at)
            or ((owned := self.owns.fullmatch(text, person.end, at)) and not self.unowned.search(owned["gap"]))
        ):
            return []
        before_it = max(0, person.start - 60), person.start
        if _THIS.search(text, *before_it) or (_WITH.match(text, person.end) and _BROUGHT.search(text, *before_it)):
            return []
        words = " ".join(person.of(text).split())
        if words.split()[-1] in self.patient or words in self.offspring:
            # "his son" is another one, but where a parent tells of the patient
            told = self.reports.search(text, max(0, person.start - _REACH), person.start)
            other = _OWN.search(text, max(0, person.start - 30), person.start)
            if not (other or _SEVERAL.search(text, max(0, person.start - 30), person.start)) or told is not None:
                return []
        return _together(text, near, person, -1)


def load_people(rule: Mapping[str, Any], mappings: Mappings) -> People:
    """The [subject] table of context.toml with the relatives of relationships.toml. Raises MappingError."""
    people = mappings.table("relationships")
    words = {" ".join(word.lower().split()) for entry in people["codes"].values() for word in entry["words"]}
    words -= {"maternal", "paternal", "familial", *(word for word in words if re.fullmatch(r"\w+'s", word))}
    anyone = {*words, *expanded(rule["persons"])}
    gap = rf"(?:\s+{any_of(expanded(rule['between']))})*"
    adverbs = r"(?:(?:who|that|also|reportedly|recently|just|currently|previously|possibly|both|all|each)\s+)*"
    history = rf"{any_of(expanded(rule['family']))}{gap}\s+"
    return People(
        anyone=re.compile(any_of(anyone)),
        relatives=re.compile(any_of(words)),
        behind=re.compile(rf"\s*(?:\(\s*|[-–]\s*|,?\s*{any_of(expanded(rule['behind']))}\s+){_POSSESSIVE}"),
        within=re.compile(
            rf"\s*(?:\(\s*{_POSSESSIVE}|in\s+(?:(?:both|his|her|their|the\s+patient's)\s+)+)(?P<who>{any_of(anyone)})"
        ),
        label=re.compile(r"\s*(?:[:=–-]|\(\w+\)\s*[:–-])\s*"),
        has=re.compile(rf"(?:\s+|,\s+(?=who\b)){adverbs}{any_of(expanded(rule['has']))}{gap}\s+"),
        owns=re.compile(rf"(?:'s|s'|')\s+(?:{any_of(expanded(rule['owned']))}\s+)?(?P<gap>(?:[\w-]+\s+){{0,3}})"),
        unowned=re.compile(any_of(expanded(rule["unowned"]))),
        history=re.compile(rf"{history}$"),
        opening=re.compile(rf"\W*(?:(?:strong|positive|significant|there is|has|a|he|she|also|known)\s+)*{history}"),
        patient=frozenset(expanded(rule["patient"])),
        offspring=frozenset(expanded(rule["offspring"])),
        strangers=frozenset(expanded(rule["strangers"])),
        reports=re.compile(any_of(expanded(rule["reports"]))),
        sections=frozenset(mappings.table("assertion")["sections"]["family"]),
    )


def _together(text: str, near: Sequence[Span], span: Span, step: int) -> list[Span]:
    """`span` with the persons named together with it, in the direction of `step`."""
    found = [span]
    index = near.index(span) + step
    while 0 <= index < len(near):
        first, second = (near[index], found[-1]) if step < 0 else (found[-1], near[index])
        if not _TOGETHER.fullmatch(text, first.end, second.start):
            break
        found.append(near[index])
        index += step
    return sorted(found)

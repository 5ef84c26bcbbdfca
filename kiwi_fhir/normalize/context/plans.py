"""What is still to come: drugs to be started, tests and treatments to be made; and drugs that go on or were given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.phrases import expanded
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import ListOf, Mappings, Schema
from kiwi_fhir.types import Fact, Mention

_WORDS: dict[str, Schema] = {"orders": ListOf(str), "before": ListOf(str), "after": ListOf(str)}
#: The schema of [plan] in assertion.toml.
PLANS: dict[str, Schema] = {
    "lead": ListOf(str),
    "between": ListOf(str),
    "done": ListOf(str),
    "past": ListOf(str),
    "unless": ListOf(str),
    "not": ListOf(str),
    "drug": {
        **_WORDS,
        **dict.fromkeys(("ongoing", "ongoing-after", "given", "given-after", "given-in-course"), ListOf(str)),
    },
    "test": _WORDS,
    "treatment": _WORDS,
}

Plan = Literal["planned", "ongoing", "given"]

_JOINT = re.compile(
    r"\s*(?:,?\s*(?:including|to include|such as|consisting of)\b|[,/&]|(?:,\s*)?(?:and|or)\b)"
    r"\s*(?:(?:a|an|the|her|his|one|two|three)\s+)?(?:doses?\s+of\s+)?"
)
_OF = re.compile(r"\s+(?:of\s+)?(?:iv\s+)?")
_LASTING = frozenset({"frequency", "duration"})
_REACH = 70  # characters before a mention in which its cue stands
# Bounds that no real sentence reaches keep the time linear.
_SENTENCE, _LONGEST_LIST = 300, 30


@dataclass(frozen=True, slots=True)
class _Rule:
    first: re.Pattern[str]  # an order that begins the sentence
    planned: re.Pattern[str]
    after: re.Pattern[str]
    ongoing: re.Pattern[str] | None
    ongoing_after: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class _Given:
    """A drug was given: `before` and `after` it; `course` before it in `sections`, where all that was given is over."""

    sections: frozenset[str]
    before: re.Pattern[str]
    after: re.Pattern[str]
    course: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Plans:
    """The words of [plan] in assertion.toml."""

    sections: frozenset[str]
    rules: Mapping[str, _Rule]
    given: _Given
    done: re.Pattern[str]
    past: re.Pattern[str]
    unless: re.Pattern[str]
    negated: re.Pattern[str]

    def read(self, text: str, facts: Sequence[Fact], index: int, structure: Structure) -> Plan | None:
        """What the words beside a fact's mention say; `text` is in lower case.

        A test with a result was made. Under a plan a test without one is to come, unless words say that it was made.
        """
        fact = facts[index]
        mention = fact.mention
        rule = self.rules.get(mention.label)
        over = any(_is_over(moment.date, fact) for moment in fact.moments)
        if rule is None or fact.values or fact.negated or (over and mention.label != "drug"):
            return None
        sentence = structure.sentence_at(mention.span.start)
        begin, end = sentence.start, sentence.end
        start = max(begin, mention.span.start - _SENTENCE)
        after = rule.after.match(text, _list_end(text, facts, index, end), end)
        if mention.label == "test" and after is None and self.done.match(text, mention.span.end, end):
            return None
        at = _list_start(text, facts, index, start)
        low = max(start, at - _REACH)
        if over:
            return "given" if self._is_given(text, mention, start, at, end) else None
        planned = rule.planned.search(text, low, at) or (rule.first.match(text, low, at) if low == begin else None)
        if after is not None or planned is not None:
            if planned is not None and self.negated.search(text, low, planned.end()):
                return None
            # "if pain persists, start it": neither taken nor to be taken for certain
            return None if mention.label != "test" and self.unless.search(text, start, at) else "planned"
        if mention.label == "drug":
            taken = rule.ongoing is not None and rule.ongoing.search(text, low, at) is not None
            taken = taken or (rule.ongoing_after is not None and bool(rule.ongoing_after.match(text, mention.span.end)))
            if taken:
                return "ongoing" if not self.unless.search(text, start, at) else None
            return "given" if self._is_given(text, mention, start, at, end) else None
        if mention.label == "test" and mention.section in self.sections:
            return None if fact.past or self.past.search(text, start, mention.span.start) else "planned"
        return None

    def _is_given(self, text: str, mention: Mention, start: int, at: int, end: int) -> bool:
        """Whether a drug was given and that is over: in the hospital's course, else where no words say for how long.

        `start` and `end` are those of its sentence, `at` is where its list begins.
        """
        course = mention.section in self.given.sections
        if not course and any(held.label in _LASTING for held in mention.modifiers):
            return False
        low = max(start, at - _REACH)
        before = (self.given.course if course else self.given.before).search(text, low, at)
        said = before is not None or any(
            self.given.after.match(text, place, end) for place in (mention.span.end, _end(mention, end))
        )
        return said and not self.unless.search(text, start, at) and not self.negated.search(text, start, at)


def load_plans(mappings: Mappings) -> Plans:
    """The [plan] table of assertion.toml, which load_assertions has checked."""
    assertion = mappings.table("assertion")
    table: dict[str, Any] = assertion["plan"]
    lead = rf"(?:[.;:,\n•*-]\s*|\d[.)]\s*|{any_of(table['lead'])}\s+(?:\w+ly\s+)?)"
    between = rf"(?:{any_of(table['between'])}\s+)*"
    given = table["drug"]["given"]

    def rule(words: Mapping[str, list[str]]) -> _Rule:
        ongoing, after = words.get("ongoing"), words.get("ongoing-after")
        planned = rf"(?:{lead}{any_of(expanded(words['orders']))}|{any_of(expanded(words['before']))})\s+{between}$"
        return _Rule(
            first=re.compile(rf"\s*{any_of(expanded(words['orders']))}\s+{between}$"),
            planned=re.compile(planned),
            after=re.compile(rf"\s*,?\s*{any_of(expanded(words['after']))}"),
            ongoing=re.compile(rf"{any_of(ongoing)}\s+{between}$") if ongoing else None,
            ongoing_after=re.compile(rf"\s+{any_of(after)}") if after else None,
        )

    return Plans(
        sections=frozenset(assertion["sections"]["planned"]),
        rules={label: rule(table[label]) for label in ("drug", "test", "treatment")},
        given=_Given(
            sections=frozenset(assertion["sections"]["course"]),
            before=re.compile(rf"{any_of(given)}\s+{between}$"),
            after=re.compile(rf"\s*,?\s*{any_of(table['drug']['given-after'])}"),
            course=re.compile(rf"{any_of([*given, *table['drug']['given-in-course']])}\s+{between}$"),
        ),
        done=re.compile(rf"(?:\s+\w+){{0,4}}\s+{any_of(table['done'])}"),
        past=re.compile(any_of(table["past"])),
        unless=re.compile(any_of(table["unless"])),
        negated=re.compile(any_of(table["not"])),
    )


def _is_over(date: str | None, fact: Fact) -> bool:
    return date is not None and not any(moment.future for moment in fact.moments)


def _list_start(text: str, facts: Sequence[Fact], index: int, start: int) -> int:
    """Where the list of drugs, tests and treatments begins, over the modifiers between them and before it."""
    at = _begin(text, facts[index].mention, start)
    for _ in range(min(index, _LONGEST_LIST)):
        previous = facts[index - 1].mention
        if previous.label == "problem" or previous.span.start < start:
            break
        if not _JOINT.fullmatch(text, _end(previous, at), at):
            break
        index -= 1
        at = _begin(text, facts[index].mention, start)
    return at


def _list_end(text: str, facts: Sequence[Fact], index: int, end: int) -> int:
    """Where the list of tests or treatments that a mention stands in ends: "CBC, BMP and TSH were ordered"."""
    label = facts[index].mention.label
    at = facts[index].mention.span.end
    for fact in facts[index + 1 : index + _LONGEST_LIST] if label != "drug" else ():
        span = fact.mention.span
        if fact.mention.label != label or span.end > end or not _JOINT.fullmatch(text, at, span.start):
            break
        at = span.end
    return at


def _begin(text: str, mention: Mention, start: int) -> int:
    """Where a drug begins with the modifiers right before it ("80 mg of IV furosemide"), behind `start`."""
    at = mention.span.start
    if mention.label == "drug":
        for held in reversed(mention.modifiers):
            if start <= held.span.start and held.span.end < at and _OF.fullmatch(text, held.span.end, at):
                at = held.span.start
    return at


def _end(mention: Mention, limit: int) -> int:
    """Where a mention ends with the modifiers behind it, before `limit`."""
    return max([mention.span.end, *(held.span.end for held in mention.modifiers if held.span.end <= limit)])

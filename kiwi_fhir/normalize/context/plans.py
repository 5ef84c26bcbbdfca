"""What is to come, what goes on and what was made: drugs, tests and treatments by the words beside them.

It is long since a third of it declares and checks the tables of words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kiwi_fhir.documents.headings import heading_words
from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.courses import (
    ADVERB,
    SENTENCE,
    Course,
    Place,
    Started,
    end_of,
    list_end,
    list_start,
)
from kiwi_fhir.normalize.context.phrases import expanded
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import ListOf, Mappings, Schema
from kiwi_fhir.types import Fact, Mention

_WORDS: dict[str, Schema] = {"orders": ListOf(str), "before": ListOf(str), "after": ListOf(str)}
_COURSE: dict[str, Schema] = dict.fromkeys(
    ("ongoing", "ongoing-first", "ongoing-after", "given", "given-after", "given-in-course"), ListOf(str)
)
#: The schema of [plan] in assertion.toml.
PLANS: dict[str, Schema] = {
    **dict.fromkeys(
        (
            "lead",
            "between",
            "done",
            "past",
            "unless",
            "not",
            "ahead",
            "headings",
            "alone",
            "then",
            "undone",
            "refused",
            "dropped",
        ),
        ListOf(str),
    ),
    "drug": {
        **_WORDS,
        **_COURSE,
        **dict.fromkeys(("started", "discharged", "first", "ended", "doubted", "acute", "runs"), ListOf(str)),
    },
    "test": _WORDS,
    "treatment": {**_WORDS, **_COURSE},
}

Plan = Literal["planned", "ongoing", "given"]

_BEFORE = ("ongoing", "ongoing-first", "given", "given-in-course", "started", "discharged")
_LASTING = frozenset({"frequency", "duration"})
_REACH = 70  # characters before a mention in which its cue stands
_GAP = r"(?:\s+[\w'/&-]+){0,8}?\s+"
_ITEMS = r"(?:(?:[a-z'-]+\s+)?[a-z'-]+,\s+){0,2}"  # of a list, which no mention covers
_ALONE = re.compile(r"\s*(?:$|[.,;)\n]|(?:for|until|to|and|with|x|times|as|prn)\b)")
_LINE_START = r"(?:[.;:,\n•*-]\s*|\d\s?[.)]\s*)"


@dataclass(frozen=True, slots=True)
class _Rule:
    """Orders that begin the sentence, and what says that a thing is to come."""

    first: re.Pattern[str]
    planned: re.Pattern[str]
    after: re.Pattern[str]
    lasts: frozenset[str]  # the words that those before a mention end with
    course: Course | None = None


@dataclass(frozen=True, slots=True)
class Plans:
    """The words of [plan] in assertion.toml."""

    planned: frozenset[str]
    assessed: frozenset[str]
    course: frozenset[str]
    stay: frozenset[str]
    performed: frozenset[str]
    rules: Mapping[str, _Rule]
    started: Started
    done: re.Pattern[str]
    past: re.Pattern[str]
    unless: re.Pattern[str]
    negated: re.Pattern[str]
    ahead: re.Pattern[str]
    undone: re.Pattern[str]
    dropped: re.Pattern[str]
    headings: re.Pattern[str]
    clause: re.Pattern[str]
    own: re.Pattern[str]

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
        start = max(begin, mention.span.start - SENTENCE)
        last = list_end(text, facts, index, end)
        after = rule.after.match(text, last, end)
        if mention.label == "test" and after is None and self.done.match(text, mention.span.end, end):
            return None
        at = list_start(text, facts, index, start)
        low = max(start, at - _REACH)
        behind: tuple[int, ...] = (last,)
        if mention.label == "drug" and mention.modifiers:
            behind = (mention.span.end, end_of(mention, end))
        place = Place(begin, start, low, at, behind, end)
        if over:
            return "given" if self._is_given(text, mention, rule.course, place) else None
        planned = None
        led = place.is_led(rule.lasts, text)
        if led:
            planned = place.before(rule.planned, text) or place.first(rule.first, text)
        if after is not None or planned is not None:
            if planned is not None and self.negated.search(text, low, planned.end()):
                return None
            # "if pain persists, start it": neither taken nor to be taken for certain
            return None if mention.label != "test" and self.unless.search(text, start, at) else "planned"
        if rule.course is not None:
            return self._read_course(text, mention, rule.course, place, structure, led=led)
        if mention.section in self.planned:
            return None if fact.past or self.past.search(text, start, mention.span.start) else "planned"
        return None

    def _read_course(
        self, text: str, mention: Mention, course: Course, place: Place, structure: Structure, *, led: bool
    ) -> Plan | None:
        if not course.has_cue(text, mention, place, led=led):
            return self._read_place(text, mention, place, structure)
        if course.goes_on(text, mention, place):
            return "ongoing" if not self.unless.search(text, place.start, place.at) else None
        if mention.section not in self.course and course.is_alone(text, place):
            return "ongoing"
        if mention.label == "drug":
            cue = place.before(self.started.started, text)
            discharged = place.before(self.started.discharged, text) if cue is None else None
            if cue is not None or discharged is not None:
                return self._read_started(text, mention, place, structure, cue)
        if self._is_given(text, mention, course, place):
            return "given"
        return self._read_place(text, mention, place, structure)

    def _read_place(self, text: str, mention: Mention, place: Place, structure: Structure) -> Plan | None:
        """What the section says of a mention beside which no words do."""
        if mention.section is None or mention.section in self.performed:
            section = structure.section_at(mention.span.start)
            if section is not None and self.headings.fullmatch(heading_words(section.name.of(text))):
                return None if self.ahead.search(text, place.start, place.stop) else "given"
        return self._read_item(text, mention, place, structure)

    def _is_given(self, text: str, mention: Mention, course: Course | None, place: Place) -> bool:
        """Whether it was given and that is over: in the hospital's course, else where no words say for how long."""
        inside = mention.section in self.course
        if course is None or (not inside and any(held.label in _LASTING for held in mention.modifiers)):
            return False
        return course.was_given(text, place, course=inside) and not (
            self.undone.search(text, mention.span.end, place.stop)
            or self.unless.search(text, place.start, place.at)
            or self.negated.search(text, place.start, place.at)
        )

    def _read_started(
        self, text: str, mention: Mention, place: Place, structure: Structure, cue: re.Match[str] | None
    ) -> Plan | None:
        """What became of a drug that was started (`cue`), or that the patient left with."""
        rule = self.started
        if self.unless.search(text, place.start, place.at) or self.negated.search(text, place.start, place.at):
            return None
        first = cue is not None and bool(rule.first.search(text, max(place.low, cue.start() - ADVERB), cue.end()))
        stop = place.stop
        ended = rule.ended.search(text, mention.span.end, stop)
        if ended is not None:
            over = first or ended[0] == "until" or " but " in text[mention.span.end : ended.start()]
            return "given" if over else None
        if cue is not None and mention.section in self.course and (first or rule.runs_in(text, mention)):
            return "given"  # at the end of a stay
        if place.end < structure.length:
            stop = min(structure.sentence_at(place.end).end, stop + SENTENCE)
        if rule.doubted.search(text, mention.span.end, stop) or rule.ended.search(text, mention.span.end, stop):
            return None
        known = mention.section in (*self.planned, *self.assessed)
        acute = first or not self.stay.isdisjoint(structure.kinds) or rule.is_acute(text, mention, place)
        if cue is not None and not known and acute:
            return None
        lasts = any(held.label == "duration" for held in mention.modifiers)
        inside = known or (cue is None and mention.section in (None, *self.course))
        return None if lasts and not inside else "ongoing"

    def _read_item(self, text: str, mention: Mention, place: Place, structure: Structure) -> Plan | None:
        """An item of a plan, or a drug with how often it is taken in a plan or an assessment."""
        planned = mention.section in self.planned
        if not (planned or mention.section in self.assessed):
            return None
        item = structure.item_at(mention.span.start)
        listed = planned and item is not None and not text[max(item.body.start, place.start) : place.at].strip()
        labels = {held.label for held in mention.modifiers}
        if not listed and not (mention.label == "drug" and "frequency" in labels):
            return None
        if not (listed or place.before(self.clause, text) or place.first(self.own, text)):
            return None
        section = structure.section_at(mention.span.start)
        start = place.start if section is None else max(place.start, section.body.start)
        if not _ALONE.match(text, place.behind[-1], place.end) or self.ahead.search(text, start, place.at):
            return None
        if self.dropped.search(text, mention.span.end, place.stop):
            return None
        return "planned" if planned or "duration" in labels else "ongoing"


def load_plans(mappings: Mappings) -> Plans:
    """The [plan] table of assertion.toml, which load_assertions has checked."""
    assertion = mappings.table("assertion")
    table: dict[str, Any] = assertion["plan"]
    kinds: dict[str, list[str]] = assertion["sections"]
    lead = rf"(?:{_LINE_START}|{any_of(table['lead'])}\s+(?:\w+ly\s+)?)"
    between = rf"(?:(?:{any_of(expanded(table['between']))}|\d+)\s+)*"

    def words(phrases: list[str]) -> re.Pattern[str]:
        return re.compile(any_of(expanded(phrases)))

    def before(phrases: list[str]) -> re.Pattern[str]:
        return re.compile(rf"{_phrases(phrases)}\s+{between}$")

    def behind(phrases: list[str]) -> re.Pattern[str]:
        return re.compile(rf"\s*,?\s*{any_of(expanded(phrases))}")

    def lasts(phrases: list[str]) -> frozenset[str]:
        return frozenset(phrase.split()[-1] for phrase in expanded([*phrases, *table["between"], *table["alone"]]))

    def course(words: Mapping[str, list[str]]) -> Course:
        first = rf"{any_of(expanded(words['ongoing-first']))}\s+{between}$"
        alone = rf"{any_of(expanded(table['alone']))}\s+{between}$"
        every = [phrase for key in _BEFORE for phrase in words.get(key, ())] + table["alone"]
        return Course(
            ongoing=before(words["ongoing"]),
            ongoing_first=re.compile(rf"\s*{first}"),
            ongoing_inside=re.compile(lead + first),
            ongoing_after=behind(words["ongoing-after"]),
            given=before(words["given"]),
            given_after=behind(words["given-after"]),
            in_course=before([*words["given"], *words["given-in-course"]]),
            opens=re.compile(rf"{any_of(expanded(words['ongoing-first']))}\s"),
            refused=re.compile(rf"{any_of(expanded([*table['not'], *table['refused']]))}\s+(?:[\w']+\s+){{0,2}}$"),
            alone=re.compile(rf"(?:{_LINE_START}|\(|\band\s+){alone}"),
            alone_first=re.compile(rf"\s*{alone}"),
            then=re.compile(any_of(expanded(table["then"]))),
            cues=before(every),
            cues_after=behind([*words["ongoing-after"], *words["given-after"]]),
        )

    def rule(words: Mapping[str, list[str]], *, items: str = "") -> _Rule:
        orders = rf"{any_of(expanded(words['orders']))}\s+{between}$"
        return _Rule(
            first=re.compile(rf"\s*{orders}"),
            planned=re.compile(rf"(?:{lead}{orders}|{_phrases(words['before'])}\s+{between}{items}$)"),
            after=behind(words["after"]),
            lasts=lasts([phrase for key in ("orders", "before", *_BEFORE) for phrase in words.get(key, ())]),
            course=course(words) if "ongoing" in words else None,
        )

    drug: dict[str, list[str]] = table["drug"]
    return Plans(
        planned=frozenset(kinds["planned"]),
        assessed=frozenset(kinds["assessed"]),
        course=frozenset(kinds["course"]),
        stay=frozenset(kinds["stay"]),
        performed=frozenset(kinds["performed"]),
        rules={
            "drug": rule(table["drug"]),
            "test": rule(table["test"]),
            "treatment": rule(table["treatment"], items=_ITEMS),
        },
        started=Started(
            started=before(drug["started"]),
            discharged=before(drug["discharged"]),
            first=words(drug["first"]),
            ended=words(drug["ended"]),
            doubted=words(drug["doubted"]),
            acute=words(drug["acute"]),
            runs=re.compile(rf"{any_of(expanded(drug['runs']))}\s+$"),
        ),
        done=re.compile(rf"(?:\s+\w+){{0,4}}\s+{any_of(table['done'])}"),
        past=words(table["past"]),
        unless=words(table["unless"]),
        negated=words(table["not"]),
        ahead=words(table["ahead"]),
        undone=words(table["undone"]),
        dropped=words(table["dropped"]),
        headings=words(table["headings"]),
        clause=re.compile(rf"{_LINE_START}{between}$"),
        own=re.compile(rf"\s*{between}$"),
    )


def _phrases(phrases: list[str]) -> str:
    """A pattern of these phrases; in one " ... " are up to eight words."""
    found = [any_of(expanded(whole))] if (whole := [phrase for phrase in phrases if " ... " not in phrase]) else []
    for phrase in phrases:
        if phrase not in whole:
            found.append(_GAP.join(any_of(expanded([part])) for part in phrase.split(" ... ")))
    return f"(?:{'|'.join(found)})"


def _is_over(date: str | None, fact: Fact) -> bool:
    return date is not None and not any(moment.future for moment in fact.moments)

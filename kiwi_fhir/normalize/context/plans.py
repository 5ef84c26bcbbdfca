"""What is to come, what goes on and what was made: drugs, tests and treatments by the words beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kiwi_fhir.documents.headings import heading_words
from kiwi_fhir.documents.structure import Structure
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
    **dict.fromkeys(("lead", "between", "done", "past", "unless", "not", "ahead", "headings", "alone", "then", "undone"), ListOf(str)),
    "drug": {
        **_WORDS,
        **_COURSE,
        **dict.fromkeys(("started", "discharged", "first", "ended", "doubted", "acute", "runs"), ListOf(str)),
    },
    "test": _WORDS,
    "treatment": {**_WORDS, **_COURSE},
}

Plan = Literal["planned", "ongoing", "given"]

_JOINT = re.compile(
    r"\s*(?:,?\s*(?:including|to include|such as|consisting of|as well as|along with|together with|plus)\b"
    r"|[,/&]|(?:,\s*)?(?:and(?:\s+(?:also|then))?|or)\b)"
    r"\s*(?:(?:a|an|the|her|his|one|two|three|iv|intravenous|oral|po)\s+)?(?:doses?\s+of\s+)?"
)
_WITH = re.compile(r"\s+(?:with|using)\s+(?:(?:an?|the|iv|intravenous|oral)\s+)?")  # from a treatment to what it is made with
_OF = re.compile(r"\s+(?:of\s+)?(?:iv\s+)?")
_BEFORE = ("ongoing", "ongoing-first", "given", "given-in-course", "started", "discharged")
_LASTING = frozenset({"frequency", "duration"})
_REACH = 70  # characters before a mention in which its cue stands
# Bounds that no real sentence reaches keep the time linear.
_SENTENCE, _LONGEST_LIST = 300, 30
_ADVERB = 15  # characters before a cue or drug in which a word that goes with it stands
_GAP = r"(?:\s+[\w'/&-]+){0,8}?\s+"
_ITEMS = r"(?:(?:[a-z'-]+\s+)?[a-z'-]+,\s+){0,2}"  # of a list, which no mention covers
_ALONE = re.compile(r"\s*(?:$|[.,;)\n]|(?:for|until|to|and|with|x|times|as|prn)\b)")
_LINE_START = r"(?:[.;:,\n•*-]\s*|\d\s?[.)]\s*)"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to look for the words beside a mention: in the sentence `[start, end)`, before `at`, where its list begins.

    `low` is how far back its cue may stand, `low == begin` that this is where the sentence begins; `behind` are the
    places behind it, with and without its modifiers.
    """

    begin: int
    start: int
    low: int
    at: int
    behind: tuple[int, ...]
    end: int

    def before(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        return pattern.search(text, self.low, self.at)

    def first(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        return pattern.match(text, self.low, self.at) if self.low == self.begin else None

    def after(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        return next((found for place in self.behind if (found := pattern.match(text, place, self.end))), None)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Orders that begin the sentence, and what says that a thing is to come."""

    first: re.Pattern[str]
    planned: re.Pattern[str]
    after: re.Pattern[str]
    course: _Course | None = None


@dataclass(frozen=True, slots=True)
class _Course:
    """What says that a drug or treatment goes on (`ongoing`) or was given; `in_course` in a hospital's course only."""

    ongoing: re.Pattern[str]
    ongoing_first: re.Pattern[str]
    ongoing_inside: re.Pattern[str]
    ongoing_after: re.Pattern[str]
    given: re.Pattern[str]
    given_after: re.Pattern[str]
    in_course: re.Pattern[str]

    opens: re.Pattern[str]
    refused: re.Pattern[str]
    alone: re.Pattern[str]
    alone_first: re.Pattern[str]
    then: re.Pattern[str]
    cues: re.Pattern[str]
    cues_after: re.Pattern[str]

    def has_cue(self, text: str, mention: Mention, place: _Place) -> bool:
        """Whether any words beside it say anything: few mentions have some, and this is quickly known."""
        return bool(
            place.before(self.cues, text)
            or place.after(self.cues_after, text)
            or self.opens.match(text, mention.span.start, mention.span.end)
        )

    def goes_on(self, text: str, mention: Mention, place: _Place) -> bool:
        if self.opens.match(text, mention.span.start, mention.span.end) or place.after(self.ongoing_after, text):
            return True
        for found in (
            place.before(self.ongoing, text),
            place.before(self.ongoing_inside, text),
            place.first(self.ongoing_first, text),
        ):
            if found is not None and not self.refused.search(text, place.low, found.start()):
                return True
        return False

    def is_alone(self, text: str, place: _Place) -> bool:
        """Whether it stands behind a word of `alone` that begins a clause: "asthma, on albuterol"."""
        return bool(place.before(self.alone, text) or place.first(self.alone_first, text)) and not (
            self.then.search(text, place.start, place.at) or self.then.search(text, place.behind[-1], place.end)
        )

    def was_given(self, text: str, place: _Place, *, course: bool) -> bool:
        return bool(place.before(self.in_course if course else self.given, text) or place.after(self.given_after, text))


@dataclass(frozen=True, slots=True)
class _Started:
    """A drug was started or left with: it is taken, but where the words behind it end that or raise doubts."""

    started: re.Pattern[str]
    discharged: re.Pattern[str]
    first: re.Pattern[str]
    ended: re.Pattern[str]
    doubted: re.Pattern[str]
    acute: re.Pattern[str]
    runs: re.Pattern[str]

    def runs_in(self, text: str, mention: Mention) -> bool:
        """Whether a drug is given into a vein, by its route or the word before it."""
        start = mention.span.start
        return self.runs.search(text, max(0, start - _ADVERB), start) is not None or any(
            held.label == "route" and self.runs.match(f"{held.span.of(text)} ") for held in mention.modifiers
        )


@dataclass(frozen=True, slots=True)
class Plans:
    """The words of [plan] in assertion.toml."""

    planned: frozenset[str]
    assessed: frozenset[str]
    course: frozenset[str]
    stay: frozenset[str]
    rules: Mapping[str, _Rule]
    started: _Started
    done: re.Pattern[str]
    past: re.Pattern[str]
    unless: re.Pattern[str]
    negated: re.Pattern[str]
    ahead: re.Pattern[str]
    undone: re.Pattern[str]
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
        start = max(begin, mention.span.start - _SENTENCE)
        last = _list_end(text, facts, index, end)
        after = rule.after.match(text, last, end)
        if mention.label == "test" and after is None and self.done.match(text, mention.span.end, end):
            return None
        at = _list_start(text, facts, index, start)
        low = max(start, at - _REACH)
        behind = (mention.span.end, _end(mention, end)) if mention.label == "drug" else (last,)
        place = _Place(begin, start, low, at, behind, end)
        if over:
            return "given" if self._is_given(text, mention, rule.course, place) else None
        planned = place.before(rule.planned, text) or place.first(rule.first, text)
        if after is not None or planned is not None:
            if planned is not None and self.negated.search(text, low, planned.end()):
                return None
            # "if pain persists, start it": neither taken nor to be taken for certain
            return None if mention.label != "test" and self.unless.search(text, start, at) else "planned"
        if rule.course is not None:
            return self._read_course(text, mention, rule.course, place, structure)
        if mention.section in self.planned:
            return None if fact.past or self.past.search(text, start, mention.span.start) else "planned"
        return None

    def _read_course(
        self, text: str, mention: Mention, course: _Course, place: _Place, structure: Structure
    ) -> Plan | None:
        if not course.has_cue(text, mention, place):
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

    def _read_place(self, text: str, mention: Mention, place: _Place, structure: Structure) -> Plan | None:
        """What the section says of a mention beside which no words do."""
        section = structure.section_at(mention.span.start)
        if section is not None and self.headings.fullmatch(heading_words(section.name.of(text))):
            return None if self.ahead.search(text, place.begin, min(place.end, mention.span.end + _SENTENCE)) else "given"
        return self._read_item(text, mention, place, structure)

    def _is_given(self, text: str, mention: Mention, course: _Course | None, place: _Place) -> bool:
        """Whether it was given and that is over: in the hospital's course, else where no words say for how long."""
        inside = mention.section in self.course
        if course is None or (not inside and any(held.label in _LASTING for held in mention.modifiers)):
            return False
        return course.was_given(text, place, course=inside) and not (
            self.undone.search(text, mention.span.end, min(place.end, mention.span.end + _SENTENCE))
            or self.unless.search(text, place.start, place.at) or self.negated.search(text, place.start, place.at)
        )

    def _read_started(
        self, text: str, mention: Mention, place: _Place, structure: Structure, cue: re.Match[str] | None
    ) -> Plan | None:
        """What became of a drug that was started (`cue`), or that the patient left with."""
        rule = self.started
        if self.unless.search(text, place.start, place.at) or self.negated.search(text, place.start, place.at):
            return None
        first = cue is not None and rule.first.search(text, max(place.low, cue.start() - _ADVERB), cue.end()) is not None
        stop = min(place.end, mention.span.end + _SENTENCE)
        ended = rule.ended.search(text, mention.span.end, stop)
        if ended is not None:
            over = first or ended[0] == "until" or " but " in text[mention.span.end : ended.start()]
            return "given" if over else None
        if cue is not None and mention.section in self.course and (first or rule.runs_in(text, mention)):
            return "given"  # at the end of a stay
        if place.end < structure.length:
            stop = min(structure.sentence_at(place.end).end, stop + _SENTENCE)
        if rule.doubted.search(text, mention.span.end, stop) or rule.ended.search(text, mention.span.end, stop):
            return None
        known = mention.section in (*self.planned, *self.assessed)
        if cue is not None and not known:
            if first or not self.stay.isdisjoint(structure.kinds) or rule.acute.search(text, place.start, mention.span.end) or rule.runs_in(text, mention):
                return None
        lasts = any(held.label == "duration" for held in mention.modifiers)
        inside = known or (cue is None and mention.section in (None, *self.course))
        return None if lasts and not inside else "ongoing"

    def _read_item(self, text: str, mention: Mention, place: _Place, structure: Structure) -> Plan | None:
        """An item of a plan, or a drug with how often it is taken in a plan or an assessment."""
        planned = mention.section in self.planned
        if not (planned or mention.section in self.assessed):
            return None
        item = structure.item_at(mention.span.start)
        listed = planned and item is not None and not text[item.body.start : place.at].strip()
        labels = {held.label for held in mention.modifiers}
        if not listed and not (mention.label == "drug" and "frequency" in labels):
            return None
        if not (listed or place.before(self.clause, text) or place.first(self.own, text)):
            return None
        section = structure.section_at(mention.span.start)
        start = place.start if section is None else max(place.start, section.body.start)
        if not _ALONE.match(text, place.behind[-1], place.end) or self.ahead.search(text, start, place.at):
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

    def course(words: Mapping[str, list[str]]) -> _Course:
        first = rf"{any_of(expanded(words['ongoing-first']))}\s+{between}$"
        alone = rf"{any_of(expanded(table['alone']))}\s+{between}$"
        return _Course(
            ongoing=before(words["ongoing"]),
            ongoing_first=re.compile(rf"\s*{first}"),
            ongoing_inside=re.compile(lead + first),
            ongoing_after=behind(words["ongoing-after"]),
            given=before(words["given"]),
            given_after=behind(words["given-after"]),
            in_course=before([*words["given"], *words["given-in-course"]]),
            opens=re.compile(rf"{any_of(expanded(words['ongoing-first']))}\s"),
            refused=re.compile(rf"{any_of(expanded(table['not']))}\s+(?:[\w']+\s+){{0,2}}$"),
            alone=re.compile(rf"(?:{_LINE_START}|\(|\band\s+){alone}"),
            alone_first=re.compile(rf"\s*{alone}"),
            then=re.compile(any_of(expanded(table["then"]))),
            cues=before([phrase for key in _BEFORE for phrase in words.get(key, ())] + table["alone"]),
            cues_after=behind([*words["ongoing-after"], *words["given-after"]]),
        )

    def rule(words: Mapping[str, list[str]], *, items: str = "") -> _Rule:
        orders = rf"{any_of(expanded(words['orders']))}\s+{between}$"
        return _Rule(
            first=re.compile(rf"\s*{orders}"),
            planned=re.compile(rf"(?:{lead}{orders}|{_phrases(words['before'])}\s+{between}{items}$)"),
            after=behind(words["after"]),
            course=course(words) if "ongoing" in words else None,
        )

    drug: dict[str, list[str]] = table["drug"]
    return Plans(
        planned=frozenset(kinds["planned"]),
        assessed=frozenset(kinds["assessed"]),
        course=frozenset(kinds["course"]),
        stay=frozenset(kinds["stay"]),
        rules={
            "drug": rule(table["drug"]),
            "test": rule(table["test"]),
            "treatment": rule(table["treatment"], items=_ITEMS),
        },
        started=_Started(
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


def _list_start(text: str, facts: Sequence[Fact], index: int, start: int) -> int:
    """Where the list of drugs, tests and treatments begins, over the modifiers between them and before it."""
    at = _begin(text, facts[index].mention, start)
    for _ in range(min(index, _LONGEST_LIST)):
        previous = facts[index - 1].mention
        if previous.label == "problem" or previous.span.start < start:
            break
        ends = (_end(previous, at), previous.span.end)  # "dexamethasone, IV ampicillin": whose IV it is is not sure
        joint = any(_JOINT.fullmatch(text, end, at) for end in ends)
        if not joint and not (previous.label == "treatment" and _WITH.fullmatch(text, previous.span.end, at)):
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

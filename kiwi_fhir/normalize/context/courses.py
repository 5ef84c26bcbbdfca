"""The words beside a drug or treatment that say how it stands: where to look, and what each says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kiwi_fhir.types import Fact, Mention

_JOINT = re.compile(
    r"\s*(?:[,/&]|(?:,\s*)?(?:and(?:\s+(?:also|then))?|or|including|to include|such as|consisting of|as well as"
    r"|along with|together with|plus)\b)"
    r"\s*(?:(?:a|an|the|her|his|one|two|three|iv|intravenous|oral|po)\s+)?(?:doses?\s+of\s+)?"
)
# From a treatment to what it is made with.
_WITH = re.compile(r"\s+(?:with|using)\s+(?:(?:an?|the|iv|intravenous|oral)\s+)?")
_OF = re.compile(r"\s+(?:of\s+)?(?:iv\s+)?")
# Bounds that no real sentence reaches keep the time linear.
SENTENCE, _LONGEST_LIST = 300, 30
_INNER = re.compile(r"[^\w']")
ADVERB = 15  # characters before a cue or drug in which a word that goes with it stands


class Place(NamedTuple):
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

    def is_led(self, lasts: frozenset[str], text: str) -> bool:
        """Whether the word right before can end a cue: it is one of `lasts`, a number, or an item of a list."""
        words = text[self.low : self.at].rsplit(None, 1)
        word = words[-1] if words else ""
        return word in lasts or word[-1:].isdigit() or word[-1:] == "," or _INNER.split(word)[-1] in lasts

    @property
    def stop(self) -> int:
        """How far behind the mention words of its sentence are looked for."""
        return min(self.end, self.behind[0] + SENTENCE)

    def before(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        """`pattern` before the mention."""
        return pattern.search(text, self.low, self.at)

    def first(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        """`pattern` where the sentence begins."""
        return pattern.match(text, self.low, self.at) if self.low == self.begin else None

    def after(self, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
        """`pattern` right behind the mention."""
        return next((found for place in self.behind if (found := pattern.match(text, place, self.end))), None)


@dataclass(frozen=True, slots=True)
class Course:
    """What says that a drug or treatment goes on (`ongoing`) or was given; `in_course` in a hospital's course only.

    `opens` are words that a mention itself begins with ("titrate topiramate"), `refused` say no before those of
    `ongoing` and `given`; `alone` ("on") counts where a clause begins and nothing of `then` is in the sentence. `cues`
    and `cues_after` are all of these together.
    """

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

    def has_cue(self, text: str, mention: Mention, place: Place, *, led: bool) -> bool:
        """Whether any words beside it say anything: few mentions have some, and this is quickly known."""
        return bool(
            (led and place.before(self.cues, text))
            or place.after(self.cues_after, text)
            or self.opens.match(text, mention.span.start, mention.span.end)
        )

    def goes_on(self, text: str, mention: Mention, place: Place) -> bool:
        """Whether it is taken or made from now on: "continue", "is on", "increase"."""
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

    def is_alone(self, text: str, place: Place) -> bool:
        """Whether it stands behind a word of `alone` that begins a clause: "asthma, on albuterol"."""
        return bool(place.before(self.alone, text) or place.first(self.alone_first, text)) and not (
            self.then.search(text, place.start, place.at) or self.then.search(text, place.behind[-1], place.stop)
        )

    def was_given(self, text: str, place: Place, *, course: bool) -> bool:
        """Whether it was given or made; `course` says that it stands in the course of a hospital stay."""
        found = place.before(self.in_course if course else self.given, text)
        if found is not None and not self.refused.search(text, place.low, found.start()):
            return True
        return place.after(self.given_after, text) is not None


@dataclass(frozen=True, slots=True)
class Started:
    """A drug was started or left with: it is taken, but where the words behind it end that or raise doubts."""

    started: re.Pattern[str]
    discharged: re.Pattern[str]
    first: re.Pattern[str]
    ended: re.Pattern[str]
    doubted: re.Pattern[str]
    acute: re.Pattern[str]
    runs: re.Pattern[str]

    def is_acute(self, text: str, mention: Mention, place: Place) -> bool:
        """Whether a drug was started in a hospital: its sentence says so, or it runs in a vein."""
        found = self.acute.search(text, place.start, mention.span.end)
        return found is not None or self.runs_in(text, mention)

    def runs_in(self, text: str, mention: Mention) -> bool:
        """Whether a drug is given into a vein, by its route or the word before it."""
        start = mention.span.start
        return self.runs.search(text, max(0, start - ADVERB), start) is not None or any(
            held.label == "route" and self.runs.match(f"{held.span.of(text)} ") for held in mention.modifiers
        )


def list_start(text: str, facts: Sequence[Fact], index: int, start: int) -> int:
    """Where the list of drugs, tests and treatments begins, over the modifiers between them and before it."""
    at = _begin(text, facts[index].mention, start)
    for _ in range(min(index, _LONGEST_LIST)):
        previous = facts[index - 1].mention
        if previous.label == "problem" or previous.span.start < start:
            break
        end, bare = end_of(previous, at), previous.span.end
        if not (
            _JOINT.fullmatch(text, end, at)
            or (bare < end and _JOINT.fullmatch(text, bare, at))  # "ondansetron, IV ampicillin": whose IV is it?
            or (previous.label == "treatment" and _WITH.fullmatch(text, bare, at))
        ):
            break
        index -= 1
        at = _begin(text, facts[index].mention, start)
    return at


def list_end(text: str, facts: Sequence[Fact], index: int, end: int) -> int:
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


def end_of(mention: Mention, limit: int) -> int:
    """Where a mention ends with the modifiers behind it, before `limit`."""
    return max([mention.span.end, *(held.span.end for held in mention.modifiers if held.span.end <= limit)])

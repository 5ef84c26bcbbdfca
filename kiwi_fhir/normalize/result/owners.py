"""A number has one owner: which test of a note a result or a normal range belongs to.

The model's links are taken unless the text says otherwise for certain: a number right behind a test's name is that
test's, and so is what belongs to it (unit, flag, normal range); of a list of tests before a list of as many numbers
each has its own; no number belongs to a test on another line, past a nearer test, or to two tests. Words ("normal",
"negative") may be said of several. Where a number's owner is not certain it stays words.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from kiwi_fhir.normalize.result.kinds import Kind, Tests
from kiwi_fhir.normalize.result.rows import Row, Rows
from kiwi_fhir.normalize.text.numbers import DIGITS
from kiwi_fhir.normalize.text.sentences import Sentences
from kiwi_fhir.types import Mention, Modifier, Span

_DIGIT = re.compile(r"\d")
_PRESSURE = re.compile(r"\d{2,3}\s?/\s?\d{2,3}")
_BLANK = re.compile(r"[ \t]*")
_SAYS = re.compile(r"[ \t]*(?:[:=][ \t]*)?(?:(?:is|was|were|are|of|at|level|levels)[ \t]+)*", re.IGNORECASE)
_JOINT = re.compile(r"\s*(?:,|/|&|(?:,\s*)?\band\b)\s*(?:(?:the|her|his|a)\s+)?", re.IGNORECASE)
_ITEM = re.compile(rf"{DIGITS}(?![\d:])")
_BETWEEN_ITEMS = re.compile(r"\s*(?:/|,\s*and\b|,|\band\b|&)\s*", re.IGNORECASE)
_HALVES = re.compile(r"\s?(?:/|&|\band\b)\s?", re.IGNORECASE)
_OF_ALL = re.compile(r"\b(?:both|all|each)\b", re.IGNORECASE)
# Numbers that are aimed at, and were not found.
_AIM = re.compile(
    r"\b(?:goals?|targets?|keep|kept|maintain\w*|if|when|until|once|unless|titrat\w+|hold|for|to)\b[^.;:\n]{0,20}$",
    re.IGNORECASE,
)
_AIMED = re.compile(r"(?:goals?|targets?|aim(?:ing)?)(?: (?:of|is|for))?:?\s?$", re.IGNORECASE)
_REACH = 30  # characters before a test or a number in which such a word stands
_BROTHERS = 6  # tests of one list


@dataclass(frozen=True, slots=True)
class Owned:
    """The mentions with the results that are theirs. `rows` are those of their results, by the result's span; `unsure`
    the spans of numbers whose owner is not certain."""

    mentions: tuple[Mention, ...]
    rows: dict[Span, Row] = field(default_factory=dict)
    unsure: frozenset[Span] = frozenset()


@dataclass(frozen=True, slots=True)
class Owners:
    """Decides with the grammar of rows and the names of tests.toml."""

    rows: Rows
    tests: Tests

    def settle(self, text: str, mentions: Sequence[Mention], cut: Sentences) -> Owned:
        """The mentions of a note `text`, each test with its own results and normal ranges only."""
        mentions = [part for mention in mentions for part in self._parts(text, mention)]
        if not any(mention.label == "test" for mention in mentions):
            return Owned(tuple(mentions))
        case = _Case(self, text, mentions, cut)
        case.read_rows()
        case.refuse()
        return Owned(tuple(case.mentions), case.rows, frozenset(case.unsure))

    def _parts(self, text: str, mention: Mention) -> list[Mention]:
        """A mention of two tests as two where two numbers follow: "BUN/creatinine 30/1.4"."""
        if mention.label != "test" or _HALVES.search(words := mention.span.of(text)) is None:
            return [mention]
        spans, at = [], mention.span.start
        for found in _HALVES.finditer(words):
            spans.append(Span(at, mention.span.start + found.start()))
            at = mention.span.start + found.end()
        spans.append(Span(at, mention.span.end))
        kinds = [self.tests.kind(span.of(text)) for span in spans]
        end = text.find("\n", mention.span.end)
        values = self.values(text, mention.span.end, len(text) if end < 0 else end, len(spans))
        if values is None or any(kind.category != "laboratory" or kind.panel for kind in kinds):
            return [mention]
        return [replace(mention, span=span) for span in spans]

    def values(self, text: str, start: int, end: int, count: int) -> list[Row] | None:
        """The rows of `count` numbers in a list that begins behind `start`; None where there are more or fewer."""
        lead = _SAYS.match(text, start, end)
        at = lead.end() if lead is not None else start
        found: list[Row] = []
        while (item := _ITEM.match(text, at, end)) is not None:
            span = Span(*item.span())
            unit = self.rows.unit(text, span.end, end)
            stop = unit.end if unit is not None else span.end
            found.append(Row(span, unit, None, None, stop, stop, closed=True, more=False))
            joint = _BETWEEN_ITEMS.match(text, found[-1].end, end)
            if joint is None or len(found) > count:
                break
            at = joint.end()
        return found if len(found) == count else None


class _Case:
    """One note. `tests` are the indexes of its tests in text order, `claims` the spans that rows hold, by owner."""

    def __init__(self, owners: Owners, text: str, mentions: list[Mention], cut: Sentences) -> None:
        self.owners, self.text, self.mentions, self.cut = owners, text, mentions, cut
        self.tests = [index for index, mention in enumerate(mentions) if mention.label == "test"]
        self.starts = [mentions[index].span.start for index in self.tests]
        self.lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self.kinds: dict[int, Kind] = {
            index: owners.tests.kind(" ".join(mentions[index].span.of(text).split())) for index in self.tests
        }
        self.holders: dict[Span, list[int]] = defaultdict(list)
        for index in self.tests:
            for held in mentions[index].modifiers:
                if held.label == "labvalue":
                    self.holders[held.span].append(index)
        self.claims: list[tuple[Span, int]] = []
        self.rows: dict[Span, Row] = {}
        self.own: dict[int, list[Row]] = defaultdict(list)
        self.unsure: set[Span] = set()

    def line(self, offset: int) -> tuple[int, int]:
        """Where the line with the character at `offset` starts and ends."""
        index = bisect_right(self.lines, offset)
        return self.lines[index - 1], self.lines[index] - 1 if index < len(self.lines) else len(self.text)

    def limit(self, place: int) -> int:
        """Where what stands behind the `place`th test ends: at the next one, or with the line."""
        span = self.mentions[self.tests[place]].span
        _, end = self.line(span.end - 1)
        following = next((start for start in self.starts[place + 1 : place + 3] if start >= span.end), end)
        return min(following, end)

    # What is claimed by its place

    def read_rows(self) -> None:
        """The numbers right behind or before the tests' names."""
        place = 0
        while place < len(self.tests):
            brothers = self._brothers(place)
            if len(brothers) > 1 and self._share_out(brothers):
                place += len(brothers)
                continue
            self._read_row(place)
            place += 1

    def _brothers(self, place: int) -> list[int]:
        """The indexes of the tests of a list that begins with the `place`th: "hemoglobin and hematocrit"."""
        found = [self.tests[place]]
        if self._value_before(found[0]) is not None:
            return found
        for other in self.tests[place + 1 : place + _BROTHERS]:
            if _JOINT.fullmatch(self.text, self.mentions[found[-1]].span.end, self.mentions[other].span.start) is None:
                break
            found.append(other)
        return found

    def _share_out(self, brothers: list[int]) -> bool:
        """To a list of tests a list of as many numbers behind it, in their order."""
        before, last = self._end(brothers[-2]), self._end(brothers[-1])
        named = self.text[before : self.mentions[brothers[-1]].span.start]
        if any(self.kinds[index].panel for index in brothers) or not named.strip(" ,"):
            return False
        _, end = self.line(last - 1)
        values = self.owners.values(self.text, last, end, len(brothers)) or self._listed(brothers)
        if values is None:
            return False
        for index, row in zip(brothers, values, strict=True):
            self._claim(index, row, add=True)
        return True

    def _listed(self, brothers: list[int]) -> list[Row] | None:
        """The numbers that the model links to a list of tests, where they are as many: "were high at 412 and 180"."""
        last = self._end(brothers[-1])
        spans = sorted(
            {item.span for index in brothers for item in self.mentions[index].modifiers if self._is_number(item)}
        )
        joined = all(_BETWEEN_ITEMS.fullmatch(self.text, one.end, other.start) for one, other in pairwise(spans))
        if len(spans) != len(brothers) or spans[0].start < last or not joined:
            return None
        return [Row(span, None, None, None, span.end, span.end, closed=True, more=False) for span in spans]

    def _is_number(self, item: Modifier) -> bool:
        return item.label == "labvalue" and _DIGIT.search(item.span.of(self.text)) is not None

    def _read_row(self, place: int) -> None:
        index = self.tests[place]
        mention, kind = self.mentions[index], self.kinds[index]
        before = self._value_before(index)
        if before is not None:
            self.claims.append((before, index))
            return
        row = self.owners.rows.read(self.text, mention.span.end, self.limit(place), kind)
        if row is None or self._is_next(place, row):
            return
        held = [item for item in mention.modifiers if item.label == "labvalue"]
        linked = any(_touch(item.span, row.value) for item in held)
        inside = any(row.value.end <= item.span.start < row.end for item in held)
        if not linked and not inside and held and any(_DIGIT.search(item.span.of(self.text)) for item in held):
            linked = kind.category is not None and row.closed  # the model took another number, past the nearest one
        certain = kind.category is not None and not kind.panel and row.closed and not row.more
        add = certain and not self._is_aim(mention.span.start)
        if linked or inside or add:
            self._claim(index, row, add=linked or inside or add)

    def _value_before(self, index: int) -> Span | None:
        """The number right before a test that the model links to it and to none before it: "51% neutrophils"."""
        start = self.mentions[index].span.start
        for held in self.mentions[index].modifiers:
            if not self._is_number(held) or held.span.end > start:
                continue
            if not _BLANK.fullmatch(self.text, held.span.end, start) or min(self.holders[held.span]) < index:
                continue
            return None if any(_touch(held.span, claimed) for claimed, _ in self.claims[-2:]) else held.span
        return None

    def _is_next(self, place: int, row: Row) -> bool:
        """Whether the number is the next test's, as the model says, which has none behind it: "echo 55% EF"."""
        if place + 1 >= len(self.tests):
            return False
        index = self.tests[place + 1]
        following = self.mentions[index]
        holders = [other for span, others in self.holders.items() if _touch(span, row.value) for other in others]
        if self.tests[place] in holders or index not in holders:
            return False
        if not _BLANK.fullmatch(self.text, row.end, max(row.end, following.span.start)):
            return False
        return self.owners.rows.read(self.text, following.span.end, self.limit(place + 1), self.kinds[index]) is None

    def _is_aim(self, start: int) -> bool:
        return _AIM.search(self.text[max(0, start - _REACH) : start]) is not None

    def _claim(self, index: int, row: Row, *, add: bool) -> None:
        self.claims.append((Span(row.value.start, max(row.end, row.value.end)), index))
        if add:
            self.own[index].append(row)

    # What that leaves of the model's links

    def refuse(self) -> None:
        """Give every test what rows say, and of the model's links what they leave."""
        self.claims.sort()
        owners = self._settled()
        for index in self.tests:
            kept = [held for held in self.mentions[index].modifiers if self._keeps(index, held, owners)]
            for row in self.own[index]:
                kept = self._with_row(index, kept, row)
            if kept != list(self.mentions[index].modifiers):
                kept.sort(key=lambda held: (held.span, held.label))
                self.mentions[index] = replace(self.mentions[index], modifiers=tuple(kept))

    def _keeps(self, index: int, held: Modifier, owners: dict[Span, set[int]]) -> bool:
        if held.label not in ("labvalue", "reference_range"):
            return True
        if _DIGIT.search(held.span.of(self.text)) is None:
            return self._same_sentence(index, held.span)
        if claimers := self._claimers(held.span):
            return index in claimers
        if held.label == "reference_range":
            aimed = _AIMED.search(self.text[max(0, held.span.start - _REACH) : held.span.start]) is not None
            return not aimed and self._near(index, held.span)
        return index in owners.get(held.span, {index})

    def _claimers(self, span: Span) -> set[int]:
        """The tests whose rows hold characters of `span`."""
        first = max(0, bisect_right(self.claims, span.start, key=lambda item: item[0].start) - 1)
        found = set()
        for claimed, index in self.claims[first:]:
            if claimed.start >= span.end:
                break
            if _touch(claimed, span):
                found.add(index)
        return found

    def _with_row(self, index: int, kept: list[Modifier], row: Row) -> list[Modifier]:
        """What a row says in place of what the model says within it."""
        inside = [held for held in kept if _touch(held.span, Span(row.value.start, row.end))]
        inside = [held for held in inside if held.label in ("labvalue", "reference_range")]
        rest = [held for held in kept if held not in inside]
        fit = (held for held in inside if held.label == "labvalue" and _fits(held.span, row))
        value = next((held for held in fit if self._claimers(held.span) == {index}), None)
        if value is None:
            value = Modifier("labvalue", row.value, rule=True)
        rest.append(value)
        self.rows[value.span] = row
        if row.normal is not None:
            normal = next(
                (held for held in inside if held.label == "reference_range" and _touch(held.span, row.normal)), None
            )
            rest.append(normal or Modifier("reference_range", row.normal, rule=True))
        words = (held for held in inside if held is not value and _DIGIT.search(held.span.of(self.text)) is None)
        return [*rest, *(held for held in words if row.flag is None)]

    def _settled(self) -> dict[Span, set[int]]:
        """Which tests the numbers outside of rows belong to."""
        settled: dict[Span, set[int]] = {}
        for span, holders in self.holders.items():
            if _DIGIT.search(span.of(self.text)) is None or self._claimers(span):
                continue
            near = [index for index in holders if self._near(index, span)]
            behind = [index for index in near if self._end(index) <= span.start or not self.own[index]]
            near = behind or near  # of two numbers around a name the one behind it is its own
            if _PRESSURE.search(span.of(self.text)) is not None:
                near = [index for index in near if self.kinds[index].blood_pressure] or near
            if len(near) > 1 and not self._is_of_all(near, span):
                nearest = min(near, key=lambda index: self._distance(index, span))
                if self._brothers(self.tests.index(near[0]))[: len(near)] == near and span.start >= self._end(near[-1]):
                    self.unsure.add(span)  # "AST and ALT 40"
                near = [nearest]
            settled[span] = set(near)
        return settled

    def _end(self, index: int) -> int:
        return self.mentions[index].span.end

    def _is_of_all(self, near: list[int], span: Span) -> bool:
        end = self.mentions[near[-1]].span.end
        return end <= span.start and _OF_ALL.search(self.text[end : min(span.end, end + 60)]) is not None

    def _distance(self, index: int, span: Span) -> tuple[int, bool]:
        mention = self.mentions[index].span
        behind = span.start >= mention.end
        return (span.start - mention.end if behind else mention.start - span.end), not behind

    def _near(self, index: int, span: Span) -> bool:
        """Whether a number can be of a test: in its line or sentence, with no nearer test between them."""
        mention = self.mentions[index].span
        if not self._same_sentence(index, span):
            return False
        low, high = min(mention.end, span.end), max(mention.start, span.start)
        first = bisect_right(self.starts, low - 1)
        for other in self.tests[first : first + 8]:
            if self.mentions[other].span.start >= high:
                break
            if other != index and self._takes(index, other):
                return False
        return True

    def _takes(self, index: int, other: int) -> bool:
        """Whether the test between may be the number's owner: of a known kind, and no panel ("hemoglobin on CBC")."""
        kind = self.kinds[other]
        if self.kinds[index].blood_pressure and not kind.blood_pressure:
            return False
        return kind.category is not None and not kind.panel

    def _same_sentence(self, index: int, span: Span) -> bool:
        mention = self.mentions[index].span
        low, high = min(mention.end, span.end), max(mention.start, span.start)
        if low >= high or "\n" not in self.text[low:high]:
            return True
        if not self.text[low:high].strip(" \t\r\n:|=-") and self.text.count("\n", low, high) == 1:
            return True
        start, end = self.cut.around(mention.start)
        return start <= span.start < end


def _touch(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _fits(span: Span, row: Row) -> bool:
    """Whether the model's span has the row's number, whole, and nothing of a normal range: "5 ft 2 in" goes on."""
    if not span.start <= row.value.start < row.value.end <= span.end:
        return False
    return span.end <= row.inner or row.inner == row.end

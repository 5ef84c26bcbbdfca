"""Which numbers are a test's by their place: right behind its name, right before it, or in a list of as many."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.result.kinds import Kind
from kiwi_fhir.normalize.result.rows import Row, Rows
from kiwi_fhir.normalize.result.tables import Columns, cells_below
from kiwi_fhir.normalize.text.numbers import DIGITS
from kiwi_fhir.types import Mention, Modifier, Span

_DIGIT = re.compile(r"\d")
_BLANK = re.compile(r"[ \t]*")
_SAYS = re.compile(r"[ \t]*(?:[:=][ \t]*)?(?:(?:is|was|were|are|of|at|level|levels)[ \t]+)*", re.IGNORECASE)
_JOINT = re.compile(r"\s*(?:,|/|&|(?:,\s*)?\band\b)\s*(?:(?:the|her|his|a)\s+)?", re.IGNORECASE)
_ITEM = re.compile(rf"{DIGITS}(?![\d:])")
_BETWEEN_ITEMS = re.compile(r"\s*(?:/|,\s*and\b|,|\band\b|&)\s*", re.IGNORECASE)
# Words before a test after which a number behind it may not have been found.
_NOT_YET = re.compile(r"\b(?:if|when|until|once|unless|titrat\w+|hold|for|to)\b[^.;:\n]{0,20}$", re.IGNORECASE)
_REACH = 30  # characters before a test in which such a word stands
_BROTHERS = 6  # tests of one list


class Claims:
    """The rows of a note's tests. Tests are counted by their place among the tests, in text order."""

    def __init__(
        self,
        text: str,
        structure: Structure,
        tests: Sequence[Mention],
        kinds: Sequence[Kind],
        columns: Columns,
        known: Mapping[Span, Row],
    ) -> None:
        """Read the rows of `tests`, mentions of a note `text`, of these kinds; `known` are rows by the test's span."""
        self._text, self._structure = text, structure
        self._tests, self._kinds, self._rows = tests, kinds, columns.rows
        self._columns, self._known = columns, known
        self._below = cells_below(structure)
        self._starts = [mention.span.start for mention in tests]
        self.holders: dict[Span, list[int]] = defaultdict(list)
        for place, mention in enumerate(tests):
            for held in mention.modifiers:
                if held.label == "labvalue":
                    self.holders[held.span].append(place)
        self._claims: list[tuple[Span, int]] = []
        self.unsure: set[Span] = set()
        self.rows: dict[int, list[Row]] = defaultdict(list)
        self._read()
        self._claims.sort()

    def of(self, span: Span) -> set[int]:
        """The tests that hold characters of `span`."""
        first = max(0, bisect_right(self._claims, span.start, key=lambda item: item[0].start) - 1)
        found = set()
        for at in range(first, len(self._claims)):
            claimed, place = self._claims[at]
            if claimed.start >= span.end:
                break
            if touch(claimed, span):
                found.add(place)
        return found

    def brothers(self, place: int) -> list[int]:
        """The tests of a list that begins there: "hemoglobin and hematocrit"."""
        found = [place]
        if self._value_before(place) is not None:
            return found
        for other in range(place + 1, min(place + _BROTHERS, len(self._tests))):
            if _JOINT.fullmatch(self._text, self._tests[found[-1]].span.end, self._starts[other]) is None:
                break
            found.append(other)
        return found

    def is_number(self, held: Modifier) -> bool:
        """Whether a modifier is a result with a number in it."""
        return held.label == "labvalue" and _DIGIT.search(held.span.of(self._text)) is not None

    def _read(self) -> None:
        place = 0
        while place < len(self._tests):
            if table := self._table(place):
                self._claim_table(place, table)
                place += 1
                continue
            if row := self._known.get(self._tests[place].span):
                self._claim(place, row)
                place += 1
                continue
            brothers = self.brothers(place)
            rows = self._shared_out(brothers) if len(brothers) > 1 else None
            if rows is None:
                if not self._is_unsure(brothers):
                    self._read_row(place)
                    place += 1
                    continue
                rows = []
            for brother, row in zip(brothers, rows, strict=False):
                self._claim(brother, row)
            place += len(brothers)

    def _table(self, place: int) -> list[Row] | None:
        if not self._structure.cells:
            return None
        name, kind = self._tests[place].span, self._kinds[place]
        return self._columns.read(self._text, self._structure, self._below, name, kind)

    def _shared_out(self, brothers: list[int]) -> list[Row] | None:
        """The numbers of a list of as many behind a list of tests, in their order."""
        last = self._tests[brothers[-1]].span
        joint = self._text[self._tests[brothers[-2]].span.end : last.start]
        if any(self._kinds[place].panel for place in brothers) or not joint.strip(" ,"):
            return None
        found = numbers_behind(self._text, last.end, self._line_end(last.end), len(brothers), self._rows)
        return found or self._linked(brothers, last.end)

    def _is_unsure(self, brothers: list[int]) -> bool:
        """Whether one number stands behind a list of tests that may each have it: "AST and ALT 40"; it stays words."""
        *others, place = brothers
        kinds = [self._kinds[brother] for brother in brothers]
        if not others or any(kind.category != "laboratory" or kind.panel for kind in kinds):
            return False
        start = self._tests[place].span.end
        row = self._rows.read(self._text, start, self._limit(place), kinds[-1])
        held = (item for other in others for item in self._tests[other].modifiers if self.is_number(item))
        if row is None or any(not touch(item.span, row.value) for item in held):
            return False
        self._claim(place, row)
        self.unsure.add(row.value)
        return True

    def _linked(self, brothers: list[int], end: int) -> list[Row] | None:
        """The numbers behind `end` that the model links to a list of tests, as many as there are ("at 412 and 180")."""
        held = (item for place in brothers for item in self._tests[place].modifiers if self.is_number(item))
        spans = sorted({item.span for item in held})
        joined = all(_BETWEEN_ITEMS.fullmatch(self._text, one.end, other.start) for one, other in pairwise(spans))
        if len(spans) != len(brothers) or spans[0].start < end or not joined:
            return None
        return [_bare(span, None) for span in spans]

    def _read_row(self, place: int) -> None:
        mention, kind = self._tests[place], self._kinds[place]
        if kind.aimed:
            return
        before = self._value_before(place)
        if before is not None:
            self._claims.append((before, place))
            return
        row = self._rows.read(self._text, mention.span.end, self._limit(place), kind)
        if row is None or self._is_next(place, row):
            return
        held = [item for item in mention.modifiers if item.label == "labvalue"]
        known = kind.category is not None and not kind.panel and row.closed
        linked = any(row.value.start < item.span.end and item.span.start < row.end for item in held)
        passed = known and any(self.is_number(item) for item in held)  # the model took another number, past this one
        awaited = _NOT_YET.search(self._text[max(0, mention.span.start - _REACH) : mention.span.start])
        if linked or passed or (known and not row.more and awaited is None):
            self._claim(place, row)

    def _value_before(self, place: int) -> Span | None:
        """The number right before a test that the model links to it and to none before it: "51% neutrophils"."""
        start = self._starts[place]
        for held in self._tests[place].modifiers:
            if not self.is_number(held) or held.span.end > start:
                continue
            if not _BLANK.fullmatch(self._text, held.span.end, start) or min(self.holders[held.span]) < place:
                continue
            return None if any(touch(held.span, claimed) for claimed, _ in self._claims[-2:]) else held.span
        return None

    def _is_next(self, place: int, row: Row) -> bool:
        """Whether the number is the next test's, as the model says, which has none behind it: "echo 55% EF"."""
        if place + 1 == len(self._tests) or self._has(place, row.value) or not self._has(place + 1, row.value):
            return False
        following = self._tests[place + 1].span
        if not _BLANK.fullmatch(self._text, row.end, max(row.end, following.start)):
            return False
        return self._rows.read(self._text, following.end, self._limit(place + 1), self._kinds[place + 1]) is None

    def _has(self, place: int, span: Span) -> bool:
        """Whether the model links a result there to a test."""
        return any(item.label == "labvalue" and touch(item.span, span) for item in self._tests[place].modifiers)

    def _claim(self, place: int, row: Row) -> None:
        self._claims.append((Span(row.value.start, row.end), place))
        if row.normal is not None and row.normal.end <= row.value.start:
            self._claims.append((row.normal, place))
        self.rows[place].append(row)

    def _claim_table(self, place: int, rows: list[Row]) -> None:
        """Claim what the table's columns give a test, and all else in its line: that is of no other."""
        for row in rows:
            self._claim(place, row)
            for span in (row.unit, row.normal):
                if span is not None and span.start >= row.end:
                    self._claims.append((span, place))

    def _line_end(self, offset: int) -> int:
        return self._structure.line_at(offset - 1).end

    def _limit(self, place: int) -> int:
        """Where what stands behind a test ends: at the next one, or with the line."""
        span = self._tests[place].span
        end = self._line_end(span.end)
        return min(end, next((start for start in self._starts[place + 1 : place + 3] if start >= span.end), end))


def numbers_behind(text: str, start: int, end: int, count: int, rows: Rows) -> list[Row] | None:
    """The rows of a list of `count` numbers that begins behind `start`; None where there are more or fewer."""
    lead = _SAYS.match(text, start, end)
    at = lead.end() if lead is not None else start
    found: list[Row] = []
    while (item := _ITEM.match(text, at, end)) is not None:
        found.append(_bare(Span(*item.span()), rows.unit(text, item.end(), end)))
        joint = _BETWEEN_ITEMS.match(text, found[-1].end, end)
        if joint is None or len(found) > count:
            break
        at = joint.end()
    return found if len(found) == count else None


def touch(one: Span, other: Span) -> bool:
    """Whether two spans have characters in common."""
    return one.start < other.end and other.start < one.end


def _bare(value: Span, unit: Span | None) -> Row:
    end = unit.end if unit is not None else value.end
    return Row(value, unit, None, None, end, end, closed=True, more=False)

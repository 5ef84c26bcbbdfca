"""A number has one owner: which test of a note a result or a normal range belongs to.

The model's links are taken unless the text says otherwise for certain: a number right behind a test's name is that
test's, and so is what belongs to it (unit, flag, normal range); of a list of tests before a list of as many numbers
each has its own; no number belongs to a test on another line, past a nearer test, or to two tests. Words ("normal",
"negative") may be said of several. Where a number's owner is not certain it stays words.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.result.claims import Claims, numbers_behind, touch
from kiwi_fhir.normalize.result.kinds import Kind, Tests
from kiwi_fhir.normalize.result.rows import Row, Rows
from kiwi_fhir.types import Mention, Modifier, Span

_DIGIT = re.compile(r"\d")
_PRESSURE = re.compile(r"\d{2,3}\s?/\s?\d{2,3}")
_HALVES = re.compile(r"\s?(?:/|&|\band\b)\s?", re.IGNORECASE)
_OF_ALL = re.compile(r"\b(?:both|all|each)\b", re.IGNORECASE)
_AIMED = re.compile(r"(?:goals?|targets?|aim(?:ing)?)(?: (?:of|is|for))?:?\s?$", re.IGNORECASE)
_REACH = 30  # characters before a range in which such a word stands
_NEAR = 8  # tests between a number and a test that are looked at: of more, one is nearer


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

    def settle(self, text: str, mentions: Sequence[Mention], structure: Structure) -> Owned:
        """The mentions of a note `text`, each test with its own results and normal ranges only."""
        if not any(mention.label == "test" for mention in mentions):
            return Owned(tuple(mentions))
        mentions = [part for mention in mentions for part in self._parts(text, mention, structure)]
        tests = [mention for mention in mentions if mention.label == "test"]
        kinds = [self.tests.kind(" ".join(mention.span.of(text).split())) for mention in tests]
        case = _Case(text, tests, kinds, structure, Claims(text, structure, tests, kinds, self.rows))
        settled = iter(case.settled())
        found = tuple(next(settled) if mention.label == "test" else mention for mention in mentions)
        return Owned(found, case.rows, frozenset(case.unsure))

    def _parts(self, text: str, mention: Mention, structure: Structure) -> list[Mention]:
        """A mention of two tests as two where two numbers follow: "BUN/creatinine 30/1.4"."""
        if mention.label != "test" or _HALVES.search(words := mention.span.of(text)) is None:
            return [mention]
        spans, at = [], mention.span.start
        for found in _HALVES.finditer(words):
            spans.append(Span(at, mention.span.start + found.start()))
            at = mention.span.start + found.end()
        spans.append(Span(at, mention.span.end))
        kinds = [self.tests.kind(span.of(text)) for span in spans]
        if any(kind.category != "laboratory" or kind.panel for kind in kinds):
            return [mention]
        end = structure.line_at(mention.span.start).end
        numbers = numbers_behind(text, mention.span.end, end, len(spans), self.rows)
        return [mention] if numbers is None else [replace(mention, span=span) for span in spans]


class _Case:
    """The tests of one note, counted as its claims count them."""

    def __init__(
        self, text: str, tests: Sequence[Mention], kinds: Sequence[Kind], structure: Structure, claims: Claims
    ) -> None:
        self._text, self._tests, self._kinds, self._structure, self._claims = text, tests, kinds, structure, claims
        self._starts = [mention.span.start for mention in tests]
        self.rows: dict[Span, Row] = {}
        self.unsure: set[Span] = set()

    def settled(self) -> list[Mention]:
        """The tests with what their rows say, and of the model's links what that leaves."""
        owners = self._owners()
        found = []
        for place, mention in enumerate(self._tests):
            kept = [held for held in mention.modifiers if self._keeps(place, held, owners)]
            for row in self._claims.rows.get(place, ()):
                kept = self._with_row(place, kept, row)
            if kept != list(mention.modifiers):
                kept.sort(key=lambda held: (held.span, held.label))
                mention = replace(mention, modifiers=tuple(kept))
            found.append(mention)
        return found

    def _keeps(self, place: int, held: Modifier, owners: dict[Span, set[int]]) -> bool:
        if held.label not in ("labvalue", "reference_range"):
            return True
        if not self._has_digit(held):
            return self._is_together(place, held.span)
        if claimers := self._claims.of(held.span):
            return place in claimers
        if held.label == "reference_range":
            aimed = _AIMED.search(self._text[max(0, held.span.start - _REACH) : held.span.start])
            return aimed is None and self._is_near(place, held.span)
        return place in owners[held.span]

    def _has_digit(self, held: Modifier) -> bool:
        return _DIGIT.search(held.span.of(self._text)) is not None

    def _with_row(self, place: int, kept: list[Modifier], row: Row) -> list[Modifier]:
        """What a row says in place of what the model says within it."""
        whole = Span(row.value.start, row.end)
        inside = [held for held in kept if held.label in ("labvalue", "reference_range") and touch(held.span, whole)]
        values = [held for held in inside if held.label == "labvalue" and _fits(held.span, row)]
        value = next((held for held in values if self._claims.of(held.span) == {place}), None)
        value = value or Modifier("labvalue", row.value, rule=True)
        self.rows[value.span] = row
        found = [held for held in kept if held not in inside] + [value]
        if row.normal is not None:
            ranges = (held for held in inside if held.label == "reference_range" and touch(held.span, row.normal))
            found.append(next(ranges, None) or Modifier("reference_range", row.normal, rule=True))
        if row.flag is None:
            found += [held for held in inside if held != value and not self._has_digit(held)]
        return found

    def _owners(self) -> dict[Span, set[int]]:
        """Which tests the numbers outside of rows belong to."""
        owners: dict[Span, set[int]] = {}
        for span, holders in self._claims.holders.items():
            if _DIGIT.search(span.of(self._text)) is None or self._claims.of(span):
                continue
            near = [place for place in holders if self._is_near(place, span)]
            # Of two numbers around a name the one behind it is its own.
            near = [
                place for place in near if self._end(place) <= span.start or not self._claims.rows.get(place)
            ] or near
            if _PRESSURE.search(span.of(self._text)) is not None:
                near = [place for place in near if self._kinds[place].blood_pressure] or near
            if len(near) > 1 and not self._is_of_all(near[-1], span):
                if self._claims.brothers(near[0])[: len(near)] == near and self._end(near[-1]) <= span.start:
                    self.unsure.add(span)  # "AST and ALT 40"
                near = [min(near, key=lambda place: self._distance(place, span))]
            owners[span] = set(near)
        return owners

    def _end(self, place: int) -> int:
        return self._tests[place].span.end

    def _is_of_all(self, last: int, span: Span) -> bool:
        """Whether words say of a number that it is of several tests, the `last` among them: "were both 40"."""
        start, end = self._end(last), span.end
        return start <= span.start and _OF_ALL.search(self._text[start : min(end, start + 60)]) is not None

    def _distance(self, place: int, span: Span) -> int:
        return max(span.start - self._end(place), self._starts[place] - span.end)

    def _is_near(self, place: int, span: Span) -> bool:
        """Whether a number can be of a test: together with it, and with no nearer test between them."""
        if not self._is_together(place, span):
            return False
        low, high = min(self._end(place), span.end), max(self._starts[place], span.start)
        first = bisect_right(self._starts, low - 1)
        last = bisect_right(self._starts, high - 1)
        return last - first <= _NEAR and not any(self._is_nearer(place, other) for other in range(first, last))

    def _is_nearer(self, place: int, other: int) -> bool:
        """Whether a test between may be the number's owner: of a known kind, and no panel ("hemoglobin on CBC")."""
        kind = self._kinds[other]
        if other == place or (self._kinds[place].blood_pressure and not kind.blood_pressure):
            return False
        return kind.category is not None and not kind.panel

    def _is_together(self, place: int, span: Span) -> bool:
        """Whether a result stands in the line, right under the name, or in the sentence of a test."""
        mention, lines = self._tests[place].span, self._structure.lines
        low, high = min(mention.end, span.end), max(mention.start, span.start)
        between = bisect_right(lines, high) - bisect_right(lines, low)
        if between <= 0 or (between == 1 and not self._text[low:high].strip(" \t\r\n:|=-")):
            return True
        sentence = self._structure.sentence_at(mention.start)
        return sentence.start <= span.start < sentence.end


def _fits(span: Span, row: Row) -> bool:
    """Whether the model's span has the row's number, whole, and nothing of a normal range: "5 ft 2 in" goes on."""
    if not span.start <= row.value.start < row.value.end <= span.end:
        return False
    return span.end <= row.inner or row.inner == row.end

"""A number has one owner: which test of a note a result or a normal range belongs to.

The model's links are taken unless the text says otherwise for certain: a number right behind a test's name is that
test's, and so is what belongs to it (unit, flag, normal range); of a list of tests before a list of as many numbers
each has its own; no number belongs to a test on another line, past a nearer test, or to two tests. Words ("normal",
"negative") may be said of several. Where a number's owner is not certain it stays words.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.result.claims import Claims, numbers_behind, touch
from kiwi_fhir.normalize.result.kinds import Kind, Tests
from kiwi_fhir.normalize.result.line_times import LineTimes
from kiwi_fhir.normalize.result.rows import Row
from kiwi_fhir.normalize.result.runs import Runs
from kiwi_fhir.normalize.result.tables import Columns
from kiwi_fhir.types import Mention, Modifier, Span

_BLANKS = dict.fromkeys((0xA0, *range(0x2000, 0x200C), 0x202F, 0x205F, 0x3000), " ")  # also those of no width
_DIGIT = re.compile(r"\d")
_PRESSURE = re.compile(r"\d{2,3}\s?/\s?\d{2,3}")
_NUMBER_BEFORE = re.compile(r"\d ?%?\)?[ \t]?(?:on[ \t])?\Z")
_ALSO_AIMED = re.compile(r"(?:[\d<>≤≥=%/ \t-]|[.,](?=\d)){1,24},?[ \t]*(?:and |or )?")
_SAYS_NORMAL = re.compile(
    r"(?:normal|nl|ref(?:erence)?|limits?|uln|lln|up to|<|>|[lg]t;)[^.;\n]{0,12}\Z", re.IGNORECASE
)
_HALVES = re.compile(r"\s?(?:/|&|\band\b)\s?", re.IGNORECASE)
_OF_ALL = re.compile(r"\b(?:both|all|each)\b", re.IGNORECASE)
_NEAR = 8  # tests between a number and a test that are looked at: of more, one is nearer


@dataclass(frozen=True, slots=True)
class Owned:
    """The mentions with the results that are theirs. `rows` are those of their results, by the result's span; `unsure`
    the spans of numbers whose owner is not certain; `fluids` those of tests of another fluid than blood."""

    mentions: tuple[Mention, ...]
    rows: dict[Span, Row] = field(default_factory=dict)
    unsure: frozenset[Span] = frozenset()
    fluids: frozenset[Span] = frozenset()


@dataclass(frozen=True, slots=True)
class Owners:
    """Decides with the grammar of rows and tables and the names of tests.toml."""

    columns: Columns
    runs: Runs
    tests: Tests
    qualified: re.Pattern[str]

    def settle(self, text: str, lowered: str, mentions: Sequence[Mention], structure: Structure) -> Owned:
        """The mentions of a note `text` (`lowered`: in lower case), each test with its own results and ranges only."""
        if not text.isascii():
            text, lowered = text.translate(_BLANKS), lowered.translate(_BLANKS)
        found = self.runs.complete(text, lowered, mentions, structure)
        if not any(mention.label == "test" for mention in found.mentions):
            return Owned(found.mentions)
        mentions = [part for mention in found.mentions for part in self._parts(text, mention, structure)]
        tests = [mention for mention in mentions if mention.label == "test"]
        kinds = self._kinds(text, tests, structure)
        claims = Claims(text, structure, tests, kinds, self.columns, found.rows)
        case = _Case(text, tests, kinds, structure, claims, self.tests, self.columns.rows.units.scalar)
        settled = iter(case.settled())
        fluids = (
            mention.span
            for mention, kind in zip(tests, kinds, strict=True)
            if kind.in_fluids
            and self.tests.is_of_fluid(lowered, structure.sentence_at(mention.span.start).start, mention.span.start)
        )
        whole = (next(settled) if mention.label == "test" else mention for mention in mentions)
        return Owned(
            tuple(one for one in whole if not self._is_none(text, one, structure)),
            case.rows,
            frozenset(case.unsure),
            found.fluids.union(fluids),
        )

    def _is_none(self, text: str, mention: Mention, structure: Structure) -> bool:
        """Whether a test is only what belongs to the number before it ("88 bpm", "97% RA"), or the head of a column."""
        if mention.label != "test":
            return False
        words, start = mention.span.of(text), mention.span.start
        cell = structure.cell_at(start)
        if self.tests.heads_column(words, in_table=cell is not None and cell.row == 0):
            return True
        if mention.modifiers or _NUMBER_BEFORE.search(text[max(0, start - 6) : start]) is None:
            return False
        return self.columns.rows.units.code(words) is not None or self.qualified.fullmatch(f"1 {words}") is not None

    def _kinds(self, text: str, tests: Sequence[Mention], structure: Structure) -> list[Kind]:
        """The kinds of tests; `aimed` where what stands behind the name was not found ("goal INR 2-3", "Mg 400")."""
        kinds: list[Kind] = []
        for place, mention in enumerate(tests):
            words = " ".join(mention.span.of(text).split())
            kind = self.tests.kind(words)
            aimed = self.tests.is_aimed(text, mention.span.start) or self.tests.is_aimed(words, words.rfind(" ") + 1)
            if not aimed and place and kinds[-1].aimed:
                aimed = _ALSO_AIMED.fullmatch(text, tests[place - 1].span.end, mention.span.start) is not None
            aimed = aimed or (kind.dosed and structure.kind_at(mention.span.start) in self.tests.dosed)
            kinds.append(replace(kind, aimed=True) if aimed else kind)
        return kinds

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
        numbers = numbers_behind(text, mention.span.end, end, len(spans), self.columns.rows)
        return [mention] if numbers is None else [replace(mention, span=span) for span in spans]


class _Case:
    """The tests of one note, counted as its claims count them."""

    def __init__(
        self,
        text: str,
        tests: Sequence[Mention],
        kinds: Sequence[Kind],
        structure: Structure,
        claims: Claims,
        names: Tests,
        scalar: Callable[[str], object],
    ) -> None:
        self._text, self._tests, self._kinds, self._structure, self._claims = text, tests, kinds, structure, claims
        self._names, self._scalar = names, scalar
        self._starts = [mention.span.start for mention in tests]
        self._times = LineTimes(text, structure, tests)
        self.rows: dict[Span, Row] = {}
        self.unsure: set[Span] = set()

    def settled(self) -> list[Mention]:
        """The tests with what their rows say, and of the model's links what that leaves."""
        owners = self._owners()
        found = []
        for place, mention in enumerate(self._tests):
            kept = [held for held in mention.modifiers if self._keeps(place, held, owners)]
            if rows := self._claims.rows.get(place):
                kept = self._with_rows(place, kept, rows)
            if kept != list(mention.modifiers):
                kept.sort(key=lambda held: (held.span, held.label))
                mention = replace(mention, modifiers=tuple(kept))
            found.append(mention)
        return [self._with_time(mention) for mention in found]

    def _with_time(self, mention: Mention) -> Mention:
        """A test with the time that heads its line; one without a number has its own place and time."""
        known = any(held.label == "temporal" for held in mention.modifiers)
        if known or not any(held.label == "labvalue" and self._has_digit(held) for held in mention.modifiers):
            return mention
        time = self._times.of(mention)
        if time is None:
            return mention
        held = [*mention.modifiers, Modifier("temporal", time, rule=True)]
        held.sort(key=lambda item: (item.span, item.label))
        return replace(mention, modifiers=tuple(held))

    def _keeps(self, place: int, held: Modifier, owners: dict[Span, set[int]]) -> bool:
        if held.label == "temporal":
            return self._is_together(place, held.span) or not self._times.refuses(self._tests[place], held)
        if held.label not in ("labvalue", "reference_range"):
            return True
        if held.label == "reference_range" and self._is_number_again(held.span):
            return False
        if not self._has_digit(held):
            return self._is_together(place, held.span)
        if self._kinds[place].aimed or self._names.is_aimed(self._text, held.span.start):
            return False
        if claimers := self._claims.of(held.span):
            return place in claimers
        return self._is_near(place, held.span) if held.label == "reference_range" else place in owners[held.span]

    def _is_number_again(self, span: Span) -> bool:
        """Whether a normal range is only a number that no word calls one: "7.9 % (63 mmol/mol)", "340 (prior 1200)"."""
        before = self._text[max(0, span.start - 24) : span.start]
        return self._scalar(one_line(span.of(self._text))) is not None and _SAYS_NORMAL.search(before) is None

    def _has_digit(self, held: Modifier) -> bool:
        return _DIGIT.search(held.span.of(self._text)) is not None

    def _with_rows(self, place: int, kept: list[Modifier], rows: Sequence[Row]) -> list[Modifier]:
        """What a test's rows say in place of what the model says within them."""
        inside = [
            held
            for held in kept
            if held.label in ("labvalue", "reference_range") and place in self._claims.of(held.span)
        ]
        found = [held for held in kept if held not in inside]
        for row in rows:
            fit = (held for held in inside if held.label == "labvalue" and _fits(held.span, row))
            alone = (held for held in fit if sum(touch(held.span, other.value) for other in rows) == 1)
            value = next((held for held in alone if self._claims.of(held.span) == {place}), None)
            found.append(value or Modifier("labvalue", row.value, rule=True))
            self.rows[found[-1].span] = row
            if row.value in self._claims.unsure:
                self.unsure.add(found[-1].span)
        for normal in dict.fromkeys(row.normal for row in rows if row.normal is not None):
            ranges = (held for held in inside if held.label == "reference_range" and touch(held.span, normal))
            found.append(next(ranges, None) or Modifier("reference_range", normal, rule=True))
        if not any(row.flag for row in rows):
            found += [held for held in inside if held not in found and not self._has_digit(held)]
        return found

    def _owners(self) -> dict[Span, set[int]]:
        """Which tests the numbers outside of rows belong to."""
        owners: dict[Span, set[int]] = {}
        for span, holders in self._claims.holders.items():
            if _DIGIT.search(span.of(self._text)) is None or self._claims.of(span):
                continue
            if len(holders) > 1 and self._is_of_all(holders[-1], span):
                owners[span] = set(holders)  # "AST and ALT were both 40"
                continue
            near = [place for place in holders if self._is_near(place, span)]
            # Of two numbers around a name the one behind it is its own.
            near = [
                place for place in near if self._end(place) <= span.start or not self._claims.rows.get(place)
            ] or near
            if _PRESSURE.search(span.of(self._text)) is not None:
                near = [place for place in near if self._kinds[place].blood_pressure] or near
            if len(near) > 1:
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
    if row.unit is not None and row.unit.start < span.end < row.unit.end:
        return False
    if row.normal is not None and touch(span, row.normal):
        return False
    return span.end <= row.inner or row.inner == row.end

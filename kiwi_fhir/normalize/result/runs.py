"""Rows of results in which the model missed tests: "T 98.6 HR 104 RR 22", "05:40AM BLOOD WBC-12.3* RBC-3.21*".

A test is added only where nothing else can be meant: its name is one of tests.toml with a number behind it, and two
others like it stand next to it; or its line begins as MIMIC's laboratory writes them, with a time and a specimen. What
is added is marked as a rule's. A test that the model marked with more than its name ("AST-61") is cut to it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.result.kinds import Tests
from kiwi_fhir.normalize.result.rows import Row, Rows
from kiwi_fhir.types import Mention, Modifier, Span

_FEWEST = 3  # tests of a row
_BETWEEN = re.compile(
    r"(?:[\s,;|/.]|(?:and|on|of|via|ra|nc|room air|\d{1,2} ?l|liters?)(?![a-z])"
    r"|(?:chem(?:istry)?|cbc|bmp|cmp|lfts?|coags|labs|diff):)*(?:and )?",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_WITH_NUMBER = re.compile(r"[^\W_]\)?[^a-z0-9\n]{1,30}\d")
_LONGEST_NAME = 40
_LONGEST = 40  # characters between two tests of a row
_NUMBER_BEFORE = re.compile(r"\d ?%?[ \t]*\Z")  # "62% neutrophils 25% lymphocytes"
_DOSES = frozenset({"mg", "g", "ug", "meq", "mmol", "[iU]", "kcal"})
# A line of MIMIC's laboratory: day, time, and (but for the lines of an earlier form) the specimen.
_FRAME = re.compile(
    r"^[ \t]*(?P<time>\[\*\*[^\]\n]*\*\*\]|_{2,3}|\d{4}-\d\d?-\d\d?)[ \t]+\d\d?:\d\d[ \t]?(?:[AP]M)?[ \t]+"
    r"(?:(?P<specimen>[A-Z][A-Z ]{2,30}?)[ \t]+)?(?=[A-Za-z%][\w()/% ]*-)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Found:
    """The mentions of a note with the tests of its rows; `rows` are those of the names that were found there, `fluids`
    the names that are of another fluid than blood."""

    mentions: tuple[Mention, ...]
    rows: dict[Span, Row]
    fluids: frozenset[Span]


@dataclass(frozen=True, slots=True)
class Runs:
    """Finds with the grammar of rows and the names of tests.toml."""

    rows: Rows
    tests: Tests

    def complete(self, text: str, lowered: str, mentions: Sequence[Mention], structure: Structure) -> Found:
        """The mentions of a note `text` (`lowered`: in lower case) and the tests that its rows add."""
        rows: dict[Span, Row] = {}
        times: dict[Span, Span] = {}
        fluids: set[Span] = set()
        framed: list[tuple[int, int]] = []
        for frame in _FRAME.finditer(text):
            end = structure.line_at(frame.end()).end
            found = dict(self._framed(text, frame.end(), end))
            if frame["specimen"] is None and len(found) < _FEWEST:
                continue
            framed.append((frame.start(), end))
            rows.update(found)
            if frame["time"].startswith("["):
                times.update(dict.fromkeys(found, Span(*frame.span("time"))))
            if frame["specimen"] not in (None, "BLOOD"):
                fluids.update(found)
        starts = [mention.span.start for mention in mentions]
        for run in self._runs(text, lowered, structure):
            first = next(iter(run)).start
            index = bisect_right(framed, (first, len(text))) - 1
            if index >= 0 and first < framed[index][1]:
                continue
            if not any(mentions[at].label == "drug" for name in run for at in _over(mentions, starts, name)):
                rows.update(run)
        heads = self._heads(text, structure)
        if heads:
            mentions = [mention for mention in mentions if not _is_line(mention, heads)]
        if not rows and not heads:
            return Found(tuple(mentions), rows, frozenset())
        return Found(tuple(_merged(text, mentions, [*rows, *heads], times, structure)), rows, frozenset(fluids))

    def _framed(self, text: str, start: int, end: int) -> Iterator[tuple[Span, Row]]:
        """The tests of a line of MIMIC's laboratory, whatever their names."""
        found = list(self.tests.framed.finditer(text, start, end))
        for index, one in enumerate(found):
            name = Span(*one.span("name"))
            if one["word"]:
                value = Span(*one.span("word"))
                yield name, Row(value, None, None, None, value.end, value.end, closed=True, more=False)
                continue
            limit = found[index + 1].start() if index + 1 < len(found) else end
            row = self.rows.read(text, name.end, limit, replace(self.tests.kind(one["name"]), category="laboratory"))
            if row is not None:
                yield name, row

    def _runs(self, text: str, lowered: str, structure: Structure) -> Iterator[dict[Span, Row]]:
        """Names of tests with numbers behind them, one after the other."""
        run: dict[Span, Row] = {}
        reached = 0
        found = list(self._names(lowered))
        if len(found) < _FEWEST:
            return
        for index, one in enumerate(found):
            name = Span(*one.span())
            limit = structure.line_at(name.start).end
            if index + 1 < len(found):
                limit = min(limit, found[index + 1].start())
            row = self._pair(text, name, limit, structure)
            next_to = name.start - reached <= _LONGEST and _BETWEEN.fullmatch(text, reached, name.start) is not None
            if row is None or (run and not next_to):
                if len(run) >= _FEWEST:
                    yield run
                run = {}
            if row is None or (not run and _NUMBER_BEFORE.search(text[max(0, name.start - 8) : name.start])):
                continue
            run[name] = row
            reached = row.end
        if len(run) >= _FEWEST:
            yield run

    def _names(self, lowered: str) -> Iterator[re.Match[str]]:
        """The names of tests right before numbers; looked for only there, which is faster."""
        reached = 0
        for number in _WITH_NUMBER.finditer(lowered):
            yield from self.tests.names.finditer(lowered, max(reached, number.start() - _LONGEST_NAME), number.end())
            reached = number.end()

    def _heads(self, text: str, structure: Structure) -> list[Span]:
        """The names of tests that head columns with numbers in them."""
        heads = {
            cell.head for cell in structure.cells if cell.head is not None and _DIGIT.search(text, cell.start, cell.end)
        }
        kinds = ((head, self.tests.kind(head.of(text))) for head in heads)
        return sorted(head for head, kind in kinds if kind.category is not None and not kind.panel)

    def _pair(self, text: str, name: Span, limit: int, structure: Structure) -> Row | None:
        kind = self.tests.kind(name.of(text))
        if kind.dosed and structure.kind_at(name.start) in self.tests.dosed:
            return None
        row = self.rows.read(text, name.end, limit, kind)
        if row is None or row.more or not row.closed or self.tests.is_aimed(text, name.start):
            return None
        code = self.rows.units.code(row.unit.of(text)) if row.unit is not None else None
        return None if kind.category == "laboratory" and code in _DOSES else row


def _merged(
    text: str, mentions: Sequence[Mention], names: Sequence[Span], times: dict[Span, Span], structure: Structure
) -> list[Mention]:
    """The mentions with those of `names` that stand in none, each with its time; of tests only their names."""
    merged = list(mentions)
    starts = [mention.span.start for mention in mentions]
    for name in sorted(set(names)):
        over = list(_over(mentions, starts, name))
        time = times.get(name)
        dated = (Modifier("temporal", time, rule=True),) if time is not None else ()
        if not over:
            merged.append(Mention("test", name, dated, section=structure.kind_at(name.start), rule=True))
        elif len(over) == 1 and (known := merged[over[0]]).label == "test" and known.span.start < name.end:
            span = name if _has_more(text, known.span, name) or _holds(name, known.span) else known.span
            merged[over[0]] = replace(known, span=span, modifiers=(*known.modifiers, *dated))
    merged.sort(key=lambda mention: (mention.span, mention.label))
    return merged


def _over(mentions: Sequence[Mention], starts: Sequence[int], name: Span) -> Iterator[int]:
    """The indexes of the mentions that share characters with a name."""
    index = bisect_right(starts, name.end - 1)
    for at in range(max(0, index - 4), index):
        if mentions[at].span.end > name.start:
            yield at


def _is_line(mention: Mention, heads: Sequence[Span]) -> bool:
    """Whether a test is a whole line of heads: "Date INR Hgb"."""
    at = bisect_left(heads, Span(mention.span.start, 0))
    return mention.label == "test" and at < len(heads) and _holds(mention.span, heads[at]) and heads[at] != mention.span


def _holds(whole: Span, part: Span) -> bool:
    return whole.start <= part.start and part.end <= whole.end


def _has_more(text: str, span: Span, name: Span) -> bool:
    """Whether a mention holds a number beside its name, or what belongs to the number before it ("72 bpm RR")."""
    if any(mark.isdigit() for mark in text[name.end : span.end]):
        return True
    before = text[span.start : name.start].strip()
    return bool(before) and (
        before.isupper() or _NUMBER_BEFORE.search(text[max(0, span.start - 8) : span.start]) is not None
    )

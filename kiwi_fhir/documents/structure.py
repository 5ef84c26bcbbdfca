"""What stands where in a note: lines, sections, sentences, list items, answers, tables. Read once; all rules ask it.

Invariant: all offsets are of the untouched text, spans of one kind stand in text order, inside the text, and do not
overlap; sentences and lines cover it whole. It is long since one pass over the lines finds all of it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, TypeVar

from kiwi_fhir.documents.answers import Answer, read_answers
from kiwi_fhir.documents.cells import Cell, read_cells
from kiwi_fhir.documents.headings import Heading, Headings
from kiwi_fhir.types import Span

_LINE_END = re.compile(r"\r\n?|[\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# A mark that ends a sentence before a capital, a figure or a list mark, or between two words that were glued together.
# MTSamples' line ends were lost in places: ".," before a capital stands for one.
_STOP = re.compile(
    r"[.?!](?:[\"')\]’”]*(?:\s+|,)(?=[\"'(\[“‘]?[A-Z0-9*#+\[])|(?<=[a-z)]\.)(?=[A-Z][a-z])(?<=[a-z][a-z)]\.))"
)
#: Words whose full stop (not in the match) ends no sentence, and a list item's number.
ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|st|vs|no|approx|appt|pt|pts|dx|hx|e\.g|i\.e|etc|fig|inc|jr|sr|q|p\.o|i\.v|i\.m|b\.i\.d|t\.i\.d"
    r"|q\.i\.d|q\.d|q\.h\.s|p\.r\.n|a\.m|p\.m|mg|ml|cc|tab|cap|[a-z])|^\s*\(?\d{1,3})$",
    re.IGNORECASE,
)
# The mark of a list item: "- ", "* ", "1.", "(2)", "a)"; "-cough" and "+chills" are signs of what follows.
_ITEM = re.compile(
    r"[ \t]*(?P<mark>[*•·>#]+|[-–+](?!\d)|\(?(?P<number>\d{1,2})[.)](?!\d)|\(?[A-Za-z][.)](?=[ \t]))[ \t]*"
)
_NUMBER = re.compile(r"(?<![\w./-])(?<!\d,)\(?(\d{1,2})[.)](?=[ \t]*[A-Za-z])")  # ... inside a line
_SPACES = frozenset(" \t")
_LABEL = re.compile(r"[ \t]*[A-Z][A-Za-z /&]{1,40}:")
_OPEN_END = re.compile(r"\b(?:of|or|and|the|an?|with|to|for|in|on|at|by|from|no|nor|any|his|her|is|was|has|had)$")
_UNIT = re.compile(r"(?:mg|mcg|g|ml|mm|cm|units?|tabs?|tablets?|capsules?|puffs?|days?|weeks?|months?|years?|hours?)\b")
WRAP_WIDTH = 50  # a line shorter than this was ended by its author, not by a line wrap
_SYSTEMS = "review_of_systems"  # the kind of section in which a dash before a word says no


@dataclass(frozen=True, slots=True)
class Section:
    """A heading's section: `[start, end)` with the heading, `name` the heading's words, `body` what stands behind it.

    `kind` is a key of sections.toml, or None for a heading of no known kind.
    """

    start: int
    end: int
    name: Span
    body: Span
    kind: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list: `mark` ("-", "2."), its `number` where it has one, `body` the words behind the mark."""

    start: int
    end: int
    mark: Span
    body: Span
    number: int | None


PartT = TypeVar("PartT", Item, Answer, Cell)


@dataclass(frozen=True, slots=True)
class Structure:
    """The structure of a text of `length` characters. `lines` and `sentences` hold where each starts, from 0 on.

    `kinds` are the kinds of its sections.
    """

    length: int
    lines: list[int]
    sentences: list[int]
    sections: list[Section]
    items: list[Item]
    answers: list[Answer]
    cells: list[Cell]
    kinds: frozenset[str] = frozenset()

    def line_at(self, offset: int) -> Span:
        """The line with the character at `offset`, with its end."""
        return self._piece(self.lines, offset)

    def sentence_at(self, offset: int) -> Span:
        """The sentence, list item or heading with the character at `offset`, with the white space behind it."""
        return self._piece(self.sentences, offset)

    def section_at(self, offset: int) -> Section | None:
        """The section with the character at `offset`; None before the first heading."""
        index = bisect_right(self.sections, offset, key=_start) - 1
        return self.sections[index] if index >= 0 else None

    def kind_at(self, offset: int) -> str | None:
        """The kind of that section."""
        section = self.section_at(offset)
        return section.kind if section is not None else None

    def is_heading(self, span: Span) -> bool:
        """Whether `span` is nothing but a heading, which the guideline (rule 3) does not annotate.

        The heading of an imaging section names the test itself ("CT scan: normal").
        """
        section = self.section_at(span.start)
        return section is not None and span.end <= section.body.start and section.kind not in (None, "imaging")

    def item_at(self, offset: int) -> Item | None:
        """The list item with the character at `offset`."""
        return _holding(self.items, offset)

    def answer_at(self, offset: int) -> Answer | None:
        """The label and its answer that the character at `offset` stands in."""
        return _holding(self.answers, offset)

    def cell_at(self, offset: int) -> Cell | None:
        """The table's cell with the character at `offset`."""
        return _holding(self.cells, offset)

    def _piece(self, starts: list[int], offset: int) -> Span:
        index = bisect_right(starts, offset)
        return Span(starts[max(0, index - 1)], starts[index] if index < len(starts) else self.length)


def read_structure(text: str, headings: Headings) -> Structure:
    """The structure of `text`; linear in its length."""
    starts = [0, *(found.end() for found in _LINE_END.finditer(text))]
    if len(starts) > 1 and starts[-1] == len(text):
        starts.pop()
    lines = list(_lines(text, starts, headings))
    items = list(_items(text, lines))
    breaks = {0, *(item.start for item in items)}
    for line in lines:
        if line.begins:
            breaks.add(line.start)
        breaks.update(_stops(text, line.start, line.end))
        breaks.update(heading.start for heading in line.headings)
    breaks.difference_update(item.body.start for item in items)  # no stop behind "2."
    sections = _sections(text, [heading for line in lines for heading in line.headings], headings.until)
    names = [section.name for section in sections if section.kind is not None]
    systems = [section.body for section in sections if section.kind == _SYSTEMS]
    return Structure(
        length=len(text),
        lines=starts,
        sentences=sorted(breaks),
        sections=sections,
        items=items,
        answers=read_answers(text, names, systems),
        cells=read_cells(text, starts),
        kinds=frozenset(section.kind for section in sections if section.kind is not None),
    )


class _Line(NamedTuple):
    """A line that is not blank, without the white space at its end. It `begins` a sentence, or goes on with one.

    `apart` says that a blank line stands before it.
    """

    start: int
    end: int
    mark: re.Match[str] | None
    headings: list[Heading]
    begins: bool
    apart: bool


def _lines(text: str, starts: Sequence[int], headings: Headings) -> Iterator[_Line]:
    last: _Line | None = None
    kind: str | None = None
    blank = 0  # where the last blank line starts
    for start, following in zip(starts, [*starts[1:], len(text)], strict=True):
        end = start + len(text[start:following].rstrip())
        if end == start:
            blank = start
            continue
        mark = _ITEM.match(text, start, end)
        apart = last is None or blank > last.start
        goes_on = (
            mark is None
            and last is not None
            and not apart
            and not _is_ended(text, last, start)
            and _LABEL.match(text, start, end) is None
        )
        here = headings.of_line(text, start, end, goes_on=goes_on, open_kind=kind)
        if here:
            kind = here[-1].kind
            goes_on = goes_on and here[0].start > start
        last = _Line(start, end, mark, here, not goes_on, apart)
        yield last


class _Mark(NamedTuple):
    """The mark of a list item at `start`; `body` is where the words behind it start."""

    start: int
    span: Span
    body: int
    number: int | None


def _items(text: str, lines: Sequence[_Line]) -> Iterator[Item]:
    """List items: each goes on up to the next, a blank line, a heading, or a sentence of its own without an indent."""
    opened: _Mark | None = None
    reached = 0  # where the words of the last line end
    for line in lines:
        ended = line.apart or (line.begins and line.mark is None and not text[line.start].isspace())
        places: list[tuple[int, _Mark | None]] = [(line.start, None)] if ended else []
        places += [(heading.start, None) for heading in line.headings]
        places += [(mark.start, mark) for mark in _marks(text, line)]
        for place, mark in sorted(places, key=itemgetter(0)):
            if opened is not None:
                end = max(opened.body, min(place, reached) if place == line.start else place)
                body = Span(opened.body, opened.body + len(text[opened.body : end].rstrip()))
                yield Item(opened.start, body.end, opened.span, body, opened.number)
            opened = mark
        reached = line.end
    if opened is not None:
        yield Item(opened.start, reached, opened.span, Span(opened.body, reached), opened.number)


def _marks(text: str, line: _Line) -> Iterator[_Mark]:
    """The mark at a line's start, and numbers inside it that count on ("1. Gout 2. Asthma")."""
    own, count, at = line.mark, 0, line.start
    if own is not None and not (line.headings and line.headings[0].start == line.start):
        count, at = int(own["number"] or 0), own.end()
        yield _Mark(line.start, Span(*own.span("mark")), at, count if own["number"] else None)
    inside: list[_Mark] = []
    for found in _NUMBER.finditer(text, at, line.end):
        number = count + len(inside) + 1
        if int(found[1]) == number:
            inside.append(_Mark(found.start(), Span(*found.span()), _skip(text, found.end()), number))
    if count or len(inside) > 1:
        yield from inside


def _is_ended(text: str, line: _Line, following: int) -> bool:
    """Whether the line was ended by its author, and not by a line wrap before `following`.

    A short line is wrapped where its last word can end nothing ("shortness of"), before a unit, or where it goes on
    with the line before it.
    """
    start, end = line.start, line.end
    if text[end - 1] in ".:;?!":
        return True
    if end - start >= WRAP_WIDTH:
        return False
    if not text[following].islower():
        return True
    if not line.begins or text[end - 1] == "," or _OPEN_END.search(text, max(start, end - 10), end):
        return False
    return not (text[end - 1].isdigit() and _UNIT.match(text, following))


def _stops(text: str, start: int, end: int) -> list[int]:
    """Where sentences start inside the line `[start, end)`."""
    return [
        found.end()
        for found in _STOP.finditer(text, start, end)
        if not (
            text[found.start()] == "." and ABBREVIATION.search(text[max(start, found.start() - 12) : found.start()])
        )
        and found.end() < end
    ]


def _sections(text: str, headings: list[Heading], until: Mapping[str, re.Pattern[str]]) -> list[Section]:
    """A section for each heading; of a kind with an end of its own only as far as that, and of no kind without it."""
    sections = []
    ends = [*(heading.start for heading in headings[1:]), len(text)][: len(headings)]
    for found, end in zip(headings, ends, strict=True):
        kind, stop = found.kind, max(end, found.end)
        if kind is not None and kind in until:
            last = until[kind].search(text, found.end, stop)
            kind, end = (kind, last.end()) if last is not None else (None, stop)
        sections.append(Section(found.start, end, found.name, Span(found.end, max(end, found.end)), kind))
        if end < stop:
            sections.append(Section(end, stop, Span(end, end), Span(end, stop), None))
    return sections


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACES:
        at += 1
    return at


def _start(part: Section | Item | Answer | Cell) -> int:
    return part.start


def _holding(parts: Sequence[PartT], offset: int) -> PartT | None:
    index = bisect_right(parts, offset, key=_start) - 1
    return parts[index] if index >= 0 and offset < parts[index].end else None

"""What stands where in a note: lines, sections, sentences, list items, answers, tables. Read once; all rules ask it.

Invariant: all offsets are of the untouched text, spans of one kind stand in text order, inside the text, and do not
overlap; sentences and lines cover it whole.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from kiwi_fhir.documents.answers import Answer, read_answers
from kiwi_fhir.documents.cells import Cell, read_cells
from kiwi_fhir.documents.headings import Heading, Headings
from kiwi_fhir.types import Document, Mention, Span

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
    lines = [0, *(found.end() for found in _LINE_END.finditer(text))]
    if len(lines) > 1 and lines[-1] == len(text):
        lines.pop()
    found: list[Heading] = []
    breaks: list[int] = []  # where a sentence starts, within lines and at their starts
    items: list[Item] = []
    kind: str | None = None
    marked: tuple[int, Span, int, int | None] | None = None  # an open item: start, mark, where its body starts, number
    reached = 0  # where the words of the last line that is not blank end
    last = 0  # ... and where it starts
    joined = False  # ... and whether it goes on with the sentence before it

    def close(end: int) -> None:
        nonlocal marked
        if marked is not None:
            items.append(Item(marked[0], end, marked[1], Span(marked[2], max(end, marked[2])), marked[3]))
        marked = None

    for index, start in enumerate(lines):
        end = lines[index + 1] if index + 1 < len(lines) else len(text)
        stop = start + len(text[start:end].rstrip())
        if stop == start:  # a blank line
            close(reached)
            reached = last = start
            joined = False
            continue
        mark = _ITEM.match(text, start, stop)
        goes_on = (
            mark is None
            and not _is_ended(text, last, reached, start, joined=joined)
            and _LABEL.match(text, start, stop) is None
        )
        here = list(headings.of_line(text, start, stop, goes_on=goes_on, open_kind=kind))
        if here:
            kind = here[-1].kind
            goes_on = goes_on and here[0].start > start
        if mark is not None or not goes_on:
            breaks.append(start)
        if here and here[0].start == start:
            close(reached)
        elif mark is not None:
            close(reached)
            number = int(mark["number"]) if mark["number"] else None
            marked = (start, Span(*mark.span("mark")), mark.end(), number)
        elif marked is not None and not goes_on and not text[start].isspace():
            close(reached)
        breaks.extend(_stops(text, start, stop))
        breaks.extend(heading.start for heading in here)
        found.extend(here)
        reached, last, joined = stop, start, goes_on
    close(reached)
    sections = _sections(text, found, headings.until)
    systems = [section.body for section in sections if section.kind == _SYSTEMS]
    return Structure(
        length=len(text),
        lines=lines,
        sentences=sorted({0, *breaks}),
        sections=sections,
        items=items,
        answers=read_answers(text, [section.name for section in sections if section.kind is not None], systems),
        cells=read_cells(text, lines),
        kinds=frozenset(section.kind for section in sections if section.kind is not None),
    )


def _is_ended(text: str, start: int, end: int, following: int, *, joined: bool) -> bool:
    """Whether the line `[start, end)` was ended by its author, and not by a line wrap before `following`.

    A short line is wrapped where its last word can end nothing ("shortness of"), or before a unit; `joined` says that
    it goes on with the line before it.
    """
    if end == start or text[end - 1] in ".:;?!":
        return True
    if end - start >= WRAP_WIDTH:
        return False
    if not text[following].islower():
        return True
    if joined or text[end - 1] == "," or _OPEN_END.search(text, max(start, end - 10), end):
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


def _start(part: Section | Item | Answer | Cell) -> int:
    return part.start


def _holding(parts: Sequence[PartT], offset: int) -> PartT | None:
    index = bisect_right(parts, offset, key=_start) - 1
    return parts[index] if index >= 0 and offset < parts[index].end else None


def placed(document: Document, structure: Structure) -> Document:
    """`document` with each mention's section read off `structure`; before the first heading a mention keeps its own.

    Mentions that are nothing but a heading are left out, and a mention that begins in a heading ("Meds - metformin")
    begins behind it.
    """
    if not structure.sections:
        return document
    mentions = [_placed(mention, structure) for mention in document.mentions]
    return replace(document, mentions=tuple(mention for mention in mentions if mention is not None))


def _placed(mention: Mention, structure: Structure) -> Mention | None:
    section = structure.section_at(mention.span.start)
    if section is None:
        return mention
    if structure.is_heading(mention.span):
        return None
    span, body = mention.span, section.body.start
    if section.kind not in (None, "imaging") and section.name.end < body and span.start < body < span.end:
        span = Span(body, span.end)
    if (span, section.kind) == (mention.span, mention.section):
        return mention
    return replace(mention, span=span, section=section.kind)

"""Times that head lines of results: "03/01 2000: T 38.9, HR 112", "Labs on 2/27/2026" over the lines of its results."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.types import Mention, Modifier, Span

_DIGIT = re.compile(r"\d")
_MARKS = " \t-*[(•"
_HEAD = re.compile(
    r"^[^\w\n]*(?:(?:admission|discharge|repeat|initial|morning|am|pm)[ \t]+)?"
    r"(?:labs?|laborator(?:y|ies)|results|vitals?|cbc|chem\w*|bmp|cmp|lfts?)"
    r"(?:[ \t]+(?:data|values|results|studies|signs|tests?))?(?:(?:on|from|of|as of|dated|at)\b|[,:( \t-])*"
    r"(?P<time>\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)|\d{4}-\d\d-\d\d|\[\*\*\d[\d/-]*\*\*\])"
    r"(?:[ \t]+\d{1,2}:\d\d)?[^\w\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_LINES = 15  # lines under such a head


class LineTimes:
    """The times of a note's lines, by where the lines start."""

    def __init__(self, text: str, structure: Structure, tests: Sequence[Mention]) -> None:
        """Find them; `tests` are the note's, with the times that the model links to them."""
        self._text, self._structure = text, structure
        self._begins: dict[int, Span] = {}
        self._numbers: set[int] = set()  # lines with a number of a test
        for held in (held for mention in tests for held in mention.modifiers):
            line = structure.line_at(held.span.start).start
            if _DIGIT.search(held.span.of(text)) is None:
                continue
            if held.label == "labvalue":
                self._numbers.add(line)
            elif held.label == "temporal" and not text[line : held.span.start].strip(_MARKS):
                self._begins[line] = held.span
        self._heads = {
            structure.line_at(found.start("time")).start: Span(*found.span("time")) for found in _HEAD.finditer(text)
        }

    def of(self, mention: Mention) -> Span | None:
        """The time that heads the line of a test, or the lines above it."""
        line = self._structure.line_at(mention.span.start)
        return self._begins.get(line.start) or (self._above(line.start) if self._heads else None)

    def refuses(self, mention: Mention, held: Modifier) -> bool:
        """Whether a time that the model links to a test from another line is that line's own, or of other lines."""
        line = self._structure.line_at(held.span.start).start
        own = self._structure.line_at(mention.span.start).start
        if line == own or _DIGIT.search(held.span.of(self._text)) is None:
            return False
        above = self._heads.get(own) or (self._above(own) if self._heads else None)
        return line in self._numbers or (above is not None and above != held.span)

    def _above(self, start: int) -> Span | None:
        lines = self._structure.lines
        index = bisect_right(lines, start) - 1
        for at in range(index - 1, max(-1, index - 1 - _LINES), -1):
            if lines[at] in self._heads:
                return self._heads[lines[at]]
            if not self._text[lines[at] : lines[at + 1]].strip():
                return None
        return None

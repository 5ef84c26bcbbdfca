"""Tables of a note: cells with the heads of their row and column. Tabs, bars, columns of blanks, or commas divide them.

A table is two lines or more that follow each other and are divided in one way. Its first line heads the columns where
it holds no value ("Test | Result | Range"; dates and times head columns too), and the first cell of a line heads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kiwi_fhir.types import Span

Divider = Literal["|", "\t", " ", ","]

_GAP = re.compile(r"(?<=\S)(?:   |\t)[ \t]*(?=\S)")
_RULE = re.compile(r"[|+\-=: \t]*")  # the line under a head: "|---|---|"
_DIVIDED = {
    "|": re.compile(r"[^|]+"),
    "\t": re.compile(r"[^\t]+"),
    ",": re.compile(r"[^,]+"),
    " ": re.compile(r"\S+(?: \S+)*"),
}
_MOST_COMMAS = 12
_COMMAS = re.compile(r",[^\s,]*,")
_MARKS = ("|", "\t", "   ")  # a text without them and without commas like those has no table
# What heads no column: a number, with whatever stands behind it; but a date or a time of day does.
_VALUE = re.compile(r"[<>≤≥=+-]*\s?\d")
_DATE = re.compile(
    r"\d{1,4}[/-]\d{1,2}(?:[/-]\d{1,4})?|\d{1,2}:\d\d(?:\s?[AaPp][Mm])?|\[\*\*[^]]*\*\*\]|(?:day|week) \d+"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell `[start, end)`, not empty; `table`, `row` and `column` count from 0.

    `head` is the cell that heads its column, `row_head` the first cell of its line; None for those themselves.
    """

    start: int
    end: int
    table: int
    row: int
    column: int
    head: Span | None
    row_head: Span | None


def read_cells(text: str, lines: Sequence[int]) -> list[Cell]:
    """The cells of the tables of `text`, whose lines start at `lines`; linear in its length."""
    found: list[Cell] = []
    if not any(mark in text for mark in _MARKS) and _COMMAS.search(text) is None:
        return found
    rows: list[list[tuple[int, Span]]] = []  # the open table's lines, as cells with their columns
    divider: Divider | None = None
    table = 0

    def close() -> None:
        nonlocal table
        if len(rows) > 1:
            found.extend(_cells(text, rows, table, divider))
            table += 1
        rows.clear()

    for index, start in enumerate(lines):
        end = lines[index + 1] if index + 1 < len(lines) else len(text)
        end = start + len(text[start:end].rstrip())
        kind = _divider(text, start, end)
        if kind is None or kind != divider:
            if rows and divider == "|" and start < end and _RULE.fullmatch(text, start, end):
                continue
            close()
        divider = kind
        if kind is not None and not _RULE.fullmatch(text, start, end):
            rows.append(_columns(text, start, end, kind))
    close()
    return found


def _divider(text: str, start: int, end: int) -> Divider | None:
    """What divides the cells of a line; None for a line of prose."""
    if text.find("|", start, end) >= 0:
        return "|"
    if start == end:
        return None
    gap = _GAP.search(text, start, end)
    if gap is not None:
        return "\t" if "\t" in gap[0] else " "
    if 2 <= text.count(",", start, end) <= _MOST_COMMAS and text.find(", ", start, end) < 0:
        return ","
    return None


def _columns(text: str, start: int, end: int, divider: Divider) -> list[tuple[int, Span]]:
    """The cells of a line that are not empty, by their column; with columns of blanks by their place in the line."""
    first = start + (divider == "|" and text[start : start + 1] == "|")
    cells = []
    column, at = 0, first
    for cell in _DIVIDED[divider].finditer(text, first, end):
        column += cell.start() - at
        words = cell[0].strip()
        if words:
            left = cell.start() + cell[0].index(words)
            cells.append((cell.start() - start if divider == " " else column, Span(left, left + len(words))))
        at = cell.end()
    return cells


def _cells(text: str, rows: list[list[tuple[int, Span]]], table: int, divider: Divider | None) -> list[Cell]:
    heads = rows[0] if _heads(text, rows) else []
    found = []
    for number, row in enumerate(rows):
        for index, (column, span) in enumerate(row):
            head = _head(heads, column, span, divider) if number and heads else None
            row_head = row[0][1] if index and not (heads and not number) else None
            found.append(Cell(span.start, span.end, table, number, index if divider == " " else column, head, row_head))
    return found


def _heads(text: str, rows: list[list[tuple[int, Span]]]) -> bool:
    """Whether the first line heads the columns: it holds no value, and a line below does."""
    if any(_is_value(span.of(text)) for _, span in rows[0]):
        return False
    return any(_is_value(span.of(text)) for row in rows[1:] for _, span in row)


def _is_value(words: str) -> bool:
    return _VALUE.match(words) is not None and _DATE.fullmatch(words) is None


def _head(heads: list[tuple[int, Span]], column: int, span: Span, divider: Divider | None) -> Span | None:
    """What heads a cell: the head of its column; with columns of blanks the one above it."""
    if divider != " ":
        return next((head for place, head in heads if place == column), None)
    end = column + span.end - span.start
    above = [head for place, head in heads if place < end and column < place + head.end - head.start]
    return above[0] if len(above) == 1 else None

"""Results in tables: the columns say which cell is a test's value, unit, flag or normal range, and of when."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from kiwi_fhir.documents.cells import Cell
from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.result.kinds import ROLES, Kind, Role
from kiwi_fhir.normalize.result.rows import Row, Rows
from kiwi_fhir.normalize.text.words import plain
from kiwi_fhir.types import Span

_DIGIT = re.compile(r"\d")
_TIME = re.compile(r"\d[/:-]\d|\[\*\*|(?:day|week|hour) \d", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+")
_LONGEST_LINE = 24  # cells
Below = Mapping[Span, Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Columns:
    """The words of tests.toml that head columns, by what these hold."""

    words: Mapping[Role, frozenset[str]]
    rows: Rows

    def read(self, text: str, structure: Structure, below: Below, name: Span, kind: Kind) -> list[Row] | None:
        """The rows of a test whose name stands at `name` in a table with heads; None where it does not.

        In the line of its name, or under it where the test itself heads a column; `below` are the cells under heads.
        """
        own = structure.cell_at(name.start)
        if own is None or name.end > own.end or _DIGIT.search(text, name.end, own.end):
            return None
        index = bisect_left(structure.cells, own.start, key=lambda cell: cell.start)
        if own.head is None and own.row == 0 and kind.category is not None:
            cells = below.get(Span(own.start, own.end), ())
            return [row for cell in cells for row in self._value(text, cell, kind, time=cell.row_head)] or None
        line = [cell for cell in _line(structure, index) if cell.column > own.column]
        heads = [cell.head.of(text) for cell in line if cell.head is not None]
        if not heads or any(_DIGIT.search(head) and not _TIME.search(head) for head in heads):
            return None
        return self._line(text, line, kind)

    def _line(self, text: str, line: Iterable[Cell], kind: Kind) -> list[Row]:
        values: list[Row] = []
        unit: Span | None = None
        normal: Span | None = None
        flag: str | None = None
        for cell in line:
            role, place = self._role(text, cell), Span(cell.start, cell.end)
            if role == "normal":
                normal = place if kind.category != "vital-signs" or _DIGIT.search(place.of(text)) else None
            elif role == "unit":
                unit = place
            elif role == "flag":
                flag = self.rows.flag(place.of(text))
            else:
                values += self._value(text, cell, kind, time=None if role else cell.head, earlier=role == "earlier")
        return [
            row
            if row.earlier or row.time
            else replace(row, unit=row.unit or unit, flag=row.flag or flag, normal=row.normal or normal)
            for row in values
        ]

    def _value(self, text: str, cell: Cell, kind: Kind, *, time: Span | None, earlier: bool = False) -> Iterator[Row]:
        row = self.rows.read_value(text, cell.start, cell.end, kind)
        if row is not None:
            yield replace(row, time=time, earlier=earlier)

    def _role(self, text: str, cell: Cell) -> Role | None:
        if cell.head is None:
            return None
        words = set(_WORD.findall(plain(cell.head.of(text))))
        return next((role for role in ROLES if not words.isdisjoint(self.words[role])), None)


def cells_below(structure: Structure) -> Below:
    """The cells of a note's tables by their heads."""
    found: dict[Span, list[Cell]] = {}
    for cell in structure.cells:
        if cell.head is not None:
            found.setdefault(cell.head, []).append(cell)
    return found


def _line(structure: Structure, index: int) -> Iterator[Cell]:
    """The cells behind the `index`th in its line."""
    own = structure.cells[index]
    for cell in islice(structure.cells, index + 1, index + 1 + _LONGEST_LINE):
        if (cell.table, cell.row) != (own.table, own.row):
            return
        yield cell

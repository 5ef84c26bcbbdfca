"""CSV with quoted line ends as rows, one bad row never touching its neighbours.

The standard library's parser in strict mode does the parsing: it keeps line ends inside quotes as they are, takes NUL,
and stops at a quote that is out of place. pyarrow is three times as fast, but it joins two rows without a word where
a quote is not closed, and of a file that breaks off it loses all rows of the last block.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kiwi_fhir.errors import InputError
from kiwi_fhir.notes.files import Files, basename
from kiwi_fhir.notes.streams import blocks, lines

#: Characters of one field; a note is never so long, so a longer field is a quote that was never closed.
MAX_FIELD = 1 << 26

_UNDECODABLE = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of bytes that are not UTF-8


@dataclass(frozen=True, slots=True)
class Row:
    """A row below the header: its number from 1, the line that it starts at, its fields, and what is wrong with it."""

    number: int
    line: int
    fields: list[str]
    problem: str | None = None


def header(files: Files, path: str) -> list[str]:
    """The column names, in lower case and without spaces at their ends; only the file's first block is read.

    A file whose first line is no CSV has no columns. Raises InputError when the file breaks off before its first line.
    """
    for block in blocks(files, path):
        first = block.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
        return [name.strip().lower() for name in _fields(first.decode("utf-8", "replace").rstrip("\r"))]
    return []


def rows(files: Files, path: str, width: int, starts_row: Callable[[list[str]], bool]) -> Iterator[Row]:
    """The rows below the header line, which has `width` columns.

    `starts_row` says of one line's fields whether a row seems to start there: after a bad row, lines are passed over
    until it holds. Empty lines are no rows. Bytes that are not UTF-8 become lone surrogates (see `is_decodable`).

    Raises InputError, after all whole rows, when the file breaks off: a gzip stream that ends early, a quote that is
    open at the end, or no line after a bad row that starts a row.
    """
    _allow_long_fields()
    feed = _Feed(lines(files, path))
    next(feed, "")  # the header
    reader = csv.reader(feed, strict=True)
    number = 0
    while True:
        line = feed.number + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            if feed.ended:
                raise InputError(
                    f"{basename(path)} breaks off inside the quoted text of row {number}, which starts at line {line}."
                ) from error
            yield Row(number, line, [], "has a quote or a line end that is out of place")
            feed.back_to_row(line, starts_row)
        else:
            if not fields:
                continue
            number += 1
            if len(fields) == width:
                yield Row(number, line, fields)
                continue
            yield Row(number, line, fields, f"has {len(fields)} fields where the header has {width}")
        if not feed.seek_row(starts_row):
            raise InputError(f"{basename(path)} can't be read on after row {number} at line {line}: mend that row.")


def is_decodable(field: str) -> bool:
    """Whether the field's bytes were UTF-8."""
    return field.isascii() or _UNDECODABLE.search(field) is None


def _allow_long_fields() -> None:
    # The limit is one for the whole process: it is only ever raised.
    if csv.field_size_limit() < MAX_FIELD:
        csv.field_size_limit(MAX_FIELD)


class _Feed:
    """The decoded lines of a file, of which the last can be given back; `number` counts them from 1."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._last = ""
        self._given_back = False
        self.number = 0
        self.ended = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self._given_back:
            self._given_back = False
        else:
            try:
                self._last = next(self._stream).decode("utf-8", "surrogateescape")
            except StopIteration:
                self.ended = True
                raise
        self.number += 1
        return self._last

    def back_to_row(self, start: int, starts_row: Callable[[list[str]], bool]) -> None:
        """Gives the last line back when a row starts there; not when the bad row itself, from line `start`, does."""
        if self.number > start and starts_row(_fields(self._last)):
            self._give_back()

    def seek_row(self, starts_row: Callable[[list[str]], bool]) -> bool:
        """Passes over lines until one starts a row; False when lines were passed over and none did."""
        passed = 0
        for line in self:
            if starts_row(_fields(line)):
                self._give_back()
                return True
            passed += bool(line.strip())
        return passed == 0

    def _give_back(self) -> None:
        self._given_back = True
        self.number -= 1


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []

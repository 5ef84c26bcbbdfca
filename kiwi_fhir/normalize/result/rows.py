"""Rows of results: what stands right behind a test's name, and what belongs to it.

    "Na 140 K 4.2"   "WBC-12.3* Hgb-9.8*"   "Leukocytes 4.4 /nl 3.6-10.0"   "Sodium | 128 | L | mmol/L | 135-145"
    "HR: 88 (80 - 110) bpm"   "BP: 142/86(101) {128/70(88) - 150/92(110)} mmHg"

A row is read only where nothing but a mark, a bar, a tab or blanks stand between name and value. Of a vital sign the
two numbers in brackets are the lowest and highest that were seen, and one behind a blood pressure is the mean: they are
passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from kiwi_fhir.normalize.result.kinds import UNKNOWN, Kind
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.numbers import DIGITS
from kiwi_fhir.normalize.text.words import Vocabulary
from kiwi_fhir.types import Span

_COMPARED = r"(?:[<>≤≥]\s?=?|=[<>])\s?"
_TO = r"\s?(?:-|–|to)\s?"
_ENDS = r"(?!\d|[:/.,·]\d|\s?[-–]\s?\d)"  # no date, no time of day, no part of a longer number
_LEAD = re.compile(
    r"(?:\.(?=\t|  |:))?[*_]{0,2}(?:[ \t]*\((?P<note>[A-Za-z][A-Za-z0-9 ./-]{0,20})\)[ \t]*(?:[:=|][ \t|]*)?"
    r"|[ \t]*(?:[:=|]|\.{2,}|,(?=\S)|(?<![ \t])-(?=-?[.\d<>≤≥]))[*_]{0,2}[ \t|]*"
    r"|[ \t]+(?:[|=][ \t|]*)?)"
)
_PRESSURE = re.compile(r"\d{2,3}\s?/\s?\d{2,3}(?![\d/])")
_RANGE = re.compile(rf"(?P<low>{DIGITS}){_TO}(?P<high>{DIGITS}){_ENDS}")
_NUMBER = re.compile(rf"{_COMPARED}{DIGITS}{_ENDS}|-?{DIGITS}{_ENDS}")
_NEXT = re.compile(r"[ \t]*\|[ \t|]*|[ \t]+|,(?=\S)|(?=[(\[{*%/°A-Za-z])")
_STAR = re.compile(r"\*+#?")
_BRACKET = re.compile(r"\(([^()\n]{1,40})\)|\[([^][*\n]{1,40})\]")
_EXTREMES = re.compile(r"[{(]\s?[\d.,/ ]+(?:\(\d+\)\s?)?[-–]\s?[\d.,/ ]+(?:\(\d+\)\s?)?[)}]")
_NORMAL = re.compile(
    rf"(?:(?:ref(?:erence)?|normal|nl)\.?(?: (?:range|interval|values?|limits?))?\s?:?\s?)?"
    rf"(?:{DIGITS}{_TO}{DIGITS}|(?:{_COMPARED}|up to ){DIGITS}){_ENDS}",
    re.IGNORECASE,
)
_FLAG = re.compile(
    r"(?:HH?|LL?|A|(?i:high|low|abnormal|critical))"
    r"(?=\t|[ \t]*(?:\Z|[|,;)\r\n]|\.(?:\s|\Z)|\d+(?:\.\d+)?\s?[-–]|[<>(]|\S+/\S))"
)
_WORD = re.compile(r"[A-Za-z]+")
_UNITS = tuple(re.compile(rf"[^\s,;|]+(?: [^\s,;|]+){{{words}}}(?<![.*])") for words in (2, 1, 0))
_FRACTION = re.compile(r"[A-Za-zµμ%]*[0-9²³]*/[A-Za-zµμ]+[0-9²³]*")
_CLOSED = re.compile(r"[ \t]*(?:\Z|[,;|)\r\n]|\.(?=\s|\Z)|[x×]\s?\d\b|(?:on|RA|NC|room|via|with|and|at)\b)")
# A word is a unit where the row ends with it or goes on: not in "12.9 In the evening", "4.5 mg tablets".
_SURE_UNIT = re.compile(r"[/%°\[{]")
_AFTER_UNIT = re.compile(r"\t|[ \t]*(?:\Z|[,;|\r\n()\[{<>*\d]|\.(?:\s|\Z)|(?:HH?|LL?)\b)")
_DATE = re.compile(r"(?:on )?(?P<date>\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)|\d{4}-\d\d-\d\d|\[\*\*\d[\d/-]*\*\*\])(?![\d/-])")
_FEET = re.compile(r"\d ?'(?: ?\d{1,2}(?:\.\d+)? ?(?:\"|''))?")
_COMPOUND = re.compile(r"\s?(?:ft|feet|foot|lbs?|pounds?)\.?,?\s+(?:and )?\d", re.IGNORECASE)  # "5 ft. 8 in."
_MORE = re.compile(rf"[ \t|]+(?P<number>{DIGITS})(?![\d/:])")


@dataclass(frozen=True, slots=True)
class Row:
    """A value behind a test's name, and what belongs to it: unit, `flag` (H, L, A ...), the words of a normal range.

    `inner` is where the value ends with its unit and flag, `end` where all of it ends. `closed` says that nothing goes
    on there ("Na 140," but not "glucose 4 times"), `more` that another number follows, as in columns. `time` is a
    date behind it, or what heads its column or line in a table; `earlier` says that the head calls it an older one.
    """

    value: Span
    unit: Span | None
    flag: str | None
    normal: Span | None
    inner: int
    end: int
    closed: bool
    more: bool
    time: Span | None = None
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Reads rows with the words of units.toml and interpretations.toml."""

    units: Units
    interpretations: Vocabulary

    def read(self, text: str, start: int, limit: int, kind: Kind) -> Row | None:
        """The row of a test of that kind whose name ends at `start`; nothing at or behind `limit` belongs to it."""
        lead = _LEAD.match(text, start, limit)
        row = self.read_value(text, lead.end(), limit, kind) if lead is not None else None
        if row is None or lead is None or lead["note"] is None:
            return row
        unit = Span(*lead.span("note")) if self.units.code(lead["note"]) is not None else None
        return replace(row, unit=row.unit or unit)

    def unit(self, text: str, at: int, limit: int) -> Span | None:
        """The unit right behind a number that ends `at`."""
        gap = at + (text[at : at + 1] == " ")
        found = self._unit(text, gap, limit, UNKNOWN)
        return Span(*found.span()) if found is not None else None

    def read_value(self, text: str, at: int, limit: int, kind: Kind) -> Row | None:
        """The row of a test of that kind whose value begins `at`."""
        return self._behind_range(text, at, limit, kind) or self._row(text, at, limit, kind)

    def _row(self, text: str, at: int, limit: int, kind: Kind) -> Row | None:
        value = self._value(text, at, limit, kind)
        if value is None:
            return None
        unit: Span | None = None
        normal: Span | None = None
        flag: str | None = None
        time: Span | None = None
        vital, seen, plain = kind.category == "vital-signs", kind.extremes or kind.category == "vital-signs", True
        end = inner = value.end
        while (gap := _NEXT.match(text, end, limit)) is not None:
            at = gap.end()
            if found := _STAR.match(text, at, limit):
                flag = flag or "A"
            elif found := _DATE.match(text, at, limit):
                time, plain = time or Span(*found.span("date")), False
            elif seen and (found := _EXTREMES.match(text, at, limit)):
                plain = False
            elif found := _BRACKET.match(text, at, limit):
                within = (found[1] or found[2]).strip()
                if judged := self.flag(within):
                    flag = flag or judged
                elif normal is None and _NORMAL.fullmatch(within):
                    normal, plain = Span(at + 1, found.end() - 1), False
                elif (kind.blood_pressure and within.isdigit()) or self._is_same(within):  # the mean; "(203 lb)"
                    plain = False
                else:
                    break
            elif normal is None and gap[0] and (found := _NORMAL.match(text, at, limit)):
                normal, plain = Span(*found.span()), False
            elif flag is None and (found := _FLAG.match(text, at, limit)) and not (vital and found[0].isupper()):
                flag = self.flag(found[0])
            elif (unit is None or normal is not None) and (found := self._unit(text, at, limit, kind)):
                unit = unit or Span(*found.span())
            else:
                break
            end = found.end()
            inner = end if plain else inner
        if seen:
            normal = None
        if kind.category != "laboratory" and "/" not in (unit.of(text) if unit is not None else ""):
            flag = None  # of a lung function test the L is litres
        if unit is not None and _COMPOUND.match(text, value.end, limit):
            return None
        closed = _CLOSED.match(text, end, limit) is not None
        closed = closed or (unit is not None and _SURE_UNIT.search(unit.of(text)) is not None)
        more = _MORE.match(text, end, limit) is not None
        return Row(value, unit, flag, normal, inner, end, closed, more, time)

    def _behind_range(self, text: str, at: int, limit: int, kind: Kind) -> Row | None:
        """The row of a result that stands behind its normal range: "136 - 145 mmol/L 131 (L)"."""
        normal = _RANGE.match(text, at, limit) if kind.category == "laboratory" else None
        if normal is None or not _rises(normal["low"], normal["high"]):
            return None
        unit = self.unit(text, normal.end(), limit)
        more = _MORE.match(text, unit.end if unit is not None else normal.end(), limit)
        row = self._row(text, more.start("number"), limit, kind) if more is not None else None
        if row is None or row.normal is not None:
            return None
        return replace(row, unit=row.unit or unit, normal=Span(*normal.span()))

    def _value(self, text: str, at: int, limit: int, kind: Kind) -> Span | None:
        if kind.blood_pressure:
            found = _PRESSURE.match(text, at, limit)
            return Span(*found.span()) if found is not None else None
        found = _RANGE.match(text, at, limit)
        if found is not None and _rises(found["low"], found["high"]):
            # "135-145 128": which of them is the result is not said
            return Span(*found.span()) if _MORE.match(text, found.end(), limit) is None else None
        found = _NUMBER.match(text, at, limit)
        if found is None or (found[0][0] == "-" and not kind.signed):
            return None
        end = found.end()
        glued = _WORD.match(text, end, limit) is not None
        if glued and self._unit(text, end, limit, kind) is None and _FLAG.match(text, end, limit) is None:
            return None  # "2nd", "3x"
        return Span(at, end)

    def _unit(self, text: str, at: int, limit: int, kind: Kind) -> re.Match[str] | None:
        """The unit that begins there: the longest one of up to three words."""
        for pattern in _UNITS:
            found = pattern.match(text, at, min(limit, at + 30))
            unit = found[0] if found is not None else ""
            if not unit or (len(unit) == 1 and not (unit == "%" or (unit in "CF" and kind.category != "laboratory"))):
                continue
            if self.units.code(unit) is None and not _FRACTION.fullmatch(unit):
                continue
            if _SURE_UNIT.search(unit) or text[at - 1].isdigit() or _AFTER_UNIT.match(text, at + len(unit), limit):
                return found
        return None

    def _is_same(self, words: str) -> bool:
        """Whether words in brackets are a number with a unit: the value again, in another unit."""
        again = self.units.scalar(words)
        return (again is not None and again.code is not None) or _FEET.fullmatch(words) is not None

    def flag(self, words: str) -> str | None:
        """The code of a flag in letters or of a judgement in words."""
        if words in ("H", "HH", "L", "LL", "A"):
            return words
        coding = self.interpretations.find(words)
        return coding.code if coding is not None and coding.code in ("H", "HH", "L", "LL", "A", "N") else None


def _rises(low: str, high: str) -> bool:
    return Decimal(low.replace(",", "")) <= Decimal(high.replace(",", ""))

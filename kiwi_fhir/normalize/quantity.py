"""Numbers with units, ranges and ratios. What is not read for certain is None, and stays text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from kiwi_fhir.normalize.numbers import DIGITS, NUMBER, read_number
from kiwi_fhir.tables import ListOf, MapOf, load_table, refuse
from kiwi_fhir.types import Interval, Quantity, Ratio

_SIGNED = rf"-?{DIGITS}"
_TO = r"\s?(?:-|–|to|through)\s?"
_SCALAR = re.compile(rf"(?P<value>{_SIGNED})(?:\s?(?P<unit>[^\d\s.,].*))?", re.IGNORECASE)
_RANGE = re.compile(
    rf"(?:from |between )?(?P<low>{DIGITS})\s?(?P<first>[^\d\s.,–-][^\d–-]{{0,18}}?)?"
    rf"(?:{_TO}| and )(?P<high>{DIGITS})(?:\s?(?P<unit>[^\d\s.,].*))?",
    re.IGNORECASE,
)
_TITRE = re.compile(r"(1)\s?:\s?([1-9]\d*)")  # with any other number it may be a time of day
_PER = re.compile(r"(?P<value>.+?)\s?(?:/|\bper\b|\bin\b)\s?(?P<count>\d[\d.]*)\s?(?P<unit>[a-z]+)", re.IGNORECASE)
_AMOUNT = re.compile(
    rf"(?P<low>{NUMBER})(?:(?:{_TO}| or )(?P<high>{NUMBER}))?(?:[\s-]?(?P<unit>[^\d\s].*))?", re.IGNORECASE
)
# A unit that no table knows is kept as text when it looks like one: a fraction without spaces.
_FRACTION = re.compile(r"[A-Za-zµμ%]+[0-9]*/[A-Za-zµμ]+[0-9]*")
_SPACES = re.compile(r"\s+")

_TIMES = ("s", "min", "h", "d", "wk", "mo", "a")
_SCHEMA = {
    "measures": MapOf(ListOf(str)),
    "times": MapOf(ListOf(str)),
    "doses": MapOf(ListOf(str)),
    "comparators": MapOf(ListOf(str)),
}


@dataclass(frozen=True, slots=True)
class Units:
    """The units of units.toml: the ways they are written (lower case, no spaces) to their codes."""

    measures: Mapping[str, str]
    times: Mapping[str, str]
    doses: Mapping[str, str]
    comparator: re.Pattern[str]
    comparators: Mapping[str, str]

    def time(self, text: str) -> str | None:
        """The UCUM code of a unit of time."""
        return self.times.get(text.lower())

    def scalar(self, text: str, *, unit: str | None = None) -> Quantity | None:
        """`12.5 mg/dL`, `98 %`, `-2.5`; `unit` stands in where none is written. None for anything else."""
        found = _SCALAR.fullmatch(text)
        if found is None:
            return None
        value = Decimal(found["value"].replace(",", ""))
        written = (found["unit"] or unit or "").strip(" .,;")
        if not written:
            return Quantity(value)
        code = self.measures.get(written.lower().replace(" ", ""))
        if code is None and _FRACTION.fullmatch(written) is None:
            return None
        return Quantity(value, written, code)

    def compared(self, text: str) -> Quantity | None:
        """`<5`, `greater than 100 mg`: a scalar with a comparator."""
        found = self.comparator.match(text)
        if found is None:
            return None
        quantity = self.scalar(text[found.end() :].strip()) or self._in_words(text[found.end() :].strip())
        if quantity is None:
            return None
        comparator = self.comparators[_SPACES.sub(" ", found[1].lower())]
        return Quantity(quantity.value, quantity.unit, quantity.code, comparator)

    def interval(self, text: str) -> Interval | None:
        """`4-6`, `60 to 70 mmHg`, `45% to 49%`; from low to high, in one unit."""
        found = _RANGE.fullmatch(text)
        if found is None:
            return None
        unit = found["unit"] or found["first"]
        low, high = self.scalar(found["low"], unit=unit), self.scalar(found["high"], unit=unit)
        if low is None or high is None or low.value > high.value:
            return None
        if found["first"] and found["unit"]:
            first = self.scalar(found["low"], unit=found["first"])
            if first is None or first.code != low.code:
                return None
        return Interval(low, high)

    def titre(self, text: str) -> Ratio | None:
        """`1:40`."""
        found = _TITRE.fullmatch(text)
        if found is None:
            return None
        return Ratio(Quantity(Decimal(found[1])), Quantity(Decimal(found[2])))

    def concentration(self, text: str) -> Ratio | None:
        """`44 mcg/0.5 mL`, `40 mg in 0.4 mL`: both with a known unit."""
        found = _PER.fullmatch(text)
        if found is None:
            return None
        numerator = self.scalar(found["value"].strip())
        denominator = self.scalar(f"{found['count']} {found['unit']}")
        if numerator is None or denominator is None or not numerator.code or not denominator.code:
            return None
        return Ratio(numerator, denominator)

    def amount(self, text: str, *, unit: str | None = None) -> Quantity | Interval | None:
        """What is taken each time: `1 tablet`, `one to two`, `1 1/2 tablets`, `25 mg`; `unit` stands in for none.

        None without a unit: a dose of "40" is no dose.
        """
        found = _AMOUNT.fullmatch(_SPACES.sub(" ", text).strip(" .,;"))
        if found is None:
            return None
        written = found["unit"] or unit
        low, high = read_number(found["low"]), read_number(found["high"]) if found["high"] else None
        known = self._dose_unit(written) if written else None
        if low is None or known is None:
            return None
        first = Quantity(low, *known)
        if found["high"] is None:
            return first
        return Interval(first, Quantity(high, *known)) if high is not None and low <= high else None

    def duration(self, text: str) -> Quantity | Interval | None:
        """`10 days`, `one to two weeks`, in units of time; the unit is its UCUM code."""
        found = _AMOUNT.fullmatch(_SPACES.sub(" ", text))
        code = self.time(found["unit"]) if found is not None and found["unit"] else None
        low = read_number(found["low"]) if found is not None else None
        if found is None or code is None or low is None:
            return None
        if found["high"] is None:
            return Quantity(low, found["unit"], code)
        high = read_number(found["high"])
        if high is None or low > high:
            return None
        return Interval(Quantity(low, found["unit"], code), Quantity(high, found["unit"], code))

    def _in_words(self, text: str) -> Quantity | None:
        """`two seconds`: a number in words needs a unit of time."""
        found = self.duration(text)
        return found if isinstance(found, Quantity) else None

    def _dose_unit(self, unit: str) -> tuple[str, str | None] | None:
        """The unit of a dose as `(text, code)`: a form without a code, or a measure with one."""
        unit = unit.strip(" .,;")
        if unit.lower() in self.doses:
            return self.doses[unit.lower()], None
        code = self.measures.get(unit.lower().replace(" ", ""))
        return (unit, code) if code is not None else None


def load_units(directory: Path | None) -> Units:
    """units.toml. Raises MappingError, also for a time that FHIR's units-of-time does not have."""
    table = load_table("units", directory, _SCHEMA)
    for part, allowed in (("times", _TIMES), ("comparators", ("<", "<=", ">", ">="))):
        for key in table[part]:
            if key not in allowed:
                refuse("units", f"{part}.{key}", f"is unknown; known are {', '.join(allowed)}", directory)
    flat = {part: {word: code for code, words in table[part].items() for word in words} for part in _SCHEMA}
    comparators = sorted(flat["comparators"], key=len, reverse=True)
    pattern = "|".join(re.escape(word) + (r"\b" if word[-1].isalpha() else "") for word in comparators)
    return Units(
        measures={**flat["measures"], **flat["times"]},
        times=flat["times"],
        doses=flat["doses"],
        comparator=re.compile(rf"({pattern})\s?", re.IGNORECASE),
        comparators=flat["comparators"],
    )

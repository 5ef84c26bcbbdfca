"""Numbers with units, ranges and ratios. What is not read for certain is None, and stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from kiwi_fhir.normalize.text.numbers import DIGITS, NUMBER, read_number
from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema
from kiwi_fhir.types import Interval, Quantity, Ratio

_SIGNED = rf"-?{DIGITS}"
_TO = r"\s?(?:-|–|to|through)\s?"
_UNIT = r"(?P<unit>(?:10\s?[\^*ex(⁰¹²³⁴-⁹]|[^\d\s.,]).*)"  # also "10^3/uL"
_SCALAR = re.compile(rf"(?P<value>{_SIGNED})(?:\s?{_UNIT})?", re.IGNORECASE)
_RANGE = re.compile(
    rf"(?:from |(?P<between>between ))?(?P<low>{DIGITS})\s?(?P<first>[^\d\s.,–-][^\d–-]{{0,18}}?)?"
    rf"(?:{_TO}|(?P<and> and ))(?P<high>{DIGITS})(?:\s?{_UNIT})?",
    re.IGNORECASE,
)
_TITRE = re.compile(r"(1)\s?:\s?([1-9]\d{0,2}(?:,\d{3})+|[1-9]\d*)")  # with any other number it may be a time of day
_IN_VOLUME = re.compile(
    r"(?P<value>.+?)\s?(?:/|\bper\b|\bin\b)\s?(?P<count>\d+(?:\.\d+)?)?\s?(?P<unit>[a-z]+)", re.IGNORECASE
)
_VOLUMES = frozenset({"mL", "L", "dL"})
# What a dose may be given per: of the patient, or as a rate. "40 mg/day" may be several doses, "10 mg/mL" is none.
_PER_DOSE = frozenset({"kg", "m2", "h", "min"})
_DOSE_BASES = frozenset({"g", "mg", "ug", "ng", "meq", "mmol", "[iU]", "U", "mL", "L", "%", "kcal", "[in_i]", "cm"})
_AMOUNT = re.compile(
    rf"(?P<low>{NUMBER})(?:(?:{_TO}| or )(?P<high>{NUMBER}))?(?:[\s-]?(?P<unit>[^\d\s].*))?", re.IGNORECASE
)
# A unit that no table knows is kept as text when it looks like one: a fraction without spaces.
_FRACTION = re.compile(r"[A-Za-zµμ%]+[0-9²³]*/[A-Za-zµμ]+[0-9²³]*")
_SPACES = re.compile(r"\s+")
_PER = re.compile(r"\s?\bper\b\s?")
_DEGREES = str.maketrans("º˚", "°°")
_RAISED = re.compile("[⁰¹²³⁴-⁹]+")
_LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_POWER = re.compile(r"[x*]?10(?:\^|\*{1,2}|x|e\+?0?|\()?(\d{1,2})\)?(?!\d)", re.IGNORECASE)
_ALIKE = str.maketrans("×μ", "xµ")

_TIMES = ("s", "min", "h", "d", "wk", "mo", "a")
_SCHEMA: dict[str, Schema] = {
    "measures": MapOf(ListOf(str)),
    "times": MapOf(ListOf(str)),
    "doses": MapOf(ListOf(str)),
    "comparators": MapOf(ListOf(str)),
    "limits?": MapOf(ListOf(str)),
    "uncoded?": ListOf(str),
}
_COMPARATORS = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Units:
    """The units of units.toml: the ways they are written (lower case, no spaces) to their codes."""

    measures: Mapping[str, str]
    times: Mapping[str, str]
    doses: Mapping[str, str]
    comparator: re.Pattern[str]
    comparators: Mapping[str, str]
    limit: re.Pattern[str]
    compared_before: re.Pattern[str]
    uncoded: frozenset[str]

    def code(self, unit: str) -> str | None:
        """The UCUM code of a unit as it is written; its case counts only where the table writes it ("mM")."""
        words = _SPACES.sub("", unit.translate(_DEGREES))
        found = self.measures.get(words) or self.measures.get(words.lower())
        if found is None and not words.isascii():  # "×10³/µL" as "x10^3/µL"
            words = _RAISED.sub(lambda power: f"^{power[0].translate(_LOWERED)}", words).translate(_ALIKE)
            found = self.measures.get(words.lower())
        if found is None and (power := _POWER.match(words)):  # "x10(3)/mcL", "10e+03/uL", "10X3/UL"
            found = self.measures.get(f"10^{power[1]}{words[power.end() :].lower()}")
        if found is None and "per" in words.lower():
            found = self.measures.get(_SPACES.sub("", _PER.sub("/", unit.lower())))
        return found

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
        code = self.code(written)
        if code is None and written not in self.uncoded and _FRACTION.fullmatch(written) is None:
            return None
        return Quantity(value, written, code)

    def compared(self, text: str, *, limit: bool = False) -> Quantity | None:
        """`<5`, `greater than 100 mg`: a scalar with a comparator; `limit` knows the words of a normal range too."""
        found = (self.limit if limit else self.comparator).match(text)
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
        if found is None or (found["and"] and not found["between"]):
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
        return Ratio(Quantity(Decimal(found[1])), Quantity(Decimal(found[2].replace(",", ""))))

    def concentration(self, text: str) -> Ratio | None:
        """`44 mcg/0.5 mL`, `10 mg/mL`, `90 mcg per puff`, `100 units/mL`: in a volume, or in what doses count."""
        found = _IN_VOLUME.fullmatch(text)
        if found is None:
            return None
        numerator = self.amount(found["value"])
        if not isinstance(numerator, Quantity) or not (numerator.code or numerator.unit == "units"):
            return None
        unit = self._dose_unit(found["unit"])
        if "/" in (numerator.code or "") or unit is None or not (unit[1] in _VOLUMES or unit[1] is None):
            return None
        if unit[0] == "units":  # "600 mg/200 units" are two ingredients
            return None
        return Ratio(numerator, Quantity(Decimal(found["count"] or 1), *unit))

    def amount(self, text: str, *, unit: str | None = None) -> Quantity | Interval | None:
        """What is taken each time: `1 tablet`, `one to two`, `1 1/2 tablets`, `25 mg`; `unit` stands in for none.

        None without a unit: a dose of "40" is no dose.
        """
        found = _AMOUNT.fullmatch(_SPACES.sub(" ", text).strip(" ,;").rstrip(" .,;"))
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
        code = self.code(unit)
        base, *per = code.split("/") if code is not None else ("",)
        if code is None or base not in _DOSE_BASES or not _PER_DOSE.issuperset(per):
            return None
        return unit, None if code.startswith("U/") else code  # units are not UCUM's U, which is of enzymes


def load_units(mappings: Mappings) -> Units:
    """units.toml. Raises MappingError, also for a time that FHIR's units-of-time does not have."""
    table = mappings.table("units", _SCHEMA)
    for part, allowed in (("times", _TIMES), ("comparators", _COMPARATORS), ("limits", _COMPARATORS)):
        for key in table.get(part, {}):
            if key not in allowed:
                mappings.refuse("units", f"{part}.{key}", f"is unknown; known are {', '.join(allowed)}")
    for part in ("measures", "times", "doses"):
        seen: dict[str, str] = {}
        for code, words in table[part].items():
            for word in words:
                if seen.setdefault(word, code) != code:
                    problem = f"'{word}' stands under '{seen[word]}' too; keep one of them"
                    mappings.refuse("units", (part, code), problem, (part, seen[word]))
    flat = {
        part: {word: code for code, words in table.get(part, {}).items() for word in words}
        for part in ("measures", "times", "doses", "comparators", "limits")
    }
    comparators = {**flat["limits"], **flat["comparators"]}
    # "97.7 HR" is a heart rate's label, no hours: a result has no unit of time in one or two letters.
    times = {word: code for word, code in flat["times"].items() if len(word) > 2}
    # A code as it stands, but for a single letter: "m" may be metres or millions.
    codes = {words: code for code in table["measures"] if len(code) > 1 for words in (code.lower(), code)}
    return Units(
        measures={**codes, **flat["measures"], **times},
        times=flat["times"],
        doses=flat["doses"],
        comparator=_beginning(flat["comparators"]),
        comparators=comparators,
        limit=_beginning(comparators),
        compared_before=_end(flat["comparators"]),
        uncoded=frozenset(table.get("uncoded", ())),
    )


def _beginning(words: Iterable[str]) -> re.Pattern[str]:
    """One of `words` at the beginning, the longest that there is; a word ends at its end."""
    pattern = "|".join(
        re.escape(word) + (r"\b" if word[-1].isalpha() else "") for word in sorted(words, key=len, reverse=True)
    )
    return re.compile(rf"({pattern})\s?", re.IGNORECASE)


def _end(words: Iterable[str]) -> re.Pattern[str]:
    """One of `words` as whole words at the end, the longest that there is; not the head of an arrow ("->")."""
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![\w<>=-])({pattern})\s?\Z", re.IGNORECASE)

"""Results of tests: numbers with units, ranges, titres, blood pressure, judgements.

A result that is not understood whole stays words ("strong and equal", "20/30", "6 feet 1 inch").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.normalize.result.kinds import UNKNOWN, Kind
from kiwi_fhir.normalize.result.pressure import read_pressure, read_tens
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.result.ranges import read_range
from kiwi_fhir.normalize.result.rows import Row
from kiwi_fhir.normalize.text.words import Phrases, Vocabulary, load_vocabulary
from kiwi_fhir.tables import ListOf, Mappings
from kiwi_fhir.types import BloodPressure, Coding, Interval, LabValue, Modifier, Quantity, Ratio, ReferenceRange

_LONGEST = 100  # characters; what is longer is a sentence, and not worth the patterns' time
_SPACES = re.compile(r"\s+")
_LEAD = re.compile(r"(?:(?:of|is|was|were|are|at(?! (?:least|most)))\s|[=:]\s?)+", re.IGNORECASE)
_GRADE = re.compile(r"[1-4]\s?(?:\+|plus)|\+\s?[1-4]|\+{1,4}")
_CUT_GRADE = re.compile(r"\s?(?:\+|plus\b)")
_TIMES = re.compile(r"\s?(?:[x×]\s?|times )[2-9]", re.IGNORECASE)  # "negative x3"
_FLAGGED = re.compile(r"(?P<value>.*\d.*?)(?: (?P<letter>HH?|LL?)|\s?\*#?)")
_FLAG_FIRST = re.compile(r"(?P<letter>HH?|LL?) (?P<value>\d.*)")
_JUDGED_AFTER = re.compile(r"(?P<value>.*\d[^\s,]*(?: [^\s,]+)?),? (?P<judgement>[a-z]+)", re.IGNORECASE)
_JUDGED_AT = re.compile(r"(?P<judgement>[a-z][a-z ]{0,30}?) (?:at|of) (?P<value>\d.*)", re.IGNORECASE)
_AND_MORE = re.compile(  # "1.2 mg/dL (H)", "98.6 F (37 C)", "14.2, high"
    r"(?P<value>[^()\[\]]*\d[^()\[\]]*?)\s?[(\[]\s?(?P<more>[^()\[\]]+?)\s?[)\]]"
    r"|(?P<first>[^,]*\d[^,]*?)\s?, (?P<rest>[^,\d]+)"
)
_ON_OXYGEN = (
    r"(?:on|with) \d+(?:\.\d+)?(?:\s?-\s?\d+)?\s?(?:l|lpm|liters?|litres?)(?:/min| per minute)?"
    r"(?: (?:of|via|by|o2|oxygen|nasal|cannula|nc))*"
)
# Around a span: a number that it cuts; the rest of its last token, or a unit that can be nothing else; a flag.
_DIGIT = re.compile(r"\d")
_CUT_BEFORE = re.compile(r"\d[.,:·]?\Z")
_CUT_BEHIND = re.compile(r"[.,:·]?\d")
_LEADING_DOT = re.compile(r"(?:\A|[\s(=<>≤≥-])\.\Z")
_CUT = re.compile(r"[.,:/·]?\d[\d.,]*(?:[A-Za-z%/][\w/^%²]*|s?/\d+s?)?")
_POWER = r"10(?:[\^*]{1,2}\d{1,2}|[eExX]\+?\d{1,2}|\(\d{1,2}\)|[⁰¹²³⁴-⁹]+)"
_REST = re.compile(
    rf"[A-Za-z/%°º](?:[\w/^%²°]|\[\w+\]|\{{[\w.]+\}})*"
    rf"|\s(?:mm ?\[?Hg\]?|cm ?\[?H2O\]?|bpm)(?!\w)|\s?(?:[x×*]\s?)?{_POWER}/\w+"
    rf"|\s[A-Za-zµμ]*[/%°º](?:[\w^²/.%]|\[\w+\]|\{{[\w.]+\}})*"
)
_FLAG_BEHIND = re.compile(
    r"\s?(?P<star>\*)|\s?[(\[]\s?(?P<words>[A-Za-z ]{1,20}?)\s?[)\]]"
    r"|[ \t](?P<letter>HH?|LL?)(?=[ \t]*(?:[,;)\n(\[]|\.?\Z|\.\s))"
)
_LETTERS = frozenset({"H", "HH", "L", "LL", "A"})
#: Units in which notes say the same number twice.
_CONVERSIONS = ({"[degF]", "Cel"}, {"[lb_av]", "kg"}, {"[in_i]", "cm"})

Value = Quantity | Interval | Ratio | BloodPressure


@dataclass(frozen=True, slots=True)
class Values:
    """Reads the words of `labvalue` and `reference_range` modifiers."""

    units: Units
    interpretations: Vocabulary
    qualified: re.Pattern[str]
    awaited: Phrases
    earlier: re.Pattern[str]

    def is_awaited(self, text: str) -> bool:
        """Whether `text` says that the result is still to come."""
        return self.awaited.find(text) is not None

    def read(
        self, modifier: Modifier, text: str, test: Kind = UNKNOWN, *, before: str = "", behind: str = ""
    ) -> LabValue:
        """The result that `text` says of such a test; `value` is None where it stays words.

        `before` and `behind` are what the note has around the span: a unit or a flag right behind a number is its own.
        """
        words = _clean(text)
        if len(words) > _LONGEST:
            return LabValue(modifier, text)
        before = before if text.startswith(words) else ""
        behind = behind if text.endswith(words) else ""  # "9 (" before "8 lymphocytes" is no 98
        if test.name and words.lower().startswith((f"{test.name} ", f"{test.name}:")):
            words = words[len(test.name) :].lstrip(" :")
        words = _LEAD.sub("", words, count=1) if _LEAD.match(words) else words
        if words[:1].isdigit() and _LEADING_DOT.search(before):  # "4" of ".4"
            words, before = f".{words}", before[:-1]
        if (words[:1].isdigit() or words[:1] == ".") and (sign := self.units.compared_before.search(before)):
            words = f"{sign[1]} {words}"
            before = before[: sign.start()]
        judgement = self.interpretations.find(_TIMES.sub("", words))
        if judgement is not None and not (test.examined and judgement.code in ("RR", "NR")):  # reactive pupils
            return LabValue(modifier, text, None, judgement, judgement.code in self.interpretations.scales)
        if words.isdigit() and _CUT_GRADE.match(behind):
            return LabValue(modifier, text)  # "2" of "2+"
        if not test.signed and _GRADE.fullmatch(words):
            return LabValue(modifier, text, None, None if test.examined else self.interpretation("POS"), True)
        if words[:1] in ("-", "+"):
            if before[-1:].isalnum() or before[-1:] == ")" or (test.signed and words[0] == "+"):
                words = words[1:]  # "Hgb-11.2": a dash
            elif test.category is not None and not test.signed:
                return LabValue(modifier, text)
        value, judgement = self._measure(words, test)
        value, behind = self._whole(value, words, before, behind, test)
        if isinstance(value, Quantity | Interval) and judgement is None and behind:
            judgement = self._flag_behind(value, behind, test)
        return LabValue(modifier, text, value, judgement if value is not None else None)

    def complete(self, value: LabValue, text: str, row: Row) -> LabValue:
        """A result with the unit and the flag that its row has, where its own words say none."""
        measured, judgement = value.value, value.interpretation
        if row.unit is not None and isinstance(measured, Quantity | Interval) and _one(measured).unit is None:
            measured = _in_unit(measured, unit := one_line(row.unit.of(text)), self.units.code(unit))
        if row.flag is not None and measured is not None and judgement is None:
            judgement = self.interpretation(row.flag)
        return replace(value, value=measured, interpretation=judgement)

    def reference_range(self, modifier: Modifier, text: str) -> ReferenceRange:
        """The range that `text` says: `0.5-1.2`, `(< 5 mg/dL)`, `normal 0.34 to 5.60`."""
        return ReferenceRange(modifier, text, read_range(self.units, _clean(text)))

    def range_inside(self, value: LabValue) -> ReferenceRange | None:
        """The normal range that stands in the result's own words: `133 mmol/L (135-145)`."""
        found = _AND_MORE.fullmatch(_clean(value.text)) if isinstance(value.value, Quantity) else None
        interval = self._two_ends(found["more"]) if found is not None and found["more"] else None
        return None if found is None or interval is None else ReferenceRange(value.modifier, found["more"], interval)

    def _measure(self, words: str, test: Kind) -> tuple[Value | None, Coding | None]:
        """The number that `words` say, and how they judge it."""
        if test.category == "laboratory" and (found := _FLAGGED.fullmatch(words) or _FLAG_FIRST.fullmatch(words)):
            value = self._number(found["value"], test)
            if value is not None:
                return value, self.interpretation(found["letter"] or "A")
        value = self._number(words, test)
        if value is not None:
            return value, None
        if (found := _JUDGED_AFTER.fullmatch(words)) and (judgement := self._level(found["judgement"])):
            return self._number(found["value"], test), judgement
        if (found := _JUDGED_AT.fullmatch(words)) and (judgement := self.interpretations.find(found["judgement"])):
            return self._number(found["value"], test), judgement
        if found := self.qualified.fullmatch(words):
            return self._number(found["value"], test), None
        found = _AND_MORE.fullmatch(words)
        value = self._number(found["value"] or found["first"], test) if found is not None else None
        if found is None or value is None:
            return None, None
        more = found["more"] or found["rest"]
        judgement = self._flag(more, value, test)
        return (value if judgement is not None or self._adds_nothing(more, value, test) else None), judgement

    def _number(self, words: str, test: Kind) -> Value | None:
        if test.blood_pressure:
            return read_pressure(words)
        if test.category is not None and not test.in_seconds and (tens := read_tens(words)):
            return tens
        value = (
            self.units.scalar(words)
            or self.units.compared(words)
            or self.units.interval(words)
            or self.units.titre(words)
        )
        # "180 L": litres, or low?
        return value if test.in_litres or _one(value).unit not in ("L", "H") else None

    def _whole(self, value: Value | None, words: str, before: str, behind: str, test: Kind) -> tuple[Value | None, str]:
        """The value with what its span cuts off or leaves out, and what stands behind that.

        The rest of a number ("14" of "14.2"), of a pressure, of a unit ("12.9 g/" of "12.9 g/dL"); or the unit.
        """
        if not words[-1:].isdigit() and _one(value).unit is not None:
            return value, behind
        if _CUT_BEFORE.search(before) or (test.blood_pressure and before.endswith("/")):
            return None, behind
        is_cut = _CUT_BEHIND.match(behind) is not None or (test.blood_pressure and behind.startswith("/"))
        found = (_CUT if is_cut else _REST).match(behind) if _DIGIT.search(words) else None
        if found is None:
            return value, behind
        rest = found[0].rstrip(".")
        whole = self._number(words + rest, test)
        if isinstance(whole, BloodPressure) or (is_cut and whole is not None) or _one(whole).code is not None:
            return whole, behind[len(rest) :]
        return None if is_cut else value, behind

    def _flag_behind(self, value: Value, behind: str, test: Kind) -> Coding | None:
        found = _FLAG_BEHIND.match(behind)
        if found is None:
            return None
        return self._flag(found["words"] or found["letter"] or "A", value, test)

    def _flag(self, words: str, value: Value | None, test: Kind) -> Coding | None:
        """A judgement in words, or in letters of a laboratory ("IOP 18 (L)" is of the left eye)."""
        if words not in _LETTERS:
            return self.interpretations.find(words)
        laboratory = test.category == "laboratory" or "/" in (_one(value).code or "")
        return self.interpretation(words) if laboratory else None

    def _level(self, words: str) -> Coding | None:
        """A judgement of how much it is; "12 positive" are 12 of something."""
        found = self.interpretations.find(words)
        return found if found is not None and found.code in ("H", "L", "N") else None

    def _adds_nothing(self, words: str, value: Value | None, test: Kind) -> bool:
        """Whether words beside a value take nothing from it: the same in another unit, or the normal range."""
        if not isinstance(value, Quantity):
            return False
        other = self.units.scalar(words)
        if other is not None:
            return {value.code, other.code} in _CONVERSIONS
        # "80 (72-95)" of a vital sign: the lowest and highest of a day.
        return test.category != "vital-signs" and self._two_ends(words) is not None

    def _two_ends(self, words: str) -> Interval | None:
        interval = read_range(self.units, words)
        return interval if interval is not None and interval.low is not None and interval.high is not None else None

    def interpretation(self, code: str) -> Coding | None:
        """The coding of an interpretation, None where the table has none."""
        return self.interpretations.codings.get(code)


_NO_UNIT = Quantity(Decimal(0))


def _one(value: Value | None) -> Quantity:
    """A quantity of `value`, for its unit; one without a unit where it has none."""
    if isinstance(value, Interval):
        value = value.low or value.high
    return value if isinstance(value, Quantity) else _NO_UNIT


def _in_unit(value: Quantity | Interval, unit: str, code: str | None) -> Quantity | Interval:
    if isinstance(value, Quantity):
        return replace(value, unit=unit, code=code)
    ends = (None if end is None else replace(end, unit=unit, code=code) for end in (value.low, value.high))
    return Interval(*ends)


def is_cut(before: str, behind: str) -> bool:
    """Whether the span between them holds only a part of a number."""
    return _CUT_BEFORE.search(before) is not None or _CUT_BEHIND.match(behind) is not None


def _clean(text: str) -> str:
    """`text` on one line without marks and brackets around it; the dot of ".8" stays."""
    words = _SPACES.sub(" ", text).strip(" ,;:").rstrip(".,;:([ ").removesuffix(" and")
    if words[:1] in ("(", "[") and words[-1:] in (")", "]") and not any(mark in words[1:-1] for mark in "()[]"):
        words = words[1:-1].strip()
    return words if words[1:2].isdigit() else words.lstrip(". ")


def load_values(mappings: Mappings, units: Units) -> Values:
    """interpretations.toml. Raises MappingError."""
    extra = {"qualifiers": ListOf(str), "awaited": ListOf(str), "earlier": ListOf(str)}
    interpretations = load_vocabulary("interpretations", mappings, extra)
    table = mappings.table("interpretations")
    awaited = Phrases.of({"awaited": table["awaited"]}, table.get("fillers", ()))
    return Values(units, interpretations, _qualified(table["qualifiers"]), awaited, _right_before(table["earlier"]))


def _right_before(words: Iterable[str]) -> re.Pattern[str]:
    """One of `words` at the end, with what may stand between it and a number."""
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{pattern})(?: (?:a|an|of|at|about))*:? ?\Z", re.IGNORECASE)


def _qualified(qualifiers: Iterable[str]) -> re.Pattern[str]:
    """A number and what may stand behind it."""
    words = "|".join(sorted((re.escape(word) for word in qualifiers), key=len, reverse=True))
    return re.compile(rf"(?P<value>.*?\d.*?),? \(?(?:{words}|{_ON_OXYGEN})\)?", re.IGNORECASE)

"""Results of tests and their reference ranges: numbers with units, ranges, titres, blood pressure, judgements.

A result that is not understood whole stays words ("strong and equal", "20/30", "6 feet 1 inch").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from kiwi_fhir.normalize.quantity import Units
from kiwi_fhir.normalize.words import Phrases, Vocabulary, load_vocabulary, plain
from kiwi_fhir.tables import ListOf, Schema, load_table
from kiwi_fhir.types import (
    BloodPressure,
    Interval,
    LabValue,
    Modifier,
    Quantity,
    Ratio,
    ReferenceRange,
)

_SCHEMA: dict[str, Schema] = {
    "fillers": ListOf(str),
    "vital-signs": ListOf(str),
    "laboratory": ListOf(str),
    "blood-pressure": ListOf(str),
    "findings": ListOf(str),
}
_LONGEST = 100  # characters; what is longer is a sentence, and not worth the patterns' time
_SPACES = re.compile(r"\s+")
_GRADE = re.compile(r"[1-4]\s?\+|\+\s?[1-4]|\+{1,4}")
_PRESSURE = re.compile(r"(?P<systolic>\d{2,3})\s?(?:/|over)\s?(?P<diastolic>\d{2,3})(?:\s?mm\s?hg)?", re.IGNORECASE)
_JUDGED = re.compile(r"(?P<value>.*\d.*?)(?:\s?,\s?|\s?\(\s?)(?P<judgement>[a-z ]+?)\s?\)?", re.IGNORECASE)
_OPEN_RANGE = re.compile(r"(?:normal|nl|ref(?:erence)?(?: range| interval)?)\s?(?:is|:|being|range)?\s?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tests:
    """What tests.toml knows of a test's words."""

    categories: Mapping[Literal["laboratory", "vital-signs"], Phrases]
    blood_pressure: Phrases
    findings: frozenset[str]

    def category(self, text: str) -> Literal["laboratory", "vital-signs"] | None:
        """`laboratory` or `vital-signs`, None where the test is not known."""
        return next((name for name, phrases in self.categories.items() if phrases.find(text)), None)

    def is_blood_pressure(self, text: str) -> bool:
        """Whether "120/80" of this test is a blood pressure."""
        return self.blood_pressure.find(text) is not None

    def is_finding(self, text: str) -> bool:
        """Whether "no ..." of this test is a negative result and not a test left out."""
        return not self.findings.isdisjoint(plain(text).split(" "))


@dataclass(frozen=True, slots=True)
class Values:
    """Reads the words of `labvalue` and `reference_range` modifiers."""

    units: Units
    interpretations: Vocabulary

    def read(self, modifier: Modifier, text: str, *, blood_pressure: bool) -> LabValue:
        """The result that `text` says; `value` is None where it stays words."""
        words = _clean(text)
        if len(words) > _LONGEST:
            return LabValue(modifier, text)
        judgement = self.interpretations.find(words)
        if judgement is not None:
            return LabValue(modifier, text, None, judgement, judgement.code in self.interpretations.scales)
        if _GRADE.fullmatch(words):
            return LabValue(modifier, text, None, self.interpretations.codings.get("POS"), True)
        value = self._number(words, blood_pressure)
        if value is None and (judged := _JUDGED.fullmatch(words)):
            judgement = self.interpretations.find(judged["judgement"])
            value = self._number(judged["value"], blood_pressure) if judgement is not None else None
        return LabValue(modifier, text, value, judgement if value is not None else None)

    def reference_range(self, modifier: Modifier, text: str) -> ReferenceRange:
        """The range that `text` says: `0.5-1.2`, `(< 5 mg/dL)`, `normal 0.34 to 5.60`."""
        words = _OPEN_RANGE.sub("", _clean(text).strip("()[] "), count=1).strip("()[] ")
        interval = self.units.interval(words)
        if interval is None and (bound := self.units.compared(words)):
            plain_bound = Quantity(bound.value, bound.unit, bound.code)
            upper = bound.comparator in ("<", "<=")
            interval = Interval(None, plain_bound) if upper else Interval(plain_bound, None)
        return ReferenceRange(modifier, text, interval)

    def _number(self, words: str, blood_pressure: bool) -> Quantity | Interval | Ratio | BloodPressure | None:
        if blood_pressure and (found := _PRESSURE.fullmatch(words)):
            return _pressure(Decimal(found["systolic"]), Decimal(found["diastolic"]))
        return (
            self.units.scalar(words)
            or self.units.interval(words)
            or self.units.titre(words)
            or self.units.compared(words)
        )


def _clean(text: str) -> str:
    return _SPACES.sub(" ", text).strip(" .,;:")


def _pressure(systolic: Decimal, diastolic: Decimal) -> BloodPressure | None:
    """None for what can be no pressure in mmHg: the bounds leave out dates, strengths and acuities."""
    if not (20 <= diastolic < systolic and 40 <= systolic <= 300):
        return None
    return BloodPressure(Quantity(systolic, "mmHg", "mm[Hg]"), Quantity(diastolic, "mmHg", "mm[Hg]"))


def load_values(directory: Path | None, units: Units) -> Values:
    """interpretations.toml. Raises MappingError."""
    return Values(units, load_vocabulary("interpretations", directory))


def load_tests(directory: Path | None) -> Tests:
    """tests.toml. Raises MappingError."""
    table = load_table("tests", directory, _SCHEMA)
    fillers = table["fillers"]
    categories: dict[Literal["laboratory", "vital-signs"], Phrases] = {
        "vital-signs": Phrases.of({"vital-signs": table["vital-signs"]}, fillers),
        "laboratory": Phrases.of({"laboratory": table["laboratory"]}, fillers),
    }
    pressure = Phrases.of({"blood-pressure": table["blood-pressure"]}, fillers)
    return Tests(categories, pressure, frozenset(table["findings"]))

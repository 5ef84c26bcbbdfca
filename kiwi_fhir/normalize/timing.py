"""How often and for how long a drug is taken: `bid`, `q4-6h`, `every Monday`, `prn pain`, `for 10 days`.

A frequency is read only when every word of it is understood; otherwise it is None and stays in the dosage's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from kiwi_fhir.normalize.numbers import NUMBER, read_number
from kiwi_fhir.normalize.quantity import Units
from kiwi_fhir.normalize.words import Phrases, plain
from kiwi_fhir.tables import ListOf, MapOf, OneOf, Schema, load_table
from kiwi_fhir.types import Interval, Quantity, Timing

#: FHIR R4's units-of-time, event-timing and days-of-week: http://hl7.org/fhir/R4/datatypes.html#Timing
UNITS_OF_TIME = ("s", "min", "h", "d", "wk", "mo", "a")
EVENT_TIMINGS = (
    *("MORN", "MORN.early", "MORN.late", "NOON", "AFT", "AFT.early", "AFT.late", "EVE", "EVE.early", "EVE.late"),
    *("NIGHT", "PHS", "HS", "WAKE"),
    *("C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV"),
)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_SCHEMA: dict[str, Schema] = {
    "as_needed": ListOf(str),
    "fillers": ListOf(str),
    "per": {f"{unit}?": ListOf(str) for unit in UNITS_OF_TIME},
    "timings": MapOf(
        {
            "words": ListOf(str),
            "frequency?": int,
            "period?": int,
            "unit?": OneOf(UNITS_OF_TIME),
            "when?": ListOf(OneOf(EVENT_TIMINGS)),
            "count?": int,
        }
    ),
    "days": {day: ListOf(str) for day in DAYS},
}

_MEALS = frozenset({"C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV"})
_EVERY = re.compile(
    rf"(?:q|every|each)\s?(?P<low>{NUMBER})?(?:\s?(?:-|to|or)\s?(?P<high>{NUMBER}))?\s?-?(?P<unit>[a-z]+)"
)
_TIMES = re.compile(
    rf"(?P<low>{NUMBER})(?:\s?(?:-|to|or)\s?(?P<high>{NUMBER}))?\s?(?:times|time|x|doses|dose)?\s?(?P<per>[/a-z].*)"
)
_DAY_JOINTS = re.compile(r"\b(?:every|each|on|and)\b|[,&/]")
_FOR = re.compile(r"(?:(?:for|over|times|during)\b|x)\s?(?:(?:the|next|another|a total of)\s)*")
_DIGIT_DOT = re.compile(r"(?<=\d)\.(?=\s?[a-z])")  # q.3.d.
_MORE = re.compile(r"\b(?:more|additional|consecutive|full)\s")


@dataclass(frozen=True, slots=True)
class Frequency:
    """What a frequency says; `timing` is None where it says nothing that could be read beside `as_needed`.

    `read` says that all of it was understood.
    """

    timing: Timing | None
    as_needed: bool = False
    as_needed_for: str | None = None
    read: bool = True


@dataclass(frozen=True, slots=True)
class Frequencies:
    """The phrases of frequencies.toml."""

    timings: Mapping[str, Timing]
    whens: tuple[tuple[str, tuple[str, ...]], ...]
    as_needed: re.Pattern[str]
    fillers: re.Pattern[str]
    per: Mapping[str, str]
    days: Phrases
    units: Units

    def read(self, text: str) -> Frequency:
        """The frequency that `text` (any case) says."""
        phrase = _DIGIT_DOT.sub("", plain(text))
        needed = self.as_needed.search(phrase)
        if needed is None:
            timing = self._timing(phrase)
            return Frequency(timing, read=timing is not None)
        before, rest = phrase[: needed.start()].rstrip(" ,;"), needed["rest"].strip(" ,;")
        timing = self._timing(before)
        if rest and timing is None and not before:
            timing = self._timing(rest)  # "prn every 6 hours"
            rest = "" if timing is not None else rest
        return Frequency(timing, True, rest or None, read=timing is not None or not before)

    def duration(self, text: str) -> Quantity | Interval | None:
        """`for 10 days`, `x2 weeks`, `for 4 more days`."""
        return self.units.duration(_MORE.sub("", _FOR.sub("", plain(text), count=1)))

    def _timing(self, phrase: str) -> Timing | None:
        phrase = self.fillers.sub("", phrase).strip(" ,;")
        known = self.timings.get(phrase)
        if known is not None:
            return known
        timing = self._every(phrase) or self._times(phrase) or self._weekdays(phrase)
        if timing is not None:
            return timing
        for words, when in self.whens if " " in phrase else ():
            if phrase.endswith(f" {words}") or phrase.startswith(f"{words} "):
                rest = phrase.removesuffix(words).removeprefix(words).strip(" ,")
                rest = rest.removesuffix(" and").strip(" ,")
                return self._with(self.timings.get(rest) or self._times(rest) or self._weekdays(rest), when)
        return None

    def _with(self, timing: Timing | None, when: tuple[str, ...]) -> Timing | None:
        """`timing` at that point of the day. "Twice daily at bedtime" is no sense, "twice daily with meals" is."""
        if timing is None or timing.when or timing.count is not None:
            return None
        once = timing.frequency in (None, 1) and timing.unit in (None, "d", "wk")
        return replace(timing, when=when) if once or _MEALS.issuperset(when) else None

    def _every(self, phrase: str) -> Timing | None:
        """`q6h`, `q4-6h`, `every 4 to 6 hours`, `every week`."""
        found = _EVERY.fullmatch(phrase)
        unit = self.units.time(found["unit"]) if found is not None else None
        if found is None or unit is None:
            return None
        low = read_number(found["low"]) if found["low"] else Decimal(1)
        high = read_number(found["high"]) if found["high"] else None
        if low is None or low <= 0 or (found["high"] and (high is None or high <= low or not found["low"])):
            return None
        return Timing(frequency=1, period=low, period_max=high, unit=unit)

    def _times(self, phrase: str) -> Timing | None:
        """`3 times a day`, `twice weekly`, `3-4 times daily`, `5x/day`."""
        found = _TIMES.fullmatch(phrase)
        unit = self.per.get(found["per"]) if found is not None else None
        if found is None or unit is None:
            return None
        low, high = read_number(found["low"]), read_number(found["high"]) if found["high"] else None
        if (
            low is None
            or not _is_count(low)
            or (found["high"] and (high is None or high <= low or not _is_count(high)))
        ):
            return None
        return Timing(
            frequency=int(low), frequency_max=int(high) if high is not None else None, period=Decimal(1), unit=unit
        )

    def _weekdays(self, phrase: str) -> Timing | None:
        """`every Monday`, `Monday, Wednesday and Friday`."""
        found = [self.days.find(word) for word in _DAY_JOINTS.sub(" ", phrase).split()]
        days = tuple(day for day in DAYS if day in found)
        return Timing(days=days) if days and None not in found else None


def _is_count(number: Decimal) -> bool:
    return 1 <= number <= 100 and number == int(number)


def load_frequencies(directory: Path | None, units: Units) -> Frequencies:
    """frequencies.toml. Raises MappingError."""
    table = load_table("frequencies", directory, _SCHEMA)
    timings = {plain(word): _entry(entry) for entry in table["timings"].values() for word in entry["words"]}
    whens = sorted(
        ((phrase, timing.when) for phrase, timing in timings.items() if timing.when and phrase not in ("am", "pm")),
        key=lambda item: (-len(item[0]), item[0]),
    )
    needed = "|".join(sorted((re.escape(plain(word)) for word in table["as_needed"]), key=len, reverse=True))
    fillers = "|".join(sorted((re.escape(word) for word in table["fillers"]), key=len, reverse=True))
    return Frequencies(
        timings=timings,
        whens=tuple(whens),
        as_needed=re.compile(rf"(?:\bon an? )?\b(?:{needed})\b(?:,?(?: only)? (?:for|if) )?(?P<rest>.*)$"),
        fillers=re.compile(rf"^(?:{fillers})\b\s?"),
        per={word: unit for unit, words in table["per"].items() for word in words},
        days=Phrases.of(table["days"]),
        units=units,
    )


def _entry(entry: Mapping[str, Any]) -> Timing:
    return Timing(
        frequency=entry.get("frequency"),
        period=Decimal(entry["period"]) if "period" in entry else None,
        unit=entry.get("unit"),
        when=tuple(entry.get("when", ())),
        count=entry.get("count"),
    )

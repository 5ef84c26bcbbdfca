"""How often and for how long a drug is taken: `bid`, `q4-6h`, `every Monday`, `prn pain`, `x 3 doses`, `for 10 days`.

A frequency is read only when every word of it is understood; otherwise it is None and stays in the dosage's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from kiwi_fhir.normalize.drug.durations import SHORT, duration, given_over
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.kept import Kept
from kiwi_fhir.normalize.text.numbers import NUMBER, read_number
from kiwi_fhir.normalize.text.words import Phrases, one_line, plain
from kiwi_fhir.tables import ListOf, MapOf, Mappings, OneOf, Schema
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
            "days?": ListOf(OneOf(DAYS)),
            "count?": int,
        }
    ),
    "days": {day: ListOf(str) for day in DAYS},
}

_MEALS = frozenset({"C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV"})
_LONGEST = 100  # characters; what is longer is no frequency, and not worth the patterns' time
_EVERY = re.compile(
    rf"(?:once )?(?:q|every|each)\s?(?P<low>{NUMBER})?(?:\s?(?:-|to|or)\s?(?P<high>{NUMBER}))?\s?-?(?P<unit>[a-z]+)"
)
_HOURLY = re.compile(
    rf"(?P<low>{NUMBER})(?:\s?(?:-|to|or)\s?(?P<high>{NUMBER}))?[\s-]?(?P<unit>h)(?:ou)?rly"
)  # British "6-hourly" is every 6 hours
_ORDINALS = {"second": "2", "third": "3", "fourth": "4", "fifth": "5", "2nd": "2", "3rd": "3", "4th": "4", "5th": "5"}
_ORDINAL = re.compile(rf"(?<=every )(?:{'|'.join(_ORDINALS)})\b")
# "2 weekly" is every two weeks to some, "3 daily" is three tablets to others: a number alone counts no times.
_TIMES = re.compile(
    rf"(?P<low>{NUMBER})(?:\s?(?:-|to|or)\s?(?P<high>{NUMBER}))?"
    r"\s?(?P<times>times|time|x|doses|dose)?\s?(?P<per>[/a-z].*)"
)
_ONCE_OR_TWICE = frozenset({"once", "twice", "thrice", "one", "a", "an", "1"})
_DAY_JOINTS = re.compile(r"\b(?:every|each|on|and)\b|[,&/]")
_DAY_RANGE = re.compile(r"(?:on )?(?P<first>[a-z]+)\s?(?:through|thru|to|-)\s?(?P<last>[a-z]+)")
_ON_DAYS = re.compile(r"(?P<rest>[a-z ]+?),? (?:on|every|each) (?P<days>[a-z ,&/]+)")
_AND = re.compile(r"\s*(?:,\s*and\b|[,&/]|\band\b)\s*")
_COUNT = re.compile(rf"(?:(?P<x>x|times)\s?|for )(?P<count>{NUMBER})(?:\s(?P<doses>doses?)|\stimes)?(?: only)?")
_TAIL = re.compile(r"(?P<head>.+?)[\s,]+(?P<tail>(?:x\s?|for |times )\S.*)")
_CAUTION = re.compile(r"^only$|\s*[,;(]\s*(?:max|maximum|not|no more|do not|up to|limit)\b.*")  # "pain, max 8 a day"
_DIGIT_DOT = re.compile(r"(?<=\d)\.(?=\s?[a-z])")  # q.3.d.


@dataclass(frozen=True, slots=True)
class Frequency:
    """What a frequency says; `timing` is None where it says nothing that could be read beside `as_needed`.

    `read` says that all of it was understood; `duration` is that of "daily x 7 days".
    """

    timing: Timing | None
    as_needed: bool = False
    as_needed_for: str | None = None
    read: bool = True
    duration: Quantity | Interval | None = None


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
    kept: Kept[str, Frequency] = field(default_factory=Kept, compare=False, repr=False)

    def read(self, text: str) -> Frequency:
        """The frequency that `text` (any case) says."""
        return self.kept.get(text) or self.kept.keep(text, self._read(text))

    def _read(self, text: str) -> Frequency:
        phrase = _DIGIT_DOT.sub("", plain(text))
        if len(phrase) > _LONGEST:
            return Frequency(None, read=False)
        needed = self.as_needed.search(phrase)
        if needed is None:
            timing, duration = self._limited(phrase)
            return Frequency(timing, read=timing is not None, duration=duration)
        before, rest = phrase[: needed.start()].rstrip(" ,;"), needed["rest"].strip(" ,;")
        timing, duration = self._limited(before)
        rest = _CAUTION.sub("", rest)
        if rest and timing is None and not before:
            timing, rest = self._behind(rest)
        lasting = _TAIL.fullmatch(rest)
        if lasting is not None and duration is None and (duration := self.duration(lasting["tail"])) is not None:
            rest = lasting["head"]
        reason = _as_written(text, rest) if rest else None
        return Frequency(timing, True, reason, read=timing is not None or not before, duration=duration)

    def duration(self, text: str, *, before: str = "") -> Quantity | Interval | None:
        """How long it is taken, as durations.py reads it."""
        return duration(self.units, text, before=before)

    def given_over(self, text: str, *, before: str = "") -> Quantity | Interval | None:
        """How long each dose takes, as durations.py reads it."""
        return given_over(self.units, text, before=before)

    def counted(self, text: str, timing: Timing | None) -> Timing | None:
        """`timing` with the number of times that `text` says ("x 3 doses", "x3"), None where it says none.

        "b.i.d. x3" may be three days or three doses, "q8h x3" is three doses.
        """
        found = _COUNT.fullmatch(plain(text)) if len(text) <= _LONGEST else None
        count = read_number(found["count"]) if found is not None else None
        if found is None or count is None or not _is_count(count) or not (found["x"] or found["doses"]):
            return None
        if timing is None:
            return Timing(count=int(count))
        several = timing.unit not in SHORT and (timing.frequency or 1) > 1
        if timing.count is not None or timing.frequency_max or (several and not found["doses"]):
            return None
        return replace(timing, count=int(count))

    def _limited(self, phrase: str) -> tuple[Timing | None, Quantity | Interval | None]:
        """A timing, and how long it goes on where that is said behind it: "daily x 7 days", "q8h x 3 doses"."""
        timing = self._timing(phrase) or self.counted(phrase, None)
        if timing is not None:
            return timing, None
        found = _TAIL.fullmatch(phrase)
        timing = self._timing(found["head"]) if found is not None else None
        if found is None or timing is None:
            return None, None
        duration = self.duration(found["tail"])
        return (timing, duration) if duration is not None else (self.counted(found["tail"], timing), None)

    def _behind(self, rest: str) -> tuple[Timing | None, str]:
        """What follows "prn" as a timing ("every 6 hours") and the reason before it ("pain every 6 hours")."""
        words = rest.split(" ")
        for start in range(min(len(words), 12)):
            timing = self._timing(" ".join(words[start:]))
            if timing is not None:
                return timing, " ".join(words[:start]).rstrip(" ,;")
        return None, rest

    def _timing(self, phrase: str) -> Timing | None:
        phrase = self.fillers.sub("", phrase).strip(" ,;")
        known = self.timings.get(phrase)
        if known is not None:
            return known
        timing = self._every(phrase) or self._times(phrase) or self._weekdays(phrase) or self._whens(phrase)
        if timing is not None:
            return timing
        for words, when in self.whens if " " in phrase else ():
            if words in phrase and (phrase.endswith(f" {words}") or phrase.startswith(f"{words} ")):
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
        """`q6h`, `q4-6h`, `every 4 to 6 hours`, `every week`, `every third day`, `6-hourly`."""
        found = _EVERY.fullmatch(_ORDINAL.sub(lambda word: _ORDINALS[word[0]], phrase)) or _HOURLY.fullmatch(phrase)
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
        if not found["times"] and (found["high"] or found["low"] not in _ONCE_OR_TWICE):
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
        """`every Monday`, `Monday, Wednesday and Friday`, `Monday through Friday`, `twice weekly on Mon and Thu`."""
        between = _DAY_RANGE.fullmatch(phrase)
        if between is not None:
            first, last = self.days.find(between["first"]), self.days.find(between["last"])
            if first is None or last is None or DAYS.index(first) >= DAYS.index(last):
                return None
            return Timing(days=DAYS[DAYS.index(first) : DAYS.index(last) + 1])
        found = [self.days.find(word) for word in _DAY_JOINTS.sub(" ", phrase).split()]
        days = tuple(day for day in DAYS if day in found)
        if days and None not in found:
            return Timing(days=days)
        split = _ON_DAYS.fullmatch(phrase)
        often = (self.timings.get(split["rest"]) or self._times(split["rest"])) if split is not None else None
        if split is None or often is None or often.days or often.when or often.unit != "wk" or often.period != 1:
            return None
        found = [self.days.find(word) for word in _DAY_JOINTS.sub(" ", split["days"]).split()]
        days = tuple(day for day in DAYS if day in found)
        return replace(often, days=days) if None not in found and len(days) == often.frequency else None

    def _whens(self, phrase: str) -> Timing | None:
        """Several points of a day: `in the morning and at bedtime`, `with breakfast and dinner`."""
        parts = _AND.split(phrase)
        if len(parts) < 2 or not all(parts):
            return None
        lead = parts[0].rpartition(" ")[0]  # "with breakfast and dinner": with dinner
        whens: list[str] = []
        for part in parts:
            timing = self.timings.get(part) or self.timings.get(f"{lead} {part}")
            if timing is None or not timing.when or timing.count or timing.days:
                return None
            whens += timing.when
        return Timing(when=tuple(dict.fromkeys(whens)))


def _as_written(text: str, phrase: str) -> str:
    """The words of `text` that `phrase`, a part of its plain form, stands for: in the note's own case."""
    line = one_line(text)
    start = line.lower().rfind(phrase)
    return line[start : start + len(phrase)] if start >= 0 and len(line.lower()) == len(line) else phrase


def _is_count(number: Decimal) -> bool:
    return 1 <= number <= 100 and number == int(number)


def load_frequencies(mappings: Mappings, units: Units) -> Frequencies:
    """frequencies.toml. Raises MappingError."""
    table = mappings.table("frequencies", _SCHEMA)
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
        days=tuple(entry.get("days", ())),
        count=entry.get("count"),
    )

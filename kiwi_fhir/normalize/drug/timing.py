"""How often and for how long a drug is taken: `bid`, `q4-6h`, `every Monday`, `prn pain`, `x 3 doses`, `for 10 days`.

A frequency is read only when every word of it is understood; otherwise it is None and stays in the dosage's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.normalize.drug.durations import SHORT, duration, given_over
from kiwi_fhir.normalize.drug.often import DAYS, Often, is_count
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.kept import Kept
from kiwi_fhir.normalize.text.numbers import NUMBER, read_number
from kiwi_fhir.normalize.text.words import Phrases, plain
from kiwi_fhir.tables import ListOf, MapOf, Mappings, OneOf, Schema
from kiwi_fhir.types import Interval, Quantity, Timing

#: FHIR R4's units-of-time, event-timing and days-of-week: http://hl7.org/fhir/R4/datatypes.html#Timing
UNITS_OF_TIME = ("s", "min", "h", "d", "wk", "mo", "a")
EVENT_TIMINGS = (
    *("MORN", "MORN.early", "MORN.late", "NOON", "AFT", "AFT.early", "AFT.late", "EVE", "EVE.early", "EVE.late"),
    *("NIGHT", "PHS", "HS", "WAKE"),
    *("C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV"),
)

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

_LONGEST = 100  # characters; what is longer is no frequency, and not worth the patterns' time
_COUNT = re.compile(
    rf"(?:(?P<x>x|times)\s?|for )(?P<count>{NUMBER})(?:\s(?P<doses>doses?|cycles?|treatments?)|\stimes)?(?: only)?"
)
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

    often: Often
    needed: tuple[str, ...]
    as_needed: re.Pattern[str]
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
        if found is None or count is None or not is_count(count) or not (found["x"] or found["doses"]):
            return None
        if timing is None:
            return Timing(count=int(count))
        several = timing.unit not in SHORT and (timing.frequency or 1) > 1
        if timing.count is not None or timing.frequency_max or (several and not found["doses"]):
            return None
        return replace(timing, count=int(count))

    def _limited(self, phrase: str) -> tuple[Timing | None, Quantity | Interval | None]:
        """A timing, and how long it goes on where that is said behind it: "daily x 7 days", "q8h x 3 doses"."""
        timing = self.often.read(phrase) or self.counted(phrase, None)
        if timing is not None:
            return timing, None
        found = _TAIL.fullmatch(phrase)
        timing = self.often.read(found["head"]) if found is not None else None
        if found is None or timing is None:
            return None, None
        duration = self.duration(found["tail"])
        return (timing, duration) if duration is not None else (self.counted(found["tail"], timing), None)

    def _behind(self, rest: str) -> tuple[Timing | None, str]:
        """What follows "prn" as a timing ("every 6 hours") and the reason before it ("pain every 6 hours")."""
        words = rest.split(" ")
        for start in range(min(len(words), 12)):
            timing = self.often.read(" ".join(words[start:]))
            if timing is not None:
                return timing, " ".join(words[:start]).rstrip(" ,;")
        return None, rest


def _as_written(text: str, phrase: str) -> str:
    """The words of `text` that `phrase`, a part of its plain form, stands for: in the note's own case."""
    line = one_line(text)
    start = line.lower().rfind(phrase)
    return line[start : start + len(phrase)] if start >= 0 and len(line.lower()) == len(line) else phrase


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
        often=Often(
            timings=timings,
            whens=tuple(whens),
            fillers=re.compile(rf"^(?:{fillers})\b\s?"),
            per={word: unit for unit, words in table["per"].items() for word in words},
            days=Phrases.of(table["days"]),
            units=units,
        ),
        needed=tuple(plain(word) for word in table["as_needed"]),
        as_needed=re.compile(rf"(?:\bon an? )?\b(?:{needed})\b(?:,?(?: only)? (?:for|if) )?(?P<rest>.*)$"),
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

"""How often, in one phrase: `bid`, `q4-6h`, `3 to 4 times every 2 weeks`, `30 minutes before meals`, `at 8 am`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.numbers import NUMBER, read_number
from kiwi_fhir.normalize.text.words import Phrases
from kiwi_fhir.types import Timing

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_MEALS = frozenset({"C", "CM", "CD", "CV", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV"})
#: Events of which a stretch of time may be told: FHIR's tim-9 excludes those that are "with" a meal.
_BEFORE_OR_AFTER = frozenset({"AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV", "HS"})
_HOURS = {"min": Decimal(1) / 60, "h": Decimal(1), "d": Decimal(24), "wk": Decimal(168)}
_ONE = Decimal(1)
_LONGEST_OFFSET = 240  # minutes

_TO = rf"(?:\s?(?:-|to|or)\s?(?P<high>{NUMBER}))?"
_EVERY = re.compile(rf"(?:once )?(?:q|every|each)\s?(?P<low>{NUMBER})?{_TO}\s?-?(?P<unit>[a-z]+)")
# Of a bare "q12" the hours are meant; "q2" or "q3" may be days.
_EVERY_BARE = re.compile(r"q\s?(?P<low>4|6|8|12|24)(?:\s?(?:-|to)\s?(?P<high>6|8|12))?(?P<unit>)")
_HOURLY = re.compile(rf"(?P<low>{NUMBER}){_TO}[\s-]?(?P<unit>h)(?:ou)?rly")  # British "6-hourly" is every 6 hours
_ORDINALS = {"second": "2", "third": "3", "fourth": "4", "fifth": "5", "2nd": "2", "3rd": "3", "4th": "4", "5th": "5"}
_ORDINAL = re.compile(rf"(?<=every )(?:{'|'.join(_ORDINALS)})\b")
# "2 weekly" is every two weeks to some, "3 daily" is three tablets to others: a number alone counts no times.
_TIMES = re.compile(rf"(?P<low>{NUMBER}){_TO}\s?(?P<times>times|time|x|doses|dose)?\s?(?P<per>[/a-z].*)")
_TIMES_FIRST = re.compile(rf"x\s?(?P<number>{NUMBER})\s?(?=[/a-z])")  # "x2 daily" is "2x daily"
_PERIOD = re.compile(rf"(?:every|per|each|in|/)\s?(?P<low>{NUMBER})?{_TO}\s?(?P<unit>[a-z]+)")
_ADVERBS = frozenset({"once", "twice", "thrice"})
_ONCE_OR_TWICE = _ADVERBS | {"one", "a", "an", "1"}
_ONCE = re.compile(r"(?:once|one time|1 time|1x)\s(?=\w)")
_DAY_JOINTS = re.compile(r"\b(?:every|each|on|and)\b|[,&/]")
_DAY_RANGE = re.compile(r"(?:on )?(?P<first>[a-z]+)\s?(?:through|thru|to|-)\s?(?P<last>[a-z]+)")
_ON_DAYS = re.compile(r"(?P<rest>[a-z ]+?),? (?:on|every|each) (?P<days>[a-z ,&/]+)")
_AND = re.compile(r"\s*(?:,\s*and\b|[,&]|(?<=[a-z])/|\band\b)\s*")
_OR = re.compile(r"\s?(?:-|\bto\b|\bor\b)\s?")
_AGAIN = re.compile(r"(?P<first>[^()]+?)\s?\((?P<again>[^()]+)\)?")
_UP_TO = re.compile(r"(?:up to|at most|no more than|not more than|(?:a )?max(?:imum)?(?: of)?)\s(?P<rest>(?!q|ev).+)")
_OFFSET = re.compile(
    rf"(?:(?P<often>.+?),?\s)??(?P<value>{NUMBER})[\s-]?(?P<unit>min|mins|minutes?|h|hrs?|hours?)\s"
    r"(?P<event>(?:before|prior to|after|ac|pc)\b.*)"
)
_CLOCK = r"(?:\d{1,2}(?::?[0-5]\d)?\s?(?:am|pm|h|hrs|hours)?|noon|midnight)"
_AT = re.compile(
    rf"(?:(?P<often>.*?),?\s?)(?P<at>(?:at|@)\s?)?(?P<clock>{_CLOCK}(?:\s?(?:,|and|&|/)\s?(?:at )?{_CLOCK})*)"
)
_A_CLOCK = re.compile(r"(?P<hour>\d{1,2}?)(?:(?P<colon>:?)(?P<minute>[0-5]\d))?\s?(?P<half>am|pm|h|hrs|hours)?")
_HYPHEN = re.compile(r"(?<=[a-z])-(?=[a-z])")


@dataclass(frozen=True, slots=True)
class Often:
    """The timings of frequencies.toml by their words, and the rules that read what has numbers in it."""

    timings: Mapping[str, Timing]
    whens: tuple[tuple[str, tuple[str, ...]], ...]
    fillers: re.Pattern[str]
    per: Mapping[str, str]
    days: Phrases
    units: Units

    def read(self, phrase: str) -> Timing | None:
        """The timing that a phrase says as a whole; `phrase` is plain (words.py) and short."""
        phrase = self.fillers.sub("", phrase).strip(" ,;()")
        found = self._whole(phrase)
        if found is None and _HYPHEN.search(phrase):
            found = self._whole(_HYPHEN.sub(" ", phrase))  # "twice-daily"
        return found

    def _whole(self, phrase: str) -> Timing | None:
        known = self.timings.get(phrase)
        if known is not None:
            return known
        for rule in (self._simple, self._whens, self._between, self._at, self._offset, self._up_to, self._again):
            timing = rule(phrase)
            if timing is not None:
                return timing
        for words, when in self.whens if " " in phrase else ():
            if words in phrase and (phrase.endswith(f" {words}") or phrase.startswith(f"{words} ")):
                rest = phrase.removesuffix(words).removeprefix(words).strip(" ,")
                return _at(self._simple(rest.removesuffix(" and").strip(" ,")), when)
        return None

    def _simple(self, phrase: str) -> Timing | None:
        """What says nothing but a number of times, or days."""
        return self.timings.get(phrase) or self._every(phrase) or self._times(phrase) or self._weekdays(phrase)

    def _every(self, phrase: str) -> Timing | None:
        """`q6h`, `q4-6h`, `q12`, `every 4 to 6 hours`, `every week`, `every third day`, `6-hourly`."""
        phrase = _ORDINAL.sub(lambda word: _ORDINALS[word[0]], phrase).replace("°", "h")
        found = _EVERY_BARE.fullmatch(phrase) or _EVERY.fullmatch(phrase) or _HOURLY.fullmatch(phrase)
        unit = self.units.time(found["unit"] or "h") if found is not None else None
        if found is None or unit is None:
            return None
        low = read_number(found["low"]) if found["low"] else Decimal(1)
        high = read_number(found["high"]) if found["high"] else None
        if low is None or low <= 0 or (found["high"] and (high is None or high <= low or not found["low"])):
            return None
        return Timing(frequency=1, period=low, period_max=high, unit=unit)

    def _times(self, phrase: str) -> Timing | None:
        """`3 times a day`, `twice weekly`, `3-4 times daily`, `5x/day`, `x2 daily`, `3 times every 1 to 2 weeks`."""
        found = _TIMES.fullmatch(_TIMES_FIRST.sub(r"\g<number>x ", phrase, count=1))
        period = self._period(found["per"], counted=found["times"] is not None) if found is not None else None
        if found is None or period is None:
            return None
        alone = _ADVERBS if found["high"] else _ONCE_OR_TWICE
        if not found["times"] and not alone.issuperset({found["low"], found["high"] or found["low"]}):
            return None
        low, high = read_number(found["low"]), read_number(found["high"]) if found["high"] else None
        if low is None or not is_count(low):
            return None
        if found["high"] and (high is None or high <= low or not is_count(high)):
            return None
        return replace(period, frequency=int(low), frequency_max=int(high) if high is not None else None)

    def _period(self, phrase: str, *, counted: bool) -> Timing | None:
        """`a day`, `weekly`; behind a number of times also `day`, `every 2 weeks`, `in 24 hours`."""
        unit = self.per.get(phrase)
        if unit is not None:
            return Timing(period=Decimal(1), unit=unit)
        found = _PERIOD.fullmatch(phrase) if counted else None
        if found is None:
            return Timing(period=Decimal(1), unit="d") if counted and phrase == "day" else None
        unit = self.units.time(found["unit"])
        low = read_number(found["low"]) if found["low"] else Decimal(1)
        high = read_number(found["high"]) if found["high"] else None
        if unit is None or low is None or low <= 0 or (found["high"] and (high is None or high <= low)):
            return None
        return Timing(period=low, period_max=high, unit=unit)

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
        """Points of a day: `in the morning and at bedtime`, `with breakfast and dinner`, `once every morning`."""
        once = self.timings.get(_ONCE.sub("", phrase, count=1)) if _ONCE.match(phrase) else None
        if once is not None and once.when and once.frequency == 1:
            return once
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

    def _between(self, phrase: str) -> Timing | None:
        """`bid to tid`, `daily or bid`: from one number of times to another."""
        parts = _OR.split(phrase)
        low, high = (self.timings.get(part) for part in parts) if len(parts) == 2 else (None, None)
        if low is None or high is None or (low.period, low.unit) != (high.period, high.unit) or low.period != 1:
            return None
        if low.frequency is None or high.frequency is None or low.frequency >= high.frequency or low.when or high.when:
            return None
        return replace(low, frequency_max=high.frequency)

    def _at(self, phrase: str) -> Timing | None:
        """`at 8 am`, `at 0800 and 2000`, `daily at 20:00`, `every Monday at 9 am`.

        FHIR's timeOfDay means every day and stands beside no frequency: what is said of it must be the same.
        """
        found = _AT.fullmatch(phrase)
        clocks = _AND.split(found["clock"]) if found is not None else []
        times = [_clock(clock.removeprefix("at "), at=bool(found and found["at"])) for clock in clocks]
        if found is None or not times or None in times:
            return None
        often = self._simple(found["often"]) if found["often"] else Timing()
        if often is None or often.count or often.frequency_max or often.period_max:
            return None
        if often.frequency is not None and (often.frequency, often.period, often.unit) != (len(times), _ONE, "d"):
            return None
        return Timing(times=tuple(sorted({time for time in times if time})), days=often.days)

    def _offset(self, phrase: str) -> Timing | None:
        """`30 minutes before meals`, `twice daily 1 hour before breakfast`."""
        found = _OFFSET.fullmatch(phrase)
        event = self.timings.get(found["event"]) if found is not None else None
        value = read_number(found["value"]) if found is not None else None
        if (
            found is None
            or event is None
            or value is None
            or not event.when
            or not _BEFORE_OR_AFTER.issuperset(event.when)
        ):
            return None
        minutes = value * (60 if found["unit"].startswith("h") else 1)
        if minutes != int(minutes) or not 0 < minutes <= _LONGEST_OFFSET:
            return None
        timing = event if not found["often"] else _at(self._simple(found["often"]), event.when)
        mixed = "HS" in event.when and len(event.when) > 1  # "30 minutes before meals and at bedtime"
        return replace(timing, offset=None if mixed else int(minutes)) if timing is not None else None

    def _up_to(self, phrase: str) -> Timing | None:
        """`up to 4 times a day`: the largest number of times, and no smallest."""
        found = _UP_TO.fullmatch(phrase)
        often = (self.timings.get(found["rest"]) or self._times(found["rest"])) if found is not None else None
        if often is None or often.frequency is None or often.frequency_max or often.when or often.period_max:
            return None
        return replace(often, frequency=None, frequency_max=often.frequency)

    def _again(self, phrase: str) -> Timing | None:
        """`twice daily (every 12 hours)`: one timing said twice."""
        found = _AGAIN.fullmatch(phrase)
        first, again = (self.read(found[part]) for part in ("first", "again")) if found is not None else (None, None)
        return merged(first, again) if first is not None and again is not None else None


def merged(first: Timing, second: Timing) -> Timing | None:
    """Two timings as the one that says both ("twice daily" and "every 12 hours"), None where they differ."""
    if first == second:
        return first
    richer, plainer = (second, first) if second.when or second.days or second.times else (first, second)
    if plainer.when or plainer.days or plainer.times or plainer.count != richer.count:
        return None
    if richer.frequency is None and plainer.frequency is not None and plainer.frequency_max is None:
        if richer.when and _MEALS.issuperset(richer.when):
            return replace(plainer, when=richer.when, offset=richer.offset)
        if richer.days and (plainer.frequency, plainer.period, plainer.unit) == (len(richer.days), _ONE, "wk"):
            return replace(plainer, days=richer.days)
        daily = not richer.days and (plainer.period, plainer.unit) == (_ONE, "d")
        return richer if daily and plainer.frequency == len(richer.when or richer.times) else None
    rate = _rate(richer)
    return richer if rate is not None and rate == _rate(plainer) else None


def is_count(number: Decimal) -> bool:
    """Whether a number counts doses or times: whole, from 1 to 100."""
    return 1 <= number <= 100 and number == int(number)


def _rate(timing: Timing) -> Decimal | None:
    """Times an hour, None for a range or where nothing is said of it."""
    hours = _HOURS.get(timing.unit or "")
    if hours is None or timing.frequency is None or timing.period is None or timing.frequency_max or timing.period_max:
        return None
    return timing.frequency / (timing.period * hours)


def _at(timing: Timing | None, when: tuple[str, ...]) -> Timing | None:
    """`timing` at that point of the day. "Twice daily at bedtime" is no sense, "twice daily with meals" is."""
    if timing is None or timing.when or timing.count is not None:
        return None
    once = timing.frequency in (None, 1) and timing.unit in (None, "d", "wk")
    meals = len(_MEALS.intersection(when))
    if (
        (timing.frequency, timing.period, timing.unit) == (4, _ONE, "d")
        and len(when) == 2
        and meals == 1
        and "HS" in when
    ):
        return replace(timing, when=when)  # three meals and bedtime
    return replace(timing, when=when) if once or meals == len(when) else None


def _clock(words: str, *, at: bool) -> str | None:
    """A time of day as FHIR's time; a bare number is none, and four figures only behind "at" or before "hours"."""
    named = {"noon": "12:00:00", "midnight": "00:00:00"}.get(words.strip())
    found = _A_CLOCK.fullmatch(words.strip())
    if named is not None:
        return named
    if found is None:
        return None
    hour, minute, half = int(found["hour"]), int(found["minute"] or 0), found["half"]
    if half in ("am", "pm"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif not found["minute"] or hour > 23 or not (found["colon"] or at or half):
        return None
    return f"{hour:02}:{minute:02}:00"

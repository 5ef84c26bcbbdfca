"""When: absolute dates at the precision that is stated, relative times, ages, stated history.

A date or a period is read only when nothing but that (and a time of day, which is left out) is said. Times that count
from an operation or an admission ("POD 2") have no such date here. What is not read stays words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from kiwi_fhir.normalize.ages import About, age_of
from kiwi_fhir.normalize.text.numbers import NUMBER, read_number
from kiwi_fhir.normalize.text.words import Phrases, plain
from kiwi_fhir.normalize.written_dates import read_date, read_period, read_without_year
from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema
from kiwi_fhir.types import Modifier, Moment

_SCHEMA: dict[str, Schema] = {
    "fillers": ListOf(str),
    "day_first": bool,
    "past": ListOf(str),
    "present": ListOf(str),
    "negated": ListOf(str),
    "before": ListOf(str),
    "death": ListOf(str),
    "ahead": ListOf(str),
    "days": MapOf(int),
}

# "one week prior" counts back from another day than the note's.
_AGO = re.compile(rf"(?P<count>{NUMBER})\s(?P<unit>day|week|month|year)s?\s(?:ago|back)", re.IGNORECASE)
_LONGEST = 60  # characters
_BETWEEN = "a|an|the|his|her|recent|multiple|prior|previous"
_LAST = re.compile(r"last (?P<unit>week|month|year)", re.IGNORECASE)
_THIS = re.compile(r"(?:earlier )?this (?P<unit>month|year)", re.IGNORECASE)
_UNIT = r"(?P<unit>day|week|month|year)s?"
_SO_LONG = re.compile(rf"(?:for|over) (?:the )?(?:past|last) (?P<count>{NUMBER})?\s?{_UNIT}", re.IGNORECASE)
_GOING_ON = re.compile(
    rf"(?:(?:for|x|times)\s?(?P<count>{NUMBER})[\s-]?{_UNIT}"
    rf"|(?:an? |the )?(?P<of>{NUMBER})[\s-](?P<unit_of>day|week|month|year)s? (?:history|hx)(?: of)?)",
    re.IGNORECASE,
)
_AHEAD = re.compile(
    rf"(?:in (?:{NUMBER})(?:\s?(?:-|to|or)\s?(?:{NUMBER}))?\s(?:day|week|month|year)s?(?:'? time)?"
    rf"|(?:{NUMBER})\s(?:day|week|month|year)s? (?:from now|hence)"
    r"|(?:the )?(?:next|coming) (?:[a-z]+day|week|month|year)"
    r"|this (?:coming )?(?:mon|tues|wednes|thurs|fri|satur|sun)day)",
    re.IGNORECASE,
)

_WORDS_BEFORE = re.compile(r"\b(?P<word>at|since|from|in|for|over|x|times)\s+(?P<the>the\s+)?$", re.IGNORECASE)
_BLANK = re.compile(r"(?:(?:in|on|at|since|from|the|of)\b|\[\*\*\s*\*\*\]|[_\s.,:;()-])*", re.IGNORECASE)
_WEEK_SLACK = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Dates:
    """The words of temporal.toml."""

    day_first: bool
    past: Phrases
    present: Phrases
    negated: Phrases
    before: re.Pattern[str]
    death: re.Pattern[str]
    ahead: re.Pattern[str]
    days: Mapping[str, int]

    def denies(self, text: str) -> bool:
        """Whether a temporal says that there was none ("no history of")."""
        return self.negated.find(text) is not None

    def is_history(self, text: str, start: int) -> bool:
        """Whether the words right before `start` say that what begins there is history ("status post")."""
        return self.before.search(text, max(0, start - 40), start) is not None

    def is_blank(self, text: str) -> bool:
        """Whether nothing but the mark of a removed date is there ("in ___")."""
        return _BLANK.fullmatch(text) is not None

    def read(
        self, modifier: Modifier, text: str, note_date: date | None, *, before: str = "", about: About = "other"
    ) -> Moment:
        """When `text` says; `note_date` is the day of the note, None where the note has none.

        `before` are the words before it: "at [age 12]" and "at age 12" are the same.
        """
        words = " ".join(text.replace("[**", " ").replace("**]", " ").split()).strip(" .,;:()[]")
        if len(words) > _LONGEST:
            return Moment(modifier, text, "relative")
        if self.past.find(words):
            return Moment(modifier, text, "past")
        if self.present.find(words) or self.denies(words):
            return Moment(modifier, text, "present")
        stated = read_date(words, note_date, day_first=self.day_first)
        if stated is not None:
            later = _is_later(stated, note_date) or self.ahead.search(before) is not None
            return Moment(modifier, text, "date", date=stated, future=later)
        period = read_period(words, note_date, day_first=self.day_first)
        if period is not None:
            if _is_later(period[1], note_date):  # it goes on, or is to come
                return Moment(modifier, text, "relative", future=_is_later(period[0], note_date))
            return Moment(modifier, text, "date", date=period[0], until=period[1])
        lead = _WORDS_BEFORE.search(before)
        led = words if lead is None else f"{lead['word']} {'the ' if lead['the'] else ''}{words}"
        age = age_of(words, about) or age_of(led, about)
        if age is not None:
            died = about == "relative" and bool(self.death.search(before) or self.death.match(words))
            return Moment(modifier, text, "age", age=age, is_death=died)
        ahead = self.days.get(plain(words), 0) > 0 or _AHEAD.fullmatch(words) or _AHEAD.fullmatch(led)
        ahead = ahead or self.ahead.search(before)
        moment = Moment(modifier, text, "relative", future=bool(ahead))
        if note_date is None or ahead:
            return moment
        resolved = self._count_back(words, led, note_date, about)
        resolved = resolved or read_without_year(words, note_date, day_first=self.day_first)
        return replace(moment, resolved=resolved)

    def _count_back(self, words: str, led: str, note_date: date, about: About) -> str | None:
        """The day, month or year that relative words reach, no more precise than the words.

        `led` are the words with the preposition before them.
        """
        days = self.days.get(plain(words))
        if days is not None:
            return _back(note_date, Decimal(-days), "day")
        if found := _AGO.fullmatch(words):
            count = read_number(found["count"])
            return None if count is None else _back(note_date, count, found["unit"].lower())
        if found := _LAST.fullmatch(words):
            return _back(note_date, Decimal(1), found["unit"].lower())
        if found := _THIS.fullmatch(words):
            return note_date.isoformat()[: 7 if found["unit"].lower() == "month" else 4]
        if found := _SO_LONG.fullmatch(words) or _SO_LONG.fullmatch(led):
            count = read_number(found["count"]) if found["count"] else Decimal(1)
            return None if count is None else _back(note_date, count, found["unit"].lower())
        if about == "problem" and (found := _GOING_ON.fullmatch(words) or _GOING_ON.fullmatch(led)):
            count = read_number(found["count"] or found["of"])
            return None if count is None else _back(note_date, count, (found["unit"] or found["unit_of"]).lower())
        return None


def load_dates(mappings: Mappings) -> Dates:
    """temporal.toml. Raises MappingError."""
    table = mappings.table("temporal", _SCHEMA)
    fillers = table["fillers"]
    cues = "|".join(re.escape(cue) for cue in table["before"])
    deaths = "|".join(re.escape(word) for word in table["death"]) or r"(?!)"
    ahead = "|".join(re.escape(word) for word in table["ahead"]) or r"(?!)"
    return Dates(
        day_first=table["day_first"],
        past=Phrases.of({"past": table["past"]}, fillers),
        present=Phrases.of({"present": table["present"]}, fillers),
        negated=Phrases.of({"negated": table["negated"]}, fillers),
        before=re.compile(rf"(?<!\w)(?:{cues})\s+(?:(?:{_BETWEEN})\s+)*$", re.IGNORECASE),
        death=re.compile(rf"\b(?:{deaths})\b(?:(?!\band\b)[^.,;\d\n])*$", re.IGNORECASE),
        ahead=re.compile(rf"(?<!\w)(?:{ahead})(?:\s+(?:is|are|on|in|for|at|by|be|will be))*\s*$", re.IGNORECASE),
        days={plain(phrase): count for phrase, count in table["days"].items()},
    )


def _is_later(stated: str, note_date: date | None) -> bool:
    return note_date is not None and stated > note_date.isoformat()[: len(stated)]


def _back(start: date, number: Decimal, unit: str) -> str | None:
    """`number` units before `start`; a week back has the precision of a month (or of a year, at the turn of a month),
    as no note counts them to the day."""
    count = int(number)
    if count != number:
        return None
    try:
        if unit == "day":
            return (start - timedelta(days=count)).isoformat()
        if unit == "week":
            week = start - timedelta(weeks=count)
            first, last = (week - _WEEK_SLACK).isoformat(), (week + _WEEK_SLACK).isoformat()
            return next((first[:length] for length in (7, 4) if first[:length] == last[:length]), None)
        months = start.year * 12 + start.month - 1 - count * (1 if unit == "month" else 12)
        found = date(months // 12, months % 12 + 1, 1).isoformat()
    except (OverflowError, ValueError):
        return None
    return found[:7] if unit == "month" else found[:4]

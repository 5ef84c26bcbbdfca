"""When: absolute dates at the precision that is stated, relative times, stated history.

A date is read only when nothing but the date (and a time of day, which is left out) is said. Two figures of a year are
read only when the note's own date decides the century. What is not read stays words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from kiwi_fhir.normalize.numbers import NUMBER, read_number
from kiwi_fhir.normalize.words import Phrases, plain
from kiwi_fhir.tables import ListOf, MapOf, Schema, load_table
from kiwi_fhir.types import Modifier, Moment

_SCHEMA: dict[str, Schema] = {
    "fillers": ListOf(str),
    "day_first": bool,
    "past": ListOf(str),
    "present": ListOf(str),
    "negated": ListOf(str),
    "before": ListOf(str),
    "days": MapOf(int),
}

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>(?:19|2[012])\d\d)"
_CLOCK = r"(?:(?:,|\s|T|at)+(?:\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?\s?(?:[ap]\.?m\.?|hours|hrs|z)?|\d{1,2}\s?[ap]\.?m\.?))?"
_LEAD = r"(?:(?:on|in|since|dated|as of|during|from|the year|year)\s)*(?:the\s)?"

_FORMS = tuple(
    re.compile(rf"{_LEAD}{form}{_CLOCK}", re.IGNORECASE)
    for form in (
        rf"{_YEAR}[-/](?P<month>\d{{1,2}})[-/]{_DAY}",
        rf"(?P<first>\d{{1,2}})[-/](?P<second>\d{{1,2}})[-/](?:{_YEAR}|(?P<short>\d\d))",
        rf"(?P<month>\d{{1,2}})[-/]{_YEAR}",
        rf"{_MONTH}\s?{_DAY}(?:\s?,\s?|\s){_YEAR}",
        rf"{_DAY}[\s-]?(?:of\s)?{_MONTH}[\s,-]*{_YEAR}",
        rf"{_MONTH}(?:\s?,\s?|\s)(?:of\s)?{_YEAR}",
        rf"(?:(?:spring|summer|fall|autumn|winter|early|mid|late)[\s-](?:of\s)?)?{_YEAR}",
    )
)
# "one week prior" counts back from another day than the note's.
_AGO = re.compile(rf"(?P<count>{NUMBER})\s(?P<unit>day|week|month|year)s?\s(?:ago|back)", re.IGNORECASE)
_BETWEEN = "a|an|the|his|her|recent|multiple|prior|previous"
_LAST = re.compile(r"last (?P<unit>week|month|year)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dates:
    """The words of temporal.toml."""

    day_first: bool
    past: Phrases
    present: Phrases
    negated: Phrases
    before: re.Pattern[str]
    days: Mapping[str, int]

    def denies(self, text: str) -> bool:
        """Whether a temporal says that there was none ("no history of")."""
        return self.negated.find(text) is not None

    def is_history(self, text: str, start: int) -> bool:
        """Whether the words right before `start` say that what begins there is history ("status post")."""
        return self.before.search(text, max(0, start - 40), start) is not None

    def read(self, modifier: Modifier, text: str, note_date: date | None) -> Moment:
        """When `text` says; `note_date` is the day of the note, None where the note has none."""
        words = " ".join(text.replace("[**", " ").replace("**]", " ").split()).strip(" .,;:()[]")
        if self.past.find(words):
            return Moment(modifier, text, "past")
        if self.present.find(words) or self.denies(words):
            return Moment(modifier, text, "present")
        stated = self._date(words, note_date)
        if stated is not None:
            later = note_date is not None and stated > note_date.isoformat()[: len(stated)]
            return Moment(modifier, text, "date", date=stated, future=later)
        moment = Moment(modifier, text, "relative")
        return replace(moment, resolved=self._count_back(words, note_date)) if note_date is not None else moment

    def _date(self, words: str, note_date: date | None) -> str | None:
        for form in _FORMS:
            found = form.fullmatch(words)
            if found is None:
                continue
            parts = found.groupdict()
            year = int(parts["year"]) if parts.get("year") else _century(parts.get("short"), note_date)
            month, day = parts.get("month"), parts.get("day")
            if parts.get("first"):
                month, day = (parts["second"], parts["first"]) if self.day_first else (parts["first"], parts["second"])
                if int(month) > 12:
                    month, day = day, month
            return _iso(year, month, day) if year is not None else None
        return None

    def _count_back(self, words: str, note_date: date) -> str | None:
        """The day, month or year that relative words reach, no more precise than the words."""
        days = self.days.get(plain(words))
        if days is not None:
            return _back(note_date, Decimal(-days), "day")
        if found := _AGO.fullmatch(words):
            count = read_number(found["count"])
            return None if count is None else _back(note_date, count, found["unit"].lower())
        if found := _LAST.fullmatch(words):
            return _back(note_date, Decimal(1), found["unit"].lower())
        return None


def load_dates(directory: Path | None) -> Dates:
    """temporal.toml. Raises MappingError."""
    table = load_table("temporal", directory, _SCHEMA)
    fillers = table["fillers"]
    cues = "|".join(re.escape(cue) for cue in table["before"])
    return Dates(
        day_first=table["day_first"],
        past=Phrases.of({"past": table["past"]}, fillers),
        present=Phrases.of({"present": table["present"]}, fillers),
        negated=Phrases.of({"negated": table["negated"]}, fillers),
        before=re.compile(rf"(?<!\w)(?:{cues})\s+(?:(?:{_BETWEEN})\s+)*$", re.IGNORECASE),
        days={plain(phrase): count for phrase, count in table["days"].items()},
    )


def day_of(time: str | None) -> date | None:
    """The day of a note's time (ISO 8601); None when it has no full date."""
    try:
        return date.fromisoformat(time[:10]) if time is not None and len(time) >= 10 else None
    except ValueError:
        return None


def _century(short: str | None, note_date: date | None) -> int | None:
    """The year that ends in `short` and lies nearest before the end of the year after the note's."""
    if short is None or note_date is None:
        return None
    latest = note_date.year + 1
    return latest - (latest - int(short)) % 100


def _iso(year: int, month: str | None, day: str | None) -> str | None:
    """An ISO date of the parts that are there, None where they are no date."""
    if month is None:
        return f"{year:04d}"
    number = int(month) if month.isdigit() else _MONTHS.index(month[:3].lower()) + 1
    try:
        found = date(year, number, int(day) if day else 1)
    except ValueError:
        return None
    return found.isoformat() if day else found.isoformat()[:7]


def _back(start: date, number: Decimal, unit: str) -> str | None:
    """`number` units before `start`; a week back is a month's precision, as no note counts them to the day."""
    count = int(number)
    if count != number:
        return None
    try:
        if unit == "day":
            return (start - timedelta(days=count)).isoformat()
        if unit == "week":
            return (start - timedelta(weeks=count)).isoformat()[:7]
        months = start.year * 12 + start.month - 1 - count * (1 if unit == "month" else 12)
        found = date(months // 12, months % 12 + 1, 1).isoformat()
    except (OverflowError, ValueError):
        return None
    return found[:7] if unit == "month" else found[:4]

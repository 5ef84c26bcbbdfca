"""When: absolute dates at the precision that is stated, relative times, ages, stated history.

A date is read only when nothing but the date (and a time of day, which is left out) is said. Two figures of a year are
read only when the note's own date decides the century, a date without a year only when no other year is likely. Times
that count from an operation or an admission ("POD 2") have no such date here. What is not read stays words.
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
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s)?"
_LEAD = rf"(?:(?:on|in|since|dated|as of|during|from|the year|year)\s)*(?:the\s)?{_WEEKDAY}"
_PART = r"(?:(?:early|mid|late|(?:the\s)?(?:end|beginning|middle|start)\sof)[\s-](?:of\s)?)?"

_FORMS = tuple(
    re.compile(rf"{_LEAD}{form}{_CLOCK}", re.IGNORECASE)
    for form in (
        rf"{_YEAR}[-/](?P<month>\d{{1,2}})[-/]{_DAY}",
        rf"(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<second>\d{{1,2}})(?P=mark)(?:{_YEAR}|(?P<short>\d\d))",
        rf"(?P<month>\d{{1,2}})[-/]{_YEAR}",
        rf"{_YEAR}-(?P<month>\d{{1,2}})",
        rf"{_MONTH}\s?{_DAY}(?:\s?,\s?|\s){_YEAR}",
        rf"{_DAY}[\s-]?(?:of\s)?{_MONTH}[\s,-]*{_YEAR}",
        rf"{_DAY}-{_MONTH}-(?P<short>\d\d)",
        rf"{_PART}{_MONTH}(?:\s?,\s?|\s)(?:of\s)?{_YEAR}",
        rf"(?:(?:spring|summer|fall|autumn)[\s-](?:of\s)?)?{_YEAR}",
        rf"{_PART}{_YEAR}",
        r"['’](?P<short>\d\d)",
    )
)
_NO_YEAR = tuple(
    re.compile(rf"{_LEAD}{form}{_CLOCK}", re.IGNORECASE)
    for form in (
        rf"{_MONTH}\s?{_DAY}",
        rf"{_DAY}\s?(?:of\s)?{_MONTH}",
        r"(?P<first>\d{1,2})/(?P<second>\d{1,2})",
    )
)
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
    r"|(?:the )?(?:next|coming) (?:[a-z]+day|week|month|year))",
    re.IGNORECASE,
)

_WORDS_BEFORE = re.compile(r"\b(?P<word>at|since|from|in|for|over|x|times)\s+(?P<the>the\s+)?$", re.IGNORECASE)
_BLANK = re.compile(r"(?:(?:in|on|at|since|from|the|of)\b|\[\*\*\s*\*\*\]|[_\s.,:;()-])*", re.IGNORECASE)
_YEARS_BACK = 50  # a year in two figures that lies so near may be meant by "3/06"
_YEARS_NEAR = 10  # the same of "Jan 08"
_MAY_BE_A_YEAR = re.compile(r"\b[a-z]{3,4}\.? (?P<year>\d\d)", re.IGNORECASE)
_HALF_A_YEAR = 183
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
        stated = self._date(words, note_date)
        if stated is not None:
            later = note_date is not None and stated > note_date.isoformat()[: len(stated)]
            return Moment(modifier, text, "date", date=stated, future=later)
        lead = _WORDS_BEFORE.search(before)
        led = words if lead is None else f"{lead['word']} {'the ' if lead['the'] else ''}{words}"
        age = age_of(words, about) or age_of(led, about)
        if age is not None:
            died = about == "relative" and bool(self.death.search(before) or self.death.match(words))
            return Moment(modifier, text, "age", age=age, is_death=died)
        ahead = self.days.get(plain(words), 0) > 0 or _AHEAD.fullmatch(words) or _AHEAD.fullmatch(led)
        moment = Moment(modifier, text, "relative", future=bool(ahead))
        if note_date is None or ahead:
            return moment
        resolved = self._count_back(words, led, note_date, about) or self._this_year(words, note_date)
        return replace(moment, resolved=resolved)

    def _date(self, words: str, note_date: date | None) -> str | None:
        for form in _FORMS:
            found = form.fullmatch(words)
            if found is None:
                continue
            parts = found.groupdict()
            year = int(parts["year"]) if parts.get("year") else _century(parts.get("short"), note_date)
            month, day = parts.get("month"), parts.get("day")
            if parts.get("first"):
                month, day = self._in_order(parts["first"], parts["second"])
                # a date with dots has the day first where it is at home
                if parts["mark"] == "." and not self.day_first and int(day) <= 12 and int(day) != int(month):
                    return None
            elif year is not None and month is not None and not day and _is_two_years(words, year, month):
                return None
            return _iso(year, month, day) if year is not None else None
        return None

    def _in_order(self, first: str, second: str) -> tuple[str, str]:
        """Month and day of two figures."""
        month, day = (second, first) if self.day_first else (first, second)
        return (day, month) if int(month) > 12 else (month, day)

    def _this_year(self, words: str, note_date: date) -> str | None:
        """A date without a year in the half year before the note; None where another year, or a month, may be meant."""
        for form in _NO_YEAR:
            found = form.fullmatch(words)
            if found is None:
                continue
            parts = found.groupdict()
            month, day = parts.get("month"), parts.get("day")
            if parts.get("first"):
                month, day = self._in_order(parts["first"], parts["second"])
                short = _century(parts["second"].zfill(2), note_date)  # "3/06" may be March 2006
                if int(parts["first"]) <= 12 and short is not None and note_date.year - _YEARS_BACK <= short:
                    return None
            elif written := _MAY_BE_A_YEAR.search(words):
                short = _century(written["year"], note_date)
                if words.endswith(written[0]) and short is not None and note_date.year - _YEARS_NEAR <= short:
                    return None
            for year in (note_date.year, note_date.year - 1):
                stated = _iso(year, month, day)
                if stated is not None and stated <= note_date.isoformat():
                    back = (note_date - date.fromisoformat(stated)).days
                    return stated if back <= _HALF_A_YEAR else None
            return None
        return None

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
    return Dates(
        day_first=table["day_first"],
        past=Phrases.of({"past": table["past"]}, fillers),
        present=Phrases.of({"present": table["present"]}, fillers),
        negated=Phrases.of({"negated": table["negated"]}, fillers),
        before=re.compile(rf"(?<!\w)(?:{cues})\s+(?:(?:{_BETWEEN})\s+)*$", re.IGNORECASE),
        death=re.compile(rf"\b(?:{deaths})\b(?:(?!\band\b)[^.,;\d\n])*$", re.IGNORECASE),
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


def _is_two_years(words: str, year: int, month: str) -> bool:
    """Whether "2005-06" may be 2005 to 2006."""
    return words.endswith(f"{year}-{month}") and len(month) == 2 and (year + 1) % 100 == int(month)


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

"""Dates as notes write them, at the precision that is written, and periods from one date to another.

Two figures of a year are read only when the note's own date decides the century, a date without a year only when no
other year is likely. What may be another date is None, and stays words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

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
        r"(?P<month>\d{1,2})/(?P<short>3[2-9]|[4-9]\d)",  # "03/98": no month has so many days
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
_PERIOD = re.compile(
    r"(?P<between>between )?(?P<first>.+?) (?:-|–|to|through|thru|until|till|(?P<and>and)) (?P<last>.+)", re.I
)
_YEARS = re.compile(r"((?:19|2[012])\d\d)\s?[-–]\s?((?:19|2[012])\d\d)")

_YEARS_BACK = 50  # a year in two figures that lies so near may be meant by "3/06"
_YEARS_NEAR = 10  # the same of "Jan 08"
_YEARS_OLD = 80  # what is so long ago in two figures may as well be to come
_MAY_BE_A_YEAR = re.compile(r"\b[a-z]{3,4}\.? (?P<year>\d\d)", re.IGNORECASE)
_HALF_A_YEAR = 183


def read_date(words: str, note_date: date | None, *, day_first: bool) -> str | None:
    """An absolute date in ISO form (`2006`, `2006-03`, `2006-03-14`); None for anything else.

    `note_date` is the day of the note, None where it has none; `day_first` reads 03/04/2008 as the third of April.
    """
    for form in _FORMS:
        found = form.fullmatch(words)
        if found is None:
            continue
        parts = found.groupdict()
        year = int(parts["year"]) if parts.get("year") else _century(parts.get("short"), note_date)
        month, day = parts.get("month"), parts.get("day")
        if parts.get("first"):
            month, day = _in_order(parts["first"], parts["second"], day_first)
            # a date with dots has the day first where it is at home
            if parts["mark"] == "." and not day_first and int(day) <= 12 and int(day) != int(month):
                return None
        elif year is not None and month is not None and not day and _is_two_years(words, year, month):
            return None
        return _iso(year, month, day) if year is not None else None
    return None


def read_period(words: str, note_date: date | None, *, day_first: bool) -> tuple[str, str] | None:
    """The first and last date of `2004-2006`, `between 1980 and 1995`, `from 3/1/2006 to 3/5/2006`.

    None for anything else, also where one of the two has no year or they are not written alike.
    """
    for first, last in _two(words):
        start, end = (read_date(part, note_date, day_first=day_first) for part in (first, last))
        if start is not None and end is not None and len(start) == len(end) and start <= end:
            return start, end
    return None


def _two(words: str) -> Iterator[tuple[str, str]]:
    if found := _YEARS.fullmatch(words):
        yield found[1], found[2]
    elif (found := _PERIOD.fullmatch(words)) and bool(found["between"]) == bool(found["and"]):
        yield found["first"], found["last"]


def read_without_year(words: str, note_date: date, *, day_first: bool) -> str | None:
    """A date without a year in the half year before the note; None where another year, or a month, may be meant."""
    for form in _NO_YEAR:
        found = form.fullmatch(words)
        if found is None:
            continue
        parts = found.groupdict()
        month, day = parts.get("month"), parts.get("day")
        if parts.get("first"):
            month, day = _in_order(parts["first"], parts["second"], day_first)
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


def _in_order(first: str, second: str, day_first: bool) -> tuple[str, str]:
    """Month and day of two figures."""
    month, day = (second, first) if day_first else (first, second)
    return (day, month) if int(month) > 12 else (month, day)


def _century(short: str | None, note_date: date | None) -> int | None:
    """The year that ends in `short` and lies nearest before the end of the year after the note's.

    None where that is so long ago that a year to come may be meant: "03/24/27" in 2025.
    """
    if short is None or note_date is None:
        return None
    latest = note_date.year + 1
    year = latest - (latest - int(short)) % 100
    return year if note_date.year - year <= _YEARS_OLD else None


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

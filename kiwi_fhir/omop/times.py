"""Dates of notes and facts as OMOP has them: whole days, and times as the source states them."""

from __future__ import annotations

import calendar
from datetime import date, datetime

from kiwi_fhir.types import Fact, day_of


def moment_of(time: str | None) -> datetime | None:
    """Day and time as the source's own clock showed them, its offset left out; None without a time of day."""
    try:
        return datetime.fromisoformat(time).replace(tzinfo=None) if time is not None and len(time) > 10 else None
    except ValueError:
        return None


def dated_before(fact: Fact, day: date | None) -> bool:
    """Whether the fact is dated before that day; a year or month counts as its last day."""
    if day is None:
        return False
    ends = (_last_day(moment.until or moment.date or moment.resolved) for moment in fact.moments if not moment.future)
    return any(end is not None and end < day for end in ends)


def own_day(fact: Fact, day: date | None) -> date | None:
    """The day that a fact's row gets: its own date, else the note's.

    None where its date is no full one, or a period, or to come.
    """
    stated = [moment for moment in fact.moments if moment.date or moment.resolved or moment.future]
    if not stated:
        return day
    if any(moment.until is not None for moment in stated):
        return None
    days = {day_of(moment.date or moment.resolved) for moment in stated if not moment.is_end}
    if len(days) != 1 or any(moment.future for moment in stated):
        return None
    return days.pop()


def _last_day(stated: str | None) -> date | None:
    if stated is None:
        return None
    try:
        if len(stated) == 4:
            return date(int(stated), 12, 31)
        if len(stated) == 7:
            year, month = int(stated[:4]), int(stated[5:])
            return date(year, month, calendar.monthrange(year, month)[1])
        return date.fromisoformat(stated[:10])
    except ValueError:
        return None

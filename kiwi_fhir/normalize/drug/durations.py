"""How long a drug is taken (`for 10 days`, `10-day course`), and how long each dose takes (`over 30 minutes`)."""

from __future__ import annotations

import re

from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.words import plain
from kiwi_fhir.types import Interval, Quantity

#: Units of time of which a length alone may be that of one dose.
SHORT = frozenset({"s", "min", "h"})

_LONGEST = 100  # characters
_FOR = re.compile(r"(?:(?:for|times|during)\b|x)\s?(?:(?:the|next|another|a total of)\s)*")
_LED = re.compile(r"(?:\b(?:for|times|during)|\bx)\s*$", re.IGNORECASE)
_OVER = re.compile(r"over (?!the\b)")
_LED_OVER = re.compile(r"\bover\s+$", re.IGNORECASE)
_COURSE = re.compile(r"(?:(?:an?|the|full|complete)\s)*(?P<length>.+?)[\s-]course(?: of)?")
_MORE = re.compile(r"\b(?:more|additional|consecutive|full)\s")
_POINT = re.compile(r"(?<!\d)\.\d")  # ".5 hours": plain() may take the point away


def duration(units: Units, text: str, *, before: str = "") -> Quantity | Interval | None:
    """How long it is taken: `for 10 days`, `x2 weeks`, `10-day course`; `before` are the words before `text`.

    Minutes and hours count only behind "for" or "x": alone they may be how long a dose takes.
    """
    phrase = plain(text)
    if len(phrase) > _LONGEST or _POINT.search(text) or _OVER.match(phrase) or _LED_OVER.search(before):
        return None
    course = _COURSE.fullmatch(phrase)
    bare = _FOR.sub("", course["length"] if course is not None else phrase, count=1)
    found = units.duration(_MORE.sub("", bare))
    low = found.low if isinstance(found, Interval) else found
    led = bare != phrase or _LED.search(before) is not None
    return found if led or low is None or low.code not in SHORT else None


def given_over(units: Units, text: str, *, before: str = "") -> Quantity | Interval | None:
    """How long each dose takes: `over 30 minutes`. "Over 5 days" may be of the whole course, and is not read."""
    phrase = plain(text)
    if len(phrase) > _LONGEST or _POINT.search(text) or not (_OVER.match(phrase) or _LED_OVER.search(before)):
        return None
    found = units.duration(_OVER.sub("", phrase, count=1))
    low = found.low if isinstance(found, Interval) else found
    return found if low is not None and low.code in SHORT else None

"""Blood pressures and tens: `120/80`, `120-130/70-80`, `110s/70s`; `110s` is 110 to 119."""

from __future__ import annotations

import re
from decimal import Decimal

from kiwi_fhir.types import BloodPressure, Interval, Quantity

_SIDE = r"(\d{2,3})(?:(s)|-(\d{2,3}))?"
_PRESSURE = re.compile(rf"{_SIDE}\s?(?:/|over)\s?{_SIDE}(?:\s?mm\s?/?\[?hg\]?)?", re.IGNORECASE)
# Not "200s": 200 to 209, or to 299?
_TENS = re.compile(
    r"(?:in the |the )?([1-9]?[1-9]0)'?s(?:\s?(?:-|to|and)\s?(?:the )?([1-9]?[1-9]0)'?s)?", re.IGNORECASE
)
_UNIT = ("mmHg", "mm[Hg]")


def read_pressure(text: str) -> BloodPressure | None:
    """Systolic over diastolic; None for what can be no pressure in mmHg (a date, a strength, an acuity)."""
    found = _PRESSURE.fullmatch(text)
    if found is None:
        return None
    (low, high), (bottom, top) = _ends(*found.group(1, 2, 3)), _ends(*found.group(4, 5, 6))
    if not (20 <= bottom <= top < low <= high <= 300 and low >= 40):
        return None
    return BloodPressure(_side(low, high), _side(bottom, top))


def read_tens(text: str) -> Interval | None:
    """`110s` as 110 to 119, `120s to 130s` as 120 to 139."""
    found = _TENS.fullmatch(text)
    if found is None:
        return None
    low, high = Decimal(found[1]), Decimal(found[2] or found[1]) + 9
    return Interval(Quantity(low), Quantity(high)) if low < high else None


def _ends(first: str, tens: str | None, last: str | None) -> tuple[Decimal, Decimal]:
    """From and to; (0, -1), which is no pressure, for tens of no ten ("115s", "200s") and a range that goes down."""
    low = Decimal(first)
    high = low + 9 if tens else Decimal(last or first)
    return (low, high) if low <= high and not (tens and (low % 10 or not low % 100)) else (Decimal(0), Decimal(-1))


def _side(low: Decimal, high: Decimal) -> Quantity | Interval:
    return Quantity(low, *_UNIT) if low == high else Interval(Quantity(low, *_UNIT), Quantity(high, *_UNIT))

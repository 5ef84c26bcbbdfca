"""Reference ranges, and what a result is when it is held against one."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.types import Interval, LabValue, Quantity

_LEAD = re.compile(
    r"^(?:normal|nl|ref(?:erence)?)\.?(?:\s?(?:range|interval|values?|limits?))?\s?(?:is|are|:|being|of|=)?\s?",
    re.IGNORECASE,
)


def read_range(units: Units, text: str) -> Interval | None:
    """`0.5-1.2`, `(< 5 mg/dL)`, `normal 0.34 to 5.60`, `up to 40`; None for anything else.

    The ends of a FHIR Range have no comparator: "< 5" is a range up to 5.
    """
    words = _LEAD.sub("", text.strip("()[] "), count=1).strip("()[] ")
    interval = units.interval(words)
    if interval is None and (bound := units.compared(words, limit=True)):
        plain = Quantity(bound.value, bound.unit, bound.code)
        interval = Interval(None, plain) if bound.comparator in ("<", "<=") else Interval(plain, None)
    return interval


def judged(value: LabValue, normal: Interval) -> Literal["H", "L", "N"] | None:
    """High, low or normal, where it is certain: both are numbers, and in one unit as far as units are said.

    A value that equals the only end of a range is neither ("< 5" of 5), nor is one that lies partly in it.
    """
    measured = value.value
    if isinstance(measured, Interval) and measured.low is not None and measured.high is not None:
        low, high, one = measured.low.value, measured.high.value, measured.low
    elif isinstance(measured, Quantity):
        low, high, one = _reach(measured)
    else:
        return None
    ends = [end for end in (normal.low, normal.high) if end is not None]
    if not all(_same_unit(one, end) for end in ends):
        return None
    floor = normal.low.value if normal.low is not None else Decimal("-Infinity")
    ceiling = normal.high.value if normal.high is not None else Decimal("Infinity")
    open_end = measured.comparator in ("<", ">") if isinstance(measured, Quantity) else False
    if low > ceiling or (open_end and low >= ceiling):
        return "H"
    if high < floor or (open_end and high <= floor):
        return "L"
    closed = len(ends) == 2
    from_low = floor <= low if closed else floor < low
    if isinstance(measured, Quantity) and measured.comparator in ("<", "<="):
        from_low = floor <= 0  # "<0.01" is not below zero
    to_high = high <= ceiling if closed or open_end else high < ceiling
    return "N" if from_low and to_high else None


def _reach(measured: Quantity) -> tuple[Decimal, Decimal, Quantity]:
    """From where to where the value can lie."""
    low = Decimal("-Infinity") if measured.comparator in ("<", "<=") else measured.value
    high = Decimal("Infinity") if measured.comparator in (">", ">=") else measured.value
    return low, high, measured


def _same_unit(one: Quantity, other: Quantity) -> bool:
    """A bare number beside one with a unit is in that unit."""
    if one.unit is None or other.unit is None:
        return True
    return one.code == other.code if one.code or other.code else one.unit.lower() == other.unit.lower()

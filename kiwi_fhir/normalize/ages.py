"""Ages at which something was: `at age 45`, `at 6 months of age`, `in her 40s`. How old somebody is now is none."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

from kiwi_fhir.normalize.text.numbers import NUMBER, read_number
from kiwi_fhir.types import Interval, Quantity

#: Whom a time is about: a problem that goes on (where a bare length of time says since when), a relative (where "at 50"
#: is an age), or anything else.
About = Literal["problem", "relative", "other"]

_OLD = r"(?:[\s-](?P<unit>day|week|month|year)s?)?"
_NUMBERS = rf"(?P<low>{NUMBER})(?:\s?(?:-|to)\s?(?P<high>{NUMBER}))?"
_AGES = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?:at|since|from) (?:the )?age (?:of )?{_NUMBERS}{_OLD}(?: old)?",
        rf"(?:at|since|from) {_NUMBERS}{_OLD} of age",
        rf"when (?:s?he|they|(?:the )?patient|(?:the )?pt) was {_NUMBERS}{_OLD}(?: old| of age)?",
        r"in (?:his|her|their) (?:(?P<decade>[2-9])0['’]?s)",
    )
)
_RELATIVES_AGE = re.compile(  # "at 34 weeks" would be of a pregnancy
    rf"at {_NUMBERS}(?:[\s-](?P<unit>year)s?)?(?: old)?", re.IGNORECASE
)
_AGE_UNITS = {"day": ("days", "d"), "week": ("weeks", "wk"), "month": ("months", "mo"), "year": ("years", "a")}
_OLDEST = 120


def age_of(words: str, about: About) -> Quantity | Interval | None:
    """The age that `words` say ("at age 45", "at 6 months of age", "in her 40s"); "at 50" is one only of a relative."""
    found = next((found for form in _AGES if (found := form.fullmatch(words))), None)
    if found is None and about == "relative":
        found = _RELATIVES_AGE.fullmatch(words)
    if found is None:
        return None
    parts = found.groupdict()
    if parts.get("decade"):
        first = int(parts["decade"]) * 10
        return Interval(Quantity(Decimal(first), "years", "a"), Quantity(Decimal(first + 9), "years", "a"))
    unit = _AGE_UNITS[(parts.get("unit") or "year").lower()]
    low = read_number(parts["low"])
    high = read_number(parts["high"]) if parts["high"] else None
    last = high if high is not None else low
    if low is None or last is None or not 0 < low <= last or (unit[1] == "a" and last > _OLDEST):
        return None
    if parts["high"] is None:
        return Quantity(low, *unit)
    return Interval(Quantity(low, *unit), Quantity(high, *unit)) if high is not None and low < high else None

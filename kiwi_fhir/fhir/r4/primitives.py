"""FHIR R4's primitive types: http://hl7.org/fhir/R4/datatypes.html#primitive

Each is a test of a value and the words for what is wanted. The words never repeat the value, which may be a note's
text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from kiwi_fhir.types import is_instant

_DATE = r"(?P<year>\d{4})(?:-(?P<month>0[1-9]|1[0-2])(?:-(?P<day>0[1-9]|[12]\d|3[01])%s)?)?"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
_ZONE = r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))"

_DATE_ONLY = re.compile(_DATE % "", re.ASCII)
_DATE_TIME = re.compile(_DATE % f"(?:T{_TIME}{_ZONE})?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")

#: A test of a value that is a str.
TextTest = Callable[[str], bool]
#: A test of any value.
Test = Callable[[Any], bool]


def is_text(value: str) -> bool:
    """string and markdown: not blank, without control characters."""
    return not value.isspace() and value != "" and (value.isprintable() or _CONTROL.search(value) is None)


def is_id(value: object) -> bool:
    """Whether `value` is a FHIR id."""
    return type(value) is str and _ID.fullmatch(value) is not None


def is_date_time(value: str) -> bool:
    """A date at any precision; with a time it has seconds and a zone."""
    return _is_day(_DATE_TIME.fullmatch(value))


def _is_date(value: str) -> bool:
    return _is_day(_DATE_ONLY.fullmatch(value))


def _is_day(found: re.Match[str] | None) -> bool:
    if found is None:
        return False
    try:
        date(int(found["year"]), int(found["month"] or 1), int(found["day"] or 1))
    except ValueError:
        return False
    return True


def _is_boolean(value: object) -> bool:
    return type(value) is bool


def _is_decimal(value: object) -> bool:
    if type(value) is Decimal:
        return value.is_finite()
    return type(value) is int or (type(value) is float and value - value == 0)


def _whole(low: int) -> Test:
    def test(value: object) -> bool:
        return type(value) is int and low <= value <= 2147483647

    return test


def _matching(pattern: str) -> TextTest:
    """A test by pattern. The same codes, systems and dates come again and again, so that answers are kept."""
    fullmatch = re.compile(pattern, re.ASCII).fullmatch
    return lru_cache(maxsize=4096)(lambda value: fullmatch(value) is not None)


_uri = _matching(r"\S+"), "a URI without spaces"

#: Primitives that are JSON strings: the test and what is wanted.
TEXTS: dict[str, tuple[TextTest, str]] = {
    "base64Binary": (_matching(r"[0-9A-Za-z+/=\s]+"), "base64"),
    "canonical": _uri,
    "code": (_matching(r"\S+(?: \S+)*"), "a code: text without spaces at its ends or twice in a row"),
    "date": (lru_cache(maxsize=4096)(_is_date), "a date (YYYY, YYYY-MM or YYYY-MM-DD)"),
    "dateTime": (
        lru_cache(maxsize=4096)(is_date_time),
        "a dateTime (YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a zone)",
    ),
    "id": (is_id, "an id: 1 to 64 letters, digits, '-' or '.'"),
    "instant": (lru_cache(maxsize=4096)(is_instant), "an instant (YYYY-MM-DDThh:mm:ss with a zone)"),
    "markdown": (is_text, "text that is not blank and has no control characters"),
    "oid": (_matching(r"urn:oid:[0-2](?:\.(?:0|[1-9]\d*))+"), "an OID (urn:oid:...)"),
    "string": (is_text, "text that is not blank and has no control characters"),
    "time": (_matching(_TIME), "a time (hh:mm:ss)"),
    "uri": _uri,
    "url": _uri,
    "uuid": (_matching(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "a UUID (urn:uuid:...)"),
    "xhtml": (is_text, "XHTML"),
}

#: The other primitives.
OTHERS: dict[str, tuple[Test, str]] = {
    "boolean": (_is_boolean, "true or false"),
    "decimal": (_is_decimal, "a finite number"),
    "integer": (_whole(-2147483648), "a whole number"),
    "positiveInt": (_whole(1), "a whole number from 1"),
    "unsignedInt": (_whole(0), "a whole number from 0"),
}

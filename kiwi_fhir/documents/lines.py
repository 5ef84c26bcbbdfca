"""One line of text and one line of JSON, as every stage writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson


def one_line(text: str) -> str:
    """`text` on one line with single spaces, without control characters, which no standard takes."""
    words = " ".join(text.split())
    return words if words.isprintable() else "".join(mark for mark in words if mark.isprintable() or mark > "\x9f")


def to_json(value: dict[str, Any]) -> bytes:
    """A resource or element as one line of UTF-8 JSON without a line end, keys sorted, decimals with their digits."""
    return orjson.dumps(value, default=_digits, option=orjson.OPT_SORT_KEYS)


def _digits(value: object) -> orjson.Fragment:
    """A Decimal as JSON, with its digits: orjson's `default`. Raises TypeError for all else."""
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(type(value).__name__)

"""Words as a database takes them."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_ESCAPED = {character: f"%{ord(character):02X}" for character in ",=[]%"}
_ESCAPE = str.maketrans(_ESCAPED)


def storable(text: str) -> str:
    """`text` as long as before, without NUL and halves of surrogate pairs, which databases refuse."""
    return _UNSTORABLE.sub("\ufffd", text)


def cut(text: str, length: int) -> str:
    """At most `length` code points of it, storable."""
    return storable(text[:length])


def snippet(text: str, start: int, end: int, length: int) -> str:
    """The text around a span, as long as it may be and on one line; the span's beginning where it is longer itself."""
    if end - start >= length:
        end = start + length
    before = max(0, min(start - (length - (end - start)) // 2, len(text) - length))
    return _BLANK.sub(" ", storable(text[before : before + length]))


def escaped(value: str) -> str:
    """A value of term_modifiers: `, = [ ] %` as percent escapes."""
    return value.translate(_ESCAPE)

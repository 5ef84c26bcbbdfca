"""Reading marked text whose source may itself hold the texts of tags: every way to read it, and no guess between two.

At each character of the answer it is kept which ways lead there: how much of the source is copied, which tag is open,
and the spans so far. Ways that agree in the first two go on as one; where their spans differ, they are ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """A span `[start, end)` of a source without white space; `label` is what the tag says."""

    label: str
    start: int
    end: int


class NotRead(Exception):
    """An answer that can't be read; `reason` is a key of the messages in `markup`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_Open = tuple[str, int] | None
_Spans = tuple[Found, ...] | None  # None: ambiguous


def walk(
    answer: str,
    source: str,
    tags_at: Callable[[str, int], Iterable[tuple[str, str | None]]],
    escape_at: Callable[[str, int], tuple[str, str] | None],
) -> list[Found]:
    """The spans of `answer` in `source`, which is without white space. Raises NotRead.

    `tags_at` gives the tags that may stand at a place (text, and label or None for the closing one), `escape_at` an
    escaped character there (text, and the character).
    """
    ways: dict[int, dict[tuple[int, _Open], _Spans]] = {0: {(0, None): ()}}

    def lead(to: int, copied: int, opened: _Open, spans: _Spans) -> None:
        there = ways.setdefault(to, {})
        known = there.setdefault((copied, opened), spans)
        if known != spans:
            there[copied, opened] = None

    for at, character in enumerate(answer):
        here = ways.pop(at, {})
        if not here:
            continue
        tags = list(tags_at(answer, at))
        escape = escape_at(answer, at) if character == "&" else None
        for (copied, opened), spans in here.items():
            if character.isspace():
                lead(at + 1, copied, opened, spans)
            elif source.startswith(character, copied):
                lead(at + 1, copied + 1, opened, spans)
            if escape is not None and source.startswith(escape[1], copied):
                lead(at + len(escape[0]), copied + 1, opened, spans)
            for text, label in tags:
                if label is not None and opened is None:
                    lead(at + len(text), copied, (label, copied), spans)
                elif label is None and opened is not None:
                    lead(at + len(text), copied, None, _and(spans, opened, copied))
    ends = ways.get(len(answer), {})
    if (len(source), None) in ends:
        found = ends[len(source), None]
        if found is None:
            raise NotRead("ambiguous")
        return list(found)
    if not ends:
        raise NotRead("other-text")
    raise NotRead("unclosed-tag" if any(copied == len(source) for copied, _ in ends) else "cut-off")


def _and(spans: _Spans, opened: tuple[str, int], end: int) -> _Spans:
    """With the span that ends here; an empty one is none."""
    return spans if spans is None or opened[1] == end else (*spans, Found(*opened, end))

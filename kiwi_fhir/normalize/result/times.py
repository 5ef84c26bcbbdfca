"""When each of several results of a test was: "1.2 on 3/1, 1.8 on 3/3", "6.8% (was 9.1% in June)"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kiwi_fhir.normalize.result.rows import Row
from kiwi_fhir.types import LabValue, Moment, Span

_AFTER = re.compile(r"[\s,(\[]*(?:(?:on|in|at|from|as of|dated|drawn)\s+)*(?:the\s+)?\(?", re.IGNORECASE)
_BEFORE = re.compile(r"[\s:,)\]]*(?:(?:it|was|were|is|of|to)\s+)*", re.IGNORECASE)
_ARROW = re.compile(r"\s*(?:-+>|→|⇒)\s*")
_REACH = 24  # characters before a result in which "previously" stands


def own_times(
    text: str,
    values: Sequence[LabValue],
    moments: Sequence[Moment],
    rows: Mapping[Span, Row],
    earlier: re.Pattern[str],
    read: Callable[[Span], Moment],
) -> tuple[LabValue, ...]:
    """The results of a test of a note `text`, each with its own times where there are several.

    `moments` are those of the test, `rows` its rows by result, `earlier` the words of older results, `read` reads a
    time. An older result and one of several columns without heads have no time: not even the note's.
    """
    known = [_of_row(rows.get(value.modifier.span), read) for value in values]
    free = list(moments)
    older = {index for index, times in enumerate(known) if times == ()}
    if len(values) > 1:
        of_rows = any(known)
        older.update(index for index in range(len(values)) if _is_older(text, values, index, earlier))
        _take(text, values, known, free)
        if not of_rows and not older and sum(times is not None for times in known) < 2:
            return tuple(values)  # "0.03, then 0.18 on 3/1": of one of them, or of both?
    unknown = [index for index, times in enumerate(known) if times is None]
    if not older and len(unknown) == len(values):
        return tuple(values)
    for index in unknown:
        last = index not in older and older.issuperset({*range(len(values))} - {index})
        now = tuple(free) or (Moment(values[index].modifier, "", "present"),)
        known[index] = now if last else ()
    return tuple(replace(value, times=times) for value, times in zip(values, known, strict=True))


def _is_older(text: str, values: Sequence[LabValue], index: int, earlier: re.Pattern[str]) -> bool:
    """Whether words before a second result, or an arrow behind a result, say that it is an older one."""
    start, end = values[index].modifier.span.start, values[index].modifier.span.end
    if index and earlier.search(text[max(0, start - _REACH) : start]):
        return True
    return index + 1 < len(values) and _ARROW.fullmatch(text, end, values[index + 1].modifier.span.start) is not None


def _take(text: str, values: Sequence[LabValue], known: list[tuple[Moment, ...] | None], free: list[Moment]) -> None:
    """Give each result the time right behind it and then the one right before it; the other way round where a time
    begins the list."""
    first = values[0].modifier.span.start
    ahead = any(_BEFORE.fullmatch(text, moment.modifier.span.end, first) for moment in free)
    for before in (ahead, not ahead):
        for index, value in enumerate(values):
            if known[index] is not None:
                continue
            start, end = value.modifier.span.start, value.modifier.span.end
            following = values[index + 1].modifier.span.start if index + 1 < len(values) else len(text)
            for moment in free:
                span = moment.modifier.span
                beside = (
                    _BEFORE.fullmatch(text, span.end, start)
                    if before
                    else end <= span.start < following and _AFTER.fullmatch(text, end, span.start)
                )
                if beside:
                    known[index] = (moment,)
                    free.remove(moment)
                    break


def _of_row(row: Row | None, read: Callable[[Span], Moment]) -> tuple[Moment, ...] | None:
    if row is None:
        return None
    if row.time is not None:
        return (read(row.time),)
    return () if row.earlier or row.more else None

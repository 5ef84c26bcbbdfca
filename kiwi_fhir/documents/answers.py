"""Labels and their answers: "Fever: no", "[x] Cough", "-chills", "Hx of stroke? No."; what an answer says is not read.

An answer belongs to the label of its own line and to no other. A dash is the answer "no" only in brackets or where a
plus stands in its list: else it is the mark of a list item.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kiwi_fhir.types import Span

Form = Literal["label", "question", "box", "sign"]

_BOX = re.compile(r"[\[(][ \t]*[xXvV✓✔_]?[ \t]*[\])]|[☐☑☒✓✔]")
_TICKED = re.compile(r"[\[(][ \t]*[xXvV✓✔]|[☑☒✓✔]")
_SIGN = re.compile(r"\([+–−-]\)|(?<![\w*)\]])[+–−-](?=[A-Za-z])")
_MARK = re.compile(r"[\n\r:?+–−\-\[(☐☑☒✓✔]")  # re looks for a set of characters fast
_SPACES = (" ", "\t")
# What ends a label or an answer: a stop, a comma, the end of a column or of the line, a box.
_END = re.compile(rf"[;,|\t\n\r?]|[.!](?=\s|$)|  |(?={_BOX.pattern})| (?={_SIGN.pattern})")
_BEFORE = re.compile(r".*(?:[;,|\t?!:\])]|\.\s|  )")
_LIST = re.compile(r"[^;|\t?!:.\])]*")
_LEAD = re.compile(r"(?:[ \t#>*_=~\[{•·+-]|\(?\d{1,2}[.)](?=[ \t]))*")
_BLANK = re.compile(r"[ \t]*")
_FIRST = re.compile(r"\S+(?=[ \t]+\S)")
_NEXT = re.compile(r":(?=\s)")
_SENTENCE = re.compile(r"\b(?:is|are|was|were|has|have|had|with|he|she|they)\b", re.IGNORECASE)
_DASHES = ("-", "–", "−")
_LONGEST = 72  # characters of a label or an answer
_SHORT = 40  # characters of an answer to a question
_ITEM_WORDS = 3  # words of each label before a comma ("Fever, night sweats: no")


@dataclass(frozen=True, slots=True)
class Answer:
    """A label and its answer: words, a box or a sign. `[start, end)` holds both."""

    start: int
    end: int
    label: Span
    answer: Span
    form: Form


def read_answers(text: str, names: Sequence[Span], systems: Sequence[Span]) -> list[Answer]:
    """The answers of `text` in order; linear in its length.

    `names` are those of headings, which are no labels; inside a line of `systems`, the reviews of systems, a dash is a
    sign also without a plus.
    """
    found: list[Answer] = []
    headings = {name.end for name in names}
    signs = _signs(text, systems)
    line = last = 0  # where the line starts, and where the last answer ends: no label reaches over either
    boxed = -1  # the line whose boxes stand before their labels
    for mark in _MARK.finditer(text):
        start, end = mark.span()
        what = mark[0]
        if what in "\n\r":
            line = end
            continue
        low = max(line, last)
        if start < low:
            continue
        answer: Answer | None = None
        if start in signs:
            answer = _behind(text, start, end if what != "(" else end + 2, "sign")
        elif what in ":?":
            if start not in headings and not (what == ":" and text[end : end + 1].isdigit()):
                answer = _labelled(text, start, end, low, question=what == "?")
        elif what in _DASHES:
            if text[start - 1 : start] in _SPACES and text[end : end + 1] in _SPACES and start - 1 not in headings:
                answer = _labelled(text, start - 1, end, low, question=False)
        elif what != "+" and (box := _BOX.match(text, start)) is not None:
            boxed = line if _skip_lead(text, low, start) == start else boxed
            stop = box.end()
            answer = _behind(text, start, stop, "box") if boxed == line else _before(text, start, stop, low)
        if answer is not None:
            found.append(answer)
            last = answer.end
    return found


def _labelled(text: str, at: int, behind: int, low: int, *, question: bool) -> Answer | None:
    """The label before the colon, dash or question mark at `at`, and the words from `behind` on."""
    label = _label(text, at, low)
    start = _skip(text, behind)
    if label is None or _SIGN.match(text, start):
        return None
    if _BOX.match(text, start):
        return _ticked(text, label, start)
    end = _end(text, start)
    if question:
        short = 0 < end - start <= _SHORT
        return Answer(label.start, end, label, Span(start, end), "question") if short else None
    if _NEXT.search(text, start, end + 1) is not None:
        # "Fever: no Cough: yes": the first word is the answer, what follows is the next label.
        first = _FIRST.match(text, start, end)
        end = first.end() if first is not None else start
    return Answer(label.start, end, label, Span(start, end), "label") if start < end else None


def _label(text: str, at: int, low: int) -> Span | None:
    """The words of a label that ends at `at`, not before `low`: behind the last comma, or with the list before it."""
    low = max(low, at - _LONGEST)
    before = _BEFORE.match(text, low, at)
    start = before.end() if before is not None else low
    if before is not None and text[start - 1] == ",":
        pieces = text[low:at].split(",")
        listed = all(0 < len(piece.split()) <= _ITEM_WORDS for piece in pieces)
        if listed and _LIST.fullmatch(text, low, at) and not _SENTENCE.search(text, low, at):
            start = low
    start = _skip_lead(text, start, at)
    end = at
    while end > start and text[end - 1] in " \t*_":
        end -= 1
    return Span(start, end) if start < end and text[start].isalpha() else None


def _behind(text: str, start: int, end: int, form: Form) -> Answer | None:
    """The label behind the sign or box `[start, end)`."""
    first = _skip(text, end)
    stop = _end(text, first)
    return Answer(start, stop, Span(first, stop), Span(start, end), form) if first < stop else None


def _before(text: str, start: int, end: int, low: int) -> Answer | None:
    """The label before the box `[start, end)`."""
    label = _label(text, start, low)
    return Answer(label.start, end, label, Span(start, end), "box") if label is not None else None


def _ticked(text: str, label: Span, start: int) -> Answer:
    """The words behind the one that is ticked of the boxes from `start` on: "Fever: [ ] yes [x] no"."""
    chosen: list[Span] = []
    end = start
    while (mark := _BOX.match(text, _skip(text, end))) is not None:
        first = _skip(text, mark.end())
        stop = _end(text, first)
        if stop == first:  # a box alone: "Fever: [x]"
            if chosen:
                break
            return Answer(label.start, mark.end(), label, Span(*mark.span()), "box")
        end = stop
        if _TICKED.match(mark[0]):
            chosen.append(Span(first, end))
    answer = chosen[0] if len(chosen) == 1 else Span(start, end)  # none or several: words that say nothing for certain
    return Answer(label.start, end, label, answer, "label")


def _signs(text: str, systems: Sequence[Span]) -> set[int]:
    """Where signs stand that answer: a plus, a dash in brackets, in a list with a plus, or in a line of `systems`."""
    found: set[int] = set()
    if not systems and not any(mark in text for mark in ("+", "(-)", "(–)", "(−)")):
        return found
    group: list[int] = []  # the signs of one line, or of lines that all begin with one
    plus = begun = False  # a plus is among them; the last line begins with a sign
    last = -1
    starts = [span.start for span in systems]
    for mark in _SIGN.finditer(text):
        at = mark.start()
        gap = text[last + 1 : at]
        line = gap.rfind("\n")
        begins = (line >= 0 or last < 0) and not gap[line + 1 :].strip(" \t")
        if last >= 0 and line >= 0 and not (begins and begun and gap.count("\n") == 1):
            found.update(group if plus else ())
            group, plus = [], False
        begun = begins if line >= 0 or last < 0 else begun
        plus = plus or "+" in mark[0]
        group.append(at)
        if mark[0] not in _DASHES:
            found.add(at)
        elif not begins:
            index = bisect_right(starts, at) - 1
            if index >= 0 and at < systems[index].end:
                found.add(at)
        last = at
    found.update(group if plus else ())
    return found


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found is not None else at


def _skip_lead(text: str, at: int, end: int) -> int:
    found = _LEAD.match(text, at, end)
    return found.end() if found is not None else at


def _end(text: str, start: int) -> int:
    """Where the label or answer that begins at `start` ends."""
    found = _END.search(text, start, start + _LONGEST)
    end = found.start() if found is not None else min(len(text), start + _LONGEST)
    while end > start and text[end - 1] == " ":
        end -= 1
    return end

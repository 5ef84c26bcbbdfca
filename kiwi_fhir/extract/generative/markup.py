"""A text with tags around its spans: written for training, and read back beside the source it copies.

The invariant of `read`: a span that it returns covers, in the source, the characters that stand between its tags in
the answer. So the answer is walked beside the source and never searched in it, and what is not certain is refused.
Characters other than white space are compared; how a model spaces its copy changes no offset. What is repaired:

- `white-space`: blanks and line ends that are added, dropped or changed
- `escapes`: `&lt;` for `<` and the like, where the source holds no such thing itself
- `look-alikes`: case, dashes and quotation marks that are written otherwise, one character for one
- `around`: text before or after the whole copy ("Here is the text:")
- `other-text`: a few characters changed, dropped or added, none near a tag (see `markup_place`)
- `empty-span`: tags with nothing between them are left out
- `unknown-class`: tags of a class that was not asked for are left out, what they hold is text

Everything else is refused: tags within tags (`nested-tags`), a tag that closes nothing (`stray-tag`) or is not closed
(`unclosed-tag`), a copy that ends too early (`cut-off`), text that is not the source's (`other-text`), and answers
that can be read in two ways, as where the source itself holds the text of a tag (`ambiguous`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kiwi_fhir.extract.generative.marking import Answer, AnswerRefused, Marked, Tags, Task
from kiwi_fhir.extract.generative.markup_place import place
from kiwi_fhir.extract.generative.markup_walk import Found, NotRead, walk

_ESCAPE = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{2,5}|#x[0-9a-fA-F]{2,5});")
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_QUOTES = dict.fromkeys(map(ord, "‘’‚`´"), "'") | dict.fromkeys(map(ord, "“”„«»"), '"')
_ALIKE = _DASHES | _QUOTES

_MESSAGES = {
    "ambiguous": "The answer can be read in two ways, as the text holds what looks like a tag.",
    "cut-off": "The answer ends before its text does.",
    "nested-tags": "The answer opens a tag within a tag.",
    "other-text": "The answer is not the text that was to be copied.",
    "stray-tag": "The answer closes a tag that is not open.",
    "unclosed-tag": "The answer ends with a tag open.",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from an answer, and the kinds of repair that it took (see the module)."""

    answer: Answer
    repairs: tuple[str, ...] = ()


def mark(source: str, spans: Sequence[tuple[str, int, int]], tags: Tags) -> str:
    """`source` with tags around (label, start, end) spans, in code points.

    Raises ValueError for spans that are empty, out of order, overlap or leave the source.
    """
    parts, done = [], 0
    for label, start, end in spans:
        if not done <= start < end <= len(source):
            raise ValueError("Spans must ascend within the source, and neither overlap nor be empty.")
        parts += [source[done:start], tags.opening(label), source[start:end], tags.close]
        done = end
    return "".join(parts) + source[done:]


def read(answer: str, task: Task, tags: Tags) -> Answer:
    """The spans that `answer` marks in the task's source, trimmed, without scores; or AnswerRefused."""
    return reading(answer, task, tags).answer


def reading(answer: str, task: Task, tags: Tags) -> Reading:
    """`read`, and what was repaired. Raises ValueError for tags that do not tell the task's labels apart."""
    places = [at for at, mark in enumerate(task.source) if not mark.isspace()]
    source = "".join(task.source[at] for at in places)
    repairs: list[str] = []
    try:
        found = _found(answer, task, tags, source, repairs)
    except NotRead as error:
        return Reading(AnswerRefused(error.reason, _MESSAGES[error.reason]))
    kept = [span for span in found if span.label in task.labels]
    if len(kept) < len(found):
        repairs.append("unknown-class")
    marked = tuple(Marked(span.label, places[span.start], places[span.end - 1] + 1) for span in kept)
    if (
        not repairs
        and mark(task.source, [(span.label, span.start, span.end) for span in marked], tags) != answer.strip()
    ):
        repairs.append("white-space")
    return Reading(marked, tuple(repairs))


def _found(answer: str, task: Task, tags: Tags, source: str, repairs: list[str]) -> list[Found]:
    """Spans in code points of `source`, the task's source without white space. Raises NotRead."""
    shapes = _Shapes(tags, task.labels)
    if shapes.can_mislead(answer, source):
        return walk(answer, source, shapes.at, _escape_at)
    pieces = shapes.split(answer)
    copy, spans = _join(pieces, source)
    if copy != source and _ESCAPE.search(copy) is not None:
        plain = [(_ESCAPE.sub(lambda found: html.unescape(found[0]), piece), tag) for piece, tag in pieces]
        unescaped = _join(plain, source)
        if unescaped[0] == source or _ESCAPE.search(source) is None:
            copy, spans = unescaped
            repairs.append("escapes")
    if copy != source:
        copy, source = _alike(copy), _alike(source)
        if copy == source:
            repairs.append("look-alikes")
    kept = [span for span in spans if span.start < span.end]
    if len(kept) < len(spans):
        repairs.append("empty-span")
    return kept if copy == source else place(copy, source, kept, repairs)


class _Shapes:
    """The texts of tags: those of the labels asked for, those of other labels, and the closing one."""

    def __init__(self, tags: Tags, labels: Sequence[str]) -> None:
        self._close = tags.close
        self._open = {tags.opening(label): label for label in labels}
        if len(self._open) < len(set(labels)) or not tags.close or not all(self._open) or tags.close in self._open:
            raise ValueError("The tags do not tell the labels apart: put {label} into the opening one.")
        # A label that was not asked for ends where the template's own text goes on.
        other = re.escape(tags.open).replace(re.escape("{label}"), r"(?P<other>[\w-]{1,40}?)", 1)
        self._other = re.compile(other if "?P<other>" in other and tags.open != "{label}" else r"(?P<other>(?!))")
        known = sorted((*self._open, tags.close), key=len, reverse=True)
        self._any = re.compile("|".join([*map(re.escape, known), self._other.pattern]))
        self._overlapping = re.compile(f"(?=({self._any.pattern}))")
        self._squeezed = re.compile(
            "|".join([*(re.escape(_squeeze(tag)) for tag in known), re.sub(r"(\\?\s)+", "", self._other.pattern)])
        )

    def at(self, answer: str, start: int) -> Iterator[tuple[str, str | None]]:
        """Each tag that may stand at `start`: its text, and its label (None closes)."""
        known = False
        for text, label in self._open.items():
            if answer.startswith(text, start):
                known = True
                yield text, label
        if answer.startswith(self._close, start):
            known = True
            yield self._close, None
        other = None if known else self._other.match(answer, start)
        if other is not None:
            yield other[0], other["other"]

    def can_mislead(self, answer: str, source: str) -> bool:
        """Whether text of the source, alone or with a tag beside it, can be taken for a tag."""
        end = 0
        for found in self._overlapping.finditer(answer):
            if found.start() < end:
                return True
            end = found.end(1)
        return self._squeezed.search(source) is not None

    def split(self, answer: str) -> list[tuple[str, str | None]]:
        """Pieces of text, each with what the tag behind it opens: a label, "" for the closing tag, None at the end."""
        pieces: list[tuple[str, str | None]] = []
        done = 0
        for found in self._any.finditer(answer):
            label = "" if found[0] == self._close else self._open.get(found[0], found["other"])
            pieces.append((answer[done : found.start()], label))
            done = found.end()
        return [*pieces, (answer[done:], None)]


def _join(pieces: Sequence[tuple[str, str | None]], source: str) -> tuple[str, list[Found]]:
    """The text without tags and white space, and the spans in it. Raises NotRead."""
    copy = ""
    spans: list[Found] = []
    opened: tuple[str, int] | None = None
    for piece, label in pieces:
        copy += _squeeze(piece)
        if label is None:
            break
        if label != "" and opened is not None:
            raise NotRead("nested-tags")
        if label != "":
            opened = label, len(copy)
        elif opened is None:
            raise NotRead("stray-tag")
        else:
            spans.append(Found(*opened, len(copy)))
            opened = None
    if opened is not None:
        raise NotRead("cut-off" if copy != source and source.startswith(copy) else "unclosed-tag")
    return copy, spans


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _alike(text: str) -> str:
    """Characters that models take for one another made the same, one for one."""
    text = text.translate(_ALIKE)
    return "".join(low if len(low := mark.lower()) == 1 else mark for mark in text)


def _escape_at(answer: str, start: int) -> tuple[str, str] | None:
    found = _ESCAPE.match(answer, start)
    return None if found is None else (found[0], html.unescape(found[0]))

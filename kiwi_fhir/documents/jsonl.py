"""Documents as JSON lines, with scores and the words of each span: what `kiwi-fhir extract --format jsonl` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.types import (
    ALLOWED_PAIRS,
    MENTION_LABELS,
    MODIFIER_LABELS,
    Document,
    Mention,
    ModelId,
    Modifier,
    Note,
    Span,
)


def format_line(document: Document) -> bytes:
    """The document's line: id, model, length of the text in characters, mentions with modifiers, other modifiers.

    `text` are the words of a mention or modifier; `read_lines` takes them from the note.
    """
    text = document.note.text
    row = {
        "id": document.note.id,
        "model": None if document.model is None else str(document.model),
        "characters": len(document.note.text),
        "mentions": [
            {**_worded(text, mention), "modifiers": [_worded(text, held) for held in mention.modifiers]}
            for mention in document.mentions
        ],
        "unlinked": [_worded(text, modifier) for modifier in document.unlinked],
    }
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def read_lines(path: Path, notes: Mapping[str, Note], *, only: frozenset[str] | None = None) -> Iterator[Document]:
    """The documents of a file of such lines on the texts of `notes` (by id), those named in `only` where it is given.

    Raises UsageError for a note that `notes` does not have, and InputError with path and line number for a line that
    `format_line` did not write or that was written over a text of another length.
    """
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = orjson.loads(line)
            if only is not None and row["id"] not in only:
                continue
            if row["id"] not in notes:
                raise UsageError(f"{path} holds the note {row['id']}, which has no gold: compare the same notes.")
            note = notes[row["id"]]
            document = _document(row, note)
        except (ValueError, TypeError, KeyError, AttributeError):
            # Without the cause: its message would quote the line.
            raise InputError(f"{path}, line {number} is no line of `extract --format jsonl`: write it again.") from None
        if row["characters"] != len(note.text):
            raise InputError(
                f"{path}, line {number}: the note {note.id} had {row['characters']} characters and has "
                f"{len(note.text)} now: extract from the same text."
            )
        yield document


def _worded(text: str, found: Mention | Modifier) -> dict[str, Any]:
    return {**asdict(found), "text": found.span.of(text)}


def _document(row: Mapping[str, Any], note: Note) -> Document:
    def modifier(found: Mapping[str, Any]) -> Modifier:
        _check(found["label"] in MODIFIER_LABELS)
        return Modifier(
            found["label"],
            _span(found, row["characters"]),
            score=_number(found["score"]),
            link=_number(found["link"]),
            rule=bool(found["rule"]),
        )

    def mention(found: Mapping[str, Any]) -> Mention:
        _check(found["label"] in MENTION_LABELS)
        held = tuple(map(modifier, found["modifiers"]))
        _check({one.label for one in held} <= ALLOWED_PAIRS[found["label"]])
        return Mention(
            found["label"],
            _span(found, row["characters"]),
            held,
            score=_number(found["score"]),
            section=found["section"],
            rule=bool(found["rule"]),
        )

    model = None if row["model"] is None else ModelId.parse(row["model"])
    return Document(note, tuple(map(mention, row["mentions"])), model, tuple(map(modifier, row["unlinked"])))


def _span(found: Mapping[str, Any], characters: int) -> Span:
    span = Span(int(found["span"]["start"]), int(found["span"]["end"]))
    _check(0 <= span.start < span.end <= characters)
    return span


def _number(found: Any) -> float | None:
    return None if found is None else float(found)


def _check(right: bool) -> None:
    if not right:
        raise ValueError

"""Brat standoff: NAME.txt holds the note, NAME.ann its mentions, modifiers and links (https://brat.nlplab.org/standoff).

A mention or modifier is a line `T1<TAB>label start end<TAB>words`, a link `R1<TAB>hasAttr Arg1:T1 Arg2:T2` with the
mention first. Offsets count code points of the text as it stands in the file: line ends are never translated. The
words of a T line are there for people; only its offsets are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.types import (
    ALLOWED_PAIRS,
    MENTION_LABELS,
    MODIFIER_LABELS,
    Document,
    Mention,
    MentionLabel,
    Modifier,
    ModifierLabel,
    Note,
    Span,
)

#: The one kind of link that the Kiwi study's corpora have.
LINK = "hasAttr"

_PIECE = r"\d{1,18} \d{1,18}"
_T_LINE = re.compile(
    rf"(?P<id>T\S+)\t(?P<label>\S+) (?P<spans>{_PIECE}(?:;{_PIECE})*)(?:\t.*|\s*)", re.ASCII | re.DOTALL
)
_R_LINE = re.compile(r"R\S+\t(?P<kind>\S+) Arg1:(?P<one>\S+) Arg2:(?P<other>\S+)\s*", re.ASCII)
# Events, attributes (twice), normalisations, comments and equivalences: brat knows them, the study has no use for them.
_PASSED_OVER = re.compile(r"[EAMN]\S+\t|#|\*")
_ORDER = {label: rank for rank, label in enumerate((*MENTION_LABELS, *MODIFIER_LABELS))}


class _Tag(NamedTuple):
    """What a T line says, in the order in which documents hold it."""

    span: Span
    rank: int
    label: str


def parse_ann(ann: str, note: Note, *, name: str | None = None, dropped: Counter[str] | None = None) -> Document:
    """The note with the mentions, modifiers and links of `ann`, the content of its .ann file.

    Of a span in several pieces the whole extent is taken, and equal lines count once. A link that ALLOWED_PAIRS does
    not have is left out and, where `dropped` is given, counted there as `drug-severity`; a modifier without a link
    goes to `Document.unlinked`.

    Raises InputError with `name` (else the note's id) and line number for a line that is malformed, a label that is
    unknown, an offset outside the text, and a link to a line that is not there.
    """
    name = name or f"{note.id}.ann"
    tags: dict[str, _Tag] = {}
    links: list[tuple[int, str, str]] = []
    for number, line in enumerate(ann.split("\n"), 1):
        if not line.strip() or _PASSED_OVER.match(line):
            continue
        if found := _T_LINE.fullmatch(line):
            if found["id"] in tags:
                raise InputError(f"{name}, line {number}: {found['id']} stands there twice.")
            tags[found["id"]] = _tag(found["label"], found["spans"], note.text, f"{name}, line {number}")
        elif found := _R_LINE.fullmatch(line):
            if found["kind"] != LINK:
                raise InputError(f"{name}, line {number}: the link {found['kind']} is unknown: use {LINK}.")
            links.append((number, found["one"], found["other"]))
        else:
            raise InputError(f"{name}, line {number} is malformed: a T or R line of brat was expected.")

    held: dict[_Tag, set[_Tag]] = {tag: set() for tag in tags.values() if tag.label in MENTION_LABELS}
    modifiers = set(tags.values()) - set(held)
    linked: set[_Tag] = set()
    for number, one, other in links:
        if missing := next((key for key in (one, other) if key not in tags), None):
            raise InputError(f"{name}, line {number}: the link names {missing}, which is not there.")
        mention, modifier = tags[one], tags[other]
        if mention not in held:
            mention, modifier = modifier, mention
        if mention in held and modifier.label in ALLOWED_PAIRS[cast(MentionLabel, mention.label)]:
            held[mention].add(modifier)
            linked.add(modifier)
        elif dropped is not None:
            dropped[f"{mention.label}-{modifier.label}"] += 1
    return Document(
        note,
        tuple(
            Mention(cast(MentionLabel, mention.label), mention.span, tuple(map(_modifier, sorted(held[mention]))))
            for mention in sorted(held)
        ),
        unlinked=tuple(map(_modifier, sorted(modifiers - linked))),
    )


def format_ann(document: Document) -> str:
    """The content of the document's .ann file: T lines in text order, then R lines; the same document, the same text.

    Every distinct label and span is one T line, so a modifier that several mentions hold is one T line with several R
    lines. Line ends and tabs inside a span become spaces in the words of its T line. Scores are not written.
    """
    links = {(_as_tag(mention), _as_tag(held)) for mention in document.mentions for held in mention.modifiers}
    tags = {_as_tag(mention) for mention in document.mentions} | {_as_tag(held) for held in document.unlinked}
    tags |= {modifier for _, modifier in links}
    ids = {tag: f"T{number}" for number, tag in enumerate(sorted(tags), 1)}
    lines = [
        f"{key}\t{tag.label} {tag.span.start} {tag.span.end}\t{_one_line(tag.span.of(document.note.text))}\n"
        for tag, key in ids.items()
    ]
    lines += [
        f"R{number}\t{LINK} Arg1:{ids[mention]} Arg2:{ids[modifier]}\n"
        for number, (mention, modifier) in enumerate(sorted(links), 1)
    ]
    return "".join(lines)


def read_folder(
    folder: Path, *, only: frozenset[str] | None = None, dropped: Counter[str] | None = None
) -> Iterator[Document]:
    """The documents of a brat folder by name, those named in `only` where it is given; a note's id is its file's name.

    A document is a .ann file with its .txt; a .txt alone is no document, as in brat. Both are UTF-8.

    Raises UsageError for a folder without .ann files, a name of `only` that it lacks and a missing .txt; InputError
    for a file that is not UTF-8, and see parse_ann, also for `dropped`.
    """
    for path in annotation_files(folder, only):
        note = Note(path.stem, _read(path.with_suffix(".txt")), source="brat")
        yield parse_ann(_read(path).removeprefix("\ufeff"), note, name=str(path), dropped=dropped)


def annotation_files(folder: Path, only: frozenset[str] | None = None) -> list[Path]:
    """The .ann files of a folder, sorted by name; each has its .txt. For `only` and errors see read_folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name one with NAME.txt and NAME.ann files.")
    found = {path.stem: path for path in sorted(folder.glob("*.ann")) if not path.name.startswith(".")}
    if not found:
        raise UsageError(f"{folder} holds no .ann files: name a folder with NAME.txt and NAME.ann files.")
    if missing := sorted((only or frozenset()) - set(found)):
        raise UsageError(f"{folder} lacks {missing[0]}.ann, which the list of notes names.")
    chosen = [path for name, path in found.items() if only is None or name in only]
    for path in chosen:
        if not path.with_suffix(".txt").is_file():
            raise UsageError(f"{path} has no {path.stem}.txt beside it: its offsets need the text.")
    return chosen


def _tag(label: str, spans: str, text: str, where: str) -> _Tag:
    if label not in _ORDER:
        raise InputError(f"{where}: the label {label} is unknown: use {', '.join(_ORDER)}.")
    pieces = [tuple(map(int, piece.split(" "))) for piece in spans.split(";")]
    span = Span(min(start for start, _ in pieces), max(end for _, end in pieces))
    if not span.start < span.end <= len(text):
        raise InputError(f"{where}: the span {span.start} {span.end} is not inside the text of {len(text)} characters.")
    return _Tag(span, _ORDER[label], label)


def _as_tag(found: Mention | Modifier) -> _Tag:
    return _Tag(found.span, _ORDER[found.label], found.label)


def _modifier(tag: _Tag) -> Modifier:
    return Modifier(cast(ModifierLabel, tag.label), tag.span)


def _one_line(words: str) -> str:
    return words.translate({ord(mark): " " for mark in "\n\r\t"})


def _read(path: Path) -> str:
    try:
        # Path.read_text would translate line ends, and every later offset would be off.
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}): convert it first.") from error

"""The words of the program as frozen dataclasses; every stage meets the others here.

A note is a source text with its metadata, a document is a note with what was found in it, and a fact is a mention
made ready for a standard. Spans count Unicode code points of the untouched text, end exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

MentionLabel = Literal["problem", "test", "drug", "treatment"]
ModifierLabel = Literal[
    "negation",
    "uncertain",
    "subject",
    "condition",
    "severity",
    "course",
    "bodyloc",
    "temporal",
    "labvalue",
    "reference_range",
    "strength",
    "dosage",
    "form",
    "route",
    "frequency",
    "duration",
]
Assertion = Literal["present", "absent", "possible", "conditional", "hypothetical", "associated_with_someone_else"]

MENTION_LABELS: tuple[MentionLabel, ...] = get_args(MentionLabel)
MODIFIER_LABELS: tuple[ModifierLabel, ...] = get_args(ModifierLabel)

#: The 22 pairs that the Kiwi study's guideline (v1.1) allows; the linker scores no others.
ALLOWED_PAIRS: dict[MentionLabel, frozenset[ModifierLabel]] = {
    "problem": frozenset(
        {"severity", "condition", "uncertain", "subject", "bodyloc", "course", "temporal", "negation"}
    ),
    "treatment": frozenset({"temporal", "negation"}),
    "drug": frozenset({"strength", "dosage", "duration", "form", "frequency", "route", "temporal", "negation"}),
    "test": frozenset({"labvalue", "reference_range", "temporal", "negation"}),
}


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """`[start, end)` in Unicode code points of the note's own text."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The characters of `text` that the span covers."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Coding:
    """A code of a system; a text without a code has neither system nor code."""

    system: str | None
    code: str | None
    display: str


@dataclass(frozen=True, slots=True)
class Modifier:
    """A labelled span that qualifies a mention.

    `score` is the tagger's probability of the span, `link` the linker's probability that it belongs to the mention
    that holds it (1.0 for gold and for modifiers that no mention holds). One modifier stands in several mentions when
    it qualifies several.
    """

    label: ModifierLabel
    span: Span
    score: float = 1.0
    link: float = 1.0


@dataclass(frozen=True, slots=True)
class Mention:
    """A problem, test, drug or treatment in the text, with the modifiers that qualify it (in text order).

    `section` is the kind of section that it stands in, a key of mappings/sections.toml, or None.
    """

    label: MentionLabel
    span: Span
    modifiers: tuple[Modifier, ...] = ()
    score: float = 1.0
    section: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A source text with its metadata.

    `patient_id` and `encounter_id` are FHIR logical ids, or whole references (`http...`, `urn:...`). `time` is an ISO
    8601 date or date and time as the source states it, with an offset only where the source has one. `source` is the
    literal reference of the DocumentReference (`DocumentReference/ID`) where one exists, else the kind of source
    (`mimic-iii`, `text`), which with `id` identifies the note.
    """

    id: str
    text: str
    patient_id: str | None = None
    encounter_id: str | None = None
    type: Coding | None = None
    time: str | None = None
    source: str = "text"


@dataclass(frozen=True, slots=True)
class Document:
    """A note with the mentions found in it (in text order) and the model that found them.

    `unlinked` holds the modifiers that qualify no mention: kept for review and for scores, never mapped.
    """

    note: Note
    mentions: tuple[Mention, ...]
    model: str
    unlinked: tuple[Modifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """What a stage could not handle: `error` is a short class (`invalid-base64`), `message` holds no note text.

    `kept` says that only a part of the note is lost (one resource, say) and the rest was written.
    """

    note_id: str
    stage: str
    error: str
    message: str
    kept: bool = False


ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Shard(Generic[ItemT]):
    """Consecutive notes of one input file: the unit that is worked on, written whole and never run twice.

    `key` names its output files, `digest` is the SHA-256 of what was read, `dropped` counts notes that the source
    leaves out on purpose, `last` marks the end of the file and `error` says how a file broke off there.
    """

    key: str
    items: tuple[ItemT, ...]
    failures: tuple[Failure, ...]
    digest: str
    dropped: int = 0
    last: bool = False
    error: str | None = None

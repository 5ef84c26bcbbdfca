"""The words of the program as frozen dataclasses; every stage meets the others here.

A note is a source text with its metadata, a document is a note with what was found in it, and a fact is a mention
made ready for a standard. Spans count Unicode code points of the untouched text, end exclusive.
The module is a long one so that all these words stand in one place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
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


# FHIR R4's instant: to the second at least, always with an offset (hl7.org/fhir/R4/datatypes.html#instant).
_INSTANT = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))",
    re.ASCII,
)


def is_instant(value: str) -> bool:
    """Whether `value` is a FHIR instant: a date that there is, a time with seconds, and a zone."""
    return _INSTANT.fullmatch(value) is not None and day_of(value) is not None


def day_of(time: str | None) -> date | None:
    """The day of a note's time (ISO 8601); None when it has no full date."""
    try:
        return date.fromisoformat(time[:10]) if time is not None and len(time) >= 10 else None
    except ValueError:
        return None


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
    """A code of a system; a text without a code has neither system nor code.

    Of a code that a mention was linked to, `method` says how (`table`, `abbreviation`, `exact`, `fuzzy`, `medcat`) and
    `score` how well (0 to 1, where the method has one). `concept_id` and `domain` are OMOP's, where the vocabulary has
    them, and `standard` says that the concept is a standard one.
    """

    system: str | None
    code: str | None
    display: str
    method: str | None = None
    score: float | None = None
    concept_id: int | None = None
    domain: str | None = None
    standard: bool = False


@dataclass(frozen=True, slots=True)
class Modifier:
    """A labelled span that qualifies a mention.

    `score` is how likely the model finds the span, `link` how likely the linker finds that it belongs to the mention
    that holds it (0 to 1); each is None where nobody said: in gold, of a model that states no scores, and a link also
    where no mention holds it and of a model that is asked about each mention by itself. One modifier stands in several
    mentions when it qualifies several. `rule` says that a rule of mappings/context.toml found it.
    """

    label: ModifierLabel
    span: Span
    score: float | None = None
    link: float | None = None
    rule: bool = False


@dataclass(frozen=True, slots=True)
class Mention:
    """A problem, test, drug or treatment in the text, with the modifiers that qualify it (in text order).

    `score` is how likely the model finds it (0 to 1), None in gold and of a model that states no scores. `section` is
    the kind of section that it stands in, a key of mappings/sections.toml, or None. `rule` says that no model found it
    but a rule of mappings/ ("NKDA").
    """

    label: MentionLabel
    span: Span
    modifiers: tuple[Modifier, ...] = ()
    score: float | None = None
    section: str | None = None
    rule: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A source text with its metadata.

    `patient_id` and `encounter_id` are FHIR logical ids, or whole references (`http...`, `urn:...`). `time` is an ISO
    8601 date or date and time as the source states it, with an offset only where the source has one. `source` is the
    literal reference of the DocumentReference or DiagnosticReport (`DocumentReference/ID`) where one exists, else the
    kind of source (`mimic-iii`, `text`), which with `id` identifies the note.
    """

    id: str
    text: str
    patient_id: str | None = None
    encounter_id: str | None = None
    type: Coding | None = None
    time: str | None = None
    source: str = "text"


@dataclass(frozen=True, slots=True)
class ModelId:
    """Which model found something: its name, its version, and a hexadecimal hash of all that decides what it finds.

    `digest` is empty where there is none. As text it is `NAME-VERSION-HASH`; a hyphen of the version is `%2D` there, so
    that `parse` gets the three back.
    """

    name: str
    version: str
    digest: str = ""

    def __str__(self) -> str:
        version = self.version.replace("%", "%25").replace("-", "%2D")
        return f"{self.name}-{version}-{self.digest}"

    @classmethod
    def parse(cls, text: str) -> ModelId:
        """The model whose text this is. Raises ValueError for another text."""
        name, version, digest = text.rsplit("-", 2)
        return cls(name, version.replace("%2D", "-").replace("%25", "%"), digest)

    @property
    def release(self) -> str:
        """`VERSION-HASH`: what tells two models of one name apart."""
        return f"{self.version}-{self.digest}" if self.digest else self.version


@dataclass(frozen=True, slots=True)
class Document:
    """A note with the mentions found in it (in text order) and the model that found them, None where people did.

    `unlinked` holds the modifiers that qualify no mention: kept for review and for scores, never mapped. `failures`
    says which parts of the note the model gave no usable answer for; one that is not `kept` says that it is all of it.
    `left_out` counts the mentions that are not there because their score was too low (see min_score.py).
    """

    note: Note
    mentions: tuple[Mention, ...]
    model: ModelId | None = None
    unlinked: tuple[Modifier, ...] = ()
    failures: tuple[Failure, ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """What a stage could not handle: `error` is a short class (`invalid-base64`), `message` holds no note text.

    `kept` says that only a part of the note is lost (one resource, say) and the rest was written. `at` is the
    `MODULE:LINE` of our code where a foreign exception came from, whose own message is never shown.
    """

    note_id: str
    stage: str
    error: str
    message: str
    kept: bool = False
    at: str | None = None


@dataclass(frozen=True, slots=True)
class NoteRows:
    """What a note becomes in an OMOP database: rows by table, each in the order of its columns, the row's id first.

    `prefix` begins the nlp_system of this program and model, whatever their versions.
    """

    note_id: int
    person_id: int | None
    prefix: str
    tables: Mapping[str, tuple[tuple[object, ...], ...]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a note became: its document, its bundle as one line of JSON, and the resources in it by type.

    `not_mapped` counts the mentions that become no resource on purpose, by reason (`hypothetical`; `not-english` is 1
    for the note); `merged` the resources that say what another one says and went into it, by type; `conflicts` what the
    note says and takes back (`decided`, `open`). `rows` is for an OMOP database where one is written to, a failure
    where it has no place for the note.
    """

    document: Document
    bundle: bytes
    resources: Mapping[str, int]
    not_mapped: Mapping[str, int] = field(default_factory=dict)
    merged: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)
    rows: NoteRows | Failure | None = None


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


@dataclass(frozen=True, slots=True)
class Term:
    """The words of a modifier, and the code that a mapping file gives them (None: they stay words).

    `laterality` is of a body site: left, right or both, of FHIR's bodysite-laterality.
    """

    modifier: Modifier
    text: str
    coding: Coding | None = None
    laterality: Coding | None = None


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with the digits as written (`1.20` stays `1.20`) and its unit.

    `unit` is the unit as written, `code` its UCUM code, None where the unit is not known. `comparator` is FHIR's:
    `<`, `<=`, `>=` or `>`.
    """

    value: Decimal
    unit: str | None = None
    code: str | None = None
    comparator: str | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, both inclusive; None is an open end."""

    low: Quantity | None
    high: Quantity | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """A titre (`1:40`) or a concentration (`40 mg in 0.4 mL`)."""

    numerator: Quantity
    denominator: Quantity


@dataclass(frozen=True, slots=True)
class BloodPressure:
    """Systolic over diastolic, in mmHg; each a number or a range ("110s/70s")."""

    systolic: Quantity | Interval
    diastolic: Quantity | Interval


@dataclass(frozen=True, slots=True)
class LabValue:
    """One result of a test. `value` is None where the words could not be read as a number.

    `interpretation` is of v3-ObservationInterpretation (`NEG`, `H`). `is_scale` says that the words are a value of
    a scale (negative, 2+) and not free text. `remark` is what words right behind the value add ("1:160, speckled").
    `times` are its own where they are not simply the fact's: none at all where it is older and nothing says of when.
    """

    modifier: Modifier
    text: str
    value: Quantity | Interval | Ratio | BloodPressure | None = None
    interpretation: Coding | None = None
    is_scale: bool = False
    remark: str | None = None
    times: tuple[Moment, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReferenceRange:
    """What the note calls normal for a test; `interval` is None where the words could not be read."""

    modifier: Modifier
    text: str
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was, as far as the note says.

    `kind` is `date` (an absolute date, `date` at the stated precision: `2006`, `2006-03`, `2006-03-14`; `until` is the
    last one of a period that begins then), `relative`
    (`two weeks ago`), `age` (`at age 45`; `age` is in a UCUM unit of time), `past` (`history of`) or `present`
    (`currently`). `resolved` is a relative time, or a date without a year, as counted from the note's date: no more
    precise than the words. `future` says that it lies after the note. `is_end` says that the words before it end
    something (`resolved on`), `is_death` that they are of a death (`died at`).
    """

    modifier: Modifier
    text: str
    kind: Literal["date", "relative", "age", "past", "present"]
    date: str | None = None
    resolved: str | None = None
    future: bool = False
    is_end: bool = False
    age: Quantity | Interval | None = None
    is_death: bool = False
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How often: `frequency` (to `frequency_max`) times per `period` (to `period_max`) `unit`s.

    `unit` is of FHIR's units of time: s min h d wk mo a; `when` is of its event timings (`HS`, `MORN`), `days` of
    its days of the week; `count` is the number of times in all. `offset` is how many minutes before or after the event
    of `when` it is, `times` are times of day (`08:00:00`). With `frequency_max` alone it is at most so many times.
    """

    frequency: int | None = None
    frequency_max: int | None = None
    period: Decimal | None = None
    period_max: Decimal | None = None
    unit: str | None = None
    when: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    count: int | None = None
    offset: int | None = None
    times: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dosage:
    """How a drug is taken; `text` is all the words of it, and what could not be read is only there.

    `amount` is what is taken each time (`1 tablet`), `strength` what a unit of the product holds (`20 mg`),
    `strengths` what it holds of each of several ingredients, in the order written (`5/325 mg`). `as_needed_for` is
    the reason of a drug that is taken as needed, in the note's words. `duration` is how long it is taken, `given_over`
    how long each dose takes (`over 30 minutes`), both in a UCUM unit of time.
    """

    text: str
    amount: Quantity | Interval | None = None
    strength: Quantity | Interval | Ratio | None = None
    timing: Timing | None = None
    as_needed: bool = False
    as_needed_for: str | None = None
    duration: Quantity | Interval | None = None
    routes: tuple[Term, ...] = ()
    strengths: tuple[Quantity, ...] = ()
    given_over: Quantity | Interval | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a fact is stated as it is, where a rule decided: the rule's name and the words (`span`) that it went by.

    `rule` is a table of context.toml or frames.toml (`negation`, `warning`), `answer`, `subject`, or says why a mark of
    the model does not count: `line` and `scope` (it does not reach the mention), `stands`, `unchanged` and `pseudo`
    (its words say something else).
    """

    rule: str
    span: Span


@dataclass(frozen=True, slots=True)
class Fact:
    """A mention made ready for a standard: what is said of whom, with codes and parsed values.

    `text` is the mention's words. `name` is the same for two mentions of one thing: the codes with what the words say
    beside them, else the words as they are compared. `assertion` is the strongest of what applies, `negated` and
    `doubt` keep what it hides. `past` is stated history of what can end. `interruption` is of a drug or treatment that
    was going on. `category` is that of a test: `laboratory` or `vital-signs`. `negative_finding` is a test whose
    negation is its result ("no Kernig sign"), not that it was left out. Fields of modifiers that the mention's label
    does not allow stay empty.

    `plan` is of a drug, test or treatment: it (or its result) is to come, or (a drug) goes on or was given. `allergy`
    says what a mention is in a statement about allergies: the substance (`reactions` are the facts of what it did;
    `intolerance` where the note calls it so), such a reaction, the statement that there is none, or `other`, which
    makes no resource.

    `frame` is the kind of sentence (a table of frames.toml, or `as-needed`) that speaks of the mention without stating
    it: it makes no resource. `because` has what the rules decided.
    """

    mention: Mention
    text: str
    name: str = ""
    assertion: Assertion = "present"
    codings: tuple[Coding, ...] = ()
    negated: bool = False
    doubt: Literal["possible", "differential", "unlikely"] | None = None
    past: bool = False
    interruption: Literal["stopped", "on-hold"] | None = None
    relatives: tuple[Term, ...] = ()
    severities: tuple[Term, ...] = ()
    courses: tuple[Term, ...] = ()
    body_sites: tuple[Term, ...] = ()
    moments: tuple[Moment, ...] = ()
    values: tuple[LabValue, ...] = ()
    reference_ranges: tuple[ReferenceRange, ...] = ()
    category: Literal["laboratory", "vital-signs"] | None = None
    negative_finding: bool = False
    dosages: tuple[Dosage, ...] = ()
    forms: tuple[Term, ...] = ()
    plan: Literal["planned", "ongoing", "given"] | None = None
    allergy: Literal["substance", "intolerance", "reaction", "none", "other"] | None = None
    allergy_category: Literal["food", "medication", "environment", "biologic"] | None = None
    reactions: tuple[Fact, ...] = ()
    frame: str | None = None
    because: tuple[Reason, ...] = ()

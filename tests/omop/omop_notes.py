"""Notes, facts and results for the tests of the OMOP sink, written by hand."""

from decimal import Decimal

from kiwi_fhir.errors import NoteError
from kiwi_fhir.omop.ids import NumberRule
from kiwi_fhir.omop.rows import RowMaker
from kiwi_fhir.types import (
    Coding,
    Document,
    Fact,
    Failure,
    LabValue,
    Mention,
    ModelId,
    Modifier,
    Note,
    Quantity,
    Result,
    Span,
)

RECORDED = "2026-11-24T01:30:00+02:00"
SNOMED, ICD, LOINC = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10-cm", "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
HYPERTENSION = (
    Coding(ICD, "I10", "Essential (primary) hypertension", "table", concept_id=35207668, domain="Condition"),
    Coding(SNOMED, "59621000", "Essential hypertension", "table", concept_id=320128, domain="Condition", standard=True),
)
ASPIRIN = (Coding(RXNORM, "1191", "aspirin", "exact", concept_id=1112807, domain="Drug", standard=True),)
SODIUM = (Coding(LOINC, "2951-2", "Sodium", "exact", concept_id=3019550, domain="Measurement", standard=True),)
SURGERY = (Coding(SNOMED, "80146002", "Appendectomy", "exact", concept_id=4198190, domain="Procedure", standard=True),)

TEXT = "Hypertension and fever. Takes aspirin. Sodium 140 mmol/L. Had an appendectomy."
_WORDS = (
    ("problem", "Hypertension", HYPERTENSION),
    ("problem", "fever", ()),
    ("drug", "aspirin", ASPIRIN),
    ("test", "Sodium", SODIUM),
    ("treatment", "appendectomy", SURGERY),
)


def note(note_id="7", text=TEXT, patient="3", time="2026-03-05T10:20:30Z", **other):
    return Note(note_id, text, patient, time=time, **other)


def fact(label="problem", words="Hypertension", text=TEXT, codings=(), modifiers=(), **says):
    start = text.index(words)
    mention = Mention(label, Span(start, start + len(words)), modifiers, section=says.pop("section", None))
    return Fact(mention, words, codings=codings, **says)


def modifier(label, words, text=TEXT):
    start = text.index(words)
    return Modifier(label, Span(start, start + len(words)))


def facts(text=TEXT, repeat=1):
    """A fact of each kind, `repeat` times as many, each at a place of its own."""
    found = []
    for label, words, codings in _WORDS:
        values = ()
        if label == "test":
            values = (LabValue(modifier("labvalue", "140", text), "140 mmol/L", Quantity(Decimal(140), "mmol/L")),)
        found.append(fact(label, words, text, codings, values=values))
    base = len(text)
    more = []
    for round_ in range(1, repeat):
        for item in found:
            span = item.mention.span
            moved = Mention(item.mention.label, Span(span.start + base * round_, span.end + base * round_))
            more.append(Fact(moved, item.text, codings=item.codings, values=item.values))
    return [*found, *more]


def maker(*, release="1-abc", model="kiwi-test", ids=None, **tables):
    """Makes rows of the model's `release`, VERSION-HASH, as program 0."""
    model = ModelId(model, *release.split("-"))
    return RowMaker(ids or NumberRule(), model=model, program="0", recorded=RECORDED, **tables)


def result(of, note_, found=None):
    """The result of a note as the pipeline makes it."""
    document = Document(note_, ())
    try:
        rows = of.rows(document, facts() if found is None else found)
    except NoteError as error:
        rows = Failure(note_.id, "write", error.reason, str(error))
    return Result(document, b"{}", {}, rows=rows)


def results(of, numbers, *, repeat=1):
    return [result(of, note(str(number), TEXT * repeat), facts(repeat=repeat)) for number in numbers]

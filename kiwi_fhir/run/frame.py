"""Results as a table: one row a fact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kiwi_fhir.run.kiwi import NoteResult
from kiwi_fhir.types import Fact, Moment, Quantity

if TYPE_CHECKING:
    import pyarrow as pa


def to_frame(results: Iterable[NoteResult]) -> pa.Table:
    """An Arrow table with one row a fact, in text order: `.to_pandas()`, or `polars.from_arrow` of it.

    | column | what |
    |---|---|
    | note_id, patient_id | the note |
    | label, text, start, end, section | the mention: kind, words, place (code points), section |
    | score | the model's, 0 to 1; null where it has none, or a rule found the mention |
    | assertion, past | present, absent, possible, conditional, hypothetical or of someone else; whether it is history |
    | system, code, display | the first code, null where the words stay text |
    | value, comparator, unit, value_text | a test's first result: the number where it is one, and its words |
    | dosage | how a drug is taken, in the note's words |
    | date | when it was: as stated or as counted from the note's date, no more precise than the words |
    | body_site, severity, course | the first of each, in the note's words |

    Notes without facts have no rows; neither have those that failed: see `NoteResult.failures`.
    """
    import pyarrow as pa

    schema = pa.schema(
        [
            ("note_id", pa.string()),
            ("patient_id", pa.string()),
            ("label", pa.string()),
            ("text", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("section", pa.string()),
            ("score", pa.float64()),
            ("assertion", pa.string()),
            ("past", pa.bool_()),
            ("system", pa.string()),
            ("code", pa.string()),
            ("display", pa.string()),
            ("value", pa.float64()),
            ("comparator", pa.string()),
            ("unit", pa.string()),
            ("value_text", pa.string()),
            ("dosage", pa.string()),
            ("date", pa.string()),
            ("body_site", pa.string()),
            ("severity", pa.string()),
            ("course", pa.string()),
        ]
    )
    return pa.Table.from_pylist(list(_rows(results)), schema=schema)


def _rows(results: Iterable[NoteResult]) -> Iterator[dict[str, Any]]:
    for result in results:
        for fact in result.facts:
            yield {"note_id": result.note.id, "patient_id": result.note.patient_id, **_row(fact)}


def _row(fact: Fact) -> dict[str, Any]:
    mention = fact.mention
    coding = next((coding for coding in fact.codings if coding.code is not None), None)
    value = fact.values[0] if fact.values else None
    number = value.value if value is not None and isinstance(value.value, Quantity) else None
    return {
        "label": mention.label,
        "text": fact.text,
        "start": mention.span.start,
        "end": mention.span.end,
        "section": mention.section,
        "score": None if mention.rule else mention.score,
        "assertion": fact.assertion,
        "past": fact.past,
        "system": coding and coding.system,
        "code": coding and coding.code,
        "display": coding and coding.display,
        "value": number and float(number.value),
        "comparator": number and number.comparator,
        "unit": number and (number.code or number.unit),
        "value_text": value and value.text,
        "dosage": "; ".join(dosage.text for dosage in fact.dosages if dosage.text) or None,
        "date": next((date for moment in fact.moments if (date := _date(moment))), None),
        **{
            name: terms[0].text if terms else None
            for name, terms in (("body_site", fact.body_sites), ("severity", fact.severities), ("course", fact.courses))
        },
    }


def _date(moment: Moment) -> str | None:
    return moment.date or moment.resolved

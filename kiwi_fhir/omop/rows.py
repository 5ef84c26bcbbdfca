"""A document and its facts to rows of NOTE and NOTE_NLP (CDM 5.4). Pure: the same facts give the same rows.

Ids are hashes (63 bits) of what a row says, so that a rerun writes the same rows; a table with 32-bit ids gets others
from the sink.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

from kiwi_fhir.errors import NoteError
from kiwi_fhir.omop import concepts
from kiwi_fhir.omop.clinical import clinical_rows
from kiwi_fhir.omop.ids import Ids
from kiwi_fhir.omop.tables import LINKS, NOTE, NOTE_NLP, row
from kiwi_fhir.omop.text import cut, escaped, snippet, storable
from kiwi_fhir.omop.times import dated_before, moment_of
from kiwi_fhir.types import MODIFIER_LABELS, Document, Fact, ModelId, Note, NoteRows, day_of

_SNIPPET = _LEXICAL = _SYSTEM = _TITLE = 250
_MODIFIERS, _SOURCE = 2000, 50
_NOT_THERE = frozenset({"absent", "associated_with_someone_else", "conditional", "hypothetical"})
#: Modifiers that the fixed keys do not say, in the order of their keys.
_FIXED = frozenset({"negation", "uncertain", "subject", "condition"})
_OTHERS = tuple(label for label in MODIFIER_LABELS if label not in _FIXED)


class Resolver(Protocol):
    """Knows the numbers of a note in the database."""

    digest: str | None

    def of(self, note: Note) -> Ids:
        """The ids of a note. Raises NoteError where there are none."""
        ...


class RowMaker:
    """Makes the rows of a note. `notes` adds its NOTE row, `clinical` the rows of the clinical tables."""

    def __init__(
        self,
        ids: Resolver,
        *,
        model: ModelId,
        program: str,
        recorded: str,
        notes: bool = False,
        clinical: bool = False,
    ) -> None:
        """`program` is the version of kiwi_fhir, `recorded` the instant of processing (ISO 8601 with an offset).

        There is no clock here.
        """
        self._ids, self._notes, self._clinical = ids, notes, clinical
        #: Of the user's table of ids, None without one.
        self.ids_digest = ids.digest
        #: Begins the nlp_system of this model, whatever its version: a rerun replaces what begins so.
        self.prefix = f"kiwi_fhir {'-'.join(model.name.split())} "
        self._system = f"{self.prefix}{model.release} (program {program})"[:_SYSTEM]
        instant = datetime.fromisoformat(recorded).astimezone(UTC)
        self._day, self._time = instant.date(), instant.replace(tzinfo=None)

    def rows(self, document: Document, facts: Sequence[Fact]) -> NoteRows:
        """The rows of a note by table. Raises NoteError for a note that the database has no place for."""
        note = document.note
        ids = self._ids.of(note)
        tables: dict[str, tuple[tuple[object, ...], ...]] = {}
        if ids.person_id is None and (self._notes or self._clinical):
            raise NoteError("unmapped-person", "The note has no person_id: its patient is no number and in no table.")
        if self._notes:
            tables[NOTE] = (_note_row(note, ids),)
        tables[NOTE_NLP] = tuple(self._note_nlp(note, ids.note_id, facts))
        if self._clinical:
            found = clinical_rows(note, ids, facts)
            links = []
            for table, rows in found.items():
                unique = {hash_of(ids.note_id, self._system, table, *values): values for values in rows}
                tables[table] = tuple((row_id, *values) for row_id, values in unique.items())
                links += [(ids.note_id, self._system, table, row_id) for row_id in unique]
            tables[LINKS] = tuple(links)
        return NoteRows(ids.note_id, ids.person_id, self.prefix, tables)

    def _note_nlp(self, note: Note, note_id: int, facts: Sequence[Fact]) -> Iterator[tuple[object, ...]]:
        text, day = note.text, day_of(note.time)
        seen: Counter[tuple[object, ...]] = Counter()
        for fact in facts:
            span, label = fact.mention.span, fact.mention.label
            place = (label, span.start, span.end)
            seen[place] += 1
            found = concepts.standard(fact.codings)
            row_id = hash_of(note_id, self._system, *place, seen[place])
            there = not (fact.negated or fact.assertion in _NOT_THERE)
            yield (
                row_id,
                *row(
                    NOTE_NLP,
                    note_id=note_id,
                    section_concept_id=0,
                    snippet=snippet(text, span.start, span.end, _SNIPPET),
                    offset=str(span.start),
                    lexical_variant=cut(fact.text or label, _LEXICAL),
                    note_nlp_concept_id=(found[0].concept_id or 0) if found else 0,
                    note_nlp_source_concept_id=concepts.source_concept(fact.codings),
                    nlp_system=self._system,
                    nlp_date=self._day,
                    nlp_datetime=self._time,
                    term_exists="Y" if there else "N",
                    term_temporal="past" if fact.past or dated_before(fact, day) else "present",
                    term_modifiers=term_modifiers(text, fact),
                ),
            )


def hash_of(*parts: object) -> int:
    """63 bits of SHA-256 of the parts, never 0."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1 or 1


def term_modifiers(text: str, fact: Fact) -> str:
    """What is said of a mention as `key=value,...`: five keys that are always there, then those that are said.

    A key stands as often as it is said. Where there is no place for all, the last ones are missing, each whole.
    """
    if fact.assertion == "associated_with_someone_else":
        subject = ";".join(relative.text.lower() for relative in fact.relatives) or "family"
    else:
        subject = "patient"
    conditional = {"conditional": "true", "hypothetical": "hypothetical"}.get(fact.assertion, "false")
    pairs = [
        ("negation", "true" if fact.negated else "false"),
        ("subject", subject),
        ("conditional", conditional),
        ("uncertain", fact.doubt or "false"),
        ("history", "true" if fact.past else "false"),
    ]
    if fact.mention.section is not None:
        pairs.append(("section", fact.mention.section))
    for label in _OTHERS if fact.mention.modifiers else ():
        for modifier in fact.mention.modifiers:
            if modifier.label == label:
                pairs.append((label, " ".join(text[modifier.span.start : modifier.span.end].split())))
    said = {"plan": fact.plan, "interruption": fact.interruption, "allergy": fact.allergy}
    pairs += [(key, value) for key, value in said.items() if value is not None]
    found, length = [], -1
    for key, value in pairs:
        pair = f"{key}={escaped(storable(value))}"
        length += len(pair) + 1
        if length > _MODIFIERS:
            break
        found.append(pair)
    return ",".join(found)


def _note_row(note: Note, ids: Ids) -> tuple[object, ...]:
    day = day_of(note.time)
    if day is None:
        raise NoteError("no-note-date", "The note has no date, which NOTE needs.")
    kind = note.type
    return (
        ids.note_id,
        *row(
            NOTE,
            person_id=ids.person_id,
            note_date=day,
            note_datetime=moment_of(note.time),
            note_type_concept_id=concepts.EHR_NOTE,
            note_class_concept_id=kind.concept_id or 0 if kind is not None and concepts.is_concept(kind) else 0,
            note_title=cut(kind.display, _TITLE) if kind is not None else None,
            note_text=storable(note.text),
            encoding_concept_id=concepts.UTF_8,
            language_concept_id=concepts.ENGLISH,
            visit_occurrence_id=ids.visit_id,
            note_source_value=cut(note.id, _SOURCE),
        ),
    )

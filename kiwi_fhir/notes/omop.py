"""A row of OMOP's NOTE (CDM 5.4): https://ohdsi.github.io/CommonDataModel/cdm54.html#note

The ids are OMOP's own: person_id is the patient, visit_occurrence_id the encounter. The text stands there decoded, so
encoding_concept_id says nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from kiwi_fhir.types import Coding, Note

_LOINC = "http://loinc.org"
_NO_CONCEPT = 0  # OMOP's "no matching concept"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_SECONDS = re.compile(r"-?\d+\.\d+")  # since 1970, as OHDSI's own tools store times in SQLite


class OmopRow:
    """What a row becomes. `classes` are the concepts of note_class_concept_id: (name, vocabulary, code) by id."""

    kind = "omop"
    key: ClassVar[str] = "note_id"
    needed: ClassVar[tuple[str, ...]] = ("note_id", "person_id", "note_date", "note_text")

    def __init__(self) -> None:
        self.classes: dict[int, tuple[str, str, str]] = {}

    def note(self, row: Mapping[str, str]) -> Note | None:
        """The note of a row of texts by column name. note_datetime, else note_date is the time."""
        return Note(
            id=_number(row["note_id"]),
            text=row["note_text"],
            patient_id=_number(row["person_id"]) or None,
            encounter_id=_number(row.get("visit_occurrence_id", "")) or None,
            type=self._type(_number(row.get("note_class_concept_id", "")), row.get("note_title", "").strip()),
            time=_time(row.get("note_datetime", ""), row["note_date"]),
            source=self.kind,
        )

    def _type(self, concept: str, title: str) -> Coding | None:
        """The note's class: LOINC where the vocabulary says so, else its name; without a class the note's title."""
        known = self.classes.get(int(concept)) if concept.isdecimal() and int(concept) != _NO_CONCEPT else None
        if known is None:
            return Coding(None, None, title) if title else None
        name, vocabulary, code = known
        return Coding(_LOINC, code, name) if vocabulary == "LOINC" else Coding(None, None, name)


def _number(field: str) -> str:
    return field.strip().removesuffix(".0")


def _time(stated: str, day: str) -> str | None:
    stated, day = _as_iso(stated), _as_iso(day)
    found = _TIME.fullmatch(stated.strip())
    if found is not None:
        fraction = (found[3] or "").rstrip("0").rstrip(".")
        return f"{found[1]}T{found[2]}{fraction}{found[4] or ''}"
    plain = _DATE.match(day.strip())
    return plain[0] if plain else None


def _as_iso(field: str) -> str:
    if _SECONDS.fullmatch(field) is None:
        return field
    return (datetime(1970, 1, 1) + timedelta(seconds=float(field))).isoformat()

"""The note tables of MIMIC-III (NOTEEVENTS) and MIMIC-IV-Note (discharge, radiology), as CSV or CSV.gz.

Columns are found by name, in any case and order. The text stays as it is, DOS line ends and all: offsets point into
it. Times carry no offset, as the tables state none. A MIMIC-III note keeps the table's own numbers as ids; a MIMIC-IV
note points to the resources of mimic-fhir by the ids that mimic-fhir gives them.
"""

from __future__ import annotations

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from kiwi_fhir.errors import InputError, NoteError, UsageError
from kiwi_fhir.notes.csv_rows import Row, header, is_decodable, rows
from kiwi_fhir.notes.files import Files, basename, find
from kiwi_fhir.notes.source import failure
from kiwi_fhir.tables import ListOf, Mappings
from kiwi_fhir.types import Coding, Failure, Note

LOINC = "http://loinc.org"

#: mimic-fhir's namespaces: uuid5 of a resource type's name below uuid5(OID, 'MIMIC-IV').
MIMIC_IV = uuid.uuid5(uuid.NAMESPACE_OID, "MIMIC-IV")

_RULES = ListOf({"category": str, "description?": str, "code": str, "display": str})
_TABLE = {"mimic-iii": _RULES, "mimic-iv": _RULES}
_DIGITS = re.compile(r"\d+")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d(?:\.\d+)?))?")


def mimic_iv_id(resource_type: str, key: str) -> str:
    """The id that mimic-fhir gives the resource of this type with this key (subject_id, hadm_id, note_id)."""
    return str(uuid.uuid5(uuid.uuid5(MIMIC_IV, resource_type), key))


def load_note_types(mappings: Mappings) -> dict[str, list[dict[str, str]]]:
    """note_types.toml: the rules of each generation of MIMIC, in order. Raises MappingError."""
    return mappings.table("note_types", _TABLE)


class _NoteTable(ABC):
    """What the two generations share: the CSV, the columns, bad rows."""

    kind: str
    names: ClassVar[re.Pattern[str]]
    what: ClassVar[str]
    key: ClassVar[str]
    needed: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]

    def __init__(self, files: Files, mappings: Mappings | None = None) -> None:
        self._files = files
        self._types: list[dict[str, str]] = load_note_types(mappings or Mappings.read())[self.kind]
        self.dropped = 0

    def files(self, inputs: Sequence[str]) -> list[str]:
        """The tables; see Source.files. Raises UsageError naming file and columns where columns are missing."""
        paths = find(self._files, inputs, lambda name: self.names.fullmatch(name) is not None, self.what)
        for path in paths:
            try:
                found = header(self._files, path)
            except InputError as error:
                raise UsageError(str(error)) from error
            self._check(path, found)
        return paths

    def read(self, path: str) -> Iterator[Note | Failure]:
        """The notes in the table's order; see Source.read. A row without a note id fails as FILE:ROW, rows from 1."""
        names = header(self._files, path)
        self._check(path, names)
        at = {name: names.index(name) for name in names}
        # Lines inside a text can be told from rows only where the marks stand before the text.
        marks = [at[name] for name in self.marks if at[name] < at["text"]]
        for row in rows(self._files, path, len(names), lambda fields: _starts_row(fields, marks, at["text"])):
            try:
                note = self._row(row, at)
            except NoteError as error:
                yield failure(self._name(row, at) or f"{basename(path)}:{row.number}", error)
                continue
            if note is None:
                self.dropped += 1
            else:
                yield note

    def _check(self, path: str, names: Sequence[str]) -> None:
        missing = [name for name in self.needed if name not in names]
        if missing:
            raise UsageError(f"{path} lacks the columns {', '.join(missing)} of {self.kind}: is it another table?")

    def _row(self, row: Row, at: Mapping[str, int]) -> Note | None:
        if row.problem:
            raise NoteError("bad-row", f"Row {row.number} at line {row.line} {row.problem}.")
        if not all(map(is_decodable, row.fields)):
            raise NoteError("undecodable-text", f"Row {row.number} at line {row.line} is not UTF-8.")
        note = self.note({name: row.fields[index] for name, index in at.items()})
        if note is not None and not note.id:
            raise NoteError("bad-row", f"Row {row.number} at line {row.line} has no note id.")
        return note

    def _name(self, row: Row, at: Mapping[str, int]) -> str:
        """The note's own id where the row has its columns, else nothing."""
        field = "" if row.problem else row.fields[at[self.key]]
        return _number(field) if is_decodable(field) else ""

    @abstractmethod
    def note(self, row: Mapping[str, str]) -> Note | None:
        """The note of a row by column name; None for a row that is left out on purpose."""

    def note_type(self, category: str, description: str = "") -> Coding | None:
        """The first rule of mappings/note_types.toml that fits, else the category as text; None without a category."""
        category = category.strip()
        for rule in self._types:
            fits = rule["category"].lower() == category.lower()
            if fits and rule.get("description", "").lower() in description.lower():
                return Coding(LOINC, rule["code"], rule["display"])
        return Coding(None, None, category) if category else None


class MimicIII(_NoteTable):
    """MIMIC-III's NOTEEVENTS; rows with ISERROR = 1 are left out, as a clinician marked them as mistakes."""

    kind = "mimic-iii"
    names = re.compile(r"noteevents.*\.csv(\.gz)?", re.IGNORECASE)
    what = "NOTEEVENTS*.csv or .csv.gz"
    key = "row_id"
    needed = ("row_id", "subject_id", "hadm_id", "chartdate", "category", "iserror", "text")
    marks = ("row_id", "subject_id")

    def note(self, row: Mapping[str, str]) -> Note | None:
        """See _NoteTable.note. CHARTTIME, which some categories lack, else CHARTDATE is the time."""
        if _number(row["iserror"]) == "1":
            return None
        return Note(
            id=_number(row["row_id"]),
            text=row["text"],
            patient_id=_number(row["subject_id"]) or None,
            encounter_id=_number(row["hadm_id"]) or None,
            type=self.note_type(row["category"], row.get("description", "")),
            time=_time(row.get("charttime", "")) or _date(row["chartdate"]),
            source=self.kind,
        )


class MimicIV(_NoteTable):
    """MIMIC-IV-Note's discharge and radiology tables; ids are those of mimic-fhir."""

    kind = "mimic-iv"
    names = re.compile(r"(discharge|radiology)(?!_detail).*\.csv(\.gz)?", re.IGNORECASE)
    what = "discharge*.csv or radiology*.csv (or .csv.gz)"
    key = "note_id"
    needed = ("note_id", "subject_id", "hadm_id", "note_type", "charttime", "text")
    marks = ("subject_id",)

    def note(self, row: Mapping[str, str]) -> Note | None:
        """See _NoteTable.note."""
        note_id = row["note_id"].strip()
        patient, encounter = _number(row["subject_id"]), _number(row["hadm_id"])
        return Note(
            id=note_id,
            text=row["text"],
            patient_id=mimic_iv_id("Patient", patient) if patient else None,
            encounter_id=mimic_iv_id("Encounter", encounter) if encounter else None,
            type=self.note_type(row["note_type"]),
            time=_time(row["charttime"]),
            source=f"DocumentReference/{mimic_iv_id('DocumentReference', note_id)}",
        )


def _starts_row(fields: Sequence[str], marks: Sequence[int], text: int) -> bool:
    if not marks:
        return True
    return len(fields) > text and all(_DIGITS.fullmatch(_number(fields[mark])) for mark in marks)


def _number(field: str) -> str:
    """A whole number as the table means it: tables that went through pandas show 145834.0 where ids may be missing."""
    return field.strip().removesuffix(".0")


def _time(field: str) -> str | None:
    found = _TIME.fullmatch(field.strip())
    if found is None:
        return None
    return "T".join(part for part in found.groups() if part)


def _date(field: str) -> str | None:
    return (_time(field) or "")[:10] or None

"""Which note_id and person_id a note has in the OMOP database: from the user's table, else its own numbers."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

from kiwi_fhir.errors import NoteError, UsageError
from kiwi_fhir.types import Note

NEEDED = ("note", "note_id", "person_id")
_VISIT = "visit_occurrence_id"
#: One way to write a number, so that no two notes share one by "7" and "007".
_NUMBER = re.compile(r"0|[1-9]\d{0,18}")
_LARGEST = 2**63 - 1
#: The source whose encounters are OMOP's own visits.
_OMOP = "omop"


@dataclass(frozen=True, slots=True)
class Ids:
    """The numbers of a note in the database; None for what is not known."""

    note_id: int
    person_id: int | None
    visit_id: int | None = None


class NumberRule:
    """Ids that are numbers stay as they are."""

    digest: str | None = None

    def of(self, note: Note) -> Ids:
        """The ids of a note. Raises NoteError where its id is no number."""
        note_id = _number(note.id)
        if note_id is None:
            raise NoteError("unmapped-note", "The note's id is no number: name its note_id in a table (--omop-ids).")
        visit = _number(note.encounter_id) if note.source == _OMOP else None
        return Ids(note_id, _number(note.patient_id), visit)


class IdTable:
    """A CSV file: `note` (the note's id), `note_id`, `person_id` (may be empty), perhaps `visit_occurrence_id`.

    Raises UsageError naming file and line for a table that is wrong. `digest` is of the file.
    """

    def __init__(self, path: Path) -> None:
        self._ids: dict[str, Ids] = {}
        seen: set[int] = set()
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The table of ids '{path}' can't be read as UTF-8.") from error
        self.digest: str | None = hashlib.sha256(content).hexdigest()
        rows = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in NEEDED if name not in (rows.fieldnames or ())]
        if missing:
            raise UsageError(f"The table of ids '{path}' lacks the columns {', '.join(missing)}.")
        for row in rows:
            place = f"The table of ids '{path}', line {rows.line_num}"
            note, note_id = (row["note"] or "").strip(), _number((row["note_id"] or "").strip())
            if not note or note_id is None:
                raise UsageError(f"{place}: it needs the note's id and a whole number as note_id.")
            if note in self._ids or note_id in seen:
                raise UsageError(f"{place}: the note or its note_id stands there twice.")
            seen.add(note_id)
            others = {}
            for name in ("person_id", _VISIT):
                text = (row.get(name) or "").strip()
                others[name] = _number(text)
                if text and others[name] is None:
                    raise UsageError(f"{place}: {name} is no whole number.")
            self._ids[note] = Ids(note_id, others["person_id"], others[_VISIT])

    def of(self, note: Note) -> Ids:
        """The ids of a note. Raises NoteError where the table has none."""
        found = self._ids.get(note.id)
        if found is None:
            raise NoteError("unmapped-note", "The table of ids (--omop-ids) has no line for this note.")
        return found


def _number(text: str | None) -> int | None:
    if text is None or not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if number <= _LARGEST else None

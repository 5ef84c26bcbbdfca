"""`kiwi-fhir mappings`: the mapping files, checked as a run checks them; what is in effect and what a site changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiwi_fhir.errors import UsageError
from kiwi_fhir.extract.segment import section_headers
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.terminology.codes import load_codes
from kiwi_fhir.normalize.terminology.properties import load_properties
from kiwi_fhir.normalize.terminology.rules import load_rules as load_terminology
from kiwi_fhir.notes.mimic import load_note_types
from kiwi_fhir.tables import Mappings
from kiwi_fhir.tables.overrides import KeyPath, Place
from kiwi_fhir.types import MENTION_LABELS, MentionLabel

_WIDE = 200  # columns where no terminal sets them, so that keys stay whole in a log

#: What a table of fhir.toml is about; those that are not here concern every mention.
_ABOUT: dict[str, MentionLabel] = {
    "condition": "problem",
    "test": "test",
    "drug": "drug",
    "medication_request": "drug",
    "allergy": "drug",
    "treatment": "treatment",
}
#: The mapping files that give a modifier's words their meaning.
_WORDS: dict[str, str] = {
    "negation": "assertion",
    "uncertain": "assertion",
    "condition": "assertion",
    "subject": "relationships",
    "severity": "severity",
    "course": "course",
    "bodyloc": "laterality",
    "temporal": "temporal",
    "labvalue": "units, interpretations",
    "reference_range": "units",
    "strength": "units, dosing",
    "dosage": "units, dosing",
    "duration": "units",
    "form": "dosing",
    "frequency": "frequencies",
    "route": "routes",
}


def check_mappings(choice: Path | None) -> None:
    """Load every mapping file as a run does, and say how many are right. Raises MappingError for the first fault."""
    mappings = Mappings.read(choice)
    mappings.check()
    section_headers(mappings)
    load_note_types(mappings)
    load_terminology(mappings)
    load_codes(mappings)
    load_properties(mappings)
    Normalizer(mappings)
    load_rules(mappings)
    sys.stderr.write(f"kiwi-fhir: {len(mappings.names)} tables right.\n")


def show_mappings(mention: str | None, choice: Path | None) -> None:
    """Print what each modifier of `mention` (all without one) sets, the choices in effect, and what `choice` changes.

    Raises UsageError for an unknown mention, MappingError for mapping files that are wrong.
    """
    if mention is not None and mention not in MENTION_LABELS:
        raise UsageError(f"The mention '{mention}' is unknown: use {', '.join(MENTION_LABELS)}.")
    mappings = Mappings.read(choice)
    load_rules(mappings)
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDE)
    for label in MENTION_LABELS if mention is None else (mention,):
        console.print(_mention(label, mappings))
    changed = _changes(mappings)
    if changed.row_count:
        console.print(changed)


def _mention(label: str, mappings: Mappings) -> Table:
    found = mappings.merged("fhir")
    changes = found.changes()
    table = Table("rule", "in effect", "words in", "changed by", title=label, title_justify="left", title_style="bold")
    for modifier, element in found.table["elements"][label].items():
        by = _by(changes, ("elements", label, modifier), mappings)
        table.add_row(modifier, "left out" if element == "none" else f"sets {element}", _WORDS.get(modifier, ""), by)
    table.add_section()
    for key, value in _choices(found.table, label):
        table.add_row(escape(".".join(map(str, key))), escape(_show(value)), "", _by(changes, key, mappings))
    return table


def _choices(table: Mapping[str, Any], label: str) -> Iterator[tuple[KeyPath, Any]]:
    """The knobs of fhir.toml that concern a mention, its own first."""
    for name, value in sorted(table.items(), key=lambda item: _ABOUT.get(item[0]) != label):
        if name == "elements" or not isinstance(value, dict) or _ABOUT.get(name, label) != label:
            continue
        for key, item in value.items():
            yield (name, key), item


def _changes(mappings: Mappings) -> Table:
    """Every mapping file that is replaced, and every key that is overridden, with file and line."""
    table = Table("changed", "by", title="Changes", title_justify="left", title_style="bold")
    packaged = Mappings.read()
    for name in mappings.names:
        if mappings.path(name) != packaged.path(name):
            table.add_row(f"{name}.toml, whole", escape(str(mappings.path(name))))
        for key, place in mappings.merged(name).changes().items():
            table.add_row(escape(".".join([name, *map(str, key)])), escape(_where(place)))
    return table


def _by(changes: Mapping[KeyPath, Place], key: KeyPath, mappings: Mappings) -> str:
    place = next((changes[key[:length]] for length in range(len(key), 0, -1) if key[:length] in changes), None)
    if place is not None:
        return escape(_where(place))
    own = mappings.path("fhir")
    return escape(str(own)) if own != Mappings.read().path("fhir") else ""


def _where(place: Place) -> str:
    return f"{place.file.path.parent.name}/{place.file.path.name}, line {place.line}"


def _show(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_show, value)) or "(none)"
    return str(value).lower() if isinstance(value, bool) else str(value)

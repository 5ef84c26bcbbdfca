"""Where an index comes from: the names we ship, a CSV of the user's, or a folder of Athena's files."""

from __future__ import annotations

import csv
import lzma
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.normalize.terminology.athena import CONCEPTS, athena_files, fill_from_athena
from kiwi_fhir.normalize.terminology.cache import built, digest_of
from kiwi_fhir.normalize.terminology.index import Concept, Index, IndexWriter
from kiwi_fhir.normalize.terminology.rules import Rules
from kiwi_fhir.types import MENTION_LABELS, Coding, MentionLabel

#: What `--terminology` may be beside a path.
DEFAULT, NONE = "default", "none"
#: Made by build_names.py; the licences of what is in it stand there.
NAMES = Path(__file__).with_name("names.tsv.xz")

_COLUMNS = ("name", "code", "system", "type")


def open_index(terminology: str, rules: Rules) -> tuple[Index, str]:
    """The index of `--terminology` and its digest; built on first use.

    Raises UsageError for a path that is no terminology, InputError naming file and line for one that can't be read.
    """
    if terminology == DEFAULT:
        digest = digest_of([NAMES])
        return built(digest, _fill_from_names), digest
    path = Path(terminology)
    if path.is_dir():
        files = athena_files(path)
        digest = digest_of(files, repr(rules.ranks), repr(sorted(rules.systems.items())))
        return built(digest, lambda writer: fill_from_athena(writer, files, rules)), digest
    if not path.is_file():
        raise UsageError(
            f"The terminology '{terminology}' does not exist: give {DEFAULT}, {NONE}, a CSV file, or a folder with "
            f"Athena's {CONCEPTS}."
        )
    if path.name == CONCEPTS:
        return open_index(str(path.parent), rules)
    digest = digest_of([path], repr(sorted(rules.systems.items())))
    return built(digest, lambda writer: _fill_from_csv(writer, path, rules)), digest


def _fill_from_names(writer: IndexWriter) -> None:
    label, system = MENTION_LABELS[0], ""
    with lzma.open(NAMES, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            code, display, *named = line.rstrip("\n").split("\t")
            if code.startswith("#"):
                label, system = cast(MentionLabel, code[1:]), display
                continue
            writer.concept(Concept(number, system, code, display))
            for cell in named:
                rank, _, name = cell.partition(" ")
                writer.name(name or display, label, int(rank), number)


def _fill_from_csv(writer: IndexWriter, path: Path, rules: Rules) -> None:
    seen: dict[tuple[str | None, str | None], int] = {}
    for name, label, coding in csv_names(path, rules.systems):
        number = seen.setdefault((coding.system, coding.code), len(seen))
        if number == len(seen) - 1:
            writer.concept(Concept(number, coding.system or "", coding.code or "", coding.display))
        writer.name(name, label, 0, number)


def csv_names(path: Path, systems: Mapping[str, str]) -> Iterator[tuple[str, MentionLabel, Coding]]:
    """The names of a CSV of the user's, each with the mentions that it is for and its code.

    `systems` gives URIs by short names. Raises InputError naming file and line for a row that can't be used.
    """
    for line, row in _csv_rows(path):
        for column in _COLUMNS:
            if not row[column]:
                raise InputError(f"{path}, line {line}: the column '{column}' is empty.")
        label = row["type"].lower()
        if label not in MENTION_LABELS:
            raise InputError(f"{path}, line {line}: the column 'type' must be {', '.join(MENTION_LABELS)}.")
        uri = systems.get(row["system"], row["system"])
        if ":" not in uri or any(mark.isspace() for mark in uri):
            raise InputError(
                f"{path}, line {line}: the column 'system' must be a URI such as http://loinc.org, or one of "
                f"{', '.join(sorted(systems))}."
            )
        yield row["name"], label, Coding(uri, row["code"], row.get("display") or row["name"])


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with the line that each ends on."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(rows, [])]
            missing = [name for name in _COLUMNS if name not in header]
            if missing:
                raise InputError(
                    f"{path}, line 1: the column '{missing[0]}' is missing: the columns of a terminology are "
                    f"{', '.join(_COLUMNS)} and, where wanted, display."
                )
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{path}, line {rows.line_num}: {len(row)} columns where the header has {len(header)}."
                    )
                yield rows.line_num, {name: value.strip() for name, value in zip(header, row, strict=True)}
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: save it as UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: {error}.") from error

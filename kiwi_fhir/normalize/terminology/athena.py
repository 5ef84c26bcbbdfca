"""An OMOP vocabulary as Athena gives it: tab-separated files without quotes, the header in the first line.

CONCEPT.csv names the concepts, CONCEPT_RELATIONSHIP.csv leads to the standard ones ('Maps to'), CONCEPT_SYNONYM.csv
has more names (https://ohdsi.github.io/CommonDataModel/cdm54.html#Vocabulary_Tables). Files are read once, a line at a
time, in whatever order they are in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.normalize.terminology.index import Concept, IndexWriter
from kiwi_fhir.normalize.terminology.rules import Rules
from kiwi_fhir.types import MentionLabel

CONCEPTS, RELATIONSHIPS, SYNONYMS = "CONCEPT.csv", "CONCEPT_RELATIONSHIP.csv", "CONCEPT_SYNONYM.csv"

_MAPS_TO = "Maps to"
_ENGLISH = "4180186"
_CONCEPT_COLUMNS = (
    "concept_id",
    "concept_name",
    "domain_id",
    "vocabulary_id",
    "standard_concept",
    "concept_code",
    "invalid_reason",
)
#: SNOMED CT's fully specified names end in their kind: "Asthma (disorder)".
_KIND = re.compile(
    r" \((?:disorder|finding|procedure|regime/therapy|observable entity|substance|product|medicinal product|situation|"
    r"morphologic abnormality|physical object|clinical drug|event|context-dependent category)\)$"
)


def athena_files(folder: Path) -> list[Path]:
    """The files that are there; names in any case. Raises UsageError without CONCEPT.csv."""
    there = {path.name.upper(): path for path in folder.iterdir() if path.is_file()}
    if CONCEPTS.upper() not in there:
        raise UsageError(f"The terminology folder '{folder}' has no {CONCEPTS}: name a folder that Athena's zip gave.")
    return [there[name.upper()] for name in (CONCEPTS, RELATIONSHIPS, SYNONYMS) if name.upper() in there]


def fill_from_athena(writer: IndexWriter, files: list[Path], rules: Rules) -> None:
    """Write the concepts of clinical domains with their names, 'Maps to' links and English synonyms.

    Raises InputError naming file and line for a file that is not in Athena's format.
    """
    for path in files:
        if path.name.upper() == CONCEPTS.upper():
            _concepts(writer, path, rules)
        elif path.name.upper() == RELATIONSHIPS.upper():
            _relationships(writer, path)
        else:
            _synonyms(writer, path)


def _concepts(writer: IndexWriter, path: Path, rules: Rules) -> None:
    uses: dict[tuple[str, str, str], list[tuple[MentionLabel, int]]] = {}
    systems: dict[str, str] = {}
    for line, row in _rows(path, _CONCEPT_COLUMNS):
        number, name, domain, vocabulary, standard, code, invalid = row
        kind = (domain, vocabulary, standard)
        labels = uses.get(kind)
        if labels is None:
            labels = uses[kind] = rules.uses(domain, vocabulary, standard=standard == "S")
            systems[vocabulary] = rules.system(vocabulary)
        if not labels:
            continue
        concept_id = _number(path, line, "concept_id", number)
        is_standard = int(standard == "S" and not invalid)
        concept = Concept(concept_id, systems[vocabulary], code, name, concept_id, domain, standard=is_standard)
        writer.concept(concept, retired=bool(invalid))
        if name.endswith(")"):
            name = _KIND.sub("", name)
        for label, rank in labels:
            writer.name(name, label, rank, concept_id)


def _relationships(writer: IndexWriter, path: Path) -> None:
    columns = ("concept_id_1", "concept_id_2", "relationship_id", "invalid_reason")
    for line, (source, target, _, invalid) in _rows(path, columns, needle=f"\t{_MAPS_TO}\t"):
        if not invalid:
            writer.target(_number(path, line, "concept_id_1", source), _number(path, line, "concept_id_2", target))


def _synonyms(writer: IndexWriter, path: Path) -> None:
    columns = ("concept_id", "concept_synonym_name", "language_concept_id")
    for line, (number, name, language) in _rows(path, columns):
        if language == _ENGLISH:
            writer.synonym(_KIND.sub("", name), _number(path, line, "concept_id", number))


def _rows(path: Path, columns: tuple[str, ...], needle: str = "") -> Iterator[tuple[int, list[str]]]:
    """The line number and the values of `columns` of each line; only lines with `needle`."""
    with path.open("rb") as file:
        header = [name.strip().lower() for name in file.readline().decode("utf-8-sig", "replace").split("\t")]
        for name in columns:
            if name not in header:
                raise InputError(
                    f"{path}, line 1: the column '{name}' is missing: Athena's files are separated by tabs and begin "
                    "with the names of the columns."
                )
        places = [header.index(name) for name in columns]
        wanted = needle.encode()
        for number, raw in enumerate(file, 2):
            if wanted and wanted not in raw:
                continue
            try:
                values = raw.decode("utf-8").rstrip("\r\n").split("\t")
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {number} is not UTF-8: Athena's files are.") from error
            if len(values) != len(header):
                if values == [""]:
                    continue
                raise InputError(f"{path}, line {number}: {len(values)} columns where the header has {len(header)}.")
            yield number, [values[place] for place in places]


def _number(path: Path, line: int, column: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise InputError(f"{path}, line {line}: the column '{column}' must be a whole number.")
    return int(value)

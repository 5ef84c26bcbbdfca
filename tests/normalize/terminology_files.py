"""Small terminologies of the tests' own, in the real schemas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CONCEPT = (
    "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\t"
    "valid_start_date\tvalid_end_date\tinvalid_reason"
)
RELATIONSHIP = "concept_id_1\tconcept_id_2\trelationship_id\tvalid_start_date\tvalid_end_date\tinvalid_reason"
SYNONYM = "concept_id\tconcept_synonym_name\tlanguage_concept_id"

#: (id, name, domain, vocabulary, standard, code, invalid)
CONCEPTS = (
    (320128, "Essential hypertension", "Condition", "SNOMED", "S", "59621000", ""),
    (35207668, "Essential (primary) hypertension", "Condition", "ICD10CM", "", "I10", ""),
    (4000001, 'Frosted "wing" sign', "Condition", "SNOMED", "S", "111", ""),
    (4000002, "Retired wing sign", "Condition", "SNOMED", "", "112", "U"),
    (4000003, "Lost wing sign", "Condition", "SNOMED", "", "113", "D"),
    (4000004, "Twin marker", "Condition", "SNOMED", "S", "114", ""),
    (4000005, "Twin marker", "Condition", "SNOMED", "S", "115", ""),
    (4000006, "Echo marker", "Condition", "ICD10CM", "", "E1", ""),
    (4000007, "Echo marker", "Condition", "ICD10CM", "", "E2", ""),
    (1112807, "aspirin", "Drug", "RxNorm", "S", "1191", ""),
    (4200001, "Aspirin", "Drug", "SNOMED", "", "387458008", ""),
    (3019550, "Sodium [Moles/volume] in Serum or Plasma", "Measurement", "LOINC", "S", "2951-2", ""),
    (4300001, "Bristle count", "Procedure", "SNOMED", "S", "222", ""),
    (4300002, "Bristle count", "Measurement", "LOINC", "S", "9999-1", ""),
    (4400001, "Lands of nowhere", "Geography", "OSM", "S", "333", ""),
    (4500001, "Quiet knee", "Observation", "Site Codes", "S", "Q1", ""),
)
MAPS = ((35207668, 320128), (4000002, 4000001), (4200001, 1112807), (4000006, 4000004), (4000007, 4000004))
SYNONYMS = (
    (320128, "Idiopathic high tension of vessels (disorder)", 4180186),
    (320128, "Hipertension esencial", 4182511),
    (3019550, "Serum natrium", 4180186),
)


def write_athena(
    folder: Path, concepts: Sequence[tuple[object, ...]] = CONCEPTS, *, only: bool = False, header: str = CONCEPT
) -> Path:
    """A folder of Athena's files; `only` CONCEPT.csv."""
    folder.mkdir(exist_ok=True)
    lines = [header]
    for number, name, domain, vocabulary, standard, code, invalid in concepts:
        lines.append(f"{number}\t{name}\t{domain}\t{vocabulary}\tx\t{standard}\t{code}\t19700101\t20991231\t{invalid}")
    (folder / "CONCEPT.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if only:
        return folder
    lines = [RELATIONSHIP]
    for one, other in MAPS:
        lines.append(f"{one}\t{other}\tMaps to\t19700101\t20991231\t")
        lines.append(f"{other}\t{one}\tMapped from\t19700101\t20991231\t")
    lines.append("320128\t320128\tMaps to\t19700101\t20991231\t")
    lines.append("4000001\t77\tMaps to\t19700101\t20991231\t")  # a concept that the folder has not
    lines.append("1112807\t320128\tMaps to\t19700101\t20991231\tD")
    (folder / "CONCEPT_RELATIONSHIP.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = [SYNONYM, *(f"{number}\t{name}\t{language}" for number, name, language in SYNONYMS)]
    (folder / "CONCEPT_SYNONYM.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


TABLES = {
    "codes_problem": """
system = "http://hl7.org/fhir/sid/icd-10-cm"
fillers = ["acute", "left", "severe"]
uncoded = ["pain", "spots"]

[codes."I10"]
display = "Essential (primary) hypertension"
words = ["hypertension", "high blood pressure"]
abbreviations = ["htn"]

[codes."G35"]
display = "Multiple sclerosis"
words = ["multiple sclerosis"]

[codes."I34.2"]
display = "Nonrheumatic mitral (valve) stenosis"
words = ["mitral stenosis"]

[ambiguous.ms]
codes = ["G35", "I34.2"]
sections = { past_history = "G35" }
""",
    "codes_drug": """
system = "http://www.nlm.nih.gov/research/umls/rxnorm"

[codes."1191"]
display = "aspirin"
words = ["aspirin", "bayer"]
abbreviations = ["asa"]
""",
    "codes_test": """
system = "http://loinc.org"

[codes."2951-2"]
display = "Sodium [Moles/volume] in Serum or Plasma"
words = ["sodium"]
abbreviations = ["na"]
""",
    "codes_treatment": 'system = "http://www.cms.gov/Medicare/Coding/ICD10"\n',
}


def write_tables(folder: Path, **changed: str) -> Path:
    """A folder of code tables; `changed` replaces some."""
    folder.mkdir(exist_ok=True)
    for name, content in {**TABLES, **changed}.items():
        (folder / f"{name}.toml").write_text(content, encoding="utf-8")
    return folder

"""OMOP's own concepts, and which of a mention's codes are standard ones (https://athena.ohdsi.org)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kiwi_fhir.types import Coding

EHR_NOTE: Final = 32831  # Type Concept: EHR note
NLP: Final = 32858  # Type Concept: NLP
UTF_8: Final = 32678
ENGLISH: Final = 4180186
SYSTOLIC, DIASTOLIC = 3004249, 3012888  # LOINC 8480-6 and 8462-4
#: Of domain Meas Value Operator.
OPERATORS = {"<": 4171756, "<=": 4171754, ">=": 4171755, ">": 4172704}

_SNOMED, _LOINC, _RXNORM = "http://snomed.info/sct", "http://loinc.org", "http://www.nlm.nih.gov/research/umls/rxnorm"
_CPT, _HCPCS = "http://www.ama-assn.org/go/cpt", "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
_PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
#: The code systems whose concepts are standard in a domain
#: (https://ohdsi.github.io/TheBookOfOhdsi/StandardizedVocabularies.html).
_STANDARD: dict[str, frozenset[str]] = {
    "Condition": frozenset({_SNOMED}),
    "Observation": frozenset({_SNOMED, _LOINC}),
    "Drug": frozenset({_RXNORM, "urn:kiwi-fhir:vocabulary:RxNorm%20Extension", "http://hl7.org/fhir/sid/cvx"}),
    "Measurement": frozenset({_LOINC, _SNOMED, _CPT}),
    "Procedure": frozenset({_SNOMED, _CPT, _HCPCS, _PCS, _LOINC}),
    "Device": frozenset({_SNOMED, _HCPCS}),
}
_LARGEST = 2**31 - 1  # a concept_id is an INTEGER in every CDM


def is_concept(coding: Coding) -> bool:
    """Whether OMOP has a concept for the code."""
    return coding.concept_id is not None and 0 < coding.concept_id <= _LARGEST


def standard(codings: Sequence[Coding]) -> list[Coding]:
    """The standard concepts of a mention, as far as its codings name OMOP's concepts.

    A linker puts the code that it found first and what it 'Maps to' behind. A standard concept maps to nothing else of
    its vocabulary, so a first one that others of its system follow is retired.
    """
    found = [item for item in codings if is_concept(item) and item.system in _STANDARD.get(item.domain or "", ())]
    if len(found) > 1 and found[0] is codings[0] and any(item.system == found[0].system for item in found[1:]):
        del found[0]
    return found


def source_concept(codings: Sequence[Coding]) -> int:
    """The concept of the code that was found; 0 where it has none."""
    return (codings[0].concept_id or 0) if codings and is_concept(codings[0]) else 0

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

_LARGEST = 2**31 - 1  # a concept_id is an INTEGER in every CDM


def is_concept(coding: Coding) -> bool:
    """Whether OMOP has a concept for the code."""
    return coding.concept_id is not None and 0 < coding.concept_id <= _LARGEST


def standard(codings: Sequence[Coding]) -> list[Coding]:
    """The standard concepts of a mention, as far as its codings name them: what was found, or what that maps to."""
    return [item for item in codings if is_concept(item) and item.standard]


def source_concept(codings: Sequence[Coding]) -> int:
    """The concept of the code that was found; 0 where it has none."""
    return (codings[0].concept_id or 0) if codings and is_concept(codings[0]) else 0

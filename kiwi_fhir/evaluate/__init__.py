"""Scores of documents against gold: exact and relaxed, per type, with intervals over notes."""

from kiwi_fhir.evaluate.folders import Pair, compare_folders, read_pair
from kiwi_fhir.evaluate.scores import MICRO, Report, Row, Value, score

__all__ = ["MICRO", "Pair", "Report", "Row", "Value", "compare_folders", "read_pair", "score"]

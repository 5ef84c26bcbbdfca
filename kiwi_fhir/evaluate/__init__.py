"""Scores of documents against gold: exact and relaxed, per type, with intervals over notes."""

from kiwi_fhir.evaluate.folders import compare_folders
from kiwi_fhir.evaluate.scores import MICRO, Report, Row, Value, score

__all__ = ["MICRO", "Report", "Row", "Value", "compare_folders", "score"]

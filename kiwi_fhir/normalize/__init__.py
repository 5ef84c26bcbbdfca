"""Mentions to facts: what is said of whom, with codes and parsed values."""

from kiwi_fhir.normalize.normalizer import Normalizer
from kiwi_fhir.normalize.terminology import Linker, load_linker

__all__ = ["Linker", "Normalizer", "load_linker"]

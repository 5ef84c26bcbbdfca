"""Mentions to facts: what is said of whom, with codes and parsed values."""

from kiwi_fhir.normalize.normalizer import Normalizer

__all__ = ["Normalizer"]

"""Text to mentions: `load` makes an extractor of a model, `predict` turns notes into documents."""

from kiwi_fhir.extract.choice import DEFAULT_MODEL, SMALL_LLAMA, SMALL_TAGGER, ModelChoice, load, load_for
from kiwi_fhir.extract.engine import CHUNK_CHARACTERS, CHUNK_NOTES, Extractor, chunks, extract

__all__ = [
    "CHUNK_CHARACTERS",
    "CHUNK_NOTES",
    "DEFAULT_MODEL",
    "SMALL_LLAMA",
    "SMALL_TAGGER",
    "Extractor",
    "ModelChoice",
    "chunks",
    "extract",
    "load",
    "load_for",
]

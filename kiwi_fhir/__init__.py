"""Clinical notes to FHIR and OMOP.

    import kiwi_fhir
    kiwi = kiwi_fhir.load()
    result = kiwi("He denies chest pain. Aspirin 81 mg daily.")
    result.mentions, result.facts, result.bundle, result.failures

The names of `__all__` are promises; each is imported when it is asked for. Transforms for Beam are in `kiwi_fhir.beam`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kiwi_fhir.config import Config
    from kiwi_fhir.errors import (
        ConfigError,
        InputError,
        KiwiError,
        MappingError,
        ModelError,
        TooManyFailures,
        Unavailable,
        UsageError,
    )
    from kiwi_fhir.run.frame import to_frame
    from kiwi_fhir.run.kiwi import Kiwi, NoteResult, load
    from kiwi_fhir.types import Coding, Document, Fact, Failure, Mention, ModelId, Modifier, Note, Span

__all__ = [
    "Coding",
    "Config",
    "ConfigError",
    "Document",
    "Fact",
    "Failure",
    "InputError",
    "Kiwi",
    "KiwiError",
    "MappingError",
    "Mention",
    "ModelError",
    "ModelId",
    "Modifier",
    "Note",
    "NoteResult",
    "Span",
    "TooManyFailures",
    "Unavailable",
    "UsageError",
    "load",
    "to_frame",
]

_MODULES = {
    "config": ("Config",),
    "errors": (
        "ConfigError",
        "InputError",
        "KiwiError",
        "MappingError",
        "ModelError",
        "TooManyFailures",
        "Unavailable",
        "UsageError",
    ),
    "run.frame": ("to_frame",),
    "run.kiwi": ("Kiwi", "NoteResult", "load"),
    "types": ("Coding", "Document", "Fact", "Failure", "Mention", "ModelId", "Modifier", "Note", "Span"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """A public name, from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kiwi_fhir' has no attribute '{name}'")
    found = getattr(import_module(f"kiwi_fhir.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

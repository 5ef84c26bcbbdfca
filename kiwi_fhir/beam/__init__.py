"""Beam: the job of a run, and transforms for pipelines of your own. Importing this registers the types' coders."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import kiwi_fhir.beam.coders  # noqa: F401

if TYPE_CHECKING:
    from kiwi_fhir.beam.handler import KiwiModelHandler
    from kiwi_fhir.beam.transforms import ExtractMentions, MapToFhir, MapToOmop

__all__ = ["ExtractMentions", "KiwiModelHandler", "MapToFhir", "MapToOmop"]


def __getattr__(name: str) -> Any:
    """The names of `__all__`, imported when they are asked for: a run needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'handler' if name == 'KiwiModelHandler' else 'transforms'}"), name)

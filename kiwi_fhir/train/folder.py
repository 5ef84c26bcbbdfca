"""What all model folders hold that training writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from kiwi_fhir.extract.folder import FORMATS
from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS


def folder_config(arch: str, base: str, window: int, name: str, version: str) -> dict[str, Any]:
    """The config.json of a new model folder; `window` counts pieces for a tagger, else characters."""
    return {
        "format": FORMATS[arch],
        "arch": arch,
        "name": name,
        "version": version,
        "released": datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z"),
        "base": base,
        "window": window,
        "mentions": list(MENTION_LABELS),
        "modifiers": list(MODIFIER_LABELS),
        "packages": {package: metadata.version(package) for package in ("torch", "transformers", "peft")},
    }


def plain(value: Any) -> Any:
    """`value` as JSON can hold it."""
    return sorted(value) if isinstance(value, set) else value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` with sorted keys."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")

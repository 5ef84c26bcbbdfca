"""A model folder's own word on itself; read without torch, so that a run can be checked before a model is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from kiwi_fhir.errors import ModelError
from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS

#: The version of the model folder's layout; a folder of another one is refused.
FORMAT = 1


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder, checked. Raises ModelError."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"The model folder '{folder}' has no config.json: name a folder that `kiwi-fhir train` wrote.")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"The config.json of the model folder '{folder}' is no JSON.") from error
    wanted = {"format": int, "name": str, "version": str, "released": str, "base": str, "window": int}
    for key, kind in wanted.items():
        if not isinstance(config, dict) or not isinstance(config.get(key), kind):
            raise ModelError(f"The config.json of the model folder '{folder}' lacks the {kind.__name__} '{key}'.")
    if config["format"] != FORMAT:
        raise ModelError(f"The model folder '{folder}' has format {config['format']}; this program reads {FORMAT}.")
    labels = [list(MENTION_LABELS), list(MODIFIER_LABELS)]
    if [config.get("mentions"), config.get("modifiers")] != labels:
        raise ModelError(f"The model folder '{folder}' was trained on other labels than this program's.")
    return config


def model_name(folder: Path, config: dict[str, Any]) -> str:
    """`NAME-VERSION-HASH`, the hash over the folder's own weights: two models never share a name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    digest.update(json.dumps(config, sort_keys=True).encode())
    return f"{config['name']}-{config['version']}-{digest.hexdigest()[:8]}"

"""A model folder's own word on itself; read without torch, so that a run can be checked before a model is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract.calibration import lines_of
from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS, ModelId

#: The version of a model folder's layout and of what its weights mean, by kind; a folder of another one is refused.
FORMATS = {"bert": 3, "llama-tagger": 3, "llama": 1}
_WHOLE, _SAMPLES, _PIECE = 1 << 27, 256, 1 << 14


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder, checked. Raises ModelError.

    A folder with a causal model as transformers saves it is a model folder too: whole weights, without a release.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"The model folder '{folder}' has no config.json: name a folder that `kiwi-fhir train` wrote.")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"The config.json of the model folder '{folder}' is no JSON.") from error
    if isinstance(config, dict) and "format" not in config and _is_causal(config):
        name = folder.resolve().name
        return {"arch": "llama", "base": str(folder), "name": name, "version": "0", "released": None}
    wanted = {"format": int, "name": str, "version": str, "released": str, "base": str, "window": int}
    for key, kind in wanted.items():
        if not isinstance(config, dict) or not isinstance(config.get(key), kind):
            raise ModelError(f"The config.json of the model folder '{folder}' lacks the {kind.__name__} '{key}'.")
    wanted_format = FORMATS.get(config.setdefault("arch", "bert"))
    if wanted_format is None:
        raise ModelError(f"The model folder '{folder}' is a '{config['arch']}': use {', '.join(FORMATS)}.")
    if config["format"] != wanted_format:
        raise ModelError(
            f"The model folder '{folder}' has format {config['format']}; this program reads {wanted_format}: "
            "train it again, or use the release that wrote it."
        )
    try:
        lines_of(config)
    except ValueError as error:
        raise ModelError(f"The config.json of the model folder '{folder}' is wrong: {error}.") from error
    labels = [list(MENTION_LABELS), list(MODIFIER_LABELS)]
    if [config.get("mentions"), config.get("modifiers")] != labels:
        raise ModelError(f"The model folder '{folder}' was trained on other labels than this program's.")
    return config


def _is_causal(config: dict[str, Any]) -> bool:
    names = config.get("architectures")
    return isinstance(names, list) and any(str(name).endswith("ForCausalLM") for name in names)


def model_id(folder: Path, config: dict[str, Any], *more: str) -> ModelId:
    """Its name and version with a hash of the folder's weights, its config and `more`, which no two models share."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(_weights(path))
    kept = {key: value for key, value in config.items() if (key, value) != ("arch", "bert")}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    for text in more:
        digest.update(text.encode())
    return ModelId(config["name"], config["version"], digest.hexdigest()[:8])


def _weights(path: Path) -> bytes:
    """A file's bytes; of one over _WHOLE its size and _SAMPLES pieces from all over it: hashing it takes a minute."""
    size = path.stat().st_size
    if size <= _WHOLE:
        return path.read_bytes()
    with path.open("rb") as stream:
        pieces = [str(size).encode()]
        for number in range(_SAMPLES):
            stream.seek(number * (size - _PIECE) // (_SAMPLES - 1))
            pieces.append(stream.read(_PIECE))
    return b"".join(pieces)

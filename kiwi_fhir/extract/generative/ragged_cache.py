"""The keys and values of a batch whose rows have different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_GROWTH = 128


class RaggedCache:
    """Keys and values by layer, [rows, heads, slots, size]; a row's slots are filled from the left.

    `place` says which rows are fed next, and how far each is filled. What a row was fed beyond what it keeps (padding,
    a draft that failed) is written over by the next feeding, so nothing is ever moved. transformers calls the other
    methods.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._index = torch.empty(0, dtype=torch.long)
        self._slots = torch.empty(0, dtype=torch.long)
        self._end = 0

    def place(self, rows: Sequence[int], filled: Sequence[int], size: int) -> Tensor:
        """Let the next forward pass feed `size` tokens to each of `rows`, behind the `filled` slots of each.

        Returns the mask [len(rows), 1, size, slots]: a token sees the row's slots up to its own.
        """
        self._index = torch.tensor(rows)
        self._slots = torch.tensor(filled)[:, None] + torch.arange(size)
        self._end = max(filled) + size
        return (torch.arange(self._end)[None, None] <= self._slots[:, :, None])[:, None]

    @property
    def positions(self) -> Tensor:
        """The positions [rows, size] of the tokens that are fed next."""
        return self._slots

    def copy(self, source: int, target: int, size: int) -> None:
        """Copy the first `size` slots of one row to another."""
        for part in (*self._keys, *self._values):
            part[target, :, :size] = part[source, :, :size]

    def fill(self, rows: Sequence[int], other: RaggedCache, size: int) -> None:
        """Copy the first `size` slots of the only row of `other` to `rows`."""
        for index, (keys, values) in enumerate(zip(other._keys, other._values, strict=True)):
            self._room(index, keys, size)
            self._keys[index][list(rows), :, :size] = keys[:, :, :size]
            self._values[index][list(rows), :, :size] = values[:, :, :size]

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows go on, numbered anew in this order."""
        chosen = torch.tensor(rows)
        self._keys = [part[chosen.to(part.device)] for part in self._keys]
        self._values = [part[chosen.to(part.device)] for part in self._values]
        self._rows = len(rows)

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store what the layer computed for the tokens fed; return all keys and values of their rows."""
        self._room(layer_idx, keys, self._end)
        index, slots = self._index.to(keys.device), self._slots.to(keys.device)
        every = len(index) == self._rows
        found = []
        for stored, new in ((self._keys[layer_idx], keys), (self._values[layer_idx], values)):
            stored[index[:, None], :, slots] = new.transpose(1, 2)
            found.append(stored[:, :, : self._end] if every else stored[index, :, : self._end])
        return found[0], found[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many slots are filled in the longest row."""
        return self._end

    def _room(self, layer: int, like: Tensor, slots: int) -> None:
        if layer == len(self._keys):
            shape = (self._rows, like.shape[1], slots + _GROWTH, like.shape[3])
            self._keys.append(like.new_zeros(shape))
            self._values.append(like.new_zeros(shape))
        short = slots - self._keys[layer].shape[2]
        if short > 0:
            for parts in (self._keys, self._values):
                old = parts[layer]
                parts[layer] = torch.cat([old, old.new_zeros(*old.shape[:2], short + _GROWTH, old.shape[3])], dim=2)

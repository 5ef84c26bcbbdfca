"""Instruction examples to training rows: many examples behind one another, each prompt's common beginning once.

An example sees its own tokens and the shared beginning of its template, nothing else, and its positions count as if
it stood alone: the loss is that of the examples one by one, for two thirds of the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kiwi_fhir.train.instructions import Example

_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Rows:
    """`tokens`, `positions`, `targets` [R, T] (-100: no loss); `mask` [R, 1, T, T], true where a query sees a key."""

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Rows:
        """The rows on `device`."""
        moved = (part.to(device, non_blocking=True) for part in (self.tokens, self.positions, self.targets, self.mask))
        return Rows(*moved)


class _Row:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.targets: list[int] = []
        self.segment: list[int] = []  # what a token belongs to
        self.parent: list[int] = []  # the shared beginning that it sees besides
        self._shared: dict[tuple[int, ...], int] = {}
        self._segments = 0

    def cost(self, example: Example) -> int:
        beginning = tuple(example.tokens[: example.shared])
        return len(example.tokens) - (example.shared if beginning in self._shared else 0)

    def add(self, example: Example) -> None:
        beginning = tuple(example.tokens[: example.shared])
        if beginning not in self._shared:
            self._shared[beginning] = self._append(beginning, 0, -1, len(beginning))
        # The last token of the prompt predicts the answer's first; the end token predicts nothing.
        self._append(
            example.tokens[example.shared :], example.shared, self._shared[beginning], example.answer - example.shared
        )

    def _append(self, tokens: Sequence[int], position: int, parent: int, answer: int) -> int:
        self._segments += 1
        size = len(tokens)
        self.tokens += tokens
        self.positions += range(position, position + size)
        self.targets += [
            tokens[index + 1] if index + 1 >= answer and index + 1 < size else _IGNORED for index in range(size)
        ]
        self.segment += [self._segments] * size
        self.parent += [parent] * size
        return self._segments


def pack(examples: Iterable[Example], room: int) -> list[Rows]:
    """Rows of at most `room` tokens (a longer example has a row of its own), each of size [1, T]."""
    rows = [_Row()]
    for example in sorted(examples, key=lambda example: example.tokens[: example.shared]):
        if rows[-1].tokens and len(rows[-1].tokens) + rows[-1].cost(example) > room:
            rows.append(_Row())
        rows[-1].add(example)
    return [_tensors(row) for row in rows]


def _tensors(row: _Row) -> Rows:
    size = len(row.tokens)
    segment, parent = torch.tensor(row.segment), torch.tensor(row.parent)
    seen = (segment[:, None] == segment[None]) | (parent[:, None] == segment[None])
    return Rows(
        tokens=torch.tensor([row.tokens]),
        positions=torch.tensor([row.positions]),
        targets=torch.tensor([row.targets]),
        mask=(seen & torch.ones(size, size, dtype=torch.bool).tril())[None, None],
    )

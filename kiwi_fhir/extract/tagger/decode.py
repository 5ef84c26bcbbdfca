"""Scored spans to those that are found: the likeliest that do not overlap."""

from __future__ import annotations

import torch
from torch import Tensor

from kiwi_fhir.extract.calibration import IDENTITY, Line, calibrated
from kiwi_fhir.extract.tagger.model import WordSpan, whole


def probable(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits [B, W, MAX_WORDS, 1 + K] to probabilities; zeros for a span that does not end in its window."""
    return logits.float().softmax(-1) * whole(mask).unsqueeze(-1)


def decode(logits: Tensor, mask: Tensor, line: Line = IDENTITY) -> list[list[tuple[WordSpan, float]]]:
    """The spans of each window with their scores, in order.

    `logits` is [B, W, MAX_WORDS, 1 + K] by first word and length, label 0 for none; `mask` [B, W] is true at words. Of
    the spans with a label that is likelier than none the likeliest stays first, then the likeliest that does not
    overlap it, and so on: on folds of the training notes the set with the largest sum of log-odds is no better. A
    span's score is its label's probability, moved along `line`.
    """
    scores = torch.log_softmax(logits.float(), dim=-1)
    best, label = scores[..., 1:].max(-1)
    above = (best > scores[..., 0]) & whole(mask)
    rows, first, length = (each.tolist() for each in above.nonzero(as_tuple=True))
    kinds, chances = label[above].tolist(), best[above].exp().tolist()
    found: list[list[tuple[WordSpan, float]]] = [[] for _ in range(len(mask))]
    for row, start, size, kind, chance in zip(rows, first, length, kinds, chances, strict=True):
        found[row].append(((kind, start, start + size + 1), chance))
    return [[(span, calibrated(chance, line)) for span, chance in _apart(some)] for some in found]


def _apart(spans: list[tuple[WordSpan, float]]) -> list[tuple[WordSpan, float]]:
    """The likeliest of `spans` and those that overlap none likelier, in order; of equals the first."""
    kept: list[tuple[WordSpan, float]] = []
    for span, chance in sorted(spans, key=lambda scored: -scored[1]):
        if all(span[2] <= other[1] or other[2] <= span[1] for other, _ in kept):
            kept.append((span, chance))
    return sorted(kept, key=lambda scored: scored[0][1])

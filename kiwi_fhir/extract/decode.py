"""Tag logits to spans: the best path through the BIO labels, with the labels' own constraints.

Label 0 is O; label 1 + 2k begins a span of type k and 2 + 2k goes on with it. A path may go on only with the span
that it is in, so no span starts in its middle and none changes its type.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kiwi_fhir.extract.model import WordSpan

_NEVER = -1e9


def decode(logits: Tensor, mask: Tensor) -> list[list[tuple[WordSpan, float]]]:
    """The spans of each window with their scores.

    `logits` is [B, W, 1 + 2K] and `mask` [B, W], true at words. A span's score is the lowest probability of its
    words' labels: a span is no surer than its least sure word.
    """
    probabilities = torch.log_softmax(logits.float(), dim=-1).cpu()
    mask = mask.cpu()
    path = _viterbi(probabilities, mask)
    chosen = probabilities.gather(-1, path.unsqueeze(-1)).squeeze(-1).exp()
    return [
        _spans(labels[: int(length)], scores)
        for labels, scores, length in zip(path.tolist(), chosen.tolist(), mask.sum(1).tolist(), strict=True)
    ]


def _viterbi(scores: Tensor, mask: Tensor) -> Tensor:
    """Best labels [B, W] under the constraint that label 2 + 2k follows only itself or 1 + 2k."""
    size, words, labels = scores.shape
    inside = torch.arange(2, labels, 2)
    best = scores[:, 0].clone()
    best[:, inside] = _NEVER
    back = torch.zeros((words, size, labels), dtype=torch.long)
    same = torch.arange(labels).expand(size, labels)
    for word in range(1, words):
        top, origin = best.max(dim=-1, keepdim=True)
        arrive, source = top.expand(-1, labels).clone(), origin.expand(-1, labels).clone()
        begin, carry = best[:, inside - 1], best[:, inside]
        arrive[:, inside] = torch.maximum(begin, carry)
        source[:, inside] = torch.where(begin >= carry, inside - 1, inside)
        real = mask[:, word].unsqueeze(-1)
        best = torch.where(real, arrive + scores[:, word], best)
        back[word] = torch.where(real, source, same)
    path = torch.zeros((size, words), dtype=torch.long)
    label = best.argmax(dim=-1)
    for word in range(words - 1, -1, -1):
        path[:, word] = label
        label = back[word].gather(-1, label.unsqueeze(-1)).squeeze(-1)
    return path


def _spans(labels: list[int], scores: list[float]) -> list[tuple[WordSpan, float]]:
    found: list[tuple[WordSpan, float]] = []
    start = 0
    for word, label in enumerate([*labels, 0]):
        previous = labels[word - 1] if word else 0
        goes_on = label > 0 and label % 2 == 0
        if previous > 0 and not goes_on:
            found.append((((previous - 1) // 2, start, word), min(scores[start:word])))
        if label % 2 == 1:
            start = word
    return found

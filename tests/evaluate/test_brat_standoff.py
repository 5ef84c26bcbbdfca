"""Brat standoff: what is read, what is written, what is refused."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.documents.brat import format_ann, parse_ann, read_folder
from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.types import ALLOWED_PAIRS, MENTION_LABELS, MODIFIER_LABELS, Document, Mention, Modifier, Note, Span

TEXT = "No fever or cough.\r\nLasix 40 mg daily, µ-blocker."


def span(words, text=TEXT):
    start = text.index(words)
    return Span(start, start + len(words))


def line(key, label, words, text=TEXT):
    found = span(words, text)
    return f"{key}\t{label} {found.start} {found.end}\t{words}\n"


ANN = (
    line("T1", "problem", "fever")
    + line("T2", "problem", "cough")
    + line("T3", "negation", "No")
    + line("T4", "drug", "Lasix")
    + line("T5", "strength", "40 mg")
    + line("T6", "temporal", "daily")
    + "R1\thasAttr Arg1:T1 Arg2:T3\nR2\thasAttr Arg1:T2 Arg2:T3\nR3\thasAttr Arg1:T4 Arg2:T5\n"
)


def test_a_modifier_stands_in_every_mention_that_it_is_linked_to():
    document = parse_ann(ANN, Note("n", TEXT))
    no = Modifier("negation", span("No"))
    assert document.mentions == (
        Mention("problem", span("fever"), (no,)),
        Mention("problem", span("cough"), (no,)),
        Mention("drug", span("Lasix"), (Modifier("strength", span("40 mg")),)),
    )
    assert document.unlinked == (Modifier("temporal", span("daily")),)
    assert document.model is None


def test_links_may_stand_before_the_lines_they_name_and_either_way_round():
    ann = "R1\thasAttr Arg1:T2 Arg2:T1\n" + line("T1", "problem", "fever") + line("T2", "negation", "No")
    (mention,) = parse_ann(ann, Note("n", TEXT)).mentions
    assert mention.modifiers == (Modifier("negation", span("No")),)


def test_links_that_the_guideline_does_not_allow_are_dropped_and_counted():
    ann = ANN + "R4\thasAttr Arg1:T1 Arg2:T5\nR5\thasAttr Arg1:T1 Arg2:T2\nR6\thasAttr Arg1:T3 Arg2:T6\n"
    dropped = Counter()
    assert parse_ann(ann, Note("n", TEXT), dropped=dropped) == parse_ann(ANN, Note("n", TEXT))
    assert dropped == {"problem-strength": 1, "problem-problem": 1, "temporal-negation": 1}


def test_a_modifier_whose_only_link_is_dropped_is_unlinked():
    ann = line("T1", "treatment", "cough") + line("T2", "severity", "No") + "R1\thasAttr Arg1:T1 Arg2:T2\n"
    document = parse_ann(ann, Note("n", TEXT))
    assert document.mentions[0].modifiers == ()
    assert document.unlinked == (Modifier("severity", span("No")),)


def test_of_a_span_in_pieces_the_whole_extent_is_taken():
    (mention,) = parse_ann("T1\tproblem 3 8;12 17\tfever cough\n", Note("n", TEXT)).mentions
    assert mention.span.of(TEXT) == "fever or cough"


def test_equal_lines_count_once_and_share_their_links():
    ann = ANN + line("T7", "drug", "Lasix") + "R4\thasAttr Arg1:T7 Arg2:T6\n"
    *_, lasix = parse_ann(ann, Note("n", TEXT)).mentions
    assert [held.label for held in lasix.modifiers] == ["strength", "temporal"]


def test_dos_line_ends_and_other_annotations_in_the_ann_file_are_passed_over():
    ann = ANN + "\n#1\tAnnotatorNotes T1\tsure?\nA1\tCertain T1\nE1\tproblem:T1\n*\tEquiv T1 T2\n"
    assert parse_ann(ann.replace("\n", "\r\n"), Note("n", TEXT)) == parse_ann(ANN, Note("n", TEXT))


@pytest.mark.parametrize(
    ("ann", "says"),
    [
        ("T1 problem 3 8\tfever\n", "line 1 is malformed"),
        (ANN + "nonsense\n", "line 10 is malformed"),
        (ANN + "And so on\n", "line 10 is malformed"),
        ("T1\tproblem 3 x\tfever\n", "line 1 is malformed"),
        ("\nT1\tdisease 3 8\tfever\n", "line 2: the label disease is unknown: use problem, test"),
        ("T1\tproblem 3 800\tfever\n", "line 1: the span 3 800 is not inside the text of 49 characters"),
        ("T1\tproblem 8 8\t\n", "line 1: the span 8 8"),
        ("T1\tproblem 8 3\t\n", "line 1: the span 8 3"),
        ("T1\tproblem 3 8\tfever\nT1\tproblem 3 8\tfever\n", "line 2: T1 stands there twice"),
        (ANN + "R9\thasAttr Arg1:T1 Arg2:T99\n", "line 10: the link names T99"),
        (ANN + "R9\tmodifies Arg1:T1 Arg2:T3\n", "line 10: the link modifies is unknown: use hasAttr"),
        (ANN + "R9\thasAttr T1 T3\n", "line 10 is malformed"),
    ],
)
def test_errors_name_file_and_line_and_hold_no_note_text(ann, says):
    with pytest.raises(InputError) as caught:
        parse_ann(ann, Note("n", TEXT), name="folder/n.ann")
    assert str(caught.value).startswith("folder/n.ann, line ")
    assert says in str(caught.value)
    assert "fever" not in str(caught.value)


def test_format_writes_one_line_for_each_span_and_each_link():
    document = parse_ann(ANN, Note("n", TEXT))
    assert format_ann(document) == (
        "T1\tnegation 0 2\tNo\n"
        "T2\tproblem 3 8\tfever\n"
        "T3\tproblem 12 17\tcough\n"
        "T4\tdrug 20 25\tLasix\n"
        "T5\tstrength 26 31\t40 mg\n"
        "T6\ttemporal 32 37\tdaily\n"
        "R1\thasAttr Arg1:T2 Arg2:T1\n"
        "R2\thasAttr Arg1:T3 Arg2:T1\n"
        "R3\thasAttr Arg1:T4 Arg2:T5\n"
    )


def test_line_ends_and_tabs_inside_a_span_are_spaces_in_its_line():
    text = "chest\r\n\tpain"
    document = Document(Note("n", text), (Mention("problem", Span(0, len(text))),))
    assert format_ann(document) == "T1\tproblem 0 12\tchest   pain\n"
    assert parse_ann(format_ann(document), document.note).mentions == document.mentions


def test_a_document_without_anything_is_an_empty_file():
    note = Note("n", TEXT)
    assert format_ann(Document(note, ())) == ""
    assert parse_ann("", note) == Document(note, ())


@st.composite
def documents(draw):
    """Documents as the program makes them: distinct mentions, allowed links, nothing both linked and unlinked."""
    text = draw(st.text(min_size=1, max_size=40))
    spans = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))).map(
        lambda ends: Span(ends[0], max(ends[0] + 1, ends[1]))
    )
    keys = draw(st.sets(st.tuples(spans, st.sampled_from(list(ALLOWED_PAIRS))), max_size=6))
    mentions = []
    for where, label in sorted(keys, key=lambda key: (key[0], MENTION_LABELS.index(key[1]))):
        allowed = sorted(ALLOWED_PAIRS[label])
        held = draw(st.sets(st.builds(Modifier, st.sampled_from(allowed), spans), max_size=4))
        mentions.append(Mention(label, where, in_order(held)))
    linked = {held for mention in mentions for held in mention.modifiers}
    free = draw(st.sets(st.builds(Modifier, st.sampled_from(MODIFIER_LABELS), spans), max_size=4)) - linked
    return Document(Note("n", text), tuple(mentions), None, in_order(free))


def in_order(modifiers):
    return tuple(sorted(modifiers, key=lambda found: (found.span, MODIFIER_LABELS.index(found.label))))


@given(documents())
def test_what_is_written_is_read_back(document):
    assert parse_ann(format_ann(document), document.note) == document


def write(folder, name, text, ann):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(ann.encode())


def test_a_folder_is_read_by_name_and_line_ends_stay(tmp_path):
    write(tmp_path, "b", TEXT, ANN)
    write(tmp_path, "a.1", "\ufefffever\r", "\ufeffT1\tproblem 1 6\tfever\n")
    (tmp_path / "._b.ann").write_bytes(b"\x00\x05")
    (tmp_path / "readme.txt").write_text("no document")
    first, second = read_folder(tmp_path)
    assert (first.note.id, first.note.text) == ("a.1", "\ufefffever\r")
    assert first.mentions[0].span.of(first.note.text) == "fever"
    assert (second.note.id, second.note.text) == ("b", TEXT)
    assert second.mentions[2].span.of(TEXT) == "Lasix"
    assert [document.note.id for document in read_folder(tmp_path, only=frozenset({"b"}))] == ["b"]


def test_what_a_folder_can_lack(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        list(read_folder(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"holds no \.ann files"):
        list(read_folder(tmp_path))
    write(tmp_path, "a", TEXT, ANN)
    with pytest.raises(UsageError, match=r"lacks c\.ann"):
        list(read_folder(tmp_path, only=frozenset({"a", "c"})))
    (tmp_path / "b.ann").write_text("")
    with pytest.raises(UsageError, match=r"b\.ann has no b\.txt beside it"):
        list(read_folder(tmp_path))


def test_a_file_in_another_encoding_is_named(tmp_path):
    write(tmp_path, "a", TEXT, ANN)
    (tmp_path / "a.txt").write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.txt is not UTF-8 \(byte 39\)"):
        list(read_folder(tmp_path))


def test_a_malformed_line_in_a_folder_names_the_file(tmp_path):
    write(tmp_path, "a", TEXT, "T1\tproblem 3 8\tfever\nT2\n")
    with pytest.raises(InputError, match=r"a\.ann, line 2 is malformed"):
        list(read_folder(tmp_path))

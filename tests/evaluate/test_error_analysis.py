"""Error analysis: an example of every class, odd overlaps, and counts that agree with the scores."""

import json
import re
from collections import Counter
from io import StringIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from kiwi_fhir.cli.commands import app
from kiwi_fhir.documents.jsonl import format_line
from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate import score
from kiwi_fhir.evaluate.counts import LEVELS, TYPES
from kiwi_fhir.evaluate.errors import (
    CLASSES,
    LONGEST_CONTEXT,
    Analysis,
    Error,
    Item,
    error_lines,
    find_errors,
    note_style,
)
from kiwi_fhir.evaluate.tables import error_tables
from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS, Document, Mention, Modifier, Note, Span

TEXT = "No severe fever at night , chills ; aspirin 81 mg daily ."


def span(words, text=TEXT):
    start = text.index(words)
    return Span(start, start + len(words))


def mention(label, words, *modifiers):
    return Mention(label, span(words), modifiers)


def modifier(label, words):
    return Modifier(label, span(words))


def document(*mentions, unlinked=(), name="a", text=TEXT):
    return Document(Note(name, text), mentions, None, tuple(unlinked))


def found(gold, predicted, level):
    """`(class, words in gold, predicted words)` of each error of a level."""

    def words(item):
        return item and "|".join(one.of(TEXT) for one in item.spans)

    analysis = find_errors([gold], [predicted] if predicted else [])
    return [
        (error.kind, words(error.gold), words(error.predicted)) for error in analysis.errors if error.level == level
    ]


NO = modifier("negation", "No")
SEVERE = modifier("severity", "severe")


@pytest.mark.parametrize(
    ("gold", "predicted", "errors"),
    [
        ([mention("problem", "severe fever")], [mention("problem", "severe fever")], []),
        (
            [mention("problem", "severe fever")],
            [mention("problem", "fever")],
            [("boundary", "severe fever", "fever")],
        ),
        ([mention("drug", "aspirin")], [mention("treatment", "aspirin")], [("type", "aspirin", "aspirin")]),
        (
            [mention("problem", "severe fever")],
            [mention("test", "fever at night")],
            [("both", "severe fever", "fever at night")],
        ),
        ([mention("problem", "chills")], [], [("missed", "chills", None)]),
        ([], [mention("problem", "night")], [("spurious", None, "night")]),
        # Spans that only touch do not overlap.
        (
            [mention("problem", "severe ")],
            [mention("problem", "fever")],
            [("missed", "severe ", None), ("spurious", None, "fever")],
        ),
        # One long for two short: one pair, the longer overlap, the other is missed.
        (
            [mention("problem", "severe fever"), mention("problem", "night")],
            [mention("problem", "severe fever at night")],
            [("boundary", "severe fever", "severe fever at night"), ("missed", "night", None)],
        ),
        # Two short for one long.
        (
            [mention("problem", "severe fever at night")],
            [mention("problem", "severe"), mention("problem", "night")],
            [("boundary", "severe fever at night", "severe"), ("spurious", None, "night")],
        ),
        # What is exactly right is never taken apart, though two relaxed matches could be had.
        (
            [mention("problem", "severe fever"), mention("problem", "fever at night")],
            [mention("problem", "severe fever"), mention("problem", "severe")],
            [("spurious", None, "severe"), ("missed", "fever at night", None)],
        ),
        # The right type comes before the right span.
        (
            [mention("problem", "severe fever")],
            [mention("test", "severe fever"), mention("problem", "fever")],
            [("spurious", None, "severe fever"), ("boundary", "severe fever", "fever")],
        ),
        # A pair gives way where that makes two.
        (
            [mention("problem", "severe fever at"), mention("problem", "fever at night")],
            [mention("problem", "fever at"), mention("problem", "severe")],
            [("boundary", "severe fever at", "severe"), ("boundary", "fever at night", "fever at")],
        ),
        # The same twice is one.
        ([mention("problem", "chills"), mention("problem", "chills", NO)], [], [("missed", "chills", None)]),
    ],
)
def test_classes_of_mentions(gold, predicted, errors):
    assert sorted(found(document(*gold), document(*predicted), "mentions"), key=repr) == sorted(errors, key=repr)


@pytest.mark.parametrize(
    ("gold", "predicted", "errors"),
    [
        ([NO, SEVERE], [NO, SEVERE], []),
        ([NO], [], [("missed", "No", None)]),
        ([], [SEVERE], [("spurious", None, "severe")]),
        ([NO], [modifier("uncertain", "No")], [("type", "No", "No")]),
        ([modifier("strength", "81 mg")], [modifier("strength", "81")], [("boundary", "81 mg", "81")]),
        ([modifier("strength", "81 mg")], [modifier("dosage", "81")], [("both", "81 mg", "81")]),
    ],
)
def test_classes_of_modifiers_whether_linked_or_not(gold, predicted, errors):
    linked = document(mention("problem", "fever", *gold)), document(mention("problem", "fever", *predicted))
    assert found(*linked, "modifiers") == errors
    assert found(document(unlinked=gold), linked[1], "modifiers") == errors
    assert found(linked[0], document(unlinked=predicted), "modifiers") == errors


FEVER, CHILLS = "severe fever", "chills"


@pytest.mark.parametrize(
    ("gold", "predicted", "errors"),
    [
        ([mention("problem", FEVER, NO)], [mention("problem", FEVER, NO)], []),
        (
            [mention("problem", FEVER, NO)],
            [mention("problem", "fever", NO)],
            [("boundary", "severe fever|No", "fever|No")],
        ),
        (
            [mention("problem", FEVER, NO)],
            [mention("test", FEVER, NO)],
            [("type", "severe fever|No", "severe fever|No")],
        ),
        ([mention("problem", FEVER, NO)], [mention("test", "fever", NO)], [("both", "severe fever|No", "fever|No")]),
        (
            [mention("problem", FEVER, NO), mention("problem", CHILLS)],
            [mention("problem", FEVER), mention("problem", CHILLS, NO)],
            [("wrong", "severe fever|No", "chills|No")],
        ),
        # A negation that is shared and was given to one only is missed for the other, not wrong.
        (
            [mention("problem", FEVER, NO), mention("problem", CHILLS, NO)],
            [mention("problem", FEVER, NO), mention("problem", CHILLS)],
            [("missed", "chills|No", None)],
        ),
        (
            [mention("problem", FEVER, NO), mention("problem", CHILLS)],
            [mention("problem", FEVER, NO), mention("problem", CHILLS, NO)],
            [("spurious", None, "chills|No")],
        ),
        ([mention("problem", FEVER, NO)], [mention("problem", FEVER)], [("missed_end", "severe fever|No", None)]),
        ([mention("problem", FEVER, NO)], [], [("missed_end", "severe fever|No", None)]),
        ([mention("problem", FEVER)], [mention("problem", FEVER, NO)], [("spurious_end", None, "severe fever|No")]),
        # Links that the guideline does not pair are no items.
        ([mention("treatment", FEVER, SEVERE)], [], []),
    ],
)
def test_classes_of_links(gold, predicted, errors):
    assert found(document(*gold), document(*predicted), "links") == errors


def test_of_a_note_without_prediction_all_is_missed():
    gold = document(mention("problem", FEVER, NO))
    kinds = {level: [kind for kind, *_ in found(gold, None, level)] for level in LEVELS}
    assert kinds == {"mentions": ["missed"], "modifiers": ["missed"], "links": ["missed_end"]}


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("Normal ; negative .", "pre-tokenised"),
        ("Normal; negative.", "raw"),
        ("Normal; negative .", "pre-tokenised"),
        ("Normal; negative. Well .", "raw"),
        ("pH 7.4 at 10:30 .", "pre-tokenised"),
        ("pH 7.4 at 10:30", "raw"),
        ("", "raw"),
        ("; at the start", "raw"),
        ("A line\n. and a mark at its start, no more", "raw"),
        ("Tab\t, and a tab", "pre-tokenised"),
        ("Well ...\r\n", "raw"),
    ],
)
def test_the_style_is_that_of_most_marks(text, style):
    assert note_style(text) == style


def test_lines_are_plain_sorted_and_hold_the_words():
    gold = document(mention("problem", FEVER, NO), mention("drug", "aspirin"))
    guess = document(mention("problem", FEVER), mention("treatment", "aspirin"))
    lines = list(error_lines(find_errors([gold], [guess]).errors))
    rows = [json.loads(line) for line in lines]
    assert [(row["level"], row["class"], row["type"]) for row in rows] == [
        ("mentions", "type", "drug"),
        ("modifiers", "missed", "negation"),
        ("links", "missed_end", "problem-negation"),
    ]
    assert all(list(row) == sorted(row) and row["note"] == "a" and row["style"] == "pre-tokenised" for row in rows)
    assert rows[0]["gold"] == [{"label": "drug", "start": 36, "end": 43, "words": "aspirin"}]
    assert rows[0]["predicted"] == [{"label": "treatment", "start": 36, "end": 43, "words": "aspirin"}]
    assert rows[0]["context"] == TEXT
    assert rows[2]["gold"][1] == {"label": "negation", "start": 0, "end": 2, "words": "No"}
    assert rows[2]["predicted"] is None


def test_a_context_is_short_however_far_the_ends_of_a_link_are_apart():
    text = "No " + "word " * 400 + "fever" + " more" * 100
    far = Mention("problem", span("fever", text), (Modifier("negation", Span(0, 2)),))
    rows = [json.loads(line) for line in error_lines(find_errors([document(far, text=text)], []).errors)]
    contexts = {row["level"]: row["context"] for row in rows}
    assert contexts["links"].startswith("No word")
    assert "fever more" in contexts["links"]
    assert len(contexts["links"]) == LONGEST_CONTEXT + 3
    assert len(contexts["mentions"]) == 2 * 40 + 5


spans = st.tuples(st.integers(0, 14), st.integers(1, 6)).map(lambda drawn: Span(drawn[0], drawn[0] + drawn[1]))
modifiers = st.builds(Modifier, st.sampled_from(MODIFIER_LABELS[:3]), spans)
mentions = st.builds(Mention, st.sampled_from(MENTION_LABELS), spans, st.lists(modifiers, max_size=3).map(tuple))
documents = st.builds(
    lambda found, others: document(*found, unlinked=others),
    st.lists(mentions, max_size=5),
    st.lists(modifiers, max_size=3),
)


@given(documents, documents)
@example(document(mention("problem", FEVER, NO)), document())
def test_counts_agree_with_the_scores(gold, predicted):
    report = score([gold], [predicted], samples=0)
    analysis = find_errors([gold], [predicted])
    for level in LEVELS:
        kinds = Counter(error.kind for error in analysis.errors if error.level == level)
        exact, relaxed = report.row(level, "exact"), report.row(level, "relaxed")
        paired = kinds["boundary"] + kinds["type"] + kinds["both"] + kinds["wrong"]
        assert exact.gold - exact.matched == paired + kinds["missed"] + kinds["missed_end"]
        assert exact.predicted - exact.matched == paired + kinds["spurious"] + kinds["spurious_end"]
        assert exact.matched + kinds["boundary"] <= relaxed.matched
        if exact.matched == 0:
            assert kinds["boundary"] == relaxed.matched
        assert level == "links" or not kinds["wrong"] + kinds["missed_end"] + kinds["spurious_end"]
        for given_, total in ((analysis.gold, exact.gold), (analysis.predicted, exact.predicted)):
            assert sum(given_[key] for key in given_ if key[0] == level) == total
        for name in TYPES[level]:
            row = report.row(level, "exact", name)
            own = [error for error in analysis.errors if (error.level, error.type) == (level, name)]
            assert sum(error.gold is not None for error in own) == row.gold - row.matched


@given(documents, documents)
def test_every_item_stands_in_one_error_and_pairs_are_what_they_are_called(gold, predicted):
    errors = find_errors([gold], [predicted]).errors
    for level in LEVELS:
        for side in ("gold", "predicted"):
            items = [item for error in errors if error.level == level and (item := getattr(error, side))]
            assert len(items) == len(set(items))
    for error in errors:
        one, other = error.gold, error.predicted
        if error.kind == "boundary":
            assert one.type == other.type
            assert one.spans != other.spans
        elif error.kind == "type":
            assert one.type != other.type
            assert one.spans == other.spans
        elif error.kind == "both":
            assert one.type != other.type
            assert one.spans != other.spans
        elif error.kind == "wrong":
            assert one.type.split("-")[1] == other.type.split("-")[1]
        else:
            assert (one is None) != (other is None)


@given(documents, documents)
def test_the_order_of_what_was_found_changes_nothing(gold, predicted):
    turned = [Document(one.note, one.mentions[::-1], one.model, one.unlinked[::-1]) for one in (gold, predicted)]
    assert find_errors([gold], [predicted]) == find_errors([turned[0]], [turned[1]])


def rendered(analysis):
    console = Console(width=80, file=StringIO())
    for part in error_tables(analysis):
        console.print(part)
    return console.file.getvalue()


def everything(level, count=3):
    """Errors of every class and type of a level, `count` of each."""
    item = {name: Item(name, (Span(0, 2), Span(3, 5))[: 1 + (level == "links")]) for name in TYPES[level]}
    kinds = [kind for kind in CLASSES if level == "links" or kind not in ("wrong", "missed_end", "spurious_end")]
    return [
        Error(level, kind, Note("a", TEXT), style, item[name], None)
        for kind in kinds
        for name in TYPES[level]
        for style in ("raw", "pre-tokenised")
        for _ in range(count)
    ]


def test_tables_fit_80_columns_and_hold_no_words():
    counts = {(level, style): 12345 for level in LEVELS for style in ("raw", "pre-tokenised")}
    errors = tuple(error for level in LEVELS for error in everything(level, 60))
    shown = rendered(Analysis(errors, {"raw": 1000, "pre-tokenised": 234}, counts, counts, counts))
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["boundary", "480", "20%", "240", "20%", "240", "20%"] in lines
    assert ["gold", "24690", "12345", "12345"] in lines
    assert ["problem-negation", *["120"] * 8, "960"] in lines


def test_tables_of_nothing_can_be_drawn():
    shown = rendered(find_errors([document(mention("problem", FEVER))], [document(mention("problem", FEVER))]))
    assert ["errors", "0", "–", "0", "–", "0", "–"] in [line.split() for line in shown.splitlines()]
    assert "1 notes" in shown


@pytest.fixture
def folders(tmp_path):
    gold = tmp_path / "gold"
    gold.mkdir()
    for name in ("b", "a"):
        (gold / f"{name}.txt").write_text(TEXT)
        (gold / f"{name}.ann").write_text(
            "T1\tnegation 0 2\tNo\nT2\tproblem 3 15\tsevere fever\nT3\tproblem 27 33\tchills\n"
            "R1\thasAttr Arg1:T2 Arg2:T1\nR2\thasAttr Arg1:T3 Arg2:T1\n"
        )
    no = Modifier("negation", Span(0, 2), score=0.9, link=0.8)
    guesses = [
        document(Mention("problem", Span(10, 15), (no,), 0.9), Mention("problem", Span(27, 33), (no,), 0.8), name=name)
        for name in ("a", "b")
    ]
    (tmp_path / "p.jsonl").write_bytes(b"".join(map(format_line, guesses)))
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_writes_errors_and_prints_counts(folders):
    gold, errors = folders / "gold", folders / "e.jsonl"
    result = call("evaluate", gold, folders / "p.jsonl", "--errors", errors, "--json", folders / "s.json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [(row["note"], row["level"], row["class"]) for row in rows] == [
        (name, level, "boundary") for name in ("a", "b") for level in ("mentions", "links")
    ]
    assert "Links: errors by type" in result.output
    assert not set(result.output.split()) & {"fever", "chills", "aspirin"}
    scores = json.loads((folders / "s.json").read_text())
    assert scores["calibration"]["mentions"]["count"] == 4
    links = scores["calibration"]["links"]
    assert (links["count"], links["ece"]) == (2, pytest.approx(0.2))
    predicted = {row["min_score"]: row["mentions"]["exact"]["predicted"] for row in scores["curve"]}
    assert (predicted[0.0], predicted[0.85], predicted[0.95]) == (4, 2, 0)
    assert "Reliability" in result.output


def test_brat_folders_have_no_scores_to_calibrate(folders):
    gold = folders / "gold"
    result = call("evaluate", gold, gold, "--json", folders / "s.json", "--errors", folders / "e.jsonl")
    assert result.exit_code == 0, result.output
    assert "Reliability" not in result.output
    assert not {"calibration", "curve"} & set(json.loads((folders / "s.json").read_text()))
    assert (folders / "e.jsonl").read_bytes() == b""


def test_a_model_without_scores_is_told_and_calibrates_nothing(folders):
    silent = document(Mention("problem", Span(27, 33), (Modifier("negation", Span(0, 2)),)), name="a")
    (folders / "silent.jsonl").write_bytes(format_line(silent))
    result = call("evaluate", folders / "gold", folders / "silent.jsonl", "--json", folders / "s.json")
    assert result.exit_code == 0, result.output
    assert "The model states no scores" in result.output
    assert "Reliability" not in result.output
    assert not {"calibration", "curve"} & set(json.loads((folders / "s.json").read_text()))


def test_what_can_not_be_compared_is_told(folders, tmp_path):
    for predicted, only, says in (
        ("q.jsonl", None, "does not exist"),
        ("r.jsonl", None, "holds the note z"),
        ("p.jsonl", "z", r"lacks z\.ann"),
    ):
        (tmp_path / "r.jsonl").write_bytes(format_line(document(name="z")))
        (tmp_path / "only.txt").write_text(only or "")
        more = ["--only", tmp_path / "only.txt"] if only else []
        result = call("evaluate", folders / "gold", tmp_path / predicted, *more)
        assert isinstance(result.exception, UsageError)
        assert re.search(says, str(result.exception))

"""JSON lines: what is written is read again, and what can't be read is told without a word of it."""

import json
from dataclasses import replace

import pytest

from kiwi_fhir.documents.jsonl import format_line, read_lines
from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.types import Document, Mention, ModelId, Modifier, Note, Span

NOTE = Note("a", "No fever at night.")
NO = Modifier("negation", Span(0, 2), score=0.9, link=0.8)
FOUND = Document(
    NOTE,
    (
        Mention("problem", Span(3, 8), (NO,), score=0.75, section="history"),
        Mention("test", Span(9, 11), rule=True),
    ),
    ModelId("m", "1", "c0ffee"),
    (Modifier("temporal", Span(9, 17), rule=True),),
)


def lines(tmp_path, *content):
    path = tmp_path / "mentions.jsonl"
    path.write_bytes(b"".join(content))
    return path


def changed(**values):
    return json.dumps({**json.loads(format_line(FOUND)), **values}).encode() + b"\n"


def test_what_was_written_is_read(tmp_path):
    assert list(read_lines(lines(tmp_path, format_line(FOUND)), {"a": NOTE})) == [FOUND]
    assert NOTE.text.encode() not in format_line(FOUND)


def test_each_span_has_its_words_and_is_read_without_them(tmp_path):
    row = json.loads(format_line(FOUND))
    fever, at = row["mentions"]
    assert [fever["text"], fever["modifiers"][0]["text"], at["text"]] == ["fever", "No", "at"]
    assert [found["text"] for found in row["unlinked"]] == ["at night"]
    for found in (fever, *fever["modifiers"], at, *row["unlinked"]):
        del found["text"]
    assert list(read_lines(lines(tmp_path, json.dumps(row).encode() + b"\n"), {"a": NOTE})) == [FOUND]


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (ModelId("kiwi-minilm", "0.4.0", "c0ffee00"), "kiwi-minilm-0.4.0-c0ffee00"),
        (ModelId("kiwi-1.0", "rc1", "c0ffee00"), "kiwi-1.0-rc1-c0ffee00"),
        (ModelId("kiwi", "1.0-rc1", "c0ffee00"), "kiwi-1.0%2Drc1-c0ffee00"),
        (ModelId("-", "%2D-%", ""), "--%252D%2D%25-"),
        (None, None),
    ],
)
def test_a_model_is_read_back_whatever_its_name_and_version(tmp_path, model, text):
    found = replace(FOUND, model=model)
    line = format_line(found)
    assert json.loads(line)["model"] == text
    assert list(read_lines(lines(tmp_path, line), {"a": NOTE})) == [found]


def test_scores_that_nobody_said_are_null_and_read_back(tmp_path):
    silent = Document(NOTE, (Mention("problem", Span(3, 8), (Modifier("negation", Span(0, 2)),)),))
    line = format_line(silent)
    assert b"1.0" not in line
    (mention,) = json.loads(line)["mentions"]
    (held,) = mention["modifiers"]
    assert (mention["score"], held["score"], held["link"]) == (None, None, None)
    assert list(read_lines(lines(tmp_path, line), {"a": NOTE})) == [silent]


def test_a_list_of_names_narrows_it_and_other_notes_are_refused(tmp_path):
    path = lines(tmp_path, format_line(FOUND), changed(id="b"))
    assert list(read_lines(path, {"a": NOTE}, only=frozenset({"a"}))) == [FOUND]
    with pytest.raises(UsageError, match="holds the note b, which has no gold"):
        list(read_lines(path, {"a": NOTE}))


def test_another_text_is_told(tmp_path):
    with pytest.raises(InputError, match="line 1: the note a had 18 characters and has 19 now"):
        list(read_lines(lines(tmp_path, format_line(FOUND)), {"a": Note("a", NOTE.text + "\n")}))


@pytest.mark.parametrize(
    "line",
    [
        b"secret\n",
        b'["secret"]\n',
        b'{"id": "a"}\n',
        b'{"id": ["secret"]}\n',
        b"\n",
        changed(mentions=[{"label": "secret"}]),
        changed(mentions="secret"),
        changed(characters=4),
        changed(model="secret"),
        changed(unlinked=[{"label": "negation", "span": {"start": 3, "end": 3}, "score": 1, "link": 1, "rule": False}]),
        changed(unlinked=[{"label": "negation", "span": {"start": 0, "end": 2}, "score": "x", "link": 1, "rule": 0}]),
    ],
)
def test_a_line_that_is_none_is_named_not_quoted(tmp_path, line):
    path = lines(tmp_path, format_line(FOUND), line)
    with pytest.raises(InputError, match="line 2 is no line of `extract") as caught:
        list(read_lines(path, {"a": NOTE}))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__

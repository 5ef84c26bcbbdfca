"""Calibration: known answers, and a curve that agrees with the scores."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kiwi_fhir.evaluate import score
from kiwi_fhir.evaluate.calibration import THRESHOLDS, calibrate, curve, reliability, scored_items, to_json
from kiwi_fhir.evaluate.tables import calibration_table
from kiwi_fhir.types import Document, Mention, Modifier, Note, Span

NOTE = Note("a", "x" * 100)


def document(*mentions, unlinked=(), note=NOTE):
    return Document(note, mentions, None, tuple(unlinked))


def problem(start, end, *modifiers, score=1.0, rule=False):
    return Mention("problem", Span(start, end), modifiers, score=score, rule=rule)


def no(score=1.0, link=1.0, at=0, rule=False):
    return Modifier("negation", Span(at, at + 2), score=score, link=link, rule=rule)


def test_scores_that_are_right_have_no_error():
    found = reliability([(0.75, True)] * 3 + [(0.75, False)] + [(0.25, True)] + [(0.25, False)] * 3)
    assert found.error == 0.0
    assert (found.bins[7].count, found.bins[7].score, found.bins[7].right) == (4, 0.75, 0.75)
    assert (found.bins[2].count, found.bins[2].right) == (4, 0.25)
    assert sum(one.count for one in found.bins) == found.count == 8


def test_the_error_is_weighted_by_count():
    found = reliability([(0.9, True), (0.9, False), (0.9, False), (0.2, True)])
    assert found.error == pytest.approx((3 * (0.9 - 1 / 3) + 1 * 0.8) / 4)


@pytest.mark.parametrize(
    ("value", "place"), [(0.0, 0), (0.1, 1), (0.29, 2), (0.3, 3), (0.6, 6), (0.7, 7), (0.9999, 9), (1.0, 9)]
)
def test_a_score_on_an_edge_is_in_the_upper_bin(value, place):
    counts = [one.count for one in reliability([(value, True)]).bins]
    assert counts == [int(index == place) for index in range(10)]


def test_of_nothing_there_is_no_error():
    found = reliability([])
    assert found.error is None
    assert all((one.count, one.score, one.right) == (0, None, None) for one in found.bins)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans())))
def test_the_error_is_a_share_and_no_less_than_the_difference_of_the_means(scored):
    found = reliability(scored)
    assert found.count == len(scored)
    if scored:
        gap = abs(sum(value - truth for value, truth in scored)) / len(scored)
        assert gap - 1e-9 <= found.error <= 1 + 1e-9
    for one in found.bins:
        assert one.score is None or one.low - 1e-8 <= one.score <= one.high + 1e-8


def test_right_is_exact():
    gold = document(problem(5, 10, no()), problem(20, 30), Mention("drug", Span(40, 50)))
    guess = document(
        problem(5, 10, no(0.8, 0.7), score=0.9),
        problem(20, 31, score=0.6),
        Mention("treatment", Span(40, 50), score=0.5),
        unlinked=[no(0.3, at=60)],
    )
    assert scored_items(gold, guess) == {
        "mentions": [(0.9, True), (0.6, False), (0.5, False)],
        "modifiers": [(0.8, True), (0.3, False)],
        "links": [(0.7, True)],
    }


def test_links_count_where_both_ends_are_right():
    gold = document(problem(5, 10), problem(20, 30, no()))
    guess = document(problem(5, 10, no(link=0.6)), problem(20, 29, no(link=0.9)), problem(20, 30, no(at=60, link=0.8)))
    assert scored_items(gold, guess)["links"] == [(0.6, False)]


def test_what_stands_twice_counts_once_and_what_a_rule_found_does_not():
    gold = document(problem(5, 10, no()), problem(20, 30, no()))
    guess = document(
        problem(5, 10, no(0.8, 0.6), score=0.9),
        problem(5, 10, no(0.8, 0.7), score=0.7),
        problem(20, 30, no(rule=True), rule=True),
    )
    assert scored_items(gold, guess) == {
        "mentions": [(0.9, True)],
        "modifiers": [(0.8, True)],
        "links": [(0.7, True)],
    }


def corpus():
    notes = [Note(str(step), "x" * 100) for step in range(10)]
    gold = [document(problem(5, 10, no()), note=note) for note in notes]
    guesses = [
        document(
            problem(5, 10 + (step % 4 == 0), no(0.5 + step / 20, 0.8), score=0.1 * step),
            note=note,
        )
        for step, note in enumerate(notes)
    ]
    return gold, guesses


def test_calibration_is_over_all_notes_by_id_and_plain_as_json():
    gold, guesses = corpus()
    made = calibrate(gold[::-1], guesses)
    assert {level: found.count for level, found in made.items()} == {"mentions": 10, "modifiers": 10, "links": 7}
    plain = to_json(made)
    assert plain["links"]["ece"] == pytest.approx(0.2)
    assert plain["links"]["bins"][8] == {"low": 0.8, "high": 0.9, "count": 7, "score": pytest.approx(0.8), "right": 1.0}
    assert plain["mentions"]["bins"][4]["right"] == 0.0


def test_what_has_no_score_does_not_count():
    gold = document(problem(5, 10, no()), problem(20, 30))
    guess = document(problem(5, 10, no(None, None), score=None), problem(20, 30, score=0.5))
    assert scored_items(gold, guess) == {"mentions": [(0.5, True)], "modifiers": [], "links": []}
    silent = document(problem(5, 10, no(None, None), score=None))
    assert {level: found.count for level, found in calibrate([gold], [silent]).items()} == {
        "mentions": 0,
        "modifiers": 0,
        "links": 0,
    }


def test_the_curve_is_what_min_score_would_leave():
    gold, guesses = corpus()
    rows = {row["min_score"]: row for row in curve(gold, guesses)}
    assert tuple(rows) == THRESHOLDS
    whole = score(gold, guesses, samples=0).row("mentions", "exact")
    assert rows[0.0]["mentions"]["exact"] == {
        "predicted": 10,
        "precision": whole.precision.value,
        "recall": whole.recall.value,
        "f1": whole.f1.value,
    }
    # From .8 on: notes 8 and 9, whose negations have .9 and .95.
    found = rows[0.8]["mentions"]["exact"]
    assert (found["predicted"], found["precision"], found["recall"]) == (2, 0.5, 0.1)
    assert rows[0.8]["mentions"]["relaxed"]["precision"] == 1.0
    assert rows[0.99]["links"]["exact"] == {"predicted": 0, "precision": None, "recall": 0.0, "f1": 0.0}


def test_the_table_fits_80_columns():
    console = Console(width=80, file=StringIO())
    console.print(calibration_table(calibrate(*corpus())))
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    (row,) = [line.split() for line in shown.splitlines() if line.strip().startswith("0.8-0.9")]
    assert row == ["0.8-0.9", "1", "0.800", "0.000", "2", "0.825", "1.000", "7", "0.800", "1.000"]

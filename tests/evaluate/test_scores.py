"""Scores: worked examples by hand, maximum matching against brute force, intervals."""

import json
import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate import MICRO, score
from kiwi_fhir.evaluate.counts import LEVELS, MATCHES, TYPES, Link, match_links, match_spans, maximum_matching, overlap
from kiwi_fhir.types import Document, Mention, Modifier, Note, Span


def document(name, *mentions, unlinked=()):
    return Document(Note(name, "x" * 200), mentions, None, tuple(unlinked))


def problem(start, end, *modifiers):
    return Mention("problem", Span(start, end), modifiers)


NO = Modifier("negation", Span(0, 2))
SEVERE = Modifier("severity", Span(5, 11))

GOLD = document("a", problem(5, 20, NO, SEVERE), problem(30, 40, NO), Mention("drug", Span(50, 60)))


def counts(report, level, match, type_=MICRO):
    row = report.row(level, match, type_)
    return row.gold, row.predicted, row.matched


def test_the_types_are_those_of_the_guideline():
    assert {level: len(TYPES[level]) for level in LEVELS} == {"mentions": 4, "modifiers": 16, "links": 22}


def test_gold_against_itself_is_perfect():
    report = score([GOLD], [GOLD], samples=0)
    for level in LEVELS:
        for match in MATCHES:
            row = report.row(level, match)
            assert (row.precision.value, row.recall.value, row.f1.value) == (1.0, 1.0, 1.0)
            assert report.f1(level, match) == 1.0


def test_exact_needs_type_and_both_boundaries_and_relaxed_an_overlap():
    guess = document("a", problem(12, 20, NO), problem(29, 40), Mention("treatment", Span(50, 60)))
    report = score([GOLD], [guess], samples=0)
    assert counts(report, "mentions", "exact") == (3, 3, 0)
    assert counts(report, "mentions", "relaxed") == (3, 3, 2)
    assert counts(report, "mentions", "relaxed", "drug") == (1, 0, 0)
    assert counts(report, "mentions", "relaxed", "treatment") == (0, 1, 0)
    row = report.row("mentions", "relaxed")
    assert row.f1.value == pytest.approx(2 / 3)


def test_spans_that_only_touch_do_not_overlap():
    report = score([document("a", problem(5, 10))], [document("a", problem(10, 15))], samples=0)
    assert counts(report, "mentions", "relaxed") == (1, 1, 0)


def test_relaxed_matches_one_to_one():
    pieces = document("a", problem(5, 8), problem(9, 12), problem(13, 20))
    whole = document("a", problem(5, 20))
    assert counts(score([whole], [pieces], samples=0), "mentions", "relaxed") == (1, 3, 1)
    assert counts(score([pieces], [whole], samples=0), "mentions", "relaxed") == (3, 1, 1)


def test_modifiers_count_once_whether_linked_or_not():
    guess = document("a", problem(5, 20), problem(30, 40), unlinked=[NO, SEVERE])
    report = score([GOLD], [guess], samples=0)
    assert counts(report, "modifiers", "exact") == (2, 2, 2)
    assert counts(report, "links", "exact") == (3, 0, 0)


def test_links_are_end_to_end():
    wrong_mention = document("a", problem(5, 19, NO, SEVERE), problem(30, 40, NO))
    report = score([GOLD], [wrong_mention], samples=0)
    assert counts(report, "links", "exact") == (3, 3, 1)
    assert counts(report, "links", "relaxed") == (3, 3, 3)
    assert counts(report, "links", "exact", "problem-negation") == (2, 2, 1)
    wrong_label = document("a", Mention("treatment", Span(5, 20), (NO,)), problem(30, 40, NO))
    report = score([GOLD], [wrong_label], samples=0)
    assert counts(report, "links", "relaxed") == (3, 2, 1)
    assert counts(report, "links", "relaxed", "treatment-negation") == (0, 1, 0)


def test_the_same_mention_twice_counts_once():
    twice = document(
        "a", problem(5, 20, NO), problem(5, 20, SEVERE), problem(30, 40, NO), Mention("drug", Span(50, 60))
    )
    report = score([GOLD], [twice], samples=0)
    assert counts(report, "mentions", "exact") == (3, 3, 3)
    assert counts(report, "links", "exact") == (3, 3, 3)


def test_what_can_not_be_counted_is_none():
    nothing = score([document("a")], [document("a")], samples=10)
    row = nothing.row("mentions", "exact")
    assert (row.precision.value, row.recall.value, row.f1.value) == (None, None, None)
    assert nothing.f1("mentions", "exact") == 0.0
    missed = score([GOLD], [document("a")], samples=0).row("mentions", "exact")
    assert (missed.precision.value, missed.recall.value, missed.f1.value) == (None, 0.0, 0.0)
    spurious = score([document("a")], [GOLD], samples=0).row("mentions", "exact")
    assert (spurious.precision.value, spurious.recall.value, spurious.f1.value) == (0.0, None, 0.0)
    assert score([], []).row("links", "relaxed").f1.value is None


def test_gold_notes_without_prediction_are_missed_and_named():
    other = document("b", problem(0, 5))
    report = score([GOLD, other], [GOLD], samples=0)
    assert report.missing == ("b",)
    assert counts(report, "mentions", "exact", "problem") == (3, 2, 2)


def test_notes_are_matched_by_id_not_by_order():
    other = document("b", problem(0, 5))
    assert score([GOLD, other], [other, GOLD], samples=0).f1("mentions", "exact") == 1.0


def test_predictions_without_gold_and_ids_that_occur_twice_are_errors():
    with pytest.raises(UsageError, match="predicted note b has no gold"):
        score([GOLD], [GOLD, document("b")])
    with pytest.raises(UsageError, match="gold note a occurs twice"):
        score([GOLD, GOLD], [])
    with pytest.raises(UsageError, match="predicted note a occurs twice"):
        score([GOLD], [GOLD, GOLD])


def test_links_that_the_guideline_does_not_allow_count_nowhere_but_are_told():
    odd = document("a", Mention("treatment", Span(0, 5), (SEVERE,)))
    report = score([odd], [odd], samples=0)
    assert counts(report, "links", "exact") == (0, 0, 0)
    assert counts(report, "modifiers", "exact") == (1, 1, 1)
    assert report.dropped == {"gold": 1, "predicted": 1}


def brute_force(neighbours):
    """The best of all ways to give every left node one of the right nodes, or none."""
    rights = sorted({right for row in neighbours for right in row})
    slots = [*rights, *([None] * len(neighbours))]
    return max(
        sum(right in row for row, right in zip(neighbours, chosen, strict=True))
        for chosen in permutations(slots, len(neighbours))
    )


@given(st.lists(st.lists(st.integers(0, 3), max_size=4, unique=True), max_size=4))
def test_the_matching_is_maximum(neighbours):
    pairs = maximum_matching(neighbours)
    assert len(pairs) == len(set(pairs.values())) == brute_force(neighbours)
    assert all(right in neighbours[left] for left, right in pairs.items())


spans = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda drawn: Span(drawn[0], drawn[0] + drawn[1]))


@given(st.sets(spans, max_size=4), st.sets(spans, max_size=4))
def test_the_matching_of_spans_is_maximum(gold, predicted):
    found = sorted(predicted)
    expected = brute_force([[at for at, guess in enumerate(found) if overlap(span, guess)] for span in gold])
    assert match_spans(gold, predicted) == expected == match_spans(predicted, gold)


links = st.builds(Link, spans, spans)


@given(st.sets(links, max_size=4), st.sets(links, max_size=4))
def test_the_matching_of_links_is_maximum(gold, predicted):
    found = sorted(predicted)
    expected = brute_force(
        [
            [
                at
                for at, guess in enumerate(found)
                if overlap(link.mention, guess.mention) and overlap(link.modifier, guess.modifier)
            ]
            for link in gold
        ]
    )
    assert match_links(gold, predicted) == expected
    assert len(gold & predicted) <= expected <= min(len(gold), len(predicted))


def test_a_long_chain_of_overlaps_is_no_problem():
    gold = [Span(10 * step, 10 * step + 11) for step in range(3000)]
    predicted = [Span(10 * step + 10, 10 * step + 21) for step in range(3000)]
    assert match_spans(gold, predicted) == 3000


def corpus():
    """Twenty notes, of which every fourth was missed and every fifth has a wrong boundary."""
    gold = [document(f"n{step}", problem(0, 5, NO), problem(10, 15 + step)) for step in range(20)]
    guesses = [
        document(f"n{step}", problem(0, 5 - (step % 5 == 0), NO), problem(10, 15 + step))
        for step in range(20)
        if step % 4
    ]
    return gold, guesses


def test_intervals_hold_the_score_and_repeat_with_the_seed():
    gold, guesses = corpus()
    report = score(gold, guesses, samples=200, seed=7)
    row = report.row("mentions", "exact")
    for value in (row.precision, row.recall, row.f1):
        low, high = value.interval
        assert 0 <= low < value.value < high <= 1
    assert report == score(gold, guesses, samples=200, seed=7)
    assert report != score(gold, guesses, samples=200, seed=8)
    assert row.f1.value == score(gold, guesses, samples=0).row("mentions", "exact").f1.value


def test_the_interval_is_that_of_a_share_of_notes():
    """Every note holds one mention, so recall is a mean of 100 coin flips and its interval known (binomial)."""
    gold = [document(str(step), problem(0, 5)) for step in range(100)]
    guesses = [document(str(step), problem(0, 5)) for step in range(80)]
    low, high = score(gold, guesses, samples=4000).row("mentions", "exact", "problem").recall.interval
    spread = 1.96 * math.sqrt(0.8 * 0.2 / 100)
    assert (low, high) == pytest.approx((0.8 - spread, 0.8 + spread), abs=0.015)


def test_blocks_of_samples_draw_as_many_as_were_asked_for(monkeypatch):
    monkeypatch.setattr("kiwi_fhir.evaluate.scores._CELLS", 20 * 7)
    gold, guesses = corpus()
    whole = score(gold, guesses, samples=50).row("mentions", "exact").f1.interval
    monkeypatch.undo()
    assert whole == score(gold, guesses, samples=50).row("mentions", "exact").f1.interval


def test_one_note_has_no_interval():
    report = score([GOLD], [GOLD])
    assert report.samples == 0
    assert all(row.f1.interval is None for row in report.rows)


def test_the_json_is_plain_and_whole():
    gold, guesses = corpus()
    made = score(gold, guesses, samples=50).to_json()
    assert json.loads(json.dumps(made)) == made
    assert set(made["scores"]) == set(LEVELS)
    assert set(made["scores"]["links"]["exact"]) == {MICRO, *TYPES["links"]}
    row = made["scores"]["mentions"]["exact"]["problem"]
    assert (row["gold"], row["predicted"], row["matched"]) == (40, 30, 27)
    assert row["precision"]["value"] == pytest.approx(0.9)
    assert row["f1"]["interval"][0] < row["f1"]["value"] < row["f1"]["interval"][1]
    assert made["scores"]["mentions"]["exact"]["drug"]["f1"] == {"value": None, "interval": None}
    assert made["notes_without_prediction"] == ["n0", "n12", "n16", "n4", "n8"]
    assert made["bootstrap"] == {"samples": 50, "seed": 0, "confidence": 0.95, "unit": "note"}

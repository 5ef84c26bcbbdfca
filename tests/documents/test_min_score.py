"""What `--min-score` leaves out, and that nothing left says more than the note."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.documents.min_score import WEAKENING, at_least
from kiwi_fhir.extract import extract
from kiwi_fhir.run.shards import extract_shard, map_shard
from kiwi_fhir.types import MODIFIER_LABELS, Document, Failure, Mention, ModelId, Modifier, Note, Result, Shard, Span
from kiwi_fhir.write.shards import write_shard
from kiwi_fhir.write.store import LocalStore

NOTE = Note("a", "No severe fever, chills or cough.")
NO = Modifier("negation", Span(0, 2), score=0.9)
SEVERE = Modifier("severity", Span(3, 9), score=0.4)


def fever(*modifiers, score=0.9, rule=False):
    return Mention("problem", Span(3, 15), modifiers, score=score, rule=rule)


def chills(*modifiers, score=0.9):
    return Mention("problem", Span(17, 23), modifiers, score=score)


def document(*mentions, unlinked=()):
    return Document(NOTE, mentions, None, tuple(unlinked))


def test_what_is_sure_enough_stays_and_a_threshold_is_inclusive():
    whole = document(fever(NO), chills(NO), unlinked=[SEVERE])
    assert at_least(whole, 0.0) is whole
    assert at_least(whole, 0.4) is whole
    assert at_least(whole, 0.5) == document(fever(NO), chills(NO))
    assert at_least(whole, 0.9).mentions == whole.mentions
    assert at_least(whole, 0.91) == replace(document(), left_out=2)


def test_a_modifier_goes_alone_and_its_mention_stays():
    left = at_least(document(fever(NO, SEVERE)), 0.5)
    assert left == document(fever(NO))
    assert left.left_out == 0


def test_a_mention_takes_its_modifiers_along_but_not_those_that_others_hold():
    left = at_least(document(fever(NO, replace(SEVERE, score=0.9), score=0.3), chills(NO)), 0.5)
    assert left == replace(document(chills(NO)), left_out=1)


@pytest.mark.parametrize("label", sorted(WEAKENING))
def test_a_statement_is_not_made_stronger(label):
    unsure = Modifier(label, Span(0, 2), score=0.4)
    assert at_least(document(fever(unsure), chills()), 0.5) == replace(document(chills()), left_out=1)


def test_gold_and_what_rules_found_stay():
    ruled = document(fever(replace(NO, score=0.0, rule=True), score=0.0, rule=True))
    assert at_least(ruled, 1.0) is ruled
    gold = document(Mention("problem", Span(3, 15), (Modifier("negation", Span(0, 2)),)))
    assert at_least(gold, 1.0) is gold


scores = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])
modifiers = st.builds(Modifier, st.sampled_from(MODIFIER_LABELS), st.just(Span(0, 2)), scores)
mentions = st.builds(
    Mention, st.just("problem"), st.just(Span(3, 15)), st.lists(modifiers, max_size=3).map(tuple), scores
)


@given(st.lists(mentions, max_size=4), st.lists(modifiers, max_size=2), scores, scores)
def test_thresholds_nest_and_every_mention_is_counted(found, others, low, high):
    whole = document(*found, unlinked=others)
    low, high = sorted((low, high))
    left = at_least(whole, high)
    assert left.left_out + len(left.mentions) == len(found)
    assert at_least(at_least(whole, low), high) == left
    assert at_least(left, high) is left
    assert all(one.score >= high for mention in left.mentions for one in (mention, *mention.modifiers))
    kept = [mention for mention in found if min([mention.score, *(held.score for held in weakening(mention))]) >= high]
    assert [weakening(mention) for mention in left.mentions] == [weakening(mention) for mention in kept]


def test_what_has_no_score_stays():
    silent = document(fever(Modifier("negation", Span(0, 2)), score=None), unlinked=(replace(SEVERE, score=None),))
    assert at_least(silent, 1.0) is silent


def weakening(mention):
    return [held for held in mention.modifiers if held.label in WEAKENING]


class Fake:
    """Finds what it was told to; a group of several notes does not fit its memory."""

    model = ModelId("m", "1")

    def __init__(self, found):
        self._found = found

    def predict(self, notes):
        if len(notes) > 1:
            raise MemoryError
        return [replace(self._found, note=note) for note in notes]


def test_it_is_applied_behind_any_extractor_also_when_a_group_was_halved():
    found = extract(Fake(document(fever(score=0.4), chills())), [NOTE, replace(NOTE, id="b")], min_score=0.5)
    assert [(one.note.id, one.mentions, one.left_out) for one in found] == [
        ("a", (chills(),), 1),
        ("b", (chills(),), 1),
    ]
    assert extract(Fake(document(fever(score=0.4))), [NOTE]) == [document(fever(score=0.4))]


def test_a_note_that_failed_whole_stays_a_failure():
    failure = Failure("a", "extract", "refused", "No answer.")
    assert extract(Fake(replace(document(), failures=(failure,))), [NOTE], min_score=0.5) == [failure]


def test_a_run_counts_what_was_left_out(tmp_path):
    shard = Shard("k", (NOTE, replace(NOTE, id="b")), (), "d", last=True)
    documents = extract_shard(Fake(document(fever(score=0.4), chills())), shard, 0.5)
    results = map_shard(lambda one: (Result(one, b"{}", {}, {"hypothetical": 1}), []), documents)
    entry = write_shard(LocalStore(str(tmp_path)), results, ("ndjson",), "f")
    assert entry.mentions == {"problem": 2}
    assert entry.not_mapped == {"hypothetical": 2, "below min_score": 2}

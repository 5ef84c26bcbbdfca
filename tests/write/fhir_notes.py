"""Documents of synthetic notes and their bundles, as the pipeline makes them, without the model."""

from kiwi_fhir.fhir import BundleWriter, ModelInfo, to_json
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.types import Document, Mention, ModelId, Modifier, Note, Result, Span

TEXT = "Sharp headache since Monday. No fever. Hemoglobin 9.20 g/dL. Takes aspirin 81 mg daily. Appendectomy in 2003."
SECRET = "Sharp headache"
FOUND = {
    "problem": ("headache", "fever"),
    "test": ("Hemoglobin",),
    "drug": ("aspirin",),
    "treatment": ("Appendectomy",),
}
MODIFIERS = {
    "fever": (("negation", "No"),),
    "Hemoglobin": (("labvalue", "9.20 g/dL"),),
    "aspirin": (("strength", "81 mg"), ("frequency", "daily")),
    "Appendectomy": (("temporal", "in 2003"),),
}
_NORMALIZER = Normalizer()


def _span(words):
    start = TEXT.index(words)
    return Span(start, start + len(words))


def document(name, labels=("problem", "test", "drug", "treatment"), source=None, text=TEXT):
    """A note with its mentions of the labels given."""
    mentions = [
        Mention(label, _span(words), tuple(Modifier(kind, _span(said)) for kind, said in MODIFIERS.get(words, ())))
        for label in labels
        for words in FOUND[label]
    ]
    mentions.sort(key=lambda mention: mention.span)
    source = source or f"DocumentReference/{name}"
    note = Note(name, text, patient_id=f"p-{name}", time="2024-03-05", source=source)
    return Document(note, tuple(mentions))


def result(found, version="1"):
    """What a model of this version makes of a document."""
    writer = BundleWriter(ModelInfo(ModelId("test", version), "0.0"), recorded="2026-01-01T00:00:00Z")
    bundle, failures = writer.bundle(found, _NORMALIZER.facts(found))
    assert not failures
    return Result(found, to_json(bundle), {})


def results(prefix, count, version="1", **kind):
    return [result(document(f"{prefix}-{index}", **kind), version) for index in range(count)]

"""Processor milliseconds from a document with 40 mentions and 30 modifiers to the bytes of its bundle.

Run: python tests/benchmarks/facts_to_bundle.py
"""

from __future__ import annotations

import time
from statistics import median

from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_resource, to_json
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.types import Document, Mention, MentionLabel, ModelId, Modifier, ModifierLabel, Note, Span

SENTENCES: tuple[tuple[MentionLabel, str, tuple[tuple[ModifierLabel, str], ...], str], ...] = (
    ("problem", "chest pain", (("severity", "mild"), ("bodyloc", "chest")), "She has mild chest pain."),
    ("problem", "fever", (("negation", "denies"),), "The patient denies fever."),
    (
        "problem",
        "pneumonia",
        (("uncertain", "possible"), ("temporal", "03/02/2011")),
        "On 03/02/2011 possible pneumonia.",
    ),
    ("problem", "hypertension", (), "Hypertension, hypertension is as before."),
    ("test", "blood pressure", (("labvalue", "128/74"),), "Her blood pressure was 128/74."),
    ("test", "potassium", (("labvalue", "4.10 mmol/L"),), "The potassium was 4.10 mmol/L."),
    ("test", "Chest x-ray", (), "Chest x-ray was taken."),
    (
        "drug",
        "Metoprolol",
        (("strength", "25 mg"), ("route", "p.o."), ("frequency", "b.i.d.")),
        "Metoprolol 25 mg p.o. b.i.d. was given.",
    ),
    ("drug", "aspirin", (), "She takes aspirin."),
    ("treatment", "physical therapy", (("temporal", "2010"),), "She had physical therapy in 2010."),
)


def document(mentions: int = 40, modifiers: int = 30) -> Document:
    """A note of `mentions` mentions that share at most `modifiers` modifiers, with a date, a patient and sections."""
    text, found = "", []
    while len(found) < mentions:
        for label, words, tags, sentence in SENTENCES:
            start = len(text)
            text += sentence + "\n"
            linked = []
            for kind, said in tags:
                if modifiers == sum(len(item.modifiers) for item in found) + len(linked):
                    break
                at = text.index(said, start)
                linked.append(Modifier(kind, Span(at, at + len(said)), 0.91, 0.97))
            at = text.index(words, start)
            found.append(Mention(label, Span(at, at + len(words)), tuple(sorted(linked, key=_place)), 0.93))
    note = Note("n1", text, "p1", "e1", time="2011-03-05T08:00:00Z", source="DocumentReference/n1")
    return Document(note, tuple(found[:mentions]))


def _place(modifier: Modifier) -> Span:
    return modifier.span


def main(rounds: int = 400) -> None:
    """Print the median of each step."""
    normalizer = Normalizer()
    writer = BundleWriter(ModelInfo(ModelId("benchmark", "1"), "0"), recorded="2026-01-01T00:00:00Z")
    source = document()
    steps: dict[str, list[float]] = {"facts": [], "resources and checks": [], "json": [], "all": []}
    size = count = 0
    for _ in range(rounds):
        started = time.process_time()
        facts = normalizer.facts(source)
        normalized = time.process_time()
        bundle, failures = writer.bundle(source, facts)
        built = time.process_time()
        line = to_json(bundle)
        ended = time.process_time()
        assert not failures
        size, count = len(line), len(bundle["entry"])
        for name, seconds in zip(
            steps, (normalized - started, built - normalized, ended - built, ended - started), strict=True
        ):
            steps[name].append(seconds * 1000)
    modifiers = sum(len(mention.modifiers) for mention in source.mentions)
    print(f"{len(source.mentions)} mentions, {modifiers} modifiers, {count} resources, {size:,} bytes")
    for name, times in steps.items():
        print(f"{name:22} {median(times):6.2f} ms")
    resources = [entry["resource"] for entry in bundle["entry"]]
    started = time.process_time()
    for _ in range(rounds):
        for resource in resources:
            check_resource(resource)
    print(f"checks: {rounds * len(resources) / (time.process_time() - started):,.0f} resources/s")


if __name__ == "__main__":
    main()

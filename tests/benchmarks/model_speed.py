"""Notes per CPU-second: our one joint pass against the published three-model way, with the same encoder.

    python tests/benchmarks/model_speed.py [--notes 24] [--published-notes 3] [--threads 2] [--json FILE]

The published way (arXiv 2411.10020) is built from plain transformers pipelines at their default batch size of 1: a
mention tagger and a modifier tagger on each sentence, then a pair classifier on each allowed (mention, modifier) pair
of a sentence, the two marked in its text. Its classifiers' heads are new, as a head's weights do not change its cost;
the sentences and the pairs are those that the shipped model finds in the same notes. Ratios of one run count: the
machine is noisy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from synthetic import note_text
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, pipeline
from transformers.utils import logging

from kiwi_fhir.extract import DEFAULT_MODEL, ModelChoice
from kiwi_fhir.extract.base import DEFAULT_BASE, base_path, load_base
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.types import ALLOWED_PAIRS, MENTION_LABELS, MODIFIER_LABELS, Document, Note, Span


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of `work`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def sentence_spans(text: str) -> list[Span]:
    cut = segment(text)
    bounds = [*cut.sentence_starts, len(cut.words)]
    return [Span(cut.words[first][0], cut.words[last - 1][1]) for first, last in pairwise(bounds)]


def marked_pairs(document: Document, sentence: Span) -> list[str]:
    """The sentence once for each allowed pair in it, mention and modifier marked."""
    inside = lambda span: sentence.start <= span.start and span.end <= sentence.end  # noqa: E731
    modifiers = {(held.label, held.span) for mention in document.mentions for held in mention.modifiers}
    modifiers |= {(held.label, held.span) for held in document.unlinked}
    found = []
    for mention in document.mentions:
        for label, span in sorted(modifiers):
            if label in ALLOWED_PAIRS[mention.label] and inside(mention.span) and inside(span):
                marks = sorted(
                    [
                        (mention.span.start, "<e1>"),
                        (mention.span.end, "</e1>"),
                        (span.start, "<e2>"),
                        (span.end, "</e2>"),
                    ],
                    reverse=True,
                )
                text = document.note.text
                for offset, mark in marks:
                    text = text[:offset] + mark + text[offset:]
                found.append(text[sentence.start : sentence.end + sum(len(mark) for _, mark in marks)])
    return found


def published(documents: list[Document]) -> tuple[Callable[[], None], int]:
    """The three-model way over the notes of `documents`, and its number of forward passes."""
    path = base_path(DEFAULT_BASE)
    _, tokenizer = load_base(DEFAULT_BASE)
    taggers = [
        pipeline(
            "token-classification",
            model=AutoModelForTokenClassification.from_pretrained(path, num_labels=1 + 2 * len(labels)),
            tokenizer=tokenizer,
            device="cpu",
        )
        for labels in (MENTION_LABELS, MODIFIER_LABELS)
    ]
    classifier = pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(path, num_labels=2),
        tokenizer=tokenizer,
        device="cpu",
    )
    plan = [
        (document.note.text[sentence.start : sentence.end], marked_pairs(document, sentence))
        for document in documents
        for sentence in sentence_spans(document.note.text)
    ]

    def run() -> None:
        for text, pairs in plan:
            for tagger in taggers:
                tagger(text)
            for pair in pairs:
                classifier(pair)

    return run, sum(len(taggers) + len(pairs) for _, pairs in plan)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes", type=int, default=24)
    parser.add_argument("--published-notes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    logging.set_verbosity_error()  # new heads are meant to be new
    notes = [Note(str(seed), note_text(seed)) for seed in range(arguments.notes)]
    rows = []
    documents: list[Document] = []
    for dtype in (torch.bfloat16, torch.float32):
        extractor = TaggerExtractor.load(
            ModelChoice(DEFAULT_MODEL).folder, threads=arguments.threads, device="cpu", dtype=dtype
        )
        documents = extractor.predict(notes[:2]) and extractor.predict(notes)
        wall, cpu = measured(lambda: extractor.predict(notes))  # noqa: B023
        rows.append((f"one joint pass, {str(dtype).removeprefix('torch.')}", len(notes), wall, cpu))
    few = documents[: arguments.published_notes]
    run, passes = published(few)
    wall, cpu = measured(run)
    rows.append((f"published way, float32, {passes / len(few):.0f} passes a note", len(few), wall, cpu))

    reference = rows[-1][3] / rows[-1][1]
    print(f"{sum(len(note.text) for note in notes) / len(notes):.0f} characters a note, {arguments.threads} threads")
    print(f"{'engine':45} {'notes/s':>8} {'CPU-s/note':>11} {'times':>6}")
    report = {}
    for name, count, wall, cpu in rows:
        print(f"{name:45} {count / wall:8.2f} {cpu / count:11.4f} {reference / (cpu / count):6.1f}")
        report[name] = {
            "notes_per_second": count / wall,
            "cpu_seconds": cpu / count,
            "times": reference / (cpu / count),
        }
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

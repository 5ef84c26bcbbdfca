"""The default model's engines side by side: speed, memory, agreement with torch in fp32, and F1 where there is gold.

    python tests/benchmarks/engines.py [--notes 24] [--characters 3400] [--threads 2] [--rounds 3] [--model NAME_OR_DIR]
        [--gold BRAT_FOLDER] [--only NAMES] [--json FILE]

Engines take turns on the same synthetic notes, and the best round of each counts: the machine is noisy, so only
ratios of one run mean anything. Peak memory is that of a process of its own with the engine alone. What is "the same"
are labels with their spans and links, over those that either of two engines found.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from synthetic import note_text

from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.evaluate import score
from kiwi_fhir.extract import DEFAULT_MODEL, ModelChoice
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.run.memory import peak_memory
from kiwi_fhir.types import Document, Note

#: Name to device and the encoder's numbers (None: the engine's own choice); the first one is the reference.
ENGINES = {
    "torch fp32": ("cpu", torch.float32),
    "torch bf16": ("cpu", torch.bfloat16),
    "openvino fp32": ("openvino", torch.float32),
    "openvino bf16": ("openvino", torch.bfloat16),
    "openvino int8": ("openvino", None),
}
LEVELS = ("mentions", "modifiers", "links")


def load_engine(name: str, model: str, threads: int) -> TaggerExtractor:
    device, dtype = ENGINES[name]
    return TaggerExtractor.load(ModelChoice(model).folder, threads=threads, device=device, dtype=dtype)


def labels(documents: Sequence[Document]) -> set[tuple[object, ...]]:
    """All mentions, modifiers and links of the notes."""
    found: set[tuple[object, ...]] = set()
    for document in documents:
        note = document.note.id
        for mention in document.mentions:
            found.add((note, mention.label, mention.span))
            for held in mention.modifiers:
                found |= {(note, held.label, held.span), (note, mention.span, held.label, held.span)}
        found |= {(note, held.label, held.span) for held in document.unlinked}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes", type=int, default=24)
    parser.add_argument("--characters", type=int, default=3400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--gold", type=Path)
    parser.add_argument("--only", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak-of", choices=ENGINES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    notes = [Note(str(seed), note_text(seed, arguments.characters)) for seed in range(arguments.notes)]
    if arguments.peak_of:
        load_engine(arguments.peak_of, arguments.model, arguments.threads).predict(notes)
        print(peak_memory()["peak_host_mib"])
        return

    # First, while this process is small: a child's peak is never under its parent's size.
    rows: dict[str, dict[str, float]] = {}
    for name in ENGINES:
        command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", name]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows[name] = {"peak_mib": peak, "wall": float("inf"), "cpu": float("inf")}
    extractors: dict[str, TaggerExtractor] = {}
    for name in ENGINES:
        start = time.perf_counter()
        extractors[name] = load_engine(name, arguments.model, arguments.threads)
        rows[name]["load_seconds"] = time.perf_counter() - start
    found = {name: labels(extractor.predict(notes)) for name, extractor in extractors.items()}
    gc.collect()
    for _ in range(arguments.rounds):
        for name, extractor in extractors.items():
            wall, cpu = time.perf_counter(), time.process_time()
            extractor.predict(notes)
            rows[name]["wall"] = min(rows[name]["wall"], (time.perf_counter() - wall) / len(notes))
            rows[name]["cpu"] = min(rows[name]["cpu"], (time.process_time() - cpu) / len(notes))
    load = os.getloadavg()[0]
    reference, *_ = found.values()
    for name, row in rows.items():
        row["same"] = len(found[name] & reference) / len(found[name] | reference)
    if arguments.gold:
        only = frozenset(arguments.only.read_text(encoding="utf-8").split()) if arguments.only else None
        gold = list(read_folder(arguments.gold, only=only))
        for name, extractor in extractors.items():
            report = score(gold, extractor.predict([document.note for document in gold]), samples=0)
            rows[name] |= {level: report.f1(level, "exact") for level in LEVELS}

    size = sum(len(note.text) for note in notes) / len(notes)
    print(f"{len(notes)} notes of {size:.0f} characters, {arguments.threads} threads, load {load:.1f}")
    titles = f"{'notes/s':>8} {'CPU-s/note':>11} {'times':>6} {'same':>7} {'peak MiB':>9} {'load s':>7}"
    heads = " ".join(f"{level:>9}" for level in LEVELS) if arguments.gold else ""
    print(f"{'engine':14} {titles} {heads}")
    slowest = rows["torch fp32"]["cpu"]
    for name, row in rows.items():
        f1 = " ".join(f"{row[level]:9.4f}" for level in LEVELS) if arguments.gold else ""
        speed = f"{1 / row['wall']:8.2f} {row['cpu']:11.4f} {slowest / row['cpu']:6.2f}"
        print(f"{name:14} {speed} {row['same']:7.2%} {row['peak_mib']:9.0f} {row['load_seconds']:7.2f} {f1}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"load": load, "engines": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

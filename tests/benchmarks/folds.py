"""A recipe measured on folds of annotated notes that it did not see: the rows of the model card's table of choices.

    python tests/benchmarks/folds.py CORPUS [--exclude dev.txt] [--passages DIR] [--start adapted.safetensors]
        [--parts 2] [--all] [--threads 2] [--set epochs=7 --set learning_rate=2e-4 ...]

The notes are dealt into `--parts` by a fixed seed; the model learns from all but the first part (with `--all` one
model for each part) and is measured on it. `--start` is the adapted base that `kiwi-fhir train --texts` keeps in
OUT/checkpoint while it runs. Only notes that are not reported on belong here.
"""

from __future__ import annotations

import argparse
import ast
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.evaluate import score
from kiwi_fhir.evaluate.counts import LEVELS, MATCHES
from kiwi_fhir.extract.base import load_base
from kiwi_fhir.extract.device import set_threads
from kiwi_fhir.train.distil import folds
from kiwi_fhir.train.joint import Recipe, extractor_of, fit_model, new_model

#: Not the seed of a recipe: the teachers' folds are others.
SEED = 99


def value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--exclude", type=Path)
    parser.add_argument("--passages", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the recipe")
    options = parser.parse_args()
    set_threads(options.threads)
    left_out = set(options.exclude.read_text(encoding="utf-8").split()) if options.exclude else set()
    documents = [document for document in read_folder(options.corpus) if document.note.id not in left_out]
    passages = list(read_folder(options.passages)) if options.passages else []
    recipe = replace(Recipe(), **{key: value(text) for key, _, text in (one.partition("=") for one in options.set)})
    start = load_file(options.start) if options.start else {}
    device = torch.device("cpu")
    _, tokenizer = load_base(recipe.base)
    parts = folds(documents, options.parts, SEED)
    gold, guesses, started = [], [], time.monotonic()
    for part in parts if options.all else parts[:1]:
        known = [document for other in parts if other is not part for document in other]
        weights, _ = fit_model(recipe, start, [*known, *passages], (), (), device)
        model = new_model(recipe, weights, device)
        guesses += extractor_of(model, tokenizer, recipe, device).predict([document.note for document in part])
        gold += part
    report = score(gold, guesses)
    print(f"{len(gold)} notes, {time.monotonic() - started:.0f} s, {' '.join(options.set) or 'as the recipe says'}")
    for level in LEVELS:
        cells = []
        for match in MATCHES:
            f1 = report.row(level, match).f1
            low, high = f1.interval or (0.0, 0.0)
            cells.append(f"{match} {f1.value or 0:.3f} ({low:.3f}-{high:.3f})")
        print(f"{level:10}", "  ".join(cells))


if __name__ == "__main__":
    main()

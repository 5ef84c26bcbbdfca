"""The default model on an annotated corpus in brat's format: exact and relaxed F1 of its mentions by type.

    python examples/evaluate_corpus.py [FOLDER]

Without a folder it reads a few passages that ship with the program. The model was trained on these: the figures only
show how it is done. Measure on notes that no training saw.
"""

import sys
from importlib.resources import as_file, files
from pathlib import Path

import kiwi_fhir
from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.evaluate import MICRO, score


def evaluate(folder: Path, only: frozenset[str] | None) -> None:
    """Print the scores of the default model on the notes of `folder`, those named in `only`."""
    gold = list(read_folder(folder, only=only))
    kiwi = kiwi_fhir.load()
    found = [result.document for result in kiwi.many(document.note for document in gold)]
    report = score(gold, [document for document in found if document is not None])
    for label in ("problem", "test", "drug", "treatment", MICRO):
        exact, relaxed = report.f1("mentions", "exact", label), report.f1("mentions", "relaxed", label)
        print(f"{label:9}  exact {exact:.3f}  relaxed {relaxed:.3f}")


if len(sys.argv) > 1:
    evaluate(Path(sys.argv[1]), None)
else:
    with as_file(files("kiwi_fhir.train") / "passages") as passages:
        evaluate(passages, frozenset(f"{number:03d}" for number in range(1, 21)))

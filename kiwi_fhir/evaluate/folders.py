"""Gold and predicted annotation of the same texts, read and compared."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from kiwi_fhir.documents.brat import annotation_files, read_folder
from kiwi_fhir.documents.jsonl import read_lines
from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate.scores import Report, score
from kiwi_fhir.types import Document

#: The ending of a prediction that is no folder.
JSON_LINES = ".jsonl"


@dataclass(frozen=True, slots=True)
class Pair:
    """The documents of two annotations of the same notes; `dropped` counts links that the guideline does not allow."""

    gold: list[Document]
    predicted: list[Document]
    dropped: dict[str, int]

    def score(self, *, samples: int = 1000, seed: int = 0) -> Report:
        """The scores, see scores.score, with the links that were left out."""
        report = score(self.gold, self.predicted, samples=samples, seed=seed)
        return replace(report, dropped=self.dropped)


def read_pair(gold: Path, predicted: Path, *, only: frozenset[str] | None = None) -> Pair:
    """The annotation in the brat folder `gold` and in `predicted`, a brat folder or a file of JSON lines (`.jsonl`).

    With `only` just the notes of these names count, and `predicted` may lack some of them: a gold note without
    prediction counts as missed altogether (Report.missing names it).

    Raises UsageError when a folder or file is none, a name of `only` has no gold, the texts of a note differ or a
    predicted note has no gold; see brat.read_folder and jsonl.read_lines for files that can't be read.
    """
    dropped: dict[str, Counter[str]] = {"gold": Counter(), "predicted": Counter()}
    if predicted.suffix == JSON_LINES:
        if not predicted.is_file():
            raise UsageError(f"The file {predicted} does not exist.")
        truths = list(read_folder(gold, only=only, dropped=dropped["gold"]))
        guesses = list(read_lines(predicted, {truth.note.id: truth.note for truth in truths}, only=only))
    else:
        names = {path.stem for path in annotation_files(gold, only)}
        found = {path.stem for path in annotation_files(predicted) if only is None or path.stem in only}
        if extra := sorted(found - names):
            raise UsageError(f"{predicted} holds {extra[0]}.ann, which {gold} lacks: compare the same notes.")
        for name in sorted(found):
            _check_text(gold / f"{name}.txt", predicted / f"{name}.txt")
        truths = list(read_folder(gold, only=only, dropped=dropped["gold"]))
        guesses = list(read_folder(predicted, only=frozenset(found), dropped=dropped["predicted"]))
    return Pair(truths, guesses, {side: counts.total() for side, counts in dropped.items()})


def compare_folders(
    gold: Path, predicted: Path, *, only: frozenset[str] | None = None, samples: int = 1000, seed: int = 0
) -> Report:
    """Scores of the annotation in `predicted` against that in `gold`; see read_pair."""
    return read_pair(gold, predicted, only=only).score(samples=samples, seed=seed)


def _check_text(gold: Path, predicted: Path) -> None:
    """Offsets mean something only in the same text, so every byte must agree."""
    one, other = gold.read_bytes(), predicted.read_bytes()
    if one == other:
        return
    if one.replace(b"\r\n", b"\n") == other.replace(b"\r\n", b"\n"):
        how = "one has DOS line ends, the other has not"
    else:
        at = next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), None)
        at = min(len(one), len(other)) if at is None else at
        line = one.count(b"\n", 0, at) + 1
        how = f"they differ from byte {at} (line {line}) on"
    raise UsageError(f"{gold} and {predicted} are not the same text: {how}; annotate the same file.")

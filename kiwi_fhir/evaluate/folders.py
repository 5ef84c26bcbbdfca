"""Two brat folders compared: gold and predicted annotation of the same texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from kiwi_fhir.brat import annotation_files, read_folder
from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate.scores import Report, score


def compare_folders(
    gold: Path, predicted: Path, *, only: frozenset[str] | None = None, samples: int = 1000, seed: int = 0
) -> Report:
    """Scores of the annotation in `predicted` against that in `gold`; both hold NAME.txt and NAME.ann.

    With `only` just the notes of these names count, and `predicted` may lack some of them: a gold note without
    prediction counts as missed altogether (Report.missing names it).

    Raises UsageError when a folder is none, a name of `only` has no gold, the texts of a note differ or a predicted
    note has no gold; see brat.read_folder for files that can't be read.
    """
    names = {path.stem for path in annotation_files(gold, only)}
    found = {path.stem for path in annotation_files(predicted) if only is None or path.stem in only}
    if extra := sorted(found - names):
        raise UsageError(f"{predicted} holds {extra[0]}.ann, which {gold} lacks: compare the same notes.")
    for name in sorted(found):
        _check_text(gold / f"{name}.txt", predicted / f"{name}.txt")
    dropped: dict[str, Counter[str]] = {"gold": Counter(), "predicted": Counter()}
    report = score(
        list(read_folder(gold, only=only, dropped=dropped["gold"])),
        list(read_folder(predicted, only=frozenset(found), dropped=dropped["predicted"])),
        samples=samples,
        seed=seed,
    )
    return replace(report, dropped={side: counts.total() for side, counts in dropped.items()})


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
